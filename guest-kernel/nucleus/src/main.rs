//! The nucleus: ring 0 of SentientOS.
//!
//! Principles, by number; the code refers to them.
//!
//! 1. **No loop over data.** On software KVM ring 0 is interpreted at about two million instructions a
//!    second. What loops, allocates or decides belongs to the runtime in ring 3.
//! 2. **No SSE.** The interpreter has none, and an interrupt must not have to save it. The crate is built
//!    with soft floats, and the build disassembles its text to be sure.
//! 3. **The VMM does what it can do faster.** Page tables and the region table arrive ready under our
//!    VMM; the same code (`sentient_abi::layout`) builds them here under QEMU and GRUB.
//! 4. **One way out of every vector.** All 256 lead to a handler: the timer and devices to the runtime,
//!    exceptions to a panic record and the sentinel device.
//! 5. **Interrupts are off in ring 0**, but for the one instruction that waits for them. So nothing here
//!    is re-entered, and the nucleus has one stack besides those of NMI, #DF and #MC.
//! 6. **Ring 3 is not trusted with ring 0's memory**: addresses in gate calls are checked against the
//!    region table before they are used.
#![no_std]
#![no_main]

mod again;
mod alone;
mod apic;
mod clocks;
mod command_line;
mod descriptors;
mod devices;
mod end;
mod gate;
mod header;
mod interrupts;
mod kept;
mod memory_functions;
mod ports;
mod power;
mod protect;
mod runtime;
mod screen;
mod tables;
mod vectors;

/// Read for nothing but this: cargo links anew when the script changes.
const _: &[u8] = include_bytes!("../nucleus.ld");

use sentient_abi::boot_module::{self, TABLES_PREPARED};
use sentient_abi::layout::RamRange;
use sentient_abi::panic_record::Reason;
use sentient_boot::acpi;
use sentient_boot::protocol::Handover;

/// Called by `nucleus_start` with the boot protocol and the address of its structure.
#[unsafe(no_mangle)]
extern "C" fn nucleus_main(protocol: u64, info: u64) -> ! {
    clocks::enter();
    descriptors::load();
    let Some(handover) = Handover::new(protocol, info) else { end::refuse(Reason::Memory, protocol) };
    let Some(range) = handover.module(&tables::Identity) else { end::refuse(Reason::BootModule, 0) };
    match boot_module::flags(tables::module_bytes(range)) {
        Ok(flags) if flags & TABLES_PREPARED != 0 && end::under_sentinel() => apic::start_x2apic(),
        Ok(_) => prepare(handover, range),
        Err(error) => end::refuse_module(error),
    }
    runtime::enter(range)
}

/// Makes page tables and interrupt controllers ready, where the loader has not.
fn prepare(handover: Handover, module: RamRange) {
    let memory = &tables::Identity;
    let Some(ram) = handover.ram(memory) else { end::refuse(Reason::Memory, 0) };
    // While all memory is within sight.
    command_line::set(handover.command_line(memory));
    if let Some(root) = handover.acpi(memory) {
        power::set(acpi::power(memory, root), acpi::processors(memory, root));
    }
    let screen = handover.screen(memory).and_then(screen::set);
    let candidates = tables::build(ram.ranges(), module, screen);
    apic::start_on_foreign_machine();
    again::start_devices(&candidates);
    if !end::under_sentinel() {
        again::keep(module, candidates);
    }
}
