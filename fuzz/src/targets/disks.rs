//! Disks that say what they like.

use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::RamRange;
use sentient_boot::disks::{
    Ahci, AhciFunction, Direction, Disk, DiskError, MOST_PAGES, Nvme, NvmeFunction, OWN_PAGES, Transfer,
    VirtioDisk, gpt,
};
use sentient_boot::pci::{Configuration, Function, Id};
use sentient_boot::registers::Registers;
use sentient_boot::virtio_pci::Transport;
use std::cell::{Cell, RefCell};

/// Where a driver's own pages are, a page for what is read, and memory to read to and to write from.
const OWN: u64 = 0x10_0000;
const PAGE: u64 = OWN + OWN_PAGES * PAGE_SIZE;
const MEMORY: u64 = PAGE + PAGE_SIZE;

/// Bytes of configuration space.
const SPACE_LEN: usize = 128;

/// One function, whose registers and whose memory say what comes next in a text.
struct Machine<'a> {
    space: &'a [u8],
    said: &'a [u8],
    asked: Cell<usize>,
    /// Where a driver may write.
    registers: RefCell<Vec<RamRange>>,
}

impl Configuration for Machine<'_> {
    fn read(&self, _: Function, register: u8) -> u32 {
        let word = self.space.get(usize::from(register) % SPACE_LEN..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u32::from_le_bytes(*word))
    }

    fn write(&self, _: Function, _: u8, _: u32) {}
}

impl Machine<'_> {
    fn next(&self) -> u8 {
        let asked = self.asked.replace(self.asked.get() + 1);
        self.said.get(asked).copied().unwrap_or(0)
    }

    /// A driver writes to its pages and its device, and nowhere else.
    fn check(&self, address: u64) {
        let is_own = (OWN..PAGE).contains(&address);
        let is_within = |range: &RamRange| (range.base..range.base + range.len).contains(&address);
        assert!(is_own || self.registers.borrow().iter().any(is_within), "{address:#x} is written to");
    }
}

impl Registers for Machine<'_> {
    const PATIENCE: u32 = 64;

    fn read8(&self, _: u64) -> u8 {
        self.next()
    }
    fn read16(&self, _: u64) -> u16 {
        u16::from_le_bytes([self.next(), self.next()])
    }
    fn read32(&self, address: u64) -> u32 {
        u32::from(self.read16(address)) | u32::from(self.read16(address)) << 16
    }
    fn write8(&self, address: u64, _: u8) {
        self.check(address);
    }
    fn write16(&self, address: u64, _: u16) {
        self.check(address);
    }
    fn write32(&self, address: u64, _: u32) {
        self.check(address);
    }
}

/// A disk comes up or does not; what it says never leads anywhere.
pub fn disks(data: &[u8]) {
    let (space, said) = data.split_at(data.len().min(SPACE_LEN));
    let machine = Machine { space, said, asked: Cell::new(0), registers: RefCell::default() };
    let function = Function::default();
    let word = |register| Configuration::read(&machine, function, register);
    let id =
        Id { vendor: word(0) as u16, device: (word(0) >> 16) as u16, subsystem: (word(0x2c) >> 16) as u16 };
    let allow = |ranges: &mut dyn Iterator<Item = RamRange>| machine.registers.borrow_mut().extend(ranges);
    let disk = if let Some(transport) = Transport::find(&machine, function, id) {
        allow(&mut transport.registers().into_iter().flatten().map(|(range, _)| range));
        VirtioDisk::start(&transport, &machine, &machine, OWN).map(Disk::Virtio)
    } else if let Some(controller) = NvmeFunction::find(&machine, function) {
        allow(&mut [controller.registers().0].into_iter());
        Nvme::start(controller, &machine, &machine, OWN).map(Disk::Nvme)
    } else if let Some(controller) = AhciFunction::find(&machine, function) {
        allow(&mut [controller.registers().0].into_iter());
        Ahci::start(controller, &machine, &machine, OWN).map(Disk::Ahci)
    } else {
        None
    };
    let Some(mut disk) = disk else { return };
    if let Ok(Some(partition)) = gpt::find(&mut disk, &machine, PAGE) {
        assert!(partition.first > 0 && partition.first + partition.pages <= disk.pages());
    }
    for direction in [Direction::Read, Direction::Write] {
        let transfer = Transfer { direction, first: 0, memory: MEMORY, pages: MOST_PAGES };
        let done = disk.transfer(&machine, transfer);
        assert!(disk.pages() >= MOST_PAGES.into() || done == Err(DiskError::Beyond));
        let beyond = Transfer { first: disk.pages(), pages: 1, ..transfer };
        assert_eq!(disk.transfer(&machine, beyond), Err(DiskError::Beyond));
    }
    // Whatever comes of it.
    let _ = disk.flush(&machine);
    disk.quiet(&machine, &machine);
}

/// A controller of each kind, with the first of what it is asked answered as it should be.
pub fn controllers() -> Vec<Vec<u8>> {
    let mut nvme = space(&[(0x08, 0x0108_0200), (0x10, 0xfebd_0000)]);
    // It knows 64 entries a queue; it is not ready; it is.
    nvme.extend([63, 0, 0, 0, 0, 0, 0, 0]);
    nvme.extend([0; 4]);
    nvme.extend([1, 0, 0, 0]);
    // The controller is identified: its status, and the completion with its phase.
    nvme.extend([1, 0, 0, 0, 0, 0, 1, 0]);
    // Any length; a cache. Then the namespace: so many sectors, in the first format, of 512 bytes.
    nvme.extend([0, 1, 1, 0, 0, 0, 0, 0, 1, 0]);
    nvme.extend([0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 9, 0]);
    for _ in 0..2 {
        nvme.extend([1, 0, 0, 0, 0, 0, 1, 0]);
    }
    let mut sata = space(&[(0x08, 0x0106_0100), (0x24, 0xfebd_0000)]);
    // How it is set up, that it reaches everything, one port, with a disk.
    sata.extend([0, 0, 0, 0, 0, 0, 0, 0x80, 1, 0, 0, 0, 3, 0, 0, 0]);
    let virtio = space(&[
        (0, 0x1042_1af4),
        (0x04, 0x10_0000),
        (0x14, 0xfebd_0000),
        (0x20, 0xc),
        (0x24, 0x38),
        (0x34, 0x40),
        (0x40, 0x8002_5011),
        (0x44, 1),
        (0x50, 0x0110_6009),
        (0x54, 4),
        (0x5c, 0x1000),
        (0x60, 0x0214_7009),
        (0x64, 4),
        (0x68, 0x3000),
        (0x6c, 0x1000),
        (0x70, 0x0410_0009),
        (0x74, 4),
        (0x78, 0x2000),
        (0x7c, 0x1000),
    ]);
    vec![nvme, sata, virtio]
}

fn space(words: &[(usize, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; SPACE_LEN];
    for (at, word) in words {
        for (to, from) in bytes.iter_mut().skip(*at).zip(word.to_le_bytes()) {
            *to = from;
        }
    }
    bytes
}
