//! A machine's snapshots: a tree that only grows by new leaves, with names, and a *head*, which is the
//! snapshot that the running machine goes on from.
//!
//! One redb file in the machine's folder, its blocks [sealed](crate::sealed), opened by the process that owns the
//! machine, which is also what keeps a second process out. Every operation is one transaction: it is durable when it
//! returns, or has not happened. Until the first one that changes something it is open for reading only: opening a
//! file for writing costs a sync, which a machine that starts need not wait for.
//!
//! * this file: the tables and the operations;
//! * [`names`]: what people call snapshots;
//! * [`ancestry`]: who comes from whom, and in which order they may go.
//!
//! A record never changes, so a child goes on to name a parent that was removed. What was removed leaves a
//! *tombstone*: its id and its parent's, for as long as something descends from it.

pub mod ancestry;
pub mod error;
pub mod names;

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

use redb::{
    Builder, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase, ReadableTable,
    TableDefinition, TableError, WriteTransaction,
};

use crate::record::{SignedRecord, SnapshotId, Trust};
use crate::sealed;
pub use ancestry::LogEntry;
pub use error::TimelineError;
pub use names::check_tag;

/// Name of the file in a machine's folder.
pub const TIMELINE_FILE: &str = "timeline.redb";

/// Snapshots that pruning keeps, unless set otherwise.
pub const DEFAULT_KEEP: u64 = 64;

const FORMAT: u64 = 1;
const CACHE: usize = 4 << 20;
const PARENT_LEN: usize = 41;

type Id = &'static [u8; 32];

/// Id -> signed record.
const SNAPSHOTS: TableDefinition<'static, Id, &[u8]> = TableDefinition::new("snapshots");
/// Id -> creation, and parent if there is one. Of all snapshots and of tombstones.
const PARENTS: TableDefinition<'static, Id, &[u8; PARENT_LEN]> = TableDefinition::new("parents");
const TAGS: TableDefinition<'static, &str, Id> = TableDefinition::new("tags");
const HEADS: TableDefinition<'static, &str, Id> = TableDefinition::new("heads");
const SETTINGS: TableDefinition<'static, &str, u64> = TableDefinition::new("settings");

const HEAD: &str = "head";
const UNDO_SNAPSHOT: &str = "undo snapshot";
const UNDO_HEAD: &str = "undo head";

/// How to undo the last rollback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Undo {
    /// The snapshot that was taken of the machine before it was rolled back.
    pub snapshot: SnapshotId,
    /// The head at that time.
    pub head: SnapshotId,
}

/// What is kept of a machine, and how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Snapshots that pruning leaves.
    pub keep: u64,
    /// Most bytes of the store, if there is a limit.
    pub quota: Option<u64>,
}

/// A machine's timeline, open.
pub struct Timeline {
    /// `None` after a write that failed: redb does nothing more with a file that it could not write, so it
    /// is opened anew by whoever comes next. By then there may be space again.
    db: RwLock<Option<Access>>,
    path: PathBuf,
    /// The record that was looked at last, as it lies there: its signature is not checked again.
    last: Mutex<Option<(Vec<u8>, SignedRecord)>>,
}

/// How the file is open.
enum Access {
    Reading(ReadOnlyDatabase),
    Writing(Database),
}

impl Access {
    /// For reading, if whoever wrote to it last has closed it.
    fn least(path: &Path) -> Result<Self, DatabaseError> {
        match sealed::open_read_only(&builder(), path) {
            Err(DatabaseError::RepairAborted) => Self::full(path),
            opened => opened.map(Self::Reading),
        }
    }

    fn full(path: &Path) -> Result<Self, DatabaseError> {
        sealed::open(&builder(), path).map(Self::Writing)
    }
}

/// A look at it. Nobody opens the file anew meanwhile.
struct Look<'a> {
    // Dropped in this order.
    txn: ReadTransaction,
    _db: RwLockReadGuard<'a, Option<Access>>,
}

impl Deref for Look<'_> {
    type Target = ReadTransaction;

    fn deref(&self) -> &ReadTransaction {
        &self.txn
    }
}

impl Timeline {
    /// Opens the timeline in a file, or makes an empty one.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`], also when another process has it open; [`TimelineError::Version`].
    pub fn open(path: &Path) -> Result<Self, TimelineError> {
        if !path.exists() {
            sealed::create(&builder(), path, fill)?;
        }
        let access = Access::least(path)?;
        let timeline = Self { db: RwLock::new(Some(access)), path: path.to_owned(), last: Mutex::new(None) };
        let found = match timeline.read()?.open_table(SETTINGS) {
            Ok(settings) => settings.get("format")?.map(|value| value.value()),
            Err(TableError::TableDoesNotExist(_)) => None,
            Err(error) => return Err(error.into()),
        };
        match found {
            Some(FORMAT) => Ok(timeline),
            found => Err(TimelineError::Version { found: found.unwrap_or(0), supported: FORMAT }),
        }
    }

    /// Adds a snapshot, and makes it the head. With `tag`, names it.
    ///
    /// # Errors
    ///
    /// [`TimelineError::NoParent`], [`TimelineError::SecondFirst`], [`TimelineError::TagName`],
    /// [`TimelineError::TagTaken`]. One that is there already is fine.
    pub fn add(&self, snapshot: &SignedRecord, tag: Option<&str>) -> Result<(), TimelineError> {
        self.write(|txn| {
            let id = snapshot.id();
            match snapshot.record().parent {
                _ if txn.open_table(SNAPSHOTS)?.get(&id.0)?.is_some() => {}
                Some(parent) if txn.open_table(SNAPSHOTS)?.get(&parent.0)?.is_none() => {
                    return Err(TimelineError::NoParent { id, parent });
                }
                None if txn.open_table(PARENTS)?.first()?.is_some() => {
                    return Err(TimelineError::SecondFirst { id });
                }
                _ => {}
            }
            put(txn, snapshot)?;
            txn.open_table(HEADS)?.insert(HEAD, &id.0)?;
            tag.map_or(Ok(()), |tag| put_tag(txn, tag, id, false).map(drop))
        })
    }

    /// Adds a snapshot that came from elsewhere: its parent need not be there, and the head stays,
    /// unless there is none.
    ///
    /// # Errors
    ///
    /// [`TimelineError::TagName`], [`TimelineError::TagTaken`].
    pub fn adopt(&self, snapshot: &SignedRecord, tag: Option<&str>) -> Result<(), TimelineError> {
        self.write(|txn| {
            put(txn, snapshot)?;
            let mut heads = txn.open_table(HEADS)?;
            if heads.get(HEAD)?.is_none() {
                heads.insert(HEAD, &snapshot.id().0)?;
            }
            drop(heads);
            tag.map_or(Ok(()), |tag| put_tag(txn, tag, snapshot.id(), false).map(drop))
        })
    }

    /// A snapshot's record, checked.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Unknown`], and [`TimelineError::Record`] if it is not what was put there.
    pub fn get(&self, id: SnapshotId) -> Result<SignedRecord, TimelineError> {
        let txn = self.read()?;
        let snapshots = txn.open_table(SNAPSHOTS)?;
        let Some(bytes) = snapshots.get(&id.0)? else {
            return Err(TimelineError::Unknown { name: id.to_string() });
        };
        let bytes = bytes.value();
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, record)) = &*last
            && record.id() == id
            && known == bytes
        {
            return Ok(record.clone());
        }
        let record = stored_record(id, bytes)?;
        *last = Some((bytes.to_owned(), record.clone()));
        Ok(record)
    }

    /// The current snapshot; `None` before the first.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn head(&self) -> Result<Option<SnapshotId>, TimelineError> {
        named(&*self.read()?, HEAD)
    }

    /// Makes a snapshot the head. With `undo`, notes how to come back; without, forgets it.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Unknown`] if one of the three is not there.
    pub fn move_head(&self, to: SnapshotId, undo: Option<Undo>) -> Result<(), TimelineError> {
        self.write(|txn| {
            let snapshots = txn.open_table(SNAPSHOTS)?;
            let noted = undo.into_iter().flat_map(|undo| [undo.snapshot, undo.head]);
            for id in std::iter::once(to).chain(noted) {
                if snapshots.get(&id.0)?.is_none() {
                    return Err(TimelineError::Unknown { name: id.to_string() });
                }
            }
            let mut heads = txn.open_table(HEADS)?;
            heads.insert(HEAD, &to.0)?;
            for (name, id) in [(UNDO_SNAPSHOT, undo.map(|u| u.snapshot)), (UNDO_HEAD, undo.map(|u| u.head))] {
                match id {
                    Some(id) => heads.insert(name, &id.0).map(drop)?,
                    None => heads.remove(name).map(drop)?,
                }
            }
            Ok(())
        })
    }

    /// How to undo the last rollback, if there was one.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn undo(&self) -> Result<Option<Undo>, TimelineError> {
        let txn = self.read()?;
        let (snapshot, head) = (named(&txn, UNDO_SNAPSHOT)?, named(&txn, UNDO_HEAD)?);
        Ok(snapshot.zip(head).map(|(snapshot, head)| Undo { snapshot, head }))
    }

    /// Names a snapshot. With `moving`, takes the tag from the one that has it. Gives the one that had it.
    ///
    /// # Errors
    ///
    /// [`TimelineError::TagName`], [`TimelineError::TagTaken`], [`TimelineError::Unknown`].
    pub fn set_tag(
        &self,
        tag: &str,
        id: SnapshotId,
        moving: bool,
    ) -> Result<Option<SnapshotId>, TimelineError> {
        self.write(|txn| put_tag(txn, tag, id, moving))
    }

    /// Takes a tag away. Gives the snapshot that had it.
    ///
    /// # Errors
    ///
    /// [`TimelineError::NoTag`].
    pub fn remove_tag(&self, tag: &str) -> Result<SnapshotId, TimelineError> {
        self.write(|txn| match txn.open_table(TAGS)?.remove(tag)? {
            Some(of) => Ok(SnapshotId(*of.value())),
            None => Err(TimelineError::NoTag { name: tag.to_owned() }),
        })
    }

    /// Removes a snapshot from the timeline; its root in the store is the caller's to remove afterwards.
    /// With `force`, also one with tags or one that a rollback would be undone to; never the head.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Unknown`], [`TimelineError::Held`].
    pub fn remove(&self, id: SnapshotId, force: bool) -> Result<(), TimelineError> {
        self.write(|txn| {
            let held = |why: String| Err(TimelineError::Held { id, why });
            let mut snapshots = txn.open_table(SNAPSHOTS)?;
            if snapshots.get(&id.0)?.is_none() {
                return Err(TimelineError::Unknown { name: id.to_string() });
            }
            let mut heads = txn.open_table(HEADS)?;
            let is = |name: &str, table: &redb::Table<'_, &str, Id>| -> Result<bool, TimelineError> {
                Ok(table.get(name)?.is_some_and(|value| *value.value() == id.0))
            };
            if is(HEAD, &heads)? {
                return held("the current one; roll back to another one first".to_owned());
            }
            let mut tags = txn.open_table(TAGS)?;
            let names = tags_of(&tags, id)?;
            if is(UNDO_SNAPSHOT, &heads)? || is(UNDO_HEAD, &heads)? {
                if !force {
                    return held("needed to undo the last rollback; force it to give that up".to_owned());
                }
                heads.remove(UNDO_SNAPSHOT)?;
                heads.remove(UNDO_HEAD)?;
            }
            if let (Some(name), false) = (names.first(), force) {
                return held(format!("tagged {name:?}; remove the tag first, or force it"));
            }
            for name in &names {
                tags.remove(name.as_str())?;
            }
            snapshots.remove(&id.0)?;
            ancestry::bury(&snapshots, &mut txn.open_table(PARENTS)?, id)
        })
    }

    /// What is kept.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn settings(&self) -> Result<Settings, TimelineError> {
        let txn = self.read()?;
        let table = txn.open_table(SETTINGS)?;
        let keep = table.get("keep")?.map_or(DEFAULT_KEEP, |value| value.value());
        Ok(Settings { keep, quota: table.get("quota")?.map(|value| value.value()) })
    }

    /// Changes what is kept. Nothing is pruned by it.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn set_settings(&self, settings: Settings) -> Result<(), TimelineError> {
        self.write(|txn| {
            let mut table = txn.open_table(SETTINGS)?;
            table.insert("keep", settings.keep)?;
            match settings.quota {
                Some(quota) => table.insert("quota", quota).map(drop)?,
                None => table.remove("quota").map(drop)?,
            }
            Ok(())
        })
    }

    fn write<T>(
        &self,
        change: impl FnOnce(&WriteTransaction) -> Result<T, TimelineError>,
    ) -> Result<T, TimelineError> {
        let done = self.with_writable(|db| transaction(db, change));
        if let Err(TimelineError::Database(error)) = &done
            && matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo)
        {
            *self.db.write().unwrap_or_else(PoisonError::into_inner) = None;
        }
        done
    }

    fn read(&self) -> Result<Look<'_>, TimelineError> {
        loop {
            // Whoever panicked with the lock was in a transaction, which is undone.
            let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
            let txn = match db.as_ref() {
                Some(Access::Reading(db)) => db.begin_read()?,
                Some(Access::Writing(db)) => db.begin_read()?,
                None => {
                    drop(db);
                    let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
                    if db.is_none() {
                        *db = Some(Access::least(&self.path)?);
                    }
                    continue;
                }
            };
            return Ok(Look { txn, _db: db });
        }
    }

    /// Something with the database open for writing. Whoever calls this has no [`Look`].
    fn with_writable<T>(
        &self,
        work: impl FnOnce(&Database) -> Result<T, TimelineError>,
    ) -> Result<T, TimelineError> {
        let db = self.db.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(Access::Writing(db)) = db.as_ref() {
            return work(db);
        }
        drop(db);
        let mut db = self.db.write().unwrap_or_else(PoisonError::into_inner);
        if !matches!(*db, Some(Access::Writing(_))) {
            // Closed first: the file is locked by whoever has it open.
            *db = None;
            *db = Some(Access::full(&self.path)?);
        }
        match db.as_ref() {
            Some(Access::Writing(db)) => work(db),
            // Not so: it was opened just now.
            _ => Err(DatabaseError::DatabaseAlreadyOpen.into()),
        }
    }
}

fn builder() -> Builder {
    let mut builder = Database::builder();
    builder.set_cache_size(CACHE);
    builder
}

fn transaction<T>(
    db: &Database,
    change: impl FnOnce(&WriteTransaction) -> Result<T, TimelineError>,
) -> Result<T, TimelineError> {
    let mut txn = db.begin_write()?;
    txn.set_quick_repair(true);
    let done = change(&txn)?;
    txn.commit()?;
    Ok(done)
}

/// What an empty timeline has in it.
fn fill(db: &Database) -> Result<(), TimelineError> {
    transaction(db, |txn| {
        txn.open_table(SNAPSHOTS)?;
        txn.open_table(PARENTS)?;
        txn.open_table(TAGS)?;
        txn.open_table(HEADS)?;
        txn.open_table(SETTINGS)?.insert("format", FORMAT)?;
        Ok(())
    })
}

/// A record as it lies in the timeline. Whose signatures count was decided when it was added; here the
/// signature shows that the bytes are still the same.
fn stored_record(id: SnapshotId, bytes: &[u8]) -> Result<SignedRecord, TimelineError> {
    let trust = SignedRecord::claimed_key(bytes).map(Trust::only).unwrap_or_default();
    let record = SignedRecord::decode(bytes, &trust)?;
    if record.id() == id {
        Ok(record)
    } else {
        Err(TimelineError::Damaged { what: format!("snapshot {id} has the record of {}", record.id()) })
    }
}

fn named(txn: &ReadTransaction, name: &str) -> Result<Option<SnapshotId>, TimelineError> {
    Ok(txn.open_table(HEADS)?.get(name)?.map(|value| SnapshotId(*value.value())))
}

fn put(txn: &WriteTransaction, snapshot: &SignedRecord) -> Result<(), TimelineError> {
    let (id, record) = (snapshot.id(), snapshot.record());
    txn.open_table(SNAPSHOTS)?.insert(&id.0, snapshot.encode().as_slice())?;
    let row = ancestry::encode(record.created_unix_ns, record.parent);
    txn.open_table(PARENTS)?.insert(&id.0, &row)?;
    Ok(())
}

/// Gives the snapshot that had the tag.
fn put_tag(
    txn: &WriteTransaction,
    tag: &str,
    id: SnapshotId,
    moving: bool,
) -> Result<Option<SnapshotId>, TimelineError> {
    names::check_tag(tag)?;
    if txn.open_table(SNAPSHOTS)?.get(&id.0)?.is_none() {
        return Err(TimelineError::Unknown { name: id.to_string() });
    }
    let mut tags = txn.open_table(TAGS)?;
    let of = tags.get(tag)?.map(|value| SnapshotId(*value.value()));
    match of {
        Some(of) if of != id && !moving => Err(TimelineError::TagTaken { name: tag.to_owned(), of }),
        _ => {
            tags.insert(tag, &id.0)?;
            Ok(of)
        }
    }
}

fn tags_of(
    tags: &impl ReadableTable<&'static str, Id>,
    id: SnapshotId,
) -> Result<Vec<String>, TimelineError> {
    let mut names = Vec::new();
    for row in tags.iter()? {
        let (name, of) = row?;
        if *of.value() == id.0 {
            names.push(name.value().to_owned());
        }
    }
    Ok(names)
}
