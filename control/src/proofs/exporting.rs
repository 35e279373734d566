//! Proofs and keys for other programs.

use super::api::{SnarkjsProof, SolidityVerifier};
use super::{keyring, listing};
use crate::error::ControlError;
use crate::history::History;
use sentient_zk::export::{snarkjs as form, solidity as contract};
use sentient_zk::keys::VerifyingKey;

/// The key that a machine's proofs are made with: the pinned one, or the one that it will be pinned to.
///
/// # Errors
/// [`ControlError::Conflict`] if there is none yet.
pub fn verifying_key(history: &History) -> Result<VerifyingKey, ControlError> {
    let keyring = history.proofs().keyring();
    let pin = match keyring::pin_of(history.machine())? {
        Some(pin) => Some(pin),
        None => keyring.default()?,
    };
    let none = || {
        ControlError::Conflict(
            "there are no keys yet: `sentctl zk keys setup` makes development keys, `sentctl zk keys import` \
             takes those of a ceremony"
                .into(),
        )
    };
    keyring.verifying(&pin.ok_or_else(none)?)
}

/// The proof of the transition to a snapshot, as snarkjs wants it.
///
/// # Errors
/// [`ControlError::Conflict`] if there is no proof (yet).
pub fn snarkjs(history: &History, name: &str) -> Result<SnarkjsProof, ControlError> {
    let trace = history.proofs().chain(history)?;
    for sequence in listing::records_of(history, &trace, name)? {
        let Some(statement) = trace.record(sequence)?.record().statement() else { continue };
        let Some((made_with, proof)) = trace.proof(sequence)? else {
            return Err(ControlError::Conflict(format!(
                "record {sequence}, to `{name}`, is not proved yet; `sentctl zk prove {name}` does that now"
            )));
        };
        let key = verifying_key(history)?;
        if made_with != key.digest() {
            return Err(ControlError::Conflict(format!(
                "record {sequence} was proved with the key {made_with}, and the machine is pinned to {}; \
                 `sentctl zk prove {name}` proves it again",
                key.digest()
            )));
        }
        return Ok(SnarkjsProof {
            record: sequence,
            key: key.digest().to_string(),
            key_origin: key.origin().name().to_owned(),
            proof: form::proof(&proof),
            public: form::public(&statement),
            verification_key: form::verification_key(&key),
        });
    }
    Err(ControlError::Conflict(format!("`{name}` is a machine's first snapshot: there is nothing to prove")))
}

/// The contract that checks the machine's proofs on Ethereum.
///
/// # Errors
/// As [`verifying_key`].
pub fn solidity(history: &History) -> Result<SolidityVerifier, ControlError> {
    let key = verifying_key(history)?;
    Ok(SolidityVerifier {
        source: contract::verifier(&key),
        key: key.digest().to_string(),
        key_origin: key.origin().name().to_owned(),
    })
}
