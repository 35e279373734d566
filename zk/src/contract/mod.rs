//! Contracts: `permissions.zky`, which says what of a machine may change.
//!
//! * [`file`]: the text, in YAML;
//! * [`check`]: a transition against it.
//!
//! A contract is named by SHA3-256 of `SentientOS 2026 contract v1` and its text, to the byte.

pub mod check;
pub mod file;

pub use check::{Verdict, Violation};
pub use file::{Contract, ContractError, OnViolation};
