//! Where drivers find their devices and the queues of these: our VMM says where they are, or the nucleus has found them.

use crate::gate;
use crate::machine::Machine;
use crate::virtqueue::{Doorbell, VirtQueue};
use sentient_abi::found::{CONFIG_LEN, FoundDevice, MAX_FOUND};
use sentient_abi::layout::queues;
use sentient_abi::machine_info::{self, DeviceKind};
use sentient_abi::region::RegionKind;

/// QueueNotify of virtio-mmio (virtio 1.3, 4.2.2).
const QUEUE_NOTIFY: u64 = 0x50;

/// A device with queues that are set up.
#[derive(Clone, Copy)]
pub enum Device {
    /// Of our VMM's.
    Ours(machine_info::Device),
    /// On PCI.
    Found(FoundDevice),
}

/// The device of a kind, if the machine has one.
pub fn find(machine: &Machine, kind: DeviceKind) -> Option<Device> {
    match machine.info {
        Some(info) => info.device(kind).map(Device::Ours),
        None => all_found().find(|found| found.is(kind)).map(Device::Found),
    }
}

/// All that were found on a machine without a VMM of ours.
pub fn all_found() -> impl Iterator<Item = FoundDevice> {
    (0..MAX_FOUND as u64).map_while(gate::found)
}

impl Device {
    /// The queue of this number of a device of this kind.
    ///
    /// # Safety
    /// It must be of that kind, and nothing else may use the queue.
    pub unsafe fn queue(&self, machine: &Machine, kind: DeviceKind, number: u16) -> Option<VirtQueue> {
        let page = kind.queues().get(usize::from(number))?;
        let page = machine.region(RegionKind::DeviceBuffers)?.base + page * queues::STRIDE;
        let (doorbell, len) = match self {
            Self::Ours(device) => (Doorbell::Mmio(device.base + QUEUE_NOTIFY), queues::SIZE),
            Self::Found(found) => {
                (Doorbell::Pci(*found.doorbells.get(usize::from(number))?), found.queue_len)
            }
        };
        // SAFETY: the region is mapped, and zero when the machine starts; the caller's contract.
        Some(unsafe { VirtQueue::new(page, doorbell, number, len) })
    }

    /// Where the registers of a device begin that has no virtio queues.
    pub fn registers(&self) -> Option<u64> {
        match self {
            Self::Found(FoundDevice { doorbells: [registers, _], queue_len: 0, .. }) => Some(*registers),
            _ => None,
        }
    }

    /// Lets it interrupt. One on PCI does so from the start, if its queues want it to.
    pub fn enable_interrupt(&self) {
        if let Self::Ours(device) = self {
            gate::enable_interrupt(device.gsi);
        }
    }

    /// The start of its own configuration, if it is not ours.
    pub fn config(&self) -> Option<[u8; CONFIG_LEN]> {
        match self {
            Self::Ours(_) => None,
            Self::Found(found) => Some(found.config),
        }
    }
}
