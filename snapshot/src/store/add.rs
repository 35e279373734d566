//! A snapshot goes in.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use redb::{ReadableTable, WriteTransaction};

use super::index::{self, META, OBJECTS, PACKS, ROOTS, ReadIndex, root_key};
use super::object::{self, Encoding, Kind, MAX_STATE};
use super::pack::{Appender, HEADER_LEN, PACK_TARGET, Touched};
use super::{Entry, Root, Store, StoreError};
use crate::hash::Hash;
use crate::tree::node::Decoded;

/// Where the objects of a snapshot come from that the store may not have yet.
pub trait Objects {
    /// The bytes of an object, or `None` if only the store can have it. Asked up to three times for
    /// each object that is new.
    ///
    /// # Errors
    ///
    /// If it should be there but cannot be read.
    fn object(&mut self, kind: Kind, hash: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError>;
}

/// What a snapshot holds on to.
#[derive(Clone, Debug)]
pub struct NewSnapshot {
    /// Under which it is kept.
    pub root: Root,
    /// Hash of the state.
    pub state: Hash,
    /// Roots of the regions' trees; zeros are left out.
    pub trees: Vec<Hash>,
}

/// What adding a snapshot wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Added {
    /// Objects that were not there.
    pub objects: u64,
    /// Bytes by which the packs grew.
    pub bytes: u64,
}

/// What is to be written, in the order of the pack, and who is named how often.
struct Plan {
    wanted: Vec<(Kind, Hash)>,
    references: BTreeMap<Hash, (Kind, u32)>,
}

impl Store {
    /// Stores a snapshot: writes what the store lacks, syncs it, and names it in the index, in one
    /// transaction. Returns when it is durable. A snapshot that is there already is left as it is.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] if neither the store nor `objects` has something the snapshot needs,
    /// [`StoreError::Full`] if it does not fit, [`StoreError::Io`] and [`StoreError::Index`]. The store
    /// is as it was.
    pub fn add(&self, new: &NewSnapshot, objects: &mut dyn Objects) -> Result<Added, StoreError> {
        let _writer = self.begin_write()?;
        let index = ReadIndex::open(&self.place)?;
        let key = root_key(&new.root.machine, &new.root.snapshot);
        if index.roots.get(&key)?.is_some() {
            return Ok(Added::default());
        }
        let plan = plan(&index, new, objects)?;
        let packs = index.all_packs()?;
        let next_pack = index.next_pack;
        drop(index);

        self.check_quota(&packs, &plan, objects)?;
        let newest = packs.last().map(|(number, end, _)| (*number, *end));
        let mut appender = Appender::new(&self.packs, newest, next_pack)?;
        let written =
            append(&plan, objects, &mut appender).and_then(|entries| Ok((entries, appender.finish()?)));
        let (entries, (touched, next_pack)) = match written {
            Ok(written) => written,
            Err(error) => {
                appender.undo();
                return Err(error);
            }
        };
        // From here on an error may mean that the transaction is durable all the same, so the bytes stay:
        // if the index does not know them, the next writer drops them.
        index::write(&self.place, |txn| {
            put_objects(txn, &entries, &plan.references)?;
            put_packs(txn, &touched, entries.values(), next_pack)?;
            let hashes: Vec<u8> = std::iter::once(&new.state)
                .chain(new.trees.iter().filter(|hash| !hash.is_zero()))
                .flat_map(|hash| hash.0)
                .collect();
            txn.open_table(ROOTS)?.insert(&key, hashes.as_slice())?;
            Ok(())
        })?;
        Ok(Added {
            objects: entries.len() as u64,
            bytes: touched.iter().map(|touched| touched.after - touched.before).sum(),
        })
    }

    /// Refuses what would make the packs longer than the quota, before anything is written. What fits
    /// uncompressed needs no second look; near the quota everything is compressed once more.
    fn check_quota(
        &self,
        packs: &[(u32, u64, u64)],
        plan: &Plan,
        objects: &mut dyn Objects,
    ) -> Result<(), StoreError> {
        let Some(quota) = self.quota() else { return Ok(()) };
        let used = packs.iter().fold(0u64, |sum, (_, end, _)| sum.saturating_add(*end));
        for compressed in [false, true] {
            let mut needed = 0u64;
            for (kind, hash) in &plan.wanted {
                let bytes = wanted(objects, *kind, *hash)?;
                needed += if compressed { object::encode(&bytes).1.len() } else { bytes.len() } as u64;
            }
            needed += (needed / PACK_TARGET + 1) * HEADER_LEN;
            if used.saturating_add(needed) <= quota {
                return Ok(());
            }
            if compressed {
                return Err(StoreError::Full { needed, used, quota });
            }
        }
        Ok(())
    }
}

fn wanted(objects: &mut dyn Objects, kind: Kind, hash: Hash) -> Result<Cow<'_, [u8]>, StoreError> {
    objects.object(kind, hash)?.ok_or(StoreError::Missing { kind, hash })
}

/// Walks down from the root to what the store has already.
fn plan(index: &ReadIndex, new: &NewSnapshot, objects: &mut dyn Objects) -> Result<Plan, StoreError> {
    let mut plan = Plan { wanted: Vec::new(), references: BTreeMap::new() };
    let mut pages = Vec::new();
    let mut nodes = VecDeque::new();
    let mut seen = HashSet::new();

    let mut refer = |plan: &mut Plan, kind, hash| {
        let (known, count) = plan.references.entry(hash).or_insert((kind, 0));
        *count = count.saturating_add(1);
        (*known == kind && seen.insert(hash)).then_some(hash)
    };
    if refer(&mut plan, Kind::State, new.state).is_some() && index.get(Kind::State, new.state)?.is_none() {
        let len = wanted(objects, Kind::State, new.state)?.len();
        if len > MAX_STATE {
            return Err(StoreError::StateTooLong { len: len as u64, most: MAX_STATE as u64 });
        }
        plan.wanted.push((Kind::State, new.state));
    }
    for tree in new.trees.iter().filter(|hash| !hash.is_zero()) {
        nodes.extend(refer(&mut plan, Kind::Node, *tree));
    }
    while let Some(hash) = nodes.pop_front() {
        if index.get(Kind::Node, hash)?.is_some() {
            continue;
        }
        let decoded = Decoded::read(hash, &wanted(objects, Kind::Node, hash)?)?;
        plan.wanted.push((Kind::Node, hash));
        for child in decoded.used() {
            if decoded.level == 0 {
                pages.extend(refer(&mut plan, Kind::Page, child));
            } else {
                nodes.extend(refer(&mut plan, Kind::Node, child));
            }
        }
    }
    for hash in pages {
        if index.get(Kind::Page, hash)?.is_none() {
            wanted(objects, Kind::Page, hash)?;
            plan.wanted.push((Kind::Page, hash));
        }
    }
    Ok(plan)
}

fn append(
    plan: &Plan,
    objects: &mut dyn Objects,
    appender: &mut Appender<'_>,
) -> Result<HashMap<Hash, Entry>, StoreError> {
    let mut entries = HashMap::with_capacity(plan.wanted.len());
    for (kind, hash) in &plan.wanted {
        let bytes = wanted(objects, *kind, *hash)?;
        let too_long = || StoreError::StateTooLong { len: bytes.len() as u64, most: MAX_STATE as u64 };
        let len =
            u32::try_from(bytes.len()).ok().filter(|_| kind.allows(bytes.len())).ok_or_else(too_long)?;
        let (encoding, stored) = object::encode(&bytes);
        let (pack, offset) = appender.append(&stored)?;
        let stored = if encoding == Encoding::Raw { len } else { stored.len() as u32 };
        let entry = Entry { kind: *kind, encoding, pack, offset, stored, len, references: 0 };
        entries.insert(*hash, entry);
    }
    Ok(entries)
}

fn put_objects(
    txn: &WriteTransaction,
    entries: &HashMap<Hash, Entry>,
    references: &BTreeMap<Hash, (Kind, u32)>,
) -> Result<(), StoreError> {
    let mut table = txn.open_table(OBJECTS)?;
    for (hash, (kind, more)) in references {
        let mut entry = match entries.get(hash) {
            Some(entry) => *entry,
            None => match table.get(&hash.0)? {
                Some(found) => Entry::decode(*hash, found.value())?,
                None => return Err(StoreError::Missing { kind: *kind, hash: *hash }),
            },
        };
        entry.references = entry.references.checked_add(*more).ok_or_else(|| StoreError::IndexDamaged {
            what: format!("{} holds on to {hash}", entry.references),
        })?;
        table.insert(&hash.0, &entry.encode())?;
    }
    Ok(())
}

/// Tells the index how long packs are now, and how much of the new bytes is live.
pub(super) fn put_packs<'a>(
    txn: &WriteTransaction,
    touched: &[Touched],
    entries: impl Iterator<Item = &'a Entry>,
    next_pack: u32,
) -> Result<(), StoreError> {
    let mut live: HashMap<u32, u64> = HashMap::new();
    for entry in entries {
        *live.entry(entry.pack).or_default() += u64::from(entry.stored);
    }
    let mut table = txn.open_table(PACKS)?;
    for pack in touched.iter().filter(|pack| pack.after > pack.before) {
        let before = table.get(pack.number)?.map_or(0, |lengths| lengths.value().1);
        let more = live.get(&pack.number).copied().unwrap_or(0);
        table.insert(pack.number, (pack.after, before.saturating_add(more)))?;
    }
    txn.open_table(META)?.insert("next_pack", u64::from(next_pack))?;
    Ok(())
}
