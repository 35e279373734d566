//! The heartbeat: the guest tells the VMM that it is alive, as often as the VMM asks for.
//!
//! Sent from the timer while a container computes, and from the wait while it waits. Both call the gate
//! and touch atomics only, so that the timer may interrupt the wait in the middle of it.

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

/// Nanoseconds until the next; `u64::MAX` if there is none.
pub fn due_in_ns() -> u64 {
    match NEXT_NS.load(Relaxed) {
        u64::MAX => u64::MAX,
        next => next.saturating_sub(clock::monotonic_ns()),
    }
}

/// Sends one if it is time.
pub fn beat_if_due() {
    if due_in_ns() == 0 {
        NEXT_NS.store(clock::monotonic_ns().saturating_add(EVERY_NS.load(Relaxed)), Relaxed);
        gate::announce(Event::Heartbeat);
    }
}
