//! The guest's images, and packages of programs.
//!
//! * [`kernel`]: the guest kernel, built by this crate's build script and embedded here;
//! * [`compile`]: WebAssembly modules into images the guest can map and run;
//! * [`cache`]: compiled images on disk, so that a program is compiled once;
//! * [`program`]: programs as their users have them, made ready to run;
//! * [`tso`]: packages of a program with its permissions and files;
//! * [`registry`]: lists of packages, signed;
//! * [`quantity`]: sizes and times as people write them.
//!
//! `sentctl` and the VMM's tests call it. Invariants: an image given out has been checked against its
//! digest in this process; a module that the guest could not start is refused here, with the reason.

pub mod cache;
pub mod compile;
pub mod kernel;
mod mounts;
pub mod program;
pub mod quantity;
pub mod registry;
pub mod tso;

pub use cache::ImageCache;
pub use compile::{CompileError, CompiledImage};
pub use kernel::{KernelError, KernelImage};

// The build script's own modules, for their tests.
#[cfg(test)]
#[path = "../build/disassembly.rs"]
mod disassembly;
