//! Entries of a directory as they are listed, in the one form that both listings have: words, what the entry is, and its
//! name behind its length.

use crate::bytes::{read_u32, read_u64};
use alloc::vec::Vec;

/// Writes an entry behind others, if all of it fits into `most` bytes with them.
pub(crate) fn append<const N: usize>(
    to: &mut Vec<u8>,
    words: [u64; N],
    kind: u32,
    name: &[u8],
    most: usize,
) -> bool {
    if to.len() + 8 * (N + 1) + name.len() > most {
        return false;
    }
    for word in words {
        to.extend_from_slice(&word.to_le_bytes());
    }
    to.extend_from_slice(&kind.to_le_bytes());
    to.extend_from_slice(&(name.len() as u32).to_le_bytes());
    to.extend_from_slice(name);
    true
}

/// An entry taken apart: its words, its kind, its name, and the bytes behind it.
pub(crate) type First<'a, const N: usize> = ([u64; N], u32, &'a [u8], &'a [u8]);

/// The first entry of `bytes`, and what is behind it; `None` if there is none.
pub(crate) fn first<const N: usize>(bytes: &[u8]) -> Option<First<'_, N>> {
    let mut words = [0; N];
    for (at, word) in words.iter_mut().enumerate() {
        *word = read_u64(bytes, 8 * at)?;
    }
    let (kind, len) = (read_u32(bytes, 8 * N)?, read_u32(bytes, 8 * N + 4)?);
    let (name, rest) = bytes.get(8 * (N + 1)..)?.split_at_checked(usize::try_from(len).ok()?)?;
    Some((words, kind, name, rest))
}
