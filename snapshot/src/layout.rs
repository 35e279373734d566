//! Which range of guest memory is what: the guest's regions, and what lies between them.

use std::ops::Range;

use crate::page::PAGE_SIZE;
use crate::record::UNOWNED;

/// A range of guest memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name, at most 16 bytes.
    pub name: String,
    /// What it holds, a number of the guest's table; [`UNOWNED`] for what no region covers.
    pub kind: u32,
    /// The container it belongs to, if any does.
    pub owner: u32,
    /// What the guest may do with it, bits of the guest's table.
    pub access: u32,
    /// First guest physical address, page-aligned.
    pub base: u64,
    /// Pages, at least one.
    pub pages: u64,
}

impl Region {
    /// Its pages, by guest physical page number.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        let first = self.base / PAGE_SIZE as u64;
        first..first.saturating_add(self.pages)
    }
}

/// All of guest memory, in ranges: every page of it is in exactly one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    regions: Vec<Region>,
}

/// Regions that do not make a layout.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LayoutError {
    /// A region that is none.
    #[error("region {name:?} at {base:#x} with {pages} pages {problem}; the guest's table is damaged")]
    Region {
        /// Its name.
        name: String,
        /// Its base.
        base: u64,
        /// Its pages.
        pages: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// Ranges of memory that overlap or are not whole pages.
    #[error("guest memory from {start:#x} to {end:#x} is not whole pages, or overlaps the range before it")]
    Memory {
        /// Its start.
        start: u64,
        /// Its end.
        end: u64,
    },
}

impl Layout {
    /// The layout of the guest's regions, in any order, within guest memory, given as ranges of guest
    /// physical addresses in ascending order. What no region covers becomes ranges of kind [`UNOWNED`].
    ///
    /// # Errors
    ///
    /// [`LayoutError`] by the region that overlaps another one, is empty, or is not in guest memory.
    pub fn new(mut regions: Vec<Region>, memory: &[Range<u64>]) -> Result<Self, LayoutError> {
        let page = PAGE_SIZE as u64;
        regions.sort_by_key(|region| region.base);
        let mut all = Vec::with_capacity(regions.len() * 2 + memory.len());
        let mut waiting = regions.into_iter().peekable();
        let mut last_end = 0;
        for range in memory {
            if range.start % page != 0
                || range.end % page != 0
                || range.start >= range.end
                || range.start < last_end
            {
                return Err(LayoutError::Memory { start: range.start, end: range.end });
            }
            last_end = range.end;
            let mut at = range.start;
            while let Some(region) = waiting.next_if(|region| region.base < range.end) {
                let end = region.pages.checked_mul(page).and_then(|len| region.base.checked_add(len));
                let problem = match end {
                    None => Some("wraps"),
                    _ if region.kind == UNOWNED => Some("has the kind of a free slot"),
                    _ if region.base % page != 0 => Some("is not page-aligned"),
                    _ if region.pages == 0 => Some("is empty"),
                    _ if region.base < at => Some("overlaps another region, or begins outside of memory"),
                    Some(end) if end > range.end => Some("ends outside of memory"),
                    _ => None,
                };
                if let Some(problem) = problem {
                    return Err(refused(&region, problem));
                }
                all.extend(unowned(at, region.base));
                at = end.unwrap_or(range.end);
                all.push(region);
            }
            all.extend(unowned(at, range.end));
        }
        match waiting.next() {
            Some(region) => Err(refused(&region, "is outside of memory")),
            None => Ok(Self { regions: all }),
        }
    }

    /// All ranges, by ascending base.
    #[must_use]
    pub fn regions(&self) -> &[Region] {
        &self.regions
    }
}

fn refused(region: &Region, problem: &'static str) -> LayoutError {
    LayoutError::Region { name: region.name.clone(), base: region.base, pages: region.pages, problem }
}

fn unowned(start: u64, end: u64) -> Option<Region> {
    let pages = end.saturating_sub(start) / PAGE_SIZE as u64;
    (pages > 0).then(|| Region {
        name: "unowned".to_owned(),
        kind: UNOWNED,
        owner: 0,
        access: 0,
        base: start,
        pages,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(base: u64, pages: u64) -> Region {
        Region { name: "r".to_owned(), kind: 1, owner: 0, access: 1, base, pages }
    }

    #[test]
    fn what_no_region_covers_is_unowned() -> Result<(), LayoutError> {
        let layout = Layout::new(vec![region(0x5000, 2), region(0x1000, 1)], &[0..0x8000, 0x10000..0x12000])?;
        let found: Vec<_> = layout.regions().iter().map(|r| (r.base, r.pages, r.kind)).collect();
        let expected =
            [(0, 1, 0), (0x1000, 1, 1), (0x2000, 3, 0), (0x5000, 2, 1), (0x7000, 1, 0), (0x10000, 2, 0)];
        assert_eq!(found, expected);
        Ok(())
    }

    #[test]
    fn regions_that_overlap_or_leave_memory_are_refused() {
        let memory = [0x1000..0x8000, 0x10000..0x12000];
        for regions in [
            vec![region(0, 1)],
            vec![region(0x1000, 0)],
            vec![region(0x1800, 1)],
            vec![region(0x1000, 2), region(0x2000, 1)],
            vec![region(0x7000, 2)],
            vec![region(0x9000, 1)],
            vec![region(0x20000, 1)],
            vec![region(0x1000, u64::MAX)],
            vec![Region { kind: UNOWNED, ..region(0x1000, 1) }],
        ] {
            assert!(Layout::new(regions.clone(), &memory).is_err(), "{regions:?}");
        }
        for memory in [[0..1, 1..0x1000], [0x1000..0x1000, 0x2000..0x3000], [0..0x2000, 0x1000..0x3000]] {
            assert!(Layout::new(vec![], &memory).is_err(), "{memory:?}");
        }
    }
}
