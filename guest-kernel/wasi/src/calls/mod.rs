//! The 46 functions of `wasi_snapshot_preview1`, by subject, and in `outward` what WASI 0.2 has besides.
//!
//! Every file adds methods to [`Wasi`](crate::Wasi). They share one form: settle the descriptor and
//! its rights, check where results go, take the parameters out of guest memory, act, store the
//! results. So a call that fails for a bad pointer has had no effect, and one that acts can report
//! it.

#![expect(clippy::too_many_arguments, reason = "each method has the parameters of its wasm function")]

pub(crate) mod clocks;
pub(crate) mod descriptors;
pub(crate) mod files;
pub(crate) mod names;
pub(crate) mod open;
pub(crate) mod outward;
pub(crate) mod paths;
pub(crate) mod poll;
pub(crate) mod process;
pub(crate) mod read_write;
pub(crate) mod readdir;
pub(crate) mod sockets;
pub(crate) mod strings;
pub(crate) mod volumes;
