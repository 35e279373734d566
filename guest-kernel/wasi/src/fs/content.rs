//! The bytes of one file: chunks of up to 64 KiB, with holes.
//!
//! A file that comes with the container's image has its bytes there, and reads them from there until a chunk is written
//! to: that takes over what lies below it first.
//!
//! Growing a file adds chunks and copies none (the last one may move while it is smaller than 64
//! KiB). Bytes that neither a chunk nor the image holds read as zero and cost nothing. All memory is asked for with
//! `try_reserve` after the quota has agreed, so running out is an error number.

use alloc::vec::Vec;

use super::quota::{CHUNK_HEAD_BYTES, Quota};
use crate::errno::Errno;

/// Bytes of a full chunk. Large enough that a copy runs at `memcpy` speed, small enough that a
/// chunk is easily found in a fragmented arena.
const CHUNK_BYTES: usize = 64 * 1024;

/// Bytes the smallest chunk has room for; a chunk's room is a power of two from here to a full
/// chunk.
const CHUNK_BYTES_MIN: usize = 512;

/// The largest size a file may have, holes included: 1 TiB. Beyond is `EFBIG`.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 40;

#[derive(Debug)]
struct Chunk {
    /// Position in the file, in chunks.
    number: u64,
    /// The chunk's bytes up to the last one written; those after read as zero.
    bytes: Vec<u8>,
    /// Bytes taken from the quota; `bytes` never needs more memory than that.
    room: usize,
}

const _: () = assert!(2 * size_of::<Chunk>() as u64 <= CHUNK_HEAD_BYTES);

impl Chunk {
    fn new(number: u64) -> Self {
        Self { number, bytes: Vec::new(), room: 0 }
    }

    /// Makes room for the chunk's first `end` bytes (`end` is at most a chunk).
    fn reserve(&mut self, end: usize, quota: &mut Quota) -> Result<(), Errno> {
        if end <= self.room {
            return Ok(());
        }
        let room = end.next_power_of_two().clamp(CHUNK_BYTES_MIN, CHUNK_BYTES);
        let charge = wide(room.saturating_sub(self.room));
        quota.take(charge)?;
        if self.bytes.try_reserve_exact(room.saturating_sub(self.bytes.len())).is_err() {
            quota.give_back(charge);
            return Err(Errno::Nomem);
        }
        self.room = room;
        Ok(())
    }

    /// Puts bytes where there is room for them. What is appended is written once, not zeroed first.
    fn put(&mut self, start: usize, data: &[u8]) {
        if start > self.bytes.len() {
            self.bytes.resize(start, 0);
        }
        let over = self.bytes.get_mut(start..).unwrap_or_default();
        let replaced = over.len().min(data.len());
        let (replacing, appending) = data.split_at(replaced);
        let (over, _) = over.split_at_mut(replaced);
        over.copy_from_slice(replacing);
        self.bytes.extend_from_slice(appending);
    }

    /// Fills `out` with the chunk's bytes from `start` on.
    fn get(&self, start: usize, out: &mut [u8]) {
        copy(&self.bytes, start, out);
    }
}

/// Fills `out` with bytes from `start` on, and zeros after their end.
fn copy(bytes: &[u8], start: usize, out: &mut [u8]) {
    let held = bytes.get(start..).unwrap_or_default();
    let (copied, zeroed) = out.split_at_mut(held.len().min(out.len()));
    let (held, _) = held.split_at(copied.len());
    copied.copy_from_slice(held);
    zeroed.fill(0);
}

/// A file's size and chunks.
#[derive(Debug, Default)]
pub(crate) struct Content {
    size: u64,
    /// By ascending number. A sorted vector and not a map: it grows with `try_reserve`, and
    /// appending is a push.
    chunks: Vec<Chunk>,
    /// The file's beginning in the image, for what no chunk holds.
    below: &'static [u8],
}

/// One chunk's part of a range of the file.
struct Piece {
    number: u64,
    start: usize,
    len: usize,
}

/// The part of the range from `at`, `left` bytes long, that lies in the chunk of `at`.
fn piece(at: u64, left: usize) -> Piece {
    let start = usize::try_from(at % wide(CHUNK_BYTES)).unwrap_or_default();
    Piece { number: at / wide(CHUNK_BYTES), start, len: left.min(CHUNK_BYTES - start) }
}

fn wide(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// A length from a file, cut to what a slice can have.
fn narrow(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// A chunk's part of what lies below a file.
fn below(bytes: &'static [u8], number: u64) -> &'static [u8] {
    let start = narrow(number.saturating_mul(wide(CHUNK_BYTES)));
    let from = bytes.get(start..).unwrap_or_default();
    from.get(..CHUNK_BYTES).unwrap_or(from)
}

impl Content {
    /// A file of the image.
    pub(crate) fn of_image(bytes: &'static [u8]) -> Self {
        Self { size: wide(bytes.len()), chunks: Vec::new(), below: bytes }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `out` from `at` on, up to the end of the file; how many bytes that were.
    pub(crate) fn read(&self, at: u64, out: &mut [u8]) -> usize {
        let left = narrow(self.size.saturating_sub(at)).min(out.len());
        let (mut out, _) = out.split_at_mut(left);
        let mut at = at;
        let mut next = self.chunks.partition_point(|chunk| chunk.number < piece(at, 0).number);
        while !out.is_empty() {
            let Piece { number, start, len } = piece(at, out.len());
            let (now, later) = out.split_at_mut(len);
            match self.chunks.get(next).filter(|chunk| chunk.number == number) {
                Some(chunk) => {
                    chunk.get(start, now);
                    next += 1;
                }
                None => copy(below(self.below, number), start, now),
            }
            at = at.saturating_add(wide(len));
            out = later;
        }
        left
    }

    /// Writes at `at`; how many bytes were written: fewer than offered where space ends on the way.
    pub(crate) fn write(&mut self, at: u64, data: &[u8], quota: &mut Quota) -> Result<usize, Errno> {
        let possible = narrow(FILE_BYTES_MAX.saturating_sub(at)).min(data.len());
        if possible == 0 {
            return if data.is_empty() { Ok(0) } else { Err(Errno::Fbig) };
        }
        let (mut data, _) = data.split_at(possible);
        let mut done = 0;
        while !data.is_empty() {
            let position = at.saturating_add(wide(done));
            let Piece { number, start, len } = piece(position, data.len());
            let (now, later) = data.split_at(len);
            match self.chunk(number, start.saturating_add(len), quota) {
                Ok(chunk) => chunk.put(start, now),
                Err(errno) if done == 0 => return Err(errno),
                Err(_) => break,
            }
            done = done.saturating_add(len);
            data = later;
        }
        self.size = self.size.max(at.saturating_add(wide(done)));
        Ok(done)
    }

    /// The chunk with room for its first `end` bytes.
    fn chunk(&mut self, number: u64, end: usize, quota: &mut Quota) -> Result<&mut Chunk, Errno> {
        let place = match self.chunks.last() {
            Some(last) if last.number < number => Err(self.chunks.len()),
            _ => self.chunks.binary_search_by_key(&number, |chunk| chunk.number),
        };
        let index = match place {
            Ok(index) => index,
            Err(index) => {
                // Only a chunk that got its room goes into the list: failing leaves nothing behind.
                self.chunks.try_reserve(1).map_err(|_| Errno::Nomem)?;
                let mut chunk = Chunk::new(number);
                quota.take(CHUNK_HEAD_BYTES)?;
                let below = below(self.below, number);
                let end = end.max(below.len());
                chunk.reserve(end, quota).inspect_err(|_| quota.give_back(CHUNK_HEAD_BYTES))?;
                chunk.put(0, below);
                self.chunks.insert(index, chunk);
                index
            }
        };
        let chunk = self.chunks.get_mut(index).ok_or(Errno::Io)?;
        chunk.reserve(end, quota)?;
        Ok(chunk)
    }

    /// Sets the size. What is cut off is freed; what is added is a hole. `EFBIG` beyond
    /// [`FILE_BYTES_MAX`].
    pub(crate) fn resize(&mut self, size: u64, quota: &mut Quota) -> Result<(), Errno> {
        if size > FILE_BYTES_MAX {
            return Err(Errno::Fbig);
        }
        if size <= self.size {
            // What is cut off is not there again when the file grows.
            self.below = self.below.get(..narrow(size)).unwrap_or(self.below);
            let Piece { number, start, .. } = piece(size, 0);
            let keep = self
                .chunks
                .partition_point(|chunk| chunk.number < number || (chunk.number == number && start > 0));
            for chunk in self.chunks.drain(keep..) {
                quota.give_back(wide(chunk.room).saturating_add(CHUNK_HEAD_BYTES));
            }
            if let Some(last) = self.chunks.last_mut().filter(|chunk| chunk.number == number) {
                last.bytes.truncate(start);
            }
        }
        self.size = size;
        Ok(())
    }

    /// Sets memory aside for a range and makes the file reach its end (`posix_fallocate`): writes
    /// there will not run out of space.
    pub(crate) fn allocate(&mut self, at: u64, len: u64, quota: &mut Quota) -> Result<(), Errno> {
        let end = at.checked_add(len).filter(|end| *end <= FILE_BYTES_MAX).ok_or(Errno::Fbig)?;
        // Each missing byte costs at least one of the quota, so this bounds the loop.
        let have = self.chunks.iter().fold(0_u64, |sum, chunk| sum.saturating_add(wide(chunk.room)));
        if len > have.saturating_add(quota.free()) {
            return Err(Errno::Nospc);
        }
        let mut position = at;
        while position < end {
            let Piece { number, start, len } = piece(position, narrow(end - position));
            self.chunk(number, start.saturating_add(len), quota)?;
            position = position.saturating_add(wide(len));
        }
        self.size = self.size.max(end);
        Ok(())
    }
}
