//! Ports, model-specific registers and the other single instructions of ring 0.

use core::arch::asm;

/// Writes a byte to a port.
pub fn out8(port: u16, value: u8) {
    // SAFETY: a port write touches no memory of ours; which ports are written is the caller's business
    // and devices on them are not given memory to write to by this crate.
    unsafe { asm!("out dx, al", in("dx") port, in("al") value, options(nomem, nostack, preserves_flags)) }
}

/// Writes a 32-bit word to a port.
pub fn out32(port: u16, value: u32) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, eax", in("dx") port, in("eax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a byte from a port.
pub fn in8(port: u16) -> u8 {
    let value: u8;
    // SAFETY: as for `out8`.
    unsafe { asm!("in al, dx", in("dx") port, out("al") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes a 16-bit word to a port.
pub fn out16(port: u16, value: u16) {
    // SAFETY: as for `out8`.
    unsafe { asm!("out dx, ax", in("dx") port, in("ax") value, options(nomem, nostack, preserves_flags)) }
}

/// Reads a 16-bit word from a port.
pub fn in16(port: u16) -> u16 {
    let value: u16;
    // SAFETY: as for `out8`.
    unsafe { asm!("in ax, dx", in("dx") port, out("ax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Reads a 32-bit word from a port.
pub fn in32(port: u16) -> u32 {
    let value: u32;
    // SAFETY: as for `out8`.
    unsafe { asm!("in eax, dx", in("dx") port, out("eax") value, options(nomem, nostack, preserves_flags)) }
    value
}

/// Writes a model-specific register.
///
/// # Safety
/// The register must exist, and the value must not take away what this program relies on.
pub unsafe fn write_msr(register: u32, value: u64) {
    let (low, high) = (value as u32, (value >> 32) as u32);
    // SAFETY: the caller's contract.
    unsafe {
        asm!("wrmsr", in("ecx") register, in("eax") low, in("edx") high, options(nostack, preserves_flags));
    }
}

/// Reads a model-specific register.
///
/// # Safety
/// The register must exist.
pub unsafe fn read_msr(register: u32) -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: the caller's contract.
    unsafe {
        asm!("rdmsr", in("ecx") register, out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags));
    }
    u64::from(low) | u64::from(high) << 32
}

/// Reads a 32-bit device register.
///
/// # Safety
/// `address` must be a mapped device register.
pub unsafe fn read_register(address: u64) -> u32 {
    // SAFETY: the caller's contract.
    unsafe { core::ptr::read_volatile(address as *const u32) }
}

/// Writes a 32-bit device register.
///
/// # Safety
/// `address` must be a mapped device register, and the write must not make the device write to memory
/// that is in use.
pub unsafe fn write_register(address: u64, value: u32) {
    // SAFETY: the caller's contract.
    unsafe { core::ptr::write_volatile(address as *mut u32, value) }
}

/// The time-stamp counter.
pub fn time_stamp() -> u64 {
    let (low, high): (u32, u32);
    // SAFETY: reads a counter; CR4.TSD is clear.
    unsafe { asm!("rdtsc", out("eax") low, out("edx") high, options(nomem, nostack, preserves_flags)) }
    u64::from(low) | u64::from(high) << 32
}

/// Stops the processor for good.
pub fn halt_for_ever() -> ! {
    loop {
        // SAFETY: interrupts are off in ring 0 (principle 5); nothing runs after this.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) }
    }
}
