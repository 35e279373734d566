//! Proofs of what changed between two snapshots of a machine, and the chain that they form.
//!
//! The caller is whoever takes snapshots. It hands over records and gets statements, proofs and verdicts;
//! nothing here knows KVM, and nothing in `sentient-snapshot` knows this crate. From the bottom up:
//!
//! * [`scalar`]: hashes as elements of BN254's scalar field, and their one encoding;
//! * [`commitment`]: a snapshot's regions in 64 slots, their Poseidon tree, and the chained state;
//! * [`circuit`]: what is proved, as constraints that also give the witness;
//! * [`keys`]: proving and verifying keys, made here for development or imported from a ceremony;
//! * [`prove`], [`verify`]: Groth16 with those;
//! * [`contract`]: `permissions.zky`, which says what may change;
//! * [`transition`]: from an old state and a new record to a statement and its witness;
//! * [`chain`]: signed records of what happened, their proofs, and batches for third parties;
//! * [`export`]: the same for snarkjs and for Solidity.
//!
//! What is proved and what is not, byte by byte: `docs/proofs.md`.
//!
//! Invariants:
//!
//! 1. All that is read is untrusted: lengths before allocations, scalars below the modulus in their one
//!    encoding, points on their curve and in their subgroup.
//! 2. Proof bytes name nothing: whoever has one proof can make another of the same statement. Records are
//!    named by SHA3-256 of what they say.
//! 3. Every proof has fresh randomness of the operating system, and is verified before it is handed out.
//! 4. A key that was made on one machine says so wherever it is used.
//! 5. No `unsafe`.

pub mod chain;
pub mod circuit;
pub mod commitment;
pub mod contract;
pub mod export;
pub mod keys;
pub mod prove;
pub mod scalar;
pub mod transition;
pub mod verify;
