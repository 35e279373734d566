//! The index: where each object lies, and what holds on to it.
//!
//! One redb file, its blocks [sealed](crate::sealed). redb locks it for a whole process, so it is open only while [`ReadIndex`] or
//! [`write`] needs it, under `store.lock`: shared for reading, exclusive for writing. Commits save
//! redb's allocator state (quick repair), so that the file opens at once after a crash, also for
//! reading alone.

use std::path::{Path, PathBuf};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadOnlyTable, ReadableDatabase, ReadableTable,
    TableDefinition, WriteTransaction,
};

use super::error::StoreError;
use super::lock::Lock;
use super::object::{Encoding, Kind};
use crate::hash::Hash;
use crate::sealed;

/// Format of the index and of the packs.
pub(super) const FORMAT: u64 = 1;

/// Bytes of redb's cache. The index of 100,000 objects has about 8 MiB.
const CACHE: usize = 16 << 20;

const ENTRY_LEN: usize = 26;

pub(super) const OBJECTS: TableDefinition<'static, &[u8; 32], &[u8; ENTRY_LEN]> =
    TableDefinition::new("objects");
/// Pack number -> (bytes from its start that are in use or were, bytes of live objects).
pub(super) const PACKS: TableDefinition<'static, u32, (u64, u64)> = TableDefinition::new("packs");
/// Machine and snapshot -> state hash, then tree roots.
pub(super) const ROOTS: TableDefinition<'static, &[u8; 48], &[u8]> = TableDefinition::new("roots");
pub(super) const META: TableDefinition<'static, &str, u64> = TableDefinition::new("meta");

/// Where an object lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// How its bytes lie there.
    pub encoding: Encoding,
    /// Number of the pack.
    pub pack: u32,
    /// Bytes in the pack before it.
    pub offset: u64,
    /// Bytes it takes in the pack.
    pub stored: u32,
    /// Bytes it has.
    pub len: u32,
    /// Places that name it: children of stored nodes, and roots.
    pub references: u32,
}

impl Entry {
    pub(super) fn encode(&self) -> [u8; ENTRY_LEN] {
        let mut bytes = [0; ENTRY_LEN];
        let fields = [
            &[self.kind as u8, self.encoding as u8][..],
            &self.pack.to_le_bytes(),
            &self.offset.to_le_bytes(),
            &self.stored.to_le_bytes(),
            &self.len.to_le_bytes(),
            &self.references.to_le_bytes(),
        ];
        for (to, from) in bytes.iter_mut().zip(fields.into_iter().flatten()) {
            *to = *from;
        }
        bytes
    }

    /// The entry of `hash`, if it is one that [`encode`](Self::encode) writes.
    pub(super) fn decode(hash: Hash, bytes: &[u8; ENTRY_LEN]) -> Result<Self, StoreError> {
        let damaged = || StoreError::IndexDamaged { what: format!("nothing sensible about object {hash}") };
        let word = |at: usize| {
            let mut word = [0; 4];
            for (to, from) in word.iter_mut().zip(bytes.iter().skip(at)) {
                *to = *from;
            }
            u32::from_le_bytes(word)
        };
        let entry = Self {
            kind: bytes.first().copied().and_then(Kind::from_u8).ok_or_else(damaged)?,
            encoding: bytes.get(1).copied().and_then(Encoding::from_u8).ok_or_else(damaged)?,
            pack: word(2),
            offset: u64::from(word(6)) | u64::from(word(10)) << 32,
            stored: word(14),
            len: word(18),
            references: word(22),
        };
        if entry.kind.allows(entry.len as usize)
            && entry.stored <= entry.len
            && entry.offset.checked_add(u64::from(entry.stored)).is_some()
        {
            Ok(entry)
        } else {
            Err(damaged())
        }
    }
}

/// Key of a root.
pub(super) fn root_key(machine: &[u8; 16], snapshot: &[u8; 32]) -> [u8; 48] {
    let mut key = [0; 48];
    for (to, from) in key.iter_mut().zip(machine.iter().chain(snapshot)) {
        *to = *from;
    }
    key
}

/// Hashes that a root holds: the state's, then those of trees.
pub(super) fn decode_root(bytes: &[u8]) -> Result<Vec<(Kind, Hash)>, StoreError> {
    if bytes.is_empty() || !bytes.len().is_multiple_of(32) {
        return Err(StoreError::IndexDamaged { what: format!("a root has {} bytes", bytes.len()) });
    }
    let mut hashes = Vec::with_capacity(bytes.len() / 32);
    for chunk in bytes.chunks_exact(32) {
        let mut hash = Hash::ZERO;
        hash.0.copy_from_slice(chunk);
        hashes.push((if hashes.is_empty() { Kind::State } else { Kind::Node }, hash));
    }
    Ok(hashes)
}

/// Where the files of the index are.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub index: PathBuf,
    pub lock: PathBuf,
}

impl Place {
    pub fn in_folder(folder: &Path) -> Self {
        Self { index: folder.join("index.redb"), lock: folder.join("store.lock") }
    }

    /// Makes an empty index if there is none.
    pub fn create_if_missing(&self) -> Result<(), StoreError> {
        if self.index.exists() {
            return Ok(());
        }
        let _lock = Lock::exclusive(&self.lock)?;
        sealed::create(&builder(), &self.index, |db| {
            let mut txn = db.begin_write()?;
            txn.set_quick_repair(true);
            txn.open_table(OBJECTS)?;
            txn.open_table(PACKS)?;
            txn.open_table(ROOTS)?;
            {
                let mut meta = txn.open_table(META)?;
                meta.insert("format", FORMAT)?;
                meta.insert("next_pack", 1)?;
            }
            txn.commit()?;
            Ok(())
        })
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

/// The index, open for reading, with all writers of it waiting.
pub(super) struct ReadIndex {
    pub objects: ReadOnlyTable<&'static [u8; 32], &'static [u8; ENTRY_LEN]>,
    pub packs: ReadOnlyTable<u32, (u64, u64)>,
    pub roots: ReadOnlyTable<&'static [u8; 48], &'static [u8]>,
    pub next_pack: u32,
    // Dropped last, in this order.
    _db: ReadOnlyDatabase,
    _lock: Lock,
}

impl ReadIndex {
    pub fn open(place: &Place) -> Result<Self, StoreError> {
        let mut lock = Lock::shared(&place.lock)?;
        let db = match sealed::open_read_only(&builder(), &place.index) {
            Err(DatabaseError::RepairAborted) => {
                // A writer died at a moment after which only opening for writing repairs.
                drop(lock);
                {
                    let _exclusive = Lock::exclusive(&place.lock)?;
                    drop(sealed::open(&builder(), &place.index)?);
                }
                lock = Lock::shared(&place.lock)?;
                sealed::open_read_only(&builder(), &place.index)?
            }
            other => other?,
        };
        let txn = db.begin_read()?;
        let meta = txn.open_table(META)?;
        check_format(meta.get("format")?.map(|value| value.value()))?;
        let next_pack = meta.get("next_pack")?.and_then(|value| u32::try_from(value.value()).ok());
        let next_pack = next_pack
            .ok_or_else(|| StoreError::IndexDamaged { what: "no number of the next pack".to_owned() })?;
        Ok(Self {
            objects: txn.open_table(OBJECTS)?,
            packs: txn.open_table(PACKS)?,
            roots: txn.open_table(ROOTS)?,
            next_pack,
            _db: db,
            _lock: lock,
        })
    }

    /// Where `hash` lies, if it is stored. `kind` is what the caller knows it to be.
    pub fn get(&self, kind: Kind, hash: Hash) -> Result<Option<Entry>, StoreError> {
        let Some(found) = self.objects.get(&hash.0)? else { return Ok(None) };
        let entry = Entry::decode(hash, found.value())?;
        if entry.kind == kind {
            Ok(Some(entry))
        } else {
            let what = format!("{hash} is a {} where a {kind} is named", entry.kind);
            Err(StoreError::IndexDamaged { what })
        }
    }

    /// All packs: number, bytes, live bytes.
    pub fn all_packs(&self) -> Result<Vec<(u32, u64, u64)>, StoreError> {
        let mut packs = Vec::new();
        for row in self.packs.iter()? {
            let (number, lengths) = row?;
            let (end, live) = lengths.value();
            packs.push((number.value(), end, live));
        }
        Ok(packs)
    }

    /// All objects.
    pub fn all_objects(&self) -> Result<Vec<(Hash, Entry)>, StoreError> {
        let mut objects = Vec::new();
        for row in self.objects.iter()? {
            let (hash, entry) = row?;
            let hash = Hash(*hash.value());
            objects.push((hash, Entry::decode(hash, entry.value())?));
        }
        Ok(objects)
    }
}

/// One transaction on the index, with all readers of it waiting. On an error nothing has changed.
pub(super) fn write(
    place: &Place,
    change: impl FnOnce(&WriteTransaction) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let _lock = Lock::exclusive(&place.lock)?;
    let db = sealed::open(&builder(), &place.index)?;
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    check_format(txn.open_table(META)?.get("format")?.map(|value| value.value()))?;
    change(&txn)?;
    txn.commit()?;
    Ok(())
}

fn check_format(found: Option<u64>) -> Result<(), StoreError> {
    match found {
        Some(FORMAT) => Ok(()),
        found => Err(StoreError::Version {
            what: "the store's index".to_owned(),
            found: found.unwrap_or(0),
            supported: FORMAT,
        }),
    }
}
