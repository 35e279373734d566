//! A guest that is nothing but memory, and takes snapshots of itself.

use std::collections::BTreeMap;
use std::path::Path;

use sentient_snapshot::capture::{Capture, Details};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::layout::{Layout, Region};
use sentient_snapshot::page::ZERO_PAGE;
use sentient_snapshot::record::{ContainerEntry, OutputPosition};
use sentient_snapshot::store::Root;
use sentient_snapshot::{
    MemoryMap, PAGE_SIZE, Page, Record, SignedRecord, SnapshotId, Store, StoreError, Trust, sealed,
};

/// xorshift64*: seeded numbers that are the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, end: u64) -> u64 {
        (self.next() >> 11) % end
    }

    /// Zeros, compressible or not.
    pub fn page(&mut self) -> Page {
        let mut page = ZERO_PAGE;
        let random = [0, PAGE_SIZE / 4, PAGE_SIZE, PAGE_SIZE][self.below(4) as usize];
        for chunk in page[..random].chunks_mut(8) {
            chunk.copy_from_slice(&self.next().to_le_bytes());
        }
        page
    }
}

/// A database, opened behind the back of the crate.
pub fn unseal(path: &Path) -> redb::Database {
    sealed::open(&redb::Database::builder(), path).unwrap()
}

pub const PAGES: u64 = 300;

/// The machine that imports.
pub const HOLDER: [u8; 16] = *b"a machine over t";

pub struct Guest {
    pub key: MachineKey,
    pub layout: Layout,
    pub memory: BTreeMap<u64, Page>,
    pub map: Option<MemoryMap>,
    pub parent: Option<SnapshotId>,
    pub machine: [u8; 16],
    pub time: u64,
}

pub fn region(name: &str, kind: u32, first: u64, pages: u64) -> Region {
    let base = first * PAGE_SIZE as u64;
    Region { name: name.to_owned(), kind, owner: 0, access: 1, base, pages }
}

pub fn layout(regions: Vec<Region>, pages: u64) -> Layout {
    Layout::new(regions, std::slice::from_ref(&(0..pages * PAGE_SIZE as u64))).unwrap()
}

pub fn usual_layout() -> Layout {
    layout(vec![region("heap", 11, 10, 100), region("box", 14, 200, 70)], PAGES)
}

pub fn store(folder: &Path) -> Store {
    Store::open(&folder.join("store"), None).unwrap()
}

impl Guest {
    pub fn new(number: u8) -> Self {
        Self {
            key: MachineKey::from_secret(&[number; 32]),
            layout: usual_layout(),
            memory: BTreeMap::new(),
            map: None,
            parent: None,
            machine: [number; 16],
            time: 1_000_000,
        }
    }

    pub fn trust(&self) -> Trust {
        Trust::only(self.key.public())
    }

    /// Writes random pages; returns which.
    pub fn run(&mut self, random: &mut Random, pages: u64) -> Vec<u64> {
        let end = self.layout.regions().last().unwrap().range().end;
        let mut dirty: Vec<u64> = (0..pages).map(|_| random.below(end)).collect();
        dirty.sort_unstable();
        dirty.dedup();
        for gpn in &dirty {
            self.memory.insert(*gpn, random.page());
        }
        dirty
    }

    pub fn try_snapshot(&mut self, store: &Store, dirty: &[u64]) -> Result<SignedRecord, StoreError> {
        self.time += 1;
        let pages: Vec<(u64, &Page)> = dirty.iter().map(|gpn| (*gpn, &self.memory[gpn])).collect();
        let state = [&self.machine[..], &self.time.to_le_bytes(), &[7; 1000]].concat();
        let capture =
            Capture { previous: self.map.as_ref(), layout: &self.layout, dirty: &pages, state: &state };
        let mut commit = capture
            .commit(Details {
                machine: self.machine,
                parent: self.parent,
                created_unix_ns: self.time,
                message: "a test".to_owned(),
                kernel: [3; 32],
                containers: vec![ContainerEntry {
                    name: "hello".to_owned(),
                    index: 0,
                    base: self.layout.regions().iter().find(|region| region.kind != 0).unwrap().base,
                }],
                outputs: vec![OutputPosition { container: 0, stream: 1, bytes: 12 }],
            })
            .unwrap();
        commit.store(store)?;
        let signed = SignedRecord::sign(commit.record().clone(), &self.key).unwrap();
        assert_eq!(signed.id(), commit.id());
        self.map = Some(commit.memory().clone());
        self.parent = Some(signed.id());
        Ok(signed)
    }

    pub fn snapshot(&mut self, store: &Store, dirty: &[u64]) -> SignedRecord {
        self.try_snapshot(store, dirty).unwrap()
    }

    pub fn run_and_snapshot(&mut self, store: &Store, random: &mut Random, pages: u64) -> SignedRecord {
        let dirty = self.run(random, pages);
        self.snapshot(store, &dirty)
    }
}

/// All memory of a stored snapshot that is not zero.
pub fn memory_of(store: &Store, record: &Record) -> Result<BTreeMap<u64, Page>, StoreError> {
    let session = store.session()?;
    let map = MemoryMap::load(record, &session)?;
    let mut places = Vec::new();
    map.visit(0..u64::MAX, |gpn, hash| places.push((gpn, hash)));
    let reader = session.locate(places.iter().map(|(_, hash)| *hash))?;
    drop(session);
    let mut memory = BTreeMap::new();
    for (gpn, hash) in places {
        memory.insert(gpn, reader.read_page(hash)?);
    }
    Ok(memory)
}

pub fn without_zeros(memory: &BTreeMap<u64, Page>) -> BTreeMap<u64, Page> {
    memory.iter().filter(|(_, page)| **page != ZERO_PAGE).map(|(gpn, page)| (*gpn, *page)).collect()
}

pub fn root(signed: &SignedRecord) -> Root {
    Root { machine: signed.record().machine, snapshot: signed.id().0 }
}
