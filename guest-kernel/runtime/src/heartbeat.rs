//! The heartbeat: the guest tells the VMM that it is alive, as often as the VMM asks for.
//!
//! Sent by the scheduler, which the timer brings the processor back to.

use crate::machine::Machine;
use crate::{clock, gate};
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sentient_abi::sentinel::Event;

/// Nanoseconds between beats; 0 for none.
static EVERY_NS: AtomicU64 = AtomicU64::new(0);
/// Monotonic time of the next one.
static NEXT_NS: AtomicU64 = AtomicU64::new(u64::MAX);

/// Sets the pace by the VMM's facts.
pub fn start(machine: &Machine) {
    let every = machine.info.map_or(0, |info| info.heartbeat_ns);
    if every > 0 {
        EVERY_NS.store(every, Relaxed);
        NEXT_NS.store(clock::monotonic_ns().saturating_add(every), Relaxed);
    }
}

/// Whether there is one.
pub fn is_wanted() -> bool {
    EVERY_NS.load(Relaxed) > 0
}

/// Monotonic time of the next one; [`clock::NEVER`] if there is none.
pub fn due_at() -> u64 {
    NEXT_NS.load(Relaxed)
}

/// Sends one if it is time.
pub fn beat_if_due() {
    let next = NEXT_NS.load(Relaxed);
    if next == clock::NEVER {
        return;
    }
    let now = clock::monotonic_ns();
    if now >= next {
        NEXT_NS.store(now.saturating_add(EVERY_NS.load(Relaxed)), Relaxed);
        gate::announce(Event::Heartbeat);
    }
}
