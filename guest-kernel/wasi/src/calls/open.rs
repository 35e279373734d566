//! `path_open`: a descriptor for a file or directory, made if asked for, with rights no wider than
//! given.

use crate::descriptor::{Descriptor, Object};
use crate::errno::Errno;
use crate::flags::{self, OPEN_CREAT, OPEN_DIRECTORY, OPEN_EXCL, OPEN_TRUNC};
use crate::fs::{Entry, InodeId, Last, Target};
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::{FileAccess, Need};
use crate::record::FileType;
use crate::rights;
use crate::wasi::Wasi;

/// The right to the starting directory that opening with these flags takes.
fn rights_to_open(oflags: u16) -> u64 {
    let create = if oflags & OPEN_CREAT != 0 { rights::PATH_CREATE_FILE } else { 0 };
    let truncate = if oflags & OPEN_TRUNC != 0 { rights::PATH_FILESTAT_SET_SIZE } else { 0 };
    rights::PATH_OPEN | create | truncate
}

/// The right the new descriptor must be able to inherit for these flags.
fn rights_for_flags(fdflags: u16) -> u64 {
    let dsync = if fdflags & flags::FD_DSYNC != 0 { rights::FD_DATASYNC } else { 0 };
    let sync = if fdflags & (flags::FD_RSYNC | flags::FD_SYNC) != 0 { rights::FD_SYNC } else { 0 };
    dsync | sync
}

/// `path_open`'s request, taken apart.
#[derive(Clone, Copy)]
pub(super) struct Request {
    oflags: u16,
    pub(super) fdflags: u16,
    pub(super) rights_base: u64,
    rights_inheriting: u64,
    /// What the starting directory lets be inherited.
    inheritable: u64,
    pub(super) read_only: bool,
}

impl Request {
    pub(super) fn asks(&self, oflag: u16) -> bool {
        self.oflags & oflag != 0
    }

    /// What it does with what is there, if it is of a type.
    fn need(&self, there: Option<FileType>) -> Need {
        let writes = self.rights_base & rights::FD_WRITE != 0 || self.asks(OPEN_TRUNC);
        match there {
            Some(FileType::Directory) => Need::Read,
            Some(_) if writes => Need::Write,
            None if self.asks(OPEN_CREAT) => Need::Write,
            _ => Need::Read,
        }
    }

    /// The rights asked for, as far as they mean something for a `filetype`; the witx lets others be dropped.
    /// `ENOTCAPABLE` if one of those left cannot be inherited.
    pub(super) fn granted(&self, filetype: FileType) -> Result<(u64, u64), Errno> {
        let (base, inheriting) = match filetype {
            FileType::Directory => (rights::DIRECTORY, rights::DIRECTORY | rights::FILE),
            _ => (rights::FILE, 0),
        };
        let rights_base = self.rights_base & base;
        let rights_inheriting = self.rights_inheriting & inheriting;
        let needed = rights_base | rights_inheriting | rights_for_flags(self.fdflags);
        if needed & !self.inheritable != 0 {
            return Err(Errno::Notcapable);
        }
        Ok((rights_base, rights_inheriting))
    }

    /// A descriptor with these rights.
    fn grant(&self, filetype: FileType, inode: InodeId) -> Result<Descriptor, Errno> {
        let (rights_base, rights_inheriting) = self.granted(filetype)?;
        let object = match filetype {
            FileType::Directory => Object::Directory { inode, preopened: None },
            _ => Object::File { inode, position: 0 },
        };
        Ok(Descriptor {
            object,
            rights_base,
            rights_inheriting,
            flags: self.fdflags,
            read_only: self.read_only,
        })
    }

    /// Checks the request against what is there.
    fn check_existing(&self, filetype: FileType) -> Result<(), Errno> {
        let writes = self.rights_base & rights::FD_WRITE != 0;
        match filetype {
            FileType::SymbolicLink => Err(Errno::Loop),
            FileType::Directory if self.asks(OPEN_CREAT | OPEN_TRUNC) => Err(Errno::Isdir),
            FileType::Directory if writes && !self.asks(OPEN_DIRECTORY) => Err(Errno::Isdir),
            FileType::Directory => Ok(()),
            _ if self.asks(OPEN_DIRECTORY) => Err(Errno::Notdir),
            _ if self.read_only && (writes || self.asks(OPEN_TRUNC)) => Err(Errno::Rofs),
            _ => Ok(()),
        }
    }
}

impl Wasi {
    /// `path_open` (`openat`): the lowest free number for what a path names.
    ///
    /// - Without `symlink_follow`, a path that ends in a link is `ELOOP`.
    /// - `creat` makes an empty file where there is none, also through a link that leads to none,
    ///   unless `excl` is set, which never follows. `creat` or `trunc` of a directory is `EISDIR`.
    /// - `directory` with another of the flags is `EINVAL`.
    /// - Asking for `FD_WRITE` on a directory without the `directory` flag is `EISDIR` (POSIX
    ///   `O_WRONLY`).
    /// - Rights that mean nothing for the file's type are dropped; any other that the starting
    ///   directory does not let be inherited is `ENOTCAPABLE`.
    /// - In a read-only preopen, creating, truncating and `FD_WRITE` are `EROFS`.
    /// - Where the container's permissions do not allow it, `ENOTCAPABLE`. What a file's descriptor may do is settled
    ///   here; each path from a directory's is looked at anew.
    pub fn path_open(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        dirflags: u32,
        path: u32,
        path_len: u32,
        oflags: u32,
        rights_base: u64,
        rights_inheriting: u64,
        fdflags: u32,
        opened_fd: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let base = match wasi.volume(fd) {
                Some(_) => wasi.volume_base(fd, rights::PATH_OPEN)?.0,
                None => wasi.base(fd, rights::PATH_OPEN)?.0,
            };
            let oflags = flags::open_flags(oflags)?;
            base.require(rights_to_open(oflags))?;
            let request = Request {
                oflags,
                fdflags: flags::fd_flags(fdflags)?,
                rights_base,
                rights_inheriting,
                inheritable: base.rights_inheriting,
                read_only: base.read_only,
            };
            let follow = flags::lookup_follow(dirflags)?;
            if request.asks(OPEN_DIRECTORY) && request.asks(OPEN_CREAT | OPEN_EXCL | OPEN_TRUNC) {
                return Err(Errno::Inval.into());
            }
            memory::check(mem, opened_fd, 4)?;
            if wasi.volume(fd).is_some() {
                let path = (fd, (path, path_len));
                return wasi.volume_open(host, mem, path, (&request, follow), opened_fd);
            }
            let (_, start) = wasi.base(fd, rights::PATH_OPEN)?;
            let exclusive = request.asks(OPEN_CREAT) && request.asks(OPEN_EXCL);
            let last = if exclusive { Last::Name } else { Last::from_follow(follow) };
            let target = wasi.walk(mem, start, (path, path_len), last)?;
            let there = wasi.fs.existing(&target).and_then(|inode| wasi.fs.filetype(inode));
            wasi.may(host, &target, request.need(there.ok()))?;
            let changeable = wasi.access(&target)? == FileAccess::Write;
            let number = wasi.descriptors.vacancy()?;
            let now = wasi.now(host);
            let descriptor = match target {
                Target::Entry(entry) if entry.inode.is_none() && request.asks(OPEN_CREAT) => {
                    wasi.create_and_grant(&entry, &request, now)?
                }
                target => wasi.grant_existing(&target, &request, exclusive, now)?,
            };
            let changeable = changeable || matches!(descriptor.object, Object::Directory { .. });
            let descriptor = Descriptor { read_only: descriptor.read_only || !changeable, ..descriptor };
            wasi.descriptors.fill(number, descriptor)?;
            Ok(memory::put_u32(mem, opened_fd, number)?)
        })
    }

    fn create_and_grant(&mut self, entry: &Entry, request: &Request, now: u64) -> Result<Descriptor, Errno> {
        if request.read_only {
            return Err(Errno::Rofs);
        }
        if entry.slash {
            return Err(Errno::Isdir);
        }
        // The rights are settled on a stand-in first: a file must not appear and then be refused.
        request.grant(FileType::RegularFile, entry.parent)?;
        let inode = self.fs.create_file(entry, now)?;
        self.fs.open(inode)?;
        request.grant(FileType::RegularFile, inode)
    }

    fn grant_existing(
        &mut self,
        target: &Target,
        request: &Request,
        exclusive: bool,
        now: u64,
    ) -> Result<Descriptor, Errno> {
        let inode = self.fs.existing(target)?;
        if exclusive {
            return Err(Errno::Exist);
        }
        let filetype = self.fs.filetype(inode)?;
        request.check_existing(filetype)?;
        let descriptor = request.grant(filetype, inode)?;
        if request.asks(OPEN_TRUNC) {
            self.fs.resize(inode, 0, now)?;
        }
        self.fs.open(inode)?;
        Ok(descriptor)
    }
}
