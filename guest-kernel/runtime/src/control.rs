//! Containers that come while the machine runs: the frames of `sentient_abi::stdio` by which the host loads,
//! starts, pauses and kills them, and asks what they take.
//!
//! Called by the scheduler, on its own stack: nothing here waits. What is answered goes into the console's
//! queue. A frame that makes no sense is named in the log and otherwise ignored: the host may have sent it
//! before it knew that a container had ended.

use crate::container::Container;
use crate::machine::Machine;
use crate::report::log;
use crate::scheduler::Scheduler;
use crate::{console, gate};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use sentient_abi::boot_module::BootModule;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::gate::Rights;
use sentient_abi::region::RegionKind;
use sentient_abi::stdio::{FrameHeader, FrameKind, MAX_REASON};
use sentient_abi::{MAX_CONTAINERS, page_align_up};

/// What there is of a container.
enum Slot {
    /// Nothing.
    Empty,
    /// It is being loaded into its image region: first address, bytes it is to have and has.
    Loading { base: u64, total: u64, filled: u64 },
    /// It cannot be loaded; the answer to its start.
    Refused(String),
    /// It has a thread.
    Running,
}

/// All containers.
pub struct Control {
    slots: Vec<Slot>,
}

impl Control {
    /// No containers.
    pub fn new() -> Self {
        Self { slots: (0..MAX_CONTAINERS).map(|_| Slot::Empty).collect() }
    }

    /// Takes what the host has sent.
    pub fn receive(&mut self, scheduler: &mut Scheduler) {
        console::pump(&mut |header, bytes| self.take(scheduler, header, bytes));
    }

    /// A container of the boot module was started.
    pub fn started(&mut self, index: u32) {
        self.set(index, Slot::Running);
        console::queue(FrameKind::Started, index, 0, Vec::new());
    }

    /// A container has ended, and nothing refers to its memory any more.
    pub fn ended(&mut self, machine: &mut Machine, index: u32, end: ContainerEnd) {
        give_back(machine, index);
        self.set(index, Slot::Empty);
        console::close_input(index);
        console::queue(FrameKind::Ended, index, end.encode(), Vec::new());
    }

    fn set(&mut self, index: u32, state: Slot) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = state;
        }
    }

    fn take(&mut self, scheduler: &mut Scheduler, header: &FrameHeader, bytes: &[u8]) {
        let index = header.container;
        let slot = self.slots.get_mut(index as usize);
        match (header.kind, slot) {
            (FrameKind::Load, Some(slot @ (Slot::Empty | Slot::Refused(_)))) => {
                *slot = load(&mut scheduler.machine, index, u64::from(header.argument));
            }
            (FrameKind::LoadData, Some(Slot::Loading { base, total, filled })) => {
                let len = bytes.len() as u64;
                if len > *total - *filled {
                    *filled = *total;
                    log(format_args!("container {index}: more bytes came than were announced"));
                    return;
                }
                // SAFETY: within the image region, which is mapped for writing and known to nobody else.
                unsafe {
                    let to = (*base + *filled) as *mut u8;
                    core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
                *filled += len;
            }
            (FrameKind::LoadData, Some(Slot::Refused(_))) => {}
            (FrameKind::Start, Some(slot @ (Slot::Loading { .. } | Slot::Refused(_)))) => {
                match start(scheduler, index, slot) {
                    Ok(container) => {
                        scheduler.add(container);
                        self.started(index);
                    }
                    Err(reason) => {
                        *slot = Slot::Empty;
                        give_back(&mut scheduler.machine, index);
                        let mut reason = reason.into_bytes();
                        reason.truncate(MAX_REASON as usize);
                        console::queue(FrameKind::Refused, index, 0, reason);
                    }
                }
            }
            (FrameKind::Kill, Some(Slot::Running)) => {
                scheduler.kill(index);
            }
            (FrameKind::Pause, Some(Slot::Running)) => {
                scheduler.pause(index, header.argument != 0);
                tell(scheduler, index);
            }
            (FrameKind::Ask, Some(Slot::Running)) => tell(scheduler, index),
            // It has ended meanwhile, and that was told.
            (FrameKind::Ask | FrameKind::Pause, Some(Slot::Empty)) => {}
            (kind, _) => log(format_args!("a frame {kind:?} for container {index} makes no sense now")),
        }
    }
}

/// Tells the host what a container takes.
fn tell(scheduler: &Scheduler, index: u32) {
    if let Some(status) = scheduler.status(index) {
        console::queue(FrameKind::Status, index, 0, status.encode().to_vec());
    }
}

/// Finds room for a container's bytes.
fn load(machine: &mut Machine, index: u32, total: u64) -> Slot {
    let region = page_align_up(total).filter(|len| *len > 0).and_then(|len| machine.assign_image(index, len));
    match region {
        Some(region) => Slot::Loading { base: region.base, total, filled: 0 },
        None => Slot::Refused(machine.no_room(total, "its image")),
    }
}

/// Makes a container of the bytes that were loaded, or says why not.
fn start(scheduler: &mut Scheduler, index: u32, slot: &Slot) -> Result<Container, String> {
    let (base, total) = match slot {
        Slot::Loading { base, total, filled } if filled == total => (*base, *total),
        Slot::Loading { total, filled, .. } => {
            return Err(format!("only {filled} of its {total} bytes have come"));
        }
        Slot::Refused(reason) => return Err(reason.clone()),
        Slot::Empty | Slot::Running => return Err("it was not loaded".into()),
    };
    // SAFETY: the image region, mapped, and written by nobody from here on. It is given back when what is
    // made here was dropped: at once if that fails, else by `Control::ended`.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(base as *const u8, total as usize) };
    let module = BootModule::parse(bytes).map_err(|error| format!("it is no boot module: {error:?}"))?;
    let container = module.container(0)?;
    let code = module.code_ranges().next().ok_or("its image has no code")?;
    let end = page_align_up(total).ok_or("it is too long")?;
    let parts =
        [(0..code.start, Rights::Read), (code.clone(), Rights::Execute), (code.end..end, Rights::Read)];
    let mut parts = parts.into_iter().filter(|(part, _)| !part.is_empty());
    if !parts.all(|(part, rights)| gate::protect(base + part.start, part.end - part.start, rights)) {
        return Err("the machine has no page tables left for it".into());
    }
    Container::prepare(&mut scheduler.machine, index, &container).map_err(|error| format!("{error:#}"))
}

/// Gives a container's regions back, writable again.
fn give_back(machine: &mut Machine, index: u32) {
    machine.release(RegionKind::Container, index);
    let Some(image) = machine.owned(RegionKind::Image, index) else { return };
    if gate::protect(image.base, image.len, Rights::Write) {
        machine.release(RegionKind::Image, index);
    } else {
        log(format_args!("the image of container {index} cannot be given back"));
    }
}
