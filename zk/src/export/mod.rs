//! Statements, proofs and keys in the forms that other programs read.
//!
//! * [`snarkjs`]: `proof.json`, `public.json`, `verification_key.json`;
//! * [`prover_files`]: `.zkey` and `.wtns`;
//! * [`solidity`]: a contract that checks proofs, and calls of it.

pub mod prover_files;
pub mod snarkjs;
pub mod solidity;
