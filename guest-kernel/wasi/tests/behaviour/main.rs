//! What a WebAssembly program sees of the WASI layer, told in sentences.
//!
//! Every test drives the public functions as the guest kernel's runtime does, with a memory and a
//! host of its own ([`guest`]). Clauses named `witx` are those of WASI snapshot 01's
//! `typenames.witx` and `wasi_snapshot_preview1.witx`; others are POSIX.1-2017.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on says so by panicking"
)]

mod arguments;
mod attributes;
mod clocks;
mod descriptors;
mod directories;
mod fake_host;
mod files;
mod function_table;
mod guest;
mod links;
mod memory_faults;
mod opening;
mod outward;
mod owner;
mod permissions;
mod polling;
mod process;
mod random_calls;
mod renaming;
mod rights;
mod sockets;
mod space;
mod streams;
mod vector_model;
