//! Folders of the host that a container is given, and other containers' files: an entry of its boot module.

use crate::bytes::read_u32;

/// Most folders of one container.
pub const MAX_MOUNTS: usize = 8;

/// Longest path of the container's at which one is found, in bytes.
const MAX_PATH: usize = 4096;

/// Bytes of one before its path: the volume's number, 1 if it is only to be read, the path's length.
const HEAD: usize = 12;

/// A folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mount<'a> {
    /// The number of the volume that it is.
    pub volume: u32,
    /// It is only to be read.
    pub read_only: bool,
    /// Where the container finds it: an absolute path.
    pub path: &'a [u8],
}

/// Bit of a volume's number that is no folder of the host: the rest of it is the number of a container, whose own files it
/// is.
const CONTAINER: u32 = 1 << 31;

/// The number of the volume that a container's own files are.
#[must_use]
pub const fn of_container(container: u32) -> u32 {
    CONTAINER | container
}

/// The container whose own files a volume is; `None` for a folder of the host.
#[must_use]
pub const fn container_of(volume: u32) -> Option<u32> {
    if volume & CONTAINER == 0 { None } else { Some(volume & !CONTAINER) }
}

/// Writes one behind others; `None` if its path is none.
#[cfg(feature = "alloc")]
pub fn append(to: &mut alloc::vec::Vec<u8>, mount: &Mount<'_>) -> Option<()> {
    let len = u32::try_from(mount.path.len()).ok().filter(|_| is_path(mount.path))?;
    for word in [mount.volume, u32::from(mount.read_only), len] {
        to.extend_from_slice(&word.to_le_bytes());
    }
    to.extend_from_slice(mount.path);
    Some(())
}

/// Counts the folders of the host in an entry from `first` on, instead of from 0.
#[cfg(feature = "alloc")]
pub fn renumber(entry: &mut [u8], first: u32) {
    let mut at = 0;
    while let (Some(volume), Some(len)) = (read_u32(entry, at), read_u32(entry, at + 8)) {
        if container_of(volume).is_none() {
            let _ = crate::bytes::write_u32(entry, at, first.saturating_add(volume));
        }
        at = at.saturating_add(HEAD).saturating_add(len as usize);
    }
}

/// Those of an entry; `None` if there are too many, or something of them cannot be.
#[must_use]
pub fn mounts(bytes: &[u8]) -> Option<impl Iterator<Item = Mount<'_>> + Clone> {
    let all = core::iter::successors(first(bytes), |(_, rest)| first(rest)).map(|(mount, _)| mount);
    let len: usize = all.clone().map(|mount| HEAD + mount.path.len()).sum();
    (len == bytes.len() && all.clone().count() <= MAX_MOUNTS).then_some(all)
}

fn first(bytes: &[u8]) -> Option<(Mount<'_>, &[u8])> {
    let read_only = match read_u32(bytes, 4)? {
        0 => false,
        1 => true,
        _ => return None,
    };
    let len = usize::try_from(read_u32(bytes, 8)?).ok()?;
    let (path, rest) = bytes.get(HEAD..)?.split_at_checked(len)?;
    let mount = Mount { volume: read_u32(bytes, 0)?, read_only, path };
    is_path(path).then_some((mount, rest))
}

fn is_path(path: &[u8]) -> bool {
    path.first() == Some(&b'/') && path.len() <= MAX_PATH && !path.contains(&0)
}

#[cfg(all(test, feature = "alloc"))]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn folders_are_read_as_they_were_written_and_nothing_else_is_one() {
        let all = [
            Mount { volume: 7, read_only: true, path: b"/data" },
            Mount { volume: of_container(5), read_only: false, path: b"/" },
        ];
        let mut bytes = Vec::new();
        for mount in &all {
            assert_eq!(append(&mut bytes, mount), Some(()));
        }
        assert!(mounts(&bytes).is_some_and(|read| read.eq(all)));
        assert_eq!(mounts(&[]).map(Iterator::count), Some(0));
        for len in 1..bytes.len() {
            assert_eq!(mounts(&bytes[..len]).is_some(), len == 17, "{len} bytes");
        }
        let mut later = bytes.clone();
        renumber(&mut later, 3);
        let numbers: Vec<u32> =
            mounts(&later).map(|read| read.map(|mount| mount.volume).collect()).unwrap_or_default();
        assert_eq!(numbers, [10, of_container(5)]);
        assert_eq!((container_of(numbers[0]), container_of(numbers[1])), (None, Some(5)));
        bytes[4] = 2;
        assert!(mounts(&bytes).is_none());
        let mut many = Vec::new();
        for _ in 0..=MAX_MOUNTS {
            append(&mut many, &all[1]);
        }
        assert!(mounts(&many[13..]).is_some() && mounts(&many).is_none());
        for path in [&b""[..], b"data", b"/a\0"] {
            assert_eq!(append(&mut Vec::new(), &Mount { path, ..all[0] }), None);
        }
    }
}
