//! A snapshot's record with its id, and who signed it.

use super::envelope::{EnvelopeError, Kind, Seal};
use super::rules::MAX_RECORD;
use super::{FORMAT, Record, RecordError, SnapshotId, Trust};
use crate::hash::hex;
use crate::keys::MachineKey;

/// What is signed: this, then the id. Keeps signatures of other things from counting here.
pub const DOMAIN: &[u8] = b"SentientOS snapshot record v1";

const KIND: Kind = Kind { format: FORMAT, domain: DOMAIN, max_record: MAX_RECORD };

/// Most bytes of an envelope.
pub const MAX_SIGNED: usize = KIND.max_envelope();

/// A record, with the id, the key and the signature that go with it. All of it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    seal: Seal,
}

impl SignedRecord {
    /// Signs a record.
    ///
    /// # Errors
    ///
    /// [`RecordError::Field`] if it is none that [`decode`](Self::decode) would take.
    pub fn sign(record: Record, key: &MachineKey) -> Result<Self, RecordError> {
        record.check()?;
        let seal = KIND.seal(&record.encode(), key);
        Ok(Self { record, seal })
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the snapshot is called.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        SnapshotId(self.seal.id)
    }

    /// The public key it is signed by.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.seal.key
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        KIND.encode(&self.record.encode(), &self.seal)
    }

    /// The envelope of these bytes, all of which belong to it. Never panics and allocates little,
    /// whatever the bytes are.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: version first, then lengths, the id, the signature, whether `trust` has the
    /// key, and then the fields.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Self, RecordError> {
        let (record, seal) = KIND.open(bytes).map_err(|error| match error {
            EnvelopeError::Version(found) => RecordError::Version { found },
            EnvelopeError::Encoding(problem) => RecordError::Encoding { problem },
            EnvelopeError::Id { claimed, found } => {
                RecordError::Id { claimed: SnapshotId(claimed), found: SnapshotId(found) }
            }
            EnvelopeError::Signature { id, key } => {
                RecordError::Signature { id: SnapshotId(id), key: hex(&key) }
            }
        })?;
        if !trust.trusts(&seal.key) {
            return Err(RecordError::Untrusted { id: SnapshotId(seal.id), key: hex(&seal.key) });
        }
        Ok(Self { record: Record::decode(record)?, seal })
    }

    /// The public key in an envelope's bytes, unchecked: to be shown to somebody who may trust it.
    #[must_use]
    pub fn claimed_key(bytes: &[u8]) -> Option<[u8; 32]> {
        let start = bytes.len().checked_sub(32 + 64)?;
        bytes.get(start..)?.first_chunk().copied()
    }
}
