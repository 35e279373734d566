//! What happened to a machine, as it is kept: a chain that can be proved, or a plain list.

use super::judging::Judged;
use super::origin::Original;
use super::permissions;
use super::plain::PlainTrace;
use crate::error::ControlError;
use crate::history::{History, unix_ns};
use crate::home::MachineFolder;
use sentient_snapshot::SnapshotId;
use sentient_zk::chain::{SignedChainRecord, Trace, durable};
use sentient_zk::commitment::{Origin, StateOpening};
use sentient_zk::scalar::{Scalar, from_bytes};
use sentient_zk::transition::Transition;
use std::path::{Path, PathBuf};

/// Where transitions are appended.
#[derive(Debug)]
pub enum Ledger {
    /// Signed records that are proved.
    Chain(Box<Chain>),
    /// Lines.
    Plain(PlainTrace),
}

/// A chain, and the opening of its last state.
#[derive(Debug)]
pub struct Chain {
    /// The records.
    pub trace: Trace,
    folder: PathBuf,
    /// With the state.
    opening: Option<(StateOpening, Scalar)>,
}

impl Ledger {
    /// Opens a machine's.
    ///
    /// # Errors
    /// [`ControlError::Chain`] if it is not in order, [`ControlError::Damaged`] for a plain one.
    pub fn open(machine: &MachineFolder, zk: bool) -> Result<Self, ControlError> {
        if !zk {
            return Ok(Self::Plain(PlainTrace::open(&machine.plain_trace())?));
        }
        let folder = machine.chain();
        Ok(Self::Chain(Box::new(Chain { trace: Trace::open(&folder)?, folder, opening: None })))
    }

    /// The snapshot that the machine is at.
    #[must_use]
    pub fn head(&self) -> Option<SnapshotId> {
        match self {
            Self::Chain(chain) => chain.trace.head().map(|head| head.record().snapshot),
            Self::Plain(trace) => trace.head(),
        }
    }

    /// Whether a snapshot is in it.
    #[must_use]
    pub fn has(&self, id: SnapshotId) -> bool {
        match self {
            Self::Chain(chain) => chain.trace.records().iter().any(|record| record.record().snapshot == id),
            Self::Plain(trace) => trace.lines().iter().any(|line| line.snapshot == id.to_string()),
        }
    }

    /// Appends what happened; gives the record's number. Durable when [`sync`](Self::sync) returns. `original` is for
    /// the first transition of a machine that was made from another.
    ///
    /// # Errors
    /// [`ControlError::Chain`], and errors of writing. What is on disk is then to be read again.
    pub fn append(
        &mut self,
        history: &History,
        judged: &Judged,
        original: Option<&Original>,
    ) -> Result<u64, ControlError> {
        match self {
            Self::Chain(chain) => chain.append(history, judged, original),
            Self::Plain(trace) => {
                trace.append(judged)?;
                Ok(trace.lines().len() as u64 - 1)
            }
        }
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    /// [`ControlError::Chain`]. What is on disk is then to be read again.
    pub fn sync(&self) -> Result<(), ControlError> {
        match self {
            Self::Chain(chain) => Ok(chain.trace.sync()?),
            // Each line was synced.
            Self::Plain(_) => Ok(()),
        }
    }
}

impl Chain {
    fn append(
        &mut self,
        history: &History,
        judged: &Judged,
        original: Option<&Original>,
    ) -> Result<u64, ControlError> {
        let old = match (self.opening.take(), self.trace.head()) {
            (Some(opening), _) => Some(opening),
            (None, Some(head)) => {
                let opening = self.trace.opening(head.record().sequence)?;
                let state = state_of(head)?;
                Some((opening, state))
            }
            (None, None) => {
                let opening = original.and_then(|original| original.opening.clone());
                opening.map(|opening| (opening.clone(), opening.state()))
            }
        };
        let (record, delta, verdict) = (&judged.to.record, &judged.delta, judged.verdict.clone());
        let transition = match old {
            None => Transition::first(record, delta, verdict),
            Some(old) => Transition::after(old, judged.origin, record, delta, verdict),
        };
        // Before the record that names it.
        permissions::keep(&self.folder, &judged.contract)?;
        let path = violations_file(&self.folder, self.trace.records().len() as u64);
        if !judged.verdict.violations.is_empty() {
            let text = judged.violations().join("\n");
            durable::replace(&path, text.as_bytes()).map_err(ControlError::io(&path))?;
        } else if path.exists() {
            // Of a record that a killed process did not get to write.
            std::fs::remove_file(&path).map_err(ControlError::io(&path))?;
        }
        let from = original.and_then(|original| original.record.as_ref());
        let machine = history.description().id.0;
        let appended = self.trace.append(&transition, machine, from, unix_ns(), history.key())?;
        let sequence = appended.record().sequence;
        self.opening = Some((transition.new, state_of(appended)?));
        Ok(sequence)
    }
}

/// The state that a record ends in.
fn state_of(record: &SignedChainRecord) -> Result<Scalar, ControlError> {
    // Records are checked for it when they are read and signed.
    from_bytes(&record.record().new_state, "the state")
        .map_err(|error| ControlError::Damaged(error.to_string()))
}

/// What broke the contract in a transition, a sentence a line; nothing, if nothing did.
#[must_use]
pub fn violations(folder: &Path, record: &SignedChainRecord) -> Vec<String> {
    let text = std::fs::read_to_string(violations_file(folder, record.record().sequence)).unwrap_or_default();
    let mut found: Vec<String> = text.lines().map(str::to_owned).collect();
    let flagged = record.record().flagged;
    // The record counts, the file explains.
    if found.is_empty() && !flagged.is_empty() {
        found.push(format!("frozen regions changed: {flagged}"));
    }
    found
}

fn violations_file(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:08}.violations"))
}

/// Transitions that the timeline knows of and the ledger does not, because the process was killed between the
/// two: in the order in which they happened.
///
/// # Errors
/// [`ControlError::Timeline`].
pub fn missing(
    history: &History,
    ledger: &Ledger,
    is_fork: bool,
) -> Result<Vec<(Origin, SnapshotId)>, ControlError> {
    let timeline = history.timeline();
    let Some(head) = timeline.head()? else { return Ok(Vec::new()) };
    let Some(mut at) = ledger.head() else {
        return Ok(vec![(if is_fork { Origin::Fork } else { Origin::Genesis }, head)]);
    };
    let mut steps = Vec::new();
    let is_next = |id: SnapshotId, at: SnapshotId| -> Result<bool, ControlError> {
        Ok(!ledger.has(id) && timeline.get(id)?.record().parent == Some(at))
    };
    // Where the machine was before it was rolled back, even if that was to where the ledger ends.
    if let Some(kept) = timeline.undo()?.map(|undo| undo.snapshot)
        && kept != head
        && is_next(kept, at)?
    {
        steps.push((Origin::Snapshot, kept));
        at = kept;
    }
    if at != head {
        steps.push((if is_next(head, at)? { Origin::Snapshot } else { Origin::Rollback }, head));
    }
    Ok(steps)
}
