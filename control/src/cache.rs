//! Pages of snapshots in memory, so that going back to a recent one reads no file.
//!
//! What is in here was copied from the guest by this process, or read from the store and compared with its
//! hash: it is trusted.

use sentient_snapshot::hash::PageHash;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::store::Store;
use sentient_vmm::snapshots::{PageBytes, PageContents, PageSource};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

/// Most bytes of pages.
pub const BUDGET: usize = 256 << 20;

/// The key is a hash already: its first bytes are as good as any other hash of it.
#[derive(Debug, Default)]
pub struct FirstBytes(u64);

impl Hasher for FirstBytes {
    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }

    fn write_usize(&mut self, _: usize) {
        // The length of a key, which all have.
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Pages by their hash.
#[derive(Debug, Default)]
pub struct PageCache {
    pages: HashMap<PageHash, Box<PageBytes>, BuildHasherDefault<FirstBytes>>,
    /// In the order they came: the first goes first.
    order: VecDeque<PageHash>,
}

impl PageCache {
    /// Keeps a page.
    pub fn insert(&mut self, hash: PageHash, page: &PageBytes) {
        if hash.is_zero() || self.pages.contains_key(&hash) {
            return;
        }
        while self.pages.len() >= BUDGET / size_of::<PageBytes>() {
            match self.order.pop_front() {
                Some(oldest) => drop(self.pages.remove(&oldest)),
                None => break,
            }
        }
        self.pages.insert(hash, Box::new(*page));
        self.order.push_back(hash);
    }
}

/// The memory of one snapshot: from the cache, and what is not in there from the store.
pub struct SnapshotPages<'a> {
    /// Which page has which hash.
    pub map: &'a MemoryMap,
    /// Pages in memory.
    pub cache: &'a mut PageCache,
    /// All others.
    pub store: &'a Store,
}

impl SnapshotPages<'_> {
    /// Reads what of these pages is not in memory.
    ///
    /// # Errors
    /// The store's.
    pub fn load(&mut self, numbers: &[u64]) -> io::Result<()> {
        let hashes: Vec<PageHash> = numbers.iter().map(|number| self.map.page_hash(*number)).collect();
        self.load_missing(&hashes)
    }

    fn load_missing(&mut self, hashes: &[PageHash]) -> io::Result<()> {
        let absent = |hash: &&PageHash| !hash.is_zero() && !self.cache.pages.contains_key(*hash);
        let missing: Vec<PageHash> = hashes.iter().filter(absent).copied().collect();
        if missing.is_empty() {
            return Ok(());
        }
        let reader = self.store.session().and_then(|session| session.locate(missing.iter().copied()));
        let reader = reader.map_err(io::Error::other)?;
        let cache = &mut *self.cache;
        reader
            .read_pages(missing, |hash, page| {
                cache.insert(hash, page);
                Ok::<(), sentient_snapshot::store::StoreError>(())
            })
            .map_err(io::Error::other)
    }
}

impl PageSource for SnapshotPages<'_> {
    fn pages(&mut self, numbers: &[u64]) -> io::Result<Vec<PageContents<'_>>> {
        let hashes: Vec<PageHash> = numbers.iter().map(|number| self.map.page_hash(*number)).collect();
        self.load_missing(&hashes)?;
        let contents = |hash: &PageHash| {
            if hash.is_zero() {
                return Ok(PageContents::Zero);
            }
            let page = self.cache.pages.get(hash);
            page.map(|page| PageContents::Bytes(page))
                .ok_or_else(|| io::Error::other(format!("more pages differ than {} MiB hold", BUDGET >> 20)))
        };
        hashes.iter().map(contents).collect()
    }
}
