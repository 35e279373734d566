//! The envelope of a record: its id, and who signed it.
//!
//! ```text
//! format u32 | length of the record u32 | record | id 32 | public key 32 | signature 64
//! ```

use ed25519_dalek::{Signature, VerifyingKey};

use super::rules::MAX_RECORD;
use super::{FORMAT, Record, RecordError, SnapshotId, Trust};
use crate::hash::hex;
use crate::keys::MachineKey;

/// What is signed: this, then the id. Keeps signatures of other things from counting here.
pub const DOMAIN: &[u8] = b"SentientOS snapshot record v1";

const HEADER: usize = 8;
const TAIL: usize = 32 + 32 + 64;

/// Most bytes of an envelope.
pub const MAX_SIGNED: usize = HEADER + MAX_RECORD + TAIL;

/// A record, with the id, the key and the signature that go with it. All of it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedRecord {
    record: Record,
    id: SnapshotId,
    key: [u8; 32],
    signature: [u8; 64],
}

impl SignedRecord {
    /// Signs a record.
    ///
    /// # Errors
    ///
    /// [`RecordError::Field`] if it is none that [`decode`](Self::decode) would take.
    pub fn sign(record: Record, key: &MachineKey) -> Result<Self, RecordError> {
        record.check()?;
        let id = record.id();
        let signature = key.sign(&message(id));
        Ok(Self { record, id, key: key.public(), signature })
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &Record {
        &self.record
    }

    /// What the snapshot is called.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        self.id
    }

    /// The public key it is signed by.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.key
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let record = self.record.encode();
        let mut bytes = Vec::with_capacity(HEADER + record.len() + TAIL);
        bytes.extend(FORMAT.to_le_bytes());
        bytes.extend((record.len() as u32).to_le_bytes());
        bytes.extend(record);
        bytes.extend(self.id.0);
        bytes.extend(self.key);
        bytes.extend(self.signature);
        bytes
    }

    /// The envelope of these bytes, all of which belong to it. Never panics and allocates little,
    /// whatever the bytes are.
    ///
    /// # Errors
    ///
    /// [`RecordError`]: version first, then lengths, the id, the signature, whether `trust` has the
    /// key, and then the fields.
    pub fn decode(bytes: &[u8], trust: &Trust) -> Result<Self, RecordError> {
        let encoding = |problem: String| RecordError::Encoding { problem };
        let short = || encoding(format!("has {} bytes", bytes.len()));
        let (format, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(RecordError::Version { found });
        }
        let (len, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > MAX_RECORD || rest.len() != len + TAIL {
            let problem = format!("says {len} bytes, and {} follow with id, key and signature", rest.len());
            return Err(encoding(problem));
        }
        let (body, rest) = rest.split_at_checked(len).ok_or_else(short)?;
        let (id, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (key, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let signature = *rest.first_chunk().ok_or_else(short)?;
        let (claimed, found) = (SnapshotId(*id), SnapshotId::of(body));
        if claimed != found {
            return Err(RecordError::Id { claimed, found });
        }
        let verified = VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(&message(found), &Signature::from_bytes(&signature)));
        if verified.is_err() {
            return Err(RecordError::Signature { id: found, key: hex(key) });
        }
        if !trust.trusts(key) {
            return Err(RecordError::Untrusted { id: found, key: hex(key) });
        }
        Ok(Self { record: Record::decode(body)?, id: found, key: *key, signature })
    }

    /// The public key in an envelope's bytes, unchecked: to be shown to somebody who may trust it.
    #[must_use]
    pub fn claimed_key(bytes: &[u8]) -> Option<[u8; 32]> {
        let start = bytes.len().checked_sub(32 + 64)?;
        bytes.get(start..)?.first_chunk().copied()
    }
}

fn message(id: SnapshotId) -> Vec<u8> {
    [DOMAIN, &id.0].concat()
}
