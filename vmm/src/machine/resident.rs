//! Containers of a machine that runs: what its handle asks for, and how the event loop brings it to the guest.

use super::shared::{Console, Events, lock};
use crate::config::ContainerRun;
use crate::error::MachineError;
use crate::handover;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// Bytes of a container sent in one frame.
const LOAD_CHUNK: usize = 64 << 10;

/// What is asked of a resident machine.
#[derive(Debug)]
pub(super) enum Command {
    /// Load and start this boot module as a container.
    Load { container: u32, module: Vec<u8> },
    /// End a container.
    Kill { container: u32 },
    /// Keep a container from running, or let it run again.
    Pause { container: u32, paused: bool },
    /// Ask what a container takes.
    Ask { container: u32 },
    /// Standard input of a container, and whether it ends with that.
    Input { container: u32, bytes: Vec<u8>, end: bool },
}

/// Loads containers into a resident machine from another thread. What becomes of them is told to its
/// [`ContainerSink`](crate::streams::ContainerSink). Which numbers are in use is the caller's business: a number
/// is free until it is loaded, and again after `Ended` or `Refused`.
#[derive(Clone, Debug)]
pub struct ResidentHandle(pub(super) Arc<Events>);

impl ResidentHandle {
    /// Loads and starts a container under a number below [`MAX_CONTAINERS`].
    ///
    /// # Errors
    /// [`MachineError::ArgumentsTooLong`], [`MachineError::ContainerNumber`].
    pub fn load(&self, container: u32, run: &ContainerRun) -> Result<(), MachineError> {
        self.load_module(container, handover::container_module(run)?)
    }

    /// Loads and starts a boot module of one container, which only the guest checks.
    ///
    /// # Errors
    /// [`MachineError::ContainerNumber`].
    pub fn load_module(&self, container: u32, module: Vec<u8>) -> Result<(), MachineError> {
        if container >= MAX_CONTAINERS {
            return Err(MachineError::ContainerNumber(container));
        }
        self.0.command(Command::Load { container, module });
        Ok(())
    }

    /// Ends a container. One that has just ended is no error.
    pub fn kill(&self, container: u32) {
        self.0.command(Command::Kill { container });
    }

    /// Keeps a container from running, or lets it run again. The guest answers with
    /// [`ContainerEvent::Status`](sentient_devices::virtio::stdio_mux::ContainerEvent::Status), unless it has ended.
    pub fn pause(&self, container: u32, paused: bool) {
        self.0.command(Command::Pause { container, paused });
    }

    /// Asks what a container takes; the answer is as for [`pause`](Self::pause).
    pub fn ask(&self, container: u32) {
        self.0.command(Command::Ask { container });
    }

    /// Gives a container standard input, which is held until it reads it.
    pub fn input(&self, container: u32, bytes: &[u8]) {
        self.0.command(Command::Input { container, bytes: bytes.to_vec(), end: false });
    }

    /// Ends a container's standard input.
    pub fn end_input(&self, container: u32) {
        self.0.command(Command::Input { container, bytes: Vec::new(), end: true });
    }
}

/// One of the frames to send: a header alone, or a `Load` with all that follows it.
#[derive(Debug)]
struct Asked {
    kind: FrameKind,
    container: u32,
    /// Of the header, which for a `Load` is the module's length.
    argument: u32,
    module: Vec<u8>,
}

/// What was asked for and has not gone to the multiplexer yet.
#[derive(Debug, Default)]
pub(super) struct Pending {
    /// Frames in order, with the payload that is left of the container being loaded.
    frames: VecDeque<Asked>,
    /// Bytes of the first one that were sent, once its `Load` was.
    sent: Option<usize>,
    inputs: BTreeMap<u32, (Vec<u8>, bool)>,
}

impl Pending {
    /// Takes what was asked for.
    pub(super) fn take(&mut self, commands: Vec<Command>) {
        for command in commands {
            let short = |kind, container, argument| Asked { kind, container, argument, module: Vec::new() };
            match command {
                Command::Load { container, module } => {
                    // Input that its predecessor did not read is not its own.
                    self.inputs.remove(&container);
                    let argument = u32::try_from(module.len()).unwrap_or(u32::MAX);
                    self.frames.push_back(Asked { kind: FrameKind::Load, container, argument, module });
                }
                Command::Kill { container } => {
                    self.frames.push_back(short(FrameKind::Kill, container, 0));
                }
                Command::Pause { container, paused } => {
                    self.frames.push_back(short(FrameKind::Pause, container, paused.into()));
                }
                Command::Ask { container } => self.frames.push_back(short(FrameKind::Ask, container, 0)),
                Command::Input { container, bytes, end } => {
                    let (queued, ends) = self.inputs.entry(container).or_default();
                    queued.extend(bytes);
                    *ends |= end;
                }
            }
        }
    }

    /// Gives the multiplexer as much as it takes now; whether that was anything.
    pub(super) fn feed(&mut self, console: &Mutex<Console>) -> bool {
        let mut console = lock(console);
        let mux = console.device_mut().backend_mut();
        let mut fed = false;
        while let Some(Asked { kind, container, argument, module }) = self.frames.front() {
            let (kind, container, argument) = (*kind, *container, *argument);
            let mut send = |kind, argument, payload: &[u8]| {
                let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                mux.control_room() >= payload.len() + HEADER_LEN
                    && mux.send_control(&FrameHeader { kind, container, len, argument }, payload)
            };
            let done = match (kind, self.sent) {
                (FrameKind::Load, None) if send(FrameKind::Load, argument, &[]) => {
                    self.sent = Some(0);
                    false
                }
                (FrameKind::Load, Some(at)) if at < module.len() => {
                    let end = module.len().min(at + LOAD_CHUNK);
                    if !send(FrameKind::LoadData, 0, module.get(at..end).unwrap_or_default()) {
                        break;
                    }
                    self.sent = Some(end);
                    false
                }
                (FrameKind::Load, Some(_)) if send(FrameKind::Start, 0, &[]) => {
                    self.sent = None;
                    true
                }
                (FrameKind::Load, _) => break,
                (kind, _) if send(kind, argument, &[]) => true,
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
