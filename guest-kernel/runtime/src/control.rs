//! Containers that come while the machine runs: the frames of `sentient_abi::stdio` by which the host loads,
//! starts, pauses and kills them, asks what they take, and reaches into their files.
//!
//! Called by the scheduler, on its own stack: nothing here waits. What is answered goes into the console's
//! queue. A frame that makes no sense is named in the log and otherwise ignored: the host may have sent it
//! before it knew that a container had ended.

use crate::arena::Needs;
use crate::container::{self, Container, Room};
use crate::images::Images;
use crate::machine::Machine;
use crate::report::log;
use crate::scheduler::Scheduler;
use crate::{console, files, gate, heap, network, volumes};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::boot_module::{BootModule, Image};
use sentient_abi::container_files::{Failure, Request, answer_head};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::RegionKind;
use sentient_abi::sentinel::Event;
use sentient_abi::stdio::{FrameHeader, FrameKind, MAX_REASON, NO_IMAGE, Room as Wanted};

/// What there is of a container.
enum Slot {
    /// Nothing.
    Empty,
    /// Its configuration is being loaded into its region: bytes it is to have and has.
    Loading { room: Room, total: u64, filled: u64 },
    /// It cannot be loaded; the answer to its start.
    Refused(String),
    /// It has a thread.
    Running,
}

/// Why a container does not start.
enum Refusal {
    /// For this reason.
    Because(String),
    /// Its image is not there.
    NoImage,
}

impl From<String> for Refusal {
    fn from(reason: String) -> Self {
        Self::Because(reason)
    }
}

impl From<&str> for Refusal {
    fn from(reason: &str) -> Self {
        Self::Because(reason.into())
    }
}

/// All containers, and their images.
pub struct Control {
    slots: Vec<Slot>,
    images: Images,
}

impl Control {
    /// No containers, and the images there are.
    pub fn new(images: Images) -> Self {
        Self { slots: (0..MAX_CONTAINERS).map(|_| Slot::Empty).collect(), images }
    }

    /// Takes what the host has sent.
    pub fn receive(&mut self, scheduler: &mut Scheduler) {
        console::pump(&mut |header, bytes| self.take(scheduler, header, bytes));
    }

    /// In another life of the machine, takes away the containers that were not kept.
    pub fn begin_life(&mut self, scheduler: &mut Scheduler) {
        for index in scheduler.begin_life() {
            self.ended(&mut scheduler.machine, index, ContainerEnd::Lost);
        }
    }

    /// A container of the boot module was started.
    pub fn started(&mut self, index: u32) {
        self.set(index, Slot::Running);
        console::queue(FrameKind::Started, index, 0, &[]);
    }

    /// A container has ended, and nothing refers to its memory any more.
    pub fn ended(&mut self, machine: &mut Machine, index: u32, end: ContainerEnd) {
        give_back(machine, index);
        self.set(index, Slot::Empty);
        console::close_input(index);
        console::queue(FrameKind::Ended, index, end.encode(), &[]);
    }

    fn set(&mut self, index: u32, state: Slot) {
        if let Some(slot) = self.slots.get_mut(index as usize) {
            *slot = state;
        }
    }

    fn take(&mut self, scheduler: &mut Scheduler, header: &FrameHeader, bytes: &[u8]) {
        // It may begin between two frames: at the answer to a `Rest`.
        self.begin_life(scheduler);
        let index = header.container;
        let slot = self.slots.get_mut(index as usize);
        let runs = matches!(slot, Some(Slot::Running));
        // They are told of each other: a container that only one knows, nobody would ever hear of again.
        assert_eq!(runs, scheduler.has(index), "container {index} is not what it was");
        match (header.kind, slot) {
            (FrameKind::Image, _) => {
                self.images.expect(&mut scheduler.machine, bytes, u64::from(header.argument));
            }
            // Nothing is: this is the scheduler's stack, and every thread is stopped.
            (FrameKind::Rest, _) => gate::announce(Event::AtRest),
            (FrameKind::ImageData, _) => self.images.take(&mut scheduler.machine, bytes),
            (FrameKind::Load, Some(slot @ (Slot::Empty | Slot::Refused(_)))) => {
                let total = u64::from(header.argument);
                *slot = load(&mut scheduler.machine, &mut self.images, index, total, bytes);
            }
            (FrameKind::LoadData, Some(Slot::Loading { room, total, filled })) => {
                let len = bytes.len() as u64;
                if len > *total - *filled {
                    *filled = *total;
                    log(format_args!("container {index}: more bytes came than were announced"));
                    return;
                }
                // SAFETY: in the container's region, which is mapped for writing and not in use.
                unsafe {
                    let to = (room.region.base + Needs::GIVEN + *filled) as *mut u8;
                    core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
                }
                *filled += len;
            }
            (FrameKind::LoadData, Some(Slot::Refused(_))) => {}
            (FrameKind::Start, Some(slot @ (Slot::Loading { .. } | Slot::Refused(_)))) => {
                match start(scheduler, &mut self.images, index, slot) {
                    Ok(container) => {
                        scheduler.add(container);
                        self.started(index);
                    }
                    Err(refusal) => {
                        *slot = Slot::Empty;
                        give_back(&mut scheduler.machine, index);
                        let (argument, reason) = match &refusal {
                            Refusal::Because(reason) => (0, reason.as_bytes()),
                            Refusal::NoImage => (NO_IMAGE, &[][..]),
                        };
                        let reason = reason.get(..MAX_REASON as usize).unwrap_or(reason);
                        console::queue(FrameKind::Refused, index, argument, reason);
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
            (FrameKind::Files, _) => files(scheduler, index, header.argument, bytes),
            // It has ended meanwhile, and that was told.
            (FrameKind::Ask | FrameKind::Pause, Some(Slot::Empty)) => {}
            (kind, _) => log(format_args!("a frame {kind:?} for container {index} makes no sense now")),
        }
    }
}

/// Tells the host what a container takes.
fn tell(scheduler: &Scheduler, index: u32) {
    if let Some(status) = scheduler.status(index) {
        console::queue(FrameKind::Status, index, 0, &status.encode());
    }
}

/// Does something with a container's files, and answers.
fn files(scheduler: &mut Scheduler, index: u32, number: u32, bytes: &[u8]) {
    let done = match Request::decode(bytes) {
        Some(request) => scheduler.with_files(index, |files| files::serve(files, &request)),
        None => Err(Failure::Request),
    };
    let mut answer = answer_head(number, done.as_ref().err().copied()).to_vec();
    answer.extend_from_slice(done.as_deref().unwrap_or_default());
    console::queue(FrameKind::FilesAnswer, index, 0, &answer);
}

/// Finds room for a container of which `total` bytes are coming, and which needs what `payload` says.
fn load(machine: &mut Machine, images: &mut Images, index: u32, total: u64, payload: &[u8]) -> Slot {
    let Some(Wanted { memory, files, life }) = Wanted::decode(payload) else {
        return Slot::Refused("nobody said how much room it needs".into());
    };
    let needs = Needs { given: total, memory, files: Some(files).filter(|bytes| *bytes > 0), life };
    match Room::make(machine, images, index, needs) {
        Some(room) => Slot::Loading { room, total, filled: 0 },
        None => Slot::Refused(machine.no_room(needs.memory, "it")),
    }
}

/// Makes a container of the bytes that were loaded, or says why not.
fn start(scheduler: &Scheduler, images: &mut Images, index: u32, slot: &Slot) -> Result<Container, Refusal> {
    let (room, total) = match slot {
        Slot::Loading { room, total, filled } if filled == total => (room, *total),
        Slot::Loading { total, filled, .. } => {
            return Err(format!("only {filled} of its {total} bytes have come").into());
        }
        Slot::Refused(reason) => return Err(reason.clone().into()),
        Slot::Empty | Slot::Running => return Err("it was not loaded".into()),
    };
    let given = room.region.base + Needs::GIVEN;
    // SAFETY: in the container's region, mapped, and written by nobody from here on. It is given back when what is made
    // here was dropped: at once if that fails, else by `Control::ended`.
    let bytes: &'static [u8] = unsafe { core::slice::from_raw_parts(given as *const u8, total as usize) };
    let module = BootModule::parse(bytes).map_err(|error| format!("it is no boot module: {error:?}"))?;
    let given = module.container(0)?;
    if container::files_of(&given).is_some_and(|of| scheduler.status(of).is_none()) {
        return Err("the container whose files it is to have does not run".into());
    }
    let Image::Elsewhere(digest) = given.image else { return Err("it came with its image".into()) };
    let Some(image) = images.find(&digest) else {
        return Err(images.failure(&digest).map_or(Refusal::NoImage, Refusal::Because));
    };
    let made = Container::prepare(&scheduler.machine, index, room, &given, image);
    Ok(made.map_err(|error| format!("{error:#}"))?)
}

/// Gives a container's region back.
fn give_back(machine: &mut Machine, index: u32) {
    network::forget(index);
    volumes::forget(index);
    heap::remove(index);
    machine.release(RegionKind::Container, index);
}
