//! The files that come with a container's image: an entry of its boot module.
//!
//! Layout, little-endian: for each file the length of its path (4 bytes) and of its contents (8), the path, the contents.
//! They are read where they lie.

use crate::bytes::{read_u32, read_u64};

/// Bytes before a file's path.
const HEADER_LEN: usize = 12;

/// Files that are checked to lie within their entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageFiles<'a>(&'a [u8]);

impl<'a> ImageFiles<'a> {
    /// Reads the lengths of all files.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let mut rest = bytes;
        while !rest.is_empty() {
            rest = split(rest)?.1;
        }
        Some(Self(bytes))
    }

    /// The files: their paths, below `/`, and their contents.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = self.0;
        core::iter::from_fn(move || {
            let (file, more) = split(rest)?;
            rest = more;
            Some(file)
        })
    }
}

/// The first file, and what comes after it.
#[expect(clippy::type_complexity, reason = "path, contents, rest")]
fn split(bytes: &[u8]) -> Option<((&[u8], &[u8]), &[u8])> {
    let path_len = read_u32(bytes, 0)? as usize;
    let len = usize::try_from(read_u64(bytes, 4)?).ok()?;
    let path_end = HEADER_LEN.checked_add(path_len)?;
    let end = path_end.checked_add(len)?;
    Some(((bytes.get(HEADER_LEN..path_end)?, bytes.get(path_end..end)?), bytes.get(end..)?))
}

/// Appends a file; `None` if its path is longer than 32 bits can count.
#[cfg(feature = "alloc")]
#[must_use]
pub fn append(bytes: &mut alloc::vec::Vec<u8>, path: &[u8], contents: &[u8]) -> Option<()> {
    bytes.extend_from_slice(&u32::try_from(path.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(&u64::try_from(contents.len()).ok()?.to_le_bytes());
    bytes.extend_from_slice(path);
    bytes.extend_from_slice(contents);
    Some(())
}

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn files_are_read_as_they_were_written_and_not_when_cut_short() {
        let mut bytes = Vec::new();
        append(&mut bytes, b"etc/motd", b"welcome").unwrap();
        let first = bytes.len();
        append(&mut bytes, b"empty", b"").unwrap();
        let read: Vec<_> = ImageFiles::parse(&bytes).unwrap().iter().collect();
        assert_eq!(read, [(&b"etc/motd"[..], &b"welcome"[..]), (b"empty", b"")]);
        assert_eq!(ImageFiles::parse(&[]).unwrap().iter().count(), 0);
        for len in (1..bytes.len()).filter(|len| *len != first) {
            assert!(ImageFiles::parse(&bytes[..len]).is_none(), "{len}");
        }
        for at in [0, 4] {
            let mut bad = bytes.clone();
            bad[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
            assert!(ImageFiles::parse(&bad).is_none());
        }
    }
}
