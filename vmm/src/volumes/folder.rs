//! One folder of the host, and paths within it.

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2, statat};
use rustix::io::Errno;
use sentient_abi::volumes::{Attributes, Kind, Place, flags};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// How every path is walked: never out of where it begins, and through no link of the kernel's own.
const WITHIN: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_MAGICLINKS);

/// What is only named, and not opened.
const NAMED: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// Modes of what is made, before the process' umask.
const FILE_MODE: Mode = Mode::from_raw_mode(0o666);

/// A folder.
#[derive(Debug)]
pub struct Folder {
    root: OwnedFd,
    read_only: bool,
}

/// A name in a folder, to be made, moved or removed.
pub struct Name<'a> {
    /// The folder.
    pub parent: OwnedFd,
    /// The name, without a slash.
    pub name: &'a [u8],
    /// A slash followed it: only a folder will do.
    pub slash: bool,
}

impl Folder {
    /// A folder of the host's.
    ///
    /// # Errors
    /// The error of opening it.
    pub fn open(path: &Path, read_only: bool) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY.bits().cast_signed();
        let root = std::fs::File::options().read(true).custom_flags(flags).open(path)?;
        Ok(Self { root: root.into(), read_only })
    }

    /// Whether something may be changed.
    ///
    /// # Errors
    /// `EROFS`.
    pub fn writable(&self) -> Result<(), Errno> {
        if self.read_only { Err(Errno::ROFS) } else { Ok(()) }
    }

    /// What a place names, to be looked at.
    ///
    /// # Errors
    /// Those of openat2(2).
    pub fn named(&self, place: &Place<'_>, follow: bool) -> Result<OwnedFd, Errno> {
        let base = self.base(place.base)?;
        let link = if follow { OFlags::empty() } else { OFlags::NOFOLLOW };
        within(base.as_fd(), place.path, NAMED | link)
    }

    /// Opens what a place names, by the flags of a request. `ENOTSUP` for what is neither a file nor a folder.
    ///
    /// # Errors
    /// Those of openat2(2); `EROFS`.
    pub fn opened(&self, place: &Place<'_>, wanted: u32) -> Result<OwnedFd, Errno> {
        let asks = |flag: u32| wanted & flag != 0;
        let base = self.base(place.base)?;
        let mut how = OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        how |= match (asks(flags::READ), asks(flags::WRITE)) {
            (true, true) => OFlags::RDWR,
            (false, true) => OFlags::WRONLY,
            (_, false) => OFlags::RDONLY,
        };
        let bits = [
            (flags::TRUNCATE, OFlags::TRUNC),
            (flags::DIRECTORY, OFlags::DIRECTORY),
            (flags::CREATE, OFlags::CREATE),
            (flags::EXCLUSIVE, OFlags::EXCL),
        ];
        how |= bits.into_iter().filter(|(flag, _)| asks(*flag)).map(|(_, bit)| bit).collect::<OFlags>();
        if !asks(flags::FOLLOW) {
            how |= OFlags::NOFOLLOW;
        }
        if asks(flags::WRITE) || asks(flags::TRUNCATE) {
            self.writable()?;
        }
        if asks(flags::CREATE) && self.read_only {
            // One that is there need not be made.
            how -= OFlags::CREATE | OFlags::EXCL;
        }
        let there = match within(base.as_fd(), place.path, NAMED | (how & OFlags::NOFOLLOW)) {
            Ok(there) => fstat(&there).map(Some)?,
            Err(Errno::NOENT) => None,
            Err(error) => return Err(error),
        };
        match there.map(|there| kind(&there)) {
            Some(Kind::Other) => return Err(Errno::OPNOTSUPP),
            None if asks(flags::CREATE) && self.read_only => return Err(Errno::ROFS),
            Some(_) if asks(flags::EXCLUSIVE) && self.read_only => return Err(Errno::EXIST),
            _ => {}
        }
        let opened = within(base.as_fd(), place.path, how)?;
        // It may have become another one meanwhile; without waiting, that is no harm.
        if kind(&fstat(&opened)?) == Kind::Other { Err(Errno::OPNOTSUPP) } else { Ok(opened) }
    }

    /// The name that a place ends in; `dots` for one that ends in none.
    ///
    /// # Errors
    /// Those of openat2(2); `dots`; `EROFS`, because whoever asks is about to change something.
    pub fn name<'a>(&self, place: &Place<'a>, dots: Errno) -> Result<Name<'a>, Errno> {
        self.writable()?;
        let end = place.path.iter().rposition(|byte| *byte != b'/').map_or(0, |last| last + 1);
        let (path, slashes) = place.path.split_at(end);
        let (parent, name) = match path.iter().rposition(|byte| *byte == b'/') {
            Some(at) => (path.get(..at).unwrap_or_default(), path.get(at + 1..).unwrap_or_default()),
            None => (&[][..], path),
        };
        match name {
            // Of an absolute path, which leads out, or of nothing.
            [] if place.path.is_empty() => return Err(Errno::NOENT),
            [] => return Err(Errno::PERM),
            b"." | b".." => return Err(dots),
            _ => {}
        }
        if path.first() == Some(&b'/') {
            return Err(Errno::PERM);
        }
        let base = self.base(place.base)?;
        let parent = within(base.as_fd(), parent, NAMED | OFlags::DIRECTORY)?;
        Ok(Name { parent, name, slash: !slashes.is_empty() })
    }

    fn base(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        within(self.root.as_fd(), path, NAMED | OFlags::DIRECTORY)
    }
}

impl Name<'_> {
    /// What is there.
    ///
    /// # Errors
    /// Those of fstatat(2).
    pub fn stat(&self) -> Result<Stat, Errno> {
        statat(&self.parent, self.name, AtFlags::SYMLINK_NOFOLLOW)
    }

    /// Whether it may be what is not a folder: `ENOTDIR` for one with a slash.
    ///
    /// # Errors
    /// `ENOTDIR`, `EISDIR`, and those of fstatat(2).
    pub fn no_folder(&self) -> Result<(), Errno> {
        match (self.slash, kind(&self.stat()?)) {
            (_, Kind::Directory) => Err(Errno::ISDIR),
            (true, _) => Err(Errno::NOTDIR),
            (false, _) => Ok(()),
        }
    }
}

/// Opens a path from a folder on; an empty one is the folder itself.
fn within(folder: BorrowedFd<'_>, path: &[u8], how: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let mode = if how.contains(OFlags::CREATE) { FILE_MODE } else { Mode::empty() };
    openat2(folder, path, how, mode, WITHIN).map_err(|error| match error {
        // It leads out: what the guest's own files say of such a path.
        Errno::XDEV => Errno::PERM,
        // Something else was renamed meanwhile, and the kernel cannot be sure.
        Errno::AGAIN => Errno::BUSY,
        error => error,
    })
}

/// What a file is.
pub fn kind(stat: &Stat) -> Kind {
    of_type(FileType::from_raw_mode(stat.st_mode))
}

/// The same of its type.
pub fn of_type(file_type: FileType) -> Kind {
    match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Link,
        _ => Kind::Other,
    }
}

/// What there is to know of a file.
pub fn attributes(stat: &Stat) -> Attributes {
    let ns = |seconds: i64, ns: u64| {
        // Before 1970 there is no time.
        u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000).saturating_add(ns)
    };
    Attributes {
        kind: kind(stat),
        inode: stat.st_ino,
        names: stat.st_nlink,
        size: u64::try_from(stat.st_size).unwrap_or(0),
        accessed: ns(stat.st_atime, stat.st_atime_nsec),
        modified: ns(stat.st_mtime, stat.st_mtime_nsec),
        changed: ns(stat.st_ctime, stat.st_ctime_nsec),
    }
}
