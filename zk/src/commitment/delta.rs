//! Which pages changed, and how: what a proof does not look into.
//!
//! A proof says that a region changed or did not. The pages inside are listed in a delta, which the new
//! state binds by its digest: whoever holds the delta can check it page by page, without a proof.

use sentient_snapshot::tree::compare::Difference;
use sentient_snapshot::{MemoryMap, Record};
use sha3::{Digest, Sha3_256};

use crate::scalar::{Scalar, truncated};

/// What a delta's digest begins with.
pub const DELTA_DOMAIN: &[u8] = b"SentientOS 2026 delta v1";

/// Everything that differs between two snapshots of a machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delta {
    /// Hash of the old machine state; zeros if there is no old snapshot.
    pub old_state: [u8; 32],
    /// Hash of the new machine state.
    pub new_state: [u8; 32],
    /// Pages that differ: number, hash before, hash after; ascending.
    pub pages: Vec<Difference>,
}

impl Delta {
    /// What differs between two snapshots. Costs what differs, if the layouts agree.
    #[must_use]
    pub fn between(old: (&Record, &MemoryMap), new: (&Record, &MemoryMap)) -> Self {
        Self { old_state: old.0.state.0, new_state: new.0.state.0, pages: old.1.diff(new.1) }
    }

    /// A machine's first snapshot: all of it.
    #[must_use]
    pub fn first(record: &Record, memory: &MemoryMap) -> Self {
        let mut pages = Vec::new();
        memory.visit(0..u64::MAX, |gpn, hash| pages.push((gpn, sentient_snapshot::Hash::ZERO, hash)));
        Self { old_state: [0; 32], new_state: record.state.0, pages }
    }

    /// SHA3-256 of the domain, both machine states, the number of pages (u64), and for each page its number
    /// (u64) and both hashes. Numbers are little-endian.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        let mut hasher = Sha3_256::new();
        hasher.update(DELTA_DOMAIN);
        hasher.update(self.old_state);
        hasher.update(self.new_state);
        hasher.update((self.pages.len() as u64).to_le_bytes());
        for (gpn, old, new) in &self.pages {
            hasher.update(gpn.to_le_bytes());
            hasher.update(old.0);
            hasher.update(new.0);
        }
        hasher.finalize().into()
    }

    /// The digest as a scalar.
    #[must_use]
    pub fn scalar(&self) -> Scalar {
        truncated(&self.digest())
    }
}
