//! The container's file system, all of it in memory.
//!
//! An inode table ([`inode`]), directories ([`directory`]), file contents in chunks ([`content`]),
//! the walk along a path ([`resolve`]), the calls that change names ([`names`]), and one quota over
//! all of it ([`quota`]). It knows nothing of descriptors, rights or guest memory: those are
//! settled before a call gets here. Times are nanoseconds since 1970, handed in by the caller.

mod content;
mod directory;
mod inode;
mod names;
mod quota;
mod resolve;

use alloc::vec::Vec;

use content::Content;
use directory::{Directory, Listed};
use inode::{Inode, Inodes, Kind};
use quota::Quota;

pub(crate) use inode::InodeId;
pub(crate) use resolve::{Entry, Last, Target};

use crate::errno::Errno;
use crate::record::{FileStat, FileType};
use crate::setup::Limits;

/// One file system.
#[derive(Debug)]
pub(crate) struct FileSystem {
    inodes: Inodes,
    quota: Quota,
    path_max: usize,
    name_max: usize,
}

impl FileSystem {
    /// A file system with an empty root directory.
    pub(crate) fn new(limits: &Limits, now: u64) -> Result<Self, Errno> {
        let mut this = Self {
            inodes: Inodes::new(limits.inodes),
            quota: Quota::new(limits.file_bytes),
            path_max: limits.path_bytes,
            name_max: limits.name_bytes,
        };
        this.quota.take(quota::INODE_BYTES)?;
        let root = Kind::Directory(Directory::new(InodeId::ROOT));
        this.inodes.insert(Inode { kind: root, links: 1, open: 0, atim: now, mtim: now, ctim: now })?;
        Ok(this)
    }

    pub(crate) fn bytes_used(&self) -> u64 {
        self.quota.used()
    }

    pub(crate) fn bytes_free(&self) -> u64 {
        self.quota.free()
    }

    pub(crate) fn inodes_used(&self) -> u32 {
        self.inodes.used()
    }

    fn directory(&self, id: InodeId) -> Result<&Directory, Errno> {
        match &self.inodes.get(id)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::Notdir),
        }
    }

    fn content(&self, id: InodeId) -> Result<&Content, Errno> {
        match &self.inodes.get(id)?.kind {
            Kind::File(content) => Ok(content),
            Kind::Directory(_) => Err(Errno::Isdir),
            Kind::Symlink(_) => Err(Errno::Inval),
        }
    }

    /// Runs a change of a file's contents; it counts as modified if the change succeeds.
    fn change<T>(
        &mut self,
        id: InodeId,
        now: u64,
        change: impl FnOnce(&mut Content, &mut Quota) -> Result<T, Errno>,
    ) -> Result<T, Errno> {
        let inode = self.inodes.get_mut(id)?;
        let Kind::File(content) = &mut inode.kind else {
            return Err(Errno::Inval);
        };
        let done = change(content, &mut self.quota)?;
        inode.modified(now);
        Ok(done)
    }

    pub(crate) fn filetype(&self, id: InodeId) -> Result<FileType, Errno> {
        self.inodes.get(id).map(Inode::filetype)
    }

    pub(crate) fn stat(&self, id: InodeId) -> Result<FileStat, Errno> {
        self.inodes.get(id).map(|inode| inode.stat(id))
    }

    /// The size of a file in bytes.
    pub(crate) fn size(&self, id: InodeId) -> Result<u64, Errno> {
        self.content(id).map(Content::size)
    }

    /// Reads from `at` on; 0 at and after the end.
    pub(crate) fn read(&self, id: InodeId, at: u64, out: &mut [u8]) -> Result<usize, Errno> {
        Ok(self.content(id)?.read(at, out))
    }

    /// Writes at `at`; how many bytes found space.
    pub(crate) fn write(&mut self, id: InodeId, at: u64, data: &[u8], now: u64) -> Result<usize, Errno> {
        self.change(id, now, |content, quota| content.write(at, data, quota))
    }

    /// Sets a file's size.
    pub(crate) fn resize(&mut self, id: InodeId, size: u64, now: u64) -> Result<(), Errno> {
        self.change(id, now, |content, quota| content.resize(size, quota))
    }

    /// Sets space aside for a range of a file.
    pub(crate) fn allocate(&mut self, id: InodeId, at: u64, len: u64, now: u64) -> Result<(), Errno> {
        self.change(id, now, |content, quota| content.allocate(at, len, quota))
    }

    /// Where a symbolic link leads; `EINVAL` for anything else.
    pub(crate) fn link_target(&self, id: InodeId) -> Result<&[u8], Errno> {
        match &self.inodes.get(id)?.kind {
            Kind::Symlink(target) => Ok(target),
            Kind::File(_) | Kind::Directory(_) => Err(Errno::Inval),
        }
    }

    /// The entries of a directory from a cookie on.
    pub(crate) fn list(&self, id: InodeId, cookie: u64) -> Result<impl Iterator<Item = Listed<'_>>, Errno> {
        Ok(self.directory(id)?.list(id, cookie))
    }

    /// Sets the times that are given.
    pub(crate) fn set_times(
        &mut self,
        id: InodeId,
        (atim, mtim): (Option<u64>, Option<u64>),
        now: u64,
    ) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(id)?;
        if atim.is_some() || mtim.is_some() {
            inode.ctim = now;
        }
        inode.atim = atim.unwrap_or(inode.atim);
        inode.mtim = mtim.unwrap_or(inode.mtim);
        Ok(())
    }

    /// Notes that a file or directory was read. The access time moves only if it is not already
    /// after the last change (Linux's `relatime`): most reads need no clock.
    pub(crate) fn accessed(&mut self, id: InodeId, now: impl FnOnce() -> u64) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(id)?;
        if inode.atim <= inode.mtim || inode.atim <= inode.ctim {
            inode.atim = now();
        }
        Ok(())
    }

    /// The directory that a directory is in; the root and what was removed are in themselves.
    pub(crate) fn parent(&self, id: InodeId) -> Result<InodeId, Errno> {
        self.directory(id).map(|directory| directory.parent)
    }

    /// The path from `/` to where another path has ended. Takes a search in every directory on the way.
    pub(crate) fn path_to(&self, target: &Target) -> Result<Vec<u8>, Errno> {
        let (mut here, last) = match target {
            Target::Directory(inode) => (*inode, None),
            Target::Entry(entry) => (entry.parent, Some(&*entry.name)),
        };
        let mut names: Vec<&[u8]> = last.into_iter().collect();
        loop {
            let parent = self.parent(here)?;
            if parent == here {
                break;
            }
            names.extend(self.directory(parent)?.name_of(here));
            here = parent;
        }
        let mut path = Vec::new();
        for name in names.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(name);
        }
        if path.is_empty() {
            path.push(b'/');
        }
        Ok(path)
    }

    /// Counts a descriptor for the inode: it lives until [`FileSystem::close`], named or not.
    pub(crate) fn open(&mut self, id: InodeId) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(id)?;
        inode.open = inode.open.checked_add(1).ok_or(Errno::Nfile)?;
        Ok(())
    }

    /// Ends what [`FileSystem::open`] began.
    pub(crate) fn close(&mut self, id: InodeId) -> Result<(), Errno> {
        let inode = self.inodes.get_mut(id)?;
        inode.open = inode.open.saturating_sub(1);
        self.reap(id)
    }

    /// Frees an inode that has neither a name nor a descriptor.
    fn reap(&mut self, id: InodeId) -> Result<(), Errno> {
        let inode = self.inodes.get(id)?;
        if inode.links > 0 || inode.open > 0 {
            return Ok(());
        }
        match self.inodes.remove(id)?.kind {
            Kind::File(mut content) => content.resize(0, &mut self.quota)?,
            Kind::Symlink(target) => self.quota.give_back(quota::length(&target)),
            Kind::Directory(_) => {}
        }
        self.quota.give_back(quota::INODE_BYTES);
        Ok(())
    }
}
