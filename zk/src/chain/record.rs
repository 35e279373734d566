//! One transition, signed.
//!
//! The record is borsh, fields in the order below; around it is the [envelope] of snapshots' records, signed over
//! `SentientOS zk chain record v1`.
//!
//! [envelope]: sentient_snapshot::record::envelope

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use sentient_snapshot::SnapshotId;
use sentient_snapshot::hash::{hex, parse_hex};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::record::envelope::{EnvelopeError, Kind, Seal};

use crate::circuit::Statement;
use crate::commitment::state::genesis;
use crate::commitment::{Origin, SlotSet};
use crate::scalar::{from_bytes, to_bytes};
use crate::transition::Transition;

/// Version of records and envelopes.
pub const FORMAT: u32 = 1;
/// What is signed begins with this.
pub const DOMAIN: &[u8] = b"SentientOS zk chain record v1";
/// Most bytes of a record: one with a parent.
pub const MAX_RECORD: usize = 4 + 16 + 8 + 33 + 1 + 32 + 8 + 2 * 32 + 3 * 8 + 2 * 32;
const KIND: Kind = Kind { format: FORMAT, domain: DOMAIN, max_record: MAX_RECORD };
/// Most bytes of a signed record.
pub const MAX_SIGNED: usize = KIND.max_envelope();

/// SHA3-256 of a record: what it is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct RecordId(pub [u8; 32]);

impl RecordId {
    /// The id of 64 hexadecimal digits.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for RecordId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordId({self})")
    }
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ChainRecord {
    /// [`FORMAT`].
    pub format: u32,
    /// To which machine.
    pub machine: [u8; 16],
    /// How many records of this machine are before this one.
    pub sequence: u64,
    /// The record before it; for a fork's first record, that of the machine it was made from.
    pub parent: Option<RecordId>,
    /// How it came about.
    pub origin: Origin,
    /// The snapshot whose memory and state the machine has now.
    pub snapshot: SnapshotId,
    /// When, in nanoseconds since 1970 (UTC), by the machine's host.
    pub created_unix_ns: u64,
    /// The state before: a scalar, little-endian.
    pub old_state: [u8; 32],
    /// The state after: a scalar, little-endian.
    pub new_state: [u8; 32],
    /// Slots that differ.
    pub dirty: SlotSet,
    /// Slots that the contract freezes.
    pub frozen: SlotSet,
    /// Those of them that are dirty all the same.
    pub flagged: SlotSet,
    /// The contract's digest.
    pub contract: [u8; 32],
    /// The delta's digest.
    pub delta: [u8; 32],
}

/// A chain's record, with id, key and signature that go with it. All of it has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedChainRecord {
    record: ChainRecord,
    seal: Seal,
}

/// Why a record was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainRecordError {
    /// Another format.
    #[error(
        "the chain's record has the format {0}, and this build reads {FORMAT}; use a build that reads it"
    )]
    Version(u32),
    /// Bytes that are no record.
    #[error("the chain's record {0}; it is damaged or was changed: take another copy")]
    Encoding(String),
    /// The signature is not the key's.
    #[error("the signature of the chain's record {0} is not of its key; it was changed: take another copy")]
    Signature(RecordId),
}

impl ChainRecord {
    /// The record of a transition, after `last` if there is one.
    #[must_use]
    pub fn of(
        transition: &Transition,
        machine: [u8; 16],
        last: Option<&SignedChainRecord>,
        created_unix_ns: u64,
    ) -> Self {
        let same = last.filter(|last| last.record.machine == machine);
        Self {
            format: FORMAT,
            machine,
            sequence: same.map_or(0, |last| last.record.sequence + 1),
            parent: last.map(SignedChainRecord::id),
            origin: transition.origin,
            snapshot: transition.snapshot,
            created_unix_ns,
            old_state: to_bytes(&transition.new.previous),
            new_state: to_bytes(&transition.new.state()),
            dirty: transition.dirty,
            frozen: transition.verdict.frozen,
            flagged: transition.flagged(),
            contract: transition.verdict.contract,
            delta: transition.delta,
        }
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory does not fail.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// What is proved of it; `None` for a machine's first snapshot.
    #[must_use]
    pub fn statement(&self) -> Option<Statement> {
        if self.origin == Origin::Genesis {
            return None;
        }
        Some(Statement {
            old_state: from_bytes(&self.old_state, "the old state").ok()?,
            new_state: from_bytes(&self.new_state, "the new state").ok()?,
            dirty: self.dirty,
            frozen: self.frozen.without(self.flagged),
            contract: self.contract,
        })
    }

    /// The fields fit each other.
    fn check(&self) -> Result<(), ChainRecordError> {
        let refuse = |problem: &str| Err(ChainRecordError::Encoding(problem.to_owned()));
        if self.format != FORMAT {
            return Err(ChainRecordError::Version(self.format));
        }
        for (what, state) in [("the old state", &self.old_state), ("the new state", &self.new_state)] {
            if let Err(error) = from_bytes(state, what) {
                return refuse(&error.to_string());
            }
        }
        let first = self.origin == Origin::Genesis;
        if first && (self.sequence != 0 || self.parent.is_some() || self.frozen != SlotSet::EMPTY) {
            return refuse("is a machine's first, and has something before it");
        }
        if first && self.old_state != to_bytes(&genesis(&self.machine)) {
            return refuse("is a machine's first, and begins with another's state");
        }
        if !first && self.parent.is_none() {
            return refuse("is not a machine's first, and has nothing before it");
        }
        if (self.origin == Origin::Fork) != (self.sequence == 0 && !first) {
            return refuse("is a fork's first and does not say so, or the other way round");
        }
        if self.flagged != self.dirty.and(self.frozen) {
            return refuse("has dirty slots that are frozen, and does not say so");
        }
        Ok(())
    }
}

impl SignedChainRecord {
    /// Signs a record.
    ///
    /// # Errors
    ///
    /// [`ChainRecordError::Encoding`] for one that [`decode`](Self::decode) would not take.
    pub fn sign(record: ChainRecord, key: &MachineKey) -> Result<Self, ChainRecordError> {
        record.check()?;
        let seal = KIND.seal(&record.encode(), key);
        Ok(Self { record, seal })
    }

    /// The record.
    #[must_use]
    pub fn record(&self) -> &ChainRecord {
        &self.record
    }

    /// What it is called.
    #[must_use]
    pub fn id(&self) -> RecordId {
        RecordId(self.seal.id)
    }

    /// The public key that it is signed by.
    #[must_use]
    pub fn key(&self) -> &[u8; 32] {
        &self.seal.key
    }

    /// The envelope's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        KIND.encode(&self.record.encode(), &self.seal)
    }

    /// The envelope of these bytes. Whose key it is, is for the caller to say.
    ///
    /// # Errors
    ///
    /// [`ChainRecordError`]: format, lengths, id, signature, fields, in that order.
    pub fn decode(bytes: &[u8]) -> Result<Self, ChainRecordError> {
        let refuse = |problem: &str| ChainRecordError::Encoding(problem.to_owned());
        let (body, seal) = KIND.open(bytes).map_err(|error| match error {
            EnvelopeError::Version(found) => ChainRecordError::Version(found),
            EnvelopeError::Encoding(problem) => refuse(&problem),
            EnvelopeError::Id { .. } => refuse("is not what its name says"),
            EnvelopeError::Signature { id, .. } => ChainRecordError::Signature(RecordId(id)),
        })?;
        let record = ChainRecord::try_from_slice(body)
            .map_err(|error| refuse(&format!("does not decode: {error}")))?;
        if record.encode() != body {
            return Err(refuse("is not in its one form"));
        }
        record.check()?;
        Ok(Self { record, seal })
    }
}
