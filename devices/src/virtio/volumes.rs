//! The device by which a guest reaches folders of the host: a queue of questions, each with room for its answer.
//!
//! What is asked and answered is [`sentient_abi::volumes`]'s and the owner's business ([`Folders`]). A question is copied
//! out of guest memory before anybody looks at it. It is answered before the next one is taken, so that none is ever
//! under way when the machine stands still: what is not answered then is asked again of whoever goes on.
//!
//! The device has the number of the 9P transport (virtio 5), whose one queue has the same form; it does not offer that
//! one's feature, without which no driver of 9P uses it.

use sentient_abi::volumes::{ANSWER_HEAD, MAX_ANSWER, MAX_REQUEST};
use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_9P;
use vm_memory::GuestMemory;

use crate::lifecycle::RestoreError;
use crate::virtio::device::{DeviceError, Progress, VirtioDevice};
use crate::virtio::ring::{Ring, RingError};
use crate::virtio::slices::SliceCursor;

/// The only queue.
pub const REQUEST_QUEUE: u16 = 0;

/// Entries of the queue.
pub const QUEUE_SIZE: u16 = 64;

const _: () = assert!(sentient_abi::layout::queues::SIZE <= QUEUE_SIZE, "the guest's queue can be adopted");

const STATE_VERSION: u32 = 1;

/// Who answers.
pub trait Folders {
    /// Answers a question, of which nobody has looked at anything: an error number, 0 for none, and what was asked for.
    fn serve(&mut self, request: &[u8]) -> (u32, Vec<u8>);

    /// The guest is another one than before, or at another point of its life.
    fn forget(&mut self);

    /// The machine goes on after a pause: the owner calls the transport's
    /// [`work`](crate::virtio::mmio::MmioTransport::work).
    fn resumed(&mut self) {}
}

/// The device, with the folders behind it.
#[derive(Debug)]
pub struct Volumes<F> {
    folders: F,
}

/// What a [`Volumes`] saves: nothing, because what is in the folders is the host's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesState {
    /// Layout of this struct.
    pub version: u32,
}

/// Why an answer is none: there is no room for it (`EOVERFLOW`), or the question is too long (`E2BIG`), by the numbers
/// of WASI.
const NO_ROOM: u32 = 61;
const TOO_LONG: u32 = 1;

impl<F: Folders> Volumes<F> {
    /// A device over these.
    #[must_use]
    pub fn new(folders: F) -> Self {
        Self { folders }
    }

    fn serve<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, RingError> {
        ring.hush()?;
        for _ in 0..ring.size() {
            let Some(chain) = ring.take()? else { break };
            let (error, answer) = match chain.readable_len() {
                len if len > MAX_REQUEST => (TOO_LONG, Vec::new()),
                len => {
                    let mut request = vec![0; len];
                    SliceCursor::new(&chain.readable).read(&mut request);
                    self.folders.serve(&request)
                }
            };
            let room = chain.writable_len().min(MAX_ANSWER);
            let fits = ANSWER_HEAD + answer.len() <= room;
            let (error, answer) = if fits { (error, answer) } else { (NO_ROOM, Vec::new()) };
            let mut cursor = SliceCursor::new(&chain.writable);
            // As much of it as there is room for, which a driver gives at least for this.
            cursor.write(&error.to_le_bytes());
            cursor.write(&answer);
            let written = u32::try_from(cursor.position()).unwrap_or(u32::MAX);
            ring.complete(chain.head, written)?;
        }
        Ok(if ring.listen()? { Progress::Again } else { Progress::Done })
    }
}

impl<F: Folders> VirtioDevice for Volumes<F> {
    type State = VolumesState;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_9P
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn is_outward(&self, queue: u16) -> bool {
        queue == REQUEST_QUEUE
    }

    fn process_queue<M: GuestMemory>(
        &mut self,
        queue: u16,
        ring: &mut Ring<'_, M>,
    ) -> Result<Progress, DeviceError> {
        match queue {
            REQUEST_QUEUE => self.serve(ring).map_err(|source| DeviceError::Queue { queue, source }),
            _ => Ok(Progress::Done),
        }
    }

    fn resumed(&mut self) {
        self.folders.resumed();
    }

    fn reset(&mut self) {
        self.folders.forget();
    }

    fn save(&self) -> VolumesState {
        VolumesState { version: STATE_VERSION }
    }

    fn restore(&mut self, state: &VolumesState) -> Result<(), RestoreError> {
        RestoreError::check_version("volumes", state.version, STATE_VERSION)?;
        self.folders.forget();
        Ok(())
    }
}
