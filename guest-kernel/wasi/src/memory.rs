//! The module's linear memory, seen through 32-bit pointers that may be anything.
//!
//! Every access is checked against the memory's length; one that does not fit is `EFAULT`. Pointers
//! need no alignment. A call reads each value once and never looks at it again.

use core::ops::Range;

use crate::errno::Errno;
use crate::outcome::Stop;

/// Buffers used of one scatter/gather list (`IOV_MAX` of POSIX `limits.h`, as Linux has it). A
/// longer list is not an error: the call moves a part, as any read or write may.
const BUFFERS_MAX: u32 = 1024;

/// Bytes one `iovec` or `ciovec` takes: a pointer and a length.
const IOVEC_BYTES: u32 = 8;

fn range(mem: &[u8], at: u32, len: u32) -> Result<Range<usize>, Errno> {
    let start = usize::try_from(at).map_err(|_| Errno::Fault)?;
    let len = usize::try_from(len).map_err(|_| Errno::Fault)?;
    let end = start.checked_add(len).ok_or(Errno::Fault)?;
    if end > mem.len() { Err(Errno::Fault) } else { Ok(start..end) }
}

/// Whether `len` bytes at `at` can be written; called before a call has an effect that could not be
/// reported.
pub(crate) fn check(mem: &[u8], at: u32, len: u32) -> Result<(), Errno> {
    range(mem, at, len).map(|_| ())
}

pub(crate) fn bytes(mem: &[u8], at: u32, len: u32) -> Result<&[u8], Errno> {
    let range = range(mem, at, len)?;
    mem.get(range).ok_or(Errno::Fault)
}

pub(crate) fn bytes_mut(mem: &mut [u8], at: u32, len: u32) -> Result<&mut [u8], Errno> {
    let range = range(mem, at, len)?;
    mem.get_mut(range).ok_or(Errno::Fault)
}

pub(crate) fn array<const N: usize>(mem: &[u8], at: u32) -> Result<[u8; N], Errno> {
    let start = usize::try_from(at).map_err(|_| Errno::Fault)?;
    mem.get(start..).and_then(|rest| rest.first_chunk()).copied().ok_or(Errno::Fault)
}

pub(crate) fn put(mem: &mut [u8], at: u32, value: &[u8]) -> Result<(), Errno> {
    let len = u32::try_from(value.len()).map_err(|_| Errno::Fault)?;
    bytes_mut(mem, at, len)?.copy_from_slice(value);
    Ok(())
}

pub(crate) fn put_u32(mem: &mut [u8], at: u32, value: u32) -> Result<(), Errno> {
    put(mem, at, &value.to_le_bytes())
}

pub(crate) fn put_u64(mem: &mut [u8], at: u32, value: u64) -> Result<(), Errno> {
    put(mem, at, &value.to_le_bytes())
}

/// A list of buffers in guest memory, walked one by one.
struct Buffers {
    at: u32,
    left: u32,
    /// Bytes the call may still move. A list without overlaps cannot exceed the memory; one with
    /// overlaps must not keep the kernel busy for 1,024 times as long.
    budget: u32,
}

impl Buffers {
    fn new(mem: &[u8], at: u32, count: u32) -> Result<Self, Errno> {
        let left = count.min(BUFFERS_MAX);
        check(mem, at, left.saturating_mul(IOVEC_BYTES))?;
        let budget = u32::try_from(mem.len()).unwrap_or(u32::MAX).min(i32::MAX.cast_unsigned());
        Ok(Self { at, left, budget })
    }

    /// The next buffer that is not empty.
    fn next(&mut self, mem: &[u8]) -> Result<Option<(u32, u32)>, Errno> {
        while self.left > 0 && self.budget > 0 {
            let [p0, p1, p2, p3, l0, l1, l2, l3] = array(mem, self.at)?;
            self.left -= 1;
            self.at = self.at.saturating_add(IOVEC_BYTES);
            let len = u32::from_le_bytes([l0, l1, l2, l3]);
            if len > 0 {
                // The whole buffer must be memory, even where the budget leaves a part of it
                // unused.
                let at = u32::from_le_bytes([p0, p1, p2, p3]);
                check(mem, at, len)?;
                let len = len.min(self.budget);
                self.budget -= len;
                return Ok(Some((at, len)));
            }
        }
        Ok(None)
    }
}

/// Adds up what the buffers of one call moved.
///
/// A failure after something moved is not reported: the call succeeds with the short count, and the
/// next one meets the failure first.
struct Tally(u32);

impl Tally {
    /// Takes in one buffer's result; whether to go on with the next buffer.
    fn add(&mut self, moved: Result<usize, Stop>, offered: u32) -> Result<bool, Stop> {
        match moved {
            Ok(count) => {
                let count = u32::try_from(count).unwrap_or(offered).min(offered);
                self.0 = self.0.saturating_add(count);
                Ok(count == offered)
            }
            Err(_) if self.0 > 0 => Ok(false),
            Err(stop) => Err(stop),
        }
    }
}

/// Offers the buffers of a `ciovec` list to `sink`, in place and in order, until one is not taken
/// whole.
pub(crate) fn gather(
    mem: &[u8],
    list: u32,
    count: u32,
    mut sink: impl FnMut(&[u8]) -> Result<usize, Stop>,
) -> Result<u32, Stop> {
    let mut buffers = Buffers::new(mem, list, count)?;
    let mut tally = Tally(0);
    loop {
        let (at, len) = match buffers.next(mem) {
            Ok(Some(buffer)) => buffer,
            Ok(None) => return Ok(tally.0),
            Err(errno) => {
                tally.add(Err(errno.into()), 0)?;
                return Ok(tally.0);
            }
        };
        let moved = sink(bytes(mem, at, len)?);
        if !tally.add(moved, len)? {
            return Ok(tally.0);
        }
    }
}

/// Fills the buffers of an `iovec` list from `source`, in place and in order, until one is not
/// filled.
pub(crate) fn scatter(
    mem: &mut [u8],
    list: u32,
    count: u32,
    mut source: impl FnMut(&mut [u8]) -> Result<usize, Stop>,
) -> Result<u32, Stop> {
    let mut buffers = Buffers::new(mem, list, count)?;
    let mut tally = Tally(0);
    loop {
        let (at, len) = match buffers.next(mem) {
            Ok(Some(buffer)) => buffer,
            Ok(None) => return Ok(tally.0),
            Err(errno) => {
                tally.add(Err(errno.into()), 0)?;
                return Ok(tally.0);
            }
        };
        let moved = source(bytes_mut(mem, at, len)?);
        if !tally.add(moved, len)? {
            return Ok(tally.0);
        }
    }
}
