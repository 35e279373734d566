//! From a paused machine's memory to a stored snapshot, without knowing what a machine is.
//!
//! The machine hands over what it has: its layout, the pages that were written since the last snapshot,
//! and the state of its vCPUs and devices. [`Capture::commit`] hashes them and makes the trees and the
//! record; [`Commit::store`] writes what the store lacks. Neither needs the machine paused, as long as
//! the pages that were handed over are copies.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::hash::{Domain, Hash, PageHash};
use crate::layout::Layout;
use crate::memory_map::MemoryMap;
use crate::page::{Page, hash_pages};
use crate::record::{ContainerEntry, FORMAT, OutputPosition, Record, RecordError, SnapshotId};
use crate::store::add::Added;
use crate::store::{Kind, MAX_STATE, NewSnapshot, Objects, Root, Store, StoreError};
use crate::tree::TreeError;
use crate::tree::compare::Placed;

/// What a snapshot is made of.
#[derive(Clone, Copy, Debug)]
pub struct Capture<'a> {
    /// The trees of the snapshot before it; `None` for a machine's first, which is then made of `dirty`
    /// pages and zeros.
    pub previous: Option<&'a MemoryMap>,
    /// What guest memory is now. A page belongs to the region that covers it here.
    pub layout: &'a Layout,
    /// Pages that were written since then, by guest physical page number, in any order, each once.
    pub dirty: &'a [(u64, &'a Page)],
    /// State of vCPUs and devices.
    pub state: &'a [u8],
}

/// What the record says beside that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Details {
    /// The machine.
    pub machine: [u8; 16],
    /// The snapshot before it.
    pub parent: Option<SnapshotId>,
    /// When, in nanoseconds since 1970 (UTC).
    pub created_unix_ns: u64,
    /// What its maker says about it.
    pub message: String,
    /// Digest of the guest kernel.
    pub kernel: [u8; 32],
    /// Containers, by ascending index.
    pub containers: Vec<ContainerEntry>,
    /// Output positions, by ascending container and stream.
    pub outputs: Vec<OutputPosition>,
}

/// Why no snapshot could be made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CaptureError {
    /// A page twice, or outside of guest memory.
    #[error("the dirty pages do not fit the layout: {0}")]
    Pages(#[from] TreeError),
    /// The record would be none.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// More state than a snapshot can have.
    #[error(
        "the state has {len} bytes and at most {MAX_STATE} can be stored; the machine has too many devices"
    )]
    State {
        /// Its length.
        len: usize,
    },
}

/// A snapshot, not yet stored.
#[derive(Debug)]
pub struct Commit<'a> {
    memory: MemoryMap,
    record: Record,
    id: SnapshotId,
    new: New<'a>,
}

/// What the store may lack.
#[derive(Debug)]
struct New<'a> {
    state: (Hash, &'a [u8]),
    nodes: HashMap<Hash, Placed>,
    pages: HashMap<PageHash, &'a Page>,
}

impl<'a> Capture<'a> {
    /// Hashes pages and state, and makes trees and record. Costs 1.5 us a page, on two threads if there
    /// are many.
    ///
    /// # Errors
    ///
    /// [`CaptureError`], naming the page or the field.
    pub fn commit(self, details: Details) -> Result<Commit<'a>, CaptureError> {
        if self.state.len() > MAX_STATE {
            return Err(CaptureError::State { len: self.state.len() });
        }
        let mut dirty = self.dirty.to_vec();
        dirty.sort_unstable_by_key(|(gpn, _)| *gpn);
        let pages: Vec<&Page> = dirty.iter().map(|(_, page)| *page).collect();
        let hashes = hash_pages(&pages);
        let changes: Vec<(u64, PageHash)> =
            dirty.iter().zip(&hashes).map(|((gpn, _), hash)| (*gpn, *hash)).collect();
        if let Some([_, (index, _)]) = changes.array_windows().find(|[one, two]| one.0 == two.0) {
            return Err(TreeError::Unsorted { index: *index }.into());
        }
        let memory = match self.previous {
            Some(previous) => previous.change(self.layout, &changes)?,
            None => MemoryMap::empty(self.layout).change(self.layout, &changes)?,
        };
        let state = Domain::State.hash(self.state);
        let record = Record {
            format: FORMAT,
            machine: details.machine,
            parent: details.parent,
            created_unix_ns: details.created_unix_ns,
            message: details.message,
            ram: memory.len(),
            kernel: details.kernel,
            regions: memory.entries(),
            state,
            state_len: self.state.len() as u64,
            dirty_pages: dirty.len() as u64,
            used_pages: memory.used_pages(),
            containers: details.containers,
            outputs: details.outputs,
        };
        record.check()?;
        let nodes = memory.new_nodes(self.previous);
        let new = New {
            state: (state, self.state),
            nodes: nodes.into_iter().map(|placed| (placed.node.hash(), placed)).collect(),
            pages: hashes.into_iter().zip(pages).filter(|(hash, _)| !hash.is_zero()).collect(),
        };
        Ok(Commit { memory, id: record.id(), record, new })
    }
}

impl Commit<'_> {
    /// The trees, to be kept for the next snapshot.
    #[must_use]
    pub fn memory(&self) -> &MemoryMap {
        &self.memory
    }

    /// The record, to be signed.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the snapshot is called.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// Writes what the store lacks. Durable when it returns; the timeline is to be told afterwards.
    ///
    /// # Errors
    ///
    /// As [`Store::add`]. [`StoreError::Missing`] means that the snapshot before is not in the store
    /// any more: capture all of memory then.
    pub fn store(&mut self, store: &Store) -> Result<Added, StoreError> {
        store.add(&stored(&self.record, self.id), &mut self.new)
    }
}

/// What a record's snapshot holds on to.
#[must_use]
pub fn stored(record: &Record, id: SnapshotId) -> NewSnapshot {
    NewSnapshot {
        root: Root { machine: record.machine, snapshot: id.0 },
        state: record.state,
        trees: record.regions.iter().map(|region| region.tree_root).collect(),
    }
}

impl Objects for New<'_> {
    fn object(&mut self, kind: Kind, hash: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(match kind {
            Kind::State => (self.state.0 == hash).then_some(Cow::Borrowed(self.state.1)),
            Kind::Node => self.nodes.get(&hash).map(|placed| Cow::Owned(placed.node.encode(placed.level))),
            Kind::Page => self.pages.get(&hash).map(|page| Cow::Borrowed(page.as_slice())),
        })
    }
}
