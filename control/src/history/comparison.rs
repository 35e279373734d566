//! Snapshots beside each other: what differs, and what each has for itself.

use super::{History, PAGE};
use crate::api::{Difference, PageRange, RegionDifference};
use crate::error::ControlError;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::own_pages::{self, Relative};
use sentient_snapshot::record::SnapshotId;
use sentient_snapshot::store::{Session as StoreSession, StoreError};
use sentient_snapshot::timeline::LogEntry;
use sentient_vmm::snapshots::page;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

impl History {
    /// Pages that each snapshot shares with neither its parent nor any child, in the order of `entries`; or why
    /// that is not known.
    pub(super) fn own_pages(
        entries: &[LogEntry],
        session: &StoreSession,
    ) -> Vec<Result<u64, Arc<StoreError>>> {
        let places: HashMap<SnapshotId, usize> =
            entries.iter().enumerate().map(|(at, entry)| (entry.snapshot.id(), at)).collect();
        let mut family: Vec<Relative<'_>> = entries
            .iter()
            .map(|entry| Relative { record: entry.snapshot.record(), relatives: Vec::new() })
            .collect();
        for (child, entry) in entries.iter().enumerate() {
            let Some(parent) = entry.parent.and_then(|parent| places.get(&parent)).copied() else { continue };
            for (one, other) in [(parent, child), (child, parent)] {
                if let Some(relative) = family.get_mut(one) {
                    relative.relatives.push(other);
                }
            }
        }
        own_pages::own_pages(&family, session)
    }

    /// Bytes of memory in all snapshots of the machine, each page once.
    ///
    /// # Errors
    /// [`ControlError`].
    pub(super) fn used_bytes(&self) -> Result<u64, ControlError> {
        // In this order: see `list`.
        let session = self.store.session()?;
        let entries = self.timeline.log()?;
        let records = entries.iter().map(|entry| entry.snapshot.record());
        Ok(own_pages::distinct_pages(records, &session)? * PAGE)
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

/// Runs of page numbers, which ascend, in bytes.
fn runs(pages: &[u64]) -> Vec<PageRange> {
    let in_bytes = |run: Range<u64>| PageRange { base: run.start * PAGE, len: (run.end - run.start) * PAGE };
    page::runs(pages.iter().copied()).into_iter().map(in_bytes).collect()
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
