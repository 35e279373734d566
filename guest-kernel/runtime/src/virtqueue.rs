//! The driver's side of a split virtqueue (virtio 1.3, 2.7), in memory shared with the device.
//!
//! Addresses are the runtime's own pointers: memory is mapped to itself.

use core::sync::atomic::{Ordering, fence};
use sentient_abi::layout::queues;

/// Descriptors of a queue of our VMM's devices.
pub const SIZE: u16 = queues::SIZE;

/// Another descriptor follows (2.7.5).
const NEXT: u16 = 1;
/// The device writes to the buffer.
const WRITE: u16 = 2;
/// The driver wants no interrupt (2.7.6), the device no notification (2.7.8): the first flag of either
/// ring.
const QUIET: u16 = 1;

/// The register by which a device is told of new buffers.
#[derive(Clone, Copy)]
pub enum Doorbell {
    /// Of 32 bits (4.2.3.3).
    Mmio(u64),
    /// Of 16 bits (4.1.5.2).
    Pci(u64),
}

/// A queue whose three areas lie in one zeroed page.
pub struct VirtQueue {
    page: u64,
    doorbell: Doorbell,
    number: u16,
    /// Descriptors, a power of two.
    len: u16,
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
    /// A queue of `len` descriptors in the page at `page`, number `number` of a device that is told by `doorbell`.
    ///
    /// # Safety
    /// The page must be zero, mapped, used by nothing else, and known to the device as this queue; the doorbell must be the device's.
    pub unsafe fn new(page: u64, doorbell: Doorbell, number: u16, len: u16) -> Self {
        Self { page, doorbell, number, len: len.clamp(1, SIZE), next_available: 0, next_used: 0 }
    }

    /// How many descriptors it has.
    pub fn len(&self) -> u16 {
        self.len
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

    /// Hands the device a buffer to read and one to write, under descriptors `2 * pair` and `2 * pair + 1`: addresses and
    /// lengths. It comes back as the first of the two.
    ///
    /// # Safety
    /// Both must stay valid, and untouched, until the device has used them; `pair` must be below half of [`len`](Self::len) and not
    /// be in use.
    pub unsafe fn offer_pair(&mut self, pair: u16, read: (u64, u32), write: (u64, u32)) {
        let (first, second) = (2 * pair % self.len, (2 * pair + 1) % self.len);
        // SAFETY: the caller's contract.
        unsafe {
            self.describe(second, write.0, write.1, WRITE, 0);
            self.describe(first, read.0, read.1, NEXT, second);
        }
        self.make_available(first);
    }

    /// Hands the device a buffer under descriptor `id`.
    ///
    /// # Safety
    /// The buffer must stay valid, and if `writable` untouched, until the device has used it; `id` must
    /// not be in use.
    pub unsafe fn offer(&mut self, id: u16, address: u64, len: u32, writable: bool) {
        let id = id % self.len;
        // SAFETY: the caller's contract.
        unsafe { self.describe(id, address, len, if writable { WRITE } else { 0 }, 0) }
        self.make_available(id);
    }

    /// Writes a descriptor (2.7.5).
    ///
    /// # Safety
    /// As [`offer`](Self::offer), once it is made available; `id` must be below [`len`](Self::len).
    unsafe fn describe(&mut self, id: u16, address: u64, len: u32, flags: u16, next: u16) {
        let descriptor = (self.page + u64::from(id) * 16) as *mut u64;
        let rest = u64::from(len) | u64::from(flags) << 32 | u64::from(next) << 48;
        // SAFETY: within the descriptor area, 16 bytes an entry.
        unsafe {
            descriptor.write_volatile(address);
            descriptor.add(1).write_volatile(rest);
        }
    }

    fn make_available(&mut self, id: u16) {
        self.write(queues::DRIVER_AREA + 4 + 2 * u64::from(self.next_available % self.len), id);
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
            // SAFETY: the device's register, mapped uncached (`new`'s contract).
            unsafe {
                match self.doorbell {
                    Doorbell::Mmio(register) => (register as *mut u32).write_volatile(self.number.into()),
                    Doorbell::Pci(register) => (register as *mut u16).write_volatile(self.number),
                }
            }
        }
    }

    /// Takes a buffer the device is done with.
    pub fn take_used(&mut self) -> Option<Used> {
        if self.read(queues::DEVICE_AREA + 2) == self.next_used {
            return None;
        }
        fence(Ordering::Acquire);
        let entry =
            (self.page + queues::DEVICE_AREA + 4 + 8 * u64::from(self.next_used % self.len)) as *const u32;
        // SAFETY: within the device area, 8 bytes an entry.
        let (id, len) = unsafe { (entry.read_volatile(), entry.add(1).read_volatile()) };
        self.next_used = self.next_used.wrapping_add(1);
        Some(Used { id: id as u16 % self.len, len })
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
