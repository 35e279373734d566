//! What is said about proofs over the socket, and in answers with `--json`.

use sentient_zk::keys::Pin;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How a machine came to be in the state of a snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Transition {
    /// Its number in the machine's chain.
    pub record: u64,
    /// Its id in the chain: 64 hexadecimal digits; `null` if the machine has no chain (`--zk=false`).
    pub id: Option<String>,
    /// `genesis`, `snapshot`, `rollback` or `fork`.
    pub origin: String,
    /// When: nanoseconds since 1970-01-01 UTC.
    pub created_unix_ns: u64,
    /// Whether it is proved.
    pub proof: ProofState,
    /// Where the keys of its proof are from: `development` or `ceremony`.
    pub key_origin: Option<String>,
    /// Why it cannot be proved, if that was tried.
    pub problem: Option<String>,
    /// Regions that differ from the state before.
    pub dirty: Vec<String>,
    /// The contract's digest: 64 hexadecimal digits.
    pub contract: String,
    /// What broke the contract, a sentence each.
    pub violations: Vec<String>,
}

/// Whether a transition is proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ProofState {
    /// Its proof is stored.
    Proved,
    /// Its proof is being made.
    Proving,
    /// It has none yet.
    Unproved,
    /// There is nothing to prove: a machine's first snapshot, or a machine without proofs.
    None,
}

impl ProofState {
    /// As people see it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Proved => "proved",
            Self::Proving => "proving",
            Self::Unproved => "unproved",
            Self::None => "nothing to prove",
        }
    }
}

/// A key set of the home.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct KeyInfo {
    /// SHA3-256 of the verifying key: 64 hexadecimal digits. What a third party trusts, or does not.
    pub verifying: String,
    /// SHA3-256 of the proving key.
    pub proving: String,
    /// `development`, made on one machine, whose proofs convince only who trusts that machine; or `ceremony`.
    pub origin: String,
    /// Whether the machine is pinned to it.
    pub pinned: bool,
    /// Whether new machines are pinned to it.
    pub default: bool,
}

impl KeyInfo {
    /// Of a set.
    #[must_use]
    pub fn of(pin: &Pin, pinned: Option<&Pin>, default: Option<&Pin>) -> Self {
        Self {
            verifying: pin.verifying.clone(),
            proving: pin.proving.clone(),
            origin: pin.origin.clone(),
            pinned: pinned == Some(pin),
            default: default == Some(pin),
        }
    }
}

/// Which key set to use.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PinKeys {
    /// The first digits of the verifying key's digest.
    pub key: String,
}

/// What of the chain to check.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct VerifyChain {
    /// Only what came after this snapshot: a tag, an id, or a unique prefix of one.
    #[serde(default)]
    pub from: Option<String>,
    /// Only what came until this snapshot.
    #[serde(default)]
    pub to: Option<String>,
    /// A record that must be in the chain: its id, from an earlier check.
    #[serde(default)]
    pub known: Option<String>,
    /// The digest of the verifying key that is trusted; the one the machine is pinned to if not given.
    #[serde(default)]
    pub key: Option<String>,
}

/// What a check of a chain found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ChainVerified {
    /// Records that were checked.
    pub records: u64,
    /// Transitions with a proof that is good.
    pub proved: u64,
    /// Records of transitions that have no proof yet.
    pub unproved: Vec<u64>,
    /// Records of transitions that broke the contract.
    pub flagged: Vec<u64>,
    /// Stored snapshots that were compared with their records and read to the last page.
    pub snapshots: u64,
    /// Pages of them.
    pub pages: u64,
    /// The last record's id: who keeps it can see later that the chain was not cut off.
    pub head: Option<String>,
    /// The verifying key's digest; `null` if nothing is proved yet.
    pub key: Option<String>,
    /// `development` or `ceremony`.
    pub key_origin: Option<String>,
    /// What is wrong, a sentence each; none if all is well.
    pub problems: Vec<String>,
}

/// What to prove now.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Prove {
    /// The transitions to this snapshot; all if not given.
    #[serde(default)]
    pub snapshot: Option<String>,
}

/// Transitions that were proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ProofsMade {
    /// Their records; those that had proofs before are not among them.
    pub proved: Vec<u64>,
    /// What could not be proved, and why; a sentence each.
    pub problems: Vec<String>,
}

/// A batch of records with their proofs, in a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct RollupMade {
    /// The file.
    pub path: String,
    /// Its first record.
    pub first: u64,
    /// Its last record.
    pub last: u64,
    /// Its bytes.
    pub bytes: u64,
    /// Digest of the verifying key.
    pub key: String,
    /// `development` or `ceremony`.
    pub key_origin: String,
}

/// A proof in snarkjs' form.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SnarkjsProof {
    /// The record that it proves.
    pub record: u64,
    /// Digest of the verifying key.
    pub key: String,
    /// `development` or `ceremony`.
    pub key_origin: String,
    /// `proof.json`.
    #[schema(value_type = Object)]
    pub proof: serde_json::Value,
    /// `public.json`.
    #[schema(value_type = Vec<String>)]
    pub public: serde_json::Value,
    /// `verification_key.json`.
    #[schema(value_type = Object)]
    pub verification_key: serde_json::Value,
}

/// A contract for Ethereum that checks proofs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SolidityVerifier {
    /// Its source, for solc from 0.8.20 on.
    pub source: String,
    /// Digest of the verifying key.
    pub key: String,
    /// `development` or `ceremony`.
    pub key_origin: String,
}
