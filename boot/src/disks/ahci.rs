//! AHCI controllers (Serial ATA AHCI 1.3.1), with the first disk on them (ATA/ATAPI command set, ACS-3).

use super::{Controller, Direction, DiskError, Transfer, clear, sectors_of_page};
use crate::pci::{self, Configuration, Function};
use crate::registers::Registers;
use sentient_abi::PAGE_SIZE;

/// Class, subclass and interface of its function (2.1.5).
const CLASS: u32 = 0x01_06_01;
/// The base address register that has its registers (2.1.11).
const BAR: u8 = 5;

/// Most ports; their registers are behind the controller's.
const PORTS: u64 = 32;

/// Registers of the controller (3.1), and bits of them: it knows addresses of 64 bits; it is an AHCI one.
const CAPABILITIES: u64 = 0x00;
const WIDE: u32 = 1 << 31;
const CONTROL: u64 = 0x04;
const AHCI: u32 = 1 << 31;
const INTERRUPTS: u32 = 1 << 1;
const IMPLEMENTED: u64 = 0x0c;

/// Registers of a port (3.3), and bits of them.
mod port {
    pub const FIRST: u64 = 0x100;
    pub const LEN: u64 = 0x80;
    pub const LIST: u64 = 0x00;
    pub const RECEIVED: u64 = 0x08;
    pub const INTERRUPT: u64 = 0x10;
    pub const INTERRUPT_ENABLE: u64 = 0x14;
    pub const COMMAND: u64 = 0x18;
    pub const TASK_FILE: u64 = 0x20;
    pub const SIGNATURE: u64 = 0x24;
    pub const LINK: u64 = 0x28;
    pub const ERROR: u64 = 0x30;
    pub const ISSUE: u64 = 0x38;

    /// Of COMMAND: it takes commands, and receives; whether it does.
    pub const START: u32 = 1;
    pub const RECEIVE: u32 = 1 << 4;
    pub const RECEIVES: u32 = 1 << 14;
    pub const RUNS: u32 = 1 << 15;
    /// Of TASK_FILE: the last command failed; the disk wants data, or is busy.
    pub const FAILED: u32 = 1;
    pub const BUSY: u32 = 1 << 7 | 1 << 3;
    /// Of INTERRUPT: the last command failed.
    pub const TASK_FILE_ERROR: u32 = 1 << 30;
    /// Of LINK: there is a disk, and it answers.
    pub const PRESENT: u32 = 3;
}

/// What a disk's signature is.
const DISK: u32 = 0x0000_0101;

/// Where things are in a port's page (4.2): the list of commands, what is received, the command, and its list of memory.
const RECEIVED_AT: u64 = 0x400;
const COMMAND_AT: u64 = 0x800;
const MEMORY_AT: u64 = COMMAND_AT + 0x80;

/// Commands (ACS-3, 7).
const IDENTIFY: u8 = 0xec;
const READ: u8 = 0x25;
const WRITE: u8 = 0x35;
const FLUSH: u8 = 0xea;

/// A register transfer from the host to the disk, with a command (Serial ATA 3.1, 10.5.5), and its length in words.
const HOST_TO_DISK: u32 = 0x27 | 1 << 15;
const HOST_TO_DISK_WORDS: u32 = 5;
/// The address is one of a sector.
const BY_SECTOR: u32 = 1 << 30;

/// A disk that is ready.
pub struct Ahci {
    controller: Controller,
    /// Where its port's registers begin.
    port: u64,
    /// The port's page; the one behind it is for what the disk says of itself.
    own: u64,
    /// Whether memory above 4 GiB can be reached.
    is_wide: bool,
    pages: u64,
    sectors_of_page: u64,
}

impl Ahci {
    /// The controller, if a function is one.
    #[must_use]
    pub fn find(space: &impl Configuration, function: Function) -> Option<Controller> {
        Controller::find(space, function, CLASS, BAR)
    }

    /// Makes the first disk ready, with two pages at `own`; `None` if there is none that does what it should.
    #[must_use]
    pub fn start(
        controller: Controller,
        space: &impl Configuration,
        registers: &impl Registers,
        own: u64,
    ) -> Option<Self> {
        let base = controller.registers;
        pci::enable(space, controller.function);
        let control = registers.read32(base + CONTROL) & !INTERRUPTS;
        registers.write32(base + CONTROL, control | AHCI);
        let is_wide = registers.read32(base + CAPABILITIES) & WIDE != 0;
        let implemented = registers.read32(base + IMPLEMENTED);
        let ports = (0..PORTS).filter(|number| implemented >> number & 1 != 0);
        let mut ports = ports.map(|number| base + port::FIRST + number * port::LEN);
        ports.find_map(|port| {
            let mut disk = Self { controller, port, own, is_wide, pages: 0, sectors_of_page: 1 };
            if registers.read32(port + port::LINK) & 15 != port::PRESENT || !disk.reaches(own) {
                return None;
            }
            clear(registers, own, 2);
            let ready = disk.start_port(registers).and_then(|()| disk.identify(registers));
            if ready.is_none() {
                // Its page is the next one's.
                disk.stop_port(registers);
            }
            ready.map(|()| disk)
        })
    }

    fn reaches(&self, memory: u64) -> bool {
        self.is_wide || memory < 1 << 32
    }

    fn wait<R: Registers>(&self, registers: &R, register: u64, bits: u32) -> Option<()> {
        (0..R::PATIENCE).find(|_| registers.read32(self.port + register) & bits == 0).map(|_| ())
    }

    /// Has it take no commands, and write nothing (10.1.2).
    fn stop_port(&self, registers: &impl Registers) -> Option<()> {
        let place = self.port + port::COMMAND;
        registers.write32(place, registers.read32(place) & !port::START);
        self.wait(registers, port::COMMAND, port::RUNS)?;
        registers.write32(place, registers.read32(place) & !port::RECEIVE);
        self.wait(registers, port::COMMAND, port::RECEIVES)
    }

    fn start_port(&self, registers: &impl Registers) -> Option<()> {
        self.stop_port(registers)?;
        registers.write64(self.port + port::LIST, self.own);
        registers.write64(self.port + port::RECEIVED, self.own + RECEIVED_AT);
        registers.write32(self.port + port::INTERRUPT_ENABLE, 0);
        registers.write32(self.port + port::ERROR, u32::MAX);
        registers.write32(self.port + port::INTERRUPT, u32::MAX);
        let place = self.port + port::COMMAND;
        registers.write32(place, registers.read32(place) | port::RECEIVE);
        self.wait(registers, port::TASK_FILE, port::BUSY)?;
        if registers.read32(self.port + port::SIGNATURE) != DISK {
            return None;
        }
        registers.write32(place, registers.read32(place) | port::START);
        Some(())
    }

    /// Learns what there is (ACS-3, 7.12.7).
    fn identify(&mut self, registers: &impl Registers) -> Option<()> {
        let words = self.own + PAGE_SIZE;
        self.ask(registers, IDENTIFY, 0, 0, Some((words, 512))).ok()?;
        let word = |number: u64| registers.read16(words + 2 * number);
        // Addresses of 48 bits.
        if word(83) & 1 << 10 == 0 {
            return None;
        }
        let sectors =
            (0..4).fold(0, |sectors, number| sectors | u64::from(word(100 + number)) << (16 * number));
        let has_long_sectors = word(106) >> 12 & 0b1101 == 0b0101;
        let sector_words = u64::from(word(117)) | u64::from(word(118)) << 16;
        let sector_len = if has_long_sectors { 2 * sector_words } else { 512 };
        self.sectors_of_page = sectors_of_page(sector_len)?;
        self.pages = sectors / self.sectors_of_page;
        Some(())
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn quiet(&self, space: &impl Configuration, registers: &impl Registers) {
        // One that does not say so is kept from writing to memory all the same.
        let _ = self.stop_port(registers);
        pci::quiet(space, self.controller.function);
    }

    pub(super) fn transfer(
        &mut self,
        registers: &impl Registers,
        transfer: Transfer,
    ) -> Result<(), DiskError> {
        let Transfer { direction, first, memory, pages } = transfer;
        let len = pages * PAGE_SIZE as u32;
        if !self.reaches(memory + u64::from(len) - 1) {
            return Err(DiskError::Failed);
        }
        let command = if direction == Direction::Read { READ } else { WRITE };
        let sectors = pages * self.sectors_of_page as u32;
        self.ask(registers, command, first * self.sectors_of_page, sectors, Some((memory, len)))
    }

    pub(super) fn flush(&mut self, registers: &impl Registers) -> Result<(), DiskError> {
        self.ask(registers, FLUSH, 0, 0, None)
    }

    /// Has a command done, by the first of the slots for them.
    fn ask<R: Registers>(
        &mut self,
        registers: &R,
        command: u8,
        sector: u64,
        sectors: u32,
        memory: Option<(u64, u32)>,
    ) -> Result<(), DiskError> {
        let writes = u32::from(command == WRITE) << 6;
        let pieces = u32::from(memory.is_some()) << 16;
        registers.write32(self.own, HOST_TO_DISK_WORDS | writes | pieces);
        registers.write32(self.own + 4, 0);
        registers.write64(self.own + 8, self.own + COMMAND_AT);
        let [low, high] = [sector & 0xff_ffff, sector >> 24 & 0xff_ffff].map(|half| half as u32);
        let words = [HOST_TO_DISK | u32::from(command) << 16, low | BY_SECTOR, high, sectors & 0xffff, 0];
        for (at, word) in (self.own + COMMAND_AT..).step_by(4).zip(words) {
            registers.write32(at, word);
        }
        if let Some((address, len)) = memory {
            registers.write64(self.own + MEMORY_AT, address);
            registers.write32(self.own + MEMORY_AT + 8, 0);
            registers.write32(self.own + MEMORY_AT + 12, len - 1);
        }
        registers.write32(self.port + port::INTERRUPT, u32::MAX);
        registers.write32(self.port + port::ISSUE, 1);
        for _ in 0..R::PATIENCE {
            let has_failed = registers.read32(self.port + port::INTERRUPT) & port::TASK_FILE_ERROR != 0;
            if has_failed || registers.read32(self.port + port::ISSUE) & 1 == 0 {
                let is_bad = registers.read32(self.port + port::TASK_FILE) & port::FAILED != 0;
                if !has_failed && !is_bad {
                    return Ok(());
                }
                // It takes no more commands until it was stopped (6.2.2.1); if it cannot be, the next one fails, too.
                let _ = self.start_port(registers);
                return Err(DiskError::Failed);
            }
        }
        Err(DiskError::Silent)
    }
}
