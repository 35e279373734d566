//! Devices that the nucleus has found on a machine without a VMM of ours, and made ready.
//!
//! The queues of virtio devices are those of [`queues`](crate::layout::queues), as those of our VMM's devices are: a driver in ring 3 does
//! not know the difference, but for how it tells the device of new buffers. Of other devices, ring 3 has the registers.

use crate::machine_info::DeviceKind;

/// Most devices that are made ready.
pub const MAX_FOUND: usize = 12;

/// Most queues of a device.
pub const MAX_QUEUES: usize = 2;

/// Bytes of a device's own configuration that are passed on.
pub const CONFIG_LEN: usize = 8;

/// A device, as a call writes it ([`Found`](crate::gate::Call::Found)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct FoundDevice {
    /// The registers that its queues are notified by: of 16 bits, and written with the queue's number (virtio 1.3, 4.1.5.2). Of a
    /// device without such queues, the first one is where its registers begin.
    pub doorbells: [u64; MAX_QUEUES],
    /// What it is: a [`DeviceKind`].
    pub kind: u32,
    /// Where it is: bus, device and function (PCI Local Bus specification 3.0, 3.2.2.3.2), for people.
    pub place: u16,
    /// Descriptors of each of its queues, a power of two; 0 for a device without such queues.
    pub queue_len: u16,
    /// The start of its own configuration: a hardware address, or how many sectors it has.
    pub config: [u8; CONFIG_LEN],
}

const _: () = assert!(size_of::<FoundDevice>() == 32);

/// What is known of a machine without a VMM of ours, as a call writes it ([`Facts`](crate::gate::Call::Facts)).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Facts {
    /// What the time-stamp counter was when the loader had handed over, or the last panic was gone on from.
    pub entered: u64,
    /// Processors there are, of which one is used; 0 if nobody says.
    pub processors: u32,
    /// Panics of the kernel that it has gone on from.
    pub panics: u32,
}

const _: () = assert!(size_of::<Facts>() == 16);

impl FoundDevice {
    /// Whether it is of this kind.
    #[must_use]
    pub fn is(&self, kind: DeviceKind) -> bool {
        self.kind == kind as u32
    }
}
