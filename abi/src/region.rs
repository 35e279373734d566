//! The region table: guest memory as at most 128 named, page-aligned ranges.
//!
//! The table lies in guest memory, in pages of its own whose address the
//! [kernel header](crate::kernel_header) gives. Whoever makes the page tables (the VMM, or the nucleus
//! under a foreign loader) fills it; the runtime adds and removes containers' regions. It never
//! does so halfway: a page that changes hands lies in both regions for a moment, not in none. What lies in no
//! region belongs to nobody and is never read.

use crate::PAGE_SIZE;

/// Most regions of a machine: enough for 48 containers with an image each.
pub const MAX_REGIONS: usize = 128;

/// Bytes of the pages that hold a table.
pub const TABLE_LEN: u64 = (size_of::<RegionTable>() as u64).next_multiple_of(PAGE_SIZE);

/// Bytes of a region's name; shorter names end with zeros.
pub const NAME_LEN: usize = 16;

/// First field of a table: `"SENTRGNS"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SENTRGNS");

/// What a region may be used for: bits of [`Region::access`].
pub mod access {
    /// The pages may be written.
    pub const WRITE: u32 = 1;
    /// The pages may be executed. Never together with [`WRITE`].
    pub const EXECUTE: u32 = 2;
    /// Ring 3 may use the pages.
    pub const USER: u32 = 4;
    /// Device registers: not cached.
    pub const DEVICE: u32 = 8;
}

/// What a region holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum RegionKind {
    /// An unused slot of the table.
    Free = 0,
    /// The nucleus' code.
    NucleusText = 1,
    /// The kernel header and the nucleus' constants.
    NucleusConstants = 2,
    /// The nucleus' variables and stacks.
    NucleusData = 3,
    /// The pages that hold this table.
    RegionTable = 4,
    /// The runtime's code.
    RuntimeText = 5,
    /// The runtime's constants.
    RuntimeConstants = 6,
    /// The runtime's variables.
    RuntimeData = 7,
    /// The runtime's stack.
    RuntimeStack = 8,
    /// The page tables.
    PageTables = 9,
    /// Rings and buffers shared with devices.
    DeviceBuffers = 10,
    /// The runtime's heap.
    Heap = 11,
    /// The boot module: configuration and compiled images.
    BootModule = 12,
    /// Memory no container owns yet.
    Unassigned = 13,
    /// All that is one container's: its configuration and files, its memory, its heap and its stack; `owner` is its
    /// index.
    Container = 14,
    /// Memory below 1 MiB: what the loader hands over lies there.
    LoaderData = 15,
    /// The [time page](crate::time_page).
    Time = 16,
    /// A boot module that was loaded while the machine runs: a compiled image, which any number of containers run;
    /// `owner` is its number. Its code is executable, and nothing of it can be written. The region's
    /// [name](image_name) is of its digest.
    Image = 17,
    /// What was in a container's region at one moment, on a machine without a VMM of ours; `owner` is the container's index.
    Checkpoint = 18,
}

impl RegionKind {
    /// The kind of a number, if there is such a kind.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            0 => Self::Free,
            1 => Self::NucleusText,
            2 => Self::NucleusConstants,
            3 => Self::NucleusData,
            4 => Self::RegionTable,
            5 => Self::RuntimeText,
            6 => Self::RuntimeConstants,
            7 => Self::RuntimeData,
            8 => Self::RuntimeStack,
            9 => Self::PageTables,
            10 => Self::DeviceBuffers,
            11 => Self::Heap,
            12 => Self::BootModule,
            13 => Self::Unassigned,
            14 => Self::Container,
            15 => Self::LoaderData,
            16 => Self::Time,
            17 => Self::Image,
            18 => Self::Checkpoint,
            _ => return None,
        })
    }

    /// The name people see.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Free => "free",
            Self::NucleusText => "nucleus-text",
            Self::NucleusConstants => "nucleus-const",
            Self::NucleusData => "nucleus-data",
            Self::RegionTable => "region-table",
            Self::RuntimeText => "runtime-text",
            Self::RuntimeConstants => "runtime-const",
            Self::RuntimeData => "runtime-data",
            Self::RuntimeStack => "runtime-stack",
            Self::PageTables => "page-tables",
            Self::DeviceBuffers => "device-buffers",
            Self::Heap => "heap",
            Self::BootModule => "boot-module",
            Self::Unassigned => "unassigned",
            Self::Container => "container",
            Self::LoaderData => "loader-data",
            Self::Time => "time",
            Self::Image => "image",
            Self::Checkpoint => "checkpoint",
        }
    }
}

/// One range of pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Region {
    /// The name, padded with zeros.
    pub name: [u8; NAME_LEN],
    /// First guest physical address, page-aligned.
    pub base: u64,
    /// Length in bytes, whole pages.
    pub len: u64,
    /// A [`RegionKind`].
    pub kind: u32,
    /// Bits of [`access`].
    pub access: u32,
    /// Index of the container, for [`RegionKind::Container`], or number of the image, for
    /// [`RegionKind::Image`].
    pub owner: u32,
    /// Zero.
    pub reserved: u32,
}

impl Region {
    /// A slot with nothing in it.
    pub const FREE: Self =
        Self { name: [0; NAME_LEN], base: 0, len: 0, kind: 0, access: 0, owner: 0, reserved: 0 };

    /// Its name, as far as it is one: the table's memory is the guest's.
    #[must_use]
    pub fn name(&self) -> &str {
        let name = self.name.split(|byte| *byte == 0).next().unwrap_or_default();
        core::str::from_utf8(name).unwrap_or("?")
    }

    /// First address past the region; `None` if it wraps.
    #[must_use]
    pub const fn end(&self) -> Option<u64> {
        self.base.checked_add(self.len)
    }
}

/// The table.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct RegionTable {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`](crate::ABI_VERSION).
    pub abi_version: u32,
    /// Slots in use from the first.
    pub count: u32,
    /// The slots.
    pub regions: [Region; MAX_REGIONS],
}

const _: () = assert!(size_of::<Region>() == 48);
const _: () = assert!(size_of::<RegionTable>() == 16 + 48 * MAX_REGIONS);

impl RegionTable {
    /// A table without regions.
    #[must_use]
    pub const fn new() -> Self {
        Self { magic: MAGIC, abi_version: crate::ABI_VERSION, count: 0, regions: [Region::FREE; MAX_REGIONS] }
    }

    /// Takes the region in slot `index` out; those behind it move up.
    pub fn remove(&mut self, index: usize) {
        let count = (self.count as usize).min(MAX_REGIONS);
        if index >= count {
            return;
        }
        self.regions.copy_within(index + 1..count, index);
        self.count = count as u32 - 1;
        if let Some(last) = self.regions.get_mut(count - 1) {
            *last = Region::FREE;
        }
    }

    /// Adds a region; `None` if the table is full.
    #[must_use]
    pub fn push(&mut self, kind: RegionKind, base: u64, len: u64, access: u32) -> Option<()> {
        let slot = self.regions.get_mut(self.count as usize)?;
        *slot = Region {
            name: padded_name(kind.name()),
            base,
            len,
            kind: kind as u32,
            access,
            owner: 0,
            reserved: 0,
        };
        self.count += 1;
        Some(())
    }

    /// The regions in use.
    pub fn iter(&self) -> impl Iterator<Item = &Region> {
        self.regions.iter().take(self.count as usize)
    }

    /// The first region of a kind.
    #[must_use]
    pub fn find(&self, kind: RegionKind) -> Option<&Region> {
        self.iter().find(|region| region.kind == kind as u32)
    }
}

impl Default for RegionTable {
    fn default() -> Self {
        Self::new()
    }
}

/// A region's name as it is stored.
#[must_use]
pub fn padded_name(name: &str) -> [u8; NAME_LEN] {
    let mut padded = [0; NAME_LEN];
    for (to, from) in padded.iter_mut().zip(name.bytes()) {
        *to = from;
    }
    padded
}

/// The name of an image's region: two images that differ have different ones (of 2^40).
#[must_use]
pub fn image_name(digest: &[u8; 32]) -> [u8; NAME_LEN] {
    let hex = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
    let nibbles = digest.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let mut name = padded_name("image-");
    for (to, nibble) in name.iter_mut().skip("image-".len()).zip(nibbles) {
        *to = hex(nibble);
    }
    name
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_an_image_is_the_beginning_of_its_digest() {
        let mut digest = [0; 32];
        digest[..5].copy_from_slice(&[0x01, 0xab, 0xcd, 0xef, 0x90]);
        assert_eq!(&image_name(&digest), b"image-01abcdef90");
    }

    #[test]
    fn a_region_taken_out_leaves_the_others_in_order() {
        let mut table = RegionTable::new();
        for base in 0..MAX_REGIONS as u64 {
            table.push(RegionKind::Container, base * PAGE_SIZE, PAGE_SIZE, access::USER).unwrap();
        }
        assert_eq!(table.push(RegionKind::Container, 0, PAGE_SIZE, 0), None, "it is full");
        table.remove(MAX_REGIONS);
        table.remove(1);
        assert_eq!(table.count as usize, MAX_REGIONS - 1);
        assert!(
            table
                .iter()
                .map(|region| region.base)
                .eq((0..MAX_REGIONS as u64).filter(|base| *base != 1).map(|base| base * PAGE_SIZE))
        );
        assert_eq!(table.regions[MAX_REGIONS - 1], Region::FREE);
    }
}
