//! The virtio network device (virtio 5.1) with one queue each way and none of the optional features: whole frames,
//! none of them split or left to the other side to finish.
//!
//! What is at the other end of the cable is the owner's business ([`Cable`]). Frames are copied once each way, because
//! the guest may change what lies in its buffers.

use sentient_abi::network::{FRAME_LEN, GUEST_HARDWARE, HEADER_LEN, MTU};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_NET;
use virtio_bindings::virtio_net::{VIRTIO_NET_F_MAC, VIRTIO_NET_F_MTU};
use vm_memory::GuestMemory;

use crate::lifecycle::RestoreError;
use crate::virtio::device::{DeviceError, Progress, VirtioDevice};
use crate::virtio::ring::{Ring, RingError};
use crate::virtio::slices::SliceCursor;

/// Queue of buffers for frames to the guest: receiveq1 (virtio 5.1.2).
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue of buffers with frames from the guest: transmitq1.
pub const TRANSMIT_QUEUE: u16 = 1;

/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 64;

const _: () = assert!(sentient_abi::layout::queues::SIZE <= QUEUE_SIZE, "the guest's queues can be adopted");

/// Where the configuration space has the MTU (virtio 5.1.4): after the address, the status and the number of pairs.
const MTU_OFFSET: usize = 10;

const STATE_VERSION: u32 = 1;

/// What a cable leads to. It loses what it has no room for, as cables do.
pub trait Cable {
    /// Takes a frame from the guest, not longer than [`FRAME_LEN`].
    fn send(&mut self, frame: Vec<u8>);

    /// Whether there is a frame for the guest.
    fn has_frame(&self) -> bool;

    /// The next frame for the guest.
    fn receive(&mut self) -> Option<Vec<u8>>;

    /// The guest is another one than before, or at another point of its life: nothing that went on over the cable goes
    /// on.
    fn unplug(&mut self);

    /// The machine goes on after a pause: the owner calls the transport's
    /// [`work`](crate::virtio::mmio::MmioTransport::work).
    fn resumed(&mut self) {}
}

/// The device, with its cable.
#[derive(Debug)]
pub struct Net<C> {
    cable: C,
}

/// What a [`Net`] saves: nothing, because frames on the way may get lost, and connections end where their machine is
/// put back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetState {
    /// Layout of this struct.
    pub version: u32,
}

impl<C: Cable> Net<C> {
    /// A device at the end of `cable`.
    #[must_use]
    pub fn new(cable: C) -> Self {
        Self { cable }
    }

    /// The cable.
    pub fn cable_mut(&mut self) -> &mut C {
        &mut self.cable
    }

    fn transmit<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, RingError> {
        ring.hush()?;
        for _ in 0..ring.size() {
            let Some(chain) = ring.take()? else { break };
            // One that is no frame is not sent, and its buffer goes back as any other.
            let len =
                chain.readable_len().checked_sub(HEADER_LEN).filter(|len| (1..=FRAME_LEN).contains(len));
            if let Some(len) = len {
                let mut cursor = SliceCursor::new(&chain.readable);
                cursor.skip(HEADER_LEN);
                let mut frame = vec![0; len];
                // There are as many: the lengths of its slices were added up.
                cursor.read(&mut frame);
                self.cable.send(frame);
            }
            ring.complete(chain.head, 0)?;
        }
        Ok(if ring.listen()? { Progress::Again } else { Progress::Done })
    }

    fn receive<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, RingError> {
        ring.hush()?;
        for _ in 0..ring.size() {
            if !self.cable.has_frame() {
                // New buffers are of no interest until there is.
                return Ok(Progress::Done);
            }
            let Some(chain) = ring.take()? else {
                return Ok(if ring.listen()? { Progress::Again } else { Progress::Done });
            };
            let Some(frame) = self.cable.receive() else { break };
            let written = if chain.writable_len() >= HEADER_LEN + frame.len() {
                let mut cursor = SliceCursor::new(&chain.writable);
                // One buffer for each frame (5.1.6.4), and nothing else to say of it.
                let mut header = [0; HEADER_LEN];
                header[HEADER_LEN - 2] = 1;
                cursor.write(&header);
                cursor.write(&frame);
                u32::try_from(cursor.position()).unwrap_or(u32::MAX)
            } else {
                // The frame is lost: a driver has to offer room for the longest one (5.1.6.3.1).
                0
            };
            ring.complete(chain.head, written)?;
        }
        Ok(Progress::Again)
    }
}

impl<C: Cable> VirtioDevice for Net<C> {
    type State = NetState;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_NET
    }

    fn features(&self) -> u64 {
        1 << VIRTIO_NET_F_MAC | 1 << VIRTIO_NET_F_MTU
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE; 2]
    }

    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let mut space = [0; MTU_OFFSET + 2];
        let (address, rest) = space.split_at_mut(GUEST_HARDWARE.len());
        address.copy_from_slice(&GUEST_HARDWARE);
        if let Some((_, mtu)) = rest.split_at_mut_checked(MTU_OFFSET - GUEST_HARDWARE.len()) {
            mtu.copy_from_slice(&MTU.to_le_bytes());
        }
        let from = usize::try_from(offset).ok().and_then(|offset| space.get(offset..)).unwrap_or_default();
        for (to, from) in data.iter_mut().zip(from) {
            *to = *from;
        }
    }

    fn is_outward(&self, queue: u16) -> bool {
        queue == TRANSMIT_QUEUE
    }

    fn process_queue<M: GuestMemory>(
        &mut self,
        queue: u16,
        ring: &mut Ring<'_, M>,
    ) -> Result<Progress, DeviceError> {
        let done = match queue {
            RECEIVE_QUEUE => self.receive(ring),
            TRANSMIT_QUEUE => self.transmit(ring),
            _ => Ok(Progress::Done),
        };
        done.map_err(|source| DeviceError::Queue { queue, source })
    }

    fn resumed(&mut self) {
        self.cable.resumed();
    }

    fn reset(&mut self) {
        self.cable.unplug();
    }

    fn save(&self) -> NetState {
        NetState { version: STATE_VERSION }
    }

    fn restore(&mut self, state: &NetState) -> Result<(), RestoreError> {
        RestoreError::check_version("virtio-net", state.version, STATE_VERSION)?;
        self.cable.unplug();
        Ok(())
    }
}
