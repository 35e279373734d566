//! The driver of network cards of the family of Intel's 82574 (datasheet 317694, revision 3.4; chapter 10 has the registers, 7.1 and 7.2
//! the descriptors, of which the legacy ones are used here).

use crate::clock;
use crate::virtqueue::Used;
use core::sync::atomic::{Ordering, fence};

/// Registers.
mod register {
    pub const CONTROL: u64 = 0x0000;
    pub const CAUSES: u64 = 0x00c0;
    pub const SET_MASK: u64 = 0x00d0;
    pub const CLEAR_MASK: u64 = 0x00d8;
    pub const RECEIVE_CONTROL: u64 = 0x0100;
    pub const TRANSMIT_CONTROL: u64 = 0x0400;
    pub const GAP: u64 = 0x0410;
    pub const MULTICAST: u64 = 0x5200;
    pub const ADDRESS_LOW: u64 = 0x5400;
    pub const ADDRESS_HIGH: u64 = 0x5404;
}

/// Registers of a ring, from its own first one on.
mod ring {
    pub const RECEIVE: u64 = 0x2800;
    pub const TRANSMIT: u64 = 0x3800;
    pub const BASE_LOW: u64 = 0x00;
    pub const BASE_HIGH: u64 = 0x04;
    pub const LEN: u64 = 0x08;
    pub const HEAD: u64 = 0x10;
    pub const TAIL: u64 = 0x18;
}

/// Bits of the control register: the link is to come up by itself; reset.
const AUTO_SPEED: u32 = 1 << 5;
const LINK_UP: u32 = 1 << 6;
const RESET: u32 = 1 << 26;
/// Of receiving: on; broadcasts too; without the checksum at the end.
const RECEIVE: u32 = 1 << 1 | 1 << 15 | 1 << 26;
/// Of sending: on; short frames filled up; 15 attempts; 64 bytes of collision distance.
const TRANSMIT: u32 = 1 << 1 | 1 << 3 | 15 << 4 | 0x3f << 12;
/// Gaps between frames, as the datasheet has them (10.2.6.2).
const GAPS: u32 = 8 | 8 << 10 | 6 << 20;
/// Causes of interrupts: a frame has come, or there is hardly room for one, or none; a frame has left.
const HAS_RECEIVED: u32 = 1 << 7 | 1 << 6 | 1 << 4;
const HAS_SENT: u32 = 1 << 0;

/// Bits of a descriptor: the card is done with it; of one to send, as the command's: it is the frame's last one, gets a checksum, and
/// tells.
const DONE: u8 = 1;
const COMMAND: u8 = 1 | 1 << 1 | 1 << 3;

/// Descriptors of a ring; all but one can be the card's.
const LEN: u16 = 64;

/// How long a reset may take, in nanoseconds.
const PATIENCE_NS: u64 = 100_000_000;

/// A card.
#[derive(Clone, Copy)]
pub struct Card {
    registers: u64,
}

/// A ring of the card's, in a page.
pub struct Ring {
    card: Card,
    page: u64,
    /// Its registers, from the first one on.
    own: u64,
    /// Slots: the next one to be given, and the next one to come back.
    next: u16,
    oldest: u16,
    /// What the buffers in the slots are called.
    names: [u16; LEN as usize],
}

impl Card {
    /// A card that is reset, and does nothing yet; `None` if it does not come back from that.
    ///
    /// # Safety
    /// `registers` must be those of a card, mapped uncached, and used here alone.
    pub unsafe fn start(registers: u64) -> Option<Self> {
        let card = Self { registers };
        card.write(register::CLEAR_MASK, u32::MAX);
        card.write(register::CONTROL, card.read(register::CONTROL) | RESET);
        let begun = clock::monotonic_ns();
        loop {
            // It is not to be touched for a microsecond (10.2.2.1), which a read on its bus takes.
            let _ = card.read(register::CAUSES);
            if card.read(register::CONTROL) & RESET == 0 {
                break;
            }
            if clock::monotonic_ns().saturating_sub(begun) > PATIENCE_NS {
                return None;
            }
        }
        card.write(register::CLEAR_MASK, u32::MAX);
        card.write(register::CONTROL, card.read(register::CONTROL) | LINK_UP | AUTO_SPEED);
        for word in 0..128 {
            card.write(register::MULTICAST + 4 * word, 0);
        }
        Some(card)
    }

    /// Its hardware address, as it has loaded it from its own memory.
    pub fn hardware(self) -> [u8; 6] {
        let [a, b, c, d] = self.read(register::ADDRESS_LOW).to_le_bytes();
        let [e, f, ..] = self.read(register::ADDRESS_HIGH).to_le_bytes();
        [a, b, c, d, e, f]
    }

    /// The ring for what comes, and the one for what goes, in pages that are theirs; from here on it works.
    ///
    /// # Safety
    /// The pages must be zero, mapped, and used by nothing else.
    pub unsafe fn rings(self, receive: u64, transmit: u64) -> (Ring, Ring) {
        let rings = (self.ring(receive, ring::RECEIVE), self.ring(transmit, ring::TRANSMIT));
        self.write(register::GAP, GAPS);
        self.write(register::RECEIVE_CONTROL, RECEIVE);
        self.write(register::TRANSMIT_CONTROL, TRANSMIT);
        rings
    }

    fn ring(self, page: u64, own: u64) -> Ring {
        self.write(own + ring::BASE_LOW, page as u32);
        self.write(own + ring::BASE_HIGH, (page >> 32) as u32);
        self.write(own + ring::LEN, 16 * u32::from(LEN));
        self.write(own + ring::HEAD, 0);
        self.write(own + ring::TAIL, 0);
        Ring { card: self, page, own, next: 0, oldest: 0, names: [0; LEN as usize] }
    }

    fn read(self, register: u64) -> u32 {
        // SAFETY: a register of the card's (`start`'s contract); reading it changes nothing in memory.
        unsafe { ((self.registers + register) as *const u32).read_volatile() }
    }

    fn write(self, register: u64, value: u32) {
        // SAFETY: a register of the card's (`start`'s contract); it writes to the buffers that it is given, which nobody uses until it
        // has given them back.
        unsafe { ((self.registers + register) as *mut u32).write_volatile(value) }
    }
}

impl Ring {
    /// How many buffers can be the card's.
    pub fn len(&self) -> u16 {
        LEN - 1
    }

    /// Gives the card a buffer.
    ///
    /// # Safety
    /// The buffer must stay valid and untouched until it comes back, 2 KiB if it is to be written; no more than [`len`](Self::len) may
    /// be the card's.
    pub unsafe fn offer(&mut self, name: u16, address: u64, len: u32, writable: bool) {
        let slot = self.next % LEN;
        if let Some(kept) = self.names.get_mut(usize::from(slot)) {
            *kept = name;
        }
        let command = if writable { 0 } else { u64::from(COMMAND) << 24 | u64::from(len & 0xffff) };
        let descriptor = (self.page + 16 * u64::from(slot)) as *mut u64;
        // SAFETY: within the page, 16 bytes a descriptor; the slot is not the card's, which looks no further than the tail.
        unsafe {
            descriptor.write_volatile(address);
            descriptor.add(1).write_volatile(command);
        }
        self.next = (slot + 1) % LEN;
    }

    /// Tells the card of all that it was given.
    pub fn notify(&mut self) {
        // The descriptors must be there before it looks.
        fence(Ordering::SeqCst);
        self.card.write(self.own + ring::TAIL, self.next.into());
    }

    /// Whether a buffer waits to be taken.
    pub fn has_used(&self) -> bool {
        self.oldest != self.next && self.status() & DONE != 0
    }

    /// Takes a buffer that the card is done with.
    pub fn take_used(&mut self) -> Option<Used> {
        if !self.has_used() {
            return None;
        }
        fence(Ordering::Acquire);
        let slot = self.oldest % LEN;
        let at = (self.page + 16 * u64::from(slot) + 8) as *mut u16;
        // SAFETY: the descriptor's length, and its status, which the card is done with.
        let len = unsafe {
            let len = at.read_volatile();
            at.add(2).write_volatile(0);
            len
        };
        self.oldest = (slot + 1) % LEN;
        Some(Used { id: self.names.get(usize::from(slot)).copied().unwrap_or(0), len: len.into() })
    }

    /// Asks for interrupts, or for none. After asking, look once more before sleeping.
    pub fn want_interrupts(&mut self, wanted: bool) {
        let causes = if self.own == ring::RECEIVE { HAS_RECEIVED } else { HAS_SENT };
        if wanted {
            // What it has told of before, it does not tell of again until that was read.
            let _ = self.card.read(register::CAUSES);
        }
        self.card.write(if wanted { register::SET_MASK } else { register::CLEAR_MASK }, causes);
    }

    fn status(&self) -> u8 {
        let at = (self.page + 16 * u64::from(self.oldest % LEN) + 12) as *const u8;
        // SAFETY: within the page.
        unsafe { at.read_volatile() }
    }
}
