//! The virtio-mmio transport, version 2 (virtio 4.2.2): registers and queues around one device.
//!
//! The VMM calls [`MmioTransport::read`] and [`MmioTransport::write`] for the guest's accesses and
//! [`MmioTransport::notify`] when a queue has been notified, be it by an ioeventfd or by the
//! [`Notify`] that a write returns. One thread at a time: the VMM keeps a transport behind a lock or on
//! one thread.
//!
//! The parts: [`registers`] has the numbers, `handshake` the status register and the set-up of queues,
//! [`state`] what is saved and the start without a handshake.

mod handshake;
pub mod registers;
pub mod state;

use std::sync::Arc;
use std::sync::atomic::Ordering;

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::{VIRTIO_RING_F_EVENT_IDX, VIRTIO_RING_F_INDIRECT_DESC};
use virtio_queue::{Queue, QueueT};
use vm_memory::{GuestAddressSpace, GuestMemory};

use crate::interrupt::Interrupt;
use crate::virtio::device::{DeviceError, Progress, VirtioDevice};
use crate::virtio::gate::Gate;
use crate::virtio::ring::{Ring, RingError};
use registers::{CONFIG_OFFSET, INTERRUPT_CONFIG, INTERRUPT_USED, Register, status};

/// Feature bits of the transport and of its queues, offered for every device: virtio 1 (6), event
/// indexes (2.7.10), indirect descriptors (2.7.5.3).
pub const TRANSPORT_FEATURES: u64 =
    1 << VIRTIO_F_VERSION_1 | 1 << VIRTIO_RING_F_EVENT_IDX | 1 << VIRTIO_RING_F_INDIRECT_DESC;

/// The driver has notified this queue by a register write: the caller owes a
/// [`notify`](MmioTransport::notify).
#[must_use = "the driver has notified a queue: call `notify` with its index"]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Notify(
    /// Index of the queue; one the device has.
    pub u16,
);

/// What a driver writes to set up a queue, and the queue once it is ready.
#[derive(Debug, Default)]
struct QueueSlot {
    size: u32,
    descriptor_table: u64,
    driver_ring: u64,
    device_ring: u64,
    /// Exists exactly while QueueReady reads as one: addresses and size have been checked.
    queue: Option<Queue>,
}

/// The transport with its device `D`; guest memory is reached through `A`, for instance an
/// `Arc<GuestMemoryMmap>`.
pub struct MmioTransport<D, A> {
    device: D,
    memory: A,
    interrupt: Arc<dyn Interrupt>,
    gate: Option<Arc<dyn Gate>>,
    /// False while paused or halted, and before the start.
    running: bool,
    /// One bit per queue that may have work of which nobody will tell any more.
    owed: u64,
    status: u32,
    device_features_select: u32,
    driver_features_select: u32,
    driver_features: u64,
    queue_select: u32,
    queues: Vec<QueueSlot>,
    interrupt_status: u32,
    config_generation: u32,
}

impl<D: VirtioDevice, A: GuestAddressSpace> MmioTransport<D, A> {
    /// The transport of `device`, after power-on.
    #[must_use]
    pub fn new(device: D, memory: A, interrupt: Arc<dyn Interrupt>) -> Self {
        let queues = device.queue_max_sizes().iter().map(|_| QueueSlot::default()).collect();
        let mut transport = Self {
            device,
            memory,
            interrupt,
            gate: None,
            running: false,
            owed: 0,
            status: 0,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: 0,
            queue_select: 0,
            queues,
            interrupt_status: 0,
            config_generation: 0,
        };
        transport.reset_registers();
        transport
    }

    /// The device behind the transport.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// Whether the driver has put something into this queue that the device has not taken.
    #[must_use]
    pub fn has_untaken(&self, queue: u16) -> bool {
        let ready = self.queues.get(usize::from(queue)).and_then(|slot| slot.queue.as_ref());
        let memory = self.memory.memory();
        // What cannot be read, the device has not taken.
        let is_untaken = |ready: &Queue| {
            ready.avail_idx(&*memory, Ordering::Acquire).map_or(true, |end| end.0 != ready.next_avail())
        };
        ready.is_some_and(is_untaken)
    }

    /// From here on, what the guest says by this device waits for `gate`, if there is one.
    pub fn set_gate(&mut self, gate: Option<Arc<dyn Gate>>) {
        self.gate = gate;
    }

    /// The device behind the transport, to feed its backend.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }

    /// Number of queues, and so of ioeventfds to register.
    #[must_use]
    pub fn queue_count(&self) -> u16 {
        u16::try_from(self.queues.len()).unwrap_or(u16::MAX)
    }

    /// All features offered to the driver.
    #[must_use]
    pub fn offered_features(&self) -> u64 {
        self.device.features() | TRANSPORT_FEATURES
    }

    /// The device status register (virtio 2.1).
    #[must_use]
    pub fn status(&self) -> u32 {
        self.status
    }

    /// Whether the driver has finished its set-up and neither side has given up.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.status & status::DRIVER_OK != 0
            && self.status & (status::FAILED | status::DEVICE_NEEDS_RESET) == 0
    }

    /// A read by the guest at `offset` from the start of the device's region. Registers are four bytes
    /// wide and only read whole; anything else, and whatever is no register, reads as zero. In the
    /// configuration space any width goes.
    pub fn read(&mut self, offset: u64, data: &mut [u8]) {
        data.fill(0);
        if let Some(offset) = offset.checked_sub(CONFIG_OFFSET) {
            self.device.read_config(offset, data);
        } else if let (Some(register), Ok(word)) = (Register::at(offset), <&mut [u8; 4]>::try_from(data)) {
            *word = self.read_register(register).to_le_bytes();
        }
    }

    /// A write by the guest; the same rules as for reading, and what breaks them is ignored. Returns the
    /// queue to [`notify`](Self::notify) if this was a notification.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> Option<Notify> {
        if let Some(offset) = offset.checked_sub(CONFIG_OFFSET) {
            if self.status & status::DRIVER != 0 {
                self.device.write_config(offset, data);
            }
            return None;
        }
        let (register, word) = (Register::at(offset)?, <[u8; 4]>::try_from(data).ok()?);
        self.write_register(register, u32::from_le_bytes(word))
    }

    fn read_register(&self, register: Register) -> u32 {
        match register {
            Register::MagicValue => registers::MAGIC,
            Register::Version => registers::VERSION,
            Register::DeviceId => self.device.device_type(),
            Register::VendorId => registers::VENDOR,
            Register::DeviceFeatures => half(self.offered_features(), self.device_features_select),
            Register::QueueSizeMax => self.selected_max_size().map_or(0, u32::from),
            Register::QueueReady => self.selected().is_some_and(|slot| slot.queue.is_some()).into(),
            Register::InterruptStatus => self.interrupt_status,
            Register::Status => self.status,
            Register::ConfigGeneration => self.config_generation,
            // No shared memory region exists: length and base are all ones (virtio 4.2.2).
            Register::ShmLenLow | Register::ShmLenHigh | Register::ShmBaseLow | Register::ShmBaseHigh => {
                u32::MAX
            }
            // Write-only, or of a feature that is not offered.
            _ => 0,
        }
    }

    fn write_register(&mut self, register: Register, value: u32) -> Option<Notify> {
        match register {
            Register::DeviceFeaturesSel => self.device_features_select = value,
            Register::DriverFeaturesSel => self.driver_features_select = value,
            Register::DriverFeatures => self.write_driver_features(value),
            Register::QueueSel => self.queue_select = value,
            Register::QueueReady => self.write_queue_ready(value),
            Register::QueueNotify => {
                return u16::try_from(value).ok().filter(|queue| *queue < self.queue_count()).map(Notify);
            }
            Register::InterruptAck => self.interrupt_status &= !value,
            Register::Status => self.write_status(value),
            _ => self.write_queue_setup(register, value),
        }
        None
    }

    /// Lets the device work on a queue the driver has notified, or for which its backend has something.
    /// At most one interrupt comes of it. Does nothing while the driver is not ready, or while the
    /// machine is paused: the first [`work`](Self::work) afterwards takes it up. The same holds for what a
    /// [gate](Self::set_gate) does not let out.
    ///
    /// After [`Progress::Again`] the caller comes back with this call or with [`work`](Self::work).
    ///
    /// # Errors
    ///
    /// [`DeviceError`], for the log; the driver has been told that the device needs a reset, and calls
    /// do nothing until then.
    pub fn notify(&mut self, queue: u16) -> Result<Progress, DeviceError> {
        if !self.running || !self.is_live() {
            return Ok(Progress::Done);
        }
        self.owed &= !owed_bit(queue);
        let Some(ready) = self.queues.get_mut(usize::from(queue)).and_then(|slot| slot.queue.as_mut()) else {
            return Ok(Progress::Done);
        };
        let memory = self.memory.memory();
        let mut ring = Ring::new(ready, &*memory);
        let gate = self.gate.as_deref().filter(|_| self.device.is_outward(queue));
        let outcome = match gate.map(|gate| pass(gate, &mut ring)) {
            Some(Ok(false)) => return Ok(Progress::Done),
            Some(Err(source)) => Err(DeviceError::Queue { queue, source }),
            Some(Ok(true)) | None => self.device.process_queue(queue, &mut ring),
        };
        let wanted = ring.wants_interrupt().map_err(|source| DeviceError::Queue { queue, source });
        if matches!(outcome, Ok(Progress::Again)) {
            self.owed |= owed_bit(queue);
        }
        // What was completed before a failure is announced all the same.
        let raised = if matches!(wanted, Ok(false)) { Ok(()) } else { self.raise(INTERRUPT_USED) };
        match (outcome, wanted) {
            (Ok(progress), Ok(_)) => raised.map(|()| progress),
            (Err(error), _) | (Ok(_), Err(error)) => {
                // The error that broke the queue says more than one of the interrupt.
                let _ = self.ask_for_reset();
                Err(error)
            }
        }
    }

    /// Lets the device work once on every queue that may have work of which nobody will tell: all of
    /// them after a start or a resume (what was notified before a snapshot), later those that were left
    /// at [`Progress::Again`]. The owner calls this after `start` and `resume`, and whenever it was told
    /// "again", until it is told "done".
    ///
    /// # Errors
    ///
    /// As [`notify`](Self::notify).
    pub fn work(&mut self) -> Result<Progress, DeviceError> {
        for queue in 0..self.queue_count().min(64) {
            if self.owed & owed_bit(queue) != 0 {
                // Whether it is owed again is noted there.
                let _ = self.notify(queue)?;
            }
        }
        let left = self.running && self.is_live() && self.owed != 0;
        Ok(if left { Progress::Again } else { Progress::Done })
    }

    /// Tells the driver that the configuration space has changed.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Interrupt`].
    pub fn config_changed(&mut self) -> Result<(), DeviceError> {
        self.config_generation = self.config_generation.wrapping_add(1);
        if self.is_live() { self.raise(INTERRUPT_CONFIG) } else { Ok(()) }
    }

    /// Lets the driver look around, although the device has nothing new for it: to it, this is an interrupt whose
    /// news it has taken already.
    ///
    /// # Errors
    ///
    /// [`DeviceError::Interrupt`].
    pub fn wake_driver(&mut self) -> Result<(), DeviceError> {
        if self.running && self.is_live() { self.raise(INTERRUPT_USED) } else { Ok(()) }
    }

    /// Sets a bit of the interrupt status and raises the interrupt. The line is edge-triggered and a
    /// driver may leave the status alone, so that it is raised whether or not the bit was set.
    fn raise(&mut self, cause: u32) -> Result<(), DeviceError> {
        self.interrupt_status |= cause;
        self.interrupt.raise().map_err(DeviceError::Interrupt)
    }

    /// The device cannot go on: says so as virtio 2.1.2 wants it.
    fn ask_for_reset(&mut self) -> Result<(), DeviceError> {
        let live = self.status & status::DRIVER_OK != 0;
        self.status |= status::DEVICE_NEEDS_RESET;
        if live { self.raise(INTERRUPT_CONFIG) } else { Ok(()) }
    }
}

/// Whether what has been said by now may leave; what is said from here on does not, in this call.
fn pass<M: GuestMemory>(gate: &dyn Gate, ring: &mut Ring<'_, M>) -> Result<bool, RingError> {
    gate.prepare();
    let is_said = ring.take_no_more()?;
    Ok(!is_said || gate.opens())
}

/// The bit of a queue in `owed`; no device has 64 queues.
fn owed_bit(queue: u16) -> u64 {
    1u64.checked_shl(u32::from(queue)).unwrap_or(0)
}

/// The 32 bits of `features` that a select register shows; there are only two windows.
fn half(features: u64, select: u32) -> u32 {
    match select {
        0 => features as u32,
        1 => (features >> 32) as u32,
        _ => 0,
    }
}
