//! Objects: what the store keeps, how it is encoded, and how it is checked.

use std::borrow::Cow;
use std::fmt;

use crate::hash::{Domain, Hash};
use crate::page::PAGE_SIZE;
use crate::tree::NODE_LEN;

/// Most bytes of a state. vCPUs and devices have a few hundred KiB; the rest is room.
pub const MAX_STATE: usize = 64 << 20;

/// An object is stored compressed if that saves at least one part in this many. Decompressing costs
/// about what hashing does; for less than a quarter of the bytes a restore would rather read.
pub const WORTHWHILE: usize = 4;

/// What an object is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// The state of vCPUs and devices.
    State = 1,
    /// A tree node.
    Node = 2,
    /// A page.
    Page = 3,
}

impl Kind {
    /// The kind of a number, if there is such a kind.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            1 => Some(Self::State),
            2 => Some(Self::Node),
            3 => Some(Self::Page),
            _ => None,
        }
    }

    /// What it is hashed under.
    #[must_use]
    pub const fn domain(self) -> Domain {
        match self {
            Self::State => Domain::State,
            Self::Node => Domain::Node,
            Self::Page => Domain::Page,
        }
    }

    /// Whether an object of this kind can have `len` bytes.
    #[must_use]
    pub const fn allows(self, len: usize) -> bool {
        match self {
            Self::State => len <= MAX_STATE,
            Self::Node => len == NODE_LEN,
            Self::Page => len == PAGE_SIZE,
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::State => "state",
            Self::Node => "tree node",
            Self::Page => "page",
        })
    }
}

/// How an object's bytes lie in a pack or an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Encoding {
    /// As they are.
    Raw = 0,
    /// As one LZ4 block, without a length in front.
    Lz4 = 1,
}

impl Encoding {
    /// The encoding of a number, if there is such an encoding.
    #[must_use]
    pub const fn from_u8(value: u8) -> Option<Self> {
        match value {
            0 => Some(Self::Raw),
            1 => Some(Self::Lz4),
            _ => None,
        }
    }
}

/// The bytes to store for `bytes`.
#[must_use]
pub fn encode(bytes: &[u8]) -> (Encoding, Cow<'_, [u8]>) {
    let packed = lz4_flex::block::compress(bytes);
    if packed.len() <= bytes.len() - bytes.len() / WORTHWHILE && packed.len() < bytes.len() {
        (Encoding::Lz4, Cow::Owned(packed))
    } else {
        (Encoding::Raw, Cow::Borrowed(bytes))
    }
}

/// The object that was stored as `stored`, into `room`, which has exactly its length.
///
/// # Errors
///
/// What is wrong, as the rest of a sentence about the object.
pub fn decode_into(encoding: Encoding, stored: &[u8], room: &mut [u8]) -> Result<(), String> {
    let expected = room.len();
    match encoding {
        Encoding::Raw if stored.len() == expected => {
            room.copy_from_slice(stored);
            Ok(())
        }
        Encoding::Raw => Err(format!("has {} bytes instead of {expected}", stored.len())),
        Encoding::Lz4 => match lz4_flex::block::decompress_into(stored, room) {
            Ok(len) if len == expected => Ok(()),
            Ok(len) => Err(format!("decompresses to {len} bytes instead of {expected}")),
            Err(error) => Err(format!("does not decompress to {expected} bytes: {error}")),
        },
    }
}

/// `Ok` if `bytes` are what `hash` names.
///
/// # Errors
///
/// What is wrong, as the rest of a sentence about the object.
pub fn check(kind: Kind, hash: Hash, bytes: &[u8]) -> Result<(), String> {
    let found = kind.domain().hash(bytes);
    if found == hash { Ok(()) } else { Err(format!("has contents with the hash {found}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_shrink_by_a_quarter_is_stored_as_it_is() {
        let mut random = [0u8; PAGE_SIZE];
        blake3::Hasher::new().finalize_xof().fill(&mut random);
        assert_eq!(encode(&random).0, Encoding::Raw);
        for zeros in [PAGE_SIZE / 8, PAGE_SIZE / 5] {
            let mut page = random;
            page[..zeros].fill(0);
            assert_eq!(encode(&page).0, Encoding::Raw, "{zeros} zeros");
        }
        random[..PAGE_SIZE / 2].fill(0);
        assert_eq!(encode(&random).0, Encoding::Lz4);
        assert_eq!(encode(&[]).0, Encoding::Raw);
    }

    #[test]
    fn a_block_that_decompresses_to_more_or_less_is_refused() {
        for len in [0, 1, PAGE_SIZE - 1, PAGE_SIZE + 1, 1 << 20] {
            let bomb = lz4_flex::block::compress(&vec![7; len]);
            let mut page = [0; PAGE_SIZE];
            assert!(decode_into(Encoding::Lz4, &bomb, &mut page).is_err(), "{len} bytes");
            assert!(decode_into(Encoding::Raw, &vec![7; len], &mut page).is_err(), "{len} bytes");
        }
        let mut page = [0; PAGE_SIZE];
        let block = lz4_flex::block::compress(&[7; PAGE_SIZE]);
        assert_eq!(decode_into(Encoding::Lz4, &block, &mut page), Ok(()));
        assert_eq!(page, [7; PAGE_SIZE]);
    }
}
