//! Output: a ring of bytes that the device reads frames from.

use crate::virtqueue::{SIZE, VirtQueue};
use alloc::collections::VecDeque;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};

/// Bytes of the ring.
pub const RING_LEN: u64 = 256 << 10;

/// Longest payload of one frame: a quarter of the ring, so that the device works on one while the
/// container fills the next.
const MAX_PAYLOAD: u64 = 64 << 10;

/// Below this much room a write waits instead of going out in crumbs.
const MIN_PAYLOAD: u64 = 512;

/// The ring.
pub struct Output {
    queue: VirtQueue,
    base: u64,
    /// Where the next frame goes.
    head: u64,
    /// Bytes in use, from the oldest frame to `head`, the gap at the ring's end included.
    used: u64,
    /// Lengths of the frames the device has, oldest first; it gives them back in order.
    frames: VecDeque<u64>,
    next_id: u16,
}

impl Output {
    /// A ring at `base`, behind a queue.
    pub fn new(queue: VirtQueue, base: u64) -> Self {
        let mut queue = queue;
        queue.want_interrupts(false);
        Self { queue, base, head: 0, used: 0, frames: VecDeque::with_capacity(usize::from(SIZE)), next_id: 0 }
    }

    /// Sends one frame with as much of `bytes` as there is room for; gives how much that is.
    pub fn write(&mut self, kind: FrameKind, container: u32, bytes: &[u8]) -> usize {
        let len = (bytes.len() as u64).min(self.room() as u64) as usize;
        let Some(payload) = bytes.get(..len) else { return 0 };
        if payload.is_empty() {
            return 0;
        }
        self.send(kind, container, 0, payload);
        len
    }

    /// Sends one frame with all of `payload`; `false` if there is no room now.
    pub fn send_whole(&mut self, kind: FrameKind, container: u32, argument: u32, payload: &[u8]) -> bool {
        if payload.is_empty() {
            return self.send_empty(kind, container, argument);
        }
        if self.room() < payload.len() {
            return false;
        }
        self.send(kind, container, argument, payload);
        true
    }

    /// Sends a frame without payload; `false` if there is no room now.
    pub fn send_empty(&mut self, kind: FrameKind, container: u32, argument: u32) -> bool {
        self.reclaim();
        if self.frames.len() >= usize::from(SIZE) || self.contiguous() < HEADER_LEN as u64 {
            return false;
        }
        self.send(kind, container, argument, &[]);
        true
    }

    /// Payload that one frame could carry now.
    pub fn room(&mut self) -> usize {
        self.reclaim();
        if self.frames.len() >= usize::from(SIZE) {
            return 0;
        }
        let room = self.contiguous().saturating_sub(HEADER_LEN as u64).min(MAX_PAYLOAD);
        if room < MIN_PAYLOAD { 0 } else { room as usize }
    }

    /// Whether the device has everything.
    pub fn is_empty(&mut self) -> bool {
        self.reclaim();
        self.frames.is_empty()
    }

    /// Whether the device has given something back.
    pub fn has_news(&self) -> bool {
        self.queue.has_used()
    }

    /// See [`VirtQueue::want_interrupts`].
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.queue.want_interrupts(wanted);
    }

    /// Bytes in one piece at `head`, after moving `head` to the start if that has more.
    fn contiguous(&mut self) -> u64 {
        if self.used == 0 {
            self.head = 0;
            return RING_LEN;
        }
        let tail = (self.head + RING_LEN - self.used) % RING_LEN;
        if self.head < tail || self.used == RING_LEN {
            return RING_LEN - self.used;
        }
        let at_end = RING_LEN - self.head;
        if at_end < tail && at_end < HEADER_LEN as u64 + MIN_PAYLOAD {
            // The gap belongs to the newest frame, and is given back with it.
            self.used += at_end;
            self.head = 0;
            if let Some(newest) = self.frames.back_mut() {
                *newest += at_end;
            }
            return tail;
        }
        at_end
    }

    fn send(&mut self, kind: FrameKind, container: u32, argument: u32, payload: &[u8]) {
        let len = payload.len() as u32;
        let header = FrameHeader { kind, container, len, argument }.encode();
        let total = (HEADER_LEN + payload.len()) as u64;
        let at = self.base + self.head;
        // SAFETY: `total` bytes from `head` lie in the ring and in no frame the device has (`contiguous`),
        // and stay untouched until it has given this one back (`used`). The id is free: there are fewer
        // frames than ids, and they come back in order.
        unsafe {
            core::ptr::copy_nonoverlapping(header.as_ptr(), at as *mut u8, HEADER_LEN);
            core::ptr::copy_nonoverlapping(
                payload.as_ptr(),
                (at + HEADER_LEN as u64) as *mut u8,
                payload.len(),
            );
            self.queue.offer(self.next_id, at, total as u32, false);
        }
        self.next_id = (self.next_id + 1) % SIZE;
        self.head = (self.head + total) % RING_LEN;
        self.used += total;
        self.frames.push_back(total);
        self.queue.notify();
    }

    /// Takes back what the device is done with.
    pub fn reclaim(&mut self) {
        while self.queue.take_used().is_some() {
            if let Some(len) = self.frames.pop_front() {
                self.used -= len;
            }
        }
    }
}
