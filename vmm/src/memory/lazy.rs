//! Guest RAM whose pages are brought when somebody first uses them, the guest or a device, by userfaultfd
//! (Documentation/admin-guide/mm/userfaultfd.rst in Linux).
//!
//! Whoever uses a page that is not there stands still until [`LazyRam::put`] brings it, also inside KVM: nobody
//! sees memory that was not put there. What lies outside of the registered ranges is zero, as ever.

#![expect(unsafe_code, reason = "ioctls of userfaultfd, on ranges of guest memory")]

use super::GuestMemory;
use crate::snapshots::page::{PageBytes, address};
use linux_raw_sys::general::{
    UFFD_API, UFFD_EVENT_PAGEFAULT, UFFD_FEATURE_POISON, UFFDIO_REGISTER_MODE_MISSING, uffd_msg, uffdio_api,
    uffdio_copy, uffdio_poison, uffdio_range, uffdio_register, uffdio_zeropage,
};
use linux_raw_sys::ioctl::{
    UFFDIO_API, UFFDIO_COPY, UFFDIO_REGISTER, UFFDIO_UNREGISTER, UFFDIO_WAKE, UFFDIO_ZEROPAGE,
};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::mm::{UserfaultfdFlags, userfaultfd};
use sentient_abi::PAGE_SIZE;
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, OwnedFd};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};

/// `_IOWR(0xaa, 8, struct uffdio_poison)` (linux/userfaultfd.h).
const UFFDIO_POISON: u32 = 0xc020_aa08;

/// Guest RAM, some of which is missing.
#[derive(Debug)]
pub struct LazyRam {
    faults: OwnedFd,
    memory: GuestMemory,
    /// Host addresses.
    registered: Vec<Range<u64>>,
}

impl LazyRam {
    /// Over the pages with these numbers, none of which has been touched.
    ///
    /// # Errors
    /// That of the system: EPERM for a user who may not have the kernel's own accesses wait, which takes
    /// CAP_SYS_PTRACE or `vm.unprivileged_userfaultfd=1`; EINVAL before Linux 6.6.
    pub fn over(memory: &GuestMemory, ranges: &[Range<u64>]) -> io::Result<Self> {
        // SAFETY: the descriptor acts on memory only through the ioctls below.
        let faults = unsafe { userfaultfd(UserfaultfdFlags::CLOEXEC | UserfaultfdFlags::NONBLOCK) }?;
        let mut lazy = Self { faults, memory: memory.clone(), registered: Vec::new() };
        let mut api = uffdio_api { api: UFFD_API.into(), features: UFFD_FEATURE_POISON.into(), ioctls: 0 };
        lazy.call(UFFDIO_API, &mut api)?;
        for range in ranges {
            let start = lazy.host_address(range.start)?;
            let len = (range.end - range.start) * PAGE_SIZE;
            // All in one mapping, or there is no such memory.
            if lazy.host_address(range.end - 1)? != start + len - PAGE_SIZE {
                return Err(io::ErrorKind::InvalidInput.into());
            }
            let mut register = uffdio_register {
                range: uffdio_range { start, len },
                mode: UFFDIO_REGISTER_MODE_MISSING.into(),
                ioctls: 0,
            };
            lazy.call(UFFDIO_REGISTER, &mut register)?;
            lazy.registered.push(start..start + len);
        }
        Ok(lazy)
    }

    /// Brings a page, if it is not there.
    ///
    /// # Errors
    /// That of the system.
    pub fn put(&self, number: u64, page: &PageBytes) -> io::Result<()> {
        let dst = self.host_address(number)?;
        let src = page.as_ptr() as u64;
        self.bring(dst, UFFDIO_COPY, || uffdio_copy { dst, src, len: PAGE_SIZE, mode: 0, copy: 0 })
    }

    /// Brings a page of zeros, if it is not there.
    ///
    /// # Errors
    /// That of the system.
    pub fn put_zeros(&self, number: u64) -> io::Result<()> {
        let start = self.host_address(number)?;
        let range = uffdio_range { start, len: PAGE_SIZE };
        self.bring(start, UFFDIO_ZEROPAGE, || uffdio_zeropage { range, mode: 0, zeropage: 0 })
    }

    /// Whoever waits for this page, or comes to use it, gets an error of memory: KVM one of KVM_RUN, this process
    /// SIGBUS. For a process that is about to end: it could not while KVM waits for a page in its name.
    ///
    /// # Errors
    /// That of the system.
    pub fn refuse(&self, number: u64) -> io::Result<()> {
        let start = self.host_address(number)?;
        let range = uffdio_range { start, len: PAGE_SIZE };
        self.bring(start, UFFDIO_POISON, || uffdio_poison { range, mode: 0, updated: 0 })
    }

    /// The number of a page that somebody waits for; `None` if nobody does within `patience`.
    ///
    /// # Errors
    /// That of the system.
    pub fn wanted(&self, patience: Timespec) -> io::Result<Option<u64>> {
        loop {
            let mut message = [0; size_of::<uffd_msg>()];
            match rustix::io::read(&self.faults, &mut message) {
                Ok(len) if len == message.len() => {}
                Ok(_) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Err(Errno::AGAIN) => {
                    let mut wait = [PollFd::new(&self.faults, PollFlags::IN)];
                    match poll(&mut wait, Some(&patience)) {
                        Ok(0) => return Ok(None),
                        Ok(_) | Err(Errno::INTR) => continue,
                        Err(error) => return Err(error.into()),
                    }
                }
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            }
            // struct uffd_msg: the event, 7 bytes, the fault's flags, its address.
            let [event, _, _, _, _, _, _, _, _, _, _, _, _, _, _, _, address @ ..] = message;
            if u32::from(event) == UFFD_EVENT_PAGEFAULT {
                let address = address.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
                return self.number(address).map(Some);
            }
        }
    }

    /// All pages are there: nobody waits any more, and what was missing is zero.
    ///
    /// # Errors
    /// That of the system.
    pub fn complete(&self) -> io::Result<()> {
        for range in &self.registered {
            let mut range = uffdio_range { start: range.start, len: range.end - range.start };
            self.call(UFFDIO_UNREGISTER, &mut range)?;
        }
        Ok(())
    }

    fn bring<T>(&self, at: u64, request: u32, argument: impl Fn() -> T) -> io::Result<()> {
        loop {
            match self.call(request, &mut argument()) {
                // The mapping was being changed.
                Err(error) if error.raw_os_error() == Some(libc::EAGAIN) => {}
                // Somebody else brought it, and whoever waits now may have begun after that.
                Err(error) if error.raw_os_error() == Some(libc::EEXIST) => {
                    return self.call(UFFDIO_WAKE, &mut uffdio_range { start: at, len: PAGE_SIZE });
                }
                done => return done,
            }
        }
    }

    fn call<T>(&self, request: u32, argument: &mut T) -> io::Result<()> {
        // SAFETY: callers pass the structure that belongs to the request (linux/userfaultfd.h). The ranges in it are
        // of the mapping that `memory` keeps; a page that is brought was missing, so that nobody has a reference
        // into it; the source of a copy is a page that the caller borrows.
        let done =
            unsafe { libc::ioctl(self.faults.as_raw_fd(), request.into(), std::ptr::from_mut(argument)) };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    fn host_address(&self, number: u64) -> io::Result<u64> {
        let slice = self.memory.get_slice(address(number), PAGE_SIZE as usize).map_err(io::Error::other)?;
        Ok(slice.ptr_guard().as_ptr() as u64)
    }

    fn number(&self, host: u64) -> io::Result<u64> {
        self.memory
            .iter()
            .find_map(|region| {
                let offset = host.checked_sub(region.as_ptr() as u64).filter(|at| *at < region.len())?;
                Some((region.start_addr().raw_value() + offset) / PAGE_SIZE)
            })
            .ok_or_else(|| io::Error::other(format!("a fault at {host:#x}, outside of guest memory")))
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
#[expect(clippy::single_range_in_vec_init, reason = "arguments are lists of ranges")]
mod tests {
    use super::*;
    use vm_memory::{Bytes, GuestAddress};

    const SOON: Timespec = Timespec { tv_sec: 5, tv_nsec: 0 };

    #[test]
    fn whoever_reads_a_missing_page_gets_what_is_brought() {
        let memory = crate::memory::allocate(24 << 20).unwrap();
        let lazy = LazyRam::over(&memory, &[512..1024]).unwrap();
        let reader = std::thread::spawn({
            let memory = memory.clone();
            move || {
                [600u64, 601, 700].map(|page| memory.read_obj::<u8>(GuestAddress(page * PAGE_SIZE)).unwrap())
            }
        });
        for _ in 0..3 {
            let number = lazy.wanted(SOON).unwrap().unwrap();
            if number == 700 {
                lazy.put_zeros(number).unwrap();
            } else {
                lazy.put(number, &[(number - 599) as u8; PAGE_SIZE as usize]).unwrap();
            }
        }
        assert_eq!(reader.join().unwrap(), [1, 2, 0]);
        // A second copy is none, and outside of the range nobody waits.
        lazy.put(600, &[9; PAGE_SIZE as usize]).unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(600 * PAGE_SIZE)).unwrap(), 1);
        assert_eq!(memory.read_obj::<u8>(GuestAddress(0)).unwrap(), 0);
        lazy.complete().unwrap();
        assert_eq!(memory.read_obj::<u8>(GuestAddress(800 * PAGE_SIZE)).unwrap(), 0);
    }

    #[test]
    fn pages_that_are_no_ram_cannot_be_lazy() {
        let memory = crate::memory::allocate(24 << 20).unwrap();
        assert!(LazyRam::over(&memory, &[6000..6400]).is_err());
    }
}
