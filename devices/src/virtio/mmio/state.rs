//! What a transport saves, how it is restored, and the start without a handshake.

use serde::{Deserialize, Serialize};
use virtio_queue::{Queue, QueueT};
use vm_memory::GuestAddressSpace;

use super::registers::{INTERRUPT_CONFIG, INTERRUPT_USED, status};
use super::{MmioTransport, QueueSlot};
use crate::lifecycle::{Lifecycle, RestoreError};
use crate::virtio::device::VirtioDevice;

const STATE_VERSION: u32 = 1;

/// The name of transports in errors.
const NAME: &str = "virtio-mmio";

/// What a [`MmioTransport`] saves, with its device's state `S`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MmioState<S> {
    /// Layout of this struct.
    pub version: u32,
    /// Number of the device type: a console's state does not fit into a disk.
    pub device_type: u32,
    /// Device status.
    pub status: u32,
    /// DeviceFeaturesSel.
    pub device_features_select: u32,
    /// DriverFeaturesSel.
    pub driver_features_select: u32,
    /// What the driver has accepted so far.
    pub driver_features: u64,
    /// QueueSel.
    pub queue_select: u32,
    /// InterruptStatus.
    pub interrupt_status: u32,
    /// ConfigGeneration.
    pub config_generation: u32,
    /// One per queue of the device.
    pub queues: Vec<QueueSlotState>,
    /// The device's own state.
    pub device: S,
}

/// What the driver has written about one queue, and where device and driver are in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSlotState {
    /// Entries.
    pub size: u32,
    /// Guest physical address of the descriptor table.
    pub descriptor_table: u64,
    /// Guest physical address of the driver's (available) ring.
    pub driver_ring: u64,
    /// Guest physical address of the device's (used) ring.
    pub device_ring: u64,
    /// QueueReady.
    pub ready: bool,
    /// Running number of the next chain to take.
    pub next_available: u16,
    /// Running number of the next chain to complete.
    pub next_used: u16,
}

/// One queue of a device that starts without a handshake; the rings in it are zeroed memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueLayout {
    /// Entries: a power of two, at most what the device allows.
    pub size: u16,
    /// Guest physical address of the descriptor table, 16-byte aligned.
    pub descriptor_table: u64,
    /// Guest physical address of the driver's (available) ring, 2-byte aligned.
    pub driver_ring: u64,
    /// Guest physical address of the device's (used) ring, 4-byte aligned.
    pub device_ring: u64,
}

impl QueueSlot {
    fn save(&self) -> QueueSlotState {
        QueueSlotState {
            size: self.size,
            descriptor_table: self.descriptor_table,
            driver_ring: self.driver_ring,
            device_ring: self.device_ring,
            ready: self.queue.is_some(),
            next_available: self.queue.as_ref().map_or(0, Queue::next_avail),
            next_used: self.queue.as_ref().map_or(0, Queue::next_used),
        }
    }
}

impl<D: VirtioDevice, A: GuestAddressSpace> MmioTransport<D, A> {
    /// Puts the device into service without the handshake over registers: as if a driver had accepted
    /// `features`, set up `queues` (all of the device's, in order) and set DRIVER_OK. For a guest that
    /// agrees with the VMM by boot information; it finds the device in this state and only notifies.
    /// Called before the start, or after a reset by the machine.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] for features that are not offered, too few or too many queues, sizes or
    /// addresses that cannot be used; the device is then as before.
    pub fn adopt(&mut self, features: u64, queues: &[QueueLayout]) -> Result<(), RestoreError> {
        let before = self.save();
        self.device.reset();
        let state = MmioState {
            status: status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK,
            device_features_select: 0,
            driver_features_select: 0,
            driver_features: features,
            queue_select: 0,
            interrupt_status: 0,
            queues: queues.iter().map(QueueLayout::fresh).collect(),
            device: self.device.save(),
            ..before
        };
        let adopted = self.restore(&state);
        match &adopted {
            Ok(()) => self.device.activate(features),
            Err(_) => self.device.restore(&before.device)?,
        }
        adopted
    }

    /// The queue of a saved slot; `Ok(None)` for one that was not ready.
    fn restore_queue(
        &self,
        state: &QueueSlotState,
        max: u16,
        features: u64,
    ) -> Result<QueueSlot, RestoreError> {
        let mut slot = QueueSlot {
            size: state.size,
            descriptor_table: state.descriptor_table,
            driver_ring: state.driver_ring,
            device_ring: state.device_ring,
            queue: None,
        };
        if state.ready {
            let built = self.build_queue(&slot, max, features, (state.next_available, state.next_used));
            slot.queue = Some(built.ok_or_else(|| {
                let expected =
                    format!("a queue has up to {max} entries, a power of two, in aligned rings in memory");
                refused("a queue", format!("{state:x?}"), expected)
            })?);
        }
        Ok(slot)
    }

    fn check_registers(&self, state: &MmioState<D::State>) -> Result<(), RestoreError> {
        RestoreError::check_version(NAME, state.version, STATE_VERSION)?;
        if state.device_type != self.device.device_type() {
            return Err(refused(
                "the device type",
                state.device_type,
                format!("it is {}", self.device.device_type()),
            ));
        }
        if state.queues.len() != self.queues.len() {
            let expected = format!("the device has {}", self.queues.len());
            return Err(refused("the number of queues", state.queues.len(), expected));
        }
        let bits = state.status;
        let has = |bit: u32| bits & bit != 0;
        let ordered = (has(status::ACKNOWLEDGE) || !has(status::DRIVER))
            && (has(status::DRIVER) || !has(status::FEATURES_OK))
            && (has(status::FEATURES_OK) || !has(status::DRIVER_OK))
            && bits & !(status::DRIVER_BITS | status::DEVICE_NEEDS_RESET) == 0;
        if !ordered {
            return Err(refused("the device status", format!("{bits:#x}"), "no handshake leads there"));
        }
        if has(status::FEATURES_OK) && !self.features_acceptable(state.driver_features) {
            let expected = format!("they include virtio 1 and are among {:#x}", self.offered_features());
            return Err(refused("the features", format!("{:#x}", state.driver_features), expected));
        }
        if !has(status::FEATURES_OK) && state.queues.iter().any(|queue| queue.ready) {
            return Err(refused("the device status", format!("{bits:#x}"), "a queue is ready"));
        }
        if state.interrupt_status & !(INTERRUPT_USED | INTERRUPT_CONFIG) != 0 {
            return Err(refused(
                "the interrupt status",
                format!("{:#x}", state.interrupt_status),
                "it has two bits",
            ));
        }
        Ok(())
    }
}

impl QueueLayout {
    fn fresh(&self) -> QueueSlotState {
        QueueSlotState {
            size: u32::from(self.size),
            descriptor_table: self.descriptor_table,
            driver_ring: self.driver_ring,
            device_ring: self.device_ring,
            ready: true,
            next_available: 0,
            next_used: 0,
        }
    }
}

fn refused(
    what: &'static str,
    found: impl std::fmt::Display,
    expected: impl std::fmt::Display,
) -> RestoreError {
    RestoreError::value(NAME, what, found, expected)
}

impl<D: VirtioDevice, A: GuestAddressSpace> Lifecycle for MmioTransport<D, A> {
    type State = MmioState<D::State>;

    /// The owner then calls [`work`](MmioTransport::work): the device may have been restored.
    fn start(&mut self) {
        self.running = true;
        self.owed = (0..self.queue_count()).map(super::owed_bit).fold(0, |owed, bit| owed | bit);
        self.device.resumed();
        if self.interrupt_status != 0 {
            // The driver may not have got the edge. If this one is missed, the next is not.
            let _ = self.interrupt.raise();
        }
    }

    fn pause(&mut self) {
        self.running = false;
    }

    /// The owner then calls [`work`](MmioTransport::work): notifications may have come too late for a
    /// snapshot.
    fn resume(&mut self) {
        self.start();
    }

    fn reset(&mut self) {
        self.device.reset();
        self.reset_registers();
        self.config_generation = 0;
    }

    fn halt(&mut self) {
        self.running = false;
    }

    fn save(&self) -> Self::State {
        MmioState {
            version: STATE_VERSION,
            device_type: self.device.device_type(),
            status: self.status,
            device_features_select: self.device_features_select,
            driver_features_select: self.driver_features_select,
            driver_features: self.driver_features,
            queue_select: self.queue_select,
            interrupt_status: self.interrupt_status,
            config_generation: self.config_generation,
            queues: self.queues.iter().map(QueueSlot::save).collect(),
            device: self.device.save(),
        }
    }

    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError> {
        self.check_registers(state)?;
        let max_sizes = self.device.queue_max_sizes();
        let queues = state
            .queues
            .iter()
            .zip(max_sizes)
            .map(|(queue, max)| self.restore_queue(queue, *max, state.driver_features))
            .collect::<Result<Vec<_>, _>>()?;
        self.device.restore(&state.device)?;
        self.queues = queues;
        self.status = state.status;
        self.device_features_select = state.device_features_select;
        self.driver_features_select = state.driver_features_select;
        self.driver_features = state.driver_features;
        self.queue_select = state.queue_select;
        self.interrupt_status = state.interrupt_status;
        self.config_generation = state.config_generation;
        Ok(())
    }
}
