//! Our exports in other people's programs: snarkjs, solc and an EVM. Needs node and npm, and fails without.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod ceremony;
mod node;
#[path = "../one_key/mod.rs"]
mod one_key;
mod prover_files;
mod snarkjs;
mod verifier;
