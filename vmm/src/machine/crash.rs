//! A guest that has failed, as it stood: what is copied of it before it is put back, to find out later why.
//!
//! Of its memory that is what is the kernel's and in use, and the top of the stack that it was on. What containers have is theirs.

use super::vcpu_thread::Stopped;
use crate::ended::Ended;
use crate::error::MachineError;
use crate::kvm::KvmError;
use crate::memory::GuestMemory;
use crate::snapshots::kernel::{self, KERNEL};
use crate::snapshots::page::{PageBuffer, runs};
use crate::snapshots::regions;
use crate::snapshots::rollback::merge;
use sentient_abi::PAGE_SIZE;
use sentient_abi::bytes::read_u64;
use sentient_abi::panic_record::{PanicRecord, RECORD_LEN, Reason};
use sentient_abi::region::RegionKind;
use sentient_crash::Registers;
use sentient_crash::backtrace::MAX_SCAN;
use std::io;
use std::mem::offset_of;
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress};

/// Kinds of regions of the kernel's that are read by whoever looks at it, and never written.
const CODE: [RegionKind; 4] = [
    RegionKind::NucleusText,
    RegionKind::NucleusConstants,
    RegionKind::RuntimeText,
    RegionKind::RuntimeConstants,
];

/// Bytes of what the processor pushes when it comes to ring 0 (Intel SDM, volume 3, 6.14.2).
const FRAME: u64 = 40;
/// Where the stack of ring 0 is in the task state segment (Intel SDM, volume 3, 8.7).
const RSP0: u64 = 4;

/// The copy.
#[derive(Debug)]
pub struct Crash {
    /// The registers of what has failed.
    pub registers: Registers,
    /// Page numbers, ascending.
    numbers: Vec<u64>,
    buffer: PageBuffer,
}

impl Crash {
    /// Copies.
    ///
    /// # Errors
    /// [`MachineError`] if KVM refuses to give the registers, or the host what is in use.
    pub fn take(machine: &Stopped<'_>, fault: &Ended) -> Result<Self, MachineError> {
        let registers = registers(machine, fault)?;
        // A guest that hides its regions is still of use by its stack.
        let regions = regions::read(machine.memory, machine.places.region_table).unwrap_or_default();
        let kernel = kernel::in_use(machine, &regions, &[&KERNEL[..], &CODE].concat())?;
        let first = registers.rsp / PAGE_SIZE;
        let stack: Vec<u64> = (first..=registers.rsp.saturating_add(MAX_SCAN) / PAGE_SIZE).collect();
        let (mut numbers, mut buffer) = (Vec::new(), PageBuffer::default());
        let wanted = merge(&kernel, &stack);
        buffer.begin(wanted.len());
        for number in wanted {
            // The stack may be anywhere.
            if buffer.push(machine.memory, number).is_ok() {
                numbers.push(number);
            }
        }
        Ok(Self { registers, numbers, buffer })
    }

    /// Ranges of addresses that were copied.
    #[must_use]
    pub fn ranges(&self) -> Vec<Range<u64>> {
        let bytes = |pages: Range<u64>| pages.start * PAGE_SIZE..pages.end * PAGE_SIZE;
        runs(self.numbers.iter().copied()).into_iter().map(bytes).collect()
    }

    /// Reads what was copied; whether all of it was.
    pub fn read(&self, address: u64, buffer: &mut [u8]) -> bool {
        let mut at = address;
        let mut rest = buffer;
        while !rest.is_empty() {
            let within = usize::try_from(at % PAGE_SIZE).unwrap_or(0);
            let Ok(place) = self.numbers.binary_search(&(at / PAGE_SIZE)) else { return false };
            let Some(bytes) = self.buffer.page(place).and_then(|page| page.get(within..)) else {
                return false;
            };
            let len = bytes.len().min(rest.len());
            let (now, later) = rest.split_at_mut(len);
            now.copy_from_slice(bytes.split_at(len).0);
            rest = later;
            let Some(next) = at.checked_add(len as u64) else { return rest.is_empty() };
            at = next;
        }
        true
    }
}

/// The registers of what has failed: as the guest's record has them after an exception, else the vCPU's; of the runtime, if it is
/// that which has given up.
fn registers(machine: &Stopped<'_>, fault: &Ended) -> Result<Registers, MachineError> {
    let regs = machine.vcpu.get_regs().map_err(KvmError::call("KVM_GET_REGS"))?;
    let sregs = machine.vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?;
    let mut registers = Registers {
        rax: regs.rax,
        rbx: regs.rbx,
        rcx: regs.rcx,
        rdx: regs.rdx,
        rsi: regs.rsi,
        rdi: regs.rdi,
        rbp: regs.rbp,
        rsp: regs.rsp,
        r8: regs.r8,
        r9: regs.r9,
        r10: regs.r10,
        r11: regs.r11,
        r12: regs.r12,
        r13: regs.r13,
        r14: regs.r14,
        r15: regs.r15,
        rip: regs.rip,
        rflags: regs.rflags,
        cs: sregs.cs.selector.into(),
        ss: sregs.ss.selector.into(),
        cr0: sregs.cr0,
        cr2: sregs.cr2,
        cr3: sregs.cr3,
        cr4: sregs.cr4,
    };
    let Ended::Panic(report) = fault else { return Ok(registers) };
    match report.reason {
        Reason::ExceptionInNucleus | Reason::ExceptionInRuntime => {
            let mut record = [0; RECORD_LEN];
            let at = GuestAddress(machine.places.panic_record);
            if machine.memory.read_slice(&mut record, at).is_ok() {
                recorded(&record, &mut registers);
            }
        }
        Reason::Runtime => {
            let mut top = [0; 8];
            let at = GuestAddress(sregs.tr.base.saturating_add(RSP0));
            if machine.memory.read_slice(&mut top, at).is_ok() {
                came_from(machine.memory, u64::from_le_bytes(top), &mut registers);
            }
        }
        Reason::Nucleus | Reason::BootModule | Reason::Memory | Reason::Disk => {}
    }
    Ok(registers)
}

fn recorded(record: &[u8; RECORD_LEN], registers: &mut Registers) {
    let word = |at: usize| read_u64(record, at).unwrap_or(0);
    let saved = |place: usize| word(offset_of!(PanicRecord, registers) + 8 * place);
    *registers = Registers {
        r15: saved(0),
        r14: saved(1),
        r13: saved(2),
        r12: saved(3),
        r11: saved(4),
        r10: saved(5),
        r9: saved(6),
        r8: saved(7),
        rbp: saved(8),
        rdi: saved(9),
        rsi: saved(10),
        rdx: saved(11),
        rcx: saved(12),
        rbx: saved(13),
        rax: saved(14),
        rip: word(offset_of!(PanicRecord, rip)),
        cs: word(offset_of!(PanicRecord, cs)),
        rflags: word(offset_of!(PanicRecord, rflags)),
        rsp: word(offset_of!(PanicRecord, rsp)),
        ss: word(offset_of!(PanicRecord, ss)),
        cr2: word(offset_of!(PanicRecord, cr2)),
        ..*registers
    };
}

/// Where ring 3 was when it last called ring 0, whose stack ends at `top`.
fn came_from(memory: &GuestMemory, top: u64, registers: &mut Registers) {
    let mut frame = [0; FRAME as usize];
    let Some(at) = top.checked_sub(FRAME) else { return };
    if memory.read_slice(&mut frame, GuestAddress(at)).map_err(io::Error::other).is_err() {
        return;
    }
    let word = |place: usize| read_u64(&frame, 8 * place).unwrap_or(0);
    (registers.rip, registers.cs, registers.rflags) = (word(0), word(1), word(2));
    (registers.rsp, registers.ss) = (word(3), word(4));
}
