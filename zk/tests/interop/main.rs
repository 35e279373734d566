//! Our exports in other people's programs: snarkjs, solc and an EVM. Needs node and npm, and fails without.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod ceremony;
mod evm;
mod node;
mod snarkjs;

use std::sync::LazyLock;

use sentient_zk::circuit::Statement;
use sentient_zk::commitment::{Memory, SLOTS, SlotSet, StateOpening};
use sentient_zk::keys::{KeySet, development};
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use sentient_zk::scalar::Scalar;
use sentient_zk::verify::Proof;

pub static KEYS: LazyLock<KeySet> = LazyLock::new(|| development::setup().unwrap());

/// A true statement and its proof with these keys.
pub fn proved(keys: &KeySet) -> (Statement, Proof) {
    let mut slots = [Scalar::from(77u8); SLOTS];
    let old = StateOpening {
        previous: 1u8.into(),
        memory: Memory::from_slots(slots),
        delta: 2u8.into(),
        meta: 3u8.into(),
    };
    slots[20] = Scalar::from(78u8);
    let new = StateOpening { previous: old.state(), memory: Memory::from_slots(slots), ..old.clone() };
    let statement = Statement {
        old_state: old.state(),
        new_state: new.state(),
        dirty: SlotSet(1 << 20),
        frozen: SlotSet(0b10),
        contract: [9; 32],
    };
    let prover = Prover::new(keys, Threads::default()).unwrap();
    (statement, prover.prove(&statement, &old, &new).unwrap())
}
