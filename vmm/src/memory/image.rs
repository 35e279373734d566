//! Guest RAM of one machine at one moment, in a file without a name that other machines map: those that go on from
//! that moment have its pages together, until they write to them.

#![expect(unsafe_code, reason = "mmap over ranges of guest memory")]

use super::GuestMemory;
use crate::snapshots::page::{PageBytes, address, runs};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use rustix::mm::{MapFlags, ProtFlags, mmap};
use sentient_abi::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use vm_memory::GuestMemoryBackend;

/// Pages between two runs of pages that are mapped with them: a mapping each costs more. Whoever writes to one of them
/// gets a page of zeros for the file, too.
const GAP: u64 = 64;

/// Nobody can change what is in a file with these, or how long it is.
const SEALS: SealFlags = SealFlags::WRITE.union(SealFlags::SHRINK).union(SealFlags::GROW);

/// An image that is being written.
#[derive(Debug)]
pub struct ImageWriter(File);

impl ImageWriter {
    /// An empty one.
    ///
    /// # Errors
    /// That of memfd_create(2).
    pub fn new() -> io::Result<Self> {
        Ok(Self(memfd_create("guest-memory", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?.into()))
    }

    /// Writes pages that lie one behind the other, from the one with this number on.
    ///
    /// # Errors
    /// That of the system.
    pub fn put(&self, first: u64, pages: &[PageBytes]) -> io::Result<()> {
        let at = first.checked_mul(PAGE_SIZE).ok_or(io::ErrorKind::InvalidInput)?;
        self.0.write_all_at(pages.as_flattened(), at)
    }

    /// The image with the pages of these numbers, ascending: nothing can be changed from here on.
    ///
    /// # Errors
    /// That of the system.
    pub fn seal(self, numbers: impl IntoIterator<Item = u64>) -> io::Result<Image> {
        fcntl_add_seals(&self.0, SEALS)?;
        Ok(Image { file: self.0, runs: runs(numbers) })
    }
}

/// An image.
#[derive(Debug)]
pub struct Image {
    file: File,
    runs: Vec<Range<u64>>,
}

impl Image {
    /// One that another process has made, with the numbers of the pages in it: ascending ranges that do not touch.
    ///
    /// # Errors
    /// `InvalidData` if it can still be changed, or has not these pages.
    pub fn received(file: OwnedFd, runs: Vec<Range<u64>>) -> io::Result<Self> {
        let file = File::from(file);
        let bad = |what: &str| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        if !fcntl_get_seals(&file)?.contains(SEALS) {
            return bad("an image of memory that can still be changed");
        }
        let pages = file.metadata()?.len() / PAGE_SIZE;
        let ascending = runs.array_windows().all(|[one, next]| one.end < next.start);
        if !ascending || runs.iter().any(|run| run.is_empty() || run.end > pages) {
            return bad("an image of memory without the pages it is said to have");
        }
        Ok(Self { file, runs })
    }

    /// The file.
    #[must_use]
    pub fn file(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }

    /// Ranges of numbers of the pages in it, ascending.
    #[must_use]
    pub fn runs(&self) -> &[Range<u64>] {
        &self.runs
    }

    /// Numbers of the pages in it, ascending.
    pub fn pages(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().cloned().flatten()
    }

    /// Makes its pages those of a memory that nobody has touched there.
    ///
    /// # Errors
    /// That of the system, and `InvalidInput` for pages that are no RAM.
    pub(crate) fn lay(&self, memory: &GuestMemory) -> io::Result<()> {
        let mut left = self.runs.as_slice();
        while let [first, rest @ ..] = left {
            let mut range = first.clone();
            left = rest;
            while let [next, rest @ ..] = left
                && next.start - range.end <= GAP
            {
                range.end = next.end;
                left = rest;
            }
            self.map(memory, range)?;
        }
        Ok(())
    }

    fn map(&self, memory: &GuestMemory, pages: Range<u64>) -> io::Result<()> {
        let invalid = |_| io::ErrorKind::InvalidInput;
        let len = usize::try_from((pages.end - pages.start) * PAGE_SIZE).map_err(invalid)?;
        // All in one piece of RAM, or there is no such memory.
        let slice = memory
            .get_slice(address(pages.start), len)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let (prot, flags) =
            (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE | MapFlags::FIXED | MapFlags::NORESERVE);
        let start = slice.ptr_guard_mut();
        // SAFETY: the range lies within the mapping that `memory` keeps, which goes as a whole when that does; guest
        // memory is only read and written through volatile accesses, never referred to. The file is sealed, so no
        // access finds it shorter. Both ends are at pages: guest physical addresses of RAM and host addresses of
        // mappings are.
        unsafe { mmap(start.as_ptr().cast(), len, prot, flags, &self.file, pages.start * PAGE_SIZE) }?;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#[expect(clippy::single_range_in_vec_init, reason = "arguments are lists of ranges")]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    const PAGE: usize = PAGE_SIZE as usize;

    fn image() -> Image {
        let writer = ImageWriter::new().unwrap();
        writer.put(2000, &[[4; PAGE]]).unwrap();
        writer.put(3, &[[1; PAGE], [2; PAGE]]).unwrap();
        writer.put(5, &[[3; PAGE]]).unwrap();
        writer.seal([3, 4, 5, 2000]).unwrap()
    }

    fn byte(memory: &GuestMemory, page: u64) -> u8 {
        memory.read_obj(GuestAddress(page * PAGE_SIZE + 5)).unwrap()
    }

    #[test]
    fn machines_have_pages_together_until_they_write() {
        let image = image();
        assert_eq!(image.runs(), [3..6, 2000..2001]);
        let memories = [0, 1].map(|_| crate::memory::allocate(24 << 20).unwrap());
        for memory in &memories {
            image.lay(memory).unwrap();
        }
        let [one, two] = memories;
        one.write_obj(9u8, GuestAddress(4 * PAGE_SIZE + 5)).unwrap();
        one.write_obj(9u8, GuestAddress(7 * PAGE_SIZE + 5)).unwrap();
        assert_eq!([2, 3, 4, 5, 6, 7, 1999, 2000].map(|page| byte(&one, page)), [0, 1, 9, 3, 0, 9, 0, 4]);
        assert_eq!([2, 3, 4, 5, 6, 7, 1999, 2000].map(|page| byte(&two, page)), [0, 1, 2, 3, 0, 0, 0, 4]);
    }

    #[test]
    fn an_image_that_is_none_is_refused() {
        let image = image();
        let again = || image.file().try_clone_to_owned().unwrap();
        assert!(Image::received(again(), vec![3..6, 2000..2001]).is_ok());
        for runs in [vec![3..6, 2000..2002], vec![5..6, 3..4], vec![3..3], vec![3..4, 4..5]] {
            assert!(Image::received(again(), runs.clone()).is_err(), "{runs:?}");
        }
        let open = File::from(memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap());
        open.set_len(8 * PAGE_SIZE).unwrap();
        assert!(Image::received(open.into(), vec![3..6]).is_err());
        // More than there is RAM.
        let small = crate::memory::allocate(24 << 20).unwrap();
        let writer = ImageWriter::new().unwrap();
        writer.put(6143, &[[1; PAGE], [1; PAGE]]).unwrap();
        assert!(writer.seal([6143, 6144]).unwrap().lay(&small).is_err());
    }

    #[test]
    fn what_is_in_it_stays() {
        let image = image();
        assert!(image.file.write_all_at(&[1], 0).is_err());
        assert!(image.file.set_len(0).is_err());
    }
}
