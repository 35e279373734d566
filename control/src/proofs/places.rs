//! Where the files of proofs are.
//!
//! ```text
//! HOME/keys/                 the home's key sets; `default` says which one new machines are pinned to
//!   DIGEST/                  verifying.key, proving.key, pin.json
//! HOME/machines/NAME/
//!   permissions.zky          the machine's contract, if it has one of its own
//!   .auth/zk.pin             the key set that its proofs are made with
//!   .lock/zk.trace/          the chain: a record for each transition, and its proof
//!   .lock/zk.rollup/         batches of it, for third parties
//!   .lock/zk.remind/         what waits for a proof, and what cannot have one
//!   .lock/binary.zk/         roots of the kernel and of the containers' images
//!   .trace/                  with --zk=false: what happened, instead of a chain
//! ```

use crate::home::{Home, MachineFolder};
use std::path::PathBuf;

impl Home {
    /// The key sets that proofs are made with.
    #[must_use]
    pub fn keys(&self) -> PathBuf {
        self.path().join("keys")
    }
}

impl MachineFolder {
    /// Its contract.
    #[must_use]
    pub fn contract(&self) -> PathBuf {
        self.path().join("permissions.zky")
    }

    /// Which key set its proofs are made with.
    #[must_use]
    pub fn pin(&self) -> PathBuf {
        self.path().join(".auth").join("zk.pin")
    }

    /// Its chain.
    #[must_use]
    pub fn chain(&self) -> PathBuf {
        self.lock_folder().join("zk.trace")
    }

    /// Batches of its chain.
    #[must_use]
    pub fn rollups(&self) -> PathBuf {
        self.lock_folder().join("zk.rollup")
    }

    /// What waits for a proof, and what cannot have one.
    #[must_use]
    pub fn remind(&self) -> PathBuf {
        self.lock_folder().join("zk.remind")
    }

    /// Roots of what is executed in it.
    #[must_use]
    pub fn binaries(&self) -> PathBuf {
        self.lock_folder().join("binary.zk")
    }

    /// What happened to it, where that is not to be proved.
    #[must_use]
    pub fn plain_trace(&self) -> PathBuf {
        self.path().join(".trace")
    }

    /// The machine that it was made from, as far as its first transition needs it.
    #[must_use]
    pub fn origin(&self) -> PathBuf {
        self.lock_folder().join("origin")
    }

    fn lock_folder(&self) -> PathBuf {
        self.path().join(".lock")
    }
}
