//! Watching for a guest that hangs: one whose vCPU works, or has been woken, and whose scheduler does not get anywhere.
//!
//! A guest that keeps its vCPU busy is asked to come to rest, which its scheduler answers between two turns of containers
//! (some milliseconds, as a rule). If it has not by the time that the vCPU has had what it [may](Events::hang_after) of the processor,
//! but for the time that looking closely takes, it is suspected, and looked at more often: if it is in ring 0 each time, which is
//! never long at work, it hangs. Ring 3 may be in the midst of something long for a container, such as filling a gigabyte of memory,
//! and has [`LONG_PATIENCE`]. Time that the host gave to others does not count. One that is idle is asked now and then, because it may
//! have lost the interrupt that would wake it.

use super::resident::Command;
use super::shared::Events;
use crate::ended::Ended;
use crate::kvm::vcpu::Kicker;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

/// Between two looks at a guest that keeps its vCPU busy.
const LOOK: Duration = Duration::from_millis(50);

/// A vCPU that has had this much of the processor since the last look is busy.
const BUSY: Duration = Duration::from_millis(20);

/// How often a guest that keeps its vCPU busy is asked, at most.
const EVERY: Duration = Duration::from_millis(80);

/// How often a guest that idles is asked.
const IDLE: Duration = Duration::from_secs(5);

/// How often one that idles is looked at before it has to have answered: two seconds, of which those do not count in which this
/// process was stopped.
const IDLE_LOOKS: u32 = 40;

/// How much of the processor a vCPU has at least before its guest is suspected.
const LEAST_PATIENCE: Duration = Duration::from_millis(20);

/// What it has more while it is looked at closely, and until that begins.
const LOOKING: Duration = Duration::from_millis(120);

/// Between two looks at one that is suspected, and in how many it has to be in ring 0.
const CLOSE_LOOK: Duration = Duration::from_millis(10);
const CLOSE_LOOKS: u64 = 8;

/// The same, before it hangs wherever it is.
const LONG_PATIENCE: Duration = Duration::from_secs(5);

/// A question that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// How much of the processor the vCPU had had.
    cpu: Duration,
    /// How often it was looked at since.
    looks: u32,
    /// How often the guest had come to rest.
    rests: u64,
    /// How much of that was not the guest's.
    stood: Duration,
    /// How often it had been put to another point of its life.
    moves: u64,
    /// In which rings it had been found when it was first suspected; nothing before.
    suspected: Option<[u64; 2]>,
}

/// What is known of a guest.
#[derive(Debug)]
pub struct Watch {
    /// Of the vCPU's thread: its first number is how long it had the processor, in nanoseconds (Linux,
    /// `Documentation/scheduler/sched-stats.rst`).
    schedstat: File,
    seen: Duration,
    /// When it was last known to get somewhere.
    well: Instant,
    asked: Option<Asked>,
}

impl Watch {
    /// Over the guest that a vCPU's thread runs.
    ///
    /// # Errors
    /// The error of opening what Linux says of that thread.
    pub fn over(kicker: &Kicker) -> io::Result<Self> {
        let thread = kicker.thread().ok_or(io::ErrorKind::NotFound)?;
        let schedstat = File::open(format!("/proc/self/task/{thread}/schedstat"))?;
        Ok(Self { schedstat, seen: Duration::ZERO, well: Instant::now(), asked: None })
    }

    fn cpu(&self) -> Option<Duration> {
        let mut text = [0; 64];
        let len = self.schedstat.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Looks at the guest; gives what may be wrong with it.
    pub fn look(&mut self, events: &Events) -> Option<Ended> {
        let now = Instant::now();
        let cpu = self.cpu()?;
        let busy = cpu.saturating_sub(std::mem::replace(&mut self.seen, cpu)) >= BUSY;
        if events.has_failed() {
            (self.asked, self.well) = (None, now);
            return None;
        }
        let rests = events.rests();
        let (stood, moves) = events.standstills()?;
        if let Some(asked) = &mut self.asked {
            asked.looks += 1;
            // What it was asked at another point of its life, it has not heard.
            if asked.rests != rests || asked.moves != moves {
                (self.asked, self.well) = (None, now);
                return None;
            }
            // What the vCPU's thread does while the guest stands still is not the guest's doing.
            let had = cpu.saturating_sub(asked.cpu).saturating_sub(stood.saturating_sub(asked.stood));
            let may_have = events.hang_after();
            let patience = may_have.saturating_sub(LOOKING).max(LEAST_PATIENCE);
            let found = events.samples();
            let stays_in_ring_0 = |[ring_0, elsewhere]: [u64; 2]| {
                let [now_0, now_elsewhere] = found;
                now_elsewhere == elsewhere && now_0 >= ring_0 + CLOSE_LOOKS
            };
            if had >= LONG_PATIENCE.max(may_have) || asked.suspected.is_some_and(stays_in_ring_0) {
                self.asked = None;
                return Some(Ended::Hang { busy: had });
            }
            if had >= patience || (had < BUSY && asked.looks >= IDLE_LOOKS) {
                asked.suspected.get_or_insert(found);
                events.want_sample();
            }
        } else if (busy && now.duration_since(self.well) >= EVERY) || now.duration_since(self.well) >= IDLE {
            self.asked = Some(Asked { cpu, looks: 0, rests, stood, moves, suspected: None });
            events.command(Command::Rest);
        }
        None
    }

    /// When the next look is due, after the last one; and whether the vCPU is to be called out of the guest for it.
    pub fn next(&self) -> (Duration, bool) {
        let is_suspected = self.asked.is_some_and(|asked| asked.suspected.is_some());
        (if is_suspected { CLOSE_LOOK } else { LOOK }, is_suspected)
    }
}
