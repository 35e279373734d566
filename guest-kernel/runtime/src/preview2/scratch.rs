//! Memory for one call of preview 1: its parameters, and what it answers.

use alloc::vec::Vec;
use sentient_wasi::Errno;

/// Bytes of a `ciovec`: a pointer and a length.
const IOVEC_LEN: usize = 8;

/// A small memory. Addresses are offsets into it.
#[derive(Default)]
pub struct Scratch(Vec<u8>);

/// A range of a scratch memory, as preview 1 names one.
#[derive(Clone, Copy)]
pub struct Place {
    pub at: u32,
    pub len: u32,
}

impl Scratch {
    /// One with nothing in it.
    pub const fn new() -> Self {
        Self(Vec::new())
    }

    /// One that begins with these bytes.
    pub const fn of(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) -> Place {
        let at = self.0.len();
        self.0.extend_from_slice(bytes);
        Place { at: at as u32, len: bytes.len() as u32 }
    }

    /// Adds room.
    pub fn room(&mut self, len: usize) -> Place {
        let at = self.0.len();
        self.0.resize(at + len, 0);
        Place { at: at as u32, len: len as u32 }
    }

    /// Adds a list of one buffer.
    pub fn buffer(&mut self, buffer: Place) -> Place {
        let mut list = [0; IOVEC_LEN];
        let (at, len) = list.split_at_mut(IOVEC_LEN / 2);
        at.copy_from_slice(&buffer.at.to_le_bytes());
        len.copy_from_slice(&buffer.len.to_le_bytes());
        self.put(&list)
    }

    /// All of it.
    pub fn memory(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// What lies at a place.
    pub fn get(&self, place: Place) -> &[u8] {
        let start = place.at as usize;
        self.0.get(start..start.saturating_add(place.len as usize)).unwrap_or_default()
    }

    fn array<const N: usize>(&self, at: u32) -> [u8; N] {
        self.0.get(at as usize..).and_then(|rest| rest.first_chunk()).copied().unwrap_or([0; N])
    }

    /// A byte.
    pub fn u8(&self, at: u32) -> u8 {
        let [byte] = self.array(at);
        byte
    }

    /// 16 bits.
    pub fn u16(&self, at: u32) -> u16 {
        u16::from_le_bytes(self.array(at))
    }

    /// 32 bits.
    pub fn u32(&self, at: u32) -> u32 {
        u32::from_le_bytes(self.array(at))
    }

    /// 64 bits.
    pub fn u64(&self, at: u32) -> u64 {
        u64::from_le_bytes(self.array(at))
    }

    /// Its first bytes; the rest is dropped.
    pub fn into_first(mut self, len: usize) -> Vec<u8> {
        self.0.truncate(len);
        self.0
    }

    /// A place's bytes as text.
    ///
    /// # Errors
    /// [`Errno::Ilseq`] if they are none.
    pub fn text(&self, place: Place) -> Result<&str, Errno> {
        core::str::from_utf8(self.get(place)).map_err(|_| Errno::Ilseq)
    }
}
