//! Who comes from whom, and who may go first.
//!
//! Parents are read from a table of their own, which tombstones stay in. It may be damaged: every walk
//! here remembers where it was, so that a circle is an error and not an endless walk.

use std::collections::{HashMap, HashSet};

use redb::{ReadableTable, Table};

use super::{Id, PARENT_LEN, PARENTS, SNAPSHOTS, TAGS, Timeline, TimelineError, UNDO_HEAD, UNDO_SNAPSHOT};
use crate::record::{SignedRecord, SnapshotId};
use crate::store::Root;

/// A snapshot as a log shows it.
#[derive(Clone, Debug)]
pub struct LogEntry {
    /// The signed record.
    pub snapshot: SignedRecord,
    /// The nearest ancestor that is still there.
    pub parent: Option<SnapshotId>,
    /// Its tags.
    pub tags: Vec<String>,
    /// Whether it is the head.
    pub head: bool,
}

#[derive(Clone, Copy)]
struct Origin {
    created: u64,
    parent: Option<SnapshotId>,
}

/// Who comes from whom, read once.
struct Family {
    origins: HashMap<SnapshotId, Origin>,
    there: HashSet<SnapshotId>,
}

impl Family {
    /// The ancestors of `id` that are still there, nearest first, `most` of them if there are as many.
    fn ancestors(&self, id: SnapshotId, most: u64) -> Result<Vec<SnapshotId>, TimelineError> {
        let mut ancestors = Vec::new();
        let mut seen = HashSet::from([id]);
        let mut at = id;
        while (ancestors.len() as u64) < most {
            let Some(parent) = self.origins.get(&at).and_then(|origin| origin.parent) else { break };
            if !seen.insert(parent) {
                return Err(TimelineError::Damaged {
                    what: format!("snapshot {parent} descends from itself"),
                });
            }
            if self.there.contains(&parent) {
                ancestors.push(parent);
            }
            at = parent;
        }
        Ok(ancestors)
    }
}

impl Timeline {
    /// The ancestors of a snapshot that are still there, nearest first; at most `most`.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Unknown`], and [`TimelineError::Damaged`] for one that descends from itself.
    pub fn ancestors(&self, of: SnapshotId, most: u64) -> Result<Vec<SnapshotId>, TimelineError> {
        let family = self.family()?;
        if !family.there.contains(&of) {
            return Err(TimelineError::Unknown { name: of.to_string() });
        }
        family.ancestors(of, most)
    }

    /// The ancestor `steps` before a snapshot, of those that are still there; 0 is the snapshot itself.
    ///
    /// # Errors
    ///
    /// As [`ancestors`](Self::ancestors), and [`TimelineError::NoAncestor`].
    pub fn ancestor(&self, of: SnapshotId, steps: u64) -> Result<SnapshotId, TimelineError> {
        let ancestors = self.ancestors(of, steps)?;
        let there = ancestors.len() as u64;
        if there < steps {
            return Err(TimelineError::NoAncestor { of, wanted: steps, there });
        }
        Ok(ancestors.last().copied().unwrap_or(of))
    }

    /// All snapshots, by creation, with what a tree view needs.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Record`] for a record that is not what was put there.
    pub fn log(&self) -> Result<Vec<LogEntry>, TimelineError> {
        let family = self.family()?;
        let head = self.head()?;
        let txn = self.read()?;
        let mut tags: HashMap<SnapshotId, Vec<String>> = HashMap::new();
        for row in txn.open_table(TAGS)?.iter()? {
            let (name, of) = row?;
            tags.entry(SnapshotId(*of.value())).or_default().push(name.value().to_owned());
        }
        let mut entries = Vec::new();
        for row in txn.open_table(SNAPSHOTS)?.iter()? {
            let (id, bytes) = row?;
            let id = SnapshotId(*id.value());
            entries.push(LogEntry {
                snapshot: super::stored_record(id, bytes.value())?,
                // A log of a damaged timeline is better than none: who descends from a circle has no parent.
                parent: family.ancestors(id, 1).unwrap_or_default().first().copied(),
                tags: tags.remove(&id).unwrap_or_default(),
                head: head == Some(id),
            });
        }
        entries.sort_by_key(|entry| (entry.snapshot.record().created_unix_ns, entry.snapshot.id()));
        Ok(entries)
    }

    /// Ids of all snapshots, in no order that means anything.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn ids(&self) -> Result<Vec<SnapshotId>, TimelineError> {
        Ok(self.family()?.there.into_iter().collect())
    }

    /// Snapshots to remove so that `keep` are left, oldest first. Never the head, a tagged one, or one
    /// that a rollback would be undone to; so more than `keep` may be left.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn prune_candidates(&self, keep: u64) -> Result<Vec<SnapshotId>, TimelineError> {
        let family = self.family()?;
        let txn = self.read()?;
        let mut held: HashSet<SnapshotId> = HashSet::new();
        for row in txn.open_table(TAGS)?.iter()? {
            held.insert(SnapshotId(*row?.1.value()));
        }
        held.extend(self.head()?);
        for name in [UNDO_SNAPSHOT, UNDO_HEAD] {
            held.extend(super::named(&txn, name)?);
        }
        let excess = (family.there.len() as u64).saturating_sub(keep);
        let mut free: Vec<SnapshotId> = family.there.difference(&held).copied().collect();
        free.sort_by_key(|id| (family.origins.get(id).map_or(0, |origin| origin.created), *id));
        free.truncate(usize::try_from(excess).unwrap_or(usize::MAX));
        Ok(free)
    }

    /// Roots of the store that belong to no snapshot here: what a process left that died while it took
    /// or removed one. `roots` are those of this machine; no snapshot may be under way meanwhile.
    ///
    /// # Errors
    ///
    /// [`TimelineError::Database`].
    pub fn unclaimed(&self, roots: Vec<Root>) -> Result<Vec<Root>, TimelineError> {
        let there = self.family()?.there;
        Ok(roots.into_iter().filter(|root| !there.contains(&SnapshotId(root.snapshot))).collect())
    }

    fn family(&self) -> Result<Family, TimelineError> {
        let txn = self.read()?;
        let mut family = Family { origins: HashMap::new(), there: HashSet::new() };
        for row in txn.open_table(PARENTS)?.iter()? {
            let (id, origin) = row?;
            family.origins.insert(SnapshotId(*id.value()), decode(origin.value()));
        }
        for row in txn.open_table(SNAPSHOTS)?.iter()? {
            family.there.insert(SnapshotId(*row?.0.value()));
        }
        Ok(family)
    }
}

/// After `id` was removed: drops its tombstone, and those above it, if nothing descends from them.
pub(super) fn bury(
    snapshots: &impl ReadableTable<Id, &'static [u8]>,
    parents: &mut Table<'_, Id, &'static [u8; PARENT_LEN]>,
    id: SnapshotId,
) -> Result<(), TimelineError> {
    let mut children: HashMap<SnapshotId, u64> = HashMap::new();
    for row in parents.iter()? {
        if let Some(parent) = decode(row?.1.value()).parent {
            *children.entry(parent).or_default() += 1;
        }
    }
    let mut at = Some(id);
    while let Some(id) = at {
        if children.get(&id).copied().unwrap_or(0) > 0 || snapshots.get(&id.0)?.is_some() {
            break;
        }
        at = parents.remove(&id.0)?.and_then(|row| decode(row.value()).parent);
        if let Some(count) = at.and_then(|parent| children.get_mut(&parent)) {
            *count -= 1;
        }
    }
    Ok(())
}

pub(super) fn encode(created: u64, parent: Option<SnapshotId>) -> [u8; PARENT_LEN] {
    let mut row = [0; PARENT_LEN];
    let fields =
        [&created.to_le_bytes()[..], &[u8::from(parent.is_some())], &parent.map_or([0; 32], |id| id.0)];
    for (to, from) in row.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    row
}

fn decode(row: &[u8; PARENT_LEN]) -> Origin {
    let (created, rest) =
        row.split_first_chunk().map_or((0, &[][..]), |(created, rest)| (u64::from_le_bytes(*created), rest));
    let parent = match rest.split_first() {
        Some((1, id)) => id.first_chunk().map(|id| SnapshotId(*id)),
        _ => None,
    };
    Origin { created, parent }
}
