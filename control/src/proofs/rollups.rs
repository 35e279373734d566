//! Batches of a chain for third parties: made in `.lock/zk.rollup/`, and checked with no machine at hand.

use super::api::{ChainVerified, RollupMade};
use super::{keyring, permissions};
use crate::error::ControlError;
use crate::history::History;
use sentient_snapshot::hash::parse_hex;
use sentient_zk::chain::rollup::{MAX_ROLLUP, Verified};
use sentient_zk::chain::{RecordId, Rollup, Trace, durable};
use sentient_zk::keys::{KeyDigest, VerifyingKey};
use sentient_zk::verify::MAX_BATCH;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Writes all that is proved, from the first record on, up to 64 records a file. A file that is full is left as it
/// is; each is verified before it is written, and durable when this returns.
///
/// # Errors
/// [`ControlError::Conflict`] if nothing is proved yet; [`ControlError::Rollup`].
pub fn make(history: &History) -> Result<Vec<RollupMade>, ControlError> {
    let trace = history.proofs().chain(history)?;
    let nothing = || {
        ControlError::Conflict(
            "no transition is proved yet; `sentctl zk prove` proves those that there are".into(),
        )
    };
    let pin = keyring::pin_of(history.machine())?.ok_or_else(nothing)?;
    let key = history.proofs().keyring().verifying(&pin)?;
    let contracts = permissions::kept(&history.machine().chain())?;
    let folder = history.machine().rollups();
    let mut made = Vec::new();
    for first in (0..trace.records().len() as u64).step_by(MAX_BATCH) {
        let Some(last) = last_proved(&trace, first, &key)? else { break };
        let full = last - first + 1 == MAX_BATCH as u64;
        let path = folder.join(format!("{first:08}.rollup"));
        let bytes = match there(&path, full, &trace, first, last, &key) {
            Some(bytes) => bytes,
            None => {
                let rollup = Rollup::of(&trace, first, last, &key, &contracts)?;
                rollup.verify(key.digest(), Some(&history.key().public()))?;
                let bytes = rollup.encode();
                durable::replace(&path, &bytes).map_err(ControlError::io(&path))?;
                bytes.len() as u64
            }
        };
        made.push(RollupMade {
            path: path.display().to_string(),
            first,
            last,
            bytes,
            key: key.digest().to_string(),
            key_origin: key.origin().name().to_owned(),
        });
        if !full {
            break;
        }
    }
    // A machine's first record alone says nothing that is proved.
    let proves =
        |last: u64| last > 0 || trace.record(last).is_ok_and(|first| first.record().statement().is_some());
    match made.last().is_some_and(|made| proves(made.last)) {
        true => Ok(made),
        false => Err(nothing()),
    }
}

/// The last record from `first` on, of at most 64, until which all are proved; `None` if the first is not.
fn last_proved(trace: &Trace, first: u64, key: &VerifyingKey) -> Result<Option<u64>, ControlError> {
    let mut last = None;
    for signed in trace.records().iter().skip(usize::try_from(first).unwrap_or(usize::MAX)).take(MAX_BATCH) {
        let record = signed.record();
        let proved = match record.statement() {
            None => true,
            Some(_) => trace.proof(record.sequence)?.is_some_and(|(made_with, _)| made_with == key.digest()),
        };
        if !proved {
            break;
        }
        last = Some(record.sequence);
    }
    Ok(last)
}

/// The length of a full file that is there and in order.
fn there(path: &Path, full: bool, trace: &Trace, first: u64, last: u64, key: &VerifyingKey) -> Option<u64> {
    let bytes = full.then(|| read(path).ok())??;
    let verified = Rollup::decode(&bytes).ok()?.verify(key.digest(), None).ok()?;
    let ends = (verified.records.first()?.id(), verified.records.last()?.id());
    let ours = (trace.record(first).ok()?.id(), trace.record(last).ok()?.id());
    (ends == ours).then_some(bytes.len() as u64)
}

/// Which key an auditor trusts, whose machine it has to be, and which record has to be there.
#[derive(Clone, Copy, Debug)]
pub struct Expected<'a> {
    /// The digest of the verifying key.
    pub key: KeyDigest,
    /// The machine's public key.
    pub signer: Option<&'a [u8; 32]>,
    /// A record of an earlier check.
    pub known: Option<RecordId>,
}

/// Checks files that follow each other, with nothing else at hand.
///
/// # Errors
/// [`ControlError::Io`] for a file that cannot be read; what is wrong with one is in the answer.
pub fn verify(paths: &[PathBuf], expected: Expected<'_>) -> Result<ChainVerified, ControlError> {
    let mut found = ChainVerified { key: Some(expected.key.to_string()), ..ChainVerified::default() };
    let mut before: Option<Verified> = None;
    let mut known = expected.known;
    for path in paths {
        let bytes = read(path)?;
        let checked = Rollup::decode(&bytes).and_then(|rollup| rollup.verify(expected.key, expected.signer));
        let verified = match checked {
            Ok(verified) => verified,
            Err(error) => {
                found.problems.push(format!("{}: {error}", path.display()));
                return Ok(found);
            }
        };
        if let Some(before) = &before
            && let Err(error) = verified.follows(before)
        {
            found.problems.push(format!("{}: {error}", path.display()));
        }
        known = known.filter(|known| verified.has(*known).is_err());
        found.records += verified.records.len() as u64;
        let proved = verified.records.iter().filter(|record| record.record().statement().is_some());
        found.proved += proved.count() as u64;
        found.flagged.extend(&verified.flagged);
        found.head = verified.records.last().map(|record| record.id().to_string());
        found.key_origin = Some(verified.key_origin.name().to_owned());
        before = Some(verified);
    }
    if let Some(known) = known {
        found.problems.push(sentient_zk::chain::LinkError::Missing(known).to_string());
    }
    Ok(found)
}

/// The key that a file says its proofs are for: to be looked up among those that somebody trusts.
///
/// # Errors
/// [`ControlError::Rollup`] if it is none.
pub fn claimed_key(path: &Path) -> Result<KeyDigest, ControlError> {
    Ok(Rollup::decode(&read(path)?)?.claimed_key())
}

/// A digest of 64 hexadecimal digits.
///
/// # Errors
/// [`ControlError::Request`], with what it was to be.
pub fn digest(text: &str, what: &str) -> Result<[u8; 32], ControlError> {
    parse_hex(text)
        .ok_or_else(|| ControlError::Request(format!("`{text}` is no {what}: 64 hexadecimal digits")))
}

fn read(path: &Path) -> Result<Vec<u8>, ControlError> {
    let mut bytes = Vec::new();
    let read = File::open(path).and_then(|file| file.take(MAX_ROLLUP as u64 + 1).read_to_end(&mut bytes));
    read.map_err(ControlError::io(path))?;
    Ok(bytes)
}
