//! Directories, entry by entry.

use super::errors::code;
use super::resources::Open;
use super::scratch::{Place, Scratch};
use super::stat::descriptor_type;
use super::wasi::filesystem::types::{DirectoryEntry, ErrorCode, HostDirectoryEntryStream};
use crate::container::State;
use sentient_wasi::Errno;
use wasmtime::component::Resource;

/// Bytes of entries that are read at once: some of them, and the longest one in any case.
const READ_LEN: usize = 4096;

/// Bytes of a `dirent` before its name (`typenames.witx`).
const HEAD_LEN: u32 = 24;

/// A directory that is being listed.
pub struct Listing {
    open: Open,
    /// After which entry to go on.
    cookie: u64,
    /// What has been read of it.
    entries: Scratch,
    /// The part of that which is yet to be given.
    left: Place,
    /// It was read to its end.
    is_whole: bool,
}

impl Listing {
    /// One from the beginning on.
    pub fn new(open: Open) -> Self {
        Self { open, cookie: 0, entries: Scratch::new(), left: Place { at: 0, len: 0 }, is_whole: false }
    }

    /// The next entry, if it was read whole: where its name is, and its `filetype`.
    fn next(&mut self) -> Option<(Place, u8)> {
        let Place { at, len } = self.left;
        let after_head = len.checked_sub(HEAD_LEN)?;
        let name = Place { at: at + HEAD_LEN, len: self.entries.u32(at + 16) };
        let after_name = after_head.checked_sub(name.len)?;
        self.left = Place { at: name.at + name.len, len: after_name };
        self.cookie = self.entries.u64(at);
        Some((name, self.entries.u8(at + 20)))
    }
}

impl State {
    /// Reads on. What was not read whole is read again.
    fn read_entries(&mut self, listing: &Resource<Listing>) -> wasmtime::Result<Result<(), Errno>> {
        let Listing { open: Open(fd), cookie, .. } = *self.resources.table.get(listing)?;
        let mut entries = Scratch::new();
        let (room, used) = (entries.room(READ_LEN), entries.room(4));
        let read = self.call(&mut entries, |wasi, host, memory| {
            wasi.fd_readdir(host, memory, fd, room.at, room.len, cookie, used.at)
        })?;
        let len = entries.u32(used.at).min(room.len);
        let listing = self.resources.table.get_mut(listing)?;
        listing.left = Place { len, ..room };
        listing.is_whole = len < room.len;
        listing.entries = entries;
        Ok(read)
    }
}

impl HostDirectoryEntryStream for State {
    fn read_directory_entry(
        &mut self,
        handle: Resource<Listing>,
    ) -> wasmtime::Result<Result<Option<DirectoryEntry>, ErrorCode>> {
        loop {
            let listing = self.resources.table.get_mut(&handle)?;
            match listing.next() {
                Some((name, filetype)) => match listing.entries.text(name) {
                    // A directory is not in its own listing, nor what it lies in.
                    Ok("." | "..") => {}
                    Ok(name) => {
                        let entry = DirectoryEntry { type_: descriptor_type(filetype), name: name.into() };
                        return Ok(Ok(Some(entry)));
                    }
                    Err(errno) => return Ok(Err(code(errno))),
                },
                None if listing.is_whole => return Ok(Ok(None)),
                None => {
                    if let Err(errno) = self.read_entries(&handle)? {
                        return Ok(Err(code(errno)));
                    }
                }
            }
        }
    }

    fn drop(&mut self, listing: Resource<Listing>) -> wasmtime::Result<()> {
        let listing = self.taken(listing)?;
        self.release(listing.open)
    }
}
