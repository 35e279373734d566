//! Whether a stored snapshot is what its record says, to the last byte.

use std::collections::{HashMap, HashSet};

use crate::hash::Hash;
use crate::record::Record;
use crate::store::{Kind, Store, StoreError};
use crate::tree::node::{Decoded, pages_per_child};
use crate::tree::{TreeError, levels};

/// Objects for which the index is opened once. Writers of the store wait no longer than they take to read.
const BATCH: usize = 1024;

/// What is wrong with a snapshot.
#[derive(Debug, thiserror::Error)]
#[error("{}: {error}", self.place())]
pub struct Problem {
    /// The object's hash.
    pub hash: Hash,
    /// What it is.
    pub kind: Kind,
    /// Region and the first page that needs the object; `None` for the state.
    pub page: Option<PageAt>,
    /// What is wrong with it.
    pub error: StoreError,
}

/// A page's place in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageAt {
    /// The region's name.
    pub region: String,
    /// The region's base, a guest physical address.
    pub base: u64,
    /// Index of the page in the region.
    pub index: u64,
}

/// What was read of a snapshot.
#[derive(Debug, Default)]
pub struct Verified {
    /// Tree nodes that are good.
    pub nodes: u64,
    /// Pages that are good, each counted once.
    pub pages: u64,
    /// Everything that is not.
    pub problems: Vec<Problem>,
}

impl Problem {
    fn place(&self) -> String {
        match &self.page {
            Some(page) => format!("page {} of region {} at {:#x}", page.index, page.region, page.base),
            None => "state".to_owned(),
        }
    }
}

/// Reads all of a snapshot: its state, its trees, its pages, each object once.
///
/// # Errors
///
/// Only if the store itself cannot be used. What is wrong with the snapshot is in
/// [`Verified::problems`].
pub fn verify(store: &Store, record: &Record) -> Result<Verified, StoreError> {
    let mut verified = Verified::default();
    let session = store.session()?;
    match session.object(Kind::State, record.state) {
        Ok(state) if state.len() as u64 == record.state_len => {}
        Ok(state) => {
            let what =
                format!("the state has {} bytes and the record says {}", state.len(), record.state_len);
            verified.note(record.state, Kind::State, None, StoreError::IndexDamaged { what });
        }
        Err(error) => verified.note(record.state, Kind::State, None, error),
    }
    drop(session);
    let mut pages: Vec<(Hash, PageAt)> = Vec::new();
    let mut seen = HashSet::new();
    for region in &record.regions {
        let at = |index| PageAt { region: region.name.clone(), base: region.base, index };
        let mut level = levels(region.pages);
        let mut nodes: HashMap<Hash, u64> = HashMap::new();
        if !region.tree_root.is_zero() {
            nodes.insert(region.tree_root, 0);
        }
        // A level at a time, so that a node that is named many times is read once.
        while level > 0 && !nodes.is_empty() {
            level -= 1;
            let mut these: Vec<(Hash, u64)> = nodes.drain().collect();
            these.sort_unstable_by_key(|(hash, first)| (*first, *hash));
            for batch in these.chunks(BATCH) {
                let session = store.session()?;
                for (hash, first) in batch {
                    let read = session.object(Kind::Node, *hash);
                    match read.and_then(|bytes| checked(*hash, &bytes, level, *first, region.pages)) {
                        Ok(node) => {
                            verified.nodes += u64::from(seen.insert(*hash));
                            for (slot, child) in (0..).zip(&*node.children) {
                                let index = first + slot * pages_per_child(level);
                                if child.is_zero() {
                                } else if level > 0 {
                                    nodes.entry(*child).or_insert(index);
                                } else if seen.insert(*child) {
                                    pages.push((*child, at(index)));
                                }
                            }
                        }
                        Err(error) => verified.note(*hash, Kind::Node, Some(at(*first)), error),
                    }
                }
            }
        }
    }
    for batch in pages.chunks(BATCH) {
        let session = store.session()?;
        for (hash, at) in batch {
            match session.object(Kind::Page, *hash) {
                Ok(_) => verified.pages += 1,
                Err(error) => verified.note(*hash, Kind::Page, Some(at.clone()), error),
            }
        }
    }
    Ok(verified)
}

impl Verified {
    fn note(&mut self, hash: Hash, kind: Kind, page: Option<PageAt>, error: StoreError) {
        self.problems.push(Problem { hash, kind, page, error });
    }
}

fn checked(hash: Hash, bytes: &[u8], level: u8, first: u64, pages: u64) -> Result<Decoded, StoreError> {
    let node = Decoded::read(hash, bytes)?;
    let refused = |problem: String| Err(TreeError::Node { hash, problem }.into());
    if node.level != level {
        return refused(format!("says level {} at a place of level {level}", node.level));
    }
    let past = (0u64..).zip(&*node.children).find(|(slot, child)| {
        !child.is_zero() && first.saturating_add(slot.saturating_mul(pages_per_child(level))) >= pages
    });
    match past {
        Some(_) => refused("has pages past the region's end".to_owned()),
        None => Ok(node),
    }
}
