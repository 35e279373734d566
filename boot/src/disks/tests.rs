//! A disk behind an NVMe controller, as a driver sees it, and tables on it.

extern crate std;

use super::gpt::{Crc32, Partition};
use super::*;
use crate::pci::Function;
use core::cell::{Cell, RefCell};
use std::vec;
use std::vec::Vec;

const REGISTERS: u64 = 0xfebd_0000;
const OWN: u64 = 0;
const PAGE: u64 = OWN + OWN_PAGES * PAGE_SIZE;
const MEMORY: u64 = PAGE + PAGE_SIZE;
const MEMORY_LEN: usize = 64 * PAGE_SIZE as usize;

/// Sectors of the disk are so long, it is read so many pages at a time, as a power of two, and it says this of commands for data.
#[derive(Clone, Copy)]
struct Likeness {
    sector_len: u64,
    most: u8,
    status: u32,
    answers: bool,
}

const USUAL: Likeness = Likeness { sector_len: 512, most: 0, status: 0, answers: true };

struct Machine {
    likeness: Likeness,
    memory: RefCell<Vec<u8>>,
    disk: RefCell<Vec<u8>>,
    configuration: Cell<u32>,
    admin: Cell<[u64; 2]>,
    data: Cell<[u64; 2]>,
    /// Entries taken of both submission queues.
    taken: [Cell<u64>; 2],
    /// Bytes of the longest transfer.
    longest: Cell<u64>,
}

impl Configuration for Machine {
    fn read(&self, _: Function, register: u8) -> u32 {
        match register {
            0x08 => 0x0108_0202,
            0x10 => REGISTERS as u32,
            _ => 0,
        }
    }

    fn write(&self, _: Function, _: u8, _: u32) {}
}

impl Machine {
    fn new(likeness: Likeness, disk: Vec<u8>) -> Self {
        Self {
            likeness,
            memory: RefCell::new(vec![0; MEMORY_LEN]),
            disk: RefCell::new(disk),
            configuration: Cell::new(0),
            admin: Cell::default(),
            data: Cell::default(),
            taken: Default::default(),
            longest: Cell::new(0),
        }
    }

    fn start(&self) -> Option<Disk> {
        let controller = Nvme::find(self, Function::default())?;
        Nvme::start(controller, self, self, OWN).map(Disk::Nvme)
    }

    /// Takes the entries of a queue until `tail`.
    fn take(&self, queue: usize, tail: u32) {
        if !self.likeness.answers {
            return;
        }
        while self.taken[queue].get() % 8 != u64::from(tail) {
            let number = self.taken[queue].get();
            self.taken[queue].set(number + 1);
            let [submission, completion] = if queue == 0 { self.admin.get() } else { self.data.get() };
            let entry = submission + number % 8 * 64;
            let word = |at| self.read32(entry + at);
            let status =
                if queue == 0 { self.administer(word(0), entry) } else { self.move_data(word(0), entry) };
            let phase = u32::from((number / 8).is_multiple_of(2));
            self.write32(completion + number % 8 * 16 + 12, status << 17 | phase << 16);
        }
    }

    fn administer(&self, operation: u32, entry: u64) -> u32 {
        let to = self.read64(entry + 24);
        match (operation, self.read32(entry + 40)) {
            (6, 1) => {
                self.write8(to + 77, self.likeness.most);
                self.write8(to + 525, 1);
            }
            (6, 0) => {
                self.write64(to, self.disk.borrow().len() as u64 / self.likeness.sector_len);
                self.write8(to + 26, 1);
                self.write32(to + 132, self.likeness.sector_len.trailing_zeros() << 16);
            }
            (5, _) => self.data.set([self.data.get()[0], to]),
            (1, _) => self.data.set([to, self.data.get()[1]]),
            _ => return 1,
        }
        0
    }

    fn move_data(&self, operation: u32, entry: u64) -> u32 {
        let len = u64::from(self.read32(entry + 48) + 1) * self.likeness.sector_len;
        let start = self.read64(entry + 40) * self.likeness.sector_len;
        if operation != 0 {
            self.longest.set(self.longest.get().max(len));
            for page in 0..len / PAGE_SIZE {
                let second = self.read64(entry + 32);
                let memory = match (page, len / PAGE_SIZE) {
                    (0, _) => self.read64(entry + 24),
                    (1, 2) => second,
                    _ => self.read64(second + 8 * (page - 1)),
                };
                let (memory, place) = (memory as usize, (start + page * PAGE_SIZE) as usize);
                let (memory, place) =
                    (memory..memory + PAGE_SIZE as usize, place..place + PAGE_SIZE as usize);
                if operation == 2 {
                    self.memory.borrow_mut()[memory].copy_from_slice(&self.disk.borrow()[place]);
                } else {
                    self.disk.borrow_mut()[place].copy_from_slice(&self.memory.borrow()[memory]);
                }
            }
        }
        self.likeness.status
    }
}

impl Registers for Machine {
    const PATIENCE: u32 = 100;

    fn read8(&self, address: u64) -> u8 {
        self.memory.borrow()[address as usize]
    }

    fn read16(&self, address: u64) -> u16 {
        u16::from_le_bytes([self.read8(address), self.read8(address + 1)])
    }

    fn read32(&self, address: u64) -> u32 {
        match address.checked_sub(REGISTERS) {
            // It knows eight entries a queue.
            Some(0) => 7,
            Some(0x1c) => self.configuration.get() & 1,
            Some(_) => 0,
            None => u32::from(self.read16(address)) | u32::from(self.read16(address + 2)) << 16,
        }
    }

    fn write8(&self, address: u64, value: u8) {
        self.memory.borrow_mut()[address as usize] = value;
    }

    fn write16(&self, address: u64, value: u16) {
        for (at, byte) in (address..).zip(value.to_le_bytes()) {
            self.write8(at, byte);
        }
    }

    fn write32(&self, address: u64, value: u32) {
        let [submission, completion] = self.admin.get();
        match address.checked_sub(REGISTERS) {
            Some(0x14) => self.configuration.set(value),
            Some(0x28) => self.admin.set([value.into(), completion]),
            Some(0x30) => self.admin.set([submission, value.into()]),
            Some(0x1000) => self.take(0, value),
            Some(0x1008) => self.take(1, value),
            Some(_) => {}
            None => {
                self.write16(address, value as u16);
                self.write16(address + 2, (value >> 16) as u16);
            }
        }
    }
}

/// A disk with a table of two partitions, the second of them of the type, from one sector to another.
fn disk(sector_len: usize, first: u64, last: u64) -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    let entries = 2 * sector_len;
    let mut entry = |number: usize, kind: u8, first: u64, last: u64| {
        let entry = &mut disk[entries + number * 128..][..128];
        entry[..16].copy_from_slice(&gpt::STORED_TYPE);
        entry[0] = kind;
        entry[32..40].copy_from_slice(&first.to_le_bytes());
        entry[40..48].copy_from_slice(&last.to_le_bytes());
    };
    entry(0, 0xff, 64, 127);
    entry(1, gpt::STORED_TYPE[0], first, last);
    sum(&mut disk, sector_len);
    disk
}

/// Writes a header that fits the entries.
fn sum(disk: &mut [u8], sector_len: usize) {
    let crc = |bytes: &[u8]| {
        let mut crc = Crc32::default();
        bytes.iter().for_each(|byte| crc.add(*byte));
        crc.finish().to_le_bytes()
    };
    let entries = crc(&disk[2 * sector_len..][..128 * 128]);
    let header = &mut disk[sector_len..][..92];
    header.fill(0);
    header[..8].copy_from_slice(b"EFI PART");
    header[12] = 92;
    header[72] = 2;
    header[80] = 128;
    header[84] = 128;
    header[88..92].copy_from_slice(&entries);
    let own = crc(header);
    header[16..20].copy_from_slice(&own);
}

fn found(machine: &Machine) -> Option<Partition> {
    let mut disk = machine.start().unwrap_or_else(|| panic!("it does not come up"));
    gpt::find(&mut disk, machine, PAGE).unwrap_or_else(|error| panic!("{error:?}"))
}

#[test]
fn what_is_written_is_read_again_in_pieces_that_the_controller_takes() {
    for (most, longest) in [(0, 32), (3, 8), (1, 2)] {
        let machine = Machine::new(Likeness { most, ..USUAL }, vec![0; 4 << 20]);
        let mut disk = machine.start().unwrap_or_else(|| panic!("it does not come up"));
        assert_eq!(disk.pages(), 1024);
        for page in 0..32 {
            machine.write32(MEMORY + page * PAGE_SIZE, 1000 + page as u32);
        }
        let transfer = Transfer { direction: Direction::Write, first: 900, memory: MEMORY, pages: 32 };
        // More often than a queue has entries.
        for first in 880..=900 {
            assert_eq!(disk.transfer(&machine, Transfer { first, ..transfer }), Ok(()));
        }
        assert_eq!(disk.flush(&machine), Ok(()));
        clear(&machine, MEMORY, 32);
        assert_eq!(disk.transfer(&machine, Transfer { direction: Direction::Read, ..transfer }), Ok(()));
        for page in 0..32 {
            assert_eq!(machine.read32(MEMORY + page * PAGE_SIZE), 1000 + page as u32);
        }
        assert_eq!(machine.longest.get(), longest * PAGE_SIZE);
        for (first, pages) in [(1000, 32), (1024, 1), (u64::MAX, 2), (0, 33)] {
            let beyond = disk.transfer(&machine, Transfer { first, pages, ..transfer });
            assert_eq!(beyond, Err(DiskError::Beyond), "{first} {pages}");
        }
    }
}

#[test]
fn a_disk_that_fails_or_is_silent_says_so() {
    let failing = Machine::new(Likeness { status: 0x281, ..USUAL }, vec![0; 1 << 20]);
    let mut disk = failing.start().unwrap_or_else(|| panic!("it does not come up"));
    let transfer = Transfer { direction: Direction::Read, first: 0, memory: MEMORY, pages: 1 };
    assert_eq!(disk.transfer(&failing, transfer), Err(DiskError::Failed));
    assert_eq!(disk.flush(&failing), Err(DiskError::Failed));
    assert_eq!(gpt::find(&mut disk, &failing, PAGE), Err(DiskError::Failed));
    assert!(Machine::new(Likeness { answers: false, ..USUAL }, vec![0; 1 << 20]).start().is_none());
    for sector_len in [256, 8192] {
        let odd = Machine::new(Likeness { sector_len, ..USUAL }, vec![0; 1 << 20]);
        assert!(odd.start().is_none(), "{sector_len}");
    }
}

#[test]
fn the_partition_of_the_type_is_found_whatever_sectors_are() {
    let machine = Machine::new(USUAL, disk(512, 2048, 4095));
    assert_eq!(found(&machine), Some(Partition { first: 256, pages: 256 }));
    let long = Likeness { sector_len: 4096, ..USUAL };
    let machine = Machine::new(long, disk(4096, 256, 511));
    assert_eq!(found(&machine), Some(Partition { first: 256, pages: 256 }));
    // What is left of a last page is none.
    let machine = Machine::new(USUAL, disk(512, 2048, 4090));
    assert_eq!(found(&machine), Some(Partition { first: 256, pages: 255 }));
}

#[test]
fn a_table_that_is_not_whole_or_leads_elsewhere_is_none() {
    for (first, last) in [(2049, 4095), (2048, 8199), (0, 100), (2048, 2000), (2048, u64::MAX), (u64::MAX, 4)]
    {
        assert_eq!(found(&Machine::new(USUAL, disk(512, first, last))), None, "{first} {last}");
    }
    let whole = disk(512, 2048, 4095);
    for at in [512, 512 + 17, 512 + 60, 512 + 90, 1024 + 128, 1024 + 170, 1024 + 128 * 128 - 1] {
        let mut damaged = whole.clone();
        damaged[at] ^= 1;
        assert_eq!(found(&Machine::new(USUAL, damaged)), None, "{at}");
    }
    let mut other = whole;
    other[1024 + 128] = 0;
    sum(&mut other, 512);
    assert_eq!(found(&Machine::new(USUAL, other)), None, "there is none of the type");
}
