//! The calls that make, move and remove names.
//!
//! Each checks everything first and changes afterwards, so a call that fails has changed nothing.

use alloc::boxed::Box;

use super::FileSystem;
use super::content::Content;
use super::directory::Directory;
use super::inode::{Inode, InodeId, Kind};
use super::quota::{INODE_BYTES, entry_bytes, length};
use super::resolve::Entry;
use crate::errno::Errno;

impl FileSystem {
    fn directory_mut(&mut self, id: InodeId) -> Result<&mut Directory, Errno> {
        match &mut self.inodes.get_mut(id)?.kind {
            Kind::Directory(directory) => Ok(directory),
            Kind::File(_) | Kind::Symlink(_) => Err(Errno::Notdir),
        }
    }

    /// `ENOENT` for a directory that was removed while open: nothing can be made in it any more.
    fn still_named(&self, directory: InodeId) -> Result<(), Errno> {
        if self.inodes.get(directory)?.links > 0 { Ok(()) } else { Err(Errno::Noent) }
    }

    /// Makes a new inode under a free name.
    fn create(&mut self, entry: &Entry, kind: Kind, now: u64) -> Result<InodeId, Errno> {
        if entry.inode.is_some() {
            return Err(Errno::Exist);
        }
        if entry.slash && !matches!(kind, Kind::Directory(_)) {
            return Err(Errno::Noent);
        }
        self.still_named(entry.parent)?;
        let target = if let Kind::Symlink(target) = &kind { length(target) } else { 0 };
        let charge = INODE_BYTES.saturating_add(entry_bytes(&entry.name)).saturating_add(target);
        self.quota.take(charge)?;
        let inode = Inode { kind, links: 1, open: 0, atim: now, mtim: now, ctim: now };
        match self.inodes.insert(inode) {
            Ok(id) => {
                self.directory_mut(entry.parent)?.insert(&entry.name, id);
                self.inodes.get_mut(entry.parent)?.modified(now);
                Ok(id)
            }
            Err(errno) => {
                self.quota.give_back(charge);
                Err(errno)
            }
        }
    }

    /// Makes an empty file (`open` with `O_CREAT`).
    pub(crate) fn create_file(&mut self, entry: &Entry, now: u64) -> Result<InodeId, Errno> {
        self.create(entry, Kind::File(Content::default()), now)
    }

    /// Makes a file whose bytes lie in the container's image, and cost nothing until they are written to.
    pub(crate) fn create_file_of_image(
        &mut self,
        entry: &Entry,
        bytes: &'static [u8],
        now: u64,
    ) -> Result<InodeId, Errno> {
        self.create(entry, Kind::File(Content::of_image(bytes)), now)
    }

    /// Makes an empty directory (`mkdir`).
    pub(crate) fn create_directory(&mut self, entry: &Entry, now: u64) -> Result<InodeId, Errno> {
        self.create(entry, Kind::Directory(Directory::new(entry.parent)), now)
    }

    /// Makes a symbolic link (`symlink`). An absolute target is `EPERM`: nothing could follow it.
    pub(crate) fn create_symlink(&mut self, entry: &Entry, target: &[u8], now: u64) -> Result<(), Errno> {
        match target.first() {
            None => return Err(Errno::Noent),
            Some(b'/') => return Err(Errno::Perm),
            Some(_) if target.len() > self.path_max => return Err(Errno::Nametoolong),
            Some(_) if target.contains(&0) => return Err(Errno::Inval),
            Some(_) => core::str::from_utf8(target).map_err(|_| Errno::Ilseq)?,
        };
        self.create(entry, Kind::Symlink(Box::from(target)), now).map(|_| ())
    }

    /// Gives a file or symbolic link one more name (`link`); `EPERM` for a directory.
    pub(crate) fn link(&mut self, entry: &Entry, id: InodeId, now: u64) -> Result<(), Errno> {
        if self.inodes.get(id)?.is_directory() {
            return Err(Errno::Perm);
        }
        if entry.inode.is_some() {
            return Err(Errno::Exist);
        }
        if entry.slash {
            return Err(Errno::Noent);
        }
        self.still_named(entry.parent)?;
        let links = self.inodes.get(id)?.links.checked_add(1).ok_or(Errno::Mlink)?;
        self.quota.take(entry_bytes(&entry.name))?;
        let inode = self.inodes.get_mut(id)?;
        inode.links = links;
        inode.ctim = now;
        self.directory_mut(entry.parent)?.insert(&entry.name, id);
        self.inodes.get_mut(entry.parent)?.modified(now);
        Ok(())
    }

    /// Removes the name of a file or symbolic link (`unlink`); `EISDIR` for a directory.
    pub(crate) fn unlink(&mut self, entry: &Entry, now: u64) -> Result<(), Errno> {
        let id = entry.inode.ok_or(Errno::Noent)?;
        if self.inodes.get(id)?.is_directory() {
            return Err(Errno::Isdir);
        }
        if entry.slash {
            return Err(Errno::Notdir);
        }
        self.remove_name(entry, id, now)
    }

    /// Removes an empty directory (`rmdir`).
    pub(crate) fn remove_directory(&mut self, entry: &Entry, now: u64) -> Result<(), Errno> {
        let id = entry.inode.ok_or(Errno::Noent)?;
        if !self.directory(id)?.is_empty() {
            return Err(Errno::Notempty);
        }
        self.remove_name(entry, id, now)
    }

    /// Takes a name away, and the inode with its last name and descriptor.
    fn remove_name(&mut self, entry: &Entry, id: InodeId, now: u64) -> Result<(), Errno> {
        if self.directory_mut(entry.parent)?.remove(&entry.name) {
            self.quota.give_back(entry_bytes(&entry.name));
        }
        self.inodes.get_mut(entry.parent)?.modified(now);
        let inode = self.inodes.get_mut(id)?;
        inode.links = inode.links.saturating_sub(1);
        inode.ctim = now;
        if let Kind::Directory(directory) = &mut inode.kind {
            // It may stay open; its parent may not outlive it.
            directory.parent = id;
        }
        self.reap(id)
    }

    /// Whether `id` is `ancestor` or lies below it.
    fn is_within(&self, id: InodeId, ancestor: InodeId) -> Result<bool, Errno> {
        let mut here = id;
        loop {
            if here == ancestor {
                return Ok(true);
            }
            let parent = self.directory(here)?.parent;
            if parent == here {
                return Ok(false);
            }
            here = parent;
        }
    }

    /// Moves a name, over what is at the new one if POSIX allows it (`rename`).
    pub(crate) fn rename(&mut self, old: &Entry, new: &Entry, now: u64) -> Result<(), Errno> {
        let moved = old.inode.ok_or(Errno::Noent)?;
        let is_directory = self.inodes.get(moved)?.is_directory();
        if (old.slash || new.slash) && !is_directory {
            return Err(Errno::Notdir);
        }
        if new.inode == Some(moved) {
            return Ok(());
        }
        self.still_named(new.parent)?;
        if is_directory && self.is_within(new.parent, moved)? {
            return Err(Errno::Inval);
        }
        if let Some(replaced) = new.inode {
            match (&self.inodes.get(replaced)?.kind, is_directory) {
                (Kind::Directory(_), false) => return Err(Errno::Isdir),
                (Kind::Directory(directory), true) if !directory.is_empty() => {
                    return Err(Errno::Notempty);
                }
                (Kind::File(_) | Kind::Symlink(_), true) => return Err(Errno::Notdir),
                _ => {}
            }
            // With this one's charge given back, the exchange below cannot fail any more.
            self.remove_name(new, replaced, now)?;
        }
        self.quota.exchange(entry_bytes(&old.name), entry_bytes(&new.name))?;
        if old.parent == new.parent {
            self.directory_mut(old.parent)?.rename(&old.name, &new.name);
        } else {
            self.directory_mut(old.parent)?.remove(&old.name);
            self.directory_mut(new.parent)?.insert(&new.name, moved);
        }
        let inode = self.inodes.get_mut(moved)?;
        inode.ctim = now;
        if let Kind::Directory(directory) = &mut inode.kind {
            directory.parent = new.parent;
        }
        self.inodes.get_mut(old.parent)?.modified(now);
        self.inodes.get_mut(new.parent)?.modified(now);
        Ok(())
    }
}
