//! How the kernel is entered, and what the loader hands over.
//!
//! Three protocols, one result ([`protocol`]). A loader jumps to one of the entry points in `entry` (feature `entry`,
//! linked by the nucleus alone), which calls the nucleus with the protocol's number and the address of
//! the protocol's structure. [`pvh`], [`linux64`] and [`multiboot2`] read from those structures where the boot module is, and
//! [`Ram`], which a kernel with finished page tables never asks for; the VMM uses the first two modules'
//! constants to write them.
//!
//! Of a machine that is not ours, [`acpi`] tells how it is switched off, and [`pci`], [`virtio_pci`] and [`e1000e`] what devices it has.
//!
//! Invariants: reading never panics and never follows a pointer out of the caller's sight (the caller
//! supplies memory through [`PhysicalMemory`]); no SSE, no allocation.
#![no_std]

pub mod acpi;
pub mod disks;
pub mod e1000e;
#[cfg(feature = "entry")]
#[expect(unsafe_code, reason = "an entry point is assembly: there is no stack for anything else yet")]
mod entry;
pub mod linux64;
pub mod multiboot2;
pub mod pci;
pub mod protocol;
pub mod pvh;
pub mod registers;
pub mod virtio_pci;

use sentient_abi::layout::RamRange;

/// Protocol number of PVH, as the entry point passes it.
pub const PROTOCOL_PVH: u64 = 1;
/// Protocol number of the Linux 64-bit boot protocol, as the entry point passes it.
pub const PROTOCOL_LINUX64: u64 = 2;

/// Protocol number of Multiboot2, as the entry point passes it.
pub const PROTOCOL_MULTIBOOT2: u64 = 3;

/// Most RAM ranges kept; a loader's further ones are ignored. Firmware leaves a dozen or two.
pub const MAX_RAM_RANGES: usize = 32;

/// Guest physical memory at boot.
pub trait PhysicalMemory {
    /// Reads the little-endian 32-bit word at `gpa`; `None` outside of memory.
    fn read_u32(&self, gpa: u64) -> Option<u32>;

    /// Reads the little-endian 64-bit word at `gpa`; `None` outside of memory.
    fn read_u64(&self, gpa: u64) -> Option<u64> {
        let low = u64::from(self.read_u32(gpa)?);
        let high = u64::from(self.read_u32(gpa.checked_add(4)?)?);
        Some(low | high << 32)
    }
}

/// Usable RAM, as a loader tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ram {
    /// The first `count` are valid.
    ranges: [RamRange; MAX_RAM_RANGES],
    count: usize,
}

impl Ram {
    /// None yet.
    #[must_use]
    pub const fn none() -> Self {
        Self { ranges: [RamRange { base: 0, len: 0 }; MAX_RAM_RANGES], count: 0 }
    }

    /// Adds a range; those past [`MAX_RAM_RANGES`] are dropped.
    pub fn push(&mut self, range: RamRange) {
        if let Some(slot) = self.ranges.get_mut(self.count) {
            *slot = range;
            self.count += 1;
        }
    }

    /// The ranges.
    #[must_use]
    pub fn ranges(&self) -> &[RamRange] {
        self.ranges.get(..self.count).unwrap_or(&[])
    }
}
