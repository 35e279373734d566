//! Which pages of a machine have been written: by the guest, as KVM notes it, and by the devices, as guest
//! memory notes it.

use crate::kvm::KvmError;
use crate::kvm::vm::Vm;
use crate::memory::GuestMemory;
use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;
use sentient_abi::PAGE_SIZE;
use std::io;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

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

/// Forgets what the devices have written: the host is about to put known contents there.
pub fn forget_device_writes(memory: &GuestMemory) {
    for region in memory.iter() {
        (**region).bitmap().reset();
    }
}

/// Numbers of all pages that were ever touched, ascending: those the memory's file has. All others are zero.
///
/// # Errors
/// The error of lseek.
pub fn touched(memory: &GuestMemory) -> io::Result<Vec<u64>> {
    let mut pages = Vec::new();
    for region in memory.iter() {
        let Some(backing) = region.file_offset() else { continue };
        let (start, end) = (backing.start(), backing.start() + region.len());
        let first = region.start_addr().raw_value() / PAGE_SIZE;
        let mut at = start;
        while at < end {
            let data = match seek(backing.file(), SeekFrom::Data(at)) {
                Ok(data) if data < end => data,
                // ENXIO: no more data.
                Ok(_) | Err(Errno::NXIO) => break,
                Err(error) => return Err(error.into()),
            };
            let hole = seek(backing.file(), SeekFrom::Hole(data))?.min(end);
            pages.extend((data - start) / PAGE_SIZE + first..(hole - start).div_ceil(PAGE_SIZE) + first);
            at = hole.max(data + 1);
        }
    }
    Ok(pages)
}
