//! What is known of a guest kernel that has failed, kept before the machine is put back.
//!
//! A machine goes on from a snapshot a moment after its kernel has failed, and with that the memory in
//! which the cause lay is gone. This crate makes what is kept of it: names for addresses ([`symbols`]),
//! the calls that led there ([`backtrace`]), a file for gdb ([`mod@core`]), and a record of it all for
//! people ([`record`], [`html`]).
//!
//! The build script of `images` makes the table of symbols; `vmm` and `control` make records when a guest
//! fails; `sentctl panic report` prints them.
//!
//! Invariants:
//!
//! 1. Guest memory and registers are untrusted. Whatever they hold, every function here returns, after work
//!    that is bounded by its constants and by what the caller asked for.
//! 2. What a guest says reaches a terminal or a browser without its control characters, and a page without
//!    its markup.
//! 3. Nothing here touches a machine: callers give registers, and a function that reads memory.

pub mod backtrace;
pub mod core;
pub mod html;
mod printable;
pub mod record;
mod registers;
pub mod symbols;
mod time;

pub use backtrace::Frame;
pub use record::{CrashRecord, StackWord};
pub use registers::Registers;
pub use symbols::{SymbolTable, SymbolsError};
