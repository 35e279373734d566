//! A container's files as its owner sees them: from outside, by absolute paths, whatever its permissions say.

use alloc::vec::Vec;

use crate::errno::Errno;
use crate::fs::{Entry, FileSystem, InodeId, Last, Target};
use crate::record::{FileStat, FileType};
use crate::served::Opened;
use crate::setup::relative;
use crate::wasi::Wasi;

/// The files of one container.
///
/// Paths are absolute; symbolic links on the way are followed, within the container. What a path ends in is meant itself,
/// except where bytes are read or written. Errors are those of the WASI calls that do the same.
#[derive(Debug)]
pub struct Files<'a>(&'a mut FileSystem, &'a mut Opened);

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Link,
}

/// What there is to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// What it is.
    pub kind: FileKind,
    /// Bytes of a file or of a link's target; 0 of a directory.
    pub size: u64,
    /// When it was last modified, in nanoseconds since 1970.
    pub modified_ns: u64,
}

impl From<FileStat> for FileInfo {
    fn from(stat: FileStat) -> Self {
        let kind = match stat.filetype {
            FileType::Directory => FileKind::Directory,
            FileType::SymbolicLink => FileKind::Link,
            _ => FileKind::File,
        };
        Self { kind, size: stat.size, modified_ns: stat.mtim }
    }
}

/// An entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// Its name.
    pub name: &'a [u8],
    /// What it is.
    pub info: FileInfo,
    /// The position behind it.
    pub next: u64,
}

impl Wasi {
    /// The container's files, for its owner.
    pub fn files(&mut self) -> Files<'_> {
        Files(&mut self.fs, &mut self.opened)
    }
}

impl Files<'_> {
    /// What a path names.
    ///
    /// # Errors
    /// [`Errno::Noent`] and others.
    pub fn look(&self, path: &[u8]) -> Result<FileInfo, Errno> {
        Ok(self.0.stat(self.existing(path, Last::NoFollow)?)?.into())
    }

    /// The entries of a directory from a position on; 0 is the first one's. The directory itself and the one that it is
    /// in are not among them.
    ///
    /// # Errors
    /// [`Errno::Notdir`] and others.
    pub fn list(&self, path: &[u8], from: u64) -> Result<impl Iterator<Item = Listed<'_>>, Errno> {
        let listed = self.0.list(self.existing(path, Last::NoFollow)?, from)?;
        Ok(listed.filter(|listed| !matches!(listed.name, b"." | b"..")).filter_map(|listed| {
            let info = self.0.stat(listed.inode).ok()?.into();
            Some(Listed { name: listed.name, info, next: listed.next })
        }))
    }

    /// Bytes of a file from a place on, at most `len`; none at its end.
    ///
    /// # Errors
    /// [`Errno::Isdir`] and others.
    pub fn read(&self, path: &[u8], at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        self.read_inode(self.existing(path, Last::Follow)?, at, len)
    }

    pub(crate) fn read_inode(&self, file: InodeId, at: u64, len: usize) -> Result<Vec<u8>, Errno> {
        let left = usize::try_from(self.0.size(file)?.saturating_sub(at)).unwrap_or(usize::MAX);
        let mut bytes = Vec::new();
        bytes.try_reserve_exact(left.min(len)).map_err(|_| Errno::Nomem)?;
        bytes.resize(left.min(len), 0);
        let read = self.0.read(file, at, &mut bytes)?;
        bytes.truncate(read);
        Ok(bytes)
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// [`Errno::Inval`] for anything else, and others.
    pub fn target(&self, path: &[u8]) -> Result<&[u8], Errno> {
        self.0.link_target(self.existing(path, Last::NoFollow)?)
    }

    /// Makes a file, or empties the one that is there.
    ///
    /// # Errors
    /// [`Errno::Isdir`], [`Errno::Nospc`] and others.
    pub fn create(&mut self, path: &[u8], now: u64) -> Result<(), Errno> {
        match self.walk(path, Last::Follow)? {
            Target::Entry(entry) if entry.inode.is_none() => self.0.create_file(&entry, now).map(drop),
            target => {
                let there = self.0.existing(&target)?;
                if self.0.filetype(there)? == FileType::Directory {
                    return Err(Errno::Isdir);
                }
                self.0.resize(there, 0, now)
            }
        }
    }

    /// Writes all of `bytes` at a place of a file that is there.
    ///
    /// # Errors
    /// [`Errno::Nospc`], with some of them written, and others.
    pub fn write(&mut self, path: &[u8], at: u64, bytes: &[u8], now: u64) -> Result<(), Errno> {
        let file = self.existing(path, Last::Follow)?;
        let written = self.0.write(file, at, bytes, now)?;
        if written < bytes.len() { Err(Errno::Nospc) } else { Ok(()) }
    }

    /// Makes a directory; one that is there will do.
    ///
    /// # Errors
    /// [`Errno::Exist`] if anything else is, and others.
    pub fn make_directory(&mut self, path: &[u8], now: u64) -> Result<(), Errno> {
        match self.walk(path, Last::Follow)? {
            Target::Entry(entry) if entry.inode.is_none() => self.0.create_directory(&entry, now).map(drop),
            target => match self.0.filetype(self.0.existing(&target)?)? {
                FileType::Directory => Ok(()),
                _ => Err(Errno::Exist),
            },
        }
    }

    /// Makes a symbolic link, in place of one that is there.
    ///
    /// # Errors
    /// [`Errno::Exist`] if anything else is, [`Errno::Perm`] for an absolute target, and others.
    pub fn make_link(&mut self, path: &[u8], target: &[u8], now: u64) -> Result<(), Errno> {
        let entry = self.name(path)?;
        let there = entry.inode.map(|inode| self.0.filetype(inode)).transpose()?;
        if there == Some(FileType::SymbolicLink) {
            self.0.unlink(&entry, now)?;
            return self.0.create_symlink(&self.name(path)?, target, now);
        }
        self.0.create_symlink(&entry, target, now)
    }

    /// Sets when a file was last modified.
    ///
    /// # Errors
    /// [`Errno::Noent`] and others.
    pub fn set_modified(&mut self, path: &[u8], modified_ns: u64, now: u64) -> Result<(), Errno> {
        let file = self.existing(path, Last::NoFollow)?;
        self.0.set_times(file, (None, Some(modified_ns)), now)
    }

    pub(crate) fn fs(&mut self) -> &mut FileSystem {
        self.0
    }

    /// What others have open.
    pub(crate) fn kept(&mut self) -> &mut Opened {
        self.1
    }

    fn walk(&self, path: &[u8], last: Last) -> Result<Target, Errno> {
        match relative(path) {
            [] if path.is_empty() => Err(Errno::Noent),
            [] => Ok(Target::Directory(InodeId::ROOT)),
            path => self.0.resolve(InodeId::ROOT, path, last),
        }
    }

    fn existing(&self, path: &[u8], last: Last) -> Result<InodeId, Errno> {
        self.0.existing(&self.walk(path, last)?)
    }

    fn name(&self, path: &[u8]) -> Result<Entry, Errno> {
        self.walk(path, Last::Name)?.entry(Errno::Exist)
    }
}
