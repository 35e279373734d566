//! Input: buffers that the device fills with frames of one container's standard input.

use super::InputState;
use super::output::Output;
use crate::virtqueue::VirtQueue;
use alloc::collections::VecDeque;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};

/// Buffers the device fills.
const BUFFERS: u16 = 4;
/// Bytes of each.
const BUFFER_LEN: u32 = 32 << 10;
/// Most bytes of standard input under way: what fits into the buffers with room for headers.
const WINDOW: u32 = (BUFFER_LEN - 1024) * BUFFERS as u32;

/// A filled buffer: what of it is still to be read.
struct Filled {
    id: u16,
    at: u32,
    end: u32,
}

/// The stream of frames.
pub struct Input {
    queue: VirtQueue,
    base: u64,
    filled: VecDeque<Filled>,
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// Payload bytes of the current frame still to come.
    payload: u32,
    /// Bytes the sender may still send.
    window: u32,
    ended: bool,
}

impl Input {
    /// Buffers at `base`, offered to the device at once.
    pub fn new(queue: VirtQueue, base: u64) -> Self {
        let mut input = Self {
            queue,
            base,
            filled: VecDeque::with_capacity(usize::from(BUFFERS)),
            header: [0; HEADER_LEN],
            header_len: 0,
            payload: 0,
            window: 0,
            ended: false,
        };
        input.queue.want_interrupts(false);
        for id in 0..BUFFERS {
            input.offer(id);
        }
        input
    }

    /// Takes what the device has filled, up to the next payload byte.
    pub fn receive(&mut self) {
        while let Some(used) = self.queue.take_used() {
            self.filled.push_back(Filled { id: used.id, at: 0, end: used.len.min(BUFFER_LEN) });
        }
        while self.payload == 0 && !self.ended {
            let Some(byte) = self.take_byte() else { return };
            if let Some(slot) = self.header.get_mut(self.header_len) {
                *slot = byte;
            }
            self.header_len += 1;
            if self.header_len == HEADER_LEN {
                self.header_len = 0;
                match FrameHeader::decode(&self.header) {
                    Some(FrameHeader { kind: FrameKind::Stdin, len, .. }) => self.payload = len,
                    // The end, or a VMM that does not speak our protocol: no more input either way.
                    _ => self.ended = true,
                }
            }
        }
    }

    /// Tells the sender that more is welcome, once half of what it was allowed is used up.
    pub fn open_window(&mut self, output: &mut Output, container: u32) {
        let more = WINDOW - self.window;
        if !self.ended && more >= WINDOW / 2 && output.send_empty(FrameKind::Window, container, more) {
            self.window += more;
        }
    }

    /// What there is to read.
    pub fn state(&self) -> InputState {
        let here: u32 = self.filled.iter().map(|buffer| buffer.end - buffer.at).sum();
        match self.payload.min(here) {
            0 if self.ended => InputState::Ended,
            0 => InputState::Empty,
            bytes => InputState::Ready(bytes as usize),
        }
    }

    /// Copies what is there.
    pub fn read(&mut self, buffer: &mut [u8]) -> usize {
        let mut done = 0;
        while done < buffer.len() && self.payload > 0 {
            let Some(filled) = self.filled.front_mut() else { break };
            let Some(rest) = buffer.get_mut(done..) else { break };
            let len =
                (filled.end - filled.at).min(self.payload).min(u32::try_from(rest.len()).unwrap_or(u32::MAX));
            let from = self.base + u64::from(filled.id) * u64::from(BUFFER_LEN) + u64::from(filled.at);
            // SAFETY: a filled buffer is ours until it is offered again; `len` is within it and `rest`.
            unsafe { core::ptr::copy_nonoverlapping(from as *const u8, rest.as_mut_ptr(), len as usize) }
            filled.at += len;
            self.payload -= len;
            self.window = self.window.saturating_sub(len);
            done += len as usize;
            self.recycle();
            if self.payload == 0 {
                self.receive();
            }
        }
        done
    }

    /// Whether the device has filled something.
    pub fn has_news(&self) -> bool {
        self.queue.has_used()
    }

    /// See [`VirtQueue::want_interrupts`].
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.queue.want_interrupts(wanted);
    }

    fn take_byte(&mut self) -> Option<u8> {
        self.recycle();
        let filled = self.filled.front_mut()?;
        let from = self.base + u64::from(filled.id) * u64::from(BUFFER_LEN) + u64::from(filled.at);
        filled.at += 1;
        // SAFETY: within a buffer that is ours (see `read`).
        Some(unsafe { (from as *const u8).read_volatile() })
    }

    /// Gives buffers that are read to the end back to the device.
    fn recycle(&mut self) {
        let mut given = false;
        while let Some(filled) = self.filled.front() {
            if filled.at < filled.end {
                break;
            }
            let id = filled.id % BUFFERS;
            self.filled.pop_front();
            self.offer(id);
            given = true;
        }
        if given {
            self.queue.notify();
        }
    }

    fn offer(&mut self, id: u16) {
        let address = self.base + u64::from(id) * u64::from(BUFFER_LEN);
        // SAFETY: the buffer lies behind the output ring in the region of device buffers, and is not read
        // before the device has given it back.
        unsafe { self.queue.offer(id, address, BUFFER_LEN, true) }
    }
}
