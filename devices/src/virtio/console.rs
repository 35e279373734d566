//! The virtio console (virtio 5.3) with one port: a byte stream each way, flow-controlled by its queues.
//!
//! Nothing is copied on the way out: the backend gets the guest's buffers as slices of guest memory.
//! When it does not take all of a buffer, the buffer stays the next one of its queue and its offset is
//! remembered, also across save and restore. On the way in, the backend is only asked for bytes when
//! the guest has offered room for them.

use serde::{Deserialize, Serialize};
use virtio_bindings::virtio_ids::VIRTIO_ID_CONSOLE;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{GuestAddressSpace, GuestMemory, VolatileSlice};

use crate::lifecycle::RestoreError;
use crate::virtio::device::{DeviceError, Progress, VirtioDevice};
use crate::virtio::mmio::MmioTransport;
use crate::virtio::ring::{Ring, RingError};
use crate::virtio::slices::{SliceCursor, total_len};
use crate::virtio::stdio_mux::ProtocolViolation;

/// Queue of buffers for bytes to the guest: receiveq(port0) (virtio 5.3.2).
pub const RECEIVE_QUEUE: u16 = 0;
/// Queue of buffers with bytes from the guest: transmitq(port0).
pub const TRANSMIT_QUEUE: u16 = 1;

/// Entries of each queue.
pub const QUEUE_SIZE: u16 = 256;

const _: () = assert!(sentient_abi::layout::queues::SIZE <= QUEUE_SIZE, "the guest's queues can be adopted");

/// Most bytes handed to the backend in one call to the device, so that no driver occupies the host's
/// thread: buffers may overlap, and 256 of them can claim a terabyte.
pub const TRANSMIT_BUDGET: usize = 1 << 20;

const STATE_VERSION: u32 = 1;

/// What is at the host's end of the console. Never waits: "would block" leaves the bytes where they are.
pub trait ConsoleBackend {
    /// What the backend saves.
    type State;

    /// Takes bytes the guest has written: from the start of `bytes`, which are not empty, as many as go
    /// without waiting.
    ///
    /// # Errors
    ///
    /// [`ProtocolViolation`] when the bytes are none that the guest may send: the device stops.
    fn transmit<B: BitmapSlice>(
        &mut self,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Result<Transmit, ProtocolViolation>;

    /// Writes bytes for the guest to the start of `into`, which has room for at least one.
    fn receive<B: BitmapSlice>(&mut self, into: &[VolatileSlice<'_, B>]) -> Receive;

    /// The driver has reset the device: both streams begin anew.
    fn reset(&mut self);

    /// The backend's state.
    fn save(&self) -> Self::State;

    /// Takes on a saved state; unchanged on failure.
    ///
    /// # Errors
    ///
    /// [`RestoreError`], as [`Lifecycle::restore`](crate::Lifecycle::restore).
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}

/// What a backend did with bytes from the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transmit {
    /// It took this many from the start, at least one and at most all.
    Accepted(usize),
    /// It takes none now; its owner calls [`backend_writable`](MmioTransport::backend_writable) later.
    WouldBlock,
    /// It will never take any again: what the guest writes is dropped from here on.
    Closed,
}

/// What a backend had for the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receive {
    /// It wrote this many, at least one and at most as many as there was room for.
    Received(usize),
    /// It has none now; its owner calls [`backend_readable`](MmioTransport::backend_readable) later.
    WouldBlock,
}

/// The device, with its backend.
#[derive(Debug)]
pub struct Console<T> {
    backend: T,
    /// Bytes of the next transmit chain that the backend has taken.
    transmit_offset: u32,
    /// The backend would block: nothing to try until its owner says so.
    transmit_blocked: bool,
    /// The guest has offered no room: no reason to read input.
    receive_starved: bool,
}

/// What a [`Console`] saves, with its backend's state `S`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsoleState<S> {
    /// Layout of this struct.
    pub version: u32,
    /// Bytes of the next transmit chain that the backend has taken.
    pub transmit_offset: u32,
    /// The backend's own state.
    pub backend: S,
}

impl<T: ConsoleBackend> Console<T> {
    /// A console on `backend`.
    #[must_use]
    pub fn new(backend: T) -> Self {
        Self { backend, transmit_offset: 0, transmit_blocked: false, receive_starved: true }
    }

    /// What is at the host's end.
    pub fn backend(&self) -> &T {
        &self.backend
    }

    /// What is at the host's end, to give it input.
    pub fn backend_mut(&mut self) -> &mut T {
        &mut self.backend
    }

    /// True while bytes of the guest wait for the backend: watch it for writability, then call
    /// [`backend_writable`](MmioTransport::backend_writable).
    #[must_use]
    pub fn wants_output(&self) -> bool {
        self.transmit_blocked
    }

    /// True while the guest has room for input: only then is watching the backend's source for
    /// readability of use.
    #[must_use]
    pub fn wants_input(&self) -> bool {
        !self.receive_starved
    }

    fn transmit<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, Stop> {
        if self.transmit_blocked {
            return Ok(Progress::Done);
        }
        ring.hush()?;
        let mut budget = TRANSMIT_BUDGET;
        for _ in 0..ring.size() {
            let Some(chain) = ring.take()? else {
                return Ok(if ring.listen()? { Progress::Again } else { Progress::Done });
            };
            match self.transmit_chain(chain.head, &chain.readable, &mut budget)? {
                Sent::All => {
                    self.transmit_offset = 0;
                    ring.complete(chain.head, 0)?;
                }
                Sent::Blocked => {
                    ring.put_back();
                    self.transmit_blocked = true;
                    return Ok(Progress::Done);
                }
                Sent::OverBudget => {
                    ring.put_back();
                    return Ok(Progress::Again);
                }
            }
        }
        Ok(if ring.listen()? { Progress::Again } else { Progress::Done })
    }

    /// Hands the rest of one chain to the backend, advancing the offset by what it takes.
    fn transmit_chain<B: BitmapSlice>(
        &mut self,
        head: u16,
        bytes: &[VolatileSlice<'_, B>],
        budget: &mut usize,
    ) -> Result<Sent, Stop> {
        let mut cursor = SliceCursor::new(bytes);
        if usize::try_from(self.transmit_offset).map_or(true, |taken| taken > cursor.remaining()) {
            return Err(
                RingError::Shrunk { head, len: cursor.remaining(), taken: self.transmit_offset }.into()
            );
        }
        cursor.skip(self.transmit_offset as usize);
        while cursor.remaining() > 0 {
            if *budget == 0 {
                return Ok(Sent::OverBudget);
            }
            let window = cursor.window(*budget);
            let offered = total_len(&window);
            let taken = match self.backend.transmit(&window)? {
                Transmit::Accepted(0) | Transmit::WouldBlock => return Ok(Sent::Blocked),
                Transmit::Accepted(count) => count.min(offered),
                Transmit::Closed => offered,
            };
            cursor.skip(taken);
            *budget -= taken;
            // A chain is shorter than 2^32 bytes (virtio 2.7.5.2), and the queue sees to that.
            self.transmit_offset =
                self.transmit_offset.saturating_add(u32::try_from(taken).unwrap_or(u32::MAX));
        }
        Ok(Sent::All)
    }

    fn receive<M: GuestMemory>(&mut self, ring: &mut Ring<'_, M>) -> Result<Progress, Stop> {
        for _ in 0..ring.size() {
            let Some(chain) = ring.take()? else {
                self.receive_starved = true;
                return Ok(if ring.listen()? { Progress::Again } else { Progress::Done });
            };
            self.receive_starved = false;
            let room = chain.writable_len();
            let written = match room {
                0 => 0,
                _ => match self.backend.receive(&chain.writable) {
                    Receive::Received(0) | Receive::WouldBlock => {
                        // The guest has offered enough: it need not tell of more until that is used up.
                        ring.put_back();
                        ring.hush()?;
                        return Ok(Progress::Done);
                    }
                    Receive::Received(count) => count.min(room),
                },
            };
            ring.complete(chain.head, u32::try_from(written).unwrap_or(u32::MAX))?;
        }
        Ok(Progress::Again)
    }
}

/// How far a transmit chain got.
enum Sent {
    All,
    Blocked,
    OverBudget,
}

/// Why a queue cannot go on, before its index is added.
enum Stop {
    Ring(RingError),
    Violation(ProtocolViolation),
}

impl From<RingError> for Stop {
    fn from(error: RingError) -> Self {
        Self::Ring(error)
    }
}

impl From<ProtocolViolation> for Stop {
    fn from(violation: ProtocolViolation) -> Self {
        Self::Violation(violation)
    }
}

impl<T: ConsoleBackend> VirtioDevice for Console<T> {
    type State = ConsoleState<T::State>;

    fn device_type(&self) -> u32 {
        VIRTIO_ID_CONSOLE
    }

    fn queue_max_sizes(&self) -> &[u16] {
        &[QUEUE_SIZE, QUEUE_SIZE]
    }

    fn is_outward(&self, queue: u16) -> bool {
        queue == TRANSMIT_QUEUE
    }

    fn process_queue<M: GuestMemory>(
        &mut self,
        queue: u16,
        ring: &mut Ring<'_, M>,
    ) -> Result<Progress, DeviceError> {
        let outcome = match queue {
            RECEIVE_QUEUE => self.receive(ring),
            TRANSMIT_QUEUE => self.transmit(ring),
            _ => Ok(Progress::Done),
        };
        outcome.map_err(|stop| match stop {
            Stop::Ring(source) => DeviceError::Queue { queue, source },
            Stop::Violation(violation) => DeviceError::Violation(violation),
        })
    }

    fn resumed(&mut self) {
        self.transmit_blocked = false;
    }

    fn reset(&mut self) {
        self.transmit_offset = 0;
        self.transmit_blocked = false;
        self.receive_starved = true;
        self.backend.reset();
    }

    fn save(&self) -> Self::State {
        ConsoleState {
            version: STATE_VERSION,
            transmit_offset: self.transmit_offset,
            backend: self.backend.save(),
        }
    }

    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError> {
        RestoreError::check_version("virtio-console", state.version, STATE_VERSION)?;
        self.backend.restore(&state.backend)?;
        self.transmit_offset = state.transmit_offset;
        // Both are found out again by the first look at the queues after the start.
        self.transmit_blocked = false;
        self.receive_starved = true;
        Ok(())
    }
}

impl<T: ConsoleBackend, A: GuestAddressSpace> MmioTransport<Console<T>, A> {
    /// The backend takes bytes again: goes on with what waited for it.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn backend_writable(&mut self) -> Result<Progress, DeviceError> {
        self.device_mut().transmit_blocked = false;
        self.notify(TRANSMIT_QUEUE)
    }

    /// The backend has bytes for the guest: moves as many as the guest has room for.
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn backend_readable(&mut self) -> Result<Progress, DeviceError> {
        self.notify(RECEIVE_QUEUE)
    }
}
