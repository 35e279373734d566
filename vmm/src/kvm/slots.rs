//! Which pieces of guest memory are memory slots of their own.
//!
//! A slot costs KVM 2.6 bytes a page of the host's memory, zeroed: 1 ms for 4 GiB. So a machine that goes on from a
//! snapshot is given at first what its guest uses as it stands, and all else later ([`Vm::give_all`]).
//!
//! [`Vm::give_all`]: super::vm::Vm::give_all

use crate::memory::GuestMemory;
use sentient_abi::LARGE_PAGE_SIZE;
use std::ops::Range;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

/// Bytes between two ranges in use that are given with them: a slot each costs as much.
const GAP: u64 = 16 << 20;

/// A slot; its number is its place in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    /// Position of the piece of RAM that it is in.
    pub ram: usize,
    /// The part of it, in bytes.
    pub part: Range<u64>,
    /// KVM has it.
    pub given: bool,
}

impl Slot {
    pub fn len(&self) -> u64 {
        self.part.end - self.part.start
    }
}

/// All of `memory` as slots, none of which is given: first those with addresses `in_use`, by large pages, then all
/// others. How many the first are. Addresses without RAM are ignored.
pub(super) fn plan(memory: &GuestMemory, in_use: &[Range<u64>]) -> (Vec<Slot>, usize) {
    let (mut first, mut rest) = (Vec::new(), Vec::new());
    for (ram, region) in memory.iter().enumerate() {
        let (base, len) = (region.start_addr().raw_value(), region.len());
        let slot = |part: Range<u64>| Slot { ram, part, given: false };
        let mut at = 0;
        for part in near(in_use, base, len) {
            if part.start > at {
                rest.push(slot(at..part.start));
            }
            at = part.end;
            first.push(slot(part));
        }
        if at < len {
            rest.push(slot(at..len));
        }
    }
    let count = first.len();
    first.append(&mut rest);
    (first, count)
}

/// The parts of `len` bytes of RAM at `base` that are in use, ascending.
fn near(in_use: &[Range<u64>], base: u64, len: u64) -> Vec<Range<u64>> {
    let mut parts: Vec<Range<u64>> = in_use
        .iter()
        .map(|range| range.start.saturating_sub(base).min(len)..range.end.saturating_sub(base).min(len))
        .filter(|part| part.start < part.end)
        .map(|part| {
            let end = part.end.next_multiple_of(LARGE_PAGE_SIZE).min(len);
            part.start / LARGE_PAGE_SIZE * LARGE_PAGE_SIZE..end
        })
        .collect();
    parts.sort_by_key(|part| part.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for part in parts {
        match merged.last_mut() {
            Some(last) if part.start.saturating_sub(last.end) <= GAP => last.end = last.end.max(part.end),
            _ => merged.push(part),
        }
    }
    merged
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#[expect(clippy::single_range_in_vec_init, reason = "arguments are lists of ranges")]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const HIGH: u64 = 4 << 30;
    const LOW_LEN: u64 = 0xd000_0000;

    /// In MiB: the piece of RAM, from, to.
    fn planned(ram: u64, in_use: &[Range<u64>]) -> (Vec<(usize, u64, u64)>, usize) {
        let memory = crate::memory::allocate(ram).unwrap();
        let (slots, first) = plan(&memory, in_use);
        assert!(slots.iter().all(|slot| !slot.given));
        (slots.iter().map(|slot| (slot.ram, slot.part.start / MIB, slot.part.end / MIB)).collect(), first)
    }

    #[test]
    fn what_is_in_use_comes_first_and_all_ram_is_in_a_slot() {
        let in_use = [3 * MIB..4 * MIB, LOW_LEN - 5..LOW_LEN, HIGH + 100 * MIB..HIGH + 101 * MIB, 0..MIB];
        let all = [(0, 0, 4), (0, 3326, 3328), (1, 100, 102), (0, 4, 3326), (1, 0, 100), (1, 102, 768)];
        assert_eq!(planned(4 << 30, &in_use), (all.to_vec(), 3));
    }

    #[test]
    fn ranges_close_to_each_other_are_one_slot() {
        assert_eq!(planned(64 * MIB, &[2 * MIB..4 * MIB, 19 * MIB..20 * MIB]).0[0], (0, 2, 20));
        assert_eq!(planned(64 * MIB, &[2 * MIB..4 * MIB, 22 * MIB..23 * MIB]).0[0], (0, 2, 4));
        assert_eq!(planned(64 * MIB, &[0..60 * MIB, 3 * MIB..4 * MIB]).0[0], (0, 0, 60));
    }

    #[test]
    fn all_of_a_machine_in_use_is_a_slot_for_each_piece_of_ram() {
        assert_eq!(planned(25 * MIB, &[0..u64::MAX]), (vec![(0, 0, 25)], 1));
        assert_eq!(planned(4 << 30, &[0..u64::MAX]), (vec![(0, 0, 3328), (1, 0, 768)], 2));
        assert_eq!(planned(25 * MIB, &[]), (vec![(0, 0, 25)], 0));
        // Where there is no RAM.
        assert_eq!(planned(25 * MIB, &[26 * MIB..u64::MAX, 3..3]).1, 0);
    }
}
