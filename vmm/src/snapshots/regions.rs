//! The guest's region table, read from its memory: what the guest says, not what is so.

use crate::memory::GuestMemory;
use sentient_abi::ABI_VERSION;
use sentient_abi::bytes::{read_u32, read_u64};
use sentient_abi::region::{MAGIC, MAX_REGIONS, NAME_LEN, Region, RegionKind, RegionTable};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of the table before its slots.
const HEADER: usize = 16;
/// Bytes of a slot.
const SLOT: usize = size_of::<Region>();

/// A table that is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the guest's region table at {at:#x} {problem}: the guest has overwritten it, or is no SentientOS kernel of this version"
)]
pub struct BadTable {
    /// Where it was looked for.
    pub at: u64,
    /// What is wrong.
    pub problem: String,
}

/// The regions in use, in the order of their slots. They are not checked against each other.
///
/// # Errors
/// [`BadTable`].
pub fn read(memory: &GuestMemory, at: u64) -> Result<Vec<Region>, BadTable> {
    let bad = |problem: String| BadTable { at, problem };
    let mut bytes = [0; size_of::<RegionTable>()];
    memory
        .read_slice(&mut bytes, GuestAddress(at))
        .map_err(|error| bad(format!("is outside of RAM ({error})")))?;
    let cut = || bad("is cut short".into());
    if read_u64(&bytes, 0).ok_or_else(cut)? != MAGIC {
        return Err(bad("does not begin as one".into()));
    }
    let version = read_u32(&bytes, 8).ok_or_else(cut)?;
    if version != ABI_VERSION {
        return Err(bad(format!("has version {version} and not {ABI_VERSION}")));
    }
    let count = read_u32(&bytes, 12).ok_or_else(cut)? as usize;
    if count > MAX_REGIONS {
        return Err(bad(format!("has {count} regions, more than {MAX_REGIONS}")));
    }
    let slot = |number: usize| {
        let slot = bytes.get(HEADER + number * SLOT..)?;
        let mut name = [0; NAME_LEN];
        name.copy_from_slice(slot.get(..NAME_LEN)?);
        Some(Region {
            name,
            base: read_u64(slot, 16)?,
            len: read_u64(slot, 24)?,
            kind: read_u32(slot, 32)?,
            access: read_u32(slot, 36)?,
            owner: read_u32(slot, 40)?,
            reserved: read_u32(slot, 44)?,
        })
    };
    let regions = (0..count).map(|number| slot(number).ok_or_else(cut)).collect::<Result<Vec<_>, _>>()?;
    Ok(regions
        .into_iter()
        .filter(|region| region.kind != RegionKind::Free as u32 && region.len > 0)
        .collect())
}

const _: () = assert!(size_of::<RegionTable>() == HEADER + MAX_REGIONS * SLOT);
