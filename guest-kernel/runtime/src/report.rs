//! What the runtime says when something ends: to the container's standard error, into the kernel's log, or
//! into the panic record.

use crate::thread::Thread;
use crate::{console, gate, scheduler};
use alloc::string::String;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use sentient_abi::panic_record::MESSAGE_LEN;
use sentient_abi::stdio::FrameKind;
use sentient_wasi::{Clock, Denied, FileAccess};

/// Most frames of a backtrace.
const MAX_FRAMES: usize = 32;

/// Tells the user why a container ended, on its standard error.
pub fn tell(container: u32, text: fmt::Arguments<'_>) {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(line, "sentient: {text}");
    if scheduler::is_in_thread() {
        console::write_all(FrameKind::Stderr, container, line.as_bytes());
    } else {
        // The scheduler does not wait: others may want to run.
        console::queue(FrameKind::Stderr, container, 0, line.as_bytes());
    }
}

/// Tells what a container was refused, and which rule would allow it. Nothing waits: this is in the midst of a call.
pub fn denied(container: u32, denied: &Denied) {
    let mut line = String::from("sentient: denied: ");
    let _ = match denied {
        Denied::File(path, access) => {
            let path = String::from_utf8_lossy(path);
            let (doing, access) = match access {
                FileAccess::Write => ("changing", "write"),
                FileAccess::None | FileAccess::Read => ("reading", "read"),
            };
            writeln!(line, "{doing} {path}; allowed by files: [{{ path: {path}, access: {access} }}]")
        }
        Denied::Clock(Clock::Realtime) => {
            writeln!(line, "the time of day; allowed by clocks: {{ wall: 1ms }}")
        }
        Denied::Clock(_) => writeln!(line, "the monotonic clock; allowed by clocks: {{ monotonic: 1us }}"),
        Denied::Random => writeln!(line, "random numbers; allowed by random: true"),
        Denied::Connect(to) => writeln!(
            line,
            "connecting to {to}; allowed by network: {{ connect: ['{to}'] }}, or by --connect '{to}' without permissions"
        ),
        Denied::Listen(port) => writeln!(
            line,
            "listening on port {port}; allowed by --publish {port}, and network: {{ listen: [{port}] }}"
        ),
    };
    console::queue(FrameKind::Stderr, container, 0, line.as_bytes());
}

/// Tells whoever is at the terminal of a machine that is not ours what has become of it.
pub fn say(text: fmt::Arguments<'_>) {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = write!(line, "sentient: {text}");
    console::terminal::say_line(&line);
}

/// A line in the kernel's log.
pub fn log(text: fmt::Arguments<'_>) {
    let mut line = String::new();
    let _ = writeln!(line, "sentient: {text}");
    console::queue(FrameKind::Log, 0, 0, line.as_bytes());
}

/// Tells that a container has reached its CPU time limit, and where that was if it was in its own code.
pub fn tell_limit(thread: &Thread) {
    let Some(state) = thread.interrupted() else { return };
    let (seconds, millis) = (thread.limit_ns / 1_000_000_000, thread.limit_ns / 1_000_000 % 1000);
    tell(thread.index, format_args!("its CPU time limit of {seconds}.{millis:03} s is reached, at:"));
    // SAFETY: the thread has ended.
    let program = &unsafe { thread.container() }.image.program;
    for (depth, address) in frames(thread, state.frame.rip, state.frame_pointer()).enumerate() {
        let offset = address.wrapping_sub(thread.code.start);
        let found = program
            .functions()
            .find(|function| (function.offset..function.offset + function.len).contains(&offset));
        if let Some(function) = found {
            let name = function.name.as_deref().unwrap_or("<unknown>");
            tell(thread.index, format_args!("  {depth}: {name} (+{:#x})", offset - function.offset));
        }
    }
}

/// Addresses within the container's code, innermost frame first. Compiled code keeps frame pointers: the
/// caller's at `[rbp]`, the return address at `[rbp + 8]`.
fn frames(thread: &Thread, rip: u64, frame_pointer: u64) -> impl Iterator<Item = usize> {
    let step = move |(_, frame_pointer): &(usize, usize)| {
        let on_stack = (thread.region.start..thread.region.end.saturating_sub(16)).contains(frame_pointer);
        if !on_stack || !frame_pointer.is_multiple_of(8) {
            return None;
        }
        let pair = *frame_pointer as *const usize;
        // SAFETY: checked to lie in the container's region, which is mapped, and aligned.
        let (caller, back) = unsafe { (pair.read(), pair.add(1).read()) };
        // Stacks grow down: a caller's frame lies above.
        (thread.code.contains(&back) && caller > *frame_pointer).then_some((back, caller))
    };
    core::iter::successors(Some((rip as usize, frame_pointer as usize)), step)
        .map(|(address, _)| address)
        .take(MAX_FRAMES)
}

/// A bug in the runtime: message and place into the panic record.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let mut message = Fixed { bytes: [0; MESSAGE_LEN], len: 0 };
    let _ = write!(message, "{info}");
    console::screen::last_words(b"\nSentientOS panic: ");
    console::screen::last_words(message.bytes.get(..message.len).unwrap_or(&[]));
    gate::panic(message.bytes.get(..message.len).unwrap_or(&[]))
}

/// Text of bounded length: a panic may be about the heap.
struct Fixed {
    bytes: [u8; MESSAGE_LEN],
    len: usize,
}

impl Write for Fixed {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            let Some(slot) = self.bytes.get_mut(self.len) else { return Err(fmt::Error) };
            *slot = byte;
            self.len += 1;
        }
        Ok(())
    }
}
