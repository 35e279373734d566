//! Snapshots beside each other: what differs, and what each has for itself.

use super::{History, PAGE};
use crate::api::{Difference, PageRange, RegionDifference};
use crate::error::ControlError;
use sentient_snapshot::hash::Hash;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::record::SnapshotId;
use sentient_snapshot::store::Session as StoreSession;
use sentient_snapshot::timeline::LogEntry;
use std::collections::{HashMap, HashSet};

impl History {
    /// Pages that each snapshot shares with neither its parent nor any child: page for page where the
    /// trees differ, so that it costs what changed.
    pub(super) fn used(
        entries: &[LogEntry],
        session: StoreSession,
    ) -> Result<HashMap<SnapshotId, u64>, ControlError> {
        let mut maps = HashMap::new();
        for entry in entries {
            maps.insert(entry.snapshot.id(), MemoryMap::load(entry.snapshot.record(), &session)?);
        }
        drop(session);
        let mut used = HashMap::new();
        for entry in entries {
            let id = entry.snapshot.id();
            let Some(own) = maps.get(&id) else { continue };
            let children =
                entries.iter().filter(|child| child.parent == Some(id)).map(|child| child.snapshot.id());
            let neighbours: Vec<_> =
                entry.parent.into_iter().chain(children).filter_map(|id| maps.get(&id)).collect();
            let mut differing: Option<HashMap<u64, Hash>> = None;
            for neighbour in &neighbours {
                let here: HashMap<u64, Hash> = own
                    .diff(neighbour)
                    .into_iter()
                    .filter(|(_, hash, _)| !hash.is_zero())
                    .map(|(gpn, hash, _)| (gpn, hash))
                    .collect();
                differing = Some(match differing {
                    None => here,
                    Some(mut before) => {
                        before.retain(|gpn, _| here.contains_key(gpn));
                        before
                    }
                });
            }
            used.insert(id, differing.map_or_else(|| own.used_pages(), |pages| pages.len() as u64));
        }
        Ok(used)
    }

    /// Bytes of memory in all snapshots of the machine, each page once. A snapshot is looked at where it
    /// differs from its parent.
    ///
    /// # Errors
    /// [`ControlError`].
    pub(super) fn used_bytes(&self) -> Result<u64, ControlError> {
        // In this order: see `list`.
        let session = self.store.session()?;
        let entries = self.timeline.log()?;
        let mut pages: HashSet<Hash> = HashSet::new();
        let mut maps: HashMap<SnapshotId, MemoryMap> = HashMap::new();
        for entry in &entries {
            let map = MemoryMap::load(entry.snapshot.record(), &session)?;
            let mut note = |hash: Hash| {
                if !hash.is_zero() {
                    pages.insert(hash);
                }
            };
            match entry.parent.and_then(|parent| maps.get(&parent)) {
                Some(parent) => map.diff(parent).into_iter().for_each(|(_, hash, _)| note(hash)),
                None => map.visit(0..u64::MAX, |_, hash| note(hash)),
            }
            maps.insert(entry.snapshot.id(), map);
        }
        Ok(pages.len() as u64 * PAGE)
    }

    /// What differs between two snapshots.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn diff(&self, from: &str, to: &str) -> Result<Difference, ControlError> {
        let session = self.store.session()?;
        let (from, to) = (self.named(from)?, self.named(to)?);
        let (one, two) = (MemoryMap::load(from.record(), &session)?, MemoryMap::load(to.record(), &session)?);
        drop(session);
        let pages: Vec<u64> = one.diff(&two).into_iter().map(|(gpn, ..)| gpn).collect();
        let mut regions = Vec::new();
        for region in &to.record().regions {
            let first = region.base / PAGE;
            let here = first..first + region.pages;
            let start = pages.partition_point(|gpn| *gpn < here.start);
            let end = pages.partition_point(|gpn| *gpn < here.end);
            let Some(differing) = pages.get(start..end).filter(|pages| !pages.is_empty()) else { continue };
            let containers = &to.record().containers;
            let container = containers.iter().find(|container| container.base == region.base);
            regions.push(RegionDifference {
                name: region.name.clone(),
                container: container.map(|container| container.name.clone()),
                base: region.base,
                len: region.pages * PAGE,
                pages: differing.len() as u64,
                ranges: runs(differing),
            });
        }
        Ok(Difference {
            from: from.id().to_string(),
            to: to.id().to_string(),
            pages: pages.len() as u64,
            regions,
        })
    }
}

/// Runs of page numbers, which ascend.
fn runs(pages: &[u64]) -> Vec<PageRange> {
    let mut runs: Vec<PageRange> = Vec::new();
    for gpn in pages {
        match runs.last_mut() {
            Some(last) if last.base + last.len == gpn * PAGE => last.len += PAGE,
            _ => runs.push(PageRange { base: gpn * PAGE, len: PAGE }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pages_are_one_run() {
        let found: Vec<_> =
            runs(&[1, 2, 3, 7, 9, 10]).iter().map(|run| (run.base / PAGE, run.len / PAGE)).collect();
        assert_eq!(found, [(1, 3), (7, 1), (9, 2)]);
        assert!(runs(&[]).is_empty());
    }
}
