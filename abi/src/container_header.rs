//! What the host finds of a container at the start of its region: whether what lies there is all of it.
//!
//! A container that is not being run is its region: registers and stack of its thread, its memory, all that the
//! runtime keeps for it. So the host can put one back alone, to how a snapshot has it, if two things are so: it was at
//! rest when the snapshot was taken, and is now; and both times it is the same one, not another that was started with
//! its number.
//!
//! The same holds the other way round: the kernel can be put back, and its containers kept as they are, if each of them is at
//! rest and what the kernel has outside of their regions for them is what it had then ([`ties`](ContainerHeader::ties)). One of
//! which that is not so is [lost](LOST): the kernel is told so by what is written here, and takes it away unseen.

use crate::bytes::{read_u32, read_u64};

/// First field of a header: `"SENTCONT"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SENTCONT");

/// The header, as the guest keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct ContainerHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// The number that the host gave it when it was loaded: no other container has it.
    pub life: u64,
    /// [`AT_REST`], [`LOST`], or what the guest likes.
    pub state: u32,
    /// Counts the pieces of the kernel's memory that it was given, because its own region was full.
    pub borrowed: u32,
    /// Counts the pieces of standard input that came for it, and those that it read.
    pub input: u64,
    /// Counts how often it was taken up to be run. It is changed after [`state`](Self::state) then: who reads this one first
    /// and finds the container at rest after it knows that it was, with so many.
    pub runs: u64,
}

/// [`ContainerHeader::state`]: it has been run, is not over, and is not being run.
pub const AT_REST: u32 = 1;

/// [`ContainerHeader::state`], written by the VMM when a new life of the machine begins: what lies in the region is of no use.
pub const LOST: u32 = 2;

/// The place of [`ContainerHeader::state`] in the header, in bytes.
pub const STATE: usize = core::mem::offset_of!(ContainerHeader, state);

/// The place of [`ContainerHeader::runs`] in the header, in bytes.
pub const RUNS: usize = core::mem::offset_of!(ContainerHeader, runs);

impl ContainerHeader {
    /// Reads the header at the start of `bytes`; `None` if there is none.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let header = Self {
            magic: read_u64(bytes, 0)?,
            life: read_u64(bytes, 8)?,
            state: read_u32(bytes, STATE)?,
            borrowed: read_u32(bytes, STATE + 4)?,
            input: read_u64(bytes, STATE + 8)?,
            runs: read_u64(bytes, RUNS)?,
        };
        (header.magic == MAGIC).then_some(header)
    }

    /// What the kernel keeps for it outside of its region: where this is the same, that is.
    #[must_use]
    pub fn ties(&self) -> (u32, u64) {
        (self.borrowed, self.input)
    }

    /// Whether what lies in the region is all of the container.
    #[must_use]
    pub fn is_at_rest(&self) -> bool {
        self.state == AT_REST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_and_what_is_none_is_not() {
        let mut bytes = [0; size_of::<ContainerHeader>()];
        assert_eq!(ContainerHeader::parse(&bytes), None);
        bytes[..8].copy_from_slice(b"SENTCONT");
        bytes[8] = 7;
        assert!(
            ContainerHeader::parse(&bytes).is_some_and(|header| header.life == 7 && !header.is_at_rest())
        );
        bytes[STATE] = 1;
        assert!(ContainerHeader::parse(&bytes).is_some_and(|header| header.is_at_rest()));
        bytes[STATE + 4] = 3;
        bytes[STATE + 8] = 5;
        assert_eq!(ContainerHeader::parse(&bytes).map(|header| header.ties()), Some((3, 5)));
        bytes[RUNS] = 2;
        assert_eq!(ContainerHeader::parse(&bytes).map(|header| header.runs), Some(2));
        assert_eq!(ContainerHeader::parse(&bytes[..RUNS + 4]), None);
    }
}
