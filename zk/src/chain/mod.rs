//! The chain: what happened to a machine, in order, signed, and proved as far as there was time.
//!
//! * [`record`]: one transition, signed;
//! * [`links`]: whether records follow each other;
//! * [`trace`]: a machine's records, openings and proofs, as files;
//! * [`rollup`]: up to 64 of them in one file, for a third party;
//! * [`durable`]: files that are there whole or not at all.
//!
//! A record is written when the transition is known, and named by SHA3-256 of what it says; the proof comes
//! later and is no part of it. Each record names the one before it, so none can be left out, moved, changed
//! or repeated without breaking the rest. What the records alone cannot show is that the last ones are
//! missing: for that, whoever checks brings the name of a record that they know of.

pub mod durable;
pub mod links;
pub mod record;
pub mod rollup;
pub mod trace;

pub use links::LinkError;
pub use record::{ChainRecord, RecordId, SignedChainRecord};
pub use rollup::{Rollup, RollupError};
pub use trace::{Trace, TraceError};
