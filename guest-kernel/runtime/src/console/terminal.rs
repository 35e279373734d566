//! The terminal of a machine that has no VMM of ours: the serial port, and a [console](line), the [screen] and the
//! [keyboard] if there are.
//!
//! A container that is alone has it to itself. Where there are several, each line says whose it is, and one that somebody else
//! breaks into is begun anew.

use super::{keyboard, line, screen};
use crate::{gate, heap};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use spin::Mutex;

/// The number of no container.
const MACHINE: u32 = u32::MAX;

/// What is between a name and what its container says.
const BETWEEN: &[u8] = b" | ";

/// How often it is asked for what was typed, in nanoseconds.
pub const ASK_NS: u64 = 10_000_000;

/// Longest line that is taken, in bytes; what is beyond it is left out.
const MAX_LINE: usize = 256;

const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

struct Terminal {
    /// Names of containers, if there are several.
    names: Vec<(u32, String)>,
    /// Whose line is not at its end.
    begun: Option<u32>,
}

static TERMINAL: Mutex<Terminal> = Mutex::new(Terminal { names: Vec::new(), begun: None });

impl Terminal {
    /// The bytes to send.
    fn put(&mut self, container: u32, bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(bytes.len() + 2 * BETWEEN.len());
        let name = self.names.iter().find(|(index, _)| *index == container).map(|(_, name)| name);
        for line in bytes.split_inclusive(|byte| *byte == b'\n') {
            if let Some(name) = name.filter(|_| self.begun != Some(container)) {
                if self.begun.is_some() {
                    out.extend_from_slice(b"\r\n");
                }
                out.extend_from_slice(name.as_bytes());
                out.extend_from_slice(BETWEEN);
            }
            match line.strip_suffix(b"\n") {
                Some(text) => {
                    out.extend_from_slice(text.strip_suffix(b"\r").unwrap_or(text));
                    out.extend_from_slice(b"\r\n");
                    self.begun = None;
                }
                None => {
                    out.extend_from_slice(line);
                    self.begun = Some(container);
                }
            }
        }
        out
    }
}

/// From here on each line says whose it is; with no names, none does.
pub fn name(names: Vec<(u32, String)>) {
    let mut terminal = TERMINAL.lock();
    terminal.names = names;
    if terminal.begun.take().is_some() {
        put(b"\r\n");
    }
}

fn put(bytes: &[u8]) {
    gate::serial(bytes);
    line::say(bytes);
    screen::say(bytes);
}

/// A byte that was typed, if one was.
pub fn typed() -> Option<u8> {
    gate::serial_input().or_else(line::typed).or_else(keyboard::typed)
}

/// A line that is being typed.
#[derive(Default)]
pub struct Line(Vec<u8>);

impl Line {
    /// Takes a byte; gives the line if that is its end. `echo` is given what is to be seen of it.
    pub fn take(&mut self, byte: u8, echo: &mut dyn FnMut(&[u8])) -> Option<String> {
        match byte {
            b'\r' | b'\n' => {
                echo(b"\n");
                return Some(String::from_utf8_lossy(&core::mem::take(&mut self.0)).into_owned());
            }
            BACKSPACE | DELETE if self.0.pop().is_some() => echo(b"\x08 \x08"),
            byte if self.0.len() < MAX_LINE && !byte.is_ascii_control() => {
                self.0.push(byte);
                echo(&[byte]);
            }
            _ => {}
        }
        None
    }

    /// What was typed of one that has no end.
    pub fn rest(self) -> Option<String> {
        (!self.0.is_empty()).then(|| String::from_utf8_lossy(&self.0).into_owned())
    }
}

/// What the machine itself says.
pub struct Own;

impl fmt::Write for Own {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        say(MACHINE, text.as_bytes());
        Ok(())
    }
}

/// The machine itself says a line, which is nobody's.
pub fn say_line(line: &str) {
    say(MACHINE, line.as_bytes());
    say(MACHINE, b"\n");
}

/// A container says something.
pub fn say(container: u32, bytes: &[u8]) {
    heap::in_runtime(|| {
        let out = TERMINAL.lock().put(container, bytes);
        put(&out);
    });
}
