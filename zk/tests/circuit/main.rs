//! What the circuit demands, and that each demand is needed.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod false_witnesses;
mod size;

use sentient_snapshot::SnapshotId;
use sentient_zk::circuit::transition::Statement;
use sentient_zk::commitment::state::{genesis, meta};
use sentient_zk::commitment::{Memory, Origin, SLOTS, SlotSet, StateOpening};
use sentient_zk::scalar::Scalar;

/// A state with something in every slot.
pub fn old() -> StateOpening {
    let mut slots = [Scalar::default(); SLOTS];
    slots.iter_mut().zip(1000u64..).for_each(|(slot, value)| *slot = value.into());
    StateOpening {
        previous: genesis(&[1; 16]),
        memory: Memory::from_slots(slots),
        delta: 5u8.into(),
        meta: meta(Origin::Genesis, SnapshotId([1; 32])),
    }
}

/// The state after it, in which the slots `changed` differ.
pub fn new(changed: &[usize]) -> StateOpening {
    let mut slots = *old().memory.slots();
    for slot in changed {
        slots[*slot] += Scalar::from(1_000_000u64);
    }
    StateOpening {
        previous: old().state(),
        memory: Memory::from_slots(slots),
        delta: 6u8.into(),
        meta: meta(Origin::Snapshot, SnapshotId([2; 32])),
    }
}

pub fn mask(slots: &[usize]) -> SlotSet {
    SlotSet(slots.iter().fold(0, |mask, slot| mask | 1 << slot))
}

pub fn statement(changed: &[usize], dirty: &[usize], frozen: &[usize]) -> Statement {
    Statement {
        old_state: old().state(),
        new_state: new(changed).state(),
        dirty: mask(dirty),
        frozen: mask(frozen),
        contract: [9; 32],
    }
}
