//! Making proofs.
//!
//! * [`prover`]: from a statement and its witness to a proof;
//! * [`reduction`]: from constraints to polynomials, as snarkjs does it;
//! * [`transform`]: polynomials' values, from one set of roots of unity to another;
//! * [`multiples`]: sums of many multiples of points that are known beforehand;
//! * [`buckets`]: many sums of a few points each;
//! * [`loose`]: field arithmetic without branches.

pub mod buckets;
pub mod loose;
pub mod multiples;
pub mod prover;
pub mod reduction;
pub mod transform;

pub use prover::{ProveError, Prover};
