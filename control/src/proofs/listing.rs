//! Transitions beside the snapshots that they led to, and the keys of a home.

use super::api::{KeyInfo, ProofState, Transition};
use super::keyring::{self, Keyring};
use super::ledger;
use super::plain::PlainTrace;
use crate::api::SnapshotInfo;
use crate::error::ControlError;
use crate::history::History;
use crate::home::MachineFolder;
use sentient_snapshot::hash::hex;
use sentient_zk::chain::Trace;
use std::collections::HashMap;

/// Adds to each snapshot how the machine came to be there. If that is not known, the current one says why.
pub fn annotate(history: &History, list: &mut [SnapshotInfo]) {
    match transitions(history) {
        Ok(mut found) => {
            for info in list {
                info.transitions = found.remove(&info.id).unwrap_or_default();
            }
        }
        Err(error) => {
            if let Some(current) = list.iter_mut().find(|info| info.current) {
                current.problem.get_or_insert_with(|| error.to_string());
            }
        }
    }
}

/// All transitions, by the snapshot's id.
fn transitions(history: &History) -> Result<HashMap<String, Vec<Transition>>, ControlError> {
    let mut found: HashMap<String, Vec<Transition>> = HashMap::new();
    let proofs = history.proofs();
    if !proofs.are_wanted() {
        proofs.write(history)?;
        for line in PlainTrace::open(&history.machine().plain_trace())?.lines() {
            found.entry(line.snapshot.clone()).or_default().push(Transition {
                record: line.sequence,
                id: None,
                origin: line.origin.clone(),
                created_unix_ns: line.created_unix_ns,
                proof: ProofState::None,
                key_origin: None,
                problem: None,
                dirty: line.dirty.clone(),
                contract: line.contract.clone(),
                violations: line.violations.clone(),
            });
        }
        return Ok(found);
    }
    let trace = proofs.chain(history)?;
    let key_origin = keyring::pin_of(history.machine())?.map(|pin| pin.origin);
    let (unproved, proving, mut broken) =
        (trace.unproved(), proofs.queue().proving(), proofs.queue().broken());
    for signed in trace.records() {
        let record = signed.record();
        let proof = match record.statement() {
            None => ProofState::None,
            Some(_) if proving == Some(record.sequence) => ProofState::Proving,
            Some(_) if unproved.binary_search(&record.sequence).is_ok() => ProofState::Unproved,
            Some(_) => ProofState::Proved,
        };
        found.entry(record.snapshot.to_string()).or_default().push(Transition {
            record: record.sequence,
            id: Some(signed.id().to_string()),
            origin: record.origin.name().to_owned(),
            created_unix_ns: record.created_unix_ns,
            proof,
            key_origin: key_origin.clone().filter(|_| proof == ProofState::Proved),
            problem: broken.remove(&record.sequence),
            dirty: record.dirty.iter().map(|slot| slot.to_string()).collect(),
            contract: hex(&record.contract),
            violations: ledger::violations(&history.machine().chain(), signed),
        });
    }
    Ok(found)
}

/// The records of a machine's chain whose snapshot has this name, oldest first.
///
/// # Errors
/// [`ControlError::NotFound`] if the chain has none.
pub fn records_of(history: &History, trace: &Trace, name: &str) -> Result<Vec<u64>, ControlError> {
    let id = history.timeline().resolve(name)?;
    let records = trace.records().iter().map(|record| record.record());
    let found: Vec<u64> =
        records.filter(|record| record.snapshot == id).map(|record| record.sequence).collect();
    match found.is_empty() {
        false => Ok(found),
        true => Err(ControlError::NotFound(format!(
            "the machine was never at `{name}`: it was imported, or is older than the machine's chain"
        ))),
    }
}

/// The home's key sets, and which of them a machine is pinned to.
///
/// # Errors
/// [`ControlError`].
pub fn keys(keyring: &Keyring, machine: Option<&MachineFolder>) -> Result<Vec<KeyInfo>, ControlError> {
    let (all, default) = (keyring.all()?, keyring.default()?);
    let pinned = machine.map(keyring::pin_of).transpose()?.flatten();
    Ok(all.iter().map(|pin| KeyInfo::of(pin, pinned.as_ref(), default.as_ref())).collect())
}
