//! The runtime: ring 3 of SentientOS. One program that runs containers on wasmtime.
//!
//! Started by the nucleus with the boot module. It reads the machine's facts and the container's
//! configuration, brings the console up, loads the container's compiled image in place, runs it in a
//! region of its own, and reports how it ended. A resident machine then goes on, and takes containers from
//! the host ([`control`]).
//!
//! Invariants:
//!
//! 1. **Only compiled code is ever preempted.** Each container has a thread ([`thread`]); this program's own
//!    code runs until it gives the processor back, so its locks are never contended. The only concurrency is
//!    the interrupts' upcall ([`upcall`]), which touches atomics and the console not at all.
//! 2. **A container cannot end the machine.** Traps, limits and bad images end the container with a
//!    message; a panic here is a bug and ends the machine with a record.
//! 3. **Code is never writable**: images of the boot module arrive mapped so; of others the nucleus changes
//!    the mapping, and gives no page both rights.
#![no_std]
#![no_main]

extern crate alloc;

/// Read for nothing but this: cargo links anew when the script changes.
const _: &[u8] = include_bytes!("../runtime.ld");

mod arena;
mod calls;
mod clock;
mod console;
mod container;
mod control;
mod files;
mod gate;
mod heap;
mod heartbeat;
mod host;
mod images;
mod invoke;
mod machine;
mod memory_functions;
mod network;
mod output_rate;
mod platform;
mod preview1;
mod preview2;
mod random;
mod report;
mod scheduler;
mod thread;
mod upcall;
mod virtqueue;
mod volumes;
mod zero;

use arena::Needs;
use container::{Container, Room};
use control::Control;
use core::arch::naked_asm;
use core::panic::PanicInfo;
use images::Images;
use machine::Machine;
use scheduler::Scheduler;
use sentient_abi::boot_module::{self, EntryKind, Image};
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
    let mut machine = unsafe { Machine::adopt(module, len, regions, sentinel != 0) };
    heap::claim(&machine);
    clock::start(&machine);
    random::start(&machine);
    console::start(&machine);
    heartbeat::start(&machine);
    gate::announce(Event::Ready);
    if machine.is_zero() {
        zero::run(&machine)
    }
    let resident = machine.is_resident();
    let mut images = Images::new();
    let first = first_container(&mut machine, &mut images);
    let mut scheduler = Scheduler::new(machine);
    let control = resident.then(|| {
        scheduler.want_upcalls();
        Control::new(images)
    });
    match (first, control) {
        (Ok(container), None) => {
            scheduler.add(container);
            finish(scheduler.run(None))
        }
        (Err(end), None) => finish(end),
        (Ok(container), Some(mut control)) => {
            let index = container.index;
            scheduler.add(container);
            console::open_input(index);
            control.started(index);
            finish(scheduler.run(Some(control)))
        }
        (Err(_), Some(control)) => finish(scheduler.run(Some(control))),
    }
}

/// The boot module's first container, or how a machine ends that has nothing else to run.
fn first_container(machine: &mut Machine, images: &mut Images) -> Result<Container, ContainerEnd> {
    if machine.entry(EntryKind::Container, 0).is_none() && machine.is_resident() {
        return Err(ContainerEnd::BadBootModule);
    }
    // The nucleus has checked the module; what is in it is another matter.
    let container = machine.container(0).map_err(|problem| {
        gate::serial(b"sentient: the boot module has no container to run: ");
        gate::serial(problem.as_bytes());
        gate::serial(b"\r\n");
        ContainerEnd::BadBootModule
    })?;
    prepare(machine, images, &container).map_err(|error| {
        report::tell(0, format_args!("cannot start the container: {error:#}"));
        ContainerEnd::Unstartable
    })
}

fn prepare(
    machine: &mut Machine,
    images: &mut Images,
    given: &boot_module::Container<'static>,
) -> wasmtime::Result<Container> {
    let Image::Here(entry, bytes) = given.image else {
        wasmtime::bail!("its image is not in the boot module");
    };
    let files = given.permissions.map(|permissions| permissions.file_bytes).filter(|bytes| *bytes > 0);
    let needs = Needs { given: 0, memory: given.config.memory_limit, files, life: 0 };
    let Some(room) = Room::make(machine, images, 0, needs) else {
        wasmtime::bail!("{}", machine.no_room(given.config.memory_limit, "it"));
    };
    let image = images.of_boot_module(machine, &entry, bytes)?;
    Container::prepare(machine, 0, &room, given, image)
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
