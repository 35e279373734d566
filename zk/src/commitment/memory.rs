//! The slots of a snapshot, and the tree over them.

use std::sync::{LazyLock, OnceLock};

use ark_ff::AdditiveGroup;
use sentient_snapshot::Record;

use super::poseidon::{ARITY, hash_node};
use super::slot::{SLOTS, Slot, SlotSet};
use crate::scalar::{Scalar, truncated};

/// The context of BLAKE3's `derive_key` mode for a slot with several regions.
pub const SLOT_CONTEXT: &str = "SentientOS 2026 region slot v1";

/// What a node hashes to of which no slot is in use, as most are of a machine with few containers.
static UNUSED: LazyLock<Scalar> = LazyLock::new(|| hash_node(&[Scalar::ZERO; ARITY]));

/// A snapshot's memory and machine state, in 64 slots.
#[derive(Clone, Debug)]
pub struct Memory {
    slots: [Scalar; SLOTS],
    /// The nodes above the slots, once they were asked for: a hash takes a tenth of a millisecond.
    nodes: OnceLock<[Scalar; ARITY]>,
}

impl PartialEq for Memory {
    fn eq(&self, other: &Self) -> bool {
        self.slots == other.slots
    }
}

impl Eq for Memory {}

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
        Self::from_slots(roots.map(|roots| match roots.as_slice() {
            [] => Scalar::ZERO,
            [root] => truncated(root),
            roots => truncated(&blake3::derive_key(SLOT_CONTEXT, roots.as_flattened())),
        }))
    }

    /// Memory of any slots.
    #[must_use]
    pub fn from_slots(slots: [Scalar; SLOTS]) -> Self {
        Self { slots, nodes: OnceLock::new() }
    }

    /// The slots.
    #[must_use]
    pub fn slots(&self) -> &[Scalar; SLOTS] {
        &self.slots
    }

    /// The root of the 8-ary tree over the slots.
    #[must_use]
    pub fn root(&self) -> Scalar {
        hash_node(self.nodes.get_or_init(|| self.hashed(None)))
    }

    /// The same memory, with every node from `old` that is the same there: only what differs is hashed.
    #[must_use]
    pub fn after(self, old: &Self) -> Self {
        let nodes = match old.nodes.get() {
            Some(known) => OnceLock::from(self.hashed(Some((old, known)))),
            None => self.nodes,
        };
        Self { slots: self.slots, nodes }
    }

    /// The nodes above the slots. Of another memory they may be known already.
    fn hashed(&self, known: Option<(&Self, &[Scalar; ARITY])>) -> [Scalar; ARITY] {
        let mut nodes = [Scalar::ZERO; ARITY];
        let (chunks, _) = self.slots.as_chunks::<ARITY>();
        for (number, (node, slots)) in nodes.iter_mut().zip(chunks).enumerate() {
            let same = known.and_then(|(old, nodes)| {
                let (theirs, _) = old.slots.as_chunks::<ARITY>();
                nodes.get(number).filter(|_| theirs.get(number) == Some(slots))
            });
            *node = match same {
                Some(same) => *same,
                None if *slots == [Scalar::ZERO; ARITY] => *UNUSED,
                None => hash_node(slots),
            };
        }
        nodes
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

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(seed: u64, zeros: std::ops::Range<usize>) -> Memory {
        let mut slots = [Scalar::ZERO; SLOTS];
        for (number, slot) in slots.iter_mut().enumerate().filter(|(number, _)| !zeros.contains(number)) {
            *slot = (seed + number as u64).into();
        }
        Memory::from_slots(slots)
    }

    /// By the definition, with no node taken from anywhere.
    fn root(memory: &Memory) -> Scalar {
        let (chunks, _) = memory.slots.as_chunks::<ARITY>();
        let mut top = [Scalar::ZERO; ARITY];
        top.iter_mut().zip(chunks).for_each(|(node, slots)| *node = hash_node(slots));
        hash_node(&top)
    }

    #[test]
    fn a_root_is_the_same_whatever_was_known_before() {
        let old = memory(1, 20..60);
        for asked in [false, true] {
            assert!(!asked || old.root() == root(&old));
            for slot in [0, 7, 8, 19, 30, 63] {
                let mut slots = old.slots;
                if let Some(slot) = slots.get_mut(slot) {
                    *slot += Scalar::from(5u8);
                }
                let new = Memory::from_slots(slots).after(&old);
                assert_eq!(new.root(), root(&new), "slot {slot}");
                assert_ne!(new.root(), root(&old), "slot {slot}");
                // What was in use may not be any more.
                let back = old.clone().after(&new);
                assert_eq!(back.root(), root(&old), "slot {slot}");
            }
        }
        assert_eq!(memory(0, 0..SLOTS).root(), root(&memory(0, 0..SLOTS)));
    }
}
