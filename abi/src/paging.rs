//! Building 4-level page tables (Intel SDM volume 3, 4.5) over an identity mapping.
//!
//! Run by the VMM at native speed for its own guests, and by the nucleus under a foreign loader: ring 0
//! may be emulated at two million instructions a second, and a table of a thousand entries built there
//! would cost more than everything else at boot.

use crate::region::access;
use crate::{LARGE_PAGE_SIZE, PAGE_SIZE};

/// Bit of an entry: it maps something.
pub const PRESENT: u64 = 1;
/// Bit of an entry: writes are allowed.
pub const WRITABLE: u64 = 1 << 1;
/// Bit of an entry: ring 3 may use it.
pub const USER: u64 = 1 << 2;
/// Bits of an entry: write-through, not cached (device registers).
pub const UNCACHED: u64 = (1 << 3) | (1 << 4);
/// Bit of an entry: the processor has used it.
pub const ACCESSED: u64 = 1 << 5;
/// Bit of an entry: the processor has written through it.
pub const DIRTY: u64 = 1 << 6;
/// Bit of a directory entry: it maps a large page.
pub const LARGE: u64 = 1 << 7;
/// Bit of an entry: no instruction may be fetched.
pub const NO_EXECUTE: u64 = 1 << 63;
/// The address in an entry.
pub const ADDRESS: u64 = 0x000f_ffff_ffff_f000;

/// Entries of a table.
const ENTRIES: u64 = 512;

/// Where tables are read and written: guest memory, from either side.
pub trait TableMemory {
    /// Reads the entry at a guest physical address, a multiple of 8 within the table pool.
    fn read(&self, gpa: u64) -> u64;
    /// Writes it.
    fn write(&mut self, gpa: u64, entry: u64);
}

/// Why a mapping was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PagingError {
    /// The pool has no table left.
    PoolExhausted,
    /// A page was asked to be writable and executable.
    WritableAndExecutable,
    /// An address or length is not on a page, or leaves 48 bits.
    BadRange,
    /// Part of the range is mapped already, or mapped by a large page.
    AlreadyMapped,
}

/// Builds tables in a pool of zeroed pages; the root is the pool's first.
#[derive(Debug)]
pub struct Mapper<M> {
    memory: M,
    root: u64,
    next: u64,
    end: u64,
}

impl<M: TableMemory> Mapper<M> {
    /// A mapper over the pool at `base` of `len` bytes, all zero.
    ///
    /// # Errors
    /// [`PagingError::PoolExhausted`] if there is no room for the root.
    pub fn new(memory: M, base: u64, len: u64) -> Result<Self, PagingError> {
        if len < PAGE_SIZE {
            return Err(PagingError::PoolExhausted);
        }
        Ok(Self { memory, root: base, next: base + PAGE_SIZE, end: base + len })
    }

    /// Address of the root table: the value for CR3.
    pub fn root(&self) -> u64 {
        self.root
    }

    /// Maps `len` bytes at `base` to themselves, with large pages where both ends allow it.
    ///
    /// # Errors
    /// See [`PagingError`]; on an error part of the range may be mapped.
    pub fn map(&mut self, base: u64, len: u64, allowed: u32) -> Result<(), PagingError> {
        let end = base.checked_add(len).ok_or(PagingError::BadRange)?;
        if !base.is_multiple_of(PAGE_SIZE) || !len.is_multiple_of(PAGE_SIZE) || end > 1 << 47 {
            return Err(PagingError::BadRange);
        }
        let leaf = leaf_bits(allowed)?;
        let mut at = base;
        while at < end {
            let directory = self.directory(at)?;
            let slot = directory + index(at, 21) * 8;
            if at.is_multiple_of(LARGE_PAGE_SIZE) && end - at >= LARGE_PAGE_SIZE {
                if self.memory.read(slot) & PRESENT != 0 {
                    return Err(PagingError::AlreadyMapped);
                }
                self.memory.write(slot, at | leaf | LARGE);
                at += LARGE_PAGE_SIZE;
                continue;
            }
            let table = self.descend(slot)?;
            let table_end = (at | (LARGE_PAGE_SIZE - 1)) + 1;
            let stop = if end < table_end { end } else { table_end };
            let mut entry = table + index(at, 12) * 8;
            while at < stop {
                if self.memory.read(entry) & PRESENT != 0 {
                    return Err(PagingError::AlreadyMapped);
                }
                self.memory.write(entry, at | leaf);
                entry += 8;
                at += PAGE_SIZE;
            }
        }
        Ok(())
    }

    fn directory(&mut self, at: u64) -> Result<u64, PagingError> {
        let pointers = self.descend(self.root + index(at, 39) * 8)?;
        self.descend(pointers + index(at, 30) * 8)
    }

    /// The table an entry points to, made if there is none. Rights are limited by the leaf alone.
    fn descend(&mut self, slot: u64) -> Result<u64, PagingError> {
        let entry = self.memory.read(slot);
        if entry & LARGE != 0 {
            return Err(PagingError::AlreadyMapped);
        }
        if entry & PRESENT != 0 {
            return Ok(entry & ADDRESS);
        }
        if self.next >= self.end {
            return Err(PagingError::PoolExhausted);
        }
        let table = self.next;
        self.next += PAGE_SIZE;
        self.memory.write(slot, table | PRESENT | WRITABLE | USER);
        Ok(table)
    }
}

/// Tables needed, at most, for mappings below `top` of which `small_ranges` ranges, `small_bytes` in
/// all, are not whole large pages.
#[must_use]
pub const fn tables_needed(top: u64, small_bytes: u64, small_ranges: u64) -> u64 {
    let directories = (top >> 30) + 1;
    let pointers = (top >> 39) + 1;
    // A range touches one table more than its length fills, at either end.
    let tables = small_bytes / LARGE_PAGE_SIZE + 2 * small_ranges;
    1 + pointers + directories + tables
}

const fn index(at: u64, shift: u32) -> u64 {
    (at >> shift) % ENTRIES
}

const fn leaf_bits(allowed: u32) -> Result<u64, PagingError> {
    if allowed & access::WRITE != 0 && allowed & access::EXECUTE != 0 {
        return Err(PagingError::WritableAndExecutable);
    }
    let mut bits = PRESENT;
    if allowed & access::WRITE != 0 {
        bits |= WRITABLE;
    }
    if allowed & access::EXECUTE == 0 {
        bits |= NO_EXECUTE;
    }
    if allowed & access::USER != 0 {
        bits |= USER;
    }
    if allowed & access::DEVICE != 0 {
        bits |= UNCACHED;
    }
    // Set beforehand, so that the processor never writes to the tables: the region of page tables only
    // changes when a mapping does.
    Ok(bits | ACCESSED | if allowed & access::WRITE != 0 { DIRTY } else { 0 })
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    extern crate std;
    use super::*;
    use std::collections::HashMap;

    #[derive(Default)]
    struct Memory(HashMap<u64, u64>);

    impl TableMemory for &mut Memory {
        fn read(&self, gpa: u64) -> u64 {
            self.0.get(&gpa).copied().unwrap_or(0)
        }
        fn write(&mut self, gpa: u64, entry: u64) {
            assert!(
                (POOL..POOL + 16 * PAGE_SIZE).contains(&gpa) && gpa.is_multiple_of(8),
                "write outside the pool: {gpa:#x}"
            );
            self.0.insert(gpa, entry);
        }
    }

    const POOL: u64 = 0x40_0000;

    /// Walks as the processor does; gives the physical address and the leaf.
    fn walk(memory: &Memory, at: u64) -> Option<(u64, u64)> {
        let mut table = POOL;
        for shift in [39, 30, 21, 12] {
            let entry = memory.0.get(&(table + index(at, shift) * 8)).copied().unwrap_or(0);
            if entry & PRESENT == 0 {
                return None;
            }
            if shift == 12 || entry & LARGE != 0 {
                let size = 1u64 << shift;
                return Some(((entry & ADDRESS & !(size - 1)) | (at & (size - 1)), entry));
            }
            table = entry & ADDRESS;
        }
        None
    }

    #[test]
    fn an_identity_mapping_maps_every_page_to_itself_and_nothing_else() {
        let mut memory = Memory::default();
        let mut mapper = Mapper::new(&mut memory, POOL, 16 * PAGE_SIZE).unwrap();
        mapper.map(0x10_0000, 0x3000, access::EXECUTE).unwrap();
        mapper.map(0x1f_f000, 0x60_2000, access::WRITE | access::USER).unwrap();
        for (at, mapped) in [
            (0x0f_f000, false),
            (0x10_0000, true),
            (0x10_2fff, true),
            (0x10_3000, false),
            (0x1f_f000, true),
            (0x20_0000, true),
            (0x7f_ffff, true),
            (0x80_0fff, true),
            (0x80_1000, false),
        ] {
            let found = walk(&memory, at);
            assert_eq!(found.map(|(physical, _)| physical), mapped.then_some(at), "at {at:#x}");
        }
        let text = walk(&memory, 0x10_0000).unwrap().1;
        assert_eq!(text & (WRITABLE | NO_EXECUTE | USER), 0);
        let large = walk(&memory, 0x40_0000).unwrap().1;
        assert_ne!(large & LARGE, 0);
        assert_eq!(large & (WRITABLE | NO_EXECUTE | USER), WRITABLE | NO_EXECUTE | USER);
    }

    #[test]
    fn writable_code_is_refused() {
        let mut memory = Memory::default();
        let mut mapper = Mapper::new(&mut memory, POOL, 16 * PAGE_SIZE).unwrap();
        let refused = mapper.map(0, PAGE_SIZE, access::WRITE | access::EXECUTE);
        assert_eq!(refused, Err(PagingError::WritableAndExecutable));
    }

    #[test]
    fn a_page_is_mapped_once() {
        let mut memory = Memory::default();
        let mut mapper = Mapper::new(&mut memory, POOL, 16 * PAGE_SIZE).unwrap();
        mapper.map(0, LARGE_PAGE_SIZE, access::WRITE).unwrap();
        assert_eq!(mapper.map(PAGE_SIZE, PAGE_SIZE, 0), Err(PagingError::AlreadyMapped));
        assert_eq!(mapper.map(0, LARGE_PAGE_SIZE, 0), Err(PagingError::AlreadyMapped));
    }

    #[test]
    fn an_empty_pool_is_an_error() {
        let mut memory = Memory::default();
        let mut mapper = Mapper::new(&mut memory, POOL, 2 * PAGE_SIZE).unwrap();
        assert_eq!(mapper.map(0, PAGE_SIZE, 0), Err(PagingError::PoolExhausted));
    }

    #[test]
    fn the_estimate_of_tables_is_enough() {
        for (base, len) in [(0x1000, 0x1000), (0x1f_f000, 0x2000), (0x3f_f000, 0x60_1000), (0, 0x20_0000)] {
            let mut memory = Memory::default();
            let needed = tables_needed(base + len, len, 1);
            let mut mapper = Mapper::new(&mut memory, POOL, needed * PAGE_SIZE).unwrap();
            mapper.map(base, len, 0).unwrap();
        }
    }
}
