//! Virtio devices on PCI (virtio 1.3, 4.1), as other VMMs have them: found, and made ready for a driver that knows only its queues.

use crate::pci::{self, Configuration, Function, Id};
use crate::registers::Registers;
use sentient_abi::found::{CONFIG_LEN, FoundDevice, MAX_QUEUES};
use sentient_abi::layout::{RamRange, queues};
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::access;
use sentient_abi::{PAGE_SIZE, page_align_up};

/// Who makes them; of devices that know the older version too, and of those that do not, the identifiers (4.1.2).
const VENDOR: u16 = 0x1af4;
const TRANSITIONAL: core::ops::RangeInclusive<u16> = 0x1000..=0x103f;
const MODERN: core::ops::RangeInclusive<u16> = 0x1040..=0x107f;

/// Identifiers of capabilities, and what a virtio one tells the place of (4.1.4).
const OWN: u8 = 0x09;
const MSI_X: u8 = 0x11;
const COMMON: u8 = 1;
const NOTIFY: u8 = 2;
const DEVICE: u8 = 4;

/// Bits of the message control register (PCI Local Bus specification 3.0, 6.8.2.3): all are masked; it is in use.
const ALL_MASKED: u32 = 1 << 30;
const IN_USE: u32 = 1 << 31;

/// Registers of the common configuration (4.1.4.3), and its length.
mod common {
    pub const FEATURE_SELECT: u64 = 0;
    pub const FEATURE: u64 = 4;
    pub const DRIVER_FEATURE_SELECT: u64 = 8;
    pub const DRIVER_FEATURE: u64 = 12;
    pub const CONFIG_VECTOR: u64 = 16;
    pub const STATUS: u64 = 20;
    pub const QUEUE_SELECT: u64 = 22;
    pub const QUEUE_SIZE: u64 = 24;
    pub const QUEUE_VECTOR: u64 = 26;
    pub const QUEUE_ENABLE: u64 = 28;
    pub const QUEUE_NOTIFY_OFF: u64 = 30;
    pub const QUEUE_DESC: u64 = 32;
    pub const QUEUE_DRIVER: u64 = 40;
    pub const QUEUE_DEVICE: u64 = 48;
    pub const LEN: u64 = 56;
}

/// Bits of the status (2.1).
mod status {
    pub const ACKNOWLEDGE: u8 = 1;
    pub const DRIVER: u8 = 2;
    pub const DRIVER_OK: u8 = 4;
    pub const FEATURES_OK: u8 = 8;
    pub const NEEDS_RESET: u8 = 64;
    pub const FAILED: u8 = 128;
}

/// No vector (4.1.5.1.2).
const NO_VECTOR: u16 = 0xffff;
/// Features: it is of version 1 (6); a network device has a hardware address (5.1.3); a block device is never written, and has a cache that
/// it can be told to write (5.2.3).
const VERSION_1: u64 = 1 << 32;
const NET_MAC: u64 = 1 << 5;
const BLOCK_READ_ONLY: u64 = 1 << 5;
/// See [`Transport::adopt`].
pub const BLOCK_FLUSH: u64 = 1 << 9;
/// Most bytes of registers that queues are notified by: one page for each, as some have it.
const MOST_NOTIFY: u64 = 4 * PAGE_SIZE;

/// A device that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Transport {
    /// Where it is.
    pub function: Function,
    /// What it is.
    pub kind: DeviceKind,
    common: u64,
    device: u64,
    notify: u64,
    notify_len: u64,
    /// Bytes between the registers of two queues.
    multiplier: u32,
    /// Where its capability for interrupts by messages is, and the table of them.
    msi_x: u8,
    table: u64,
}

/// The kind of a function, if it is a virtio device that there is a driver for (5).
fn kind(id: Id) -> Option<DeviceKind> {
    if id.vendor != VENDOR {
        return None;
    }
    let number = if MODERN.contains(&id.device) {
        id.device - MODERN.start()
    } else if TRANSITIONAL.contains(&id.device) {
        id.subsystem
    } else {
        return None;
    };
    match number {
        1 => Some(DeviceKind::Net),
        2 => Some(DeviceKind::Block),
        3 => Some(DeviceKind::Console),
        4 => Some(DeviceKind::Rng),
        _ => None,
    }
}

impl Transport {
    /// The device, if a function is one that there is a driver for, and can be reached by memory.
    #[must_use]
    pub fn find(space: &impl Configuration, function: Function, id: Id) -> Option<Self> {
        let kind = kind(id)?;
        let mut places: [Option<(u64, u64)>; 5] = [None; 5];
        let (mut multiplier, mut msi_x) = (0, None);
        pci::each_capability(space, function, &mut |at, identifier| {
            if identifier == MSI_X {
                msi_x = msi_x.or(Some(at));
            }
            // The last one's last register must be within configuration space.
            if identifier != OWN || at > 0xec {
                return;
            }
            let what = (space.read(function, at) >> 24) as u8;
            let bar = space.read(function, at + 4) as u8;
            let (offset, len) = (space.read(function, at + 8), space.read(function, at + 12));
            let Some(place) = places.get_mut(usize::from(what)) else { return };
            // A device may have several, in the order in which it would have them used (4.1.4.1).
            if place.is_none()
                && let Some(base) = pci::memory(space, function, bar)
                && let Some(address) = base.checked_add(u64::from(offset))
            {
                *place = Some((address, u64::from(len)));
                if what == NOTIFY {
                    multiplier = space.read(function, at + 16);
                }
            }
        });
        let msi_x = msi_x?;
        let at = space.read(function, msi_x + 4);
        let table = pci::memory(space, function, (at & 7) as u8)?.checked_add(u64::from(at & !7))?;
        let place = |what: u8, least: u64| {
            places.get(usize::from(what)).copied().flatten().filter(|(_, len)| *len >= least)
        };
        let (common, _) = place(COMMON, common::LEN)?;
        let (notify, notify_len) = place(NOTIFY, 2)?;
        // The entropy device has nothing to say.
        let device = place(DEVICE, CONFIG_LEN as u64).map_or(0, |(address, _)| address);
        let notify_len = notify_len.min(MOST_NOTIFY);
        Some(Self { function, kind, common, device, notify, notify_len, multiplier, msi_x, table })
    }

    /// What is to be mapped for it, whole pages, with bits of [`access`]; some may be the same.
    #[must_use]
    pub fn registers(&self) -> [Option<(RamRange, u32)>; 4] {
        let pages = |address: u64, len: u64, allowed| {
            let base = address & !(PAGE_SIZE - 1);
            let end = page_align_up(address.checked_add(len)?)?;
            (address != 0).then_some((RamRange { base, len: end - base }, allowed))
        };
        [
            pages(self.common, common::LEN, access::WRITE),
            pages(self.notify, self.notify_len, access::WRITE | access::USER),
            pages(self.device, CONFIG_LEN as u64, access::WRITE),
            pages(self.table, 16, access::WRITE),
        ]
    }

    /// Whether it has failed (2.1.2): it does nothing any more until it is reset.
    #[must_use]
    pub fn has_failed(&self, registers: &impl Registers) -> bool {
        registers.read8(self.common + common::STATUS) & status::NEEDS_RESET != 0
    }

    /// Resets it (2.4); `false` if it does not say that it has done so.
    pub fn reset<R: Registers>(&self, registers: &R) -> bool {
        registers.write8(self.common + common::STATUS, 0);
        (0..R::PATIENCE).any(|_| registers.read8(self.common + common::STATUS) == 0)
    }

    /// Makes it ready (3.1.1): its queues are in the pages of `buffers` that are theirs, which must be zero, and its interrupts are the
    /// message `data` to `address`, or are not wanted. Gives the features agreed on besides. `None` if it does not do what it should; then it
    /// is left alone.
    #[must_use]
    pub fn adopt(
        &self,
        space: &impl Configuration,
        registers: &impl Registers,
        buffers: u64,
        message: Option<(u64, u32)>,
    ) -> Option<(FoundDevice, u64)> {
        pci::enable(space, self.function);
        let set = |bits| registers.write8(self.common + common::STATUS, bits);
        if !self.reset(registers) {
            return None;
        }
        set(status::ACKNOWLEDGE | status::DRIVER);
        let found = self.negotiate(registers).and_then(|agreed| {
            if let Some((address, data)) = message {
                // The first message is what all queues send; whatever else there is, nothing sends.
                let control = space.read(self.function, self.msi_x);
                space.write(self.function, self.msi_x, control & !ALL_MASKED | IN_USE);
                registers.write64(self.table, address);
                registers.write32(self.table + 8, data);
                registers.write32(self.table + 12, 0);
            }
            let vector = if message.is_some() { 0 } else { NO_VECTOR };
            Some((self.place_queues(registers, buffers, vector)?, agreed))
        });
        match found {
            Some(_) => set(status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK),
            None => set(status::FAILED),
        }
        found
    }

    /// The features agreed on.
    fn negotiate(&self, registers: &impl Registers) -> Option<u64> {
        let common = self.common;
        let half = |number: u32| {
            registers.write32(common + common::FEATURE_SELECT, number);
            u64::from(registers.read32(common + common::FEATURE))
        };
        let offered = half(0) | half(1) << 32;
        let wanted = match self.kind {
            DeviceKind::Net => VERSION_1 | NET_MAC,
            DeviceKind::Block if offered & BLOCK_READ_ONLY != 0 => return None,
            DeviceKind::Block => VERSION_1 | offered & BLOCK_FLUSH,
            _ => VERSION_1,
        };
        if offered & wanted != wanted {
            return None;
        }
        for number in 0..2u32 {
            registers.write32(common + common::DRIVER_FEATURE_SELECT, number);
            registers.write32(common + common::DRIVER_FEATURE, (wanted >> (32 * number)) as u32);
        }
        let agreed = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK;
        registers.write8(common + common::STATUS, agreed);
        (registers.read8(common + common::STATUS) & status::FEATURES_OK != 0).then_some(wanted)
    }

    fn place_queues(&self, registers: &impl Registers, buffers: u64, vector: u16) -> Option<FoundDevice> {
        let common = self.common;
        let mut found = FoundDevice {
            kind: self.kind as u32,
            place: self.function.place(),
            queue_len: queues::SIZE,
            ..FoundDevice::default()
        };
        registers.write16(common + common::CONFIG_VECTOR, NO_VECTOR);
        let own = self.kind.queues();
        // All of a device's are as long as its shortest one.
        for number in 0..own.len() as u16 {
            registers.write16(common + common::QUEUE_SELECT, number);
            found.queue_len = found.queue_len.min(registers.read16(common + common::QUEUE_SIZE));
        }
        if !found.queue_len.is_power_of_two() || own.len() > MAX_QUEUES {
            return None;
        }
        for ((number, page), doorbell) in (0u16..).zip(own).zip(&mut found.doorbells) {
            let page = buffers + page * queues::STRIDE;
            registers.write16(common + common::QUEUE_SELECT, number);
            registers.write16(common + common::QUEUE_SIZE, found.queue_len);
            registers.write16(common + common::QUEUE_VECTOR, vector);
            // A device that has no room for it says so (4.1.5.1.2.1).
            if registers.read16(common + common::QUEUE_VECTOR) != vector {
                return None;
            }
            registers.write64(common + common::QUEUE_DESC, page);
            registers.write64(common + common::QUEUE_DRIVER, page + queues::DRIVER_AREA);
            registers.write64(common + common::QUEUE_DEVICE, page + queues::DEVICE_AREA);
            let own = u64::from(registers.read16(common + common::QUEUE_NOTIFY_OFF));
            let offset = own.checked_mul(u64::from(self.multiplier))?;
            *doorbell =
                self.notify.checked_add(offset.checked_add(2).filter(|end| *end <= self.notify_len)? - 2)?;
            registers.write16(common + common::QUEUE_ENABLE, 1);
        }
        if self.device != 0 {
            for (to, at) in found.config.iter_mut().zip(self.device..) {
                *to = registers.read8(at);
            }
        }
        Some(found)
    }
}

#[cfg(test)]
#[expect(clippy::panic, reason = "tests fail by panicking")]
mod tests;
