//! What the VMM knows of its machine and tells the guest, so that it need not find out by itself: what
//! stays true for the machine's life. Time and random numbers, which do not, are in the
//! [time page](crate::time_page).
//!
//! Absent from a boot module that was not made for one machine (`sentctl boot-files`): the kernel then
//! measures its clock, has no virtio devices, and speaks through the serial port.

use crate::bytes::{read_u32, read_u64, write_u32, write_u64};
use crate::layout::queues;

/// Most devices.
pub const MAX_DEVICES: usize = 8;

/// Bytes of an encoded [`MachineInfo`].
pub const LEN: usize = DEVICES_AT + MAX_DEVICES * DEVICE_LEN;
const DEVICES_AT: usize = 24;
const DEVICE_LEN: usize = 24;

/// What a device is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DeviceKind {
    /// virtio-mmio console with the frames of [`stdio`](crate::stdio).
    Console = 1,
    /// virtio-mmio entropy device.
    Rng = 2,
    /// virtio-mmio network device, with the frames of [`network`](crate::network).
    Net = 3,
    /// virtio-mmio device of [`volumes`](crate::layout::queues::VOLUMES): folders of the host.
    Volumes = 4,
    /// virtio-pci block device, of somebody else's VMM: the nucleus' own, as are the two kinds of disks below.
    Block = 5,
    /// Network card of the family of Intel's 82574, whose registers ring 3 has.
    E1000e = 6,
    /// NVM Express controller.
    Nvme = 7,
    /// AHCI controller, of disks on SATA.
    Ahci = 8,
}

impl DeviceKind {
    /// Those that have disks behind them.
    pub const DISKS: [Self; 3] = [Self::Block, Self::Nvme, Self::Ahci];

    /// The pages of a virtio device's queues, in the order of these, as [`queues`](crate::layout::queues) numbers them; none of a device
    /// without such queues. A block device's is the first page of memory that is the nucleus' own, and not among them.
    #[must_use]
    pub const fn queues(self) -> &'static [u64] {
        match self {
            Self::Console => &[queues::CONSOLE_RECEIVE, queues::CONSOLE_TRANSMIT],
            Self::Rng => &[queues::RNG],
            Self::Net => &[queues::NET_RECEIVE, queues::NET_TRANSMIT],
            Self::Volumes => &[queues::VOLUMES],
            Self::Block => &[0],
            Self::E1000e | Self::Nvme | Self::Ahci => &[],
        }
    }
}

/// One virtio-mmio device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// What it is.
    pub kind: DeviceKind,
    /// Its interrupt: a pin of the I/O APIC, edge-triggered.
    pub gsi: u32,
    /// First address of its register page.
    pub base: u64,
    /// The VMM has set its queues up as [`queues`](crate::layout::queues) says: no handshake needed.
    pub adopted: bool,
}

/// Features of the processor that compiled code may use, as bits of [`MachineInfo::cpu_features`].
pub mod cpu {
    /// x86-64-v2: SSE3, SSSE3, SSE4.1, SSE4.2, POPCNT, CMPXCHG16B. The baseline of compiled images.
    pub const X86_64_V2: u64 = 1;
}

/// The facts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MachineInfo {
    /// Ticks of the local APIC timer per second at divisor 1.
    pub lapic_timer_hz: u64,
    /// Bits of [`cpu`], as the host's processor has them: CPUID may hide them on software KVM.
    pub cpu_features: u64,
    /// How often the guest says that it is alive ([`Event::Heartbeat`](crate::sentinel::Event)), in
    /// nanoseconds; 0 for never.
    pub heartbeat_ns: u64,
    /// The devices in use, then `None`.
    pub devices: [Option<Device>; MAX_DEVICES],
}

impl MachineInfo {
    /// The facts as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        // Every write is in bounds by construction.
        let _ = self.write(&mut bytes);
        bytes
    }

    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        write_u64(bytes, 0, self.lapic_timer_hz)?;
        write_u64(bytes, 8, self.cpu_features)?;
        write_u64(bytes, 16, self.heartbeat_ns)?;
        for (index, device) in self.devices.iter().enumerate() {
            let Some(device) = device else { continue };
            let at = DEVICES_AT + index * DEVICE_LEN;
            write_u32(bytes, at, device.kind as u32)?;
            write_u32(bytes, at + 4, device.gsi)?;
            write_u64(bytes, at + 8, device.base)?;
            write_u32(bytes, at + 16, u32::from(device.adopted))?;
        }
        Some(())
    }

    /// Reads facts; `None` if they are cut short or name an unknown device.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..LEN)?;
        let mut devices = [None; MAX_DEVICES];
        for (index, device) in devices.iter_mut().enumerate() {
            let at = DEVICES_AT + index * DEVICE_LEN;
            let kind = match read_u32(bytes, at)? {
                0 => continue,
                1 => DeviceKind::Console,
                2 => DeviceKind::Rng,
                3 => DeviceKind::Net,
                4 => DeviceKind::Volumes,
                5 => DeviceKind::Block,
                6 => DeviceKind::E1000e,
                7 => DeviceKind::Nvme,
                8 => DeviceKind::Ahci,
                _ => return None,
            };
            *device = Some(Device {
                kind,
                gsi: read_u32(bytes, at + 4)?,
                base: read_u64(bytes, at + 8)?,
                adopted: read_u32(bytes, at + 16)? != 0,
            });
        }
        Some(Self {
            lapic_timer_hz: read_u64(bytes, 0)?,
            cpu_features: read_u64(bytes, 8)?,
            heartbeat_ns: read_u64(bytes, 16)?,
            devices,
        })
    }

    /// The device of a kind, if there is one.
    #[must_use]
    pub fn device(&self, kind: DeviceKind) -> Option<Device> {
        self.devices.iter().flatten().find(|device| device.kind == kind).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_as_they_were_written() {
        let mut devices = [None; MAX_DEVICES];
        devices[0] = Some(Device { kind: DeviceKind::Console, gsi: 5, base: 0xd000_0000, adopted: true });
        devices[1] = Some(Device { kind: DeviceKind::Rng, gsi: 6, base: 0xd000_1000, adopted: false });
        let info = MachineInfo {
            lapic_timer_hz: 1_000_000_000,
            cpu_features: cpu::X86_64_V2,
            heartbeat_ns: 5,
            devices,
        };
        assert_eq!(MachineInfo::parse(&info.encode()), Some(info));
        assert_eq!(MachineInfo::parse(&info.encode()[..LEN - 1]), None);
    }
}
