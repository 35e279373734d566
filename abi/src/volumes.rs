//! What the guest asks of folders of the host that containers are given, and what it is answered: messages over the
//! volumes' virtio device, a request in the readable part of a chain of descriptors and the answer in the writable one.
//!
//! A request stands for itself. It names a file by the folder that its path begins in and by the path, from the volume's
//! root on, because that is what a machine has in its memory when it goes on from a snapshot: what a host knows of open
//! files is not there any more. An open file has a handle besides, by which the host finds it while it knows it, so that
//! it can be read when it was renamed or removed; when the host does not know the handle, it opens the path anew.
//! docs/decisions/0031 has the reasons.
//!
//! Numbers are little-endian, without gaps.

use crate::bytes::{read_u32, read_u64};
use crate::entries;
use alloc::vec::Vec;

/// Most bytes of a file in one request or answer, and most bytes of an answer but for its head.
pub const MAX_DATA: usize = 64 << 10;

/// Longest path, in bytes: Linux's `PATH_MAX`. That of the folder it begins in may be as long.
pub const MAX_PATH: usize = 4096;

/// Bytes of a request before its paths.
const HEAD: usize = 48;

/// Most bytes of an encoded [`Request`].
pub const MAX_REQUEST: usize = HEAD + 2 * MAX_PATH + MAX_DATA;

/// Most volumes of a machine.
pub const MAX_VOLUMES: u32 = crate::MAX_CONTAINERS * crate::mounts::MAX_MOUNTS as u32;

/// Whose folder, and where in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The path of the folder that the path begins in, from the volume's root on; empty for the root.
    pub base: &'a [u8],
    /// The path, which never leads out of the folder that it begins in; empty for the folder itself.
    pub path: &'a [u8],
}

/// An open file or folder, and how to find it when nobody knows the handle any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handle<'a> {
    /// A number of the guest's, by which it knows this one and no other.
    pub number: u64,
    /// How it was opened, as far as that holds when it is opened again.
    pub flags: u32,
    /// Where it was.
    pub place: Place<'a>,
}

/// Bits of a request.
pub mod flags {
    /// A symbolic link that the path ends in is followed.
    pub const FOLLOW: u32 = 1;
    /// Opened to be read.
    pub const READ: u32 = 2;
    /// Opened to be written.
    pub const WRITE: u32 = 4;
    /// Made if it is not there.
    pub const CREATE: u32 = 8;
    /// Refused if it is there.
    pub const EXCLUSIVE: u32 = 16;
    /// Emptied.
    pub const TRUNCATE: u32 = 32;
    /// Refused if it is no folder.
    pub const DIRECTORY: u32 = 64;
    /// Written at its end, wherever that is.
    pub const APPEND: u32 = 128;
    /// The first time of a request is set: when it was last read.
    pub const ACCESSED: u32 = 256;
    /// The second one is: when it was last changed.
    pub const MODIFIED: u32 = 512;
    /// All there are.
    pub const ALL: u32 = 1023;
    /// Those that hold when a file is opened again.
    pub const AGAIN: u32 = READ | WRITE;
}

/// What is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// What is there: answered by [`Attributes`]. By [`flags::FOLLOW`].
    Look(Place<'a>, u32),
    /// It is opened, by all flags but those of times: answered by [`Attributes`].
    Open(Handle<'a>),
    /// What an open one is: answered by [`Attributes`].
    Stat(Handle<'a>),
    /// Its bytes from a place on: as many as are wanted, up to [`MAX_DATA`], none at its end.
    Read(Handle<'a>, u64, u32),
    /// These bytes at a place of it, or at its end by [`flags::APPEND`]: answered by how many were written, and where the
    /// last of them ends, in eight bytes each.
    Write(Handle<'a>, u64, &'a [u8]),
    /// What is in an open folder from a position on, 0 at first: answered by [`Listed`] entries, by one at least if there
    /// is one, and otherwise by no more than this many bytes of them.
    List(Handle<'a>, u64, u32),
    /// Its size is to be this.
    Resize(Handle<'a>, u64),
    /// This much from a place on is to have room.
    Allocate(Handle<'a>, u64, u64),
    /// It is to reach the disk.
    Sync(Handle<'a>),
    /// Its times, in nanoseconds since 1970, by [`flags::ACCESSED`] and [`flags::MODIFIED`] of the handle.
    SetTimes(Handle<'a>, u64, u64),
    /// Nobody asks for it any more.
    Close(Handle<'a>),
    /// Where a symbolic link leads.
    Target(Place<'a>),
    /// Times of what is there, by [`flags::FOLLOW`] and those of times.
    SetTimesAt(Place<'a>, u32, u64, u64),
    /// A folder.
    MakeDirectory(Place<'a>),
    /// A symbolic link that leads there.
    MakeLink(Place<'a>, &'a [u8]),
    /// No folder any more.
    RemoveDirectory(Place<'a>),
    /// No file any more.
    Unlink(Place<'a>),
    /// Another name instead.
    Rename(Place<'a>, Place<'a>),
    /// Another name besides, of what the first one leads to by [`flags::FOLLOW`].
    Name(Place<'a>, u32, Place<'a>),
}

/// Something that is asked of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The number of the volume.
    pub volume: u32,
    /// What is wanted.
    pub wanted: Wanted<'a>,
}

/// A request in the form that all of them have.
#[derive(Clone, Copy, Default)]
struct Parts<'a> {
    flags: u32,
    number: u64,
    one: u64,
    two: u64,
    base: &'a [u8],
    path: &'a [u8],
    data: &'a [u8],
}

impl<'a> Parts<'a> {
    fn of(place: Place<'a>) -> Self {
        Self { base: place.base, path: place.path, ..Self::default() }
    }

    fn of_handle(handle: Handle<'a>) -> Self {
        Self { flags: handle.flags, number: handle.number, ..Self::of(handle.place) }
    }

    fn place(&self) -> Place<'a> {
        Place { base: self.base, path: self.path }
    }

    fn handle(&self) -> Handle<'a> {
        Handle { number: self.number, flags: self.flags, place: self.place() }
    }
}

impl Request<'_> {
    /// The request as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let second = |place: Place<'_>| {
            let mut bytes = Vec::with_capacity(4 + place.base.len() + place.path.len());
            bytes.extend_from_slice(&(place.base.len() as u32).to_le_bytes());
            bytes.extend_from_slice(place.base);
            bytes.extend_from_slice(place.path);
            bytes
        };
        let other;
        let (kind, parts) = match self.wanted {
            Wanted::Look(place, flags) => (1, Parts { flags, ..Parts::of(place) }),
            Wanted::Open(handle) => (2, Parts::of_handle(handle)),
            Wanted::Stat(handle) => (3, Parts::of_handle(handle)),
            Wanted::Read(handle, one, most) => {
                (4, Parts { one, two: u64::from(most), ..Parts::of_handle(handle) })
            }
            Wanted::Write(handle, one, data) => (5, Parts { one, data, ..Parts::of_handle(handle) }),
            Wanted::List(handle, one, most) => {
                (6, Parts { one, two: u64::from(most), ..Parts::of_handle(handle) })
            }
            Wanted::Resize(handle, one) => (7, Parts { one, ..Parts::of_handle(handle) }),
            Wanted::Allocate(handle, one, two) => (8, Parts { one, two, ..Parts::of_handle(handle) }),
            Wanted::Sync(handle) => (9, Parts::of_handle(handle)),
            Wanted::SetTimes(handle, one, two) => (10, Parts { one, two, ..Parts::of_handle(handle) }),
            Wanted::Close(handle) => (11, Parts::of_handle(handle)),
            Wanted::Target(place) => (12, Parts::of(place)),
            Wanted::SetTimesAt(place, flags, one, two) => (13, Parts { flags, one, two, ..Parts::of(place) }),
            Wanted::MakeDirectory(place) => (14, Parts::of(place)),
            Wanted::MakeLink(place, data) => (15, Parts { data, ..Parts::of(place) }),
            Wanted::RemoveDirectory(place) => (16, Parts::of(place)),
            Wanted::Unlink(place) => (17, Parts::of(place)),
            Wanted::Rename(place, to) => {
                other = second(to);
                (18, Parts { data: &other, ..Parts::of(place) })
            }
            Wanted::Name(place, flags, to) => {
                other = second(to);
                (19, Parts { flags, data: &other, ..Parts::of(place) })
            }
        };
        let Parts { flags, number, one, two, base, path, data } = parts;
        let mut bytes = Vec::with_capacity(HEAD + base.len() + path.len() + data.len());
        for word in [kind, self.volume, flags, base.len() as u32, path.len() as u32, data.len() as u32] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for word in [number, one, two] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        for part in [base, path, data] {
            bytes.extend_from_slice(part);
        }
        bytes
    }
}

impl<'a> Request<'a> {
    /// Reads one; `None` for what is none, or is longer than one may be.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let word = |at: usize| read_u32(bytes, 4 * at);
        let len = |at, most| usize::try_from(word(at)?).ok().filter(|len: &usize| *len <= most);
        let (base, path) = (len(3, MAX_PATH)?, len(4, MAX_PATH)?);
        let data = len(5, MAX_DATA)?;
        let (base, rest) = bytes.get(HEAD..)?.split_at_checked(base)?;
        let (path, rest) = rest.split_at_checked(path)?;
        let flags = word(2).filter(|flags| flags & !flags::ALL == 0)?;
        let (number, one, two) = (read_u64(bytes, 24)?, read_u64(bytes, 32)?, read_u64(bytes, 40)?);
        let parts = Parts { flags, number, one, two, base, path, data: rest };
        if rest.len() != data {
            return None;
        }
        let (place, handle) = (parts.place(), parts.handle());
        let second = || {
            let len = usize::try_from(read_u32(rest, 0)?).ok().filter(|len| *len <= MAX_PATH)?;
            let (base, path) = rest.get(4..)?.split_at_checked(len)?;
            (path.len() <= MAX_PATH).then_some(Place { base, path })
        };
        let wanted = match word(0)? {
            1 => Wanted::Look(place, flags),
            2 => Wanted::Open(handle),
            3 => Wanted::Stat(handle),
            4 => Wanted::Read(handle, one, u32::try_from(two).ok()?),
            5 => Wanted::Write(handle, one, rest),
            6 => Wanted::List(handle, one, u32::try_from(two).ok()?),
            7 => Wanted::Resize(handle, one),
            8 => Wanted::Allocate(handle, one, two),
            9 => Wanted::Sync(handle),
            10 => Wanted::SetTimes(handle, one, two),
            11 => Wanted::Close(handle),
            12 => Wanted::Target(place),
            13 => Wanted::SetTimesAt(place, flags, one, two),
            14 => Wanted::MakeDirectory(place),
            15 => Wanted::MakeLink(place, rest),
            16 => Wanted::RemoveDirectory(place),
            17 => Wanted::Unlink(place),
            18 => Wanted::Rename(place, second()?),
            19 => Wanted::Name(place, flags, second()?),
            _ => return None,
        };
        Some(Self { volume: word(1)?, wanted })
    }
}

/// Bytes of an answer before what was asked for: 0, or the number of an error of WASI's.
pub const ANSWER_HEAD: usize = 4;

/// Most bytes of an answer.
pub const MAX_ANSWER: usize = ANSWER_HEAD + MAX_DATA;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A regular file.
    File = 1,
    /// A folder.
    Directory = 2,
    /// A symbolic link.
    Link = 3,
    /// Something that is none of these, and cannot be opened.
    Other = 4,
}

impl Kind {
    const fn from_u32(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::File,
            2 => Self::Directory,
            3 => Self::Link,
            4 => Self::Other,
            _ => return None,
        })
    }
}

/// What there is to know of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// What it is.
    pub kind: Kind,
    /// A number that no other file of the volume has.
    pub inode: u64,
    /// How many names it has.
    pub names: u64,
    /// Its bytes.
    pub size: u64,
    /// When it was last read, in nanoseconds since 1970, as the two behind it.
    pub accessed: u64,
    /// When its contents were last changed.
    pub modified: u64,
    /// When anything of it was last changed.
    pub changed: u64,
}

impl Attributes {
    /// Bytes of encoded ones.
    pub const LEN: usize = 52;

    /// The attributes as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(Self::LEN);
        bytes.extend_from_slice(&(self.kind as u32).to_le_bytes());
        for word in [self.inode, self.names, self.size, self.accessed, self.modified, self.changed] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes
    }

    /// Reads some; `None` for another length, or a kind that there is not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        Some(Self {
            kind: Kind::from_u32(read_u32(bytes, 0)?)?,
            inode: read_u64(bytes, 4)?,
            names: read_u64(bytes, 12)?,
            size: read_u64(bytes, 20)?,
            accessed: read_u64(bytes, 28)?,
            modified: read_u64(bytes, 36)?,
            changed: read_u64(bytes, 44)?,
        })
    }
}

/// An entry of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed<'a> {
    /// The position behind it, from which a listing goes on.
    pub next: u64,
    /// See [`Attributes::inode`].
    pub inode: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: &'a [u8],
}

impl<'a> Listed<'a> {
    /// Writes it behind others, if all of it fits into [`MAX_DATA`] with them.
    pub fn append(&self, to: &mut Vec<u8>) -> bool {
        let Self { next, inode, kind, name } = *self;
        entries::append(to, [next, inode], kind as u32, name, MAX_DATA)
    }

    /// Takes the first entry of `bytes` from them; `None` if there is none, or it is damaged.
    #[must_use]
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let ([next, inode], kind, name, rest) = entries::first(bytes)?;
        let kind = Kind::from_u32(kind)?;
        *bytes = rest;
        Some(Self { next, inode, kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    fn all<'a>() -> [Wanted<'a>; 19] {
        let place = Place { base: b"a/b", path: b"c" };
        let to = Place { base: b"", path: b"d/e" };
        let handle = Handle { number: 9, flags: flags::READ | flags::CREATE, place };
        [
            Wanted::Look(place, flags::FOLLOW),
            Wanted::Open(handle),
            Wanted::Stat(handle),
            Wanted::Read(handle, 1 << 40, 7),
            Wanted::Write(handle, 3, b"bytes"),
            Wanted::List(handle, 2, 8),
            Wanted::Resize(handle, u64::MAX),
            Wanted::Allocate(handle, 4, 5),
            Wanted::Sync(handle),
            Wanted::SetTimes(handle, 6, 7),
            Wanted::Close(handle),
            Wanted::Target(place),
            Wanted::SetTimesAt(place, flags::MODIFIED, 8, 9),
            Wanted::MakeDirectory(place),
            Wanted::MakeLink(place, b"target"),
            Wanted::RemoveDirectory(place),
            Wanted::Unlink(place),
            Wanted::Rename(place, to),
            Wanted::Name(place, flags::FOLLOW, to),
        ]
    }

    #[test]
    fn requests_are_read_as_they_were_written() {
        for wanted in all() {
            let request = Request { volume: 63, wanted };
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Some(request));
            for len in 0..bytes.len() {
                assert_eq!(Request::decode(&bytes[..len]), None, "{wanted:?}, {len} bytes");
            }
            let longer = [&bytes[..], &[0]].concat();
            assert_eq!(Request::decode(&longer), None, "{wanted:?}");
        }
    }

    #[test]
    fn what_is_too_long_or_has_unknown_flags_is_no_request() {
        let look = |path| Request { volume: 0, wanted: Wanted::Look(Place { base: b"", path }, 0) }.encode();
        assert!(Request::decode(&look(&[b'a'; MAX_PATH])).is_some());
        assert_eq!(Request::decode(&look(&[b'a'; MAX_PATH + 1])), None);
        let mut bytes = look(b"a");
        for (at, value) in [(0, 0), (0, 20), (9, 4)] {
            let before = core::mem::replace(&mut bytes[at], value);
            assert_eq!(Request::decode(&bytes), None, "{value} at {at}");
            bytes[at] = before;
        }
        let data = vec![0; MAX_DATA + 1];
        let handle = Handle { number: 0, flags: 0, place: Place { base: b"", path: b"" } };
        let write = |bytes| Request { volume: 0, wanted: Wanted::Write(handle, 0, bytes) }.encode();
        assert!(Request::decode(&write(&data[1..])).is_some());
        assert_eq!(Request::decode(&write(&data)), None);
        assert!(write(&data[1..]).len() <= MAX_REQUEST);
    }

    #[test]
    fn answers_are_read_as_they_were_written() {
        let attributes = Attributes {
            kind: Kind::Link,
            inode: 1,
            names: 2,
            size: 3,
            accessed: 4,
            modified: 5,
            changed: u64::MAX,
        };
        let bytes = attributes.encode();
        assert_eq!(Attributes::decode(&bytes), Some(attributes));
        assert_eq!(Attributes::decode(&bytes[1..]), None);
        let mut listed = Vec::new();
        let entry = |next| Listed { next, inode: 7, kind: Kind::Other, name: b"name" };
        assert!(entry(1).append(&mut listed) && entry(2).append(&mut listed));
        let mut rest = &listed[..];
        assert_eq!((Listed::take(&mut rest), Listed::take(&mut rest)), (Some(entry(1)), Some(entry(2))));
        assert_eq!(Listed::take(&mut rest), None);
        let full = Listed { name: &[b'a'; MAX_DATA], ..entry(0) };
        assert!(!full.append(&mut Vec::new()));
    }
}
