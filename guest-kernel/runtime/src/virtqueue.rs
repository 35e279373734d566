//! The driver's side of a split virtqueue (virtio 1.3, 2.7), in memory shared with the device.
//!
//! Addresses are the runtime's own pointers: memory is mapped to itself.

use core::sync::atomic::{Ordering, fence};
use sentient_abi::layout::queues;

/// Descriptors of a queue.
pub const SIZE: u16 = queues::SIZE;

/// The device writes to the buffer (2.7.5).
const WRITE: u16 = 2;
/// The driver wants no interrupt (2.7.6), the device no notification (2.7.8): the first flag of either
/// ring.
const QUIET: u16 = 1;

/// A queue whose three areas lie in one zeroed page.
pub struct VirtQueue {
    page: u64,
    /// Register that the device watches for notifications.
    doorbell: u64,
    number: u32,
    next_available: u16,
    next_used: u16,
}

/// A buffer the device is done with.
#[derive(Clone, Copy)]
pub struct Used {
    /// The descriptor.
    pub id: u16,
    /// Bytes the device wrote.
    pub len: u32,
}

impl VirtQueue {
    /// A queue in the page at `page`, number `number` of the device whose registers are at `registers`.
    ///
    /// # Safety
    /// The page must be zero, mapped, used by nothing else, and known to the device as this queue.
    pub unsafe fn new(page: u64, registers: u64, number: u32) -> Self {
        // QueueNotify (4.2.2).
        Self { page, doorbell: registers + 0x50, number, next_available: 0, next_used: 0 }
    }

    fn word(&self, offset: u64) -> *mut u16 {
        (self.page + offset) as *mut u16
    }

    fn read(&self, offset: u64) -> u16 {
        // SAFETY: `new`'s contract; the offset is within the page at every call below.
        unsafe { self.word(offset).read_volatile() }
    }

    fn write(&mut self, offset: u64, value: u16) {
        // SAFETY: as in `read`.
        unsafe { self.word(offset).write_volatile(value) }
    }

    /// Hands the device a buffer under descriptor `id`.
    ///
    /// # Safety
    /// The buffer must stay valid, and if `writable` untouched, until the device has used it; `id` must
    /// not be in use.
    pub unsafe fn offer(&mut self, id: u16, address: u64, len: u32, writable: bool) {
        let id = id % SIZE;
        let descriptor = (self.page + u64::from(id) * 16) as *mut u64;
        let flags = if writable { WRITE } else { 0 };
        // SAFETY: within the descriptor area, 16 bytes an entry.
        unsafe {
            descriptor.write_volatile(address);
            descriptor.add(1).write_volatile(u64::from(len) | u64::from(flags) << 32);
        }
        self.write(queues::DRIVER_AREA + 4 + 2 * u64::from(self.next_available % SIZE), id);
        self.next_available = self.next_available.wrapping_add(1);
        // The device must see the entry before the index (2.7.13.3).
        fence(Ordering::Release);
        self.write(queues::DRIVER_AREA + 2, self.next_available);
    }

    /// Tells the device of new buffers, unless it says it is looking anyway.
    pub fn notify(&mut self) {
        // The index must be visible before the device's flag is read (2.7.13.4.1).
        fence(Ordering::SeqCst);
        if self.read(queues::DEVICE_AREA) & QUIET == 0 {
            // SAFETY: the device's register, mapped uncached.
            unsafe { (self.doorbell as *mut u32).write_volatile(self.number) }
        }
    }

    /// Takes a buffer the device is done with.
    pub fn take_used(&mut self) -> Option<Used> {
        if self.read(queues::DEVICE_AREA + 2) == self.next_used {
            return None;
        }
        fence(Ordering::Acquire);
        let entry =
            (self.page + queues::DEVICE_AREA + 4 + 8 * u64::from(self.next_used % SIZE)) as *const u32;
        // SAFETY: within the device area, 8 bytes an entry.
        let (id, len) = unsafe { (entry.read_volatile(), entry.add(1).read_volatile()) };
        self.next_used = self.next_used.wrapping_add(1);
        Some(Used { id: id as u16 % SIZE, len })
    }

    /// Whether a buffer waits to be taken.
    pub fn has_used(&self) -> bool {
        self.read(queues::DEVICE_AREA + 2) != self.next_used
    }

    /// Asks for interrupts, or for none. After asking, look once more before sleeping.
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.write(queues::DRIVER_AREA, if wanted { 0 } else { QUIET });
        fence(Ordering::SeqCst);
    }
}
