//! Disks, as far as keeping checkpoints takes them: one transfer at a time, looked at until it is over.
//!
//! Nothing is interrupted and nothing else runs meanwhile: who writes all that a machine is wants it to stand still. Everything is in pages
//! of 4 KiB, whatever the disk's sectors are; what does not lie on whole pages is not used.
//!
//! A driver trusts a device no further than the memory it gives it: what it reads from it is checked before it is used, and no wait is for ever.

mod ahci;
pub mod gpt;
mod nvme;
#[cfg(test)]
#[expect(clippy::panic, reason = "tests fail by panicking")]
mod tests;
mod virtio;

use crate::pci::{self, Configuration, Function};
use crate::registers::Registers;
pub use ahci::Ahci;
pub use nvme::Nvme;
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::RamRange;
use sentient_abi::region::access;
pub use virtio::VirtioDisk;

/// Pages of memory that a driver has for what it shares with its device.
pub const OWN_PAGES: u64 = 6;

/// Most pages of one transfer.
pub const MOST_PAGES: u32 = 32;

/// What became of a transfer that did not come about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskError {
    /// The device says that it failed.
    Failed,
    /// It has not answered.
    Silent,
    /// The place is beyond its end.
    Beyond,
}

/// Which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// From the disk to memory.
    Read,
    /// From memory to the disk.
    Write,
}

/// A transfer: so many pages of the disk from `first` on, from or to memory at `memory`, which is a multiple of a page.
#[derive(Clone, Copy, Debug)]
pub struct Transfer {
    /// Which way.
    pub direction: Direction,
    /// The first page on the disk.
    pub first: u64,
    /// The memory's address.
    pub memory: u64,
    /// How many pages; at most [`MOST_PAGES`].
    pub pages: u32,
}

/// A function that is a controller of disks, of one of the kinds below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controller {
    /// Where it is.
    pub function: Function,
    registers: u64,
}

impl Controller {
    /// Pages of its registers.
    const PAGES: u64 = 2;

    /// The controller, if a function is of this class, and has its registers where this base address register says.
    fn find(space: &impl Configuration, function: Function, class: u32, bar: u8) -> Option<Self> {
        let registers = pci::memory(space, function, bar).filter(|_| pci::class(space, function) == class)?;
        registers.is_multiple_of(PAGE_SIZE).then_some(Self { function, registers })
    }

    /// What is to be mapped for it.
    #[must_use]
    pub fn registers(&self) -> (RamRange, u32) {
        (RamRange { base: self.registers, len: Self::PAGES * PAGE_SIZE }, access::WRITE)
    }
}

/// A disk that is ready.
pub enum Disk {
    /// Of a VMM's.
    Virtio(VirtioDisk),
    /// On PCI Express.
    Nvme(Nvme),
    /// On SATA.
    Ahci(Ahci),
}

impl Disk {
    /// Whole pages that it has.
    #[must_use]
    pub fn pages(&self) -> u64 {
        match self {
            Self::Virtio(disk) => disk.pages(),
            Self::Nvme(disk) => disk.pages(),
            Self::Ahci(disk) => disk.pages(),
        }
    }

    /// Does one transfer.
    ///
    /// # Errors
    /// [`DiskError`]; of a read, any of the memory may have been written by then.
    pub fn transfer(&mut self, registers: &impl Registers, transfer: Transfer) -> Result<(), DiskError> {
        let end = transfer.first.checked_add(transfer.pages.into());
        if transfer.pages > MOST_PAGES || end.is_none_or(|end| end > self.pages()) {
            return Err(DiskError::Beyond);
        }
        if transfer.pages == 0 {
            return Ok(());
        }
        match self {
            Self::Virtio(disk) => disk.transfer(registers, transfer),
            Self::Nvme(disk) => disk.transfer(registers, transfer),
            Self::Ahci(disk) => disk.transfer(registers, transfer),
        }
    }

    /// Has all that was written stay, whatever happens from now on.
    ///
    /// # Errors
    /// [`DiskError`].
    pub fn flush(&mut self, registers: &impl Registers) -> Result<(), DiskError> {
        match self {
            Self::Virtio(disk) => disk.flush(registers),
            Self::Nvme(disk) => disk.flush(registers),
            Self::Ahci(disk) => disk.flush(registers),
        }
    }

    /// Has it do nothing any more.
    pub fn quiet(&self, space: &impl Configuration, registers: &impl Registers) {
        match self {
            // One that does not say that it has been reset is not used again either.
            Self::Virtio(disk) => _ = disk.reset(registers),
            Self::Nvme(disk) => disk.quiet(space, registers),
            Self::Ahci(disk) => disk.quiet(space, registers),
        }
    }
}

/// Sectors of a page, of a disk whose sectors have this many bytes; `None` if they do not make up pages.
fn sectors_of_page(sector_len: u64) -> Option<u64> {
    let fits = (512..=PAGE_SIZE).contains(&sector_len) && sector_len.is_power_of_two();
    fits.then(|| PAGE_SIZE / sector_len)
}

/// Fills pages with zeros.
fn clear(registers: &impl Registers, base: u64, pages: u64) {
    (0..pages * PAGE_SIZE).step_by(4).for_each(|at| registers.write32(base + at, 0));
}
