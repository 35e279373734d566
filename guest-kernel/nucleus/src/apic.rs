//! Interrupt controllers: the local APIC with its one-shot timer, and the I/O APIC's pins.

use crate::interrupts::{DEVICE_VECTORS, SPURIOUS_VECTOR, TIMER_VECTOR, set_apic_registers};
use crate::ports::{out8, read_msr, read_register, write_msr, write_register};
use core::sync::atomic::{AtomicBool, Ordering};
use sentient_abi::layout::{IO_APIC, LOCAL_APIC};

// Intel SDM volume 3, table 12-1 and 12.12.1: the x2APIC's register n is MSR 0x800 + n, at offset 16 * n
// in memory otherwise.
const APIC_BASE: u32 = 0x1b;
const SPURIOUS: u32 = 0x0f;
/// Ends the interrupt that is being served.
pub const END_OF_INTERRUPT: u32 = 0x0b;
const TIMER: u32 = 0x32;
/// What the timer counts down from.
pub const TIMER_INITIAL: u32 = 0x38;
const TIMER_CURRENT: u32 = 0x39;
const TIMER_DIVIDE: u32 = 0x3e;

const ENABLE: u64 = 1 << 11;
const ENABLE_X2: u64 = 1 << 10;
/// Divide by one.
const UNDIVIDED: u32 = 0b1011;

/// Pins of the I/O APIC that a device may use.
const PINS: u64 = 24;

/// Whether registers are reached by MSR.
static BY_MSR: AtomicBool = AtomicBool::new(true);

fn write(register: u32, value: u32) {
    if BY_MSR.load(Ordering::Relaxed) {
        // SAFETY: the x2APIC is on, and these registers exist in every one.
        unsafe { write_msr(0x800 + register, u64::from(value)) }
    } else {
        // SAFETY: the page tables map the registers, uncached.
        unsafe { write_register(LOCAL_APIC + 16 * u64::from(register), value) }
    }
}

fn read(register: u32) -> u32 {
    if BY_MSR.load(Ordering::Relaxed) {
        // SAFETY: as in `write`.
        unsafe { read_msr(0x800 + register) as u32 }
    } else {
        // SAFETY: as in `write`.
        unsafe { read_register(LOCAL_APIC + 16 * u64::from(register)) }
    }
}

/// Turns the local APIC on in x2APIC mode, with the timer in one-shot mode.
pub fn start_x2apic() {
    // SAFETY: under our VMM, or after a look at CPUID, there is an x2APIC.
    unsafe { write_msr(APIC_BASE, LOCAL_APIC | ENABLE | ENABLE_X2) }
    start();
}

/// The same where it is not known what the machine has: legacy controllers are silenced, and an APIC
/// without x2 mode is used through its registers in memory.
pub fn start_on_foreign_machine() {
    // Both 8259 controllers: mask all.
    out8(0x21, 0xff);
    out8(0xa1, 0xff);
    // SAFETY: CPUID leaf 1 exists on every x86-64 processor.
    let has_x2apic = core::arch::x86_64::__cpuid(1).ecx & (1 << 21) != 0;
    if has_x2apic {
        start_x2apic();
        return;
    }
    BY_MSR.store(false, Ordering::Relaxed);
    set_apic_registers(LOCAL_APIC);
    // SAFETY: the register exists wherever there is an APIC; the base is the one it has after reset.
    unsafe { write_msr(APIC_BASE, LOCAL_APIC | ENABLE) }
    start();
}

fn start() {
    write(SPURIOUS, 0x100 | u32::from(SPURIOUS_VECTOR));
    write(TIMER_DIVIDE, UNDIVIDED);
    write(TIMER, u32::from(TIMER_VECTOR));
}

/// Arms the timer, or disarms it with 0.
pub fn set_timer(ticks: u32) {
    write(TIMER_INITIAL, ticks);
}

/// Ends the interrupt that is being served, if one is.
pub fn end_of_interrupt() {
    write(END_OF_INTERRUPT, 0);
}

/// Ticks left of the timer.
pub fn timer_left() -> u32 {
    read(TIMER_CURRENT)
}

/// Lets a device's pin interrupt, edge-triggered; `false` for a pin that does not exist.
pub fn enable_pin(pin: u64) -> bool {
    if pin >= PINS {
        return false;
    }
    // SAFETY: the page tables map the registers, uncached. Redirection entry `pin` is the register pair
    // at 0x10 + 2 * pin (82093AA datasheet, 3.2.4): destination 0, then vector, fixed, edge, unmasked.
    unsafe {
        write_register(IO_APIC, 0x11 + 2 * pin as u32);
        write_register(IO_APIC + 0x10, 0);
        write_register(IO_APIC, 0x10 + 2 * pin as u32);
        write_register(IO_APIC + 0x10, u32::from(DEVICE_VECTORS) + pin as u32);
    }
    true
}
