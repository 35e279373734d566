//! Switching a machine off, and resetting it, where there is no VMM of ours; and what else its tables say.

use crate::ports::{in16, out8, out16};
use core::arch::asm;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use sentient_boot::acpi::{Off, PortByte, Power};

/// Bits of the registers that control sleep (ACPI specification 6.5, 4.8.3.2.1): ACPI is on; the type's place; sleep now.
const ACPI_ON: u16 = 1;
const TYPE_AT: u32 = 10;
const TYPE: u16 = 7 << TYPE_AT;
const SLEEP: u16 = 1 << 13;

/// Reads of a register before what it waits for is given up.
const PATIENCE: u32 = 1_000_000;

/// Two ports, two types, and the port and byte that turn ACPI on; 0 for none.
static PORTS: AtomicU64 = AtomicU64::new(0);
static ENABLE: AtomicU64 = AtomicU64::new(0);
/// The port and byte that reset it; 0 for none.
static RESET: AtomicU64 = AtomicU64::new(0);

/// Processors that the machine's tables list; 0 if they do not.
static PROCESSORS: AtomicU32 = AtomicU32::new(0);

/// How many processors there are, if that is known.
pub fn processors() -> u32 {
    PROCESSORS.load(Relaxed)
}

fn pack(byte: Option<PortByte>) -> u64 {
    byte.map_or(0, |PortByte { port, value }| u64::from(port) | u64::from(value) << 16)
}

fn write(packed: u64) {
    if packed != 0 {
        out8(packed as u16, (packed >> 16) as u8);
    }
}

/// Notes what the machine's tables say of it.
pub fn set(power: Power, processors: u32) {
    PROCESSORS.store(processors, Relaxed);
    RESET.store(pack(power.reset), Relaxed);
    let Some(Off { ports: [first, second], types: [one, other], enable }) = power.off else { return };
    let packed = u64::from(first) | u64::from(second) << 16 | u64::from(one) << 32 | u64::from(other) << 40;
    PORTS.store(packed, Relaxed);
    ENABLE.store(pack(enable), Relaxed);
}

/// Switches the machine off, if it is known how; returns if it is not, or does not do it.
pub fn off() {
    let packed = PORTS.load(Relaxed);
    let (first, second) = (packed as u16, (packed >> 16) as u16);
    if first == 0 {
        return;
    }
    let mut left = PATIENCE;
    if in16(first) & ACPI_ON == 0 {
        write(ENABLE.load(Relaxed));
        while in16(first) & ACPI_ON == 0 && left > 0 {
            left -= 1;
        }
    }
    for (port, kind) in [(first, (packed >> 32) as u8), (second, (packed >> 40) as u8)] {
        if port != 0 {
            let kept = in16(port) & !(TYPE | SLEEP);
            out16(port, kept | (u16::from(kind) << TYPE_AT & TYPE) | SLEEP);
        }
    }
    // It takes its time.
    let mut left = PATIENCE;
    while left > 0 {
        in16(first);
        left -= 1;
    }
}

/// Resets the machine, in all known ways.
pub fn reset() -> ! {
    write(RESET.load(Relaxed));
    // The keyboard controller's reset line, then the chip set's reset register.
    out8(0x64, 0xfe);
    out8(0xcf9, 0x06);
    // SAFETY: with no interrupt table the exception cannot be delivered: the processor shuts down, which
    // resets the machine. Nothing runs after this.
    unsafe {
        let nothing = [0u16; 5];
        asm!("lidt [{}]", "ud2", in(reg) &raw const nothing, options(noreturn))
    }
}
