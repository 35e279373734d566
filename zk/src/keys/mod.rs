//! Keys: what proofs are made and checked with, and where they come from.
//!
//! * [`verifying`]: the small key, that everybody needs;
//! * [`proving`]: the large key, that the prover needs;
//! * [`development`]: keys made here, for trying things out;
//! * [`store`]: a folder with both, and the pin that says which;
//! * [`points`]: points as bytes, none of which is believed;
//! * [`binfile`], [`r1cs_file`], [`zkey`]: the formats of iden3, through which a ceremony's keys come.
//!
//! Groth16 needs a setup whose randomness nobody may know: who knows it can prove anything. A key that
//! one machine made is as good as that machine, and is marked so in its bytes and in its digest.

pub mod binfile;
pub mod development;
pub mod points;
pub mod proving;
pub mod r1cs_file;
pub mod store;
pub mod verifying;
pub mod zkey;

use std::io;
use std::path::PathBuf;

pub use proving::ProvingKey;
pub use store::{KeySet, Pin};
pub use verifying::{KeyDigest, KeyOrigin, VerifyingKey};

/// Why a key was refused.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file that cannot be read or written.
    #[error("cannot {what} {path}: {source}; check the folder of the keys")]
    Io {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Bytes that are no key of this format.
    #[error("the {key} {problem}; it is damaged, or of another program: import it again")]
    Encoding {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        problem: String,
    },
    /// A point that is none.
    #[error("point {index} of {part} in the {key} {problem}; the key was changed: import it again")]
    Point {
        /// Which key.
        key: &'static str,
        /// Which part of it.
        part: &'static str,
        /// Which point of that.
        index: usize,
        /// What is wrong.
        problem: &'static str,
    },
    /// A key for other constraints.
    #[error(
        "the {key} is for the circuit {found} and this build proves {expected}; import one for this build"
    )]
    Circuit {
        /// Which key.
        key: &'static str,
        /// The circuit it is for.
        found: String,
        /// Ours.
        expected: String,
    },
    /// A key other than the pinned one.
    #[error(
        "the {key} has the digest {found} and {expected} is pinned; put the pinned one back, or pin this one"
    )]
    Pinned {
        /// Which key.
        key: &'static str,
        /// Its digest.
        found: String,
        /// The pinned one.
        expected: String,
    },
    /// The setup could not be made.
    #[error("keys could not be made: {0}; this is a fault of the program, please report it")]
    Setup(String),
}

impl KeyError {
    fn encoding(key: &'static str, problem: impl Into<String>) -> Self {
        Self::Encoding { key, problem: problem.into() }
    }
}
