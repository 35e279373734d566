//! A machine of a few regions, whose pages a test writes.

use sentient_abi::region::RegionKind;
use sentient_snapshot::capture::{Capture, Details};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::layout::{Layout, Region};
use sentient_snapshot::record::ContainerEntry;
use sentient_snapshot::{MemoryMap, PAGE_SIZE, Page, Record};
use sentient_zk::commitment::{Delta, Origin, StateOpening};
use sentient_zk::contract::Contract;
use sentient_zk::transition::Transition;

pub const MACHINE: [u8; 16] = [7; 16];

pub fn key() -> MachineKey {
    MachineKey::from_secret(&[0x42; 32])
}

pub fn region(kind: RegionKind, owner: u32, first: u64, pages: u64) -> Region {
    let base = first * PAGE_SIZE as u64;
    Region { name: kind.name().to_owned(), kind: kind as u32, owner, access: 1, base, pages }
}

/// Kernel text (pages 0 to 3), its data (4 to 7), a container's memory (8 to 15) and image (16 to 17).
pub fn regions() -> Vec<Region> {
    vec![
        region(RegionKind::NucleusText, 0, 0, 4),
        region(RegionKind::NucleusData, 0, 4, 4),
        region(RegionKind::Container, 0, 8, 8),
        region(RegionKind::Image, 0, 16, 2),
    ]
}

pub struct Snapshot {
    pub record: Record,
    pub memory: MemoryMap,
}

/// A snapshot of these regions after `before`, with pages that hold the given byte, and the machine state.
pub fn snapshot(
    before: Option<&Snapshot>,
    regions: Vec<Region>,
    dirty: &[(u64, u8)],
    state: &[u8],
) -> Snapshot {
    let layout = Layout::new(regions.clone(), std::slice::from_ref(&(0..32 * PAGE_SIZE as u64))).unwrap();
    let pages: Vec<(u64, Page)> = dirty.iter().map(|(gpn, byte)| (*gpn, [*byte; PAGE_SIZE])).collect();
    let pages: Vec<(u64, &Page)> = pages.iter().map(|(gpn, page)| (*gpn, page)).collect();
    let containers = regions.iter().filter(|region| region.kind == RegionKind::Container as u32);
    let containers = containers.map(|region| ContainerEntry {
        name: format!("web-{:#x}", region.base),
        index: region.owner,
        base: region.base,
    });
    let previous = before.map(|before| &before.memory);
    let capture = Capture { previous, layout: &layout, dirty: &pages, state };
    let commit = capture
        .commit(Details {
            machine: MACHINE,
            parent: before.map(|before| before.record.id()),
            created_unix_ns: 1,
            message: String::new(),
            kernel: [0; 32],
            containers: containers.collect(),
            outputs: vec![],
        })
        .unwrap();
    Snapshot { record: commit.record().clone(), memory: commit.memory().clone() }
}

pub fn first_snapshot() -> Snapshot {
    snapshot(None, regions(), &[(0, 1), (4, 2), (8, 3), (16, 4)], b"state 0")
}

impl Snapshot {
    pub fn delta_from(&self, old: &Self) -> Delta {
        Delta::between((&old.record, &old.memory), (&self.record, &self.memory))
    }

    /// What happened between `old` and this, if `opening` opens the state in which the machine was `old`.
    pub fn transition(
        &self,
        old: &Self,
        opening: StateOpening,
        origin: Origin,
        contract: &Contract,
    ) -> Transition {
        let delta = self.delta_from(old);
        let verdict = contract.check(Some(&old.record), &self.record, &delta).unwrap();
        Transition::between(opening, origin, &self.record, &delta, verdict)
    }

    pub fn genesis(&self, contract: &Contract) -> Transition {
        let delta = Delta::first(&self.record, &self.memory);
        let verdict = contract.check(None, &self.record, &delta).unwrap();
        Transition::first(&self.record, &delta, verdict)
    }
}
