//! Checkpoints of containers, on a machine without a VMM: what was in a container's region at one moment, kept in memory.
//!
//! A container is all in its region while it rests (`heap`, `thread`), so that a copy of the region is the container. Its connections
//! are not in it: they are cut when it goes back, as they are when a whole machine does.

use crate::machine::Machine;
use crate::scheduler::Scheduler;
use crate::{clock, network, report};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use sentient_abi::boot_module::EntryKind;
use sentient_abi::region::RegionKind;

/// How often a container that traps goes back to the same checkpoint, before it ends.
const MOST_ROLLBACKS: u32 = 3;

/// A container's checkpoint, or how often it is to have one.
struct Checkpoint {
    container: u32,
    /// Nanoseconds between two of them; 0 for none but those that are asked for.
    every: u64,
    /// Monotonic time at which the last one was taken.
    taken: Option<u64>,
    /// How often the container went back to it because it had trapped.
    rollbacks: u32,
}

/// All containers'.
pub struct Checkpoints(Vec<Checkpoint>);

impl Checkpoints {
    /// None yet; those that the boot module asks for will be taken.
    pub fn new(machine: &Machine) -> Self {
        let every = |container| {
            let entry = machine.entries(EntryKind::Checkpoints).find(|(entry, _)| entry.index == container);
            entry.and_then(|(_, bytes)| Some(u64::from_le_bytes(bytes.try_into().ok()?))).unwrap_or(0)
        };
        let all = machine.container_numbers();
        Self(
            all.map(|container| Checkpoint { container, every: every(container), taken: None, rollbacks: 0 })
                .collect(),
        )
    }

    fn of(&mut self, container: u32) -> Result<&mut Checkpoint, &'static str> {
        let found = self.0.iter_mut().find(|checkpoint| checkpoint.container == container);
        found.ok_or("it is none of the boot module's")
    }

    /// Takes those that are due.
    pub fn take_due(&mut self, scheduler: &mut Scheduler, now: u64) {
        let is_due = |checkpoint: &&Checkpoint| {
            let since = now.saturating_sub(checkpoint.taken.unwrap_or(0));
            checkpoint.every > 0 && (checkpoint.taken.is_none() || since >= checkpoint.every)
        };
        let due: Vec<u32> = self.0.iter().filter(is_due).map(|checkpoint| checkpoint.container).collect();
        for container in due {
            // One that does not rest just now does so soon; one that has ended is not asked again.
            if self.take(scheduler, container).is_err()
                && !scheduler.has(container)
                && let Ok(checkpoint) = self.of(container)
            {
                checkpoint.every = 0;
            }
        }
    }

    /// Takes one of a container, in the place of the one before; gives its length in bytes.
    ///
    /// # Errors
    /// Why it cannot be taken, for people.
    pub fn take(&mut self, scheduler: &mut Scheduler, container: u32) -> Result<u64, String> {
        let region = scheduler.at_rest(container)?;
        let len = region.len() as u64;
        let place = match scheduler.machine.owned(RegionKind::Checkpoint, container) {
            Some(place) => place,
            None => {
                let made = scheduler.machine.assign_checkpoint(container, len);
                made.ok_or_else(|| scheduler.machine.no_room(len, "a checkpoint of it"))?
            }
        };
        // SAFETY: both are regions of the table that ring 3 may write, of the same length, and no others overlap them; the container
        // does not run.
        unsafe {
            core::ptr::copy_nonoverlapping(region.start as *const u8, place.base as *mut u8, region.len())
        }
        let checkpoint = self.of(container)?;
        checkpoint.taken = Some(clock::monotonic_ns());
        checkpoint.rollbacks = 0;
        Ok(len)
    }

    /// Puts a container back to its checkpoint; gives how old that is, in nanoseconds.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub fn go_back(&mut self, scheduler: &mut Scheduler, container: u32) -> Result<u64, String> {
        let checkpoint = self.of(container)?;
        let taken = checkpoint.taken.ok_or("there is no checkpoint of it")?;
        let place = scheduler.machine.owned(RegionKind::Checkpoint, container);
        let (region, place) =
            scheduler.region(container).zip(place).ok_or("it has ended, and there is nothing to put back")?;
        if region.len() as u64 != place.len {
            return Err(format!("its region has {} bytes, and its checkpoint {}", region.len(), place.len));
        }
        // SAFETY: as in `take`; what was in the region is what the container, its thread among it, was when it rested. Nobody holds a
        // reference into it: the scheduler finds the thread by its address, which is the same.
        unsafe {
            core::ptr::copy_nonoverlapping(place.base as *const u8, region.start as *mut u8, region.len())
        }
        network::cut(container);
        scheduler.came_back(container);
        Ok(clock::monotonic_ns().saturating_sub(taken))
    }

    /// A container has trapped: it goes back to its checkpoint, if it has one that it has not gone back to too often.
    pub fn heal(&mut self, scheduler: &mut Scheduler, container: u32) -> bool {
        let Ok(checkpoint) = self.of(container) else { return false };
        if checkpoint.taken.is_none() || checkpoint.rollbacks >= MOST_ROLLBACKS {
            return false;
        }
        checkpoint.rollbacks += 1;
        let rollbacks = checkpoint.rollbacks;
        match self.go_back(scheduler, container) {
            Ok(age) => {
                let ms = age / 1_000_000;
                report::tell(
                    container,
                    format_args!(
                        "it has trapped, and is what it was {}.{:03} s ago ({rollbacks} of {MOST_ROLLBACKS} times)",
                        ms / 1000,
                        ms % 1000
                    ),
                );
                true
            }
            Err(_) => false,
        }
    }
}
