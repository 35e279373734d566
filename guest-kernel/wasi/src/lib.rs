//! The WASI preview 1 layer of one container: everything a WebAssembly program reaches through
//! `wasi_snapshot_preview1`, without a WebAssembly engine and without an operating system.
//!
//! # Who calls it
//!
//! The guest kernel's runtime makes one [`Wasi`] per container with a [`Builder`] and registers
//! every function of [`for_each_function`] with its engine. Each is a method of [`Wasi`] that takes
//! the [`Host`] (clocks, entropy, the three streams), the module's linear memory as `&mut [u8]`,
//! and exactly the wasm parameters. The [`Outcome`] says what to do next: return an error number to
//! the module, wait and make the same call again, or end the program. Tests drive it the same way
//! with a host of their own.
//!
//! ```
//! # use sentient_wasi::{Builder, Host, Outcome, SetupError};
//! # fn run(host: &mut impl Host, memory: &mut [u8]) -> Result<(), SetupError> {
//! let mut wasi = Builder::new().arg("hello").file("etc/motd", b"welcome").build()?;
//! match wasi.fd_write(host, memory, 1, 0x100, 1, 0x200) {
//!     Outcome::Done(errno) => { /* return u32::from(errno) to the module */ }
//!     Outcome::Block(wait) => { /* run others until `wait` is over, then call fd_write again */ }
//!     Outcome::Exit(code) => { /* end the container */ }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! # What holds
//!
//! 1. **Nothing the module does panics.** Pointers, lengths, offsets, flags and paths may be
//!    anything: arithmetic on them is checked, and the worst they get is an error number. There is
//!    no `unsafe`.
//! 2. **Nothing blocks.** A call that cannot go on says what it waits for and changes nothing the
//!    module can see. A call that moved some bytes reports them instead of waiting for the rest.
//! 3. **Lengths before memory.** What a module can make the kernel keep (descriptors, inodes,
//!    names, file bytes) has a limit in [`Limits`] and is counted before it is allocated. File
//!    bytes and tables are allocated so that failing is an error number; a name, a path and a tree
//!    node are small, and rely on [`Limits::file_bytes`] being below the memory there is. What a
//!    single call needs besides is bounded by constants.
//! 4. **Each value in guest memory is read once.** What was checked is what is used.
//! 5. **No path leaves the directory it starts from**, by `..`, by a symbolic link or by a leading
//!    slash.
//! 6. **Bytes are not copied on the way.** A write to a stream hands the host the module's own
//!    memory; a read from a file is one `memcpy` a chunk.
//!
//! # Where things are
//!
//! `calls/` holds the 46 functions by subject, each file one subject, and what WASI 0.2 has besides; `fs/` the in-memory file
//! system, which knows nothing of WASI's numbers and layouts; `memory`, `record` and `flags` those
//! layouts; `owner` what somebody outside of the container may do with its files, `served` what another container may that
//! is run beside it; `descriptor` and [`rights`] what an open number stands for and may do.
//!
//! Numbers and layouts are those of `typenames.witx` and `wasi_snapshot_preview1.witx` (snapshot
//! 01, `legacy/preview1` of the WASI repository). Where these leave a choice, POSIX.1-2017 decides,
//! and where it does not, Linux; the choices are told at the functions.

#![no_std]

extern crate alloc;

mod calls;
mod descriptor;
mod errno;
mod flags;
mod fs;
mod host;
mod memory;
mod outcome;
mod owner;
mod permissions;
mod record;
pub mod rights;
mod served;
mod setup;
mod table;
mod wasi;

pub use calls::outward::Lookup;
pub use errno::Errno;
pub use host::{Clock, Connection, Host, Readiness, Stream, StreamError};
pub use outcome::{Outcome, Wait};
pub use owner::{FileInfo, FileKind, Files, Listed};
pub use permissions::{Denied, FileAccess, Permissions};
pub use setup::{Access, Builder, Limits, SetupError};
pub use table::{COMMAND, VERSION_2};
pub use wasi::{Usage, Wasi};
