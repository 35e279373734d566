//! The flag words calls take, and the check that a word holds no other bits.

use crate::errno::Errno;

/// `$fdflags`: writes go to the end of the file.
pub(crate) const FD_APPEND: u16 = 1 << 0;
/// `$fdflags`: writes reach storage before they return. Memory is our storage: nothing to do.
pub(crate) const FD_DSYNC: u16 = 1 << 1;
/// `$fdflags`: `EAGAIN` instead of waiting.
pub(crate) const FD_NONBLOCK: u16 = 1 << 2;
/// `$fdflags`: as `FD_DSYNC`, for reads.
pub(crate) const FD_RSYNC: u16 = 1 << 3;
/// `$fdflags`: as `FD_DSYNC`, with metadata.
pub(crate) const FD_SYNC: u16 = 1 << 4;
const FD_ALL: u16 = FD_APPEND | FD_DSYNC | FD_NONBLOCK | FD_RSYNC | FD_SYNC;

/// `$oflags`: create the file if there is none.
pub(crate) const OPEN_CREAT: u16 = 1 << 0;
/// `$oflags`: fail unless it is a directory.
pub(crate) const OPEN_DIRECTORY: u16 = 1 << 1;
/// `$oflags`: fail if it exists.
pub(crate) const OPEN_EXCL: u16 = 1 << 2;
/// `$oflags`: truncate to nothing.
pub(crate) const OPEN_TRUNC: u16 = 1 << 3;
const OPEN_ALL: u16 = OPEN_CREAT | OPEN_DIRECTORY | OPEN_EXCL | OPEN_TRUNC;

/// `$lookupflags`: follow a symbolic link that the path ends in.
const LOOKUP_FOLLOW: u32 = 1 << 0;

/// `$fstflags`: set the access time to the value given.
const SET_ATIM: u32 = 1 << 0;
/// `$fstflags`: set the access time to now.
const SET_ATIM_NOW: u32 = 1 << 1;
/// `$fstflags`: set the modification time to the value given.
const SET_MTIM: u32 = 1 << 2;
/// `$fstflags`: set the modification time to now.
const SET_MTIM_NOW: u32 = 1 << 3;

fn only(word: u32, all: u16) -> Result<u16, Errno> {
    match u16::try_from(word) {
        Ok(flags) if flags & !all == 0 => Ok(flags),
        _ => Err(Errno::Inval),
    }
}

pub(crate) fn fd_flags(word: u32) -> Result<u16, Errno> {
    only(word, FD_ALL)
}

pub(crate) fn open_flags(word: u32) -> Result<u16, Errno> {
    only(word, OPEN_ALL)
}

/// Whether to follow a symbolic link that the path ends in.
pub(crate) fn lookup_follow(word: u32) -> Result<bool, Errno> {
    if word & !LOOKUP_FOLLOW == 0 { Ok(word & LOOKUP_FOLLOW != 0) } else { Err(Errno::Inval) }
}

/// The times to set, if any: (`atim`, `mtim`). A time that is to be both given and now is `EINVAL`.
pub(crate) fn new_times(
    word: u32,
    atim: u64,
    mtim: u64,
    now: u64,
) -> Result<(Option<u64>, Option<u64>), Errno> {
    if word & !(SET_ATIM | SET_ATIM_NOW | SET_MTIM | SET_MTIM_NOW) != 0 {
        return Err(Errno::Inval);
    }
    let choose = |given: u32, current: u32, value: u64| match (word & given != 0, word & current != 0) {
        (true, true) => Err(Errno::Inval),
        (true, false) => Ok(Some(value)),
        (false, true) => Ok(Some(now)),
        (false, false) => Ok(None),
    };
    Ok((choose(SET_ATIM, SET_ATIM_NOW, atim)?, choose(SET_MTIM, SET_MTIM_NOW, mtim)?))
}
