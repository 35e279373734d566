//! Fuzzing of everything that reads bytes it cannot trust.
//!
//! A [target](targets) is a function of bytes that panics, hangs or dies if what it calls breaks a
//! promise, and a corpus of valid inputs to start from. Three things drive the same list:
//!
//! * `cargo xtask fuzz`, on the stable toolchain: [`campaign`] makes inputs by [mutation](mutate) of the
//!   corpus, runs them in a process of their own, and saves the one that brought it down;
//! * `tests/short_runs.rs`: a fixed number of inputs for each target, so that CI exercises them all;
//! * `libfuzzer.rs`, where nightly and cargo-fuzz are there: guided by coverage.
//!
//! Invariant: input number `n` of a target depends on the seed and on `n` alone. So whatever a process
//! died of can be made again from two numbers.

pub mod campaign;
pub mod mutate;
pub mod targets;

pub use targets::{TARGETS, Target};
