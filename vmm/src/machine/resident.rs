//! Containers of a machine that runs: what its handle asks for, and how the event loop brings it to the guest.

use super::shared::{Console, Events, HostEntropy, lock};
use crate::config::ContainerRun;
use crate::error::MachineError;
use crate::handover;
use crate::kvm::vm::Vm;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::container_files::{MAX_PATH, MAX_REQUEST, Request};
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, Room};
use sentient_devices::virtio::rng::Entropy;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

/// Bytes of a container or an image sent in one frame.
const LOAD_CHUNK: usize = 64 << 10;

/// What is asked of a resident machine.
#[derive(Debug)]
pub(super) enum Command {
    /// Load and start this boot module as a container.
    Load { container: u32, room: Room, module: Vec<u8> },
    /// Load this boot module as an image.
    Image { digest: [u8; 32], module: Vec<u8> },
    /// End a container.
    Kill { container: u32 },
    /// Keep a container from running, or let it run again.
    Pause { container: u32, paused: bool },
    /// Ask what a container takes.
    Ask { container: u32 },
    /// Do something with a container's files: an encoded request.
    Files { container: u32, number: u32, request: Vec<u8> },
    /// Have the guest come to where no container is being run, and say so.
    Rest,
    /// Standard input of a container, and whether it ends with that.
    Input { container: u32, bytes: Vec<u8>, end: bool },
}

/// Loads containers into a resident machine from another thread. What becomes of them is told to its
/// [`ContainerSink`](crate::streams::ContainerSink). Which numbers are in use is the caller's business: a number
/// is free until it is loaded, and again after `Ended` or `Refused`.
#[derive(Clone, Debug)]
pub struct ResidentHandle {
    pub(super) events: Arc<Events>,
    pub(super) vm: Weak<Vm>,
}

impl ResidentHandle {
    /// Gives the guest what it was [not given](super::Start) of its memory when it went on from a snapshot. Without this
    /// it gets it at the first access, which stands still for that. Takes some milliseconds, once, and only if there is
    /// something to give.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub fn give_all_memory(&self) -> Result<(), MachineError> {
        // A machine that is gone needs none.
        self.vm.upgrade().map_or(Ok(false), |vm| vm.give_all())?;
        Ok(())
    }

    /// Loads and starts a container under a number below [`MAX_CONTAINERS`]. The guest answers with
    /// [`NoImage`](sentient_devices::virtio::stdio_mux::ContainerEvent::NoImage) if it has to be given the
    /// [image](Self::load_image) first: most often it has it.
    ///
    /// # Errors
    /// [`MachineError::ArgumentsTooLong`], [`MachineError::ContainerNumber`]; [`MachineError::Io`] without random
    /// numbers.
    pub fn load(&self, container: u32, run: &ContainerRun) -> Result<(), MachineError> {
        let files = run.spec.permissions.as_ref().map_or(0, |permissions| permissions.file_bytes);
        let mut life = [0; size_of::<u64>()];
        HostEntropy.fill(&mut life).map_err(MachineError::io("naming a container"))?;
        let room = Room { memory: run.spec.memory_limit, files, life: u64::from_le_bytes(life) };
        self.load_module(container, room, handover::container_without_image(run)?)
    }

    /// Gives the guest the image of a container, if it has not got it. Why it cannot take it, the next
    /// [`load`](Self::load) is told.
    ///
    /// # Errors
    /// [`MachineError::ArgumentsTooLong`].
    pub fn load_image(&self, run: &ContainerRun) -> Result<(), MachineError> {
        let digest = run.image.digest();
        self.events.command(Command::Image { digest, module: handover::image_module(run)? });
        Ok(())
    }

    /// Loads and starts a boot module of one container, which only the guest checks.
    ///
    /// # Errors
    /// [`MachineError::ContainerNumber`].
    pub fn load_module(&self, container: u32, room: Room, module: Vec<u8>) -> Result<(), MachineError> {
        if container >= MAX_CONTAINERS {
            return Err(MachineError::ContainerNumber(container));
        }
        self.events.command(Command::Load { container, room, module });
        Ok(())
    }

    /// Ends a container. One that has just ended is no error.
    pub fn kill(&self, container: u32) {
        self.events.command(Command::Kill { container });
    }

    /// Keeps a container from running, or lets it run again. The guest answers with
    /// [`ContainerEvent::Status`](sentient_devices::virtio::stdio_mux::ContainerEvent::Status), unless it has ended.
    pub fn pause(&self, container: u32, paused: bool) {
        self.events.command(Command::Pause { container, paused });
    }

    /// Asks what a container takes; the answer is as for [`pause`](Self::pause).
    pub fn ask(&self, container: u32) {
        self.events.command(Command::Ask { container });
    }

    /// Does something with a container's files. The guest answers with
    /// [`ContainerEvent::Files`](sentient_devices::virtio::stdio_mux::ContainerEvent::Files), of this number.
    ///
    /// # Errors
    /// [`MachineError::ContainerNumber`]; [`MachineError::FileRequest`] for one that is longer than its guest takes.
    pub fn ask_files(&self, container: u32, number: u32, request: &Request<'_>) -> Result<(), MachineError> {
        if container >= MAX_CONTAINERS {
            return Err(MachineError::ContainerNumber(container));
        }
        let (path, request) = (request.path, request.encode());
        if path.len() > MAX_PATH || request.len() > MAX_REQUEST {
            return Err(MachineError::FileRequest { path: path.len(), bytes: request.len() });
        }
        self.events.command(Command::Files { container, number, request });
        Ok(())
    }

    /// Gives a container standard input, which is held until it reads it: as much of `bytes` as there is room for
    /// within `patience`. Gives how much that was.
    #[must_use = "what was not taken is still the caller's"]
    pub fn input(&self, container: u32, bytes: &[u8], patience: Duration) -> usize {
        let taken = self.events.input.take(container, bytes.len(), patience);
        if let Some(bytes) = bytes.get(..taken).filter(|bytes| !bytes.is_empty()) {
            self.events.command(Command::Input { container, bytes: bytes.to_vec(), end: false });
        }
        taken
    }

    /// Ends a container's standard input.
    pub fn end_input(&self, container: u32) {
        self.events.command(Command::Input { container, bytes: Vec::new(), end: true });
    }
}

/// One of the frames to send: a header alone, or one with a payload and all that follows it.
#[derive(Debug)]
struct Asked {
    kind: FrameKind,
    container: u32,
    /// Of the header, which for what has a module is that one's length.
    argument: u32,
    payload: Vec<u8>,
    module: Vec<u8>,
}

impl Asked {
    fn short(kind: FrameKind, container: u32, argument: u32) -> Self {
        Self { kind, container, argument, payload: Vec::new(), module: Vec::new() }
    }

    fn with_module(kind: FrameKind, container: u32, payload: &[u8], module: Vec<u8>) -> Self {
        let argument = u32::try_from(module.len()).unwrap_or(u32::MAX);
        Self { kind, container, argument, payload: payload.to_vec(), module }
    }
}

/// What was asked for and has not gone to the multiplexer yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Frames in order.
    frames: VecDeque<Asked>,
    /// Bytes of the first one's module that were sent, once it was itself.
    sent: Option<usize>,
    /// How often the guest had gone on after a fault when they were asked for.
    life: u64,
    inputs: BTreeMap<u32, (Vec<u8>, bool)>,
}

impl Pending {
    /// Takes what was asked for since the last time.
    pub(super) fn take(&mut self, events: &Events) {
        let held = &events.input;
        for (life, command) in events.take_commands() {
            self.begin_life(life);
            match command {
                Command::Load { container, room, module } => {
                    // Input that its predecessor did not read is not its own.
                    let (forgotten, _) = self.inputs.remove(&container).unwrap_or_default();
                    held.give_back(container, forgotten.len());
                    let asked = Asked::with_module(FrameKind::Load, container, &room.encode(), module);
                    self.frames.push_back(asked);
                }
                Command::Image { digest, module } => {
                    self.frames.push_back(Asked::with_module(FrameKind::Image, 0, &digest, module));
                }
                Command::Kill { container } => {
                    self.frames.push_back(Asked::short(FrameKind::Kill, container, 0));
                }
                Command::Pause { container, paused } => {
                    self.frames.push_back(Asked::short(FrameKind::Pause, container, paused.into()));
                }
                Command::Ask { container } => {
                    self.frames.push_back(Asked::short(FrameKind::Ask, container, 0));
                }
                Command::Files { container, number, request } => {
                    let short = Asked::short(FrameKind::Files, container, number);
                    self.frames.push_back(Asked { payload: request, ..short });
                }
                Command::Rest => self.frames.push_back(Asked::short(FrameKind::Rest, 0, 0)),
                Command::Input { container, bytes, end } => {
                    let (queued, ends) = self.inputs.entry(container).or_default();
                    queued.extend(bytes);
                    *ends |= end;
                }
            }
        }
    }

    /// In another life of the guest's, after a fault, what was asked of it in the one before is of no use to anybody.
    fn begin_life(&mut self, life: u64) {
        if life > self.life {
            self.life = life;
            self.frames.clear();
            self.sent = None;
        }
    }

    /// Gives the multiplexer as much as it takes now; whether that was anything.
    pub(super) fn feed(&mut self, console: &Mutex<Console>, events: &Events) -> bool {
        let held = &events.input;
        let mut console = lock(console);
        // No other one begins while the console is held.
        self.begin_life(events.lives());
        let mux = console.device_mut().backend_mut();
        let mut fed = false;
        while let Some(Asked { kind, container, argument, payload, module }) = self.frames.front() {
            let (kind, container, argument) = (*kind, *container, *argument);
            let mut send = |kind, argument, payload: &[u8]| {
                let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                mux.control_room() >= payload.len() + HEADER_LEN
                    && mux.send_control(&FrameHeader { kind, container, len, argument }, payload)
            };
            // What carries a module's bytes, and what comes after them.
            let (data, end) = match kind {
                FrameKind::Load => (FrameKind::LoadData, Some(FrameKind::Start)),
                _ => (FrameKind::ImageData, None),
            };
            let done = match self.sent {
                None if send(kind, argument, payload) => {
                    self.sent = (!module.is_empty()).then_some(0);
                    module.is_empty()
                }
                Some(at) if at < module.len() => {
                    let until = module.len().min(at + LOAD_CHUNK);
                    if !send(data, 0, module.get(at..until).unwrap_or_default()) {
                        break;
                    }
                    self.sent = Some(until);
                    false
                }
                Some(_) if end.is_none_or(|end| send(end, 0, &[])) => {
                    self.sent = None;
                    true
                }
                _ => break,
            };
            fed = true;
            if done {
                self.frames.pop_front();
            }
        }
        let frames = &self.frames;
        self.inputs.retain(|container, (bytes, end)| {
            // Not before the container itself.
            if frames.iter().any(|asked| asked.kind == FrameKind::Load && asked.container == *container) {
                return true;
            }
            let taken = mux.offer_stdin(*container, bytes);
            bytes.drain(..taken);
            if taken > 0 {
                held.give_back(*container, taken);
            }
            fed |= taken > 0;
            if *end && bytes.is_empty() {
                mux.end_stdin(*container);
                fed = true;
                return false;
            }
            !bytes.is_empty() || *end
        });
        fed
    }
}
