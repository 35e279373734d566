//! A container's files as another container has them that is run beside it: answers to the questions about volumes
//! ([`sentient_abi::volumes`]), of which one volume is these files.
//!
//! What is open is known by who asks and by their numbers, and lies with the files: whoever puts the container back, puts
//! that back, too. A number that is not known is opened by its path, as a host does it.

use alloc::collections::BTreeMap;
use alloc::vec::Vec;

use sentient_abi::volumes::{Attributes, Handle, Kind, Listed, MAX_DATA, Place, Wanted, flags as how};

use crate::errno::Errno;
use crate::fs::{Entry, FileSystem, InodeId, Last, Target};
use crate::owner::Files;
use crate::record::FileType;

/// What others have open: by whom and by which of their numbers.
pub(crate) type Opened = BTreeMap<(u32, u64), InodeId>;

/// Positions of a listing that are `.` and `..`, of which nobody asks.
const DOTS: u64 = 2;

impl Files<'_> {
    /// Answers what `asker` wants of them.
    ///
    /// # Errors
    /// What the WASI call that does the same gives.
    pub fn serve(&mut self, asker: u32, wanted: &Wanted<'_>, now: u64) -> Result<Vec<u8>, Errno> {
        let nothing = |()| Vec::new();
        match *wanted {
            Wanted::Look(place, flags) => {
                let there = self.existing_at(place, follows(flags))?;
                self.attributes(there)
            }
            Wanted::Open(handle) => {
                let there = self.open_at(handle, now)?;
                self.keep(asker, handle.number, there)?;
                self.attributes(there)
            }
            Wanted::Stat(handle) => {
                let there = self.opened(asker, handle)?;
                self.attributes(there)
            }
            Wanted::Read(handle, at, most) => {
                let file = self.opened(asker, handle)?;
                self.fs().accessed(file, || now)?;
                self.read_inode(file, at, usize::try_from(most).unwrap_or(MAX_DATA).min(MAX_DATA))
            }
            Wanted::Write(handle, at, bytes) => {
                let file = self.opened(asker, handle)?;
                let at = if handle.flags & how::APPEND != 0 { self.fs().size(file)? } else { at };
                let written = self.fs().write(file, at, bytes, now)? as u64;
                Ok([written.to_le_bytes(), at.saturating_add(written).to_le_bytes()].concat())
            }
            Wanted::List(handle, from, most) => {
                let directory = self.opened(asker, handle)?;
                self.fs().accessed(directory, || now)?;
                self.entries(directory, from, usize::try_from(most).unwrap_or(MAX_DATA))
            }
            Wanted::Resize(handle, size) => {
                let file = self.opened(asker, handle)?;
                self.fs().resize(file, size, now).map(nothing)
            }
            Wanted::Allocate(handle, at, len) => {
                let file = self.opened(asker, handle)?;
                self.fs().allocate(file, at, len, now).map(nothing)
            }
            Wanted::Sync(handle) => self.opened(asker, handle).map(|_| Vec::new()),
            Wanted::SetTimes(handle, accessed, modified) => {
                let file = self.opened(asker, handle)?;
                self.fs().set_times(file, times(handle.flags, accessed, modified), now).map(nothing)
            }
            Wanted::Close(handle) => match self.kept().remove(&(asker, handle.number)) {
                Some(there) => self.fs().close(there).map(nothing),
                None => Ok(Vec::new()),
            },
            Wanted::Target(place) => {
                let link = self.existing_at(place, Last::NoFollow)?;
                self.fs().link_target(link).map(<[u8]>::to_vec)
            }
            Wanted::SetTimesAt(place, flags, accessed, modified) => {
                let there = self.existing_at(place, follows(flags))?;
                self.fs().set_times(there, times(flags, accessed, modified), now).map(nothing)
            }
            Wanted::MakeDirectory(place) => {
                let entry = self.entry_at(place, Errno::Exist)?;
                self.fs().create_directory(&entry, now).map(|_| Vec::new())
            }
            Wanted::MakeLink(place, target) => {
                let entry = self.entry_at(place, Errno::Exist)?;
                self.fs().create_symlink(&entry, target, now).map(nothing)
            }
            Wanted::RemoveDirectory(place) => {
                let entry = self.entry_at(place, Errno::Inval)?;
                self.fs().remove_directory(&entry, now).map(nothing)
            }
            Wanted::Unlink(place) => {
                let entry = self.entry_at(place, Errno::Isdir)?;
                self.fs().unlink(&entry, now).map(nothing)
            }
            Wanted::Rename(from, to) => {
                let (old, new) = (self.entry_at(from, Errno::Inval)?, self.entry_at(to, Errno::Inval)?);
                self.fs().rename(&old, &new, now).map(nothing)
            }
            Wanted::Name(place, flags, to) => {
                let there = self.existing_at(place, follows(flags))?;
                let entry = self.entry_at(to, Errno::Exist)?;
                self.fs().link(&entry, there, now).map(nothing)
            }
        }
    }

    /// Whoever asked is gone, and what they had open is closed.
    pub fn forget(&mut self, asker: u32) {
        let all: Vec<_> = self.kept().range((asker, 0)..=(asker, u64::MAX)).map(|(key, _)| *key).collect();
        for key in all {
            if let Some(there) = self.kept().remove(&key) {
                // Nothing else refers to it by this.
                let _ = self.fs().close(there);
            }
        }
    }

    /// An open file; by its path, if it is not known.
    fn opened(&mut self, asker: u32, handle: Handle<'_>) -> Result<InodeId, Errno> {
        if let Some(there) = self.kept().get(&(asker, handle.number)) {
            return Ok(*there);
        }
        // A link was followed when it was opened, and the path is the one that was given.
        let there = self.existing_at(handle.place, Last::Follow)?;
        if handle.number > 0 {
            self.keep(asker, handle.number, there)?;
        }
        Ok(there)
    }

    fn keep(&mut self, asker: u32, number: u64, there: InodeId) -> Result<(), Errno> {
        self.fs().open(there)?;
        match self.kept().insert((asker, number), there) {
            Some(before) => self.fs().close(before),
            None => Ok(()),
        }
    }

    fn open_at(&mut self, Handle { flags, place, .. }: Handle<'_>, now: u64) -> Result<InodeId, Errno> {
        let asks = |flag: u32| flags & flag != 0;
        let exclusive = asks(how::CREATE) && asks(how::EXCLUSIVE);
        let last = if exclusive { Last::Name } else { follows(flags) };
        let target = self.target_at(place, last)?;
        if let Target::Entry(entry @ Entry { inode: None, .. }) = &target
            && asks(how::CREATE)
        {
            return if entry.slash { Err(Errno::Isdir) } else { self.fs().create_file(entry, now) };
        }
        let there = self.fs().existing(&target)?;
        if exclusive {
            return Err(Errno::Exist);
        }
        match self.fs().filetype(there)? {
            FileType::SymbolicLink => return Err(Errno::Loop),
            FileType::Directory if asks(how::CREATE | how::TRUNCATE) => return Err(Errno::Isdir),
            FileType::Directory if asks(how::WRITE) && !asks(how::DIRECTORY) => return Err(Errno::Isdir),
            FileType::Directory => {}
            _ if asks(how::DIRECTORY) => return Err(Errno::Notdir),
            _ => {}
        }
        if asks(how::TRUNCATE) {
            self.fs().resize(there, 0, now)?;
        }
        Ok(there)
    }

    fn target_at(&mut self, Place { base, path }: Place<'_>, last: Last) -> Result<Target, Errno> {
        let fs = self.fs();
        let start = match base {
            [] => InodeId::ROOT,
            base => fs.existing(&fs.resolve(InodeId::ROOT, base, Last::Follow)?)?,
        };
        if path.is_empty() { Ok(Target::Directory(start)) } else { fs.resolve(start, path, last) }
    }

    fn existing_at(&mut self, place: Place<'_>, last: Last) -> Result<InodeId, Errno> {
        let target = self.target_at(place, last)?;
        self.fs().existing(&target)
    }

    fn entry_at(&mut self, place: Place<'_>, dots: Errno) -> Result<Entry, Errno> {
        self.target_at(place, Last::Name)?.entry(dots)
    }

    fn attributes(&mut self, there: InodeId) -> Result<Vec<u8>, Errno> {
        let stat = self.fs().stat(there)?;
        let attributes = Attributes {
            kind: kind(stat.filetype),
            inode: stat.ino,
            names: stat.nlink,
            size: stat.size,
            accessed: stat.atim,
            modified: stat.mtim,
            changed: stat.ctim,
        };
        Ok(attributes.encode())
    }

    fn entries(&mut self, directory: InodeId, from: u64, most: usize) -> Result<Vec<u8>, Errno> {
        let fs: &FileSystem = self.fs();
        let mut bytes = Vec::new();
        for entry in fs.list(directory, from.saturating_add(DOTS))? {
            let (next, inode) = (entry.next.saturating_sub(DOTS), entry.inode.number());
            let kind = kind(fs.filetype(entry.inode)?);
            if !(Listed { next, inode, kind, name: entry.name }).append(&mut bytes) || bytes.len() >= most {
                break;
            }
        }
        Ok(bytes)
    }
}

fn follows(flags: u32) -> Last {
    Last::from_follow(flags & how::FOLLOW != 0)
}

fn times(flags: u32, accessed: u64, modified: u64) -> (Option<u64>, Option<u64>) {
    let given = |flag, time| (flags & flag != 0).then_some(time);
    (given(how::ACCESSED, accessed), given(how::MODIFIED, modified))
}

fn kind(filetype: FileType) -> Kind {
    match filetype {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::SymbolicLink => Kind::Link,
        FileType::Unknown | FileType::CharacterDevice | FileType::SocketStream => Kind::Other,
    }
}
