//! The zero mode: the kernel alone, with a console of a few commands, for when nothing else works.
//!
//! The console is on the streams of container 0, which there is not; on machines without a VMM of ours it is on the serial port.
//! Nothing is run and nothing is loaded but what is needed for this: what it says of the machine, it has looked at just now.

use crate::commands::{self, Then};
use crate::console::terminal::{ASK_NS, Line};
use crate::console::{self, InputState};
use crate::machine::Machine;
use crate::{clock, gate};
use alloc::string::String;
use core::fmt::{self, Write};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::FrameKind;

/// The container whose streams these are.
const CONSOLE: u32 = 0;

/// Where it writes.
struct Out {
    /// The other end shows nothing of what it sends.
    is_serial: bool,
}

impl Out {
    fn bytes(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = console::write(FrameKind::Stdout, CONSOLE, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            if taken == 0 {
                console::flush();
            }
        }
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The next byte that was typed; `None` at the end of all.
fn typed(out: &Out) -> Option<u8> {
    if out.is_serial {
        loop {
            if let Some(byte) = console::terminal::typed() {
                return Some(byte);
            }
            clock::wake_by(clock::monotonic_ns().saturating_add(ASK_NS));
            gate::idle();
            clock::forget_timer();
        }
    }
    loop {
        match console::input_state(CONSOLE) {
            InputState::Ready(_) => {
                let mut byte = [0];
                if console::read(CONSOLE, &mut byte) == 1 {
                    return byte.first().copied();
                }
            }
            InputState::Ended => return None,
            InputState::Empty => {
                console::prepare_sleep();
                // What has come until now was taken by that, and nobody tells of it again.
                let is_empty = matches!(console::input_state(CONSOLE), InputState::Empty);
                if is_empty && !console::has_news() {
                    gate::idle();
                }
                console::end_sleep();
            }
        }
    }
}

/// The next line; `None` at the end of all.
fn line(out: &Out) -> Option<String> {
    let mut line = Line::default();
    let mut echo = |bytes: &[u8]| {
        if out.is_serial {
            out.bytes(bytes);
        }
    };
    loop {
        let Some(byte) = typed(out) else { return line.rest() };
        if let Some(whole) = line.take(byte, &mut echo) {
            return Some(whole);
        }
    }
}

/// Reads commands until one ends the machine, in which `has_run` containers or nothing.
pub fn run(machine: &Machine, has_run: bool) -> ! {
    let mut out = Out { is_serial: !console::is_present() };
    // Whoever is not there any more reads nothing: the machine ends with its console.
    let _ = match has_run {
        false => writeln!(out, "SentientOS zero mode: no containers are run. `help` lists the commands."),
        true => writeln!(out, "No container runs any more. `help` lists the commands."),
    };
    loop {
        let _ = write!(out, "zero> ");
        let Some(line) = line(&out) else { end(0) };
        match commands::run(&mut out, machine, line.trim()) {
            Then::GoOn => {}
            Then::Reboot => {
                console::flush();
                gate::reset()
            }
            Then::Off => end(0),
            Then::Unknown => {
                let _ = writeln!(out, "there is no command `{}`; `help` lists them", line.trim());
            }
        }
    }
}

fn end(code: u32) -> ! {
    console::flush();
    gate::exit(ContainerEnd::Exited(code))
}
