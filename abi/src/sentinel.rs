//! The sentinel device: four 32-bit ports through which the guest tells the VMM how it fares.
//!
//! Ports, because an `out` is the cheapest way out of ring 0 on every KVM host, and because it works
//! with no page table, no interrupt and no memory: from a panicking nucleus too.

/// First port. 0x5e0-0x5ef is claimed by nothing on a PC and outside QEMU's own debug ports.
pub const BASE: u16 = 0x5e0;
/// Number of ports from [`BASE`].
pub const LEN: u16 = 16;

/// Read: the VMM's [`ABI_VERSION`](crate::ABI_VERSION). All ones where there is no such device.
pub const VERSION: u16 = BASE;
/// Write: an [`Event`].
pub const EVENT: u16 = BASE + 4;
/// Write: an encoded [`ContainerEnd`](crate::exit::ContainerEnd); the machine is finished.
pub const EXIT: u16 = BASE + 8;
/// Write: a [`panic reason`](crate::panic_record::Reason); the [`PanicRecord`](crate::panic_record::PanicRecord)
/// in memory is complete.
pub const PANIC: u16 = BASE + 12;

/// What the guest announces through [`EVENT`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Event {
    /// The runtime is up: the next thing it does is to start a container.
    Ready = 1,
    /// The guest is alive; sent from its timer.
    Heartbeat = 2,
    /// No container is being run: each is all in its region. The answer to a
    /// [`Rest`](crate::stdio::FrameKind::Rest); it goes on as soon as the VMM lets it.
    AtRest = 3,
}

impl Event {
    /// The event of a value written to [`EVENT`], if it is one.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Ready),
            2 => Some(Self::Heartbeat),
            3 => Some(Self::AtRest),
            _ => None,
        }
    }
}
