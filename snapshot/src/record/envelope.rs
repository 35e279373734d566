//! The envelope of a record: its id, and who signed that. The same for snapshots' records and for those of chains.
//!
//! ```text
//! format u32 | length of the record u32 | record | id 32 | public key 32 | signature 64
//! ```
//!
//! The id is SHA3-256 of the record; the signature is ed25519, over a domain and the id, and is verified strictly.

use ed25519_dalek::{Signature, VerifyingKey};
use sha3::{Digest, Sha3_256};

use crate::keys::MachineKey;

const HEADER: usize = 8;
const TAIL: usize = 32 + 32 + 64;

/// A kind of records.
#[derive(Clone, Copy, Debug)]
pub struct Kind {
    /// Version of the records and of their envelopes.
    pub format: u32,
    /// What is signed begins with this, so that signatures of other things do not count.
    pub domain: &'static [u8],
    /// Most bytes of a record.
    pub max_record: usize,
}

/// What is around a record; goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seal {
    /// SHA3-256 of the record.
    pub id: [u8; 32],
    /// Whose signature it is.
    pub key: [u8; 32],
    /// The signature.
    pub signature: [u8; 64],
}

/// Why bytes are no envelope.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Another format: this one.
    Version(u32),
    /// Lengths that do not fit; how.
    Encoding(String),
    /// The record has another id than the one beside it.
    Id {
        /// The one beside it.
        claimed: [u8; 32],
        /// Its own.
        found: [u8; 32],
    },
    /// The signature is not the key's.
    Signature {
        /// The record's id.
        id: [u8; 32],
        /// The key.
        key: [u8; 32],
    },
}

impl Kind {
    /// Most bytes of an envelope.
    #[must_use]
    pub const fn max_envelope(&self) -> usize {
        HEADER + self.max_record + TAIL
    }

    /// Signs a record.
    #[must_use]
    pub fn seal(&self, record: &[u8], key: &MachineKey) -> Seal {
        let id = Sha3_256::digest(record).into();
        Seal { id, key: key.public(), signature: key.sign(&self.message(&id)) }
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn encode(&self, record: &[u8], seal: &Seal) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEADER + record.len() + TAIL);
        bytes.extend(self.format.to_le_bytes());
        bytes.extend((record.len() as u32).to_le_bytes());
        bytes.extend(record);
        bytes.extend(seal.id);
        bytes.extend(seal.key);
        bytes.extend(seal.signature);
        bytes
    }

    /// The record in these bytes, all of which belong to the envelope, and its seal. Allocates nothing, whatever the
    /// bytes are. Whether the key is to be trusted, and what the record says, is for the caller.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError`]: version first, then lengths, the id, the signature.
    pub fn open<'a>(&self, bytes: &'a [u8]) -> Result<(&'a [u8], Seal), EnvelopeError> {
        let short = || EnvelopeError::Encoding(format!("has {} bytes", bytes.len()));
        let (format, rest) = bytes.split_first_chunk().ok_or_else(short)?;
        let found = u32::from_le_bytes(*format);
        if found != self.format {
            return Err(EnvelopeError::Version(found));
        }
        let (len, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let len = u32::from_le_bytes(*len) as usize;
        if len > self.max_record || rest.len() != len + TAIL {
            let problem = format!("says {len} bytes, and {} follow with id, key and signature", rest.len());
            return Err(EnvelopeError::Encoding(problem));
        }
        let (record, rest) = rest.split_at_checked(len).ok_or_else(short)?;
        let (claimed, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let (key, rest) = rest.split_first_chunk().ok_or_else(short)?;
        let signature = *rest.first_chunk().ok_or_else(short)?;
        let id: [u8; 32] = Sha3_256::digest(record).into();
        if id != *claimed {
            return Err(EnvelopeError::Id { claimed: *claimed, found: id });
        }
        VerifyingKey::from_bytes(key)
            .and_then(|key| key.verify_strict(&self.message(&id), &Signature::from_bytes(&signature)))
            .map_err(|_| EnvelopeError::Signature { id, key: *key })?;
        Ok((record, Seal { id, key: *key, signature }))
    }

    fn message(&self, id: &[u8; 32]) -> Vec<u8> {
        [self.domain, id].concat()
    }
}
