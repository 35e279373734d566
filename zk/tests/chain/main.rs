//! Contracts and chains, with records of snapshots as the snapshot crate makes them.

#![allow(missing_docs, reason = "tests")]
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod contracts;
mod machine;
#[path = "../one_key/mod.rs"]
mod one_key;
mod rollups;
mod slots;
mod traces;
