//! The chained state: one number for a machine's memory and for how it came to be so.
//!
//! ```text
//! state' = Poseidon(state, memory_root', delta, meta)
//! ```

use borsh::{BorshDeserialize, BorshSerialize};
use sentient_snapshot::SnapshotId;
use sha3::{Digest, Sha3_256};

use super::memory::Memory;
use super::poseidon::hash_state;
use super::slot::SLOTS;
use crate::scalar::{Scalar, ScalarError, from_bytes, to_bytes, truncated};

/// What the predecessor of a machine's first state is hashed from, before the machine's id.
pub const GENESIS_DOMAIN: &[u8] = b"SentientOS 2026 genesis v1";
/// What a transition's meta is hashed from, before the origin's number and the snapshot's id.
pub const META_DOMAIN: &[u8] = b"SentientOS 2026 transition v1";

/// How a machine came to be in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Origin {
    /// Its first snapshot: there was no state before.
    Genesis = 0,
    /// It ran, and a snapshot was taken.
    Snapshot = 1,
    /// It was rolled back to a snapshot.
    Rollback = 2,
    /// It was made from another machine's snapshot.
    Fork = 3,
}

impl Origin {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Genesis => "genesis",
            Self::Snapshot => "snapshot",
            Self::Rollback => "rollback",
            Self::Fork => "fork",
        }
    }
}

/// The predecessor of a machine's first state: no machine has another's.
#[must_use]
pub fn genesis(machine: &[u8; 16]) -> Scalar {
    let mut hasher = Sha3_256::new();
    hasher.update(GENESIS_DOMAIN);
    hasher.update(machine);
    truncated(&hasher.finalize().into())
}

/// Binds a state to the record of its snapshot, and so to layout, names, time and signature.
#[must_use]
pub fn meta(origin: Origin, snapshot: SnapshotId) -> Scalar {
    let mut hasher = Sha3_256::new();
    hasher.update(META_DOMAIN);
    hasher.update([origin as u8]);
    hasher.update(snapshot.0);
    truncated(&hasher.finalize().into())
}

/// Everything that a state is hashed from. It names hashes of memory, so it is not for everybody.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateOpening {
    /// The state before.
    pub previous: Scalar,
    /// Memory and machine state.
    pub memory: Memory,
    /// Digest of what changed.
    pub delta: Scalar,
    /// Digest of the snapshot's id, and of how the machine got there.
    pub meta: Scalar,
}

/// Bytes that open no state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// Another length, or another format.
    #[error(
        "a state's opening of {len} bytes; format 1 has {OPENING_LEN}, and begins with 1: take another copy"
    )]
    Encoding {
        /// Its length.
        len: usize,
    },
    /// A number that is none.
    #[error(transparent)]
    Scalar(#[from] ScalarError),
}

/// Version of an opening's encoding.
const FORMAT: u32 = 1;
/// Bytes of an encoded opening.
pub const OPENING_LEN: usize = 4 + 32 * (3 + SLOTS);

impl StateOpening {
    /// The state.
    #[must_use]
    pub fn state(&self) -> Scalar {
        hash_state(&[self.previous, self.memory.root(), self.delta, self.meta])
    }

    /// The format (u32, little-endian); then previous, delta, meta and the 64 slots, 32 bytes each.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(OPENING_LEN);
        bytes.extend(FORMAT.to_le_bytes());
        for scalar in [self.previous, self.delta, self.meta].iter().chain(self.memory.slots()) {
            bytes.extend(to_bytes(scalar));
        }
        bytes
    }

    /// The opening of these bytes. Of which state, is for the caller to compare.
    ///
    /// # Errors
    ///
    /// [`OpeningError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        let wrong = || OpeningError::Encoding { len: bytes.len() };
        let (format, rest) = bytes.split_first_chunk().ok_or_else(wrong)?;
        if u32::from_le_bytes(*format) != FORMAT || bytes.len() != OPENING_LEN {
            return Err(wrong());
        }
        let (chunks, _) = rest.as_chunks::<32>();
        let mut scalars = [Scalar::default(); SLOTS + 3];
        for (scalar, bytes) in scalars.iter_mut().zip(chunks) {
            *scalar = from_bytes(bytes, "a number in a state's opening")?;
        }
        let [previous, delta, meta, slots @ ..] = scalars;
        Ok(Self { previous, memory: Memory::from_slots(slots), delta, meta })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test that cannot go on fails by panicking")]

    use super::*;

    fn opening() -> StateOpening {
        let mut slots = [Scalar::default(); SLOTS];
        slots.iter_mut().zip(100u64..).for_each(|(slot, value)| *slot = value.into());
        StateOpening {
            previous: genesis(&[1; 16]),
            memory: Memory::from_slots(slots),
            delta: 7u8.into(),
            meta: meta(Origin::Snapshot, SnapshotId([3; 32])),
        }
    }

    #[test]
    fn an_opening_survives_its_encoding_and_nothing_else_does() {
        let bytes = opening().encode();
        assert_eq!(StateOpening::decode(&bytes).unwrap(), opening());
        assert!(StateOpening::decode(&bytes[1..]).is_err());
        assert!(StateOpening::decode(&[&bytes[..], &[0]].concat()).is_err());
        let mut other = bytes.clone();
        other[0] = 2;
        assert!(StateOpening::decode(&other).is_err());
        let mut over = bytes;
        over[4..36].fill(0xff);
        assert!(matches!(StateOpening::decode(&over), Err(OpeningError::Scalar(_))));
    }

    #[test]
    fn every_part_is_in_the_state() {
        let state = opening().state();
        let one = Scalar::from(1u8);
        for change in 0..4 {
            let mut other = opening();
            match change {
                0 => other.previous += one,
                1 => other.delta += one,
                2 => other.meta += one,
                _ => {
                    let mut slots = *other.memory.slots();
                    slots[63] += one;
                    other.memory = Memory::from_slots(slots);
                }
            }
            assert_ne!(other.state(), state, "{change}");
        }
    }

    #[test]
    fn origins_and_machines_are_told_apart() {
        let id = SnapshotId([9; 32]);
        assert_ne!(meta(Origin::Snapshot, id), meta(Origin::Rollback, id));
        assert_ne!(genesis(&[0; 16]), genesis(&[1; 16]));
    }
}
