//! A root goes, and with it what only it held.

use std::collections::{BTreeMap, HashMap};

use redb::ReadableTable;

use super::index::{self, OBJECTS, PACKS, ROOTS, ReadIndex, decode_root, root_key};
use super::object::Kind;
use super::reader::Packs;
use super::{Entry, Root, Store, StoreError};
use crate::hash::Hash;
use crate::tree::node::Decoded;

/// What removing roots freed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Objects that nothing holds on to any more.
    pub objects: u64,
    /// Their bytes. The file system has them back when their packs are rewritten.
    pub bytes: u64,
    /// Why some space could not be given back, if it could not. The next removal tries again.
    pub delayed: Option<String>,
    /// Damaged tree nodes, whose children could not be let go of. [`Store::reclaim`] finds those.
    pub damaged: Vec<Hash>,
}

impl Store {
    /// Removes roots, in one transaction, and gives back packs that are mostly empty now. Roots that are
    /// not there are none.
    ///
    /// # Errors
    ///
    /// [`StoreError::Index`], [`StoreError::Io`]. Either all roots are gone, or none is.
    pub fn remove(&self, roots: &[Root]) -> Result<Removed, StoreError> {
        let _writer = self.begin_write()?;
        let index = ReadIndex::open(&self.place)?;
        let mut going = Going::default();
        let mut keys = Vec::new();
        for root in roots {
            let key = root_key(&root.machine, &root.snapshot);
            if keys.contains(&key) {
                continue;
            }
            if let Some(held) = index.roots.get(&key)? {
                for (kind, hash) in decode_root(held.value())? {
                    going.let_go(&index, kind, hash)?;
                }
                keys.push(key);
            }
        }
        let mut packs = Packs::new(&self.packs);
        while let Some((hash, entry)) = going.nodes.pop() {
            match packs.read(hash, &entry).and_then(|bytes| Ok(Decoded::read(hash, &bytes)?)) {
                Ok(decoded) => {
                    let kind = if decoded.level == 0 { Kind::Page } else { Kind::Node };
                    for child in decoded.used() {
                        going.let_go(&index, kind, child)?;
                    }
                }
                Err(_) => going.damaged.push(hash),
            }
        }
        drop(index);
        if keys.is_empty() {
            return Ok(Removed::default());
        }
        let emptied = going.commit(self, &keys)?;
        // The roots are gone. What keeps space from being given back now, such as a full disk that has no
        // room for the copy, is no reason to say that they are not; the next call tries again.
        let given_back = self.unlink(&emptied).and_then(|()| self.compact());
        Ok(going.removed(given_back.err()))
    }
}

/// What is let go of, worked out on the index as it is before.
#[derive(Default)]
pub(super) struct Going {
    /// Every object that loses references, with those it has left.
    pub entries: BTreeMap<Hash, Entry>,
    /// Nodes that nothing holds on to any more, whose children are still to be let go of.
    nodes: Vec<(Hash, Entry)>,
    damaged: Vec<Hash>,
}

impl Going {
    fn let_go(&mut self, index: &ReadIndex, kind: Kind, hash: Hash) -> Result<(), StoreError> {
        let entry = match self.entries.get(&hash) {
            Some(entry) => Some(*entry),
            None => index.get(kind, hash)?,
        };
        // What is gone already, or was never there, needs no letting go: a damaged store can be emptied.
        let Some(mut entry) = entry.filter(|entry| entry.references > 0) else { return Ok(()) };
        entry.references -= 1;
        self.entries.insert(hash, entry);
        if entry.references == 0 && kind == Kind::Node {
            self.nodes.push((hash, entry));
        }
        Ok(())
    }

    fn freed(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values().filter(|entry| entry.references == 0)
    }

    fn removed(self, delayed: Option<StoreError>) -> Removed {
        let objects = self.freed().count() as u64;
        let bytes = self.freed().map(|entry| u64::from(entry.stored)).sum();
        Removed { objects, bytes, delayed: delayed.map(|error| error.to_string()), damaged: self.damaged }
    }

    /// Writes it down. Returns packs that nothing lies in any more.
    pub(super) fn commit(&self, store: &Store, keys: &[[u8; 48]]) -> Result<Vec<u32>, StoreError> {
        let mut freed: HashMap<u32, u64> = HashMap::new();
        for entry in self.freed() {
            *freed.entry(entry.pack).or_default() += u64::from(entry.stored);
        }
        let mut emptied = Vec::new();
        index::write(&store.place, |txn| {
            let mut objects = txn.open_table(OBJECTS)?;
            for (hash, entry) in &self.entries {
                if entry.references == 0 {
                    objects.remove(&hash.0)?;
                } else {
                    objects.insert(&hash.0, &entry.encode())?;
                }
            }
            let mut packs = txn.open_table(PACKS)?;
            for (number, bytes) in &freed {
                let Some((end, live)) = packs.get(number)?.map(|lengths| lengths.value()) else { continue };
                let live = live.saturating_sub(*bytes);
                if live == 0 {
                    packs.remove(number)?;
                    emptied.push(*number);
                } else {
                    packs.insert(number, (end, live))?;
                }
            }
            let mut roots = txn.open_table(ROOTS)?;
            for key in keys {
                roots.remove(key)?;
            }
            Ok(())
        })?;
        Ok(emptied)
    }
}
