//! The slots of a snapshot, and the tree over them.

use ark_ff::AdditiveGroup;
use sentient_snapshot::Record;

use super::poseidon::{ARITY, hash_node};
use super::slot::{SLOTS, Slot, SlotSet};
use crate::scalar::{Scalar, truncated};

/// The context of BLAKE3's `derive_key` mode for a slot with several regions.
pub const SLOT_CONTEXT: &str = "SentientOS 2026 region slot v1";

/// A snapshot's memory and machine state, in 64 slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    slots: [Scalar; SLOTS],
}

impl Memory {
    /// That of a record. Costs some 10 us: the hashes are in the record.
    #[must_use]
    pub fn of(record: &Record) -> Self {
        let mut roots: [Vec<[u8; 32]>; SLOTS] = [const { Vec::new() }; SLOTS];
        if let Some(first) = roots.first_mut() {
            first.push(record.state.0);
        }
        // A record's regions ascend by base.
        for region in &record.regions {
            if let Some(here) = roots.get_mut(Slot::of(region.kind, region.owner).number()) {
                here.push(region.region_root.0);
            }
        }
        Self {
            slots: roots.map(|roots| match roots.as_slice() {
                [] => Scalar::ZERO,
                [root] => truncated(root),
                roots => truncated(&blake3::derive_key(SLOT_CONTEXT, roots.as_flattened())),
            }),
        }
    }

    /// Memory of any slots.
    #[must_use]
    pub fn from_slots(slots: [Scalar; SLOTS]) -> Self {
        Self { slots }
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &[Scalar; SLOTS] {
        &self.slots
    }

    /// The root of the 8-ary tree over the slots.
    #[must_use]
    pub fn root(&self) -> Scalar {
        let mut top = [Scalar::ZERO; ARITY];
        let (nodes, _) = self.slots.as_chunks::<ARITY>();
        for (root, node) in top.iter_mut().zip(nodes) {
            *root = hash_node(node);
        }
        hash_node(&top)
    }

    /// The slots that differ.
    #[must_use]
    pub fn differs(&self, other: &Self) -> SlotSet {
        Slot::all()
            .zip(self.slots.iter().zip(&other.slots))
            .filter(|(_, (one, two))| one != two)
            .map(|(slot, _)| slot)
            .collect()
    }
}
