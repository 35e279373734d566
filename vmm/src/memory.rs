//! Guest RAM: private memory of this process, with the gap below 4 GiB left out.
//!
//! Nobody else has a use for the pages, and private ones cost least: where the host is a virtual machine
//! itself, a page of a memfd takes 5.5 us to appear, a private one 2.8, and a large one 225 for all of its 512.

#![expect(unsafe_code, reason = "madvise on the mapping, and copies into it")]

pub mod image;
pub mod lazy;

use crate::error::MachineError;
use crate::snapshots::page::PageBytes;
use rustix::mm::{Advice, madvise};
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::{MAX_RAM, MIN_RAM, RamRange, ram_ranges};
use std::io;
use std::sync::Arc;
use vm_memory::bitmap::AtomicBitmap;
use vm_memory::{GuestAddress, GuestMemoryBackend, GuestMemoryMmap, GuestRegionMmap};

/// Guest memory as devices and loader see it. It notes which pages they write: KVM's log only knows the
/// guest's own writes.
pub type GuestMemory = Arc<GuestMemoryMmap<AtomicBitmap>>;
/// One piece of it.
pub type RamRegion = GuestRegionMmap<AtomicBitmap>;

/// RAM of `ram` bytes, all zero.
///
/// # Errors
/// [`MachineError::RamSize`] for an impossible size, [`MachineError::Memory`] if the host refuses.
pub fn allocate(ram: u64) -> Result<GuestMemory, MachineError> {
    if !(MIN_RAM..=MAX_RAM).contains(&ram) || !ram.is_multiple_of(1 << 20) {
        return Err(MachineError::RamSize(ram));
    }
    let failed = |source: io::Error| MachineError::Memory { bytes: ram, source };
    let mut regions = Vec::new();
    for RamRange { base, len } in ram_ranges(ram).into_iter().filter(|range| range.len > 0) {
        let size = usize::try_from(len).map_err(|error| failed(io::Error::other(error)))?;
        let region = RamRegion::from_range(GuestAddress(base), size, None);
        regions.push(region.map_err(|error| failed(io::Error::other(error)))?);
    }
    let memory = GuestMemoryMmap::from_regions(regions).map_err(|error| failed(io::Error::other(error)))?;
    Ok(Arc::new(memory))
}

/// Writes a page without noting that it was written. Noting takes an atomic access behind each copy, which waits until
/// the copy has reached memory, where the next one would begin meanwhile: a quarter of what putting back pages takes.
///
/// # Errors
/// For a page outside of RAM.
pub(crate) fn write_unnoted(memory: &GuestMemory, at: GuestAddress, page: &PageBytes) -> io::Result<()> {
    let slice = memory.get_slice(at, page.len()).map_err(io::Error::other)?;
    // SAFETY: `get_slice` gives as many bytes of our own mapping as were asked for, which stays while `memory` is
    // borrowed and the guard lives; `page` is a borrow of other memory, since nobody has references into the
    // guest's. A guest or a device that accesses the page meanwhile sees bytes of either: their memory is always
    // accessed as raw.
    unsafe { slice.ptr_guard_mut().as_ptr().copy_from_nonoverlapping(page.as_ptr(), page.len()) };
    Ok(())
}

/// Makes the host back a range with pages in one call, instead of by a fault for each page: for what is
/// about to be written. A range outside of RAM, or a kernel that cannot (before Linux 5.14), is no harm.
pub fn populate(memory: &GuestMemory, base: u64, len: u64) {
    advise(memory, base, len, Advice::LinuxPopulateWrite);
}

/// Asks the host for large pages in a range: the first write to each brings all of it. KVM, too, maps them as
/// a whole, where the guest's own tables do and no log of written pages is kept. A host that has none to give
/// gives small ones.
pub fn prefer_large_pages(memory: &GuestMemory, base: u64, len: u64) {
    advise(memory, base, len, Advice::LinuxHugepage);
}

fn advise(memory: &GuestMemory, base: u64, len: u64, advice: Advice) {
    let Ok(len) = usize::try_from(len) else { return };
    let Ok(slice) = memory.get_slice(GuestAddress(base), len) else { return };
    let start = slice.ptr_guard_mut().as_ptr();
    let lead = start.addr() % PAGE_SIZE as usize;
    // SAFETY: the range is a part of our own mapping, rounded down to its page; neither advice changes
    // contents, and populating needs the mapping to be writable, which it is.
    let advised = unsafe { madvise(start.wrapping_sub(lead).cast(), len + lead, advice) };
    if let Err(error) = advised {
        tracing::debug!(%error, ?advice, "guest memory is backed page by page");
    }
}

/// Lets the host have the pages of an embedded file back: the guest has its copy. They come back from the
/// program's file if they are read again.
pub fn forget_embedded(bytes: &'static [u8]) {
    let lead = bytes.as_ptr().addr().next_multiple_of(PAGE_SIZE as usize) - bytes.as_ptr().addr();
    let Some(whole) = bytes.get(lead..) else { return };
    let len = whole.len() & !(PAGE_SIZE as usize - 1);
    // SAFETY: whole pages of a constant, which lies in a private mapping of the program's file that nobody
    // has written to: the next read finds the same bytes.
    let _ = unsafe { madvise(whole.as_ptr().cast_mut().cast(), len, Advice::LinuxDontNeed) };
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn ram_beyond_the_gap_starts_at_four_gib() {
        let memory = allocate(4 << 30).unwrap();
        assert_eq!(memory.num_regions(), 2);
        memory.write_obj(7u64, GuestAddress(4 << 30)).unwrap();
        assert!(memory.write_obj(7u64, GuestAddress(0xd000_0000)).is_err());
    }

    #[test]
    fn a_page_is_written_without_being_noted_and_none_outside_of_ram() {
        use vm_memory::GuestMemoryRegion;
        use vm_memory::bitmap::Bitmap;
        let memory = allocate(24 << 20).unwrap();
        write_unnoted(&memory, GuestAddress(0x5000), &[7; PAGE_SIZE as usize]).unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0x5fff)).unwrap(), 7);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0x6000)).unwrap(), 0);
        assert!(!memory.iter().next().unwrap().bitmap().dirty_at(0x5000));
        for at in [24 << 20, (24 << 20) - 1, u64::MAX] {
            assert!(write_unnoted(&memory, GuestAddress(at), &[7; PAGE_SIZE as usize]).is_err());
        }
    }

    #[test]
    fn an_impossible_size_is_an_error_that_says_what_is_possible() {
        for ram in [0, 1 << 20, (128 << 20) + 1, 1 << 50] {
            let refused = allocate(ram).unwrap_err().to_string();
            assert!(refused.contains("from 24 to"), "{refused}");
        }
    }
}
