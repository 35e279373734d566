//! Time: everything from the time-stamp counter, which ring 3 reads natively on every KVM host, and from the
//! page in which the VMM says what time it is (`sentient_abi::time_page`). Under a foreign loader, which has
//! no such page, the clocks are measured once.

use crate::gate;
use crate::machine::Machine;
use core::sync::atomic::{AtomicU64, Ordering, Ordering::Relaxed, fence};
use sentient_abi::region::RegionKind;
use sentient_abi::time_page::TimePage;

/// Address of the time page; 0 if there is none.
static PAGE: AtomicU64 = AtomicU64::new(0);
static TIMER_HZ: AtomicU64 = AtomicU64::new(0);
/// Monotonic time at which the timer fires; [`NEVER`] if it is not armed, or has fired.
static ARMED_FOR: AtomicU64 = AtomicU64::new(NEVER);

/// Without a time page: the counter's rate, the counter when the runtime started, and nanoseconds since
/// 1970 at that moment.
static TSC_HZ: AtomicU64 = AtomicU64::new(1_000_000_000);
static START: AtomicU64 = AtomicU64::new(0);
static WALL_AT_START: AtomicU64 = AtomicU64::new(0);

/// How soon the timer looks again when it finds a thread in the runtime's code, in nanoseconds.
pub const RETRY_NS: u64 = 1_000_000;
/// A monotonic time that does not come.
pub const NEVER: u64 = u64::MAX;

/// Finds the time page, or measures the clocks.
pub fn start(machine: &Machine) {
    START.store(time_stamp(), Relaxed);
    match (machine.info, machine.region(RegionKind::Time)) {
        (Some(info), Some(region)) => {
            PAGE.store(region.base, Relaxed);
            TIMER_HZ.store(info.lapic_timer_hz, Relaxed);
        }
        _ => {
            measure();
            set_wall_clock();
        }
    }
}

fn measure() {
    let rates = gate::measure_clocks();
    let (tsc_khz, timer_khz) = (rates & 0xffff_ffff, rates >> 32);
    if tsc_khz > 0 {
        TSC_HZ.store(tsc_khz * 1000, Relaxed);
        TIMER_HZ.store(timer_khz * 1000, Relaxed);
    }
}

fn set_wall_clock() {
    let wall = unix_ns(gate::real_time_clock());
    WALL_AT_START.store(wall.saturating_sub(monotonic_ns()), Relaxed);
}

/// The machine was booted since it was this time: its counter began anew, and monotonic time goes on.
pub fn go_on(monotonic_ns: u64) {
    measure();
    let ticks = u128::from(monotonic_ns) * u128::from(TSC_HZ.load(Relaxed)) / 1_000_000_000;
    START.store(time_stamp().wrapping_sub(ticks as u64), Relaxed);
    set_wall_clock();
    forget_timer();
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    // SAFETY: reads a counter; the nucleus leaves CR4.TSD clear.
    unsafe { core::arch::x86_64::_rdtsc() }
}

/// What the time page says, with the counter read while it said so.
fn read_page(page: *const TimePage) -> (TimePage, u64) {
    loop {
        // SAFETY: the region's page, mapped for the machine's life; only the VMM writes it, which is what
        // the sequence is for. Any bytes are a `TimePage`.
        unsafe {
            let before = (&raw const (*page).sequence).read_volatile();
            fence(Ordering::Acquire);
            let read = page.read_volatile();
            let now = time_stamp();
            fence(Ordering::Acquire);
            if before.is_multiple_of(2) && (&raw const (*page).sequence).read_volatile() == before {
                return (read, now);
            }
        }
        core::hint::spin_loop();
    }
}

fn page() -> Option<*const TimePage> {
    match PAGE.load(Relaxed) {
        0 => None,
        address => Some(address as *const TimePage),
    }
}

fn scale(ticks: u64, hz: u64) -> u64 {
    let ns = u128::from(ticks) * 1_000_000_000 / u128::from(hz.max(1));
    u64::try_from(ns).unwrap_or(u64::MAX)
}

/// Nanoseconds of a number of ticks of the counter.
pub fn ticks_to_ns(ticks: u64) -> u64 {
    let hz = page().map_or_else(|| TSC_HZ.load(Relaxed), |page| read_page(page).0.tsc_hz);
    scale(ticks, hz)
}

/// Nanoseconds since the machine started. Across a rollback it is the VMM's business whether they go on.
pub fn monotonic_ns() -> u64 {
    match page() {
        Some(page) => {
            let (page, now) = read_page(page);
            page.monotonic_ns.saturating_add(scale(now.saturating_sub(page.tsc_at), page.tsc_hz))
        }
        // The start may be one of before the counter's, see `go_on`.
        None => scale(time_stamp().wrapping_sub(START.load(Relaxed)), TSC_HZ.load(Relaxed)),
    }
}

/// Nanoseconds since 1970-01-01 UTC.
pub fn wall_ns() -> u64 {
    match page() {
        Some(page) => {
            let (page, now) = read_page(page);
            page.wall_clock_ns.saturating_add(scale(now.saturating_sub(page.tsc_at), page.tsc_hz))
        }
        None => WALL_AT_START.load(Relaxed).saturating_add(monotonic_ns()),
    }
}

/// The machine's life; 0 if nobody says.
pub fn life() -> u64 {
    page().map_or(0, |page| read_page(page).0.generation)
}

/// The machine's life and its seed of random numbers; `None` if nobody says.
pub fn generation() -> Option<(u64, [u8; 32])> {
    let (page, _) = read_page(page()?);
    Some((page.generation, page.seed))
}

/// The first of the numbers that are given out in a life of the machine: above all that any earlier one has given out.
pub fn first_number(life: u64) -> u64 {
    life << 32
}

/// Number of the time page, another one whenever the VMM has written it; 0 if nobody says.
pub fn page_number() -> u64 {
    page().map_or(0, |page| read_page(page).0.sequence)
}

/// Sees to it that the timer fires at monotonic time `deadline` at the latest. It may fire earlier: for a
/// deadline that has passed on since, or because its 32 bits reach no further. Never disarms.
pub fn wake_by(deadline: u64) {
    // Arming costs a gate call; a timer that fires before is as good, since it is armed again then.
    if deadline == NEVER || ARMED_FOR.load(Relaxed) <= deadline {
        return;
    }
    let ns = deadline.saturating_sub(monotonic_ns());
    ARMED_FOR.store(deadline, Relaxed);
    gate::timer(timer_ticks(ns));
}

/// As many ticks of the timer; at least one, because none disarms it.
pub fn timer_ticks(ns: u64) -> u32 {
    let ticks = u128::from(ns) * u128::from(TIMER_HZ.load(Relaxed)) / 1_000_000_000;
    u32::try_from(ticks).unwrap_or(u32::MAX).max(1)
}

/// An interrupt has come, which may have been the timer's: it is armed anew when it is needed.
pub fn forget_timer() {
    ARMED_FOR.store(NEVER, Relaxed);
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
