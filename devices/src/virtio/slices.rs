//! Reading and writing along a list of guest memory slices.
//!
//! A buffer the guest offers is a list of [`VolatileSlice`]s: pieces of guest memory, checked to exist,
//! that the guest may change at any time. A [`SliceCursor`] is a position in such a list.

use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

/// A position in a list of slices.
#[derive(Debug)]
pub struct SliceCursor<'s, 'm, B> {
    slices: &'s [VolatileSlice<'m, B>],
    /// Index of the slice the position is in.
    index: usize,
    /// Bytes before the position in that slice.
    offset: usize,
    position: usize,
    remaining: usize,
}

impl<'s, 'm, B: BitmapSlice> SliceCursor<'s, 'm, B> {
    /// A cursor at the first byte.
    #[must_use]
    pub fn new(slices: &'s [VolatileSlice<'m, B>]) -> Self {
        Self { slices, index: 0, offset: 0, position: 0, remaining: total_len(slices) }
    }

    /// Bytes before the position.
    #[must_use]
    pub fn position(&self) -> usize {
        self.position
    }

    /// Bytes from the position to the end.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.remaining
    }

    /// The rest of the slice the position is in; `None` at the end.
    fn here(&mut self) -> Option<VolatileSlice<'m, B>> {
        while let Some(slice) = self.slices.get(self.index) {
            if self.offset < slice.len() {
                return slice.offset(self.offset).ok();
            }
            self.index += 1;
            self.offset = 0;
        }
        self.remaining = 0;
        None
    }

    fn advance(&mut self, count: usize) {
        self.offset += count;
        self.position += count;
        self.remaining = self.remaining.saturating_sub(count);
    }

    /// Moves forward over `count` bytes, or to the end.
    pub fn skip(&mut self, count: usize) {
        let mut left = count;
        while left > 0 {
            let Some(here) = self.here() else { break };
            let step = here.len().min(left);
            self.advance(step);
            left -= step;
        }
    }

    /// Copies guest memory into `bytes` and moves forward; returns how many bytes there were.
    pub fn read(&mut self, bytes: &mut [u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get_mut(done..).filter(|rest| !rest.is_empty()) {
            let Some(here) = self.here() else { break };
            let step = here.copy_to(rest);
            self.advance(step);
            done += step;
        }
        done
    }

    /// Copies `bytes` into guest memory and moves forward; returns how many bytes there was room for.
    pub fn write(&mut self, bytes: &[u8]) -> usize {
        let mut done = 0;
        while let Some(rest) = bytes.get(done..).filter(|rest| !rest.is_empty()) {
            let Some(here) = self.here() else { break };
            let step = here.len().min(rest.len());
            here.copy_from(rest);
            self.advance(step);
            done += step;
        }
        done
    }

    /// The next `count` bytes, or all that remain, as slices; the position stays.
    #[must_use]
    pub fn window(&mut self, count: usize) -> Vec<VolatileSlice<'m, B>> {
        let mut window = Vec::new();
        let mut left = count;
        let Some(first) = self.here() else {
            return window;
        };
        let rest = self.slices.iter().skip(self.index + 1).cloned();
        for slice in std::iter::once(first).chain(rest) {
            if left == 0 {
                break;
            }
            let step = slice.len().min(left);
            // Always in range; a slice that were not would end the window, which is safe too.
            let Ok(piece) = slice.subslice(0, step) else {
                break;
            };
            if step > 0 {
                window.push(piece);
            }
            left -= step;
        }
        window
    }
}

/// Bytes in all slices.
#[must_use]
pub fn total_len<B: BitmapSlice>(slices: &[VolatileSlice<'_, B>]) -> usize {
    slices.iter().fold(0, |sum, slice| sum.saturating_add(slice.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_and_writes_across_slices_and_over_empty_ones() {
        let (mut first, mut empty, mut second) = (*b"abc", [], *b"defgh");
        let slices = [
            VolatileSlice::from(&mut first[..]),
            VolatileSlice::from(&mut empty[..]),
            VolatileSlice::from(&mut second[..]),
        ];
        let mut cursor = SliceCursor::new(&slices);
        let mut bytes = [0; 5];
        assert_eq!(cursor.read(&mut bytes), 5);
        assert_eq!(&bytes, b"abcde");
        assert_eq!((cursor.position(), cursor.remaining()), (5, 3));
        assert_eq!(cursor.write(b"XYZW"), 3, "as much as there is room for");
        assert_eq!((cursor.position(), cursor.remaining()), (8, 0));
        assert_eq!(cursor.read(&mut bytes), 0);
        assert_eq!(&second, b"deXYZ");
    }

    #[test]
    fn a_window_is_cut_to_the_bytes_asked_for() {
        let (mut first, mut second) = (*b"abc", *b"defgh");
        let slices = [VolatileSlice::from(&mut first[..]), VolatileSlice::from(&mut second[..])];
        let mut cursor = SliceCursor::new(&slices);
        cursor.skip(1);
        let lengths =
            |window: Vec<VolatileSlice<'_>>| window.iter().map(VolatileSlice::len).collect::<Vec<_>>();
        assert_eq!(lengths(cursor.window(4)), [2, 2]);
        assert_eq!(lengths(cursor.window(2)), [2]);
        assert!(cursor.window(0).is_empty());
        assert_eq!(lengths(cursor.window(usize::MAX)), [2, 5]);
        cursor.skip(usize::MAX);
        assert_eq!(cursor.position(), 8);
        assert!(cursor.window(1).is_empty());
    }
}
