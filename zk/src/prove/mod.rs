//! Making proofs.
//!
//! * [`prover`]: from a statement and its witness to a proof;
//! * [`reduction`]: from constraints to polynomials, as snarkjs does it;
//! * [`multiples`]: sums of many multiples of points that are known beforehand.

pub mod multiples;
pub mod prover;
pub mod reduction;

pub use prover::{ProveError, Prover};
