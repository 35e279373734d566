//! Pages of guest memory, copied.

use crate::memory::image::Image;
use crate::memory::lazy::LazyRam;
use crate::memory::{self, GuestMemory};
use sentient_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};
use std::io;
use std::ops::Range;
use std::sync::{OnceLock, Weak};
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{Bytes, GuestAddress, GuestMemoryError, GuestMemoryMmap};

/// The bytes of a page.
pub type PageBytes = [u8; PAGE_SIZE as usize];

/// Where a page lies; outside of all RAM for a number that is none.
pub(crate) fn address(number: u64) -> GuestAddress {
    GuestAddress(number.saturating_mul(PAGE_SIZE))
}

/// Page numbers, which ascend, as ranges that do not touch.
#[must_use]
pub fn runs(numbers: impl IntoIterator<Item = u64>) -> Vec<Range<u64>> {
    let mut runs: Vec<Range<u64>> = Vec::new();
    for number in numbers {
        match runs.last_mut() {
            Some(last) if last.end == number => last.end = number.saturating_add(1),
            _ => runs.push(number..number.saturating_add(1)),
        }
    }
    runs
}

/// What a page holds in a snapshot.
#[derive(Clone, Copy, Debug)]
pub enum PageContents<'a> {
    /// Nothing but zeros.
    Zero,
    /// These bytes.
    Bytes(&'a PageBytes),
}

/// The memory of a snapshot, by page number (guest physical address / 4096).
pub trait PageSource {
    /// What these pages hold in it, in order.
    ///
    /// # Errors
    /// Whatever keeps one of them from being read; the machine then stays as it is.
    fn pages(&mut self, numbers: &[u64]) -> io::Result<Vec<PageContents<'_>>>;
}

/// Room for a page at a whole page's address, as the guest's pages are. An allocator puts a large block 16 bytes
/// behind one, and AMD's Zen copies 4 KiB by `rep movsb` twelve times as slowly when the target's offset in its page
/// is up to 31 bytes greater than the source's (docs/decisions/0026; glibc's bug 30994).
#[derive(Clone, Debug)]
#[repr(C, align(4096))]
struct Room(PageBytes);

const _: () = assert!(size_of::<Room>() == PAGE_SIZE as usize && align_of::<Room>() == PAGE_SIZE as usize);

/// Copies of pages in one piece of memory, which is kept between captures so that its pages are warm: the
/// first touch of a page costs more than copying one.
#[derive(Debug, Default)]
pub struct PageBuffer {
    /// All of it has been written before.
    room: Vec<Room>,
    /// How many pages there are, from the first on: at most as many as there is room for.
    len: usize,
}

impl PageBuffer {
    /// Empty, with room for `pages` pages that are touched already.
    #[must_use]
    pub fn with_room(pages: usize) -> Self {
        Self { room: vec![Room([1; PAGE_SIZE as usize]); pages], len: 0 }
    }

    /// Forgets the pages, keeps the room, and gets more if `pages` pages want it.
    pub fn begin(&mut self, pages: usize) {
        self.len = 0;
        self.room.reserve(pages.saturating_sub(self.room.len()));
    }

    /// Adds a copy of a page of guest memory.
    ///
    /// # Errors
    /// [`GuestMemoryError`] if there is no such page.
    pub fn push(&mut self, memory: &GuestMemory, number: u64) -> Result<(), GuestMemoryError> {
        if self.len == self.room.len() {
            self.room.push(Room([0; PAGE_SIZE as usize]));
        }
        let Some(Room(page)) = self.room.get_mut(self.len) else { return Ok(()) };
        memory.read_slice(page, address(number))?;
        self.len += 1;
        Ok(())
    }

    /// The page that was added as this one, counted from 0.
    #[must_use]
    pub fn page(&self, place: usize) -> Option<&PageBytes> {
        self.room.get(place).filter(|_| place < self.len).map(|Room(page)| page)
    }

    /// The pages, in the order they were added.
    pub fn pages(&self) -> impl Iterator<Item = &PageBytes> {
        self.room.iter().take(self.len).map(|Room(page)| page)
    }
}

/// Writes the pages of a machine that is being restored, from any thread.
#[derive(Debug)]
pub struct MemoryWriter<'a> {
    memory: &'a GuestMemory,
    image: OnceLock<Image>,
}

impl<'a> MemoryWriter<'a> {
    pub(crate) fn new(memory: &'a GuestMemory) -> Self {
        Self { memory, image: OnceLock::new() }
    }

    /// What lies under the memory now.
    pub(crate) fn into_image(self) -> Option<Image> {
        self.image.into_inner()
    }

    /// Gives the machine the pages of an image, before anything is written.
    ///
    /// # Errors
    /// That of the system; `InvalidInput` for an image of a larger machine, `AlreadyExists` for a second one.
    pub fn lay(&self, image: Image) -> io::Result<()> {
        image.lay(self.memory)?;
        self.image.set(image).map_err(|_| io::ErrorKind::AlreadyExists.into())
    }

    /// Asks the host for one large page for the 2 MiB that page `number` lies in: for blocks of which much will
    /// be written.
    pub fn prefer_large_page(&self, number: u64) {
        let base = number.saturating_mul(PAGE_SIZE) & !(LARGE_PAGE_SIZE - 1);
        memory::prefer_large_pages(self.memory, base, LARGE_PAGE_SIZE);
    }

    /// Leaves the pages with these numbers to be brought when they are used. Nothing may have been written there, and
    /// from here on whoever touches them waits for what is returned.
    ///
    /// # Errors
    /// As [`LazyRam::over`].
    pub fn lazily(&self, ranges: &[Range<u64>]) -> io::Result<LazyRam> {
        LazyRam::over(self.memory, ranges)
    }

    /// Writes a page.
    ///
    /// # Errors
    /// [`MachineError::Memory`](crate::MachineError::Memory) if there is no such page.
    pub fn write(&self, number: u64, page: &PageBytes) -> Result<(), crate::MachineError> {
        self.memory.write_slice(page, address(number)).map_err(|error| crate::MachineError::Memory {
            bytes: PAGE_SIZE,
            source: io::Error::other(error),
        })
    }
}

/// Reads pages of a machine's memory, from any thread, also while its guest writes to them: whoever does that compares
/// them with their hashes.
#[derive(Clone, Debug)]
pub struct MemoryReader(pub(crate) Weak<GuestMemoryMmap<AtomicBitmap>>);

impl MemoryReader {
    /// Copies a page.
    ///
    /// # Errors
    /// `NotFound` if there is no such page, or no machine any more.
    pub fn read(&self, number: u64, page: &mut PageBytes) -> io::Result<()> {
        let memory = self.0.upgrade().ok_or(io::ErrorKind::NotFound)?;
        memory
            .read_slice(page, address(number))
            .map_err(|error| io::Error::new(io::ErrorKind::NotFound, error))
    }
}
