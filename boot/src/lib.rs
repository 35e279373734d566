//! How the kernel is entered, and what the loader hands over.
//!
//! Two protocols, one result. A loader jumps to one of the entry points in `entry` (feature `entry`,
//! linked by the nucleus alone), which calls the nucleus with the protocol's number and the address of
//! the protocol's structure. [`pvh`] and [`linux64`] read those structures into a [`Handover`]; the VMM
//! uses the same modules' constants to write them.
//!
//! Invariants: reading never panics and never follows a pointer out of the caller's sight (the caller
//! supplies memory through [`PhysicalMemory`]); no SSE, no allocation.
#![no_std]

#[cfg(feature = "entry")]
#[expect(unsafe_code, reason = "an entry point is assembly: there is no stack for anything else yet")]
mod entry;
pub mod linux64;
pub mod pvh;

use sentient_abi::layout::RamRange;

/// Protocol number of PVH, as the entry point passes it.
pub const PROTOCOL_PVH: u64 = 1;
/// Protocol number of the Linux 64-bit boot protocol, as the entry point passes it.
pub const PROTOCOL_LINUX64: u64 = 2;

/// Most RAM ranges kept; a loader's further ones are ignored.
pub const MAX_RAM_RANGES: usize = 8;

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

/// What a loader handed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handover {
    /// Usable RAM; the first `ram_count` are valid.
    ram: [RamRange; MAX_RAM_RANGES],
    ram_count: usize,
    /// The boot module (PVH's first module, Linux's initial RAM disk).
    pub module: Option<RamRange>,
}

impl Handover {
    /// Nothing yet.
    #[must_use]
    pub const fn empty() -> Self {
        Self { ram: [RamRange { base: 0, len: 0 }; MAX_RAM_RANGES], ram_count: 0, module: None }
    }

    /// Adds a range of RAM; ranges past [`MAX_RAM_RANGES`] are dropped.
    pub fn push_ram(&mut self, range: RamRange) {
        if let Some(slot) = self.ram.get_mut(self.ram_count) {
            *slot = range;
            self.ram_count += 1;
        }
    }

    /// The ranges of RAM.
    #[must_use]
    pub fn ram(&self) -> &[RamRange] {
        self.ram.get(..self.ram_count).unwrap_or(&[])
    }
}
