//! What the host asks of a container's files, and what the guest answers: payloads of the frames
//! [`Files`](crate::stdio::FrameKind::Files) and [`FilesAnswer`](crate::stdio::FrameKind::FilesAnswer).
//!
//! A request stands for itself: it names a file by its absolute path, and nothing is kept open between two of them. What
//! the container does in between it does. The owner of the machine asks, so permissions say nothing here. Symbolic links
//! on the way are followed, within the container's files; what a path ends in is meant itself, except where bytes are
//! read or written.
//!
//! Numbers are little-endian, without gaps.

use crate::bytes::{read_u32, read_u64};
use crate::entries;
use alloc::vec::Vec;

/// Most bytes of a file in one request or answer, and most bytes of an answer altogether but for its head.
pub const MAX_DATA: usize = 32 << 10;

/// Longest path, in bytes: Linux's `PATH_MAX`.
pub const MAX_PATH: usize = 4096;

/// Most bytes of an encoded [`Request`].
pub const MAX_REQUEST: usize = HEAD + MAX_PATH + MAX_DATA;

/// Bytes of a request before its path: which one, the path's length, a number.
const HEAD: usize = 16;

/// Something that is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// What is wanted.
    pub wanted: Wanted<'a>,
    /// Of which file: an absolute path.
    pub path: &'a [u8],
}

/// What is wanted of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted<'a> {
    /// What it is: answered by an [`Entry`] without a name.
    Look,
    /// What is in a directory, from a position on, 0 at first: answered by as many [`Entry`]s as fit, by none at the end.
    List(u64),
    /// Its bytes from a place on: as many as there are, up to [`MAX_DATA`].
    Read(u64),
    /// Where a symbolic link leads.
    Target,
    /// An empty file: a new one, or the one that is there.
    Create,
    /// These bytes at this place of a file that is there.
    Write(u64, &'a [u8]),
    /// A directory; one that is there will do.
    Directory,
    /// A symbolic link that leads there.
    Link(&'a [u8]),
    /// That it was last modified then, in nanoseconds since 1970.
    Modified(u64),
}

impl Request<'_> {
    /// The request as bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let (number, argument, data): (u32, u64, &[u8]) = match self.wanted {
            Wanted::Look => (1, 0, &[]),
            Wanted::List(from) => (2, from, &[]),
            Wanted::Read(at) => (3, at, &[]),
            Wanted::Target => (4, 0, &[]),
            Wanted::Create => (5, 0, &[]),
            Wanted::Write(at, bytes) => (6, at, bytes),
            Wanted::Directory => (7, 0, &[]),
            Wanted::Link(target) => (8, 0, target),
            Wanted::Modified(time) => (9, time, &[]),
        };
        let mut bytes = Vec::with_capacity(HEAD + self.path.len() + data.len());
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&(self.path.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&argument.to_le_bytes());
        bytes.extend_from_slice(self.path);
        bytes.extend_from_slice(data);
        bytes
    }
}

impl<'a> Request<'a> {
    /// Reads one; `None` for what is none, or is longer than one may be.
    #[must_use]
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (number, argument) = (read_u32(bytes, 0)?, read_u64(bytes, 8)?);
        let len = usize::try_from(read_u32(bytes, 4)?).ok().filter(|len| *len <= MAX_PATH)?;
        let (path, data) = bytes.get(HEAD..)?.split_at_checked(len)?;
        let wanted = match number {
            1 => Wanted::Look,
            2 => Wanted::List(argument),
            3 => Wanted::Read(argument),
            4 => Wanted::Target,
            5 => Wanted::Create,
            6 => Wanted::Write(argument, data),
            7 => Wanted::Directory,
            8 => Wanted::Link(data),
            9 => Wanted::Modified(argument),
            _ => return None,
        };
        let numbered =
            matches!(wanted, Wanted::List(_) | Wanted::Read(_) | Wanted::Write(..) | Wanted::Modified(_));
        let carries = matches!(wanted, Wanted::Write(..) | Wanted::Link(_));
        let sound = path.first() == Some(&b'/')
            && data.len() <= MAX_DATA
            && (carries || data.is_empty())
            && (numbered || argument == 0);
        sound.then_some(Self { wanted, path })
    }
}

/// Why something was not done. Numbers from 1; 0 says that it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Failure {
    /// There is no such container, or it is about to end.
    Gone = 1,
    /// The request makes no sense.
    Request = 2,
    /// There is no such file or directory.
    NotFound = 3,
    /// A file is where a directory would have to be.
    NotADirectory = 4,
    /// A directory is where a file would have to be.
    IsADirectory = 5,
    /// Something else is there already.
    Exists = 6,
    /// The container has no room for more.
    NoSpace = 7,
    /// The path leads out of the container's files, or a link's target would.
    Outside = 8,
    /// A name or a path is longer than it may be, or is not UTF-8.
    Name = 9,
    /// Too many symbolic links on the way.
    Links = 10,
    /// Something else.
    Other = 11,
    /// The container is amid something with its files; the same may be asked again.
    Busy = 12,
}

impl Failure {
    /// The failure of a number.
    #[must_use]
    pub const fn from_u32(number: u32) -> Option<Self> {
        Some(match number {
            1 => Self::Gone,
            2 => Self::Request,
            3 => Self::NotFound,
            4 => Self::NotADirectory,
            5 => Self::IsADirectory,
            6 => Self::Exists,
            7 => Self::NoSpace,
            8 => Self::Outside,
            9 => Self::Name,
            10 => Self::Links,
            11 => Self::Other,
            12 => Self::Busy,
            _ => return None,
        })
    }
}

/// Bytes of an answer before what was asked for: the request's number, and a [`Failure`] or 0.
pub const ANSWER_HEAD: usize = 8;

/// Most bytes of an answer.
pub const MAX_ANSWER: u32 = (ANSWER_HEAD + MAX_DATA) as u32;

/// The head of an answer to the request with this number.
#[must_use]
pub fn answer_head(number: u32, failure: Option<Failure>) -> [u8; ANSWER_HEAD] {
    let mut head = [0; ANSWER_HEAD];
    let (first, second) = head.split_at_mut(4);
    first.copy_from_slice(&number.to_le_bytes());
    second.copy_from_slice(&failure.map_or(0, |failure| failure as u32).to_le_bytes());
    head
}

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    /// A regular file.
    File = 1,
    /// A directory.
    Directory = 2,
    /// A symbolic link.
    Link = 3,
}

/// A file, as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// The position behind it, from which a listing goes on.
    pub next: u64,
    /// Bytes of a file; 0 of a directory.
    pub size: u64,
    /// When it was last modified, in nanoseconds since 1970.
    pub modified: u64,
    /// What it is.
    pub kind: Kind,
    /// Its name in its directory; empty where it was asked for by its path.
    pub name: &'a [u8],
}

impl<'a> Entry<'a> {
    /// Writes it behind others, if all of it fits into [`MAX_DATA`] with them.
    pub fn append(&self, to: &mut Vec<u8>) -> bool {
        let Self { next, size, modified, kind, name } = *self;
        entries::append(to, [next, size, modified], kind as u32, name, MAX_DATA)
    }

    /// Takes the first entry of `bytes` from them; `None` if there is none, or it is damaged. Names are as they came:
    /// nobody has looked at them.
    #[must_use]
    pub fn take(bytes: &mut &'a [u8]) -> Option<Self> {
        let ([next, size, modified], kind, name, rest) = entries::first(bytes)?;
        let kind = match kind {
            1 => Kind::File,
            2 => Kind::Directory,
            3 => Kind::Link,
            _ => return None,
        };
        *bytes = rest;
        Some(Self { next, size, modified, kind, name })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec;

    #[test]
    fn requests_are_read_as_they_were_written_and_nothing_else_is_one() {
        let data = [7; 40];
        for wanted in [
            Wanted::Look,
            Wanted::List(9),
            Wanted::Read(u64::MAX),
            Wanted::Target,
            Wanted::Create,
            Wanted::Write(1 << 40, &data),
            Wanted::Directory,
            Wanted::Link(&data[..1]),
            Wanted::Modified(3),
        ] {
            let request = Request { wanted, path: b"/a/b" };
            let bytes = request.encode();
            assert_eq!(Request::decode(&bytes), Some(request));
            let carries = matches!(wanted, Wanted::Write(..) | Wanted::Link(_));
            for len in 0..HEAD + 4 {
                assert_eq!(Request::decode(&bytes[..len]), None, "{wanted:?}, {len} bytes");
            }
            let mut longer = bytes.clone();
            longer.push(0);
            assert_eq!(Request::decode(&longer).is_some(), carries, "{wanted:?}");
        }
        let request = |path: &[u8]| Request { wanted: Wanted::Look, path }.encode();
        assert_eq!(Request::decode(&request(b"a")), None);
        assert_eq!(Request::decode(&request(b"")), None);
        assert!(Request::decode(&request(&[b'/'; MAX_PATH])).is_some());
        assert_eq!(Request::decode(&request(&[b'/'; MAX_PATH + 1])), None);
        let most = vec![0; MAX_DATA + 1];
        let write = |bytes| Request { wanted: Wanted::Write(0, bytes), path: b"/" }.encode();
        assert!(Request::decode(&write(&most[1..])).is_some());
        assert_eq!(Request::decode(&write(&most)), None);
        let mut unknown = request(b"/");
        unknown[0] = 10;
        assert_eq!(Request::decode(&unknown), None);
    }

    #[test]
    fn a_listing_is_as_long_as_it_may_be_and_is_read_entry_by_entry() {
        let entry = |next| Entry { next, size: 5, modified: 6, kind: Kind::Link, name: b"name" };
        let mut bytes = Vec::new();
        let mut count = 0;
        while entry(count).append(&mut bytes) {
            count += 1;
        }
        assert_eq!(count, (MAX_DATA / 36) as u64);
        let mut rest = &bytes[..];
        for number in 0..count {
            assert_eq!(Entry::take(&mut rest), Some(entry(number)));
        }
        assert!(rest.is_empty());
        assert_eq!(Entry::take(&mut rest), None);
        assert_eq!(Entry::take(&mut &bytes[..35]), None);
        bytes[24] = 4;
        assert_eq!(Entry::take(&mut &bytes[..]), None);
    }
}
