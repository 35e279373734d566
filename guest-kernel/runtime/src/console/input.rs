//! Input: buffers that the device fills with frames.
//!
//! In a machine with one container, standard input stays in these buffers until the container reads it. In a
//! resident machine nothing may stay: what a container does not read would hold up everything behind it. So
//! [`Input::pump`] takes all there is, and keeps standard input for each container, up to its window.

use super::InputState;
use super::output::Output;
use crate::heap;
use crate::virtqueue::VirtQueue;
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::container_files::MAX_REQUEST;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};

/// Buffers the device fills.
const BUFFERS: u16 = 4;
/// Bytes of each.
const BUFFER_LEN: u32 = 32 << 10;
/// Most bytes of standard input under way to the one container: what fits into the buffers with room for
/// headers.
const WINDOW: u32 = (BUFFER_LEN - 1024) * BUFFERS as u32;
/// Most bytes of standard input under way to, or kept for, each container of a resident machine.
const RESIDENT_WINDOW: u32 = 32 << 10;

/// A filled buffer: what of it is still to be read.
struct Filled {
    id: u16,
    at: u32,
    end: u32,
}

/// Notes in a container's header that what is kept of its standard input is not what it was.
fn input_moved(container: u32) {
    if let Some(arena) = heap::arena_of(container) {
        arena.input_moved();
    }
}

/// Whether a frame's payload is given out as it comes: it is data, of any length.
fn comes_in_pieces(kind: FrameKind) -> bool {
    matches!(kind, FrameKind::Stdin | FrameKind::LoadData | FrameKind::ImageData)
}

/// Standard input of one container.
#[derive(Default)]
struct Stream {
    /// There is such a container, or one is coming.
    open: bool,
    /// What has come and was not read, in a resident machine.
    kept: VecDeque<u8>,
    /// Bytes the sender may still send, or has sent and were not read.
    window: u32,
    ended: bool,
}

/// The stream of frames.
pub struct Input {
    queue: VirtQueue,
    base: u64,
    filled: VecDeque<Filled>,
    header: [u8; HEADER_LEN],
    header_len: usize,
    /// The frame whose payload comes next.
    frame: Option<FrameHeader>,
    /// Payload bytes of it still to come.
    payload: u32,
    /// What has come of it, if it is one that is given out whole.
    whole: Vec<u8>,
    streams: Vec<Stream>,
    resident: bool,
}

impl Input {
    /// Buffers at `base`, offered to the device at once.
    pub fn new(queue: VirtQueue, base: u64, resident: bool) -> Self {
        let containers = if resident { MAX_CONTAINERS } else { 1 };
        let mut input = Self {
            queue,
            base,
            filled: VecDeque::with_capacity(usize::from(BUFFERS)),
            header: [0; HEADER_LEN],
            header_len: 0,
            frame: None,
            payload: 0,
            whole: Vec::new(),
            streams: (0..containers).map(|_| Stream::default()).collect(),
            resident,
        };
        input.queue.want_interrupts(resident);
        for id in 0..BUFFERS {
            input.offer(id);
        }
        if resident {
            // The host may have something for us already. Standard input it only has once it is asked.
            input.queue.notify();
        }
        input
    }

    /// Takes what the device has filled; for the one container, up to its next payload byte.
    pub fn receive(&mut self) {
        while let Some(used) = self.queue.take_used() {
            self.filled.push_back(Filled { id: used.id, at: 0, end: used.len.min(BUFFER_LEN) });
        }
        while !self.resident && self.payload == 0 && !self.has_ended(0) {
            let Some(header) = self.next_header() else { return };
            match header {
                Some(FrameHeader { kind: FrameKind::Stdin, len, .. }) => self.payload = len,
                // The end, or a VMM that does not speak our protocol: no more input either way.
                _ => self.end(0),
            }
        }
    }

    /// Takes everything there is. Standard input is kept for its container; all other frames go to `take`, those that
    /// carry data a piece of payload at a time, the others with all of it.
    pub fn pump(&mut self, take: &mut dyn FnMut(&FrameHeader, &[u8])) {
        loop {
            self.receive();
            match self.frame {
                Some(header) if self.payload > 0 => {
                    let Some(filled) = self.filled.front_mut() else { return };
                    let len = (filled.end - filled.at).min(self.payload);
                    let from =
                        self.base + u64::from(filled.id) * u64::from(BUFFER_LEN) + u64::from(filled.at);
                    filled.at += len;
                    self.payload -= len;
                    // SAFETY: a filled buffer is ours until it is offered again, below; `len` is within it.
                    let bytes = unsafe { core::slice::from_raw_parts(from as *const u8, len as usize) };
                    if comes_in_pieces(header.kind) {
                        self.deliver(&header, bytes, take);
                    } else {
                        self.gather(&header, bytes, take);
                    }
                    self.recycle();
                }
                _ => {
                    let Some(Some(header)) = self.next_header() else { return };
                    self.frame = Some(header);
                    self.payload = header.len;
                    if header.len == 0 {
                        self.deliver(&header, &[], take);
                    }
                }
            }
        }
    }

    /// Gives a frame out once all of it is there: it may lie in several buffers.
    fn gather(&mut self, header: &FrameHeader, bytes: &[u8], take: &mut dyn FnMut(&FrameHeader, &[u8])) {
        let whole = self.payload == 0;
        if whole && self.whole.is_empty() {
            return self.deliver(header, bytes, take);
        }
        // More than any of them has: its end is missing, and whoever reads it says so.
        let room = MAX_REQUEST.saturating_sub(self.whole.len());
        self.whole.extend_from_slice(bytes.get(..room).unwrap_or(bytes));
        if whole {
            let gathered = core::mem::take(&mut self.whole);
            self.deliver(header, &gathered, take);
        }
    }

    fn deliver(&mut self, header: &FrameHeader, bytes: &[u8], take: &mut dyn FnMut(&FrameHeader, &[u8])) {
        let Some(stream) = self.streams.get_mut(header.container as usize) else {
            return take(header, bytes);
        };
        match header.kind {
            // More than the window, or for a container that has ended: nobody reads it.
            FrameKind::Stdin if stream.open => {
                let room = (stream.window as usize).saturating_sub(stream.kept.len());
                stream.kept.extend(bytes.iter().take(room));
                input_moved(header.container);
            }
            FrameKind::StdinEnd if stream.open => {
                stream.ended = true;
                input_moved(header.container);
            }
            FrameKind::Stdin | FrameKind::StdinEnd => {}
            FrameKind::Load => {
                if !stream.open {
                    *stream = Stream { open: true, ..Stream::default() };
                }
                take(header, bytes);
            }
            _ => take(header, bytes),
        }
    }

    /// Opens a container's stream that came without a `Load`.
    pub fn open(&mut self, container: u32) {
        if let Some(stream) = self.streams.get_mut(container as usize) {
            stream.open = true;
        }
    }

    /// Forgets a container's stream.
    pub fn close(&mut self, container: u32) {
        if let Some(stream) = self.streams.get_mut(container as usize) {
            *stream = Stream::default();
        }
    }

    /// Tells the sender that more is welcome, once half of what it was allowed is used up.
    pub fn open_window(&mut self, output: &mut Output, container: u32) {
        let full = if self.resident { RESIDENT_WINDOW } else { WINDOW };
        let Some(stream) = self.streams.get_mut(container as usize) else { return };
        let more = full - stream.window;
        if !stream.ended && more >= full / 2 && output.send_empty(FrameKind::Window, container, more) {
            stream.window += more;
        }
    }

    /// What there is to read.
    pub fn state(&self, container: u32) -> InputState {
        let here = if self.resident {
            self.streams.get(container as usize).map_or(0, |stream| stream.kept.len())
        } else {
            let here: u32 = self.filled.iter().map(|buffer| buffer.end - buffer.at).sum();
            self.payload.min(here) as usize
        };
        match here {
            0 if self.has_ended(container) => InputState::Ended,
            0 => InputState::Empty,
            bytes => InputState::Ready(bytes),
        }
    }

    fn has_ended(&self, container: u32) -> bool {
        self.streams.get(container as usize).is_none_or(|stream| stream.ended)
    }

    fn end(&mut self, container: u32) {
        if let Some(stream) = self.streams.get_mut(container as usize) {
            stream.ended = true;
        }
    }

    /// Copies what is there.
    pub fn read(&mut self, container: u32, buffer: &mut [u8]) -> usize {
        let done = if self.resident { self.read_kept(container, buffer) } else { self.read_here(buffer) };
        if let Some(stream) = self.streams.get_mut(container as usize) {
            stream.window = stream.window.saturating_sub(done as u32);
        }
        done
    }

    fn read_kept(&mut self, container: u32, buffer: &mut [u8]) -> usize {
        let Some(stream) = self.streams.get_mut(container as usize) else { return 0 };
        let len = stream.kept.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(stream.kept.drain(..len)) {
            *to = from;
        }
        input_moved(container);
        len
    }

    fn read_here(&mut self, buffer: &mut [u8]) -> usize {
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

    /// See [`VirtQueue::want_interrupts`]. A resident machine always wants them.
    pub fn want_interrupts(&mut self, wanted: bool) {
        if !self.resident {
            self.queue.want_interrupts(wanted);
        }
    }

    /// The next header, when all of it is there; `None` inside for one that is none.
    fn next_header(&mut self) -> Option<Option<FrameHeader>> {
        while self.header_len < HEADER_LEN {
            let byte = self.take_byte()?;
            if let Some(slot) = self.header.get_mut(self.header_len) {
                *slot = byte;
            }
            self.header_len += 1;
        }
        let header = FrameHeader::decode(&self.header);
        // What follows nonsense has no meaning either: nothing is read any more.
        if header.is_some() {
            self.header_len = 0;
        }
        Some(header)
    }

    fn take_byte(&mut self) -> Option<u8> {
        self.recycle();
        let filled = self.filled.front_mut()?;
        let from = self.base + u64::from(filled.id) * u64::from(BUFFER_LEN) + u64::from(filled.at);
        filled.at += 1;
        // SAFETY: within a buffer that is ours (see `read_here`).
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
