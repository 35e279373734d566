//! The time page: what time it is, as the VMM tells the guest ([`sentient_abi::time_page`]).
//!
//! It is written when a machine begins a life. Between two lives the guest counts on by its counter, and the
//! host's wall clock is slewed or stepped by whoever keeps it right: so the vCPU's thread compares the two now
//! and then, when it is out of the guest anyway, and writes a page with another wall clock when they are
//! apart. The monotonic clock, generation and seed stay.

use crate::error::MachineError;
use crate::kvm::{KvmError, vcpu};
use crate::memory::GuestMemory;
use kvm_ioctls::VcpuFd;
use sentient_abi::time_page::TimePage;
use std::io;
use std::sync::atomic::{Ordering, fence};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of the sequence at the page's start.
const SEQUENCE_LEN: usize = 8;

/// How often the guest's wall clock is compared with the host's, at most.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How far apart the two may be, in nanoseconds. A host's clock is slewed by 0.5 ms a second at most.
const TOLERANCE_NS: u64 = 500_000;

/// A reading of the host's clock is good if it was taken within so many nanoseconds: reading the counter takes
/// some microseconds, unless the thread was held up in between.
const GOOD_READING_NS: u64 = 50_000;

/// How often a good reading is tried for. The best one is taken.
const READINGS: u32 = 5;

/// A wall clock: nanoseconds since 1970-01-01 UTC.
pub type WallClock = fn() -> u64;

/// The host's.
fn host_wall_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    u64::try_from(since).unwrap_or(u64::MAX)
}

/// The vCPU's counter, and the wall clock at that moment; how long it took to read both, in nanoseconds.
struct Reading {
    tsc: u64,
    wall_ns: u64,
    took_ns: u64,
}

impl Reading {
    /// The best of a few. The vCPU must not be in the guest.
    fn take(vcpu: &VcpuFd, wall: WallClock) -> Result<Self, KvmError> {
        let once = || {
            let before = wall();
            let tsc = vcpu::time_stamp(vcpu)?;
            // A clock that was set back in between says nothing.
            let took_ns = wall().checked_sub(before).unwrap_or(u64::MAX);
            Ok::<Self, KvmError>(Self { tsc, wall_ns: before.saturating_add(took_ns / 2), took_ns })
        };
        let mut best = once()?;
        for _ in 1..READINGS {
            if best.took_ns <= GOOD_READING_NS {
                break;
            }
            let next = once()?;
            if next.took_ns < best.took_ns {
                best = next;
            }
        }
        Ok(best)
    }
}

/// A page for this moment: the vCPU's counter beside the host's clock, and a fresh seed. `tsc_khz` is the
/// counter's rate; the guest's monotonic clock is to stand at `monotonic_ns` now, and its wall clock where
/// `wall` does. The vCPU must not be in the guest.
///
/// # Errors
/// [`MachineError::Kvm`] if the counter cannot be read, [`MachineError::Io`] without random bytes.
pub fn page(
    vcpu: &VcpuFd,
    wall: WallClock,
    tsc_khz: u32,
    generation: u64,
    monotonic_ns: u64,
) -> Result<TimePage, MachineError> {
    let (mut seed, mut generation_id) = ([0; 32], [0; 16]);
    for bytes in [&mut seed[..], &mut generation_id[..]] {
        rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| MachineError::io("reading random bytes for the guest")(error.into()))?;
    }
    let reading = Reading::take(vcpu, wall)?;
    Ok(TimePage {
        sequence: 0,
        generation,
        generation_id,
        tsc_at: reading.tsc,
        monotonic_ns,
        wall_clock_ns: reading.wall_ns,
        tsc_hz: u64::from(tsc_khz) * 1000,
        seed,
    })
}

/// Writes a page at a guest physical address, with a sequence larger than the one there: also over a guest
/// that was stopped while it read it. A guest's reader on another processor would find the order kept, too.
///
/// # Errors
/// [`MachineError::Io`] if the address is outside of RAM.
pub fn write(memory: &GuestMemory, at: u64, page: &TimePage) -> Result<(), MachineError> {
    let failed = |error| MachineError::io("writing the time page")(io::Error::other(error));
    let before: u64 = memory.read_obj(GuestAddress(at)).map_err(failed)?;
    let odd = before.wrapping_add(1) | 1;
    let bytes = TimePage { sequence: odd.wrapping_add(1), ..*page }.encode();
    let (sequence, rest) = bytes.split_at(SEQUENCE_LEN);
    memory.write_obj(odd, GuestAddress(at)).map_err(failed)?;
    fence(Ordering::SeqCst);
    memory.write_slice(rest, GuestAddress(at + SEQUENCE_LEN as u64)).map_err(failed)?;
    fence(Ordering::SeqCst);
    memory.write_slice(sequence, GuestAddress(at)).map_err(failed)
}

/// The guest's clocks, as the host has last set them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    tsc_khz: u32,
    page: TimePage,
    wall: WallClock,
    /// When the wall clock was last compared with the host's.
    looked: Instant,
}

/// Number of a machine's first life.
const FIRST_GENERATION: u64 = 1;

impl Clock {
    /// Starts a new machine's at zero. `tsc_khz` is the rate of the vCPU's time-stamp counter.
    ///
    /// # Errors
    /// As [`page`] and [`write`].
    pub fn start(vcpu: &VcpuFd, tsc_khz: u32, memory: &GuestMemory, at: u64) -> Result<Self, MachineError> {
        let wall = host_wall_ns;
        let page = page(vcpu, wall, tsc_khz, FIRST_GENERATION, 0)?;
        write(memory, at, &page)?;
        Ok(Self { tsc_khz, page, wall, looked: Instant::now() })
    }

    /// Of a machine that is yet to be put into a state: no time passes.
    #[must_use]
    pub fn stopped(tsc_khz: u32) -> Self {
        let page = TimePage { tsc_hz: u64::from(tsc_khz) * 1000, ..TimePage::default() };
        Self { tsc_khz, page, wall: host_wall_ns, looked: Instant::now() }
    }

    /// Follows another wall clock than the host's from now on.
    pub fn follow(&mut self, wall: WallClock) {
        self.wall = wall;
    }

    /// Lets the guest's wall clock be that of the host again, if it is time to look and they are apart; whether
    /// the page was written. The vCPU must not be in the guest.
    ///
    /// # Errors
    /// [`MachineError::Kvm`] if the counter cannot be read, and as [`write`].
    pub fn keep_right(&mut self, vcpu: &VcpuFd, memory: &GuestMemory, at: u64) -> Result<bool, MachineError> {
        if self.looked.elapsed() < LOOK_INTERVAL {
            return Ok(false);
        }
        self.looked = Instant::now();
        let reading = Reading::take(vcpu, self.wall)?;
        let then = reading.wall_ns.saturating_sub(self.passed_ns(reading.tsc));
        let apart = then.abs_diff(self.page.wall_clock_ns);
        // One that was held up says less; a host that never gives a good one still gets its steps through.
        if apart <= TOLERANCE_NS.saturating_add(reading.took_ns) {
            return Ok(false);
        }
        let page = TimePage { wall_clock_ns: then, ..self.page };
        write(memory, at, &page)?;
        self.page = page;
        Ok(true)
    }

    /// Nanoseconds that the counter has counted since the page's moment.
    fn passed_ns(&self, tsc: u64) -> u64 {
        let ticks = u128::from(tsc.saturating_sub(self.page.tsc_at));
        u64::try_from(ticks * 1_000_000_000 / u128::from(self.page.tsc_hz.max(1))).unwrap_or(u64::MAX)
    }

    /// How many lives the machine has had.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.page.generation
    }

    /// The guest's monotonic clock now. The vCPU must not be in the guest.
    ///
    /// # Errors
    /// [`KvmError`] if the counter cannot be read.
    pub fn monotonic_ns(&self, vcpu: &VcpuFd) -> Result<u64, KvmError> {
        Ok(self.page.monotonic_ns.saturating_add(self.passed_ns(vcpu::time_stamp(vcpu)?)))
    }

    /// Lets the clock go on from `monotonic_ns`, in a new life: a number larger than `generation` and than
    /// that of any this clock has seen.
    ///
    /// # Errors
    /// As [`page`] and [`write`].
    pub fn renew(
        &mut self,
        vcpu: &VcpuFd,
        memory: &GuestMemory,
        at: u64,
        monotonic_ns: u64,
        generation: u64,
    ) -> Result<(), MachineError> {
        let generation = generation.max(self.page.generation).saturating_add(1);
        self.page = page(vcpu, self.wall, self.tsc_khz, generation, monotonic_ns)?;
        self.looked = Instant::now();
        write(memory, at, &self.page)
    }
}
