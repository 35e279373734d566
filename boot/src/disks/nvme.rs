//! NVM Express controllers (NVM Express base specification 1.4), with their first namespace.

use super::{Controller, Direction, DiskError, MOST_PAGES, Transfer, clear, sectors_of_page};
use crate::pci::{self, Configuration, Function};
use crate::registers::Registers;
use sentient_abi::PAGE_SIZE;

/// Class, subclass and interface of its function (PCI code and ID assignment 1.11, 1.9).
const CLASS: u32 = 0x01_08_02;

/// Registers (3.1).
mod register {
    pub const CAPABILITIES: u64 = 0x00;
    pub const MASK_SET: u64 = 0x0c;
    pub const CONFIGURATION: u64 = 0x14;
    pub const STATUS: u64 = 0x1c;
    pub const ADMIN_LENGTHS: u64 = 0x24;
    pub const ADMIN_SUBMISSION: u64 = 0x28;
    pub const ADMIN_COMPLETION: u64 = 0x30;
    pub const DOORBELLS: u64 = 0x1000;
}

/// In use; entries of submission queues have 2^6 bytes, and of completion queues 2^4 (3.1.5).
const IN_USE: u32 = 1;
const ENTRIES: u32 = 6 << 16 | 4 << 20;
/// Status: it is ready; it has failed for good (3.1.6).
const READY: u32 = 1;
const FATAL: u32 = 2;

/// Commands for administration (5), and for data (6).
const CREATE_SUBMISSION: u32 = 0x01;
const CREATE_COMPLETION: u32 = 0x05;
const IDENTIFY: u32 = 0x06;
const FLUSH: u32 = 0x00;
const WRITE: u32 = 0x01;
const READ: u32 = 0x02;

/// What is to be identified (5.15.1): a namespace; the controller.
const THE_NAMESPACE: u32 = 0;
const THE_CONTROLLER: u32 = 1;

/// The namespace that is used.
const NAMESPACE: u32 = 1;

/// Entries of each queue: one command is on its way at a time, and a queue is never full.
const QUEUE_LEN: u16 = 8;

/// A pair of queues.
struct Queues {
    /// Its number; 0 for administration.
    number: u16,
    submission: u64,
    completion: u64,
    /// Commands made so far, modulo the queues' length.
    at: u16,
    /// What the phase bit of the next completion is (4.6).
    phase: bool,
}

/// A command, in the words of its entry that are not zero (4.2).
#[derive(Default)]
struct Command {
    operation: u32,
    namespace: u32,
    data: [u64; 2],
    words: [u32; 3],
}

/// One that is ready.
pub struct Nvme {
    controller: Controller,
    /// Bytes between two doorbells.
    stride: u64,
    queues: Queues,
    /// A page for what the controller says, and for lists of pages.
    scratch: u64,
    pages: u64,
    sectors_of_page: u64,
    most_pages: u32,
    has_cache: bool,
}

impl Nvme {
    /// The controller, if a function is one.
    #[must_use]
    pub fn find(space: &impl Configuration, function: Function) -> Option<Controller> {
        Controller::find(space, function, CLASS, 0)
    }

    /// Makes it ready, with five pages at `own`; `None` if it does not do what it should.
    #[must_use]
    pub fn start(
        controller: Controller,
        space: &impl Configuration,
        registers: &impl Registers,
        own: u64,
    ) -> Option<Self> {
        let base = controller.registers;
        pci::enable(space, controller.function);
        clear(registers, own, 5);
        let capabilities = registers.read64(base + register::CAPABILITIES);
        let stride = 4u64 << (capabilities >> 32 & 15);
        let least_page = capabilities >> 48 & 15;
        let is_usable = least_page == 0
            && capabilities & 0xffff >= u64::from(QUEUE_LEN) - 1
            && register::DOORBELLS + 4 * stride <= Controller::PAGES * PAGE_SIZE;
        if !is_usable {
            return None;
        }
        registers.write32(base + register::CONFIGURATION, 0);
        wait(registers, base, false)?;
        registers.write32(base + register::MASK_SET, u32::MAX);
        let [admin, completion, second, second_completion, scratch] =
            [0, 1, 2, 3, 4].map(|page| own + page * PAGE_SIZE);
        let len = u32::from(QUEUE_LEN) - 1;
        registers.write32(base + register::ADMIN_LENGTHS, len << 16 | len);
        registers.write64(base + register::ADMIN_SUBMISSION, admin);
        registers.write64(base + register::ADMIN_COMPLETION, completion);
        registers.write32(base + register::CONFIGURATION, IN_USE | ENTRIES);
        wait(registers, base, true)?;
        let queues = Queues { number: 0, submission: admin, completion, at: 0, phase: true };
        let mut disk = Self {
            controller,
            stride,
            queues,
            scratch,
            pages: 0,
            sectors_of_page: 1,
            most_pages: MOST_PAGES,
            has_cache: true,
        };
        disk.identify(registers)?;
        let lengths = len << 16 | 1;
        for (operation, memory, flags) in
            [(CREATE_COMPLETION, second_completion, 1), (CREATE_SUBMISSION, second, 1 << 16 | 1)]
        {
            let words = [lengths, flags, 0];
            let command = Command { operation, data: [memory, 0], words, ..Command::default() };
            disk.ask(registers, &command).ok()?;
        }
        disk.queues =
            Queues { number: 1, submission: second, completion: second_completion, at: 0, phase: true };
        Some(disk)
    }

    /// Learns what there is.
    fn identify(&mut self, registers: &impl Registers) -> Option<()> {
        let scratch = self.scratch;
        let mut ask = |namespace, what| {
            let words = [what, 0, 0];
            let data = [scratch, 0];
            self.ask(registers, &Command { operation: IDENTIFY, namespace, data, words }).ok()
        };
        ask(0, THE_CONTROLLER)?;
        // Most bytes of a transfer are so many times a page, as a power of two; 0 for any number (figure 247).
        let most = registers.read8(scratch + 77);
        let has_cache = registers.read8(scratch + 525) & 1 != 0;
        ask(NAMESPACE, THE_NAMESPACE)?;
        let sectors = registers.read64(scratch);
        let format = u64::from(registers.read8(scratch + 26) & 15);
        let format = registers.read32(scratch + 128 + 4 * format);
        // Sectors that have more than their data are another matter (figure 249).
        let sector_len = 1u64.checked_shl(format >> 16 & 0xff).filter(|_| format & 0xffff == 0)?;
        self.sectors_of_page = sectors_of_page(sector_len)?;
        self.pages = sectors / self.sectors_of_page;
        self.has_cache = has_cache;
        if most != 0 {
            self.most_pages = MOST_PAGES.min(1u32.checked_shl(most.into()).unwrap_or(MOST_PAGES));
        }
        Some(())
    }

    pub(super) fn pages(&self) -> u64 {
        self.pages
    }

    pub(super) fn quiet(&self, space: &impl Configuration, registers: &impl Registers) {
        registers.write32(self.controller.registers + register::CONFIGURATION, 0);
        // One that does not say so is kept from writing to memory all the same.
        let _ = wait(registers, self.controller.registers, false);
        pci::quiet(space, self.controller.function);
    }

    pub(super) fn transfer(
        &mut self,
        registers: &impl Registers,
        transfer: Transfer,
    ) -> Result<(), DiskError> {
        let operation = if transfer.direction == Direction::Read { READ } else { WRITE };
        let mut done = 0;
        while done < transfer.pages {
            let pages = (transfer.pages - done).min(self.most_pages);
            let memory = transfer.memory + u64::from(done) * PAGE_SIZE;
            let second = match pages {
                1 => 0,
                2 => memory + PAGE_SIZE,
                // A list of all but the first (4.3).
                _ => {
                    for page in 1..u64::from(pages) {
                        registers.write64(self.scratch + 8 * (page - 1), memory + page * PAGE_SIZE);
                    }
                    self.scratch
                }
            };
            let first = (transfer.first + u64::from(done)) * self.sectors_of_page;
            let sectors = pages * self.sectors_of_page as u32;
            let words = [first as u32, (first >> 32) as u32, sectors - 1];
            let command = Command { operation, namespace: NAMESPACE, data: [memory, second], words };
            self.ask(registers, &command)?;
            done += pages;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self, registers: &impl Registers) -> Result<(), DiskError> {
        if !self.has_cache {
            return Ok(());
        }
        self.ask(registers, &Command { operation: FLUSH, namespace: NAMESPACE, ..Command::default() })
    }

    /// Has a command done.
    fn ask<R: Registers>(&mut self, registers: &R, command: &Command) -> Result<(), DiskError> {
        let Queues { number, submission, completion, at, phase } = self.queues;
        let entry = submission + 64 * u64::from(at);
        let [first, second] = command.data;
        // The identifier is of no use where one command is on its way.
        registers.write32(entry, command.operation);
        registers.write32(entry + 4, command.namespace);
        for word in [8, 12, 16, 20, 52, 56, 60] {
            registers.write32(entry + word, 0);
        }
        registers.write64(entry + 24, first);
        registers.write64(entry + 32, second);
        for (place, word) in [40, 44, 48].into_iter().zip(command.words) {
            registers.write32(entry + place, word);
        }
        let next = (at + 1) % QUEUE_LEN;
        self.queues.at = next;
        self.queues.phase = phase == (next != 0);
        let base = self.controller.registers;
        let doorbell = base + register::DOORBELLS + 2 * u64::from(number) * self.stride;
        registers.write32(doorbell, next.into());
        let answer = completion + 16 * u64::from(at) + 12;
        for _ in 0..R::PATIENCE {
            let status = registers.read32(base + register::STATUS);
            let word = registers.read32(answer);
            if (word >> 16 & 1 != 0) == phase {
                registers.write32(doorbell + self.stride, next.into());
                // Code and type of the status are zero if it was done (4.6.1).
                return if word >> 17 & 0x7ff == 0 { Ok(()) } else { Err(DiskError::Failed) };
            }
            if status & FATAL != 0 {
                return Err(DiskError::Failed);
            }
        }
        Err(DiskError::Silent)
    }
}

/// Waits until it is ready, or is not; `None` if that does not come.
fn wait<R: Registers>(registers: &R, base: u64, ready: bool) -> Option<()> {
    for _ in 0..R::PATIENCE {
        let status = registers.read32(base + register::STATUS);
        if ready && status & FATAL != 0 {
            return None;
        }
        if (status & READY != 0) == ready {
            return Some(());
        }
    }
    None
}
