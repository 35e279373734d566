//! Inodes, and the table that holds them.

use alloc::boxed::Box;
use alloc::vec::Vec;

use super::content::Content;
use super::directory::Directory;
use super::quota::INODE_BYTES;
use crate::errno::Errno;
use crate::record::{FileStat, FileType};

/// The place of an inode in the table. Held only by directory entries and descriptors, both of
/// which keep the inode alive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct InodeId(u32);

impl InodeId {
    /// The root directory, which is never freed.
    pub(crate) const ROOT: Self = Self(0);

    fn index(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    /// The file serial number (`$inode`), not zero: some programs take zero for a removed entry.
    pub(crate) fn number(self) -> u64 {
        u64::from(self.0).saturating_add(1)
    }
}

/// What an inode is.
#[derive(Debug)]
pub(crate) enum Kind {
    File(Content),
    Directory(Directory),
    Symlink(Box<[u8]>),
}

/// A file, directory or symbolic link. Times in nanoseconds since 1970.
#[derive(Debug)]
pub(crate) struct Inode {
    pub(crate) kind: Kind,
    /// Directory entries that name it; the root counts as named once.
    pub(crate) links: u32,
    /// Descriptors that stand for it.
    pub(crate) open: u32,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

impl Inode {
    pub(crate) fn filetype(&self) -> FileType {
        match self.kind {
            Kind::File(_) => FileType::RegularFile,
            Kind::Directory(_) => FileType::Directory,
            Kind::Symlink(_) => FileType::SymbolicLink,
        }
    }

    pub(crate) fn is_directory(&self) -> bool {
        matches!(self.kind, Kind::Directory(_))
    }

    /// Marks the contents as changed.
    pub(crate) fn modified(&mut self, now: u64) {
        self.mtim = now;
        self.ctim = now;
    }

    /// The attributes. A directory has one link whatever it holds, as on btrfs.
    pub(crate) fn stat(&self, id: InodeId) -> FileStat {
        let size = match &self.kind {
            Kind::File(content) => content.size(),
            Kind::Directory(_) => 0,
            Kind::Symlink(target) => u64::try_from(target.len()).unwrap_or(u64::MAX),
        };
        FileStat {
            dev: DEVICE,
            ino: id.number(),
            filetype: self.filetype(),
            nlink: u64::from(self.links),
            size,
            atim: self.atim,
            mtim: self.mtim,
            ctim: self.ctim,
        }
    }
}

/// The number of the one device (`$device`); the standard streams are on device 0.
const DEVICE: u64 = 1;

#[derive(Debug)]
enum Slot {
    Used(Inode),
    /// The next free slot: the list of them lives in the slots, so that freeing needs no memory.
    Free(Option<InodeId>),
}

const _: () = assert!(2 * size_of::<Slot>() as u64 <= INODE_BYTES);

/// All inodes of a file system.
#[derive(Debug)]
pub(crate) struct Inodes {
    slots: Vec<Slot>,
    free: Option<InodeId>,
    used: u32,
    max: u32,
}

impl Inodes {
    pub(crate) fn new(max: u32) -> Self {
        Self { slots: Vec::new(), free: None, used: 0, max }
    }

    pub(crate) fn used(&self) -> u32 {
        self.used
    }

    /// The inode. Ids are held by what keeps their inodes alive, so a missing one is a fault of
    /// this crate: it is answered with `EIO`, and the container's file system alone suffers.
    pub(crate) fn get(&self, id: InodeId) -> Result<&Inode, Errno> {
        match self.slots.get(id.index()) {
            Some(Slot::Used(inode)) => Ok(inode),
            _ => Err(Errno::Io),
        }
    }

    pub(crate) fn get_mut(&mut self, id: InodeId) -> Result<&mut Inode, Errno> {
        match self.slots.get_mut(id.index()) {
            Some(Slot::Used(inode)) => Ok(inode),
            _ => Err(Errno::Io),
        }
    }

    /// Puts an inode into the table. `ENOSPC` at the limit.
    pub(crate) fn insert(&mut self, inode: Inode) -> Result<InodeId, Errno> {
        if self.used >= self.max {
            return Err(Errno::Nospc);
        }
        let id = match self.free {
            Some(id) => {
                let slot = self.slots.get_mut(id.index()).ok_or(Errno::Io)?;
                let Slot::Free(next) = slot else {
                    return Err(Errno::Io);
                };
                self.free = *next;
                *slot = Slot::Used(inode);
                id
            }
            None => {
                let id = InodeId(u32::try_from(self.slots.len()).map_err(|_| Errno::Nospc)?);
                self.slots.try_reserve(1).map_err(|_| Errno::Nomem)?;
                self.slots.push(Slot::Used(inode));
                id
            }
        };
        self.used = self.used.saturating_add(1);
        Ok(id)
    }

    /// Takes an inode out of the table.
    pub(crate) fn remove(&mut self, id: InodeId) -> Result<Inode, Errno> {
        let slot = self.slots.get_mut(id.index()).ok_or(Errno::Io)?;
        match core::mem::replace(slot, Slot::Free(self.free)) {
            Slot::Used(inode) => {
                self.free = Some(id);
                self.used = self.used.saturating_sub(1);
                Ok(inode)
            }
            free @ Slot::Free(_) => {
                *slot = free;
                Err(Errno::Io)
            }
        }
    }
}
