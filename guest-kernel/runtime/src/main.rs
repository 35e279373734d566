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
mod checkpoints;
mod clock;
mod commands;
mod console;
mod container;
mod control;
mod devices;
mod files;
mod gate;
mod heap;
mod heartbeat;
mod host;
mod images;
mod invoke;
mod kept;
mod machine;
mod measured;
mod memory_functions;
mod network;
mod options;
mod output_rate;
mod platform;
mod preview1;
mod preview2;
mod random;
mod report;
mod scheduler;
mod shell;
mod stages;
mod thread;
mod upcall;
mod virtqueue;
mod volumes;
mod zero;

use alloc::vec::Vec;
use arena::Needs;
use console::{line, screen, terminal};
use container::{Container, Room};
use control::Control;
use core::arch::naked_asm;
use core::panic::PanicInfo;
use images::Images;
use kept::Kept;
use machine::Machine;
use measured::Measured;
use options::Options;
use scheduler::Scheduler;
use sentient_abi::boot_module::{self, EntryKind, Image};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::RegionTable;
use sentient_abi::sentinel::Event;
use shell::Shell;

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
    let is_ours = machine.info.is_some();
    // How long our VMM's machines take, it knows.
    let done = |what| {
        if !is_ours {
            stages::done(what);
        }
    };
    done("kernel");
    clock::start(&machine);
    random::start(&machine);
    console::start(&machine);
    done("clocks");
    if !is_ours {
        screen::start();
        line::start(&machine);
    }
    done("screen");
    let options = if is_ours { Options::default() } else { Options::read() };
    heartbeat::start(&machine);
    gate::announce(Event::Ready);
    if machine.is_zero() || options.zero {
        zero::run(&machine, false)
    }
    let mut images = Images::new();
    if machine.is_resident() {
        let first = match machine.entry(EntryKind::Container, 0) {
            Some(_) => prepare(&mut machine, &mut images, 0).ok(),
            None => None,
        };
        let mut scheduler = Scheduler::new(machine);
        scheduler.want_upcalls();
        let mut control = Control::new(images);
        if let Some(container) = first {
            let index = container.index;
            scheduler.add(container);
            console::open_input(index);
            control.started(index);
        }
        finish(scheduler.run(Some(control), None))
    }
    let measured = measured::measure(&machine);
    done("measuring");
    let kept = Kept::begin(&machine, &measured, &options);
    let (ready, mut end) = all(&mut machine, &mut images, &measured, &options);
    done("programs");
    if !is_ours && (measured.is_medium() || gate::facts().panics > 0) {
        stages::tell(&machine);
    }
    let mut scheduler = Scheduler::new(machine);
    if ready.len() > 1 || !is_ours {
        // None of them has the processor for ever.
        scheduler.want_upcalls();
    }
    if !ready.is_empty() {
        ready.into_iter().for_each(|container| scheduler.add(container));
        let mut shell = (!is_ours).then(|| Shell::new(&scheduler.machine, kept));
        end = scheduler.run(None, shell.as_mut());
        if let Some(shell) = &mut shell {
            shell.end();
        }
    }
    if options.stays.unwrap_or(scheduler.machine.stays()) {
        terminal::name(Vec::new());
        zero::run(&scheduler.machine, true)
    }
    finish(end)
}

/// The boot module's containers, ready to run, and how a machine ends that has none.
fn all(
    machine: &mut Machine,
    images: &mut Images,
    measured: &Measured,
    options: &Options,
) -> (Vec<Container>, ContainerEnd) {
    let is_wanted = |index: &u32| options.wants(&machine.container_name(*index));
    let numbers: Vec<u32> = machine.container_numbers().filter(is_wanted).collect();
    if numbers.is_empty() {
        terminal::say(0, b"sentient: the boot module has no container to run\n");
    }
    if numbers.len() > 1 {
        terminal::name(numbers.iter().map(|index| (*index, machine.container_name(*index))).collect());
    }
    let mut end = ContainerEnd::BadBootModule;
    let mut ready = Vec::new();
    if measured.is_refused() {
        return (ready, end);
    }
    for index in numbers {
        if measured.is_damaged(index) {
            let damaged = "its image is damaged: it is not what it was when the boot module was made";
            report::tell(index, format_args!("cannot start the container: {damaged}"));
            end = ContainerEnd::Unstartable;
            continue;
        }
        match prepare(machine, images, index) {
            Ok(container) => ready.push(container),
            Err(other) => end = other,
        }
    }
    (ready, end)
}

/// A container of the boot module, or how it ends that cannot be run, which was told.
fn prepare(machine: &mut Machine, images: &mut Images, index: u32) -> Result<Container, ContainerEnd> {
    // The nucleus has checked the module; what is in it is another matter.
    let given = machine.container(index).map_err(|problem| {
        report::tell(index, format_args!("the boot module has no container to run: {problem}"));
        ContainerEnd::BadBootModule
    })?;
    make(machine, images, index, &given).map_err(|error| {
        report::tell(index, format_args!("cannot start the container: {error:#}"));
        ContainerEnd::Unstartable
    })
}

fn make(
    machine: &mut Machine,
    images: &mut Images,
    index: u32,
    given: &boot_module::Container<'static>,
) -> wasmtime::Result<Container> {
    let Image::Here(entry, bytes) = given.image else {
        wasmtime::bail!("its image is not in the boot module");
    };
    let files = given.permissions.map(|permissions| permissions.file_bytes).filter(|bytes| *bytes > 0);
    let needs = Needs { given: 0, memory: given.config.memory_limit, files, life: 0 };
    let Some(room) = Room::make(machine, images, index, needs) else {
        wasmtime::bail!("{}", machine.no_room(given.config.memory_limit, "it"));
    };
    let image = images.of_boot_module(machine, &entry, bytes)?;
    Container::prepare(machine, index, &room, given, image)
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
