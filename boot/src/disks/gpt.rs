//! Which part of a disk is given to checkpoints: the partition of a type of its own (GUID partition table: UEFI specification 2.10, 5.3).
//!
//! A disk without such a partition is never written to.

use super::{Direction, Disk, DiskError, Transfer};
use crate::registers::Registers;
use sentient_abi::PAGE_SIZE;

/// [`PARTITION_TYPE`](sentient_abi::kept::PARTITION_TYPE) as it is stored: numbers of the first three groups have their lowest byte first.
pub(super) const STORED_TYPE: [u8; 16] =
    [0x17, 0x1e, 0x47, 0x5e, 0xc8, 0x05, 0x0b, 0x4b, 0x9d, 0x1c, 0xc4, 0xec, 0x4b, 0x01, 0x7a, 0x0e];

/// The header's first field, its usual length (5.3.2), and the longest that is read.
const SIGNATURE: u64 = u64::from_le_bytes(*b"EFI PART");
const HEADER_LEN: u32 = 92;
/// Bytes of an entry, and most entries that are looked at. Tables that have other ones are rare, and left alone.
const ENTRY_LEN: u32 = 128;
const MOST_ENTRIES: u32 = 1024;

/// A part of a disk, in pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The first one.
    pub first: u64,
    /// How many.
    pub pages: u64,
}

/// The partition for checkpoints, if the disk has one; a page at `page` is for what is read.
///
/// # Errors
/// [`DiskError`], if the disk cannot be read.
pub fn find(disk: &mut Disk, registers: &impl Registers, page: u64) -> Result<Option<Partition>, DiskError> {
    // The header is in the second sector, whatever length that is.
    for sector_len in [512, PAGE_SIZE] {
        let mut table = Table { disk, registers, page, held: None };
        let found = table.find(sector_len)?;
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// A table that is being read, by the page.
struct Table<'a, R> {
    disk: &'a mut Disk,
    registers: &'a R,
    page: u64,
    /// The page of the disk that is in memory.
    held: Option<u64>,
}

impl<R: Registers> Table<'_, R> {
    fn find(&mut self, sector_len: u64) -> Result<Option<Partition>, DiskError> {
        let header = sector_len;
        let Some(mut crc) = self.header_checksum(header)? else { return Ok(None) };
        let own = self.u32(header + 16)?;
        if crc.finish() != own {
            return Ok(None);
        }
        let entries = self.u64(header + 72)?.checked_mul(sector_len);
        let (count, len) = (self.u32(header + 80)?, self.u32(header + 84)?);
        let Some(entries) = entries.filter(|_| len == ENTRY_LEN && count <= MOST_ENTRIES) else {
            return Ok(None);
        };
        let wanted = self.u32(header + 88)?;
        let (mut found, mut type_matches) = (None, false);
        crc = Crc32::default();
        for at in 0..u64::from(count * len) {
            let Some(place) = entries.checked_add(at) else { return Ok(None) };
            let byte = self.u8(place)?;
            crc.add(byte);
            let within = at % u64::from(len);
            if let Some(kind) = STORED_TYPE.get(within as usize) {
                type_matches = (within == 0 || type_matches) && byte == *kind;
            }
            if within == u64::from(len) - 1 && type_matches && found.is_none() {
                found = Some(place + 1 - u64::from(len));
            }
        }
        let Some(entry) = found.filter(|_| crc.finish() == wanted) else { return Ok(None) };
        let (first, last) = (self.u64(entry + 32)?, self.u64(entry + 40)?);
        Ok(self.pages(first, last, sector_len))
    }

    /// The sum of a header's bytes, its own sum taken as zeros; `None` if it is no header.
    fn header_checksum(&mut self, header: u64) -> Result<Option<Crc32>, DiskError> {
        if self.u64(header)? != SIGNATURE || self.u32(header + 12)? != HEADER_LEN {
            return Ok(None);
        }
        let mut crc = Crc32::default();
        for at in 0..u64::from(HEADER_LEN) {
            let byte = self.u8(header + at)?;
            crc.add(if (16..20).contains(&at) { 0 } else { byte });
        }
        Ok(Some(crc))
    }

    /// Whole pages of the sectors from the first to the last one.
    fn pages(&self, first: u64, last: u64, sector_len: u64) -> Option<Partition> {
        let start = first.checked_mul(sector_len)?;
        let end = last.checked_add(1)?.checked_mul(sector_len)?;
        let partition = Partition {
            first: start / PAGE_SIZE,
            pages: (end / PAGE_SIZE).checked_sub(start.div_ceil(PAGE_SIZE))?,
        };
        // What begins amid a page would have the disk write more than is asked for; what is the table's own is nobody's.
        let is_usable = start.is_multiple_of(PAGE_SIZE) && partition.first > 0;
        let fits = partition.first.checked_add(partition.pages)? <= self.disk.pages();
        (is_usable && fits).then_some(partition)
    }

    fn u8(&mut self, place: u64) -> Result<u8, DiskError> {
        let first = place / PAGE_SIZE;
        if self.held != Some(first) {
            self.held = None;
            let transfer = Transfer { direction: Direction::Read, first, memory: self.page, pages: 1 };
            self.disk.transfer(self.registers, transfer)?;
            self.held = Some(first);
        }
        Ok(self.registers.read8(self.page + place % PAGE_SIZE))
    }

    fn u32(&mut self, place: u64) -> Result<u32, DiskError> {
        let bytes = [self.u8(place)?, self.u8(place + 1)?, self.u8(place + 2)?, self.u8(place + 3)?];
        Ok(u32::from_le_bytes(bytes))
    }

    fn u64(&mut self, place: u64) -> Result<u64, DiskError> {
        Ok(u64::from(self.u32(place)?) | u64::from(self.u32(place + 4)?) << 32)
    }
}

/// The sum of 32 bits that such tables have (5.3.2; the one of IEEE 802.3), bit by bit: there are no more than some KiB.
pub(super) struct Crc32(u32);

impl Default for Crc32 {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl Crc32 {
    pub(super) fn add(&mut self, byte: u8) {
        self.0 ^= u32::from(byte);
        for _ in 0..8 {
            self.0 = self.0 >> 1 ^ if self.0 & 1 != 0 { 0xedb8_8320 } else { 0 };
        }
    }

    pub(super) fn finish(&self) -> u32 {
        !self.0
    }
}
