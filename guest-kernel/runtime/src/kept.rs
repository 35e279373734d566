//! Checkpoints of everything on a disk, on a machine without a VMM (`sentient_abi::kept`): all programs go on from the last one when the machine
//! is booted again, whatever has ended it.
//!
//! What is kept is this program as it stands in [`Kept::keep`], with all that it has. Whoever comes back from there may come back on another
//! day, on a machine that was booted since: then devices and clocks are begun with anew, and connections are cut.

use crate::console::{line, screen};
use crate::machine::Machine;
use crate::measured::Measured;
use crate::options::Options;
use crate::scheduler::Scheduler;
use crate::{clock, gate, network, random, report};
use alloc::format;
use alloc::string::String;
use sentient_abi::boot_module::EntryKind;
use sentient_abi::kept::{KeepRequest, Outcome, PARTITION_TYPE};
use sentient_abi::machine_info::DeviceKind;

/// After so many panics of the kernel, what is kept is not gone on from any more: it may be what makes it panic.
const MOST_PANICS: u32 = 1;

/// What became of keeping everything.
pub enum Done {
    /// It is kept; what is to be said of it.
    Kept(String),
    /// This is what was kept: the machine was booted since.
    WentOn,
}

/// A medium's checkpoints on a disk.
pub struct Kept {
    measured: [u8; 32],
    /// Nanoseconds between two of them; 0 for none but those that are asked for.
    every: u64,
    /// Monotonic time at which the next one is due.
    due: u64,
    /// There may be one on the disk.
    is_there: bool,
}

impl Kept {
    /// Goes on from what is kept of what was measured, and does not return then. `None` if nothing was measured.
    pub fn begin(machine: &Machine, measured: &Measured, options: &Options) -> Option<Self> {
        let measured = measured.value()?;
        let entry = machine.entries(EntryKind::Keep).next();
        let every = entry.and_then(|(_, bytes)| Some(u64::from_le_bytes(bytes.try_into().ok()?)));
        let every = every.unwrap_or(0);
        let mut kept = Self { measured, every, due: 0, is_there: false };
        let wanted = !options.anew && gate::facts().panics <= MOST_PANICS;
        let mut request = kept.request();
        gate::go_on(&mut request, wanted);
        match Outcome::from_u32(request.outcome) {
            Some(Outcome::NoPartition) if every == 0 => {}
            Some(Outcome::Nothing) => {
                report::say(format_args!(
                    "checkpoints are kept on {}, which has room for {} KiB",
                    disk_name(&request),
                    request.room >> 10
                ));
                kept.is_there = !wanted;
            }
            _ => report::say(format_args!("nothing is gone on from: {}", problem(&request))),
        }
        Some(kept)
    }

    /// Monotonic time at which [`take_due`](Self::take_due) has something to do.
    pub fn due(&self) -> u64 {
        if self.every == 0 { clock::NEVER } else { self.due }
    }

    /// Keeps everything, if that is due; that it cannot be done is said once.
    pub fn take_due(&mut self, scheduler: &mut Scheduler, now: u64) {
        if now < self.due() {
            return;
        }
        match self.keep(scheduler) {
            Ok(_) => {}
            Err(why) => {
                report::say(format_args!("nothing is kept any more: {why}"));
                self.every = 0;
            }
        }
    }

    /// Keeps everything as it is now.
    ///
    /// # Errors
    /// Why that cannot be done, for people.
    pub fn keep(&mut self, scheduler: &mut Scheduler) -> Result<Done, String> {
        let begun = clock::monotonic_ns();
        let wall = clock::wall_ns();
        self.due = begun.saturating_add(self.every);
        let had = core::mem::replace(&mut self.is_there, true);
        let mut request = self.request();
        gate::keep(&mut request);
        let outcome = Outcome::from_u32(request.outcome);
        if outcome == Some(Outcome::WentOn) {
            begin_again(scheduler, begun);
            let since = clock::wall_ns().saturating_sub(wall) / 1_000_000;
            report::say(format_args!(
                "everything goes on from checkpoint {} on {}, as it was {}.{:03} s ago",
                request.sequence,
                disk_name(&request),
                since / 1000,
                since % 1000
            ));
            return Ok(Done::WentOn);
        }
        if outcome != Some(Outcome::Done) {
            self.is_there = had;
            return Err(problem(&request));
        }
        let us = clock::monotonic_ns().saturating_sub(begun) / 1000;
        let (sequence, kib) = (request.sequence, request.bytes >> 10);
        let on = disk_name(&request);
        let ms = us / 1000;
        Ok(Done::Kept(format!(
            "kept everything on {on}: {kib} KiB in {ms}.{:03} ms, checkpoint {sequence}",
            us % 1000
        )))
    }

    /// Keeps everything, if that is done at all, because the machine is about to be switched off.
    pub fn keep_last(&mut self, scheduler: &mut Scheduler) -> Option<Result<Done, String>> {
        (self.every > 0).then(|| self.keep(scheduler))
    }

    /// No program is left that could go on.
    pub fn forget(&mut self) {
        if core::mem::take(&mut self.is_there) {
            let mut request = self.request();
            gate::forget_kept(&mut request);
            if request.outcome != Outcome::Done as u32 {
                report::say(format_args!("what was kept is still there: {}", problem(&request)));
            }
        }
    }

    fn request(&self) -> KeepRequest {
        KeepRequest { measured: self.measured, ..KeepRequest::default() }
    }
}

/// The machine was booted since: what was known of its devices and clocks is not so any more.
fn begin_again(scheduler: &mut Scheduler, kept_at: u64) {
    clock::go_on(kept_at);
    random::go_on(&scheduler.machine);
    screen::start();
    line::start(&scheduler.machine);
    network::begin_anew(&scheduler.machine);
    scheduler.begin_again();
}

fn disk_name(request: &KeepRequest) -> &'static str {
    match request.device {
        kind if kind == DeviceKind::Block as u32 => "a virtio disk",
        kind if kind == DeviceKind::Nvme as u32 => "an NVMe disk",
        kind if kind == DeviceKind::Ahci as u32 => "a SATA disk",
        _ => "a disk",
    }
}

/// Why something was not done, for people.
fn problem(request: &KeepRequest) -> String {
    let disk = disk_name(request);
    match Outcome::from_u32(request.outcome) {
        Some(Outcome::NoPartition) => format!("no disk has a partition of type {PARTITION_TYPE}"),
        Some(Outcome::TooLarge) => format!(
            "everything has {} KiB, and half of the partition on {disk} has {}",
            request.bytes >> 10,
            request.room >> 10
        ),
        Some(Outcome::DiskFailed) => format!("{disk} has failed"),
        Some(Outcome::OtherMemory) => {
            format!("checkpoint {} needs memory that this machine does not have there", request.sequence)
        }
        Some(Outcome::Damaged) => format!("checkpoint {} on {disk} is damaged", request.sequence),
        _ => String::from("the kernel has refused it"),
    }
}
