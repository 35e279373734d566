//! Time: everything from the time-stamp counter, which ring 3 reads natively on every KVM host.

use crate::gate;
use crate::machine::Machine;
use core::sync::atomic::{AtomicU64, Ordering};

static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);
/// Nanoseconds since 1970 minus the monotonic clock.
static WALL_OFFSET_NS: AtomicU64 = AtomicU64::new(0);
/// The counter when the runtime started: the monotonic clock's zero.
static START: AtomicU64 = AtomicU64::new(0);

/// Sets the clocks by the VMM's facts, or measures them.
pub fn start(machine: &Machine) {
    START.store(time_stamp(), Ordering::Relaxed);
    match machine.info {
        Some(info) if info.tsc_hz > 0 => {
            TSC_HZ.store(info.tsc_hz, Ordering::Relaxed);
            TIMER_HZ.store(info.lapic_timer_hz, Ordering::Relaxed);
            let since = ticks_to_ns(time_stamp().saturating_sub(info.wall_clock_tsc));
            WALL_OFFSET_NS.store(
                info.wall_clock_ns.saturating_add(since).saturating_sub(monotonic_ns()),
                Ordering::Relaxed,
            );
        }
        _ => {
            let rates = gate::measure_clocks();
            let (tsc_khz, timer_khz) = (rates & 0xffff_ffff, rates >> 32);
            if tsc_khz > 0 {
                TSC_HZ.store(tsc_khz * 1000, Ordering::Relaxed);
                TIMER_HZ.store(timer_khz * 1000, Ordering::Relaxed);
            }
            let wall = unix_ns(gate::real_time_clock());
            WALL_OFFSET_NS.store(wall.saturating_sub(monotonic_ns()), Ordering::Relaxed);
        }
    }
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: reads a counter; the nucleus leaves CR4.TSD clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// Nanoseconds of a number of ticks of the counter.
pub fn ticks_to_ns(ticks: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(TSC_HZ.load(Ordering::Relaxed).max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Nanoseconds since the runtime started.
pub fn monotonic_ns() -> u64 {
    ticks_to_ns(time_stamp().saturating_sub(START.load(Ordering::Relaxed)))
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn wall_ns() -> u64 {
    monotonic_ns().saturating_add(WALL_OFFSET_NS.load(Ordering::Relaxed))
}

/// Arms the one-shot timer to fire in `ns` nanoseconds, or as far as its 32 bits reach: it may fire too
/// early. Never disarms.
pub fn arm_timer(ns: u64) {
    let ticks = u128::from(ns) * u128::from(TIMER_HZ.load(Ordering::Relaxed)) / 1_000_000_000;
    gate::timer(u32::try_from(ticks).unwrap_or(u32::MAX).max(1));
}

/// Seconds of the packed calendar time of the gate, in nanoseconds since 1970.
fn unix_ns(packed: u64) -> u64 {
    if packed == 0 {
        return 0;
    }
    let field = |shift: u64| packed >> shift & 0xff;
    let (year, month, day) = (2000 + field(40), field(32).clamp(1, 12), field(24).max(1));
    // Days of the proleptic Gregorian calendar, counting years from March.
    let (y, m) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    let seconds = days * 86_400 + field(16) * 3600 + field(8) * 60 + field(0);
    seconds * 1_000_000_000
}
