//! What drivers, backends and the machine see of the devices: through the public interface alone, with
//! guest memory but without a virtual machine.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod driver;

mod console_flow;
mod control_frames;
mod gate;
mod handshake;
mod hostile_rings;
mod interrupts;
mod net;
mod restore;
mod rng;
mod serial;
mod stdio_frames;
mod volumes;
