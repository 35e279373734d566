//! How a driver takes the device into service: status bits, features, queues (virtio 3.1.1, 4.2.3).
//!
//! What a driver does out of order has no effect, and it can see that by reading back. Only a reset
//! takes bits of the status away.

use virtio_bindings::virtio_config::VIRTIO_F_VERSION_1;
use virtio_bindings::virtio_ring::VIRTIO_RING_F_EVENT_IDX;
use virtio_queue::{Queue, QueueState, QueueT};
use vm_memory::GuestAddressSpace;

use super::registers::{Register, status};
use super::{MmioTransport, QueueSlot};
use crate::virtio::device::VirtioDevice;

impl<D: VirtioDevice, A: GuestAddressSpace> MmioTransport<D, A> {
    /// Everything a driver's reset puts back (virtio 2.4): all but the device itself.
    pub(super) fn reset_registers(&mut self) {
        self.status = 0;
        self.device_features_select = 0;
        self.driver_features_select = 0;
        self.driver_features = 0;
        self.queue_select = 0;
        self.interrupt_status = 0;
        for (slot, max) in self.queues.iter_mut().zip(self.device.queue_max_sizes()) {
            *slot = QueueSlot { size: u32::from(*max), ..QueueSlot::default() };
        }
    }

    pub(super) fn write_status(&mut self, value: u32) {
        if value == 0 {
            self.device.reset();
            self.reset_registers();
            return;
        }
        let held = self.status & status::DRIVER_BITS;
        if self.status & status::FAILED != 0 || value & held != held {
            return;
        }
        // Bits are granted in the order of the handshake, also when they come in one write.
        if value & status::ACKNOWLEDGE != 0 {
            self.status |= status::ACKNOWLEDGE;
        }
        if value & status::DRIVER != 0 && self.status & status::ACKNOWLEDGE != 0 {
            self.status |= status::DRIVER;
        }
        let features_wanted = value & status::FEATURES_OK != 0 && self.status & status::FEATURES_OK == 0;
        if features_wanted
            && self.status & status::DRIVER != 0
            && self.features_acceptable(self.driver_features)
        {
            self.status |= status::FEATURES_OK;
        }
        let ready = value & status::DRIVER_OK != 0 && self.status & status::DRIVER_OK == 0;
        if ready && self.status & status::FEATURES_OK != 0 && value & status::FAILED == 0 {
            self.status |= status::DRIVER_OK;
            self.device.activate(self.driver_features);
        }
        self.status |= value & status::FAILED;
    }

    /// Only what was offered, and not without virtio 1, which is all this transport speaks
    /// (virtio 2.2.2, 6.2).
    pub(super) fn features_acceptable(&self, features: u64) -> bool {
        features & !self.offered_features() == 0 && features & (1 << VIRTIO_F_VERSION_1) != 0
    }

    pub(super) fn write_driver_features(&mut self, value: u32) {
        let open = self.status & status::DRIVER != 0
            && self.status & (status::FEATURES_OK | status::FAILED | status::DEVICE_NEEDS_RESET) == 0;
        if !open {
            return;
        }
        let (low, high) = (self.driver_features as u32, (self.driver_features >> 32) as u32);
        self.driver_features = match self.driver_features_select {
            0 => u64::from(high) << 32 | u64::from(value),
            1 => u64::from(value) << 32 | u64::from(low),
            // Features beyond 64 do not exist here; accepting one is asking for what was not offered.
            _ if value != 0 => u64::MAX,
            _ => self.driver_features,
        };
    }

    pub(super) fn selected(&self) -> Option<&QueueSlot> {
        self.queues.get(usize::try_from(self.queue_select).ok()?)
    }

    pub(super) fn selected_max_size(&self) -> Option<u16> {
        self.device.queue_max_sizes().get(usize::try_from(self.queue_select).ok()?).copied()
    }

    /// Whether queues may be set up: between the agreement on features and the driver's start.
    fn queues_open(&self) -> bool {
        self.status & status::FEATURES_OK != 0
            && self.status & (status::DRIVER_OK | status::FAILED | status::DEVICE_NEEDS_RESET) == 0
    }

    /// Size and addresses of the selected queue, while it is not ready.
    pub(super) fn write_queue_setup(&mut self, register: Register, value: u32) {
        if !self.queues_open() {
            return;
        }
        let Ok(selected) = usize::try_from(self.queue_select) else {
            return;
        };
        let Some(slot) = self.queues.get_mut(selected).filter(|slot| slot.queue.is_none()) else {
            return;
        };
        match register {
            Register::QueueSize => slot.size = value,
            Register::QueueDescLow => set_low(&mut slot.descriptor_table, value),
            Register::QueueDescHigh => set_high(&mut slot.descriptor_table, value),
            Register::QueueDriverLow => set_low(&mut slot.driver_ring, value),
            Register::QueueDriverHigh => set_high(&mut slot.driver_ring, value),
            Register::QueueDeviceLow => set_low(&mut slot.device_ring, value),
            Register::QueueDeviceHigh => set_high(&mut slot.device_ring, value),
            _ => {}
        }
    }

    /// One makes the queue ready if it can be: with a bad size or address, QueueReady stays zero and
    /// the device asks for a reset. Zero takes the queue out of service at any time.
    pub(super) fn write_queue_ready(&mut self, value: u32) {
        let Ok(selected) = usize::try_from(self.queue_select) else {
            return;
        };
        if value == 0 {
            if let Some(slot) = self.queues.get_mut(selected) {
                slot.queue = None;
            }
            return;
        }
        if value != 1 || !self.queues_open() {
            return;
        }
        let (Some(max), Some(slot)) = (self.selected_max_size(), self.queues.get(selected)) else {
            return;
        };
        if slot.queue.is_some() {
            return;
        }
        let built = self.build_queue(slot, max, self.driver_features, (0, 0));
        match (built, self.queues.get_mut(selected)) {
            (Some(queue), Some(slot)) => slot.queue = Some(queue),
            // The driver is not ready yet, so no interrupt comes of this and nothing can fail.
            _ => {
                let _ = self.ask_for_reset();
            }
        }
    }

    /// The queue of a slot, at (next available, next used); `None` for a size or addresses that cannot
    /// be used.
    pub(super) fn build_queue(
        &self,
        slot: &QueueSlot,
        max: u16,
        features: u64,
        at: (u16, u16),
    ) -> Option<Queue> {
        let state = QueueState {
            max_size: max,
            next_avail: at.0,
            next_used: at.1,
            event_idx_enabled: features & (1 << VIRTIO_RING_F_EVENT_IDX) != 0,
            size: u16::try_from(slot.size).ok()?,
            ready: true,
            desc_table: slot.descriptor_table,
            avail_ring: slot.driver_ring,
            used_ring: slot.device_ring,
        };
        Queue::try_from(state).ok().filter(|queue| queue.is_valid(&*self.memory.memory()))
    }
}

fn set_low(address: &mut u64, value: u32) {
    *address = *address & !u64::from(u32::MAX) | u64::from(value);
}

fn set_high(address: &mut u64, value: u32) {
    *address = *address & u64::from(u32::MAX) | u64::from(value) << 32;
}
