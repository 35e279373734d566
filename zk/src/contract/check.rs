//! A transition against a contract: which slots are frozen, and what broke that.

use std::fmt;

use sentient_abi::region::RegionKind;
use sentient_snapshot::Record;
use sentient_snapshot::record::RegionEntry;

use super::file::{Contract, ContractError, OnViolation, Rule};
use crate::commitment::{Delta, SLOTS, Slot, SlotSet};

/// What a contract makes of a transition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The contract's digest.
    pub contract: [u8; 32],
    /// Slots that may not change in this transition.
    pub frozen: SlotSet,
    /// What to do if there are violations.
    pub on_violation: OnViolation,
    /// What broke the contract.
    pub violations: Vec<Violation>,
}

/// Something that the contract does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Violation {
    /// A page of a frozen region changed.
    Page {
        /// The region.
        region: String,
        /// Guest physical address of the first such page.
        address: u64,
        /// How many there are.
        pages: u64,
    },
    /// A frozen region came, went, moved or grew.
    Layout {
        /// The region.
        region: String,
        /// Its base, where it is or was.
        base: u64,
    },
    /// Too much changed.
    DirtyPages {
        /// Pages that differ.
        pages: u64,
        /// The contract's limit.
        limit: u64,
    },
    /// A region is too large.
    RegionPages {
        /// The region.
        region: String,
        /// Its base.
        base: u64,
        /// Its pages.
        pages: u64,
        /// The contract's limit.
        limit: u64,
    },
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Page { region, address, pages } => {
                write!(f, "{pages} pages of the frozen region {region} changed, the first at {address:#x}")
            }
            Self::Layout { region, base } => {
                write!(f, "the frozen region {region} at {base:#x} came, went, moved or grew")
            }
            Self::DirtyPages { pages, limit } => write!(f, "{pages} pages changed, more than {limit}"),
            Self::RegionPages { region, base, pages, limit } => {
                write!(f, "the region {region} at {base:#x} has {pages} pages, more than {limit}")
            }
        }
    }
}

/// A region's container, by name.
fn container<'a>(record: &'a Record, region: &RegionEntry) -> Option<&'a str> {
    let owned = region.kind == RegionKind::Container as u32;
    let found = record.containers.iter().find(|container| owned && container.index == region.owner);
    found.map(|container| container.name.as_str())
}

impl Contract {
    /// Checks the transition from `old`, if there is one, to `new`.
    ///
    /// An image is frozen while it is there. One that comes or goes breaks nothing.
    ///
    /// # Errors
    ///
    /// [`ContractError::Shared`] if regions with different rules are committed to together.
    pub fn check(&self, old: Option<&Record>, new: &Record, delta: &Delta) -> Result<Verdict, ContractError> {
        let mut frozen = SlotSet::EMPTY;
        let mut violations = Vec::new();
        if let Some(old) = old {
            frozen = self.frozen(old, new)?;
            let is_frozen = |region: &&RegionEntry| frozen.has(Slot::of(region.kind, region.owner));
            for region in new.regions.iter().filter(is_frozen) {
                violations.extend(changed_pages(region, delta));
                if !old.regions.iter().any(|other| same_place(other, region)) {
                    violations.push(Violation::Layout { region: region.name.clone(), base: region.base });
                }
            }
            let gone = |region: &&RegionEntry| !new.regions.iter().any(|other| same_place(other, region));
            for region in old.regions.iter().filter(is_frozen).filter(gone) {
                violations.push(Violation::Layout { region: region.name.clone(), base: region.base });
            }
            let pages = delta.pages.len() as u64;
            if let Some(limit) = self.limits.dirty_pages.filter(|limit| pages > *limit) {
                violations.push(Violation::DirtyPages { pages, limit });
            }
        }
        // What no region covers has no limit.
        for region in new.regions.iter().filter(|region| region.kind != RegionKind::Free as u32) {
            if let Some(limit) = self.limits.region_pages.filter(|limit| region.pages > *limit) {
                let (base, pages) = (region.base, region.pages);
                violations.push(Violation::RegionPages { region: region.name.clone(), base, pages, limit });
            }
        }
        Ok(Verdict { contract: self.digest(), frozen, on_violation: self.on_violation, violations })
    }

    /// Slots that may not change between two snapshots.
    ///
    /// # Errors
    ///
    /// [`ContractError::Shared`].
    pub fn frozen(&self, old: &Record, new: &Record) -> Result<SlotSet, ContractError> {
        let mut frozen_by: [Option<&str>; SLOTS] = [None; SLOTS];
        let mut mutable_by: [Option<&str>; SLOTS] = [None; SLOTS];
        let mut passing = SlotSet::EMPTY;
        for (record, other) in [(old, new), (new, old)] {
            for region in &record.regions {
                let Some(kind) = RegionKind::from_u32(region.kind) else { continue };
                let name = container(record, region);
                let slot = Slot::of(region.kind, region.owner);
                let stays = || other.regions.iter().any(|there| same_place(there, region));
                let by = match self.rule(kind, name) {
                    Rule::Frozen if kind == RegionKind::Image && !stays() => {
                        passing = passing.with(slot);
                        continue;
                    }
                    Rule::Frozen => &mut frozen_by,
                    Rule::Mutable => &mut mutable_by,
                };
                if let Some(by) = by.get_mut(slot.number()) {
                    *by = Some(&region.name);
                }
            }
        }
        let mut frozen = self.always_frozen();
        for (slot, by) in Slot::all().zip(frozen_by.iter().zip(&mutable_by)) {
            match by {
                (Some(frozen), Some(mutable)) => {
                    let (frozen, mutable) = ((*frozen).to_owned(), (*mutable).to_owned());
                    return Err(ContractError::Shared { frozen, mutable, slot: slot.to_string() });
                }
                (Some(_), None) => frozen = frozen.with(slot),
                (None, _) => {}
            }
        }
        Ok(frozen.without(passing))
    }
}

/// Whether two records have the same region. An image's name says which one it is.
fn same_place(one: &RegionEntry, two: &RegionEntry) -> bool {
    (one.kind, one.owner, one.base, one.pages) == (two.kind, two.owner, two.base, two.pages)
        && (one.kind != RegionKind::Image as u32 || one.name == two.name)
}

/// The pages of a region that are in a delta.
fn changed_pages(region: &RegionEntry, delta: &Delta) -> Option<Violation> {
    let page = sentient_snapshot::PAGE_SIZE as u64;
    let first = region.base / page;
    let inside = first..first.saturating_add(region.pages);
    let mut changed = delta.pages.iter().map(|(gpn, ..)| *gpn).filter(|gpn| inside.contains(gpn));
    let address = changed.next()? * page;
    Some(Violation::Page { region: region.name.clone(), address, pages: 1 + changed.count() as u64 })
}
