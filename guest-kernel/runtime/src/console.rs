//! Containers' standard streams: frames (`sentient_abi::stdio`) over the virtio console, or bare bytes on
//! the serial port where there is no VMM of ours.
//!
//! Output is copied once, into a ring the device reads from; input is copied once, out of the buffers the
//! device fills. The device is only asked for interrupts while the runtime sleeps.

mod input;
mod output;

use crate::gate;
use crate::machine::Machine;
use crate::virtqueue::VirtQueue;
use input::Input;
use output::Output;
use sentient_abi::layout::queues;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::RegionKind;
use sentient_abi::stdio::FrameKind;
use spin::{Mutex, MutexGuard};

/// Streams over the virtio console.
struct Console {
    output: Output,
    input: Input,
    gsi: u32,
    interrupts_enabled: bool,
}

static CONSOLE: Mutex<Option<Console>> = Mutex::new(None);

fn console() -> MutexGuard<'static, Option<Console>> {
    CONSOLE.lock()
}

/// Brings the console up if the VMM has one; its queues are set up already.
pub fn start(machine: &Machine) {
    let device = machine.info.and_then(|info| info.device(DeviceKind::Console));
    let (Some(device), Some(region)) = (device, machine.region(RegionKind::DeviceBuffers)) else { return };
    let queue = |number: u64| region.base + number * queues::STRIDE;
    let buffers = region.base + queues::COUNT * queues::STRIDE;
    // SAFETY: the region is mapped, zero, and used by this module alone; the VMM has told the device of
    // the queues at these addresses, as the layout has it.
    let (receive, transmit) = unsafe {
        (
            VirtQueue::new(queue(queues::CONSOLE_RECEIVE), device.base, 0),
            VirtQueue::new(queue(queues::CONSOLE_TRANSMIT), device.base, 1),
        )
    };
    let output = Output::new(transmit, buffers);
    let input = Input::new(receive, buffers + output::RING_LEN);
    *console() = Some(Console { output, input, gsi: device.gsi, interrupts_enabled: false });
}

/// Writes part of `bytes` to a container's stream; gives how much was taken, which may be nothing.
pub fn write(kind: FrameKind, container: u32, bytes: &[u8]) -> usize {
    match console().as_mut() {
        Some(console) => console.output.write(kind, container, bytes),
        None => {
            gate::serial(bytes);
            bytes.len()
        }
    }
}

/// Writes all of `bytes`, waiting as long as it takes.
pub fn write_all(kind: FrameKind, container: u32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        let taken = write(kind, container, bytes);
        bytes = bytes.get(taken..).unwrap_or(&[]);
        if taken == 0 {
            sleep_until(|console| console.output.room() > 0);
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
            input.state()
        }
        None => InputState::Ended,
    }
}

/// Reads what is there.
pub fn read(buffer: &mut [u8]) -> usize {
    console().as_mut().map_or(0, |console| console.input.read(buffer))
}

/// Waits until the device has taken all output.
pub fn flush() {
    sleep_until(|console| console.output.is_empty());
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
    fn prepare_sleep(&mut self) {
        if !self.interrupts_enabled {
            // Late, because a container that never waits never needs it, and it costs.
            gate::enable_interrupt(self.gsi);
            self.interrupts_enabled = true;
        }
        self.output.want_interrupts(true);
        self.input.want_interrupts(true);
        self.output.reclaim();
        self.input.receive();
    }

    fn has_news(&self) -> bool {
        self.output.has_news() || self.input.has_news()
    }
}

/// Sleeps until the console is as wanted.
fn sleep_until(done: impl Fn(&mut Console) -> bool) {
    loop {
        {
            let mut guard = console();
            let Some(console) = guard.as_mut() else { return };
            if done(console) {
                break;
            }
            console.prepare_sleep();
            if done(console) {
                break;
            }
            if console.has_news() {
                continue;
            }
        }
        gate::idle();
    }
    end_sleep();
}
