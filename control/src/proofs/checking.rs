//! A machine's chain, and its stored snapshots against it: from the files alone, whatever is in memory.

use super::api::{ChainVerified, VerifyChain};
use super::{binaries, keyring, listing, origin::Original, permissions, rollups};
use crate::error::ControlError;
use crate::history::{History, short};
use sentient_snapshot::{MemoryMap, Record, verify};
use sentient_zk::chain::{RecordId, SignedChainRecord, Trace};
use sentient_zk::commitment::state::meta;
use sentient_zk::commitment::{Delta, Memory, Origin};
use sentient_zk::contract::Contract;
use sentient_zk::keys::KeyDigest;
use sentient_zk::scalar::truncated;
use sentient_zk::verify::Verifier;
use std::collections::BTreeSet;
use std::ops::RangeInclusive;

/// Checks everything that can be checked. What is wrong is in the answer.
///
/// # Errors
/// [`ControlError`] if something keeps it from looking, such as a name that is none.
pub fn verify_chain(history: &History, wanted: &VerifyChain) -> Result<ChainVerified, ControlError> {
    let proofs = history.proofs();
    let mut found = ChainVerified::default();
    let known =
        wanted.known.as_deref().map(|text| rollups::digest(text, "record's id").map(RecordId)).transpose()?;
    let trusted =
        wanted.key.as_deref().map(|text| rollups::digest(text, "key's digest").map(KeyDigest)).transpose()?;
    if let Err(error) = proofs.chain(history) {
        if matches!(error, ControlError::Conflict(_)) {
            return Err(error);
        }
        found.problems.push(error.to_string());
        return Ok(found);
    }
    // Not what was read before.
    let trace = match Trace::open(&history.machine().chain()) {
        Ok(trace) => trace,
        Err(error) => {
            found.problems.push(error.to_string());
            return Ok(found);
        }
    };
    let range = range(history, &trace, wanted)?;
    found.head = trace.head().map(|head| head.id().to_string());
    check_proofs(history, &trace, (range.clone(), known, trusted), &mut found)?;
    check_states(history, &trace, &range, &mut found)?;
    let current = history.current()?;
    if trace.head().is_some_and(|head| head.record().snapshot != current.id()) {
        let id = short(current.id());
        found.problems.push(format!("the machine stands at {id}, and its chain ends elsewhere"));
    }
    if wanted.to.is_none() {
        found.problems.extend(binaries::compare(&history.machine().binaries(), current.record())?);
    }
    Ok(found)
}

/// Numbers of the records that are wanted.
fn range(
    history: &History,
    trace: &Trace,
    wanted: &VerifyChain,
) -> Result<RangeInclusive<u64>, ControlError> {
    let of = |name: &String| listing::records_of(history, trace, name);
    let from = wanted.from.as_ref().map(of).transpose()?;
    let to = wanted.to.as_ref().map(of).transpose()?;
    let first = from.and_then(|records| records.first().copied()).map_or(0, |first| first + 1);
    let last = to.and_then(|records| records.last().copied()).unwrap_or(u64::MAX);
    match first <= last {
        true => Ok(first..=last),
        false => Err(ControlError::Request(
            "the machine was at the second snapshot before the first: exchange the two".into(),
        )),
    }
}

/// Signatures, links and proofs.
fn check_proofs(
    history: &History,
    trace: &Trace,
    (range, known, trusted): (RangeInclusive<u64>, Option<RecordId>, Option<KeyDigest>),
    found: &mut ChainVerified,
) -> Result<(), ControlError> {
    let wanted = |record: &&SignedChainRecord| range.contains(&record.record().sequence);
    found.records = trace.records().iter().filter(wanted).count() as u64;
    let (machine, key) = (history.description().id.0, history.key().public());
    let other =
        trace.records().iter().find(|record| record.record().machine != machine || *record.key() != key);
    if let Some(other) = other {
        let sequence = other.record().sequence;
        found
            .problems
            .push(format!("record {sequence} of the chain is another machine's, or signed by another key"));
    }
    let Some(pin) = keyring::pin_of(history.machine())? else {
        let proved = |record: &&SignedChainRecord| {
            matches!(trace.proof(record.record().sequence), Ok(Some(_)) | Err(_))
        };
        if trace.records().iter().any(|record| proved(&record)) {
            let why = "there are proofs, and nothing says with which keys they were made; `sentctl zk keys pin` does";
            found.problems.push(why.into());
        }
        let records = trace.records().iter().filter(wanted).map(SignedChainRecord::record);
        for record in records.filter(|record| record.statement().is_some()) {
            found.unproved.push(record.sequence);
        }
        if let Some(known) = known.filter(|known| !trace.records().iter().any(|record| record.id() == *known))
        {
            found.problems.push(sentient_zk::chain::LinkError::Missing(known).to_string());
        }
        return Ok(());
    };
    let key = match history.proofs().keyring().verifying(&pin) {
        Ok(key) => key,
        Err(error) => {
            found.problems.push(error.to_string());
            return Ok(());
        }
    };
    found.key = Some(key.digest().to_string());
    found.key_origin = Some(key.origin().name().to_owned());
    if let Some(Err(error)) = trusted.map(|trusted| sentient_zk::keys::store::pinned(&key, trusted)) {
        found.problems.push(error.to_string());
        return Ok(());
    }
    match trace.verify(&Verifier::new(key), range, known) {
        Ok(checked) => {
            (found.proved, found.unproved) = (checked.proved, checked.unproved);
            found.flagged = checked.flagged;
        }
        Err(error) => found.problems.push(error.to_string()),
    }
    Ok(())
}

/// Each record against the snapshot that it names, as far as that is still stored, against its contract, and against
/// the state that it opens.
fn check_states(
    history: &History,
    trace: &Trace,
    range: &RangeInclusive<u64>,
    found: &mut ChainVerified,
) -> Result<(), ControlError> {
    let contracts = permissions::kept(&history.machine().chain())?;
    let mut seen = BTreeSet::new();
    let mut before: Option<(Record, MemoryMap)> = None;
    for signed in trace.records() {
        let sequence = signed.record().sequence;
        // The one before the first is what that one is compared with.
        if sequence.saturating_add(1) < *range.start() || sequence > *range.end() {
            continue;
        }
        let stored =
            history.timeline().get(signed.record().snapshot).ok().map(|snapshot| snapshot.record().clone());
        let memory = match &stored {
            Some(record) => {
                MemoryMap::load(record, &history.store().session()?).map_err(|error| error.to_string())
            }
            None => Err(String::new()),
        };
        let after = stored.clone().zip(memory.as_ref().ok().cloned());
        if range.contains(&sequence) {
            let contract = contracts.iter().find(|contract| contract.digest() == signed.record().contract);
            let say = |problem: String| format!("record {sequence} of the chain: {problem}");
            let opened = check_opening(trace, signed, stored.as_ref());
            found.problems.extend(opened.map(say));
            let held = check_contract(history, signed, contract, (before.as_ref(), after.as_ref()))?;
            found.problems.extend(held.map(say));
            if let Some(record) = stored.as_ref().filter(|_| seen.insert(signed.record().snapshot)) {
                let checked = verify::verify(history.store(), record)?;
                let id = short(signed.record().snapshot);
                found
                    .problems
                    .extend(checked.problems.iter().map(|problem| format!("snapshot {id}: {problem}")));
                found.snapshots += 1;
                found.pages += checked.pages;
            }
        }
        before = after;
    }
    Ok(())
}

/// What the record's new state is hashed from, and whether that is what is stored.
fn check_opening(trace: &Trace, signed: &SignedChainRecord, stored: Option<&Record>) -> Option<String> {
    let record = signed.record();
    let opening = match trace.opening(record.sequence) {
        Ok(opening) => opening,
        Err(error) => return Some(error.to_string()),
    };
    if sentient_zk::scalar::to_bytes(&opening.previous) != record.old_state {
        return Some("its state does not follow from the one before".into());
    }
    if opening.delta != truncated(&record.delta) || opening.meta != meta(record.origin, record.snapshot) {
        return Some("its state is not of the snapshot and the changes that it names".into());
    }
    let other = stored.is_some_and(|stored| Memory::of(stored) != opening.memory);
    other.then(|| format!("its state is not that of the stored snapshot {}", short(record.snapshot)))
}

type Known<'a> = Option<&'a (Record, MemoryMap)>;

/// Whether the record says what its contract says: by the text alone, and in full where both snapshots are stored.
fn check_contract(
    history: &History,
    signed: &SignedChainRecord,
    contract: Option<&Contract>,
    (before, after): (Known<'_>, Known<'_>),
) -> Result<Option<String>, ControlError> {
    let record = signed.record();
    if record.statement().is_none() {
        return Ok(None);
    }
    let Some(contract) = contract else {
        return Ok(Some("the text of its contract is missing or was changed; restore it from a copy".into()));
    };
    if !contract.always_frozen().without(record.frozen).is_empty() {
        return Ok(Some("it does not freeze what its contract freezes".into()));
    }
    let Some((new, memory)) = after else { return Ok(None) };
    let (old, delta) = match (record.origin, before) {
        (Origin::Fork, _) => match Original::read(history.machine())? {
            Some(original) => (original.snapshot, original.delta),
            None => return Ok(Some("nothing says what machine it was made from".into())),
        },
        (_, None) => return Ok(None),
        (_, Some((old, map))) => (old.clone(), Delta::between((old, map), (new, memory))),
    };
    if delta.digest() != record.delta {
        return Ok(Some("what changed is not what it names".into()));
    }
    Ok(match contract.check(Some(&old), new, &delta) {
        Ok(verdict) if verdict.frozen == record.frozen => None,
        Ok(_) => Some("it does not freeze what its contract freezes".into()),
        Err(error) => Some(error.to_string()),
    })
}
