//! A queue as a device sees it: chains of checked buffers to take and to complete.
//!
//! [`virtio_queue::Queue`] does the ring arithmetic. What this module adds is what a hostile ring needs:
//! chains that do not end, point nowhere or mix directions are errors instead of shorter chains, "empty"
//! is told apart from "unreadable", and both ways of suppressing interrupts are honoured.

use std::sync::atomic::Ordering;

use virtio_bindings::virtio_ring::VRING_AVAIL_F_NO_INTERRUPT;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vm_memory::bitmap::BS;
use vm_memory::{Bytes, GuestAddress, GuestMemory, Permissions, VolatileSlice};

use crate::virtio::slices::total_len;

/// What is wrong with a queue. Every one of these is the driver's doing.
#[derive(Debug, thiserror::Error)]
pub enum RingError {
    /// The rings cannot be accessed, or the driver offers more chains than the queue has entries.
    #[error("the rings cannot be used: {0}")]
    Rings(virtio_queue::Error),
    /// The available ring has an entry that cannot be read.
    #[error("entry {entry} of the available ring cannot be read")]
    Entry {
        /// The running number of the entry, modulo 2^16.
        entry: u16,
    },
    /// The chain leads to a descriptor that does not exist, loops, or has more descriptors than the
    /// queue has entries (virtio 2.7.5).
    #[error("the chain at descriptor {head} does not end within {limit} readable descriptors")]
    Chain {
        /// Index of its first descriptor.
        head: u16,
        /// Entries of the queue.
        limit: u16,
    },
    /// The chain has a part the device reads after one it writes (virtio 2.7.4.2).
    #[error("the chain at descriptor {head} has a device-readable part after a device-writable one")]
    Order {
        /// Index of its first descriptor.
        head: u16,
    },
    /// A buffer lies outside of guest memory.
    #[error("the chain at descriptor {head} has a buffer of {len} bytes at {address:#x}, outside of memory")]
    Buffer {
        /// Index of the chain's first descriptor.
        head: u16,
        /// Guest physical address of the buffer.
        address: u64,
        /// Its length in bytes.
        len: u32,
    },
    /// A chain that is half served got shorter than what was already taken from it.
    #[error("the chain at descriptor {head} shrank to {len} bytes while {taken} of it were already taken")]
    Shrunk {
        /// Index of its first descriptor.
        head: u16,
        /// Its length now, in bytes.
        len: usize,
        /// Bytes taken before.
        taken: u32,
    },
}

impl From<virtio_queue::Error> for RingError {
    fn from(error: virtio_queue::Error) -> Self {
        Self::Rings(error)
    }
}

/// A piece of the guest memory `M`.
pub type GuestSlice<'m, M> = VolatileSlice<'m, BS<'m, <M as GuestMemory>::Bitmap>>;

/// One buffer the driver offers: first the part the device may read, then the part it may write. All
/// slices lie within guest memory; none of their bytes has been read yet.
#[derive(Debug)]
pub struct Chain<S> {
    /// Names the chain to [`Ring::complete`].
    pub head: u16,
    /// Device-readable part.
    pub readable: Vec<S>,
    /// Device-writable part.
    pub writable: Vec<S>,
}

/// One queue, for the time of one call to a device.
pub struct Ring<'m, M> {
    queue: &'m mut Queue,
    memory: &'m M,
    completed: bool,
    /// The running number of the first entry that is not to be taken, modulo 2^16.
    until: Option<u16>,
}

impl<'m, M: GuestMemory> Ring<'m, M> {
    /// The view of a ready queue whose rings lie in `memory`.
    pub(crate) fn new(queue: &'m mut Queue, memory: &'m M) -> Self {
        Self { queue, memory, completed: false, until: None }
    }

    /// Takes no chain that is not available by now; whether there is one.
    ///
    /// # Errors
    ///
    /// [`RingError::Rings`] when the rings cannot be accessed.
    pub(crate) fn take_no_more(&mut self) -> Result<bool, RingError> {
        let end = self.queue.avail_idx(self.memory, Ordering::Acquire)?.0;
        self.until = Some(end);
        Ok(end != self.queue.next_avail())
    }

    /// Entries of the queue: the most chains one call to a device takes.
    #[must_use]
    pub fn size(&self) -> u16 {
        self.queue.size()
    }

    /// Takes the next chain the driver has made available; `None` when there is none.
    ///
    /// # Errors
    ///
    /// [`RingError`]; the queue is then of no use until it is set up anew.
    pub fn take(&mut self) -> Result<Option<Chain<GuestSlice<'m, M>>>, RingError> {
        let entry = self.queue.next_avail();
        if self.until == Some(entry) {
            return Ok(None);
        }
        let mut available = self.queue.iter(self.memory)?;
        let Some(descriptors) = available.next() else {
            // The iterator ends both at the driver's index and at an entry it cannot read.
            return match self.queue.avail_idx(self.memory, Ordering::Relaxed)?.0 == entry {
                true => Ok(None),
                false => self.entry_missing(entry),
            };
        };
        let head = descriptors.head_index();
        let limit = self.queue.size();
        let mut chain = Chain { head, readable: Vec::new(), writable: Vec::new() };
        let mut ended = false;
        for descriptor in descriptors.take(usize::from(limit)) {
            ended = !descriptor.has_next();
            let (part, access) = match descriptor.is_write_only() {
                true => (&mut chain.writable, Permissions::Write),
                false if !chain.writable.is_empty() => return Err(RingError::Order { head }),
                false => (&mut chain.readable, Permissions::Read),
            };
            let (address, len) = (descriptor.addr(), descriptor.len());
            let outside = |_| RingError::Buffer { head, address: address.0, len };
            // A u32 fits into the usize of every platform vm-memory supports.
            for slice in self.memory.get_slices(address, len as usize, access).map_err(outside)? {
                part.push(slice.map_err(outside)?);
            }
        }
        // The iterator stops silently at whatever it cannot follow: then the last flag says "next".
        if ended { Ok(Some(chain)) } else { Err(RingError::Chain { head, limit }) }
    }

    /// The iterator saw no entry although the driver's index, read a moment later, says there is one:
    /// either it has just been added, which a second look finds, or it cannot be read.
    fn entry_missing<T>(&mut self, entry: u16) -> Result<Option<T>, RingError> {
        let found = self.queue.iter(self.memory)?.next().is_some();
        if !found {
            return Err(RingError::Entry { entry });
        }
        self.queue.go_to_previous_position();
        Ok(None)
    }

    /// Gives the chain taken last back: it is the next one again. Not after completing it.
    pub fn put_back(&mut self) {
        self.queue.go_to_previous_position();
    }

    /// Hands a chain back to the driver with `written` bytes in its writable part.
    ///
    /// # Errors
    ///
    /// [`RingError`] when the used ring cannot be written, or `head` is no descriptor of the queue.
    pub fn complete(&mut self, head: u16, written: u32) -> Result<(), RingError> {
        self.queue.add_used(self.memory, head, written)?;
        self.completed = true;
        Ok(())
    }

    /// Asks the driver not to notify: the device is looking, or does not care now.
    ///
    /// # Errors
    ///
    /// [`RingError::Rings`] when the rings cannot be accessed.
    pub fn hush(&mut self) -> Result<(), RingError> {
        Ok(self.queue.disable_notification(self.memory)?)
    }

    /// Asks the driver to notify when it adds chains. True if there are chains already, about which it
    /// may not notify any more.
    ///
    /// # Errors
    ///
    /// [`RingError::Rings`] when the rings cannot be accessed.
    pub fn listen(&mut self) -> Result<bool, RingError> {
        Ok(self.queue.enable_notification(self.memory)?)
    }

    /// Whether the driver wants an interrupt for what was completed through this view.
    pub(crate) fn wants_interrupt(&mut self) -> Result<bool, RingError> {
        if !self.completed {
            return Ok(false);
        }
        self.completed = false;
        // With event indexes the queue compares; it knows nothing of the flag used without them.
        if !self.queue.needs_notification(self.memory)? {
            return Ok(false);
        }
        if self.queue.event_idx_enabled() {
            return Ok(true);
        }
        let flags: u16 = self
            .memory
            .load(GuestAddress(self.queue.avail_ring()), Ordering::Relaxed)
            .map_err(virtio_queue::Error::GuestMemory)?;
        Ok(u32::from(u16::from_le(flags)) & VRING_AVAIL_F_NO_INTERRUPT == 0)
    }
}

impl<B: vm_memory::bitmap::BitmapSlice> Chain<VolatileSlice<'_, B>> {
    /// Bytes of the device-readable part.
    #[must_use]
    pub fn readable_len(&self) -> usize {
        total_len(&self.readable)
    }

    /// Bytes of the device-writable part.
    #[must_use]
    pub fn writable_len(&self) -> usize {
        total_len(&self.writable)
    }
}
