//! Devices of a machine that has no VMM of ours: found on PCI, and made ready before ring 3 starts, which only ever sees their
//! queues and what those are notified by. Disks are the nucleus' own ([`kept`]).

use crate::alone::Alone;
use crate::interrupts::MESSAGE_VECTOR;
use crate::kept;
use crate::ports::{self, in32, out32};
use core::cell::Cell;
use sentient_abi::PAGE_SIZE;
use sentient_abi::found::{FoundDevice, MAX_FOUND};
use sentient_abi::layout::{LOCAL_APIC, RamRange};
use sentient_abi::machine_info::DeviceKind;
use sentient_boot::disks::{Ahci, Controller, Disk, Nvme, VirtioDisk};
use sentient_boot::e1000e::Card;
use sentient_boot::pci::{self, Configuration, Function};
use sentient_boot::registers::Registers;
use sentient_boot::virtio_pci::Transport;

/// Ports of configuration space (PCI Local Bus specification 3.0, 3.2.2.3.2).
const ADDRESS: u16 = 0xcf8;
const DATA: u16 = 0xcfc;

/// Most pages of registers that are mapped.
const MAX_PAGES: usize = 64;

/// Configuration space, by ports.
pub struct Ports;

impl Configuration for Ports {
    fn read(&self, function: Function, register: u8) -> u32 {
        out32(ADDRESS, 1 << 31 | u32::from(function.place()) << 8 | u32::from(register & !3));
        in32(DATA)
    }

    fn write(&self, function: Function, register: u8, value: u32) {
        out32(ADDRESS, 1 << 31 | u32::from(function.place()) << 8 | u32::from(register & !3));
        out32(DATA, value);
    }
}

/// Registers, and memory that is shared with devices, where they are mapped.
pub struct Mapped;

impl Registers for Mapped {
    fn read8(&self, address: u64) -> u8 {
        // SAFETY: within what a driver has said its device has, which is mapped, uncached, and no memory; or memory that the nucleus has
        // for disks, or that is to be written to one.
        unsafe { (address as *const u8).read_volatile() }
    }

    fn read16(&self, address: u64) -> u16 {
        // SAFETY: as in `read8`.
        unsafe { (address as *const u16).read_volatile() }
    }

    fn read32(&self, address: u64) -> u32 {
        // SAFETY: as in `read8`.
        unsafe { ports::read_register(address) }
    }

    fn write8(&self, address: u64, value: u8) {
        // SAFETY: as in `read8`; a device writes to the queues it is told of, which nobody uses yet, and to memory that nobody uses
        // meanwhile.
        unsafe { (address as *mut u8).write_volatile(value) }
    }

    fn write16(&self, address: u64, value: u16) {
        // SAFETY: as in `write8`.
        unsafe { (address as *mut u16).write_volatile(value) }
    }

    fn write32(&self, address: u64, value: u32) {
        // SAFETY: as in `write8`.
        unsafe { ports::write_register(address, value) }
    }
}

/// A device that was found and is not ready yet.
#[derive(Clone, Copy)]
enum Candidate {
    Virtio(Transport),
    E1000e(Card),
    Nvme(Controller),
    Ahci(Controller),
}

impl Candidate {
    fn kind(&self) -> DeviceKind {
        match self {
            Self::Virtio(transport) => transport.kind,
            Self::E1000e(_) => DeviceKind::E1000e,
            Self::Nvme(_) => DeviceKind::Nvme,
            Self::Ahci(_) => DeviceKind::Ahci,
        }
    }

    /// Whether it has disks, of which a machine may have several.
    fn has_disks(&self) -> bool {
        DeviceKind::DISKS.contains(&self.kind())
    }

    fn function(&self) -> Function {
        match self {
            Self::Virtio(transport) => transport.function,
            Self::E1000e(card) => card.function,
            Self::Nvme(controller) | Self::Ahci(controller) => controller.function,
        }
    }

    fn registers(&self) -> [Option<(RamRange, u32)>; 4] {
        match self {
            Self::Virtio(transport) => transport.registers(),
            Self::E1000e(card) => [Some(card.registers()), None, None, None],
            Self::Nvme(controller) | Self::Ahci(controller) => {
                [Some(controller.registers()), None, None, None]
            }
        }
    }
}

/// Devices that were found and are not ready yet, and the pages of their registers.
pub struct Candidates {
    all: [Option<Candidate>; MAX_FOUND],
    pages: [(RamRange, u32); MAX_PAGES],
    count: usize,
}

impl Candidates {
    /// None.
    pub const NONE: Self =
        Self { all: [None; MAX_FOUND], pages: [(RamRange { base: 0, len: 0 }, 0); MAX_PAGES], count: 0 };

    /// What is to be mapped, page by page.
    pub fn registers(&self) -> impl Iterator<Item = (RamRange, u32)> + '_ {
        self.pages.iter().take(self.count).copied()
    }

    /// Adds a device, unless there is one of its kind that has no disks, no room, or part of its registers where `is_taken` says that
    /// something else is.
    fn add(&mut self, candidate: Candidate, is_taken: &impl Fn(RamRange) -> bool) {
        let ranges = candidate.registers();
        let mut others = self.all.iter().flatten();
        if others.any(|other| other.kind() == candidate.kind() && !candidate.has_disks())
            || ranges.iter().flatten().any(|(range, _)| is_taken(*range))
        {
            return;
        }
        let before = self.count;
        for (RamRange { base, len }, allowed) in ranges.into_iter().flatten() {
            for page in 0..len / PAGE_SIZE {
                let page = RamRange { base: base + page * PAGE_SIZE, len: PAGE_SIZE };
                let known = self.pages.iter_mut().take(self.count).find(|(known, _)| *known == page);
                if let Some((_, rights)) = known {
                    *rights |= allowed;
                } else if let Some(free) = self.pages.get_mut(self.count) {
                    *free = (page, allowed);
                    self.count += 1;
                } else {
                    self.count = before;
                    return;
                }
            }
        }
        match self.all.iter_mut().find(|free| free.is_none()) {
            Some(free) => *free = Some(candidate),
            None => self.count = before,
        }
    }
}

/// Looks for devices whose registers are nowhere that `is_taken` says something else is.
pub fn find(is_taken: impl Fn(RamRange) -> bool) -> Candidates {
    let mut candidates = Candidates::NONE;
    pci::each(&Ports, &mut |function, id| {
        let found = Transport::find(&Ports, function, id)
            .map(Candidate::Virtio)
            .or_else(|| Card::find(&Ports, function, id).map(Candidate::E1000e))
            .or_else(|| Nvme::find(&Ports, function).map(Candidate::Nvme))
            .or_else(|| Ahci::find(&Ports, function).map(Candidate::Ahci));
        if let Some(found) = found {
            candidates.add(found, &is_taken);
        }
    });
    candidates
}

/// Devices that are ready: so many of these.
type Ready = ([FoundDevice; MAX_FOUND], usize);

static READY: Alone<Cell<Ready>> = Alone::new(Cell::new((
    [FoundDevice { doorbells: [0; 2], kind: 0, place: 0, queue_len: 0, config: [0; 8] }; MAX_FOUND],
    0,
)));

/// Has them stop whatever they do.
pub fn reset(candidates: &Candidates) {
    for candidate in candidates.all.iter().flatten() {
        match candidate {
            // One that does not say that it has done so is not made ready either.
            Candidate::Virtio(transport) => _ = transport.reset(&Mapped),
            // It is its driver that resets it, when that begins.
            other => pci::quiet(&Ports, other.function()),
        }
    }
    kept::forget_disk();
    READY.set(([FoundDevice::default(); MAX_FOUND], 0));
}

/// Makes them ready, with their queues in the region at `buffers`, which is zero. What cannot be made ready is not there.
pub fn adopt(candidates: &Candidates, buffers: u64) {
    // The processor's own number (Intel SDM volume 3, 12.11.1; CPUID leaf 1).
    let own = core::arch::x86_64::__cpuid(1).ebx >> 24;
    let message = (LOCAL_APIC | u64::from(own) << 12, u32::from(MESSAGE_VECTOR));
    let (mut ready, mut count) = READY.get();
    for candidate in candidates.all.iter().flatten() {
        let found = match candidate {
            Candidate::Virtio(transport) if transport.kind != DeviceKind::Block => {
                transport.adopt(&Ports, &Mapped, buffers, Some(message)).map(|(found, _)| found)
            }
            Candidate::E1000e(card) => card.adopt(&Ports, message),
            disk => start_disk(disk),
        };
        if let Some((slot, found)) = ready.get_mut(count).zip(found) {
            *slot = found;
            count += 1;
        }
    }
    READY.set((ready, count));
}

/// Makes a disk ready, and keeps it so if it is the first that has a partition for checkpoints.
fn start_disk(candidate: &Candidate) -> Option<FoundDevice> {
    let found = FoundDevice {
        kind: candidate.kind() as u32,
        place: candidate.function().place(),
        ..FoundDevice::default()
    };
    if kept::has_disk() {
        return Some(found);
    }
    let own = kept::own_pages();
    let disk = match candidate {
        Candidate::Virtio(transport) => VirtioDisk::start(transport, &Ports, &Mapped, own).map(Disk::Virtio),
        Candidate::Nvme(controller) => Nvme::start(*controller, &Ports, &Mapped, own).map(Disk::Nvme),
        Candidate::Ahci(controller) => Ahci::start(*controller, &Ports, &Mapped, own).map(Disk::Ahci),
        Candidate::E1000e(_) => None,
    }?;
    kept::offer(disk, candidate.kind());
    Some(found)
}

/// The device of a number.
pub fn get(number: u64) -> Option<FoundDevice> {
    let (devices, count) = READY.get();
    devices.into_iter().take(count).nth(usize::try_from(number).ok()?)
}
