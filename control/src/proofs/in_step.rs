//! The ledger in step with the timeline: read when it is first needed, then kept, with what is not in it yet.

use super::judging::{Judged, Position};
use super::ledger::{self, Ledger};
use super::origin::Original;
use super::permissions::Permissions;
use super::{Proofs, binaries};
use crate::error::ControlError;
use crate::history::History;
use sentient_snapshot::{MemoryMap, Record};
use sentient_zk::commitment::{Delta, Origin};
use std::sync::Arc;

/// The ledger, read.
#[derive(Debug)]
pub struct Open {
    /// The ledger.
    pub ledger: Ledger,
    /// Where the machine is; ahead of the ledger by what is pending.
    pub at: Option<Position>,
    pending: Vec<Judged>,
}

/// The ledger, read if it was not, with everything in it that happened. After an error it is read again.
///
/// # Errors
/// [`ControlError`] if it is not in order, or cannot be written.
pub fn written<'a>(
    open: &'a mut Option<Open>,
    permissions: &mut Permissions,
    history: &History,
    proofs: &Proofs,
) -> Result<&'a mut Open, ControlError> {
    let mut ready = match open.take() {
        Some(ready) => ready,
        None => Open::read(permissions, history, proofs)?,
    };
    ready.write(history, proofs, None)?;
    Ok(open.insert(ready))
}

impl Open {
    /// Reads the ledger, and appends what it lacks.
    fn read(permissions: &mut Permissions, history: &History, proofs: &Proofs) -> Result<Self, ControlError> {
        let ledger = Ledger::open(&proofs.machine, proofs.zk)?;
        let original = match ledger.head() {
            None => Original::read(&proofs.machine)?,
            Some(_) => None,
        };
        let steps = ledger::missing(history, &ledger, original.is_some())?;
        let position = |id| -> Result<Position, ControlError> {
            let record = Arc::new(history.timeline().get(id)?.record().clone());
            Ok(Position { snapshot: id, record, map: None })
        };
        let at = match ledger.head() {
            // Lost with the last writes of a host that failed: it is known by its state alone.
            Some(lost) if !history.timeline().ids()?.contains(&lost) => None,
            head => head.map(position).transpose()?,
        };
        let mut open = Self { ledger, at, pending: Vec::new() };
        for (origin, id) in steps {
            let mut to = position(id)?;
            let contract = permissions.now(&proofs.machine)?;
            let judged = match (&original, &open.at) {
                (Some(original), None) => {
                    Judged::next(origin, &original.snapshot, to, original.delta.clone(), contract)?
                }
                (None, None) => {
                    let memory = MemoryMap::load(&to.record, &history.store().session()?)?;
                    match origin {
                        Origin::Genesis => Judged::first(to, &memory, contract)?,
                        _ => Judged::after_loss(origin, to, &memory, contract)?,
                    }
                }
                (_, Some(at)) => {
                    let memory = MemoryMap::load(&to.record, &history.store().session()?)?;
                    let delta = between(history, at, None, &to.record, &memory)?;
                    to.map = Some(memory);
                    Judged::next(origin, &at.record, to, delta, contract)?
                }
            };
            open.note(judged);
        }
        open.write(history, proofs, original.as_ref())?;
        Ok(open)
    }

    /// Keeps a transition that has happened.
    pub fn note(&mut self, judged: Judged) {
        self.at = Some(judged.to.clone());
        self.pending.push(judged);
    }

    fn write(
        &mut self,
        history: &History,
        proofs: &Proofs,
        original: Option<&Original>,
    ) -> Result<(), ControlError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut to_prove = Vec::new();
        for judged in &self.pending {
            if proofs.zk {
                // Before the record: with that, the transition is done.
                binaries::note(&proofs.machine.binaries(), judged)?;
            }
            let sequence = self.ledger.append(history, judged, original)?;
            for violation in judged.violations() {
                let snapshot = judged.to.snapshot.to_string();
                let what = serde_json::json!({ "snapshot": snapshot, "violation": violation });
                history.trace("contract", &what)?;
            }
            if proofs.zk && judged.origin != Origin::Genesis {
                to_prove.push(sequence);
            }
        }
        self.ledger.sync()?;
        self.pending.clear();
        proofs.queue.add(to_prove);
        Ok(())
    }
}

/// What differs between where a machine is and another memory of it.
///
/// # Errors
/// [`ControlError::Store`] if where it is has to be read, and cannot be.
pub fn between(
    history: &History,
    at: &Position,
    previous: Option<&MemoryMap>,
    record: &Record,
    memory: &MemoryMap,
) -> Result<Delta, ControlError> {
    let loaded;
    let old = match at.map.as_ref().or(previous) {
        Some(map) => map,
        None => {
            loaded = MemoryMap::load(&at.record, &history.store().session()?)?;
            &loaded
        }
    };
    Ok(Delta::between((&at.record, old), (record, memory)))
}
