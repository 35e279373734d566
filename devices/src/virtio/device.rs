//! What a device behind the transport must provide, and how it fails.

use vm_memory::GuestMemory;

use crate::lifecycle::RestoreError;
use crate::virtio::ring::{Ring, RingError};
use crate::virtio::stdio_mux::ProtocolViolation;

/// A virtio device without its transport. The [transport](crate::virtio::mmio) is the only caller:
///
/// 1. the questions ([`device_type`](Self::device_type), [`features`](Self::features), ...) at any time,
///    with answers that never change;
/// 2. [`activate`](Self::activate) once per reset, when the driver is done with its set-up;
/// 3. [`process_queue`](Self::process_queue) only between `activate` and [`reset`](Self::reset), and
///    only while the machine is not paused.
pub trait VirtioDevice {
    /// What the device saves beyond its transport and queues.
    type State;

    /// The device's number (virtio 5).
    fn device_type(&self) -> u32;

    /// Feature bits of the device type (virtio 5). The transport adds those of queues and of itself.
    fn features(&self) -> u64 {
        0
    }

    /// Largest size of each queue in descriptors: powers of two, at most 32768.
    fn queue_max_sizes(&self) -> &[u16];

    /// Whether what the driver puts into this queue is said to the world outside of the machine: then it waits for a
    /// [gate](crate::virtio::gate), where there is one.
    fn is_outward(&self, _queue: u16) -> bool {
        false
    }

    /// A read by the guest from the device's configuration space; `data` is zeroed, and stays so where
    /// there is no field. Any width, any offset.
    fn read_config(&self, _offset: u64, _data: &mut [u8]) {}

    /// A write by the guest to the configuration space; ignored where no field can be written.
    fn write_config(&mut self, _offset: u64, _data: &[u8]) {}

    /// The driver is ready and has accepted these features.
    fn activate(&mut self, _features: u64) {}

    /// Works on one queue: takes chains, completes them. At most as many chains as the queue has
    /// entries, and a bounded number of bytes, then [`Progress::Again`].
    ///
    /// # Errors
    ///
    /// [`DeviceError`] when the device cannot go on: the transport then asks the driver for a reset and
    /// does not call this before it.
    fn process_queue<M: GuestMemory>(
        &mut self,
        queue: u16,
        ring: &mut Ring<'_, M>,
    ) -> Result<Progress, DeviceError>;

    /// The machine goes on after a pause: whatever blocked before may not block now.
    fn resumed(&mut self) {}

    /// Back to the state of a new device; the backend stays connected.
    fn reset(&mut self);

    /// The device's own state.
    fn save(&self) -> Self::State;

    /// Takes on a saved state, including whatever [`activate`](Self::activate) told the saved device;
    /// unchanged on failure.
    ///
    /// # Errors
    ///
    /// [`RestoreError`], as [`Lifecycle::restore`](crate::Lifecycle::restore).
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}

/// How far a call got.
#[must_use = "a queue with work left is not notified again: the owner has to call"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Nothing to do until the driver or the backend says so.
    Done,
    /// The call did its share and there is more: call again, after whatever else is waiting.
    Again,
}

/// Why a device stopped serving its driver. The driver is told that the device needs a reset
/// (virtio 2.1.1), but for [`Self::Interrupt`], after which the device goes on.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The driver put something into a queue that cannot be served.
    #[error("queue {queue} is broken; the driver has to reset the device")]
    Queue {
        /// Index of the queue.
        queue: u16,
        /// What is wrong with it.
        #[source]
        source: RingError,
    },
    /// The guest broke the protocol spoken over the device.
    #[error("the guest broke the protocol of its standard streams; this machine cannot go on")]
    Violation(#[from] ProtocolViolation),
    /// The host has no random bytes to give.
    #[error("the host's source of entropy failed")]
    Entropy(#[source] std::io::Error),
    /// The guest may not have seen what the device did.
    #[error("the interrupt of the device could not be raised")]
    Interrupt(#[source] std::io::Error),
}
