//! Up to 64 records with their proofs in one file, that a third party can check alone.
//!
//! ```text
//! "SENTZKRU" | borsh: format u32 = 1, verifying key (list of u8), contracts (list of strings),
//!              entries (list of: signed record (list of u8), proof (option of 128 bytes)) | SHA3-256 of all before
//! ```
//!
//! Whoever checks one needs this file, the digest of a key that they trust, and, if they want to know whose
//! machine it was, its public key. They see states, masks and contracts, and nothing of the memory.

use borsh::{BorshDeserialize, BorshSerialize};
use sha3::{Digest, Sha3_256};

use super::links::{self, LinkError};
use super::record::{ChainRecordError, MAX_SIGNED, RecordId, SignedChainRecord};
use super::trace::{Trace, TraceError};
use crate::contract::{Contract, ContractError, file::MAX_LEN};
use crate::keys::{KeyDigest, KeyError, KeyOrigin, VerifyingKey, store};
use crate::verify::{MAX_BATCH, PROOF_LEN, Proof, Verifier, VerifyError};

const MAGIC: &[u8; 8] = b"SENTZKRU";
const FORMAT: u32 = 1;
const DIGEST: usize = 32;
/// Most contracts in one file.
pub const MAX_CONTRACTS: usize = 8;
/// Most bytes of a file.
pub const MAX_ROLLUP: usize =
    8 + 4096 + MAX_CONTRACTS * (MAX_LEN + 4) + MAX_BATCH * (MAX_SIGNED + PROOF_LEN + 8) + DIGEST;

/// Why a rollup was refused, or could not be made.
#[derive(Debug, thiserror::Error)]
pub enum RollupError {
    /// Bytes that are no rollup.
    #[error("the rollup {0}; it is damaged or was changed: take another copy")]
    Encoding(String),
    /// A record that is none.
    #[error(transparent)]
    Record(#[from] ChainRecordError),
    /// Records that do not follow each other.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// A key that is none, or another than the trusted one.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A contract that is none.
    #[error(transparent)]
    Contract(#[from] ContractError),
    /// Signed by somebody else.
    #[error("the rollup is signed by the key {0}, which is not the machine's")]
    Signer(String),
    /// A record that is not proved.
    #[error("record {0} has no proof; prove it first, or roll up fewer")]
    Unproved(u64),
    /// A record whose contract is missing, or whose mask leaves out what its contract freezes.
    #[error("record {at} {problem}; it says less than its contract")]
    Mask {
        /// The record.
        at: u64,
        /// What is wrong.
        problem: &'static str,
    },
    /// A proof of something else.
    #[error(transparent)]
    Proof(#[from] VerifyError),
    /// The chain could not be read.
    #[error(transparent)]
    Trace(#[from] TraceError),
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Body {
    format: u32,
    verifying_key: Vec<u8>,
    contracts: Vec<String>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
struct Entry {
    record: Vec<u8>,
    proof: Option<[u8; PROOF_LEN]>,
}

/// A rollup, not yet verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollup {
    body: Body,
}

/// What a rollup that is in order says.
#[derive(Clone, Debug)]
pub struct Verified {
    /// The records, in order.
    pub records: Vec<SignedChainRecord>,
    /// Where the key comes from. With `Development`, proofs convince only whoever made it.
    pub key_origin: KeyOrigin,
    /// Records of transitions that broke their contract.
    pub flagged: Vec<u64>,
}

impl Rollup {
    /// The records `first` to `last` of a chain, with `contracts`, of which the records' are taken.
    ///
    /// # Errors
    ///
    /// [`RollupError::Unproved`], [`RollupError::Mask`] if a contract is missing, [`RollupError::Trace`].
    pub fn of(
        trace: &Trace,
        first: u64,
        last: u64,
        key: &VerifyingKey,
        contracts: &[Contract],
    ) -> Result<Self, RollupError> {
        let count = last.saturating_sub(first).saturating_add(1);
        if last < first || count > MAX_BATCH as u64 {
            return Err(VerifyError::Batch(usize::try_from(count).unwrap_or(usize::MAX)).into());
        }
        let mut body =
            Body { format: FORMAT, verifying_key: key.encode(), contracts: vec![], entries: vec![] };
        for sequence in first..=last {
            let signed = trace.record(sequence)?;
            let record = signed.record();
            let contract = contracts.iter().find(|contract| contract.digest() == record.contract);
            let contract = contract
                .ok_or(RollupError::Mask { at: sequence, problem: "has a contract that is not at hand" })?;
            if !body.contracts.iter().any(|text| text == contract.text()) {
                body.contracts.push(contract.text().to_owned());
            }
            let proof = match (record.statement(), trace.proof(sequence)?) {
                (None, _) => None,
                (Some(_), Some((made_for, proof))) if made_for == key.digest() => Some(proof.encode()),
                (Some(_), _) => return Err(RollupError::Unproved(sequence)),
            };
            body.entries.push(Entry { record: signed.encode(), proof });
        }
        if body.contracts.len() > MAX_CONTRACTS {
            return Err(RollupError::Encoding(format!(
                "has more than {MAX_CONTRACTS} contracts: roll up fewer"
            )));
        }
        Ok(Self { body })
    }

    /// The digest of the key that it brings: of no use until somebody says that they trust it.
    #[must_use]
    pub fn claimed_key(&self) -> KeyDigest {
        KeyDigest(Sha3_256::digest(&self.body.verifying_key).into())
    }

    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        // Writing to memory does not fail.
        bytes.extend(borsh::to_vec(&self.body).unwrap_or_default());
        let digest: [u8; DIGEST] = Sha3_256::digest(&bytes).into();
        bytes.extend(digest);
        bytes
    }

    /// The rollup of these bytes.
    ///
    /// # Errors
    ///
    /// [`RollupError::Encoding`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RollupError> {
        let refuse = |problem: String| RollupError::Encoding(problem);
        if bytes.len() > MAX_ROLLUP {
            return Err(refuse(format!("has {} bytes, and at most {MAX_ROLLUP} are allowed", bytes.len())));
        }
        let cut = || refuse("is cut short".to_owned());
        let (all, digest) = bytes.split_last_chunk::<DIGEST>().ok_or_else(cut)?;
        let found: [u8; DIGEST] = Sha3_256::digest(all).into();
        if found != *digest {
            return Err(refuse("does not have the digest that it ends with".to_owned()));
        }
        let rest = all.strip_prefix(MAGIC).ok_or_else(|| refuse("does not begin as one".to_owned()))?;
        let body = Body::try_from_slice(rest).map_err(|error| refuse(format!("does not decode: {error}")))?;
        if body.format != FORMAT {
            return Err(refuse(format!("has the format {}, and this build reads {FORMAT}", body.format)));
        }
        if body.entries.is_empty() || body.entries.len() > MAX_BATCH || body.contracts.len() > MAX_CONTRACTS {
            return Err(refuse(format!(
                "has {} records and {} contracts, and 1 to {MAX_BATCH} and at most {MAX_CONTRACTS} are allowed",
                body.entries.len(),
                body.contracts.len()
            )));
        }
        Ok(Self { body })
    }

    /// Checks everything: the key against `trusted`, signatures (against `signer`, if it is known), that
    /// records follow each other, that masks have what their contracts freeze, and all proofs at once.
    ///
    /// # Errors
    ///
    /// [`RollupError`] by the first thing that is not in order.
    pub fn verify(&self, trusted: KeyDigest, signer: Option<&[u8; 32]>) -> Result<Verified, RollupError> {
        let key = VerifyingKey::decode(&self.body.verifying_key)?;
        store::pinned(&key, trusted)?;
        let contracts: Result<Vec<Contract>, _> =
            self.body.contracts.iter().map(|text| Contract::parse(text)).collect();
        let contracts: Vec<_> =
            contracts?.iter().map(|contract| (contract.digest(), contract.always_frozen())).collect();
        let decode = |entry: &Entry| SignedChainRecord::decode(&entry.record);
        let records = self.body.entries.iter().map(decode).collect::<Result<Vec<_>, _>>()?;
        links::check(&records)?;
        let other = records.first().filter(|first| signer.is_some_and(|signer| signer != first.key()));
        if let Some(first) = other {
            return Err(RollupError::Signer(sentient_snapshot::hash::hex(first.key())));
        }
        let mut proofs = Vec::with_capacity(records.len());
        for (signed, entry) in records.iter().zip(&self.body.entries) {
            let record = signed.record();
            let at = record.sequence;
            let Some(statement) = record.statement() else { continue };
            let found = contracts.iter().find(|(digest, _)| *digest == record.contract);
            let (_, always) =
                found.ok_or(RollupError::Mask { at, problem: "has a contract that is not in the file" })?;
            if !always.without(record.frozen).is_empty() {
                return Err(RollupError::Mask { at, problem: "does not freeze what its contract freezes" });
            }
            let proof = entry.proof.as_ref().ok_or(RollupError::Unproved(at))?;
            proofs.push((statement, Proof::decode(proof)?));
        }
        Verifier::new(key.clone()).verify_batch(&proofs)?;
        let flagged =
            records.iter().map(SignedChainRecord::record).filter(|record| !record.flagged.is_empty());
        let flagged = flagged.map(|record| record.sequence).collect();
        Ok(Verified { records, key_origin: key.origin(), flagged })
    }
}

impl Verified {
    /// `Ok` if this continues where another one ends.
    ///
    /// # Errors
    ///
    /// [`LinkError`].
    pub fn follows(&self, earlier: &Self) -> Result<(), LinkError> {
        match (earlier.records.last(), self.records.first()) {
            (Some(last), Some(next)) => links::follows(last, next),
            _ => Ok(()),
        }
    }

    /// `Ok` if a record that is known from elsewhere is here.
    ///
    /// # Errors
    ///
    /// [`LinkError::Missing`].
    pub fn has(&self, known: RecordId) -> Result<(), LinkError> {
        match self.records.iter().any(|record| record.id() == known) {
            true => Ok(()),
            false => Err(LinkError::Missing(known)),
        }
    }
}
