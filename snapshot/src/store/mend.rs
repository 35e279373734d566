//! Damaged objects are replaced by good ones that somebody still has.

use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use redb::ReadableTable;

use super::add::put_packs;
use super::index::{self, OBJECTS, PACKS, ReadIndex};
use super::object::{self, Encoding, Kind};
use super::pack::Appender;
use super::reader::Packs;
use super::{Entry, NewSnapshot, Objects, Store, StoreError};
use crate::hash::Hash;
use crate::tree::node::Decoded;

impl Store {
    /// Reads every object of a snapshot that the store has, and writes those anew that are damaged, from
    /// `objects`. All snapshots that share them are the better for it. Returns how many those were.
    ///
    /// [`add`](Self::add) takes what the index names for good; call this before it where somebody brings
    /// all of a snapshot, as an import does.
    ///
    /// # Errors
    ///
    /// What `objects` says; [`StoreError::Index`], [`StoreError::Io`]. The store is as it was. The quota
    /// does not count: nothing is added.
    pub fn mend(&self, snapshot: &NewSnapshot, objects: &mut dyn Objects) -> Result<u64, StoreError> {
        let _writer = self.begin_write()?;
        let index = ReadIndex::open(&self.place)?;
        let damaged = self.damaged(&index, snapshot, objects)?;
        if damaged.is_empty() {
            return Ok(0);
        }
        let all = index.all_packs()?;
        let next_pack = index.next_pack;
        drop(index);

        let newest = all.last().map(|(number, end, _)| (*number, *end));
        let mut appender = Appender::new(&self.packs, newest, next_pack)?;
        let mut write = || {
            let mut entries = BTreeMap::new();
            for (hash, old) in &damaged {
                let Some(bytes) = objects.object(old.kind, *hash)? else { continue };
                object::check(old.kind, *hash, &bytes).map_err(|problem| StoreError::Damaged {
                    kind: old.kind,
                    hash: *hash,
                    pack: old.pack,
                    problem: format!("{problem} in what was to mend it, too"),
                })?;
                let (encoding, stored) = object::encode(&bytes);
                let (pack, offset) = appender.append(&stored)?;
                let entry = Entry {
                    encoding,
                    pack,
                    offset,
                    stored: if encoding == Encoding::Raw { old.len } else { stored.len() as u32 },
                    ..*old
                };
                entries.insert(*hash, entry);
            }
            Ok((entries, appender.finish()?))
        };
        let (entries, (touched, next_pack)) = match write() {
            Ok(written) => written,
            Err(error) => {
                appender.undo();
                return Err(error);
            }
        };
        let mut emptied = Vec::new();
        index::write(&self.place, |txn| {
            put_packs(txn, &touched, entries.values(), next_pack)?;
            let mut table = txn.open_table(OBJECTS)?;
            let mut gone: HashMap<u32, u64> = HashMap::new();
            for (hash, entry) in &entries {
                let old = match table.get(&hash.0)? {
                    Some(old) => Entry::decode(*hash, old.value())?,
                    None => return Err(StoreError::Missing { kind: entry.kind, hash: *hash }),
                };
                *gone.entry(old.pack).or_default() += u64::from(old.stored);
                table.insert(&hash.0, &entry.encode())?;
            }
            let mut packs = txn.open_table(PACKS)?;
            for (number, bytes) in &gone {
                let Some((end, live)) = packs.get(number)?.map(|lengths| lengths.value()) else { continue };
                match live.saturating_sub(*bytes) {
                    0 => {
                        packs.remove(number)?;
                        emptied.push(*number);
                    }
                    live => drop(packs.insert(number, (end, live))?),
                }
            }
            Ok(())
        })?;
        self.unlink(&emptied)?;
        Ok(entries.len() as u64)
    }

    /// Objects of a snapshot that the index names and the packs do not have.
    fn damaged(
        &self,
        index: &ReadIndex,
        snapshot: &NewSnapshot,
        objects: &mut dyn Objects,
    ) -> Result<BTreeMap<Hash, Entry>, StoreError> {
        let mut packs = Packs::new(&self.packs);
        let mut damaged = BTreeMap::new();
        let mut seen = HashSet::new();
        let mut queue = VecDeque::from([(Kind::State, snapshot.state)]);
        queue.extend(snapshot.trees.iter().filter(|hash| !hash.is_zero()).map(|hash| (Kind::Node, *hash)));
        while let Some((kind, hash)) = queue.pop_front() {
            if !seen.insert(hash) {
                continue;
            }
            let entry = index.get(kind, hash)?;
            let stored = match &entry {
                Some(entry) => packs.read(hash, entry).map_err(|_| *entry),
                None => Ok(Vec::new()),
            };
            if let Err(entry) = &stored {
                damaged.insert(hash, *entry);
            }
            if kind != Kind::Node {
                continue;
            }
            let node = match stored {
                Ok(bytes) if entry.is_some() => Some(Decoded::read(hash, &bytes)?),
                // Without it nobody can say what is below; `add` says what is missing.
                _ => match objects.object(kind, hash)? {
                    Some(bytes) => Some(Decoded::read(hash, &bytes)?),
                    None => None,
                },
            };
            if let Some(node) = node {
                let kind = if node.level == 0 { Kind::Page } else { Kind::Node };
                queue.extend(node.used().map(|child| (kind, child)));
            }
        }
        Ok(damaged)
    }
}
