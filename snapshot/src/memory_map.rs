//! The trees of one snapshot: the hash of every page of guest memory.

use std::ops::Range;

use crate::hash::{Hash, PageHash};
use crate::layout::{Layout, Region};
use crate::page::PAGE_SIZE;
use crate::record::{Record, RegionEntry};
use crate::store::{Session, StoreError};
use crate::tree::compare::{Difference, Placed};
use crate::tree::{Tree, TreeError, region_root};

/// All of guest memory as trees, one for each range of its layout. A gpn is a guest physical page number:
/// the address divided by the page size. Cloning shares everything.
#[derive(Clone, Debug)]
pub struct MemoryMap {
    /// By ascending base, disjoint.
    regions: Vec<(Region, Tree)>,
}

impl MemoryMap {
    /// Guest memory of nothing but zeros.
    #[must_use]
    pub fn empty(layout: &Layout) -> Self {
        let regions = layout.regions().iter().map(|region| (region.clone(), Tree::empty(region.pages)));
        Self { regions: regions.collect() }
    }

    /// The trees of a stored snapshot, every node checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`], [`StoreError::Damaged`] and [`StoreError::Tree`] by the first bad node.
    pub fn load(record: &Record, session: &Session) -> Result<Self, StoreError> {
        let mut regions = Vec::with_capacity(record.regions.len());
        for entry in &record.regions {
            let tree = session.load_tree(entry.pages, entry.tree_root)?;
            let region = Region {
                name: entry.name.clone(),
                kind: entry.kind,
                owner: entry.owner,
                access: entry.access,
                base: entry.base,
                pages: entry.pages,
            };
            regions.push((region, tree));
        }
        Ok(Self { regions })
    }

    /// The ranges with their trees, by ascending base.
    #[must_use]
    pub fn regions(&self) -> &[(Region, Tree)] {
        &self.regions
    }

    /// The hash of a page; [`PageHash::ZERO`] also where there is no memory.
    #[must_use]
    pub fn page_hash(&self, gpn: u64) -> PageHash {
        let past = self.regions.partition_point(|(region, _)| region.range().start <= gpn);
        let found = past.checked_sub(1).and_then(|at| self.regions.get(at));
        found.map_or(PageHash::ZERO, |(region, tree)| tree.get(gpn - region.range().start))
    }

    /// Pages that are not zero.
    #[must_use]
    pub fn used_pages(&self) -> u64 {
        self.regions.iter().fold(0, |sum, (_, tree)| sum.saturating_add(tree.used_pages()))
    }

    /// Calls `visit` with gpn and hash of every page in `range` that is not zero, in order.
    pub fn visit(&self, range: Range<u64>, mut visit: impl FnMut(u64, PageHash)) {
        for (region, tree) in &self.regions {
            let here = region.range();
            let (start, end) = (range.start.max(here.start), range.end.min(here.end));
            if start < end {
                let first = here.start;
                tree.visit(start - first..end - first, |index, hash| visit(first + index, hash));
            }
        }
    }

    /// The pages that differ between this memory and `other`: gpn, hash here, hash there, in order. The
    /// layouts may differ. Where they agree, equal subtrees are skipped.
    #[must_use]
    pub fn diff(&self, other: &Self) -> Vec<Difference> {
        let mut out = Vec::new();
        let mut rest: Vec<Range<u64>> = Vec::new();
        for (region, tree) in &self.regions {
            match other.same_place(region) {
                Some(there) => {
                    let first = region.range().start;
                    out.extend(tree.diff(there).into_iter().map(|(at, one, two)| (first + at, one, two)));
                }
                None => rest.push(region.range()),
            }
        }
        let others = other.regions.iter().filter(|(region, _)| self.same_place(region).is_none());
        rest.extend(others.map(|(region, _)| region.range()));
        for range in merged(rest) {
            self.diff_by_page(other, range, &mut out);
        }
        out.sort_unstable_by_key(|(gpn, ..)| *gpn);
        out
    }

    /// This memory with another layout and some pages changed: (gpn, new hash), ascending. Trees of
    /// ranges that stay where they are share what does not change; the others are built anew from the
    /// hashes of their pages.
    ///
    /// # Errors
    ///
    /// [`TreeError::OutOfRange`] for a page outside of the layout, [`TreeError::Unsorted`].
    pub fn change(&self, layout: &Layout, changes: &[(u64, PageHash)]) -> Result<Self, TreeError> {
        let mut regions = Vec::with_capacity(layout.regions().len());
        let mut done = 0;
        for region in layout.regions() {
            let range = region.range();
            let tree = match self.same_place(region) {
                Some(tree) => tree.clone(),
                None => {
                    let mut used = Vec::new();
                    self.visit(range.clone(), |gpn, hash| used.push((gpn - range.start, hash)));
                    Tree::empty(region.pages).set_many(&used)?
                }
            };
            let rest = changes.get(done..).unwrap_or_default();
            let here = rest.iter().take_while(|(gpn, _)| range.contains(gpn));
            let here: Vec<_> = here.map(|(gpn, hash)| (gpn - range.start, *hash)).collect();
            done += here.len();
            regions.push((region.clone(), tree.set_many(&here)?));
        }
        match changes.get(done) {
            // Either it is in no range, or it comes after one that it should precede.
            Some((gpn, _)) if layout.regions().iter().any(|region| region.range().contains(gpn)) => {
                Err(TreeError::Unsorted { index: *gpn })
            }
            Some((gpn, _)) => {
                let pages = layout.regions().iter().map(|region| region.pages).sum();
                Err(TreeError::OutOfRange { index: *gpn, pages })
            }
            None => Ok(Self { regions }),
        }
    }

    /// The regions as a record has them.
    #[must_use]
    pub fn entries(&self) -> Vec<RegionEntry> {
        let entry = |(region, tree): &(Region, Tree)| RegionEntry {
            name: region.name.clone(),
            kind: region.kind,
            owner: region.owner,
            access: region.access,
            base: region.base,
            pages: region.pages,
            tree_root: tree.root(),
            region_root: region_root(region.kind, region.owner, region.base, region.pages, tree.root()),
        };
        self.regions.iter().map(entry).collect()
    }

    /// Roots of the trees.
    #[must_use]
    pub fn roots(&self) -> Vec<Hash> {
        self.regions.iter().map(|(_, tree)| tree.root()).collect()
    }

    /// Bytes of guest memory.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.regions.iter().map(|(region, _)| region.pages * PAGE_SIZE as u64).sum()
    }

    /// Whether there is no guest memory.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.regions.is_empty()
    }

    /// Nodes that `older` does not have in the same place.
    #[must_use]
    pub fn new_nodes(&self, older: Option<&Self>) -> Vec<Placed> {
        let new = |(region, tree): &(Region, Tree)| {
            tree.new_nodes(older.and_then(|older| older.same_place(region)))
        };
        self.regions.iter().flat_map(new).collect()
    }

    /// The tree over exactly the pages of `region`.
    fn same_place(&self, region: &Region) -> Option<&Tree> {
        let at = self.regions.binary_search_by_key(&region.base, |(region, _)| region.base).ok()?;
        self.regions.get(at).filter(|(here, _)| here.pages == region.pages).map(|(_, tree)| tree)
    }

    fn diff_by_page(&self, other: &Self, range: Range<u64>, out: &mut Vec<Difference>) {
        let (mut here, mut there) = (Vec::new(), Vec::new());
        self.visit(range.clone(), |gpn, hash| here.push((gpn, hash)));
        other.visit(range, |gpn, hash| there.push((gpn, hash)));
        let (mut here, mut there) = (here.into_iter().peekable(), there.into_iter().peekable());
        loop {
            let next = match (here.peek(), there.peek()) {
                (None, None) => return,
                (Some(one), Some(two)) => one.0.min(two.0),
                (Some(one), None) | (None, Some(one)) => one.0,
            };
            let hash = |found: Option<(u64, PageHash)>| found.map_or(PageHash::ZERO, |(_, hash)| hash);
            let one = hash(here.next_if(|(gpn, _)| *gpn == next));
            let two = hash(there.next_if(|(gpn, _)| *gpn == next));
            if one != two {
                out.push((next, one, two));
            }
        }
    }
}

/// Ranges without overlaps, ascending.
fn merged(mut ranges: Vec<Range<u64>>) -> Vec<Range<u64>> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for range in ranges {
        match merged.last_mut() {
            Some(last) if range.start <= last.end => last.end = last.end.max(range.end),
            _ => merged.push(range),
        }
    }
    merged
}
