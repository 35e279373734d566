//! One development key for all tests, and what is proved with it. A binary takes this in by its path.

#![allow(dead_code, reason = "each test binary uses its part of this")]

use std::fs::{self, File};
use std::path::Path;
use std::sync::LazyLock;

use sentient_snapshot::hash::hex;
use sentient_zk::circuit::{Shape, Statement};
use sentient_zk::commitment::{Memory, SLOTS, SlotSet, StateOpening};
use sentient_zk::keys::{KeySet, development};
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use sentient_zk::scalar::Scalar;
use sentient_zk::verify::{Proof, Verifier};

/// Made once, and kept for the tests after it: each runs in a process of its own.
pub static KEYS: LazyLock<KeySet> = LazyLock::new(|| {
    let circuit = hex(&Shape::transition_digest());
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("development-keys-{circuit}"));
    fs::create_dir_all(&folder).unwrap();
    let lock = File::create(folder.join("lock")).unwrap();
    lock.lock().unwrap();
    KeySet::load(&folder).unwrap_or_else(|_| {
        let keys = development::setup().unwrap();
        keys.save(&folder).unwrap();
        keys
    })
});
pub static PROVER: LazyLock<Prover> = LazyLock::new(|| Prover::new(&KEYS, Threads::default()).unwrap());
pub static VERIFIER: LazyLock<Verifier> = LazyLock::new(|| Verifier::new(KEYS.verifying().clone()));

/// A true statement with its openings: slot `changed` differs.
pub fn transition(changed: usize) -> (Statement, StateOpening, StateOpening) {
    let mut slots = [Scalar::from(77u8); SLOTS];
    let old = StateOpening {
        previous: 1u8.into(),
        memory: Memory::from_slots(slots),
        delta: 2u8.into(),
        meta: 3u8.into(),
    };
    slots[changed] = Scalar::from(78u8);
    let new = StateOpening { previous: old.state(), memory: Memory::from_slots(slots), ..old.clone() };
    let statement = Statement {
        old_state: old.state(),
        new_state: new.state(),
        dirty: SlotSet(1 << changed),
        frozen: SlotSet(0b10),
        contract: [9; 32],
    };
    (statement, old, new)
}

pub fn proved(changed: usize) -> (Statement, Proof) {
    proved_with(&PROVER, changed)
}

pub fn proved_with(prover: &Prover, changed: usize) -> (Statement, Proof) {
    let (statement, old, new) = transition(changed);
    (statement, prover.prove(&statement, &old, &new).unwrap())
}
