//! Virtio block devices (virtio 1.3, 5.2).

use super::{Direction, DiskError, Transfer, clear};
use crate::pci::Configuration;
use crate::registers::Registers;
use crate::virtio_pci::{BLOCK_FLUSH, Transport};
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::queues;

/// Bytes of a sector of the protocol's, whatever the disk's are (5.2.4).
const SECTOR: u64 = 512;

/// Types of requests, and the status of one that was done (5.2.6).
const READ: u32 = 0;
const WRITE: u32 = 1;
const FLUSH: u32 = 4;
const DONE: u8 = 0;
/// No status: what the driver puts there.
const UNDECIDED: u8 = 0xff;

/// Flags of descriptors: another one follows; the device writes (2.7.5).
const NEXT: u16 = 1;
const DEVICE_WRITES: u16 = 2;

/// Bytes of a request's head.
const HEAD_LEN: u32 = 16;

/// One that is ready.
pub struct VirtioDisk {
    transport: Transport,
    doorbell: u64,
    /// The queue's page; the one behind it has the request's head and status.
    queue: u64,
    queue_len: u16,
    /// Requests made so far, as the queue counts them.
    made: u16,
    pages: u64,
    has_cache: bool,
}

impl VirtioDisk {
    /// Makes it ready, with two pages at `own`; `None` if it does not do what it should, or cannot be written to.
    #[must_use]
    pub fn start(
        transport: &Transport,
        space: &impl Configuration,
        registers: &impl Registers,
        own: u64,
    ) -> Option<Self> {
        clear(registers, own, 2);
        let (found, agreed) = transport.adopt(space, registers, own, None)?;
        let [doorbell, _] = found.doorbells;
        let bytes = u64::from_le_bytes(found.config).checked_mul(SECTOR)?;
        let disk = Self {
            transport: *transport,
            doorbell,
            queue: own,
            queue_len: found.queue_len,
            made: 0,
            pages: bytes / PAGE_SIZE,
            has_cache: agreed & BLOCK_FLUSH != 0,
        };
        // A request has three descriptors.
        (disk.queue_len >= 4).then_some(disk)
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn reset(&self, registers: &impl Registers) -> bool {
        self.transport.reset(registers)
    }

    pub(super) fn transfer(
        &mut self,
        registers: &impl Registers,
        transfer: Transfer,
    ) -> Result<(), DiskError> {
        let Transfer { direction, first, memory, pages } = transfer;
        let (kind, flags) = match direction {
            Direction::Read => (READ, DEVICE_WRITES),
            Direction::Write => (WRITE, 0),
        };
        let data = (memory, pages * PAGE_SIZE as u32, flags);
        self.ask(registers, kind, first * (PAGE_SIZE / SECTOR), Some(data))
    }

    pub(super) fn flush(&mut self, registers: &impl Registers) -> Result<(), DiskError> {
        // Without a cache, what was written is there (5.2.5.2).
        if self.has_cache { self.ask(registers, FLUSH, 0, None) } else { Ok(()) }
    }

    fn ask<R: Registers>(
        &mut self,
        registers: &R,
        kind: u32,
        sector: u64,
        data: Option<(u64, u32, u16)>,
    ) -> Result<(), DiskError> {
        let head = self.queue + PAGE_SIZE;
        let status = head + u64::from(HEAD_LEN);
        registers.write32(head, kind);
        registers.write32(head + 4, 0);
        registers.write64(head + 8, sector);
        registers.write8(status, UNDECIDED);
        let parts = [Some((head, HEAD_LEN, 0)), data, Some((status, 1, DEVICE_WRITES))];
        let last = parts.iter().flatten().count() as u16 - 1;
        for (number, (address, len, flags)) in (0u16..).zip(parts.into_iter().flatten()) {
            let at = self.queue + 16 * u64::from(number);
            registers.write64(at, address);
            registers.write32(at + 8, len);
            registers.write16(at + 12, if number < last { flags | NEXT } else { flags });
            registers.write16(at + 14, number + 1);
        }
        let driver = self.queue + queues::DRIVER_AREA;
        registers.write16(driver + 4 + 2 * u64::from(self.made % self.queue_len), 0);
        self.made = self.made.wrapping_add(1);
        registers.write16(driver + 2, self.made);
        registers.write16(self.doorbell, 0);
        let used = self.queue + queues::DEVICE_AREA + 2;
        for _ in 0..R::PATIENCE {
            // By a register, and so not for nothing: each look takes its time.
            let failed = self.transport.has_failed(registers);
            if registers.read16(used) == self.made {
                let done = registers.read8(status) == DONE;
                return if done { Ok(()) } else { Err(DiskError::Failed) };
            }
            if failed {
                return Err(DiskError::Failed);
            }
        }
        Err(DiskError::Silent)
    }
}
