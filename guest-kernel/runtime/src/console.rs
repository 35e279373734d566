//! Containers' standard streams: frames (`sentient_abi::stdio`) over the virtio console, or the
//! [terminal] where there is no VMM of ours.
//!
//! Output is copied once, into a ring the device reads from; input is copied once, out of the buffers the
//! device fills. The device is only asked for interrupts while the runtime sleeps, or somebody waits while
//! others run; a resident machine always wants to be told of what the host sends.
//!
//! A thread that finds no room waits ([`write_all`]). The scheduler never does: what it has to say waits in a
//! queue ([`queue`]) until there is room.

mod input;
pub mod keyboard;
pub mod line;
mod output;
pub mod screen;
pub mod terminal;

use crate::devices::{self, Device};
use crate::machine::Machine;
use crate::{gate, heap, scheduler};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use input::Input;
use output::Output;
use sentient_abi::container_files::MAX_ANSWER;
use sentient_abi::layout::queues;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::RegionKind;
use sentient_abi::stdio::{FrameHeader, FrameKind, MAX_REASON};
use sentient_wasi::Wait;
use spin::{Mutex, MutexGuard};

/// Streams over the virtio console.
struct Console {
    output: Output,
    input: Input,
    device: Device,
    interrupts_enabled: bool,
}

/// A frame that waits for room. Its payload is at most [`MAX_ANSWER`] bytes, of most kinds at most [`MAX_REASON`].
struct Queued {
    kind: FrameKind,
    container: u32,
    argument: u32,
    payload: Vec<u8>,
}

/// Most frames that wait; log lines beyond it are lost.
const MAX_QUEUED: usize = 1024;

static QUEUE: Mutex<VecDeque<Queued>> = Mutex::new(VecDeque::new());

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);
/// Whether there is one, also while [`pump`] holds it.
static PRESENT: AtomicBool = AtomicBool::new(false);

fn console() -> MutexGuard<'static, Option<Console>> {
    CONSOLE.lock()
}

/// Brings the console up if the VMM has one; its queues are set up already.
pub fn start(machine: &Machine) {
    // One that is not ours knows nothing of frames: it is one of the terminal's.
    let device = devices::find(machine, DeviceKind::Console).filter(|_| machine.info.is_some());
    let (Some(device), Some(region)) = (device, machine.region(RegionKind::DeviceBuffers)) else { return };
    let buffers = region.base + queues::COUNT * queues::STRIDE;
    // SAFETY: these pages are the console's, and used by this module alone.
    let (receive, transmit) = unsafe {
        (device.queue(machine, DeviceKind::Console, 0), device.queue(machine, DeviceKind::Console, 1))
    };
    let (Some(receive), Some(transmit)) = (receive, transmit) else { return };
    let output = Output::new(transmit, buffers);
    let input = Input::new(receive, buffers + output::RING_LEN, machine.is_resident());
    let mut started = Console { output, input, device, interrupts_enabled: false };
    if machine.is_resident() {
        started.enable_interrupts();
    }
    *console() = Some(started);
    PRESENT.store(true, Relaxed);
}

/// Whether there is one; where not, what is written goes to the [terminal].
pub fn is_present() -> bool {
    PRESENT.load(Relaxed)
}

/// Writes part of `bytes` to a container's stream; gives how much was taken, which may be nothing.
pub fn write(kind: FrameKind, container: u32, bytes: &[u8]) -> usize {
    match console().as_mut() {
        Some(console) => console.output.write(kind, container, bytes),
        None => {
            terminal::say(container, bytes);
            bytes.len()
        }
    }
}

/// Writes all of `bytes` for the thread that runs, which waits as long as it takes.
pub fn write_all(kind: FrameKind, container: u32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = write(kind, container, bytes);
        bytes = bytes.get(taken..).unwrap_or(&[]);
        if taken == 0 {
            let room = Wait { stdout: true, ..Wait::YIELD };
            // Nobody reads what one that is killed has to say.
            if scheduler::wait(room).is_err() {
                return;
            }
        }
    }
}

/// Bytes of output that would be taken now.
pub fn output_room() -> usize {
    console().as_mut().map_or(usize::MAX, |console| console.output.room())
}

/// What a container finds on its standard input.
pub enum InputState {
    /// So many bytes.
    Ready(usize),
    /// Nothing yet.
    Empty,
    /// Nothing any more.
    Ended,
}

/// What is there to read. Asking opens the window: input that nobody asks for stays with its sender.
pub fn input_state(container: u32) -> InputState {
    match console().as_mut() {
        Some(Console { input, output, .. }) => {
            input.receive();
            input.open_window(output, container);
            input.state(container)
        }
        None => InputState::Ended,
    }
}

/// Reads what is there.
pub fn read(container: u32, buffer: &mut [u8]) -> usize {
    console().as_mut().map_or(0, |console| console.input.read(container, buffer))
}

/// Waits until the device has taken all output.
pub fn flush() {
    loop {
        send_queued();
        if let Some(console) = console().as_mut() {
            if !has_queued() && console.output.is_empty() {
                break;
            }
            console.prepare_sleep();
            // That may have taken back the last of it: then nothing more comes to wake up for.
            if console.output.is_empty() || console.has_news() {
                continue;
            }
        } else {
            return;
        }
        gate::idle();
    }
    end_sleep();
}

/// Sends a frame as soon as there is room for it. Long text goes in several.
pub fn queue(kind: FrameKind, container: u32, argument: u32, payload: &[u8]) {
    if !PRESENT.load(Relaxed) {
        return terminal::say(container, payload);
    }
    // What waits here may be sent when whoever said it is gone.
    heap::in_runtime(|| {
        let mut queue = QUEUE.lock();
        if kind == FrameKind::Log && queue.len() >= MAX_QUEUED {
            return;
        }
        if payload.is_empty() {
            queue.push_back(Queued { kind, container, argument, payload: Vec::new() });
            return;
        }
        let most = if kind == FrameKind::FilesAnswer { MAX_ANSWER } else { MAX_REASON };
        for piece in payload.chunks(most as usize) {
            queue.push_back(Queued { kind, container, argument, payload: piece.to_vec() });
        }
    });
}

/// Whether frames wait for room.
pub fn has_queued() -> bool {
    !QUEUE.lock().is_empty()
}

/// Sends the frames there is room for.
pub fn send_queued() {
    let mut queue = QUEUE.lock();
    if queue.is_empty() {
        return;
    }
    let mut guard = console();
    let Some(console) = guard.as_mut() else { return };
    while let Some(Queued { kind, container, argument, payload }) = queue.front() {
        if !console.output.send_whole(*kind, *container, *argument, payload) {
            return;
        }
        queue.pop_front();
    }
}

/// Takes what the host of a resident machine has sent; `take` gets what is not standard input, and must not
/// use the console but for [`queue`].
pub fn pump(take: &mut dyn FnMut(&FrameHeader, &[u8])) {
    let mut taken = CONSOLE.lock().take();
    if let Some(console) = &mut taken {
        console.input.pump(take);
    }
    *CONSOLE.lock() = taken;
}

/// A container's standard input begins.
pub fn open_input(container: u32) {
    if let Some(console) = console().as_mut() {
        console.input.open(container);
    }
}

/// A container's standard input is not wanted any more.
pub fn close_input(container: u32) {
    if let Some(console) = console().as_mut() {
        console.input.close(container);
    }
}

/// Has the device interrupt when there is room for output, while threads run. `false` if there is news already,
/// which no interrupt will tell of.
pub fn want_room() -> bool {
    let mut guard = console();
    let Some(console) = guard.as_mut() else { return true };
    console.enable_interrupts();
    console.output.want_interrupts(true);
    !console.output.has_news()
}

/// Lets the device wake the processor, and takes what has come until now. Whoever is about to sleep calls
/// this first, then looks whether there is still a reason to, then asks [`has_news`].
pub fn prepare_sleep() {
    if let Some(console) = console().as_mut() {
        console.prepare_sleep();
    }
}

/// Whether something has come since [`prepare_sleep`], so that there is nothing to sleep for.
pub fn has_news() -> bool {
    console().as_ref().is_some_and(Console::has_news)
}

/// After a sleep.
pub fn end_sleep() {
    if let Some(console) = console().as_mut() {
        console.output.want_interrupts(false);
        console.input.want_interrupts(false);
    }
}

impl Console {
    /// Late, because a container that never waits never needs it, and it costs.
    fn enable_interrupts(&mut self) {
        if !self.interrupts_enabled {
            self.device.enable_interrupt();
            self.interrupts_enabled = true;
        }
    }

    fn prepare_sleep(&mut self) {
        self.enable_interrupts();
        self.output.want_interrupts(true);
        self.input.want_interrupts(true);
        self.output.reclaim();
        self.input.receive();
    }

    fn has_news(&self) -> bool {
        self.output.has_news() || self.input.has_news()
    }
}
