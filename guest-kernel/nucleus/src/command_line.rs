//! The kernel's command line, for ring 3, which reads it.

use crate::alone::Alone;
use core::cell::OnceCell;
use sentient_boot::protocol::CommandLine;

static LINE: Alone<OnceCell<CommandLine>> = Alone::new(OnceCell::new());

/// Keeps it.
pub fn set(line: CommandLine) {
    // It is set once.
    let _ = LINE.set(line);
}

/// It, as text.
pub fn get() -> &'static [u8] {
    LINE.get().map_or(b"", CommandLine::bytes)
}
