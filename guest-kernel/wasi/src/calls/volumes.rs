//! The calls about files of the host, in a folder that the container was given.
//!
//! What the host has is asked for over [`Host::volume`], in the words of [`sentient_abi::volumes`]: every call here is
//! one question or a few. The host walks paths, and sees to it that none leads out; what a descriptor is about is told by
//! its path from the volume's root on, and by a number while the host knows that.

use alloc::boxed::Box;
use alloc::vec::Vec;

use sentient_abi::bytes::read_u64;
use sentient_abi::volumes::{
    Attributes, Handle, Kind, Listed, MAX_DATA, MAX_PATH, Place, Request as Question, Wanted, flags as how,
};

use super::open::Request;
use super::paths::Path;
use super::readdir::Room;
use crate::descriptor::{Descriptor, Object};
use crate::errno::Errno;
use crate::flags::{FD_APPEND, OPEN_CREAT, OPEN_DIRECTORY, OPEN_EXCL, OPEN_TRUNC};
use crate::host::Host;
use crate::memory::{self, gather, scatter};
use crate::outcome::Stop;
use crate::record::{DirEnt, FileStat, FileType};
use crate::rights;
use crate::wasi::Wasi;

/// What a descriptor of a volume stands for.
#[derive(Clone, Debug)]
pub(crate) struct VolumeNode {
    /// The volume's number.
    pub(crate) volume: u32,
    /// The number by which the host knows what is open; 0 for what was opened beforehand, and only by its path.
    pub(crate) number: u64,
    /// How it is opened again.
    pub(crate) again: u32,
    /// Its path, from the volume's root on; empty for the root.
    pub(crate) path: Box<[u8]>,
    /// It is a directory.
    pub(crate) is_directory: bool,
    /// Where the next read or write goes.
    pub(crate) position: u64,
    /// The name the module knows it by, if it was opened beforehand.
    pub(crate) preopened: Option<Box<[u8]>>,
}

/// The number of the device that volume 0 is (`$device`): after that of the container's own files.
const FIRST_DEVICE: u64 = 2;

/// What `.` and `..` are in a listing: the first two positions of it.
const DOTS: u64 = 2;

impl VolumeNode {
    fn handle(&self, flags: u32) -> Handle<'_> {
        let place = Place { base: &[], path: &self.path };
        Handle { number: self.number, flags: self.again | flags, place }
    }

    /// What a path from here on names.
    fn place<'a>(&'a self, path: &'a [u8]) -> Place<'a> {
        Place { base: &self.path, path }
    }

    /// The file, for calls that need one.
    pub(crate) fn file(&self) -> Result<&Self, Errno> {
        if self.is_directory { Err(Errno::Isdir) } else { Ok(self) }
    }

    /// The directory, for calls that need one.
    pub(crate) fn directory(&self) -> Result<&Self, Errno> {
        if self.is_directory { Ok(self) } else { Err(Errno::Notdir) }
    }

    fn ask(&self, host: &mut (impl Host + ?Sized), wanted: Wanted<'_>) -> Result<Vec<u8>, Errno> {
        host.volume(&Question { volume: self.volume, wanted })
    }

    fn attributes(&self, host: &mut (impl Host + ?Sized), wanted: Wanted<'_>) -> Result<Attributes, Errno> {
        Attributes::decode(&self.ask(host, wanted)?).ok_or(Errno::Io)
    }

    /// What it is itself.
    pub(crate) fn stat(&self, host: &mut (impl Host + ?Sized)) -> Result<Attributes, Errno> {
        // One that was opened beforehand is known by its path alone.
        let wanted = match self.number {
            0 => Wanted::Look(Place { base: &[], path: &self.path }, how::FOLLOW),
            _ => Wanted::Stat(self.handle(0)),
        };
        self.attributes(host, wanted)
    }

    /// Reads from a place on.
    pub(crate) fn read(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        (iovs, iovs_len): (u32, u32),
        from: u64,
    ) -> Result<u32, Stop> {
        let mut at = from;
        scatter(mem, iovs, iovs_len, |buf| {
            let mut count = 0;
            // As many questions as it takes: a program may not expect less than there is.
            while let Some(rest) = buf.get_mut(count..).filter(|rest| !rest.is_empty()) {
                let most = rest.len().min(MAX_DATA);
                let wanted = Wanted::Read(self.handle(how::READ), at, u32::try_from(most).unwrap_or(0));
                let bytes = match self.ask(host, wanted) {
                    Err(errno) if count == 0 => return Err(errno.into()),
                    answer => answer.unwrap_or_default(),
                };
                let mut read = 0;
                for (to, from) in rest.iter_mut().zip(&bytes) {
                    *to = *from;
                    read += 1;
                }
                count += read;
                at = at.saturating_add(read as u64);
                if read < most {
                    break;
                }
            }
            Ok(count)
        })
    }

    /// Writes at a place, or at the end; how much, and where the last of it ends.
    pub(crate) fn write(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        (iovs, iovs_len): (u32, u32),
        from: u64,
        append: bool,
    ) -> Result<(u32, u64), Stop> {
        let mut at = from;
        let flags = if append { how::WRITE | how::APPEND } else { how::WRITE };
        let count = gather(mem, iovs, iovs_len, |bytes| {
            let mut count = 0;
            for piece in bytes.chunks(MAX_DATA) {
                let answer = match self.ask(host, Wanted::Write(self.handle(flags), at, piece)) {
                    Err(errno) if count == 0 => return Err(errno.into()),
                    Err(_) => break,
                    Ok(answer) => answer,
                };
                let word = |at| read_u64(&answer, at).and_then(|word| usize::try_from(word).ok());
                let (written, end) = word(0).zip(read_u64(&answer, 8)).ok_or(Errno::Io)?;
                count += written.min(piece.len());
                at = end;
                if written < piece.len() {
                    break;
                }
            }
            Ok(count)
        })?;
        Ok((count, at))
    }
}

/// A path of the module's, as the host takes it.
fn checked(mem: &[u8], (path, len): Path) -> Result<&[u8], Errno> {
    let path = memory::bytes(mem, path, len)?;
    match path.first() {
        None => return Err(Errno::Noent),
        Some(b'/') => return Err(Errno::Perm),
        Some(_) if path.len() > MAX_PATH => return Err(Errno::Nametoolong),
        Some(_) if path.contains(&0) => return Err(Errno::Inval),
        Some(_) => {}
    }
    core::str::from_utf8(path).map(|_| path).map_err(|_| Errno::Ilseq)
}

fn followed(follow: bool) -> u32 {
    if follow { how::FOLLOW } else { 0 }
}

fn filetype(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Link => FileType::SymbolicLink,
        Kind::Other => FileType::Unknown,
    }
}

impl Wasi {
    /// A descriptor's volume, if it is of one.
    pub(crate) fn volume(&self, fd: u32) -> Option<&VolumeNode> {
        match self.descriptors.get(fd).ok()?.object {
            Object::Volume(ref node) => Some(node),
            _ => None,
        }
    }

    /// The volume's directory that a path starts from, if it has the rights.
    pub(super) fn volume_base(&self, fd: u32, rights: u64) -> Result<(&Descriptor, &VolumeNode), Errno> {
        let (descriptor, node) = (self.descriptors.get(fd)?, self.volume(fd).ok_or(Errno::Badf)?);
        node.directory()?;
        descriptor.require(rights).map(|()| (descriptor, node))
    }

    /// The same, for a call that changes something.
    fn volume_changeable(&self, fd: u32, rights: u64) -> Result<&VolumeNode, Errno> {
        let (descriptor, base) = self.volume_base(fd, rights)?;
        descriptor.writable()?;
        Ok(base)
    }

    /// The attributes of a file of the host's: no finer in time than the container may know it.
    pub(crate) fn volume_record(&self, node: &VolumeNode, found: &Attributes) -> FileStat {
        let times = self.file_times();
        FileStat {
            dev: FIRST_DEVICE.saturating_add(u64::from(node.volume)),
            ino: found.inode,
            filetype: filetype(found.kind),
            nlink: found.names,
            size: found.size,
            atim: times.shown(found.accessed),
            mtim: times.shown(found.modified),
            ctim: times.shown(found.changed),
        }
    }

    /// Sets times of an open one.
    pub(crate) fn volume_set_times(
        &self,
        host: &mut (impl Host + ?Sized),
        node: &VolumeNode,
        times: (Option<u64>, Option<u64>),
    ) -> Result<(), Errno> {
        let (flags, accessed, modified) = given(times);
        let wanted = match node.number {
            0 => {
                let place = Place { base: &[], path: &node.path };
                Wanted::SetTimesAt(place, flags | how::FOLLOW, accessed, modified)
            }
            _ => Wanted::SetTimes(node.handle(flags), accessed, modified),
        };
        node.ask(host, wanted).map(drop)
    }

    /// Something about an open file that has no answer.
    pub(crate) fn volume_do<'n>(
        &self,
        host: &mut (impl Host + ?Sized),
        node: &'n VolumeNode,
        wanted: impl FnOnce(Handle<'n>) -> Wanted<'n>,
    ) -> Result<(), Errno> {
        node.ask(host, wanted(node.handle(how::WRITE))).map(drop)
    }

    /// Nobody asks for it any more.
    pub(crate) fn volume_close(host: &mut (impl Host + ?Sized), node: &VolumeNode) {
        if node.number != 0 {
            // It is closed in any case.
            let _ = node.ask(host, Wanted::Close(node.handle(0)));
        }
    }

    pub(super) fn volume_readdir(
        &self,
        host: &mut (impl Host + ?Sized),
        node: &VolumeNode,
        room: &mut Room<'_>,
        cookie: u64,
    ) -> Result<(), Errno> {
        let node = node.directory()?;
        let own = node.stat(host)?.inode;
        for (position, name) in [(0, &b"."[..]), (1, b"..")] {
            if cookie <= position {
                let head = DirEnt {
                    next: position + 1,
                    ino: own,
                    name_len: name.len() as u32,
                    filetype: FileType::Directory,
                };
                if !room.entry(&head, name) {
                    return Ok(());
                }
            }
        }
        let mut from = cookie.saturating_sub(DOTS);
        loop {
            let most = u32::try_from(room.free().min(MAX_DATA)).unwrap_or(0);
            let page = node.ask(host, Wanted::List(node.handle(how::READ), from, most))?;
            let mut rest = &page[..];
            while let Some(Listed { next, inode, kind, name }) = Listed::take(&mut rest) {
                if next <= from {
                    return Err(Errno::Io);
                }
                from = next;
                let head = DirEnt {
                    next: next.saturating_add(DOTS),
                    ino: inode,
                    name_len: u32::try_from(name.len()).map_err(|_| Errno::Overflow)?,
                    filetype: filetype(kind),
                };
                if !room.entry(&head, name) {
                    return Ok(());
                }
            }
            if page.is_empty() {
                return Ok(());
            }
        }
    }

    pub(super) fn volume_open(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        (fd, path): (u32, Path),
        (request, follow): (&Request, bool),
        opened_fd: u32,
    ) -> Result<(), Stop> {
        let (_, base) = self.volume_base(fd, rights::PATH_OPEN)?;
        let path = checked(mem, path)?;
        let asks = |oflag: u16| request.asks(oflag);
        // As in POSIX, a file that was not opened for writing is neither cut nor lengthened.
        let writes = request.rights_base & rights::FD_WRITE != 0;
        let mut flags = followed(follow);
        flags |= if request.rights_base & rights::FD_READ != 0 || !writes { how::READ } else { 0 };
        flags |= if writes && !asks(OPEN_DIRECTORY) && !request.read_only { how::WRITE } else { 0 };
        for (oflag, flag) in [
            (OPEN_CREAT, how::CREATE),
            (OPEN_EXCL, how::EXCLUSIVE),
            (OPEN_TRUNC, how::TRUNCATE),
            (OPEN_DIRECTORY, how::DIRECTORY),
        ] {
            flags |= if asks(oflag) { flag } else { 0 };
        }
        if request.read_only && (writes || asks(OPEN_TRUNC)) {
            return Err(Errno::Rofs.into());
        }
        if asks(OPEN_CREAT) {
            // Settled first: a file must not appear and then be refused.
            request.granted(FileType::RegularFile)?;
        }
        let mut full = Vec::with_capacity(base.path.len().saturating_add(1).saturating_add(path.len()));
        full.extend_from_slice(&base.path);
        if !full.is_empty() {
            full.push(b'/');
        }
        full.extend_from_slice(path);
        if full.len() > MAX_PATH {
            return Err(Errno::Nametoolong.into());
        }
        let mut node = VolumeNode {
            volume: base.volume,
            number: host.new_handle(),
            again: flags & how::AGAIN,
            path: full.into(),
            is_directory: false,
            position: 0,
            preopened: None,
        };
        let handle = Handle { number: node.number, flags, place: base.place(path) };
        let opened = base.attributes(host, Wanted::Open(handle))?;
        let opened = filetype(opened.kind);
        node.is_directory = opened == FileType::Directory;
        let placed = request.granted(opened).and_then(|(rights_base, rights_inheriting)| {
            let read_only = request.read_only;
            let number = self.descriptors.vacancy()?;
            let object = Object::Volume(Box::new(node.clone()));
            let flags = request.fdflags;
            let descriptor = Descriptor { object, rights_base, rights_inheriting, flags, read_only };
            self.descriptors.fill(number, descriptor)?;
            memory::put_u32(mem, opened_fd, number)
        });
        if placed.is_err() {
            Self::volume_close(host, &node);
        }
        Ok(placed?)
    }

    pub(super) fn volume_filestat_get(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        (fd, path): (u32, Path),
        follow: bool,
        stat: u32,
    ) -> Result<(), Errno> {
        let (_, base) = self.volume_base(fd, rights::PATH_FILESTAT_GET)?;
        memory::check(mem, stat, FileStat::BYTES)?;
        let wanted = Wanted::Look(base.place(checked(mem, path)?), followed(follow));
        let found = base.attributes(host, wanted)?;
        memory::put(mem, stat, &self.volume_record(base, &found).encode())
    }

    pub(super) fn volume_filestat_set_times(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        (fd, path): (u32, Path),
        follow: bool,
        times: (Option<u64>, Option<u64>),
    ) -> Result<(), Errno> {
        let base = self.volume_changeable(fd, rights::PATH_FILESTAT_SET_TIMES)?;
        let (flags, accessed, modified) = given(times);
        let place = base.place(checked(mem, path)?);
        base.ask(host, Wanted::SetTimesAt(place, flags | followed(follow), accessed, modified)).map(drop)
    }

    /// Where a symbolic link leads.
    pub(super) fn volume_readlink(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        fd: u32,
        path: Path,
    ) -> Result<Vec<u8>, Errno> {
        let (_, base) = self.volume_base(fd, rights::PATH_READLINK)?;
        base.ask(host, Wanted::Target(base.place(checked(mem, path)?)))
    }

    /// Makes or removes a name.
    pub(super) fn volume_change<'m>(
        &'m self,
        host: &mut (impl Host + ?Sized),
        mem: &'m [u8],
        (fd, rights): (u32, u64),
        path: Path,
        wanted: impl FnOnce(Place<'m>) -> Wanted<'m>,
    ) -> Result<(), Errno> {
        let base = self.volume_changeable(fd, rights)?;
        base.ask(host, wanted(base.place(checked(mem, path)?))).map(drop)
    }

    pub(super) fn volume_symlink(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        target: &[u8],
        (fd, path): (u32, Path),
    ) -> Result<(), Errno> {
        let base = self.volume_changeable(fd, rights::PATH_SYMLINK)?;
        if target.contains(&0) {
            return Err(Errno::Inval);
        }
        let target = core::str::from_utf8(target).map_err(|_| Errno::Ilseq)?.as_bytes();
        if target.len() > MAX_PATH {
            return Err(Errno::Nametoolong);
        }
        base.ask(host, Wanted::MakeLink(base.place(checked(mem, path)?), target)).map(drop)
    }

    /// Moves a name, or adds one; `EXDEV` from one volume to another, or to the container's own files.
    pub(super) fn volume_to_volume<'m>(
        &'m self,
        host: &mut (impl Host + ?Sized),
        mem: &'m [u8],
        (old_fd, old_rights, old): (u32, u64, Path),
        (new_fd, new_rights, new): (u32, u64, Path),
        wanted: impl FnOnce(Place<'m>, Place<'m>) -> Wanted<'m>,
    ) -> Result<(), Errno> {
        if self.volume(old_fd).map(|node| node.volume) != self.volume(new_fd).map(|node| node.volume) {
            // If both may be used so at all.
            self.descriptors.get(old_fd)?.require(old_rights)?;
            self.descriptors.get(new_fd)?.require(new_rights)?;
            return Err(Errno::Xdev);
        }
        let from = self.volume_changeable(old_fd, old_rights)?;
        let to = self.volume_changeable(new_fd, new_rights)?;
        let (old, new) = (checked(mem, old)?, checked(mem, new)?);
        from.ask(host, wanted(from.place(old), to.place(new))).map(drop)
    }
}

/// Whether writes of a descriptor go to the end of its file.
pub(crate) fn appends(descriptor: &Descriptor) -> bool {
    descriptor.flags & FD_APPEND != 0
}

/// Times to set, as a request has them.
fn given((accessed, modified): (Option<u64>, Option<u64>)) -> (u32, u64, u64) {
    let flag = |time: Option<u64>, flag: u32| if time.is_some() { flag } else { 0 };
    let flags = flag(accessed, how::ACCESSED) | flag(modified, how::MODIFIED);
    (flags, accessed.unwrap_or(0), modified.unwrap_or(0))
}
