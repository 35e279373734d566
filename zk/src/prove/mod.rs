//! Making proofs.
//!
//! * [`prover`]: from a statement and its witness to a proof;
//! * [`reduction`]: from constraints to polynomials, as snarkjs does it;
//! * [`multiples`]: sums of many multiples of points that are known beforehand;
//! * [`buckets`]: many sums of a few points each.

pub mod buckets;
pub mod multiples;
pub mod prover;
pub mod reduction;

pub use prover::{ProveError, Prover};
