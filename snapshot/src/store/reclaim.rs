//! Space goes back to the file system.

use std::collections::HashMap;
use std::fs;

use redb::ReadableTable;

use super::add::put_packs;
use super::index::{self, OBJECTS, PACKS, ReadIndex, decode_root};
use super::object::Kind;
use super::pack::{self, Appender, HEADER_LEN};
use super::reader::Packs;
use super::remove::Going;
use super::{Entry, Store, StoreError};
use crate::hash::Hash;
use crate::tree::node::Decoded;

/// What reclaiming gave back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reclaimed {
    /// Objects that nothing held on to.
    pub objects: u64,
    /// Bytes that the packs are shorter by.
    pub bytes: u64,
}

impl Store {
    /// Gives back all space that can be: counts anew what holds on to what, drops what nothing does,
    /// and rewrites packs that are less than half live. Reads every tree node of the store.
    ///
    /// Needed only after damage or a crash; [`remove`](Self::remove) gives back space by itself.
    ///
    /// # Errors
    ///
    /// [`StoreError::Damaged`] by the first tree node that cannot be read: remove the snapshots that
    /// need it first. [`StoreError::Index`], [`StoreError::Io`].
    pub fn reclaim(&self) -> Result<Reclaimed, StoreError> {
        let length = |store: &Self| -> Result<u64, StoreError> {
            let mut bytes = 0;
            for entry in fs::read_dir(&store.packs).map_err(StoreError::io("read", &store.packs))? {
                let metadata = entry.and_then(|entry| entry.metadata());
                bytes += metadata.map_err(StoreError::io("look at", &store.packs))?.len();
            }
            Ok(bytes)
        };
        let before = length(self)?;
        let _writer = self.begin_write()?;
        let index = ReadIndex::open(&self.place)?;
        let counted = count(&index, &mut Packs::new(&self.packs))?;
        let mut going = Going::default();
        let mut freed = 0;
        for (hash, mut entry) in index.all_objects()? {
            let references = counted.get(&hash).copied().unwrap_or(0);
            if references != entry.references {
                freed += u64::from(references == 0);
                entry.references = references;
                going.entries.insert(hash, entry);
            }
        }
        drop(index);
        if !going.entries.is_empty() {
            let emptied = going.commit(self, &[])?;
            self.unlink(&emptied)?;
        }
        self.compact()?;
        Ok(Reclaimed { objects: freed, bytes: before.saturating_sub(length(self)?) })
    }

    /// Rewrites packs of which less than half is live behind the newest one: one at a time, those with the
    /// least to copy first, so that a disk that is nearly full gets room as it goes. The caller is the
    /// writer.
    pub(super) fn compact(&self) -> Result<(), StoreError> {
        let mut damaged = Vec::new();
        loop {
            let index = ReadIndex::open(&self.place)?;
            let all = index.all_packs()?;
            let sparse =
                |(_, end, live): &(u32, u64, u64)| live.saturating_mul(2) < end.saturating_sub(HEADER_LEN);
            let candidates = all.iter().filter(|pack| sparse(pack) && !damaged.contains(&pack.0));
            let Some((number, ..)) = candidates.min_by_key(|(_, _, live)| *live) else { return Ok(()) };
            let mut objects = index.all_objects()?;
            objects.retain(|(_, entry)| entry.pack == *number);
            objects.sort_by_key(|(_, entry)| entry.offset);
            let newest = all.last().filter(|pack| !sparse(pack)).map(|(number, end, _)| (*number, *end));
            let next_pack = index.next_pack;
            drop(index);
            if !self.rewrite(*number, objects, newest, next_pack)? {
                damaged.push(*number);
            }
        }
    }

    /// Copies the objects of a pack elsewhere and removes it. `false` if it is damaged: then it stays as it
    /// is, so that `verify` can go on to name what is bad.
    fn rewrite(
        &self,
        number: u32,
        mut objects: Vec<(Hash, Entry)>,
        newest: Option<(u32, u64)>,
        next_pack: u32,
    ) -> Result<bool, StoreError> {
        let mut packs = Packs::new(&self.packs);
        if objects.iter().any(|(hash, entry)| packs.read(*hash, entry).is_err()) {
            return Ok(false);
        }
        let mut appender = Appender::new(&self.packs, newest, next_pack)?;
        let mut copy = || {
            for (hash, entry) in &mut objects {
                let stored = packs.stored(*hash, entry)?;
                (entry.pack, entry.offset) = appender.append(&stored)?;
            }
            appender.finish()
        };
        let (touched, next_pack) = match copy() {
            Ok(written) => written,
            Err(error) => {
                appender.undo();
                return Err(error);
            }
        };
        index::write(&self.place, |txn| {
            let mut table = txn.open_table(OBJECTS)?;
            for (hash, entry) in &objects {
                table.insert(&hash.0, &entry.encode())?;
            }
            drop(table);
            put_packs(txn, &touched, objects.iter().map(|(_, entry)| entry), next_pack)?;
            txn.open_table(PACKS)?.remove(number)?;
            Ok(())
        })?;
        self.unlink(&[number])?;
        Ok(true)
    }

    /// Removes packs that the index does not name any more. Readers that have them open keep them.
    pub(super) fn unlink(&self, numbers: &[u32]) -> Result<(), StoreError> {
        for number in numbers {
            let path = pack::path(&self.packs, *number);
            match fs::remove_file(&path) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io("remove", &path)(error));
                }
                _ => {}
            }
        }
        if numbers.is_empty() { Ok(()) } else { pack::sync_folder(&self.packs) }
    }
}

/// How often each object that a root leads to is named.
pub(super) fn count(index: &ReadIndex, packs: &mut Packs) -> Result<HashMap<Hash, u32>, StoreError> {
    let mut counted: HashMap<Hash, u32> = HashMap::new();
    let mut nodes = Vec::new();
    let mut refer = |nodes: &mut Vec<Hash>, kind, hash| {
        let count = counted.entry(hash).or_insert(0);
        *count = count.saturating_add(1);
        if *count == 1 && kind == Kind::Node {
            nodes.push(hash);
        }
    };
    for row in index.roots.iter()? {
        let (_, held) = row?;
        for (kind, hash) in decode_root(held.value())? {
            refer(&mut nodes, kind, hash);
        }
    }
    while let Some(hash) = nodes.pop() {
        let Some(entry) = index.get(Kind::Node, hash)? else {
            return Err(StoreError::Missing { kind: Kind::Node, hash });
        };
        let decoded = Decoded::read(hash, &packs.read(hash, &entry)?)?;
        let kind = if decoded.level == 0 { Kind::Page } else { Kind::Node };
        for child in decoded.used() {
            refer(&mut nodes, kind, child);
        }
    }
    Ok(counted)
}
