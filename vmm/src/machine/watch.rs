//! Watching for a guest that hangs: one whose vCPU works, or has been woken, and whose scheduler does not get anywhere.
//!
//! A guest that keeps its vCPU busy is asked to come to rest, which its scheduler answers between two turns of containers
//! (at most some milliseconds, whatever these do). If it has not by the time that the vCPU has had [`Watch::patience`] of the
//! processor, it hangs: time that the host gave to others does not count. One that is idle is asked now and then, because it may
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
pub const LOOK: Duration = Duration::from_millis(50);

/// A vCPU that has had this much of the processor since the last look is busy.
const BUSY: Duration = Duration::from_millis(20);

/// How often a guest that idles is asked.
const IDLE: Duration = Duration::from_secs(5);

/// How long one that idles may take to answer.
const IDLE_PATIENCE: Duration = Duration::from_secs(2);

/// How much of the processor a vCPU may have before its guest answers, unless somebody says otherwise.
pub const PATIENCE: Duration = Duration::from_millis(150);

/// A question that was not answered yet.
#[derive(Clone, Copy, Debug)]
struct Asked {
    /// How much of the processor the vCPU had had.
    cpu: Duration,
    at: Instant,
    /// How often the guest had come to rest.
    rests: u64,
    /// In which life it was asked.
    life: u64,
}

/// What is known of a guest.
#[derive(Debug)]
pub struct Watch {
    /// Of the vCPU's thread: its first number is how long it had the processor, in nanoseconds (Linux,
    /// `Documentation/scheduler/sched-stats.rst`).
    schedstat: File,
    patience: Duration,
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
    pub fn over(kicker: &Kicker, patience: Duration) -> io::Result<Self> {
        let thread = kicker.thread().ok_or(io::ErrorKind::NotFound)?;
        let schedstat = File::open(format!("/proc/self/task/{thread}/schedstat"))?;
        Ok(Self { schedstat, patience, seen: Duration::ZERO, well: Instant::now(), asked: None })
    }

    fn cpu(&self) -> Option<Duration> {
        let mut text = [0; 64];
        let len = self.schedstat.read_at(&mut text, 0).ok()?;
        let text = std::str::from_utf8(text.get(..len)?).ok()?;
        text.split(' ').next()?.parse().ok().map(Duration::from_nanos)
    }

    /// Looks at the guest; gives what is wrong with it.
    pub fn look(&mut self, events: &Events) -> Option<Ended> {
        let now = Instant::now();
        let cpu = self.cpu()?;
        let busy = cpu.saturating_sub(std::mem::replace(&mut self.seen, cpu)) >= BUSY;
        if events.has_failed() {
            self.asked = None;
            self.well = now;
            return None;
        }
        let (rests, life) = (events.rests(), events.lives());
        if let Some(asked) = self.asked {
            if asked.rests != rests || asked.life != life {
                (self.asked, self.well) = (None, now);
                return None;
            }
            let had = cpu.saturating_sub(asked.cpu);
            let is_stuck =
                had >= self.patience || (had < BUSY && now.duration_since(asked.at) >= IDLE_PATIENCE);
            if is_stuck {
                self.asked = None;
                return Some(Ended::Hang { busy: had });
            }
        } else if busy || now.duration_since(self.well) >= IDLE {
            self.asked = Some(Asked { cpu, at: now, rests, life });
            events.command(Command::Rest);
        }
        None
    }

    /// Whether the next look is to come soon.
    pub fn is_close(&self) -> bool {
        self.asked.is_some() || self.well.elapsed() < LOOK
    }
}
