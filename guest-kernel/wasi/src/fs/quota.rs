//! The one number that bounds what a file system may hold.

use crate::errno::Errno;

/// What an inode counts for, in bytes: its slot, twice, for a table that grows by doubling.
pub(crate) const INODE_BYTES: u64 = 256;

/// What a directory entry counts for beside its name, in bytes: its part of two half-full tree
/// nodes, and the head of the allocation that holds the name.
const ENTRY_BYTES: u64 = 192;

/// What a chunk of a file counts for beside its bytes: its place in the file's list, twice.
pub(crate) const CHUNK_HEAD_BYTES: u64 = 80;

/// Bytes taken and bytes there are. File contents, link targets, names, entries and inodes all
/// count, so that no kind of growth is free of charge.
#[derive(Debug)]
pub(crate) struct Quota {
    used: u64,
    max: u64,
}

impl Quota {
    pub(crate) fn new(max: u64) -> Self {
        Self { used: 0, max }
    }

    /// Counts bytes as used. `ENOSPC` if they are not there: the container's file system is its
    /// own, so to the program the device is full; `EDQUOT` would speak of a share of someone
    /// else's.
    pub(crate) fn take(&mut self, bytes: u64) -> Result<(), Errno> {
        let used = self.used.checked_add(bytes).ok_or(Errno::Nospc)?;
        if used > self.max {
            return Err(Errno::Nospc);
        }
        self.used = used;
        Ok(())
    }

    pub(crate) fn give_back(&mut self, bytes: u64) {
        self.used = self.used.saturating_sub(bytes);
    }

    /// Gives back and takes in one step: if the taking fails, nothing has changed.
    pub(crate) fn exchange(&mut self, back: u64, take: u64) -> Result<(), Errno> {
        self.give_back(back);
        self.take(take).inspect_err(|_| self.used = self.used.saturating_add(back))
    }

    pub(crate) fn used(&self) -> u64 {
        self.used
    }

    pub(crate) fn free(&self) -> u64 {
        self.max.saturating_sub(self.used)
    }
}

/// What a directory entry of this name counts for.
pub(crate) fn entry_bytes(name: &[u8]) -> u64 {
    length(name).saturating_add(ENTRY_BYTES)
}

/// What bytes kept as they are count for.
pub(crate) fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}
