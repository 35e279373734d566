//! A second implementation of what docs/proofs.md says, against ours: the state of a stored snapshot, from
//! the bytes of its export.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

mod second;

use sentient_snapshot::record::{SignedRecord, Trust};
use sentient_zk::commitment::state::meta;
use sentient_zk::commitment::{Delta, Memory, Origin, StateOpening};
use sentient_zk::scalar::to_bytes;

/// An export of the first format, which the snapshot crate's tests keep readable.
const EXPORT: &[u8] = include_bytes!("../../../snapshot/tests/golden/export-v1.bin");

/// The state of `EXPORT`'s snapshot as a machine's first: the vector of docs/proofs.md, little-endian.
const STATE: &str = "907f74fbcfc73866b87cb5d32b2b33db10242bcfd8bd1ef8cf3d3aea222d8817";

#[test]
fn both_implementations_find_the_same_state() {
    let theirs = second::first_state(EXPORT);
    let len = u32::from_le_bytes(EXPORT[12..16].try_into().unwrap()) as usize;
    let envelope = &EXPORT[16..16 + len];
    let trust = Trust::only(SignedRecord::claimed_key(envelope).unwrap());
    let signed = SignedRecord::decode(envelope, &trust).unwrap();
    let record = signed.record();
    let memory = Memory::of(record);
    assert_eq!(theirs.slots, memory.slots().map(|slot| to_bytes(&slot)));
    assert_eq!(theirs.root, to_bytes(&memory.root()));
    // All pages of the export, by the second implementation's own walk through its trees.
    let pages = theirs
        .pages
        .iter()
        .map(|(gpn, hash)| (*gpn, sentient_snapshot::Hash::ZERO, sentient_snapshot::Hash(*hash)));
    let delta = Delta { old_state: [0; 32], new_state: record.state.0, pages: pages.collect() };
    assert_eq!(delta.pages.len() as u64, record.used_pages);
    let opening = StateOpening {
        previous: sentient_zk::commitment::state::genesis(&record.machine),
        memory,
        delta: delta.scalar(),
        meta: meta(Origin::Genesis, signed.id()),
    };
    assert_eq!(theirs.state, to_bytes(&opening.state()));
    assert_eq!(sentient_snapshot::hash::hex(&theirs.state), STATE);
}
