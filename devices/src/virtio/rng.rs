//! The virtio entropy device (virtio 5.4): one queue of buffers to fill with random bytes.

use std::io;

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_RNG;
use vm_memory::GuestMemory;

use crate::lifecycle::RestoreError;
use crate::virtio::device::{DeviceError, Progress, VirtioDevice};
use crate::virtio::ring::{Chain, GuestSlice, Ring, RingError};
use crate::virtio::slices::SliceCursor;

/// The only queue: requestq (virtio 5.4.2).
pub const REQUEST_QUEUE: u16 = 0;

/// Entries of the queue.
pub const QUEUE_SIZE: u16 = 64;

const _: () = assert!(sentient_abi::layout::queues::SIZE <= QUEUE_SIZE, "the guest's queue can be adopted");

/// Most bytes given for one request; a longer one is answered in part, which virtio 5.4.6.2 allows.
pub const REQUEST_LIMIT: usize = 4096;

const STATE_VERSION: u32 = 1;

/// A source of random bytes that does not block, such as getrandom(2) after boot.
pub trait Entropy {
    /// Fills all of `bytes`.
    ///
    /// # Errors
    ///
    /// The source's error; the device then stops until the driver resets it.
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()>;
}

/// The device.
#[derive(Debug)]
pub struct Rng<E> {
    entropy: E,
}

/// What an [`Rng`] saves: nothing, so that a restored or forked guest gets bytes of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RngState {
    /// Layout of this struct.
    pub version: u32,
}

impl<E: Entropy> Rng<E> {
    /// A device that gives out what `entropy` gives.
    #[must_use]
    pub fn new(entropy: E) -> Self {
        Self { entropy }
    }

    fn serve<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, DeviceError> {
        let broken = |source: RingError| DeviceError::Queue { queue: REQUEST_QUEUE, source };
        ring.hush().map_err(broken)?;
        for _ in 0..ring.size() {
            let Some(chain) = ring.take().map_err(broken)? else {
                break;
            };
            let written = self.fill::<M>(&chain).map_err(DeviceError::Entropy)?;
            ring.complete(chain.head, written).map_err(broken)?;
        }
        Ok(if ring.listen().map_err(broken)? { Progress::Again } else { Progress::Done })
    }

    /// Fills one request up to [`REQUEST_LIMIT`] and returns the bytes written.
    fn fill<M: GuestMemory>(&mut self, chain: &Chain<GuestSlice<'_, M>>) -> io::Result<u32> {
        let mut bytes = [0; 256];
        let mut cursor = SliceCursor::new(&chain.writable);
        loop {
            let want = cursor.remaining().min(REQUEST_LIMIT - cursor.position()).min(bytes.len());
            let Some(bytes) = bytes.get_mut(..want).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            self.entropy.fill(bytes)?;
            cursor.write(bytes);
        }
        Ok(u32::try_from(cursor.position()).unwrap_or(u32::MAX))
    }
}

impl<E: Entropy> VirtioDevice for Rng<E> {
    type State = RngState;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_RNG
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn process_queue<M: GuestMemory>(
        &mut self,
        queue: u16,
        ring: &mut Ring<'_, M>,
    ) -> Result<Progress, DeviceError> {
        if queue == REQUEST_QUEUE { self.serve(ring) } else { Ok(Progress::Done) }
    }

    fn reset(&mut self) {}

    fn save(&self) -> RngState {
        RngState { version: STATE_VERSION }
    }

    fn restore(&mut self, state: &RngState) -> Result<(), RestoreError> {
        RestoreError::check_version("virtio-rng", state.version, STATE_VERSION)
    }
}
