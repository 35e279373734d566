//! Which region is committed to in which slot.
//!
//! | slot | what is in it |
//! |---|---|
//! | 0 | the state of vCPUs and devices |
//! | 1 to 13, 15, 16 | the regions of the kind with that number in `sentient_abi::region::RegionKind` |
//! | 14 | ranges that no region covers |
//! | 17 | regions of kinds that are not in this table |
//! | 18 + 2i | memory (kind 14) of containers whose index is i modulo 23, for i from 0 to 22 |
//! | 19 + 2i | images (kind 17) of the same |
//!
//! A slot without regions holds 0. With one region it holds that region's root, with several the BLAKE3 of
//! their roots by ascending base; truncated to 248 bits. Base, length, kind and owner are part of a
//! region's root, so one that moves, grows or changes hands has changed.

use std::fmt;

use sentient_abi::region::RegionKind;

/// Slots of the commitment: 8 nodes of 8.
pub const SLOTS: usize = 64;

/// Containers that have slots of their own: those with indexes below.
pub const CONTAINERS: u32 = 23;

const STATE: u8 = 0;
const UNOWNED: u8 = 14;
const OTHER: u8 = 17;
const FIRST_CONTAINER: u8 = 18;

/// The number of a slot, below [`SLOTS`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Hash)]
pub struct Slot(u8);

impl Slot {
    /// The slot of the vCPUs' and devices' state.
    pub const MACHINE_STATE: Self = Self(STATE);

    /// The slot of a region of this kind and owner.
    #[must_use]
    pub fn of(kind: u32, owner: u32) -> Self {
        let pair = (owner % CONTAINERS) as u8;
        match RegionKind::from_u32(kind) {
            Some(RegionKind::Free) => Self(UNOWNED),
            Some(RegionKind::Container) => Self(FIRST_CONTAINER + 2 * pair),
            Some(RegionKind::Image) => Self(FIRST_CONTAINER + 1 + 2 * pair),
            // Kinds 1 to 13, 15 and 16, and no newer one, which could be in the way of the others.
            Some(_) if kind < u32::from(OTHER) => Self(kind as u8),
            _ => Self(OTHER),
        }
    }

    /// The slot of that number.
    #[must_use]
    pub fn new(number: usize) -> Option<Self> {
        u8::try_from(number).ok().filter(|number| usize::from(*number) < SLOTS).map(Self)
    }

    /// Its number.
    #[must_use]
    pub fn number(self) -> usize {
        usize::from(self.0)
    }

    /// All of them.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS as u8).map(Self)
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            STATE => f.write_str("vcpu-and-devices"),
            UNOWNED => f.write_str("unowned"),
            OTHER => f.write_str("other"),
            number if number >= FIRST_CONTAINER => {
                let pair = number - FIRST_CONTAINER;
                let what = if pair.is_multiple_of(2) { "container" } else { "image" };
                write!(f, "{what}-{}", pair / 2)
            }
            number => f.write_str(RegionKind::from_u32(u32::from(number)).map_or("other", RegionKind::name)),
        }
    }
}

/// Slots as a mask: bit n is slot n.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, borsh::BorshSerialize, borsh::BorshDeserialize)]
pub struct SlotSet(pub u64);

impl SlotSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// Whether a slot is in it.
    #[must_use]
    pub fn has(self, slot: Slot) -> bool {
        self.0 >> slot.0 & 1 == 1
    }

    /// With a slot more.
    #[must_use]
    pub fn with(self, slot: Slot) -> Self {
        Self(self.0 | 1 << slot.0)
    }

    /// Without the slots of another.
    #[must_use]
    pub fn without(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The slots, ascending.
    pub fn iter(self) -> impl Iterator<Item = Slot> {
        Slot::all().filter(move |slot| self.has(*slot))
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> Self {
        slots.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("none");
        }
        for (at, slot) in self.iter().enumerate() {
            write!(f, "{}{slot}", if at == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_containers_have_slots_of_their_own() {
        let mut seen = SlotSet::EMPTY.with(Slot::MACHINE_STATE);
        let kinds = (0..17).filter(|kind| *kind != 14).map(|kind| Slot::of(kind, 0));
        let containers = (0..CONTAINERS).flat_map(|owner| [Slot::of(14, owner), Slot::of(17, owner)]);
        for slot in kinds.chain(containers).chain([Slot::of(99, 0)]) {
            assert!(!seen.has(slot), "{slot} twice");
            seen = seen.with(slot);
        }
        assert_eq!(seen.0, u64::MAX);
    }

    #[test]
    fn any_region_has_a_slot() {
        for kind in [0, 14, 17, 18, 255, 256, u32::MAX] {
            for owner in [0, 22, 23, 63, u32::MAX] {
                assert!(Slot::of(kind, owner).number() < SLOTS);
            }
        }
        assert_eq!(Slot::of(14, 24), Slot::of(14, 1));
        assert_eq!(Slot::new(64), None);
    }

    #[test]
    fn slots_have_names_that_people_know() {
        assert_eq!(Slot::of(1, 0).to_string(), "nucleus-text");
        assert_eq!(Slot::of(17, 3).to_string(), "image-3");
        let set: SlotSet = [Slot::of(14, 0), Slot::MACHINE_STATE].into_iter().collect();
        assert_eq!(set.to_string(), "vcpu-and-devices, container-0");
    }
}
