//! The terminal of a machine that has no VMM of ours: the serial port, and the [screen] and [keyboard] if there are.
//!
//!
//! A container that is alone has it to itself. Where there are several, each line says whose it is, and one that somebody else
//! breaks into is begun anew.

use super::{keyboard, screen};
use crate::{gate, heap};
use alloc::string::String;
use alloc::vec::Vec;
use spin::Mutex;

/// What is between a name and what its container says.
const BETWEEN: &[u8] = b" | ";

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
    screen::say(bytes);
}

/// A byte that was typed, if one was.
pub fn typed() -> Option<u8> {
    gate::serial_input().or_else(keyboard::typed)
}

/// A container says something.
pub fn say(container: u32, bytes: &[u8]) {
    heap::in_runtime(|| {
        let out = TERMINAL.lock().put(container, bytes);
        put(&out);
    });
}
