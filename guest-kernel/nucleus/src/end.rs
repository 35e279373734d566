//! Endings: exit, panic, and the serial port for machines without a sentinel device.

use crate::alone::Alone;
use crate::ports::{self, in8, out8};
use crate::{again, power};
use core::cell::Cell;
use core::sync::atomic::{AtomicU8, Ordering};
use sentient_abi::ABI_VERSION;
use sentient_abi::boot_module::{ModuleError, REBOOT};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::panic_record::{MESSAGE_LEN, PanicRecord, Reason, Registers};
use sentient_abi::sentinel;

/// A record of nothing.
const NOTHING: PanicRecord = PanicRecord {
    reason: 0,
    vector: 0,
    code: 0,
    rip: 0,
    cs: 0,
    rflags: 0,
    rsp: 0,
    ss: 0,
    cr2: 0,
    registers: Registers {
        r15: 0,
        r14: 0,
        r13: 0,
        r12: 0,
        r11: 0,
        r10: 0,
        r9: 0,
        r8: 0,
        rbp: 0,
        rdi: 0,
        rsi: 0,
        rdx: 0,
        rcx: 0,
        rbx: 0,
        rax: 0,
    },
    message_len: 0,
    message: [0; MESSAGE_LEN],
};

#[unsafe(no_mangle)]
static mut PANIC_RECORD: PanicRecord = NOTHING;

/// COM1.
const SERIAL: u16 = 0x3f8;
/// Polls before a stuck serial port loses a byte.
const PATIENCE: u32 = 100_000;
/// QEMU's `isa-debug-exit` at its customary port.
const DEBUG_EXIT: u16 = 0xf4;

/// 0: not asked yet; 1: no; 2: yes.
static SENTINEL: AtomicU8 = AtomicU8::new(0);

/// Whether the VMM's sentinel device is there, and of our version.
pub fn under_sentinel() -> bool {
    match SENTINEL.load(Ordering::Relaxed) {
        0 => {
            let found = ports::in32(sentinel::VERSION) == ABI_VERSION;
            SENTINEL.store(if found { 2 } else { 1 }, Ordering::Relaxed);
            found
        }
        known => known == 2,
    }
}

/// Writes bytes to the serial port.
pub fn serial(bytes: &[u8]) {
    for &byte in bytes {
        let mut polls = 0;
        // Line status, bit 5: ready for a byte.
        while in8(SERIAL + 5) & 0x20 == 0 && polls < PATIENCE {
            polls += 1;
        }
        out8(SERIAL, byte);
    }
}

/// A byte that has come at the serial port.
pub fn serial_input() -> Option<u8> {
    // Line status, bit 0: there is one. All bits are set where there is no port.
    let status = in8(SERIAL + 5);
    (status & 1 != 0 && status != u8::MAX).then(|| in8(SERIAL))
}

/// A code that has come from the keyboard's controller (8042).
pub fn key_code() -> Option<u8> {
    // Status, bit 0: there is one; bit 5: it is the mouse's. All bits are set where there is no controller.
    let status = in8(0x64);
    let is_key = status & 0x21 == 1 && status != u8::MAX;
    is_key.then(|| in8(0x60))
}

fn serial_hex(value: u64) {
    for digit in (0..16).rev() {
        let nibble = (value >> (4 * digit)) as u8 & 15;
        serial(&[if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }]);
    }
}

/// The machine is finished.
pub fn exit(end: u32) -> ! {
    if under_sentinel() {
        ports::out32(sentinel::EXIT, end);
        ports::halt_for_ever();
    }
    let code = ContainerEnd::decode(end).map_or(u8::MAX, ContainerEnd::process_code);
    power_off(code)
}

/// Ends a machine without a sentinel device: by QEMU's debug port, or by switching it off; one that is neither is reset, which
/// ends QEMU too when it is told not to reboot.
fn power_off(code: u8) -> ! {
    out8(DEBUG_EXIT, code);
    power::off();
    power::reset()
}

/// The machine is to be booted anew.
pub fn reset() -> ! {
    if under_sentinel() {
        exit(ContainerEnd::Exited(REBOOT).encode())
    }
    power::reset()
}

/// Ends before there is a runtime: a boot module or a memory map that cannot be used.
pub fn refuse(reason: Reason, code: u64) -> ! {
    finish(reason, |record| record.code = code)
}

/// Ends because of the boot module.
pub fn refuse_module(error: ModuleError) -> ! {
    refuse(Reason::BootModule, if let ModuleError::Version(found) = error { u64::from(found) } else { 0 })
}

/// Ends with the runtime's message.
pub fn runtime_panic(message: &[u8]) -> ! {
    finish(Reason::Runtime, |record| record_message(record, message))
}

fn record_message(record: &mut PanicRecord, message: &[u8]) {
    let room = record.message.iter_mut().skip(record.message_len as usize);
    let mut written = 0;
    for (to, from) in room.zip(message) {
        *to = *from;
        written += 1;
    }
    record.message_len += written;
}

fn finish(reason: Reason, fill: impl FnOnce(&mut PanicRecord)) -> ! {
    // SAFETY: one processor with interrupts off, and this function does not return: nobody else holds a
    // reference. A fault in here finds its own stack and writes the record anew.
    let record = unsafe { &mut *core::ptr::addr_of_mut!(PANIC_RECORD) };
    fill(record);
    record.reason = reason as u32;
    if under_sentinel() {
        ports::out32(sentinel::PANIC, reason as u32);
        ports::halt_for_ever();
    }
    tell(record, reason);
    again::begin(record);
    out8(DEBUG_EXIT, sentient_abi::exit::GUEST_PANIC);
    // Whoever is there is to read it.
    ports::halt_for_ever()
}

/// What was on record of the panic before, if there was one.
static LAST: Alone<Cell<PanicRecord>> = Alone::new(Cell::new(NOTHING));

/// Keeps what is on record, and clears that.
pub fn remember(record: &mut PanicRecord) {
    LAST.set(core::mem::replace(record, NOTHING));
}

/// The last panic that the machine has gone on from, if there was one.
pub fn last_panic() -> Option<PanicRecord> {
    Some(LAST.get()).filter(|record| record.reason != 0)
}

/// Says it on the serial port.
fn tell(record: &PanicRecord, reason: Reason) {
    serial(b"\r\nSentientOS panic, reason ");
    serial_hex(reason as u64);
    serial(b", vector ");
    serial_hex(u64::from(record.vector));
    serial(b", code ");
    serial_hex(record.code);
    serial(b", rip ");
    serial_hex(record.rip);
    serial(b", cr2 ");
    serial_hex(record.cr2);
    serial(b"\r\n");
    let len = (record.message_len as usize).min(MESSAGE_LEN);
    serial(record.message.get(..len).unwrap_or(&[]));
    serial(b"\r\n");
}

/// What `exception` leaves on the stack.
#[repr(C)]
struct ExceptionFrame {
    registers: Registers,
    vector: u64,
    code: u64,
    rip: u64,
    cs: u64,
    rflags: u64,
    rsp: u64,
    ss: u64,
}

/// Called by the exception vectors: the record is written, and that is the end.
#[unsafe(no_mangle)]
extern "C" fn exception_entry(frame: &ExceptionFrame) -> ! {
    let cr2: u64;
    // SAFETY: reads a register.
    unsafe { core::arch::asm!("mov {}, cr2", out(reg) cr2, options(nomem, nostack, preserves_flags)) }
    let reason = if frame.cs & 3 == 0 { Reason::ExceptionInNucleus } else { Reason::ExceptionInRuntime };
    finish(reason, |record| {
        record.vector = frame.vector as u32;
        record.code = frame.code;
        record.rip = frame.rip;
        record.cs = frame.cs;
        record.rflags = frame.rflags;
        record.rsp = frame.rsp;
        record.ss = frame.ss;
        record.cr2 = cr2;
        record.registers = frame.registers;
    })
}

/// A panic of the nucleus: file and line, unformatted (principle 2).
#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    finish(Reason::Nucleus, |record| {
        if let Some(location) = info.location() {
            record.code = u64::from(location.line());
            record_message(record, location.file().as_bytes());
        }
    })
}
