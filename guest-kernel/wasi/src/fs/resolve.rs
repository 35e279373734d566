//! From a path to what it names, without ever leaving the directory it starts from.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::vec::Vec;

use super::FileSystem;
use super::inode::{InodeId, Kind};
use crate::errno::Errno;

/// Symbolic links followed in one path before `ELOOP` (Linux's `MAXSYMLINKS`; POSIX asks for at
/// least 8).
const LINKS_MAX: u32 = 40;

/// What to do with a symbolic link that the path ends in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Last {
    /// Follow it.
    Follow,
    /// Follow it only if a slash comes after it (POSIX, Pathname Resolution).
    NoFollow,
    /// Never: the call is about the name itself, to be made, moved or removed.
    Name,
}

impl Last {
    pub(crate) fn from_follow(follow: bool) -> Self {
        if follow { Self::Follow } else { Self::NoFollow }
    }
}

/// Where a path ends.
#[derive(Debug)]
pub(crate) enum Target {
    /// At a directory, by `.` or `..`: there is no name to work on.
    Directory(InodeId),
    /// At a name in a directory.
    Entry(Entry),
}

/// A name in a directory, whether something is there or not.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) parent: InodeId,
    pub(crate) name: Box<[u8]>,
    pub(crate) inode: Option<InodeId>,
    /// The path goes on with a slash: only a directory will do.
    pub(crate) slash: bool,
}

impl Target {
    /// The name; `dots` if the path ends in `.` or `..`.
    pub(crate) fn entry(self, dots: Errno) -> Result<Entry, Errno> {
        match self {
            Self::Entry(entry) => Ok(entry),
            Self::Directory(_) => Err(dots),
        }
    }
}

/// What every path must be: not empty (`ENOENT`), no longer than `max` bytes (`ENAMETOOLONG`),
/// UTF-8 (`EILSEQ`), without a zero byte (`EINVAL`), and relative (`EPERM`, as leaving by `..` is).
fn check(path: &[u8], max: usize) -> Result<(), Errno> {
    match path.first() {
        None => return Err(Errno::Noent),
        Some(b'/') => return Err(Errno::Perm),
        Some(_) => {}
    }
    if path.len() > max {
        return Err(Errno::Nametoolong);
    }
    if path.contains(&0) {
        return Err(Errno::Inval);
    }
    core::str::from_utf8(path).map(|_| ()).map_err(|_| Errno::Ilseq)
}

/// The first component, what comes after its slashes, and whether there were any.
fn split(path: &[u8]) -> (&[u8], &[u8], bool) {
    let end = path.iter().position(|byte| *byte == b'/').unwrap_or(path.len());
    let (name, rest) = path.split_at(end);
    let slashes = rest.iter().take_while(|byte| **byte == b'/').count();
    let (_, rest) = rest.split_at(slashes);
    (name, rest, slashes > 0)
}

impl FileSystem {
    /// Walks `path` from the directory `start`. Every step must stay within `start`: `..` out of it
    /// is `EPERM`, and so is a link to an absolute path.
    pub(crate) fn resolve(&self, start: InodeId, path: &[u8], last: Last) -> Result<Target, Errno> {
        check(path, self.path_max)?;
        let mut path = Cow::Borrowed(path);
        let mut at = 0;
        let mut here = start;
        let mut links = 0;
        loop {
            let (name, rest, slash) = split(path.get(at..).unwrap_or_default());
            let ends = rest.is_empty();
            let directory = self.directory(here)?;
            let found = match name {
                b"." => Some(here),
                b".." if here == start => return Err(Errno::Perm),
                b".." => Some(directory.parent),
                _ if name.len() > self.name_max => return Err(Errno::Nametoolong),
                _ => directory.get(name),
            };
            let dots = matches!(name, b"." | b"..");
            let Some(found) = found else {
                return if ends {
                    Ok(Target::Entry(Entry { parent: here, name: name.into(), inode: None, slash }))
                } else {
                    Err(Errno::Noent)
                };
            };
            let follow = match last {
                Last::Follow => true,
                Last::NoFollow => !ends || slash,
                Last::Name => !ends,
            };
            match &self.inodes.get(found)?.kind {
                Kind::Symlink(target) if follow => {
                    links += 1;
                    if links > LINKS_MAX {
                        return Err(Errno::Loop);
                    }
                    path = Cow::Owned(self.spliced(target, rest, slash)?);
                    at = 0;
                    continue;
                }
                Kind::Directory(_) if ends && dots => return Ok(Target::Directory(found)),
                _ if ends => {
                    let name = name.into();
                    return Ok(Target::Entry(Entry { parent: here, name, inode: Some(found), slash }));
                }
                Kind::Directory(_) => here = found,
                Kind::File(_) | Kind::Symlink(_) => return Err(Errno::Notdir),
            }
            at = path.len().saturating_sub(rest.len());
        }
    }

    /// A link's target with the rest of the path after it.
    fn spliced(&self, target: &[u8], rest: &[u8], slash: bool) -> Result<Vec<u8>, Errno> {
        check(target, self.path_max)?;
        let len = target.len().saturating_add(1).saturating_add(rest.len());
        if len > self.path_max {
            return Err(Errno::Nametoolong);
        }
        let mut path = Vec::new();
        path.try_reserve_exact(len).map_err(|_| Errno::Nomem)?;
        path.extend_from_slice(target);
        if slash {
            path.push(b'/');
        }
        path.extend_from_slice(rest);
        Ok(path)
    }

    /// What a path ends at; `ENOENT` if nothing is there, `ENOTDIR` for `file/`.
    pub(crate) fn existing(&self, target: &Target) -> Result<InodeId, Errno> {
        match target {
            Target::Directory(inode) => Ok(*inode),
            Target::Entry(entry) => {
                let inode = entry.inode.ok_or(Errno::Noent)?;
                if entry.slash && !self.inodes.get(inode)?.is_directory() {
                    return Err(Errno::Notdir);
                }
                Ok(inode)
            }
        }
    }
}
