//! How a snapshot's regions become slots.

use sentient_abi::region::RegionKind;
use sentient_zk::commitment::memory::SLOT_CONTEXT;
use sentient_zk::commitment::{Memory, Slot, SlotSet};
use sentient_zk::scalar::{Scalar, truncated};

use crate::machine::{first_snapshot, region, regions, snapshot};

fn slot(kind: RegionKind, owner: u32) -> Slot {
    Slot::of(kind as u32, owner)
}

#[test]
fn a_slot_holds_its_regions_root_and_nothing_where_there_is_none() {
    let record = first_snapshot().record;
    let memory = Memory::of(&record);
    let text = record.regions.iter().find(|region| region.kind == RegionKind::NucleusText as u32).unwrap();
    assert_eq!(memory.slots()[slot(RegionKind::NucleusText, 0).number()], truncated(&text.region_root.0));
    assert_eq!(memory.slots()[Slot::MACHINE_STATE.number()], truncated(&record.state.0));
    assert_eq!(memory.slots()[slot(RegionKind::Heap, 0).number()], Scalar::default());
}

#[test]
fn regions_of_one_slot_are_hashed_together_by_ascending_base() {
    let heap = |first| region(RegionKind::Unassigned, 0, first, 1);
    let record = snapshot(None, vec![heap(9), heap(2), heap(5)], &[(2, 1), (5, 2), (9, 3)], b"").record;
    let mut roots = Vec::new();
    for region in record.regions.iter().filter(|region| region.kind == RegionKind::Unassigned as u32) {
        roots.extend(region.region_root.0);
    }
    let expected = truncated(&blake3::derive_key(SLOT_CONTEXT, &roots));
    assert_eq!(Memory::of(&record).slots()[slot(RegionKind::Unassigned, 0).number()], expected);
}

#[test]
fn a_region_that_comes_goes_or_moves_changes_its_slot_and_no_other() {
    let before = first_snapshot();
    let differs = |regions| {
        let after = snapshot(Some(&before), regions, &[], b"state 0");
        Memory::of(&before.record).differs(&Memory::of(&after.record))
    };
    assert_eq!(differs(regions()), SlotSet::EMPTY);
    let unowned = Slot::of(0, 0);
    let with = |slot| SlotSet::EMPTY.with(unowned).with(slot);
    let mut more = regions();
    more.push(region(RegionKind::Container, 1, 20, 4));
    assert_eq!(differs(more), with(slot(RegionKind::Container, 1)));
    assert_eq!(differs(regions()[..3].to_vec()), with(slot(RegionKind::Image, 0)));
    let mut moved = regions();
    moved[3].base += 4096;
    assert_eq!(differs(moved), with(slot(RegionKind::Image, 0)));
    // Another owner with the same memory.
    let mut other = regions();
    other[2].owner = 5;
    let both = SlotSet::EMPTY.with(slot(RegionKind::Container, 0)).with(slot(RegionKind::Container, 5));
    assert_eq!(differs(other), both);
}

#[test]
fn a_page_changes_its_regions_slot_and_the_state_the_machines() {
    let before = first_snapshot();
    let after = snapshot(Some(&before), regions(), &[(9, 9)], b"state 1");
    let expected = SlotSet::EMPTY.with(Slot::MACHINE_STATE).with(slot(RegionKind::Container, 0));
    assert_eq!(Memory::of(&before.record).differs(&Memory::of(&after.record)), expected);
    assert_eq!(after.delta_from(&before).pages.len(), 1);
}
