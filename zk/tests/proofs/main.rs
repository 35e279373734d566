//! Proofs and keys, as their callers see them.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod keys;
#[path = "../one_key/mod.rs"]
mod one_key;
mod prove;
