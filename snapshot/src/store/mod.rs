//! The store: pages, tree nodes and states, each once, by their hashes.
//!
//! ```text
//! store/
//!   index.redb    where each object lies and how many hold on to it   (index)
//!   packs/7.pack  objects' bytes, only ever appended to               (pack)
//!   store.lock    held while the index is open, and no longer         (lock)
//!   writer.lock   held by whoever adds, removes or reclaims
//! ```
//!
//! A folder may serve several machines and several processes. A *root* (machine, snapshot) holds on to a
//! state and to trees; a tree node holds on to its children. What nothing holds on to any more is freed.
//!
//! * [`add`]: a snapshot goes in: bytes, sync, then one transaction on the index;
//! * [`mend`]: damaged objects are replaced;
//! * [`remove`]: a root goes, and what only it held;
//! * [`reclaim`]: space goes back to the file system;
//! * [`session`], [`reader`]: one look at the index, then reads without it;
//! * [`check`]: the index against the packs.
//!
//! Invariants:
//!
//! 1. Bytes are durable before the index names them, and the index stops naming them before they go.
//!    So a process killed anywhere leaves a store that opens, with at worst unnamed bytes, which the next
//!    writer drops.
//! 2. Nothing is returned that was not checked against its hash.
//! 3. A writer holds up readers only for its transaction on the index, not while it writes packs. A
//!    reader has the packs it needs open before it lets go of the index, so that reclaiming does not
//!    pull them from under it.

pub mod add;
pub mod check;
pub mod error;
mod index;
pub(crate) mod lock;
pub mod mend;
pub mod object;
mod pack;
pub mod reader;
pub mod reclaim;
pub mod remove;
pub mod session;

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use redb::{ReadableTable, ReadableTableMetadata};

pub use add::{NewSnapshot, Objects};
pub use error::StoreError;
pub use index::Entry;
use index::{Place, ReadIndex};
use lock::Lock;
pub use object::{Encoding, Kind, MAX_STATE};
pub use pack::PACK_TARGET;
pub use reader::Reader;
pub use session::Session;

/// What stands for no quota.
const NO_QUOTA: u64 = u64::MAX;

/// A store's folder. Cheap to clone; holds no file open.
#[derive(Clone, Debug)]
pub struct Store {
    packs: PathBuf,
    writer_lock: PathBuf,
    place: Place,
    /// Clones have it together.
    quota: Arc<AtomicU64>,
}

/// How full a store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Objects, each counted once.
    pub objects: u64,
    /// Bytes of all packs.
    pub bytes: u64,
    /// Bytes of them that belong to objects.
    pub live_bytes: u64,
    /// Bytes of the index.
    pub index_bytes: u64,
}

/// A root: who holds on to objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Root {
    /// The machine's id.
    pub machine: [u8; 16],
    /// The snapshot's id.
    pub snapshot: [u8; 32],
}

impl Store {
    /// Opens the store in `folder`, and makes an empty one if there is none. `quota`: the most bytes
    /// that its packs may have; not kept in the store.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`] if the folder cannot be used, [`StoreError::Version`] and
    /// [`StoreError::Index`] if what is in it is not a store of this format.
    pub fn open(folder: &Path, quota: Option<u64>) -> Result<Self, StoreError> {
        let store = Self::open_unseen(folder, quota)?;
        drop(ReadIndex::open(&store.place)?);
        Ok(store)
    }

    /// The same, for who is about to read from it, and finds out then what it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Io`].
    pub fn open_unseen(folder: &Path, quota: Option<u64>) -> Result<Self, StoreError> {
        let packs = folder.join("packs");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&packs)
            .map_err(StoreError::io("create", &packs))?;
        let (writer_lock, place) = (folder.join("writer.lock"), Place::in_folder(folder));
        let quota = Arc::new(AtomicU64::new(quota.unwrap_or(NO_QUOTA)));
        let store = Self { packs, writer_lock, place, quota };
        store.place.create_if_missing()?;
        Ok(store)
    }

    /// Sets the most bytes that the packs may have, for this and all its clones; `None` for no limit.
    pub fn set_quota(&self, quota: Option<u64>) {
        self.quota.store(quota.unwrap_or(NO_QUOTA), Ordering::Relaxed);
    }

    fn quota(&self) -> Option<u64> {
        Some(self.quota.load(Ordering::Relaxed)).filter(|quota| *quota != NO_QUOTA)
    }

    /// How full it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`] and [`StoreError::Io`].
    pub fn usage(&self) -> Result<Usage, StoreError> {
        let index = ReadIndex::open(&self.place)?;
        let packs = index.all_packs()?;
        let file = &self.place.index;
        Ok(Usage {
            objects: index.objects.len()?,
            bytes: packs.iter().fold(0, |sum, (_, end, _)| sum.saturating_add(*end)),
            live_bytes: packs.iter().fold(0, |sum, (_, _, live)| sum.saturating_add(*live)),
            index_bytes: fs::metadata(file).map_err(StoreError::io("look at", file))?.len(),
        })
    }

    /// All roots; with `machine`, only that machine's.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`].
    pub fn roots(&self, machine: Option<[u8; 16]>) -> Result<Vec<Root>, StoreError> {
        let index = ReadIndex::open(&self.place)?;
        let mut roots = Vec::new();
        for row in index.roots.iter()? {
            let (key, _) = row?;
            let mut root = Root { machine: [0; 16], snapshot: [0; 32] };
            let parts = root.machine.iter_mut().chain(&mut root.snapshot);
            for (to, from) in parts.zip(key.value()) {
                *to = *from;
            }
            if machine.is_none_or(|machine| machine == root.machine) {
                roots.push(root);
            }
        }
        Ok(roots)
    }

    /// Opens the index for reading. Writers wait until the session is dropped.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`] and [`StoreError::Io`].
    pub fn session(&self) -> Result<Session, StoreError> {
        Ok(Session::new(ReadIndex::open(&self.place)?, &self.packs))
    }

    /// A file in the store's folder that is gone when it is closed, or when the process dies.
    pub(crate) fn scratch(&self) -> Result<File, StoreError> {
        tempfile::tempfile_in(&self.packs).map_err(StoreError::io("make a file in", &self.packs))
    }

    /// Keeps all other writers out, and drops what one that died has left behind.
    fn begin_write(&self) -> Result<Lock, StoreError> {
        let lock = Lock::exclusive(&self.writer_lock)?;
        let known = ReadIndex::open(&self.place)?.all_packs()?;
        pack::drop_orphans(&self.packs, &known)?;
        Ok(lock)
    }
}
