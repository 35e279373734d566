//! The kernel's command line, for ring 3, which reads it.

use core::cell::UnsafeCell;
use sentient_boot::protocol::CommandLine;

struct Kept(UnsafeCell<CommandLine>);

// SAFETY: written by `set` alone, before ring 3 starts; there is one processor, and ring 0 is not interrupted (principle 5).
unsafe impl Sync for Kept {}

static LINE: Kept = Kept(UnsafeCell::new(CommandLine::EMPTY));

/// Keeps it.
pub fn set(line: CommandLine) {
    // SAFETY: see `Kept`.
    unsafe { *LINE.0.get() = line }
}

/// It, as text.
pub fn get() -> &'static [u8] {
    // SAFETY: see `Kept`; nobody writes to it any more.
    unsafe { &*LINE.0.get() }.bytes()
}
