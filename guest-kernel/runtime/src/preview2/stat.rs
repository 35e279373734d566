//! What a file is: preview 1's numbers and records, as 0.2 says them.

use super::clocks::{datetime, nanoseconds};
use super::resources::Open;
use super::scratch::Scratch;
use super::wasi::filesystem::types::{DescriptorStat, DescriptorType, MetadataHashValue, NewTimestamp};
use crate::container::State;
use sentient_wasi::Errno;

/// Bytes of a `filestat` (`typenames.witx`).
pub const STATUS_LEN: usize = 64;

/// `fstflags`: the access time is given, or now; the modification time is.
const SET_ATIM: u32 = 1 << 0;
const SET_ATIM_NOW: u32 = 1 << 1;
const SET_MTIM: u32 = 1 << 2;
const SET_MTIM_NOW: u32 = 1 << 3;

/// A `filestat`.
#[derive(Clone, Copy)]
pub struct Status {
    dev: u64,
    ino: u64,
    ty: u8,
    nlink: u64,
    /// Bytes of a file.
    pub size: u64,
    times: [u64; 3],
}

impl Status {
    /// One that begins here.
    pub fn read(scratch: &Scratch, at: u32) -> Self {
        let word = |offset: u32| scratch.u64(at + offset);
        Self {
            dev: word(0),
            ino: word(8),
            ty: scratch.u8(at + 16),
            nlink: word(24),
            size: word(32),
            times: [word(40), word(48), word(56)],
        }
    }

    /// As 0.2 has it.
    pub fn described(&self) -> DescriptorStat {
        let [accessed, modified, changed] = self.times.map(|ns| Some(datetime(ns)));
        DescriptorStat {
            type_: descriptor_type(self.ty),
            link_count: self.nlink,
            size: self.size,
            data_access_timestamp: accessed,
            data_modification_timestamp: modified,
            status_change_timestamp: changed,
        }
    }

    /// Another one for each other file. Programs that know files by a number take the lower half for it.
    pub fn hash(&self) -> MetadataHashValue {
        MetadataHashValue { lower: self.ino ^ self.dev.rotate_left(32), upper: self.dev }
    }

    /// Whether it is of the same file.
    pub fn is_of(&self, other: &Self) -> bool {
        (self.dev, self.ino) == (other.dev, other.ino)
    }
}

/// A `filetype`.
pub fn descriptor_type(filetype: u8) -> DescriptorType {
    match filetype {
        1 => DescriptorType::BlockDevice,
        2 => DescriptorType::CharacterDevice,
        3 => DescriptorType::Directory,
        4 => DescriptorType::RegularFile,
        5 | 6 => DescriptorType::Socket,
        7 => DescriptorType::SymbolicLink,
        _ => DescriptorType::Unknown,
    }
}

/// The times that are to be set, and `fstflags` that say which.
pub fn new_times(accessed: NewTimestamp, modified: NewTimestamp) -> (u64, u64, u32) {
    let choose = |time, given, now| match time {
        NewTimestamp::NoChange => (0, 0),
        NewTimestamp::Now => (0, now),
        NewTimestamp::Timestamp(time) => (nanoseconds(time), given),
    };
    let (atim, atim_flag) = choose(accessed, SET_ATIM, SET_ATIM_NOW);
    let (mtim, mtim_flag) = choose(modified, SET_MTIM, SET_MTIM_NOW);
    (atim, mtim, atim_flag | mtim_flag)
}

impl State {
    /// What an open file is.
    pub(super) fn status(&mut self, Open(fd): Open) -> wasmtime::Result<Result<Status, Errno>> {
        let mut scratch = Scratch::new();
        let status = scratch.room(STATUS_LEN);
        let got =
            self.call(&mut scratch, |wasi, host, memory| wasi.fd_filestat_get(host, memory, fd, status.at))?;
        Ok(got.map(|()| Status::read(&scratch, status.at)))
    }
}
