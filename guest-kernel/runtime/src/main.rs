//! The runtime: ring 3 of SentientOS. One program that runs containers on wasmtime.
//!
//! Started by the nucleus with the boot module. It reads the machine's facts and the container's
//! configuration, brings the console up, loads the container's compiled image in place, runs it in a
//! region of its own, and reports how it ended.
//!
//! Invariants:
//!
//! 1. **One thread.** The only concurrency is the timer's upcall ([`upcall`]), which touches atomics and
//!    the console not at all, and never runs twice at a time for the same deadline.
//! 2. **A container cannot end the machine.** Traps, limits and bad images end the container with a
//!    message; a panic here is a bug and ends the machine with a record.
//! 3. **Code is never writable**: images arrive mapped read-only with their code executable, and nothing
//!    here can change a mapping.
#![no_std]
#![no_main]

extern crate alloc;

mod arena;
mod clock;
mod console;
mod container;
mod cpu_limit;
mod gate;
mod heap;
mod heartbeat;
mod invoke;
mod machine;
mod memory_functions;
mod platform;
mod preview1;
mod random;
mod report;
mod upcall;
mod virtqueue;
mod wait;

use core::arch::naked_asm;
use core::panic::PanicInfo;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::RegionTable;
use sentient_abi::sentinel::Event;

/// Entered by the nucleus with the boot module's address and length, the region table's address, and
/// whether there is a sentinel device.
#[unsafe(no_mangle)]
#[unsafe(naked)]
#[unsafe(link_section = ".text.start")]
unsafe extern "C" fn runtime_start() -> ! {
    naked_asm!("xor ebp, ebp", "call {main}", "ud2", main = sym main)
}

extern "C" fn main(module: *const u8, len: u64, regions: *mut RegionTable, sentinel: u64) -> ! {
    // SAFETY: the nucleus passes the boot module's range, mapped read-only for the machine's life, and
    // the page of the region table, which no other code of ring 3 knows.
    let mut machine = unsafe { machine::Machine::adopt(module, len, regions, sentinel != 0) };
    heap::claim(&machine);
    clock::start(&machine);
    random::start(&machine);
    console::start(&machine);
    heartbeat::start(&machine);
    gate::announce(Event::Ready);
    let end = container::run_first(&mut machine);
    finish(end)
}

/// Ends the machine with what became of its container.
fn finish(end: ContainerEnd) -> ! {
    console::flush();
    gate::exit(end)
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    report::panic(info)
}
