//! Which pages of a machine have been written: by the guest, as KVM notes it, and by the devices, as guest
//! memory notes it.

use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::memory::GuestMemory;
use sentient_abi::PAGE_SIZE;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use vm_memory::bitmap::Bitmap;
use vm_memory::{Address, GuestAddress, GuestMemoryBackend, GuestMemoryRegion};

/// Numbers of guest pages (address / 4096) written since the last call, ascending.
///
/// # Errors
/// [`KvmError::Call`].
pub fn take(vm: &Vm, memory: &GuestMemory) -> Result<Vec<u64>, KvmError> {
    let mut pages = Vec::new();
    for (slot, region) in memory.iter().enumerate() {
        let by_guest = vm.take_dirty_log(slot, region)?;
        let by_devices = (**region).bitmap().get_and_reset();
        let first = region.start_addr().raw_value() / PAGE_SIZE;
        let last = first + region.len() / PAGE_SIZE;
        for (word, (guest, devices)) in by_guest.iter().zip(by_devices).enumerate() {
            let mut bits = guest | devices;
            while bits != 0 {
                let page = first + word as u64 * 64 + u64::from(bits.trailing_zeros());
                if page < last {
                    pages.push(page);
                }
                bits &= bits - 1;
            }
        }
    }
    Ok(pages)
}

/// Notes that pages were written, of which the log was taken: the next [`take`] has them, too.
pub fn keep(memory: &GuestMemory, pages: &[u64]) {
    for number in pages {
        if let Some((region, offset)) = memory.to_region_addr(GuestAddress(number * PAGE_SIZE)) {
            (**region).bitmap().mark_dirty(offset.raw_value() as usize, 1);
        }
    }
}

/// Forgets what the devices have written: the host is about to put known contents there.
pub fn forget_device_writes(memory: &GuestMemory) {
    for region in memory.iter() {
        (**region).bitmap().reset();
    }
}

/// Numbers of all pages that were ever touched, ascending: those the host backs, in memory or in swap. All
/// others are zero, or as the file that is mapped there has them.
///
/// # Errors
/// The error of reading `/proc/self/pagemap` (Documentation/admin-guide/mm/pagemap.rst).
pub fn touched(memory: &GuestMemory) -> io::Result<Vec<u64>> {
    touched_within(memory, std::slice::from_ref(&(0..u64::MAX)))
}

/// The same of some pages alone, which takes as much less as they are fewer. The ranges, of page numbers, do not overlap.
///
/// # Errors
/// As [`touched`].
pub fn touched_within(memory: &GuestMemory, wanted: &[Range<u64>]) -> io::Result<Vec<u64>> {
    let pagemap = File::open("/proc/self/pagemap")?;
    let mut pages = Vec::new();
    let mut entries = vec![0; 16 << 10];
    for region in memory.iter() {
        let host = region.as_ptr().addr() as u64 / PAGE_SIZE;
        let first = region.start_addr().raw_value() / PAGE_SIZE;
        let all = first..first + region.len() / PAGE_SIZE;
        for range in wanted {
            let range = range.start.max(all.start)..range.end.min(all.end);
            // The host's number of a page, from the guest's.
            let host_of = |page: u64| host + (page - first);
            look(&pagemap, range, host_of, &mut entries, &mut pages)?;
        }
    }
    pages.sort_unstable();
    Ok(pages)
}

/// Adds those of a range's pages that were touched.
fn look(
    pagemap: &File,
    range: Range<u64>,
    host_of: impl Fn(u64) -> u64,
    entries: &mut [u8],
    pages: &mut Vec<u64>,
) -> io::Result<()> {
    /// Bit of an entry: the page is in memory.
    const PRESENT: u64 = 1 << 63;
    /// Bit of an entry: the page is in swap.
    const SWAPPED: u64 = 1 << 62;
    const ENTRY: usize = size_of::<u64>();
    let mut at = range.start;
    while at < range.end {
        let left = usize::try_from(range.end - at).unwrap_or(usize::MAX).saturating_mul(ENTRY);
        let len = entries.len().min(left);
        let Some(part) = entries.get_mut(..len) else { break };
        pagemap.read_exact_at(part, host_of(at) * ENTRY as u64)?;
        for (number, entry) in part.as_chunks::<ENTRY>().0.iter().enumerate() {
            if u64::from_le_bytes(*entry) & (PRESENT | SWAPPED) != 0 {
                pages.push(at + number as u64);
            }
        }
        at += (len / ENTRY) as u64;
    }
    Ok(())
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use vm_memory::Bytes;

    #[test]
    fn touched_pages_are_those_written_to_on_both_sides_of_the_device_gap() {
        let memory = crate::memory::allocate(5 << 30).unwrap();
        assert_eq!(touched(&memory).unwrap(), [0u64; 0]);
        let last = (4 << 30) / PAGE_SIZE + (5 << 30) / PAGE_SIZE - 0xd000_0000 / PAGE_SIZE - 1;
        let numbers = [0, 1, 9000, 0xd000_0000 / PAGE_SIZE - 1, (4 << 30) / PAGE_SIZE, last];
        for number in numbers {
            memory.write_obj(1u8, GuestAddress(number * PAGE_SIZE + 7)).unwrap();
        }
        assert_eq!(touched(&memory).unwrap(), numbers);
        let some = [9000..9001, 0..1, last..last + 9];
        assert_eq!(touched_within(&memory, &some).unwrap(), [0, 9000, last]);
    }
}
