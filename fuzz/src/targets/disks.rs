//! Disks that say what they like.

use super::boot::{Bus, SPACE_LEN, put, virtio_space};
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::RamRange;
use sentient_boot::disks::{
    Ahci, Direction, Disk, DiskError, MOST_PAGES, Nvme, OWN_PAGES, Transfer, VirtioDisk, gpt,
};
use sentient_boot::pci::{Configuration, Function, Id};
use sentient_boot::virtio_pci::Transport;

/// Where a driver's own pages are, a page for what is read, and memory to read to and to write from.
const OWN: u64 = 0x10_0000;
const PAGE: u64 = OWN + OWN_PAGES * PAGE_SIZE;
const MEMORY: u64 = PAGE + PAGE_SIZE;

/// A disk comes up or does not; what it says never leads anywhere.
pub fn disks(data: &[u8]) {
    let (space, said) = data.split_at(data.len().min(SPACE_LEN));
    let machine = Bus::new(space, said);
    // A driver writes to its pages and its device, and nowhere else.
    machine.allow([RamRange { base: OWN, len: PAGE - OWN }]);
    let function = Function::default();
    let word = |register| Configuration::read(&machine, function, register);
    let id =
        Id { vendor: word(0) as u16, device: (word(0) >> 16) as u16, subsystem: (word(0x2c) >> 16) as u16 };
    let disk = if let Some(transport) = Transport::find(&machine, function, id) {
        machine.allow(transport.registers().into_iter().flatten().map(|(range, _)| range));
        VirtioDisk::start(&transport, &machine, &machine, OWN).map(Disk::Virtio)
    } else if let Some(controller) = Nvme::find(&machine, function) {
        machine.allow([controller.registers().0]);
        Nvme::start(controller, &machine, &machine, OWN).map(Disk::Nvme)
    } else if let Some(controller) = Ahci::find(&machine, function) {
        machine.allow([controller.registers().0]);
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
    vec![nvme, sata, virtio_space(2)]
}

fn space(words: &[(u64, u32)]) -> Vec<u8> {
    let mut bytes = vec![0; SPACE_LEN];
    words.iter().for_each(|(at, word)| put(&mut bytes, *at, &word.to_le_bytes()));
    bytes
}
