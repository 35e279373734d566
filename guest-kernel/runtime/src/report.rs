//! What the runtime says when something ends: to the container's standard error, or into the panic record.

use crate::{console, gate};
use alloc::string::String;
use core::fmt::{self, Write};
use core::panic::PanicInfo;
use sentient_abi::panic_record::MESSAGE_LEN;
use sentient_abi::stdio::FrameKind;

/// Tells the user why a container ended, on its standard error.
pub fn tell(container: u32, text: fmt::Arguments<'_>) {
    let mut line = String::new();
    // Writing to a string does not fail.
    let _ = writeln!(line, "sentient: {text}");
    console::write_all(FrameKind::Stderr, container, line.as_bytes());
}

/// A bug in the runtime: message and place into the panic record.
pub fn panic(info: &PanicInfo<'_>) -> ! {
    let mut message = Fixed { bytes: [0; MESSAGE_LEN], len: 0 };
    let _ = write!(message, "{info}");
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
