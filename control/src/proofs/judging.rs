//! A transition against the machine's contract, before it is recorded.

use crate::error::ControlError;
use sentient_snapshot::{MemoryMap, Record, SnapshotId};
use sentient_zk::commitment::{Delta, Memory, Origin, SlotSet};
use sentient_zk::contract::{Contract, OnViolation, Verdict};
use std::sync::Arc;

/// Where a machine stands.
#[derive(Clone, Debug)]
pub struct Position {
    /// The snapshot.
    pub snapshot: SnapshotId,
    /// Its record.
    pub record: Arc<Record>,
    /// Its page hashes, if they are known without reading them.
    pub map: Option<MemoryMap>,
}

/// A transition, and what the contract makes of it.
#[derive(Debug)]
pub struct Judged {
    /// How the machine came to the new state.
    pub origin: Origin,
    /// Where it is then.
    pub to: Position,
    /// What differs.
    pub delta: Delta,
    /// Slots that differ.
    pub dirty: SlotSet,
    /// What the contract makes of it.
    pub verdict: Verdict,
    /// The contract.
    pub contract: Arc<Contract>,
}

impl Judged {
    /// A machine's first transition.
    ///
    /// # Errors
    /// [`ControlError::Contract`] if the contract cannot be applied.
    pub fn first(to: Position, memory: &MemoryMap, contract: Arc<Contract>) -> Result<Self, ControlError> {
        let delta = Delta::first(&to.record, memory);
        let verdict = contract.check(None, &to.record, &delta).map_err(unusable)?;
        let nothing =
            Memory::from_slots([sentient_zk::scalar::Scalar::default(); sentient_zk::commitment::SLOTS]);
        let dirty = nothing.differs(&Memory::of(&to.record));
        Ok(Self { origin: Origin::Genesis, to, delta, dirty, verdict, contract })
    }

    /// Any other.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn next(
        origin: Origin,
        old: &Record,
        to: Position,
        delta: Delta,
        contract: Arc<Contract>,
    ) -> Result<Self, ControlError> {
        let verdict = contract.check(Some(old), &to.record, &delta).map_err(unusable)?;
        let dirty = Memory::of(old).differs(&Memory::of(&to.record));
        Ok(Self { origin, to, delta, dirty, verdict, contract })
    }

    /// The next one after a state whose snapshot is not stored any more: which pages differ from it is not known.
    ///
    /// # Errors
    /// As [`first`](Self::first).
    pub fn after_loss(
        origin: Origin,
        to: Position,
        memory: &MemoryMap,
        contract: Arc<Contract>,
    ) -> Result<Self, ControlError> {
        let nothing = Delta { old_state: [0; 32], new_state: [0; 32], pages: Vec::new() };
        let verdict = contract.check(Some(&to.record), &to.record, &nothing).map_err(unusable)?;
        Ok(Self { verdict, origin, ..Self::first(to, memory, contract)? })
    }

    /// What broke the contract, a sentence each.
    #[must_use]
    pub fn violations(&self) -> Vec<String> {
        self.verdict.violations.iter().map(ToString::to_string).collect()
    }

    /// `Ok` if a snapshot may be taken.
    ///
    /// # Errors
    /// [`ControlError::Violation`] if the contract refuses it.
    pub fn allowed(self) -> Result<Self, ControlError> {
        let put_back = match self.verdict.on_violation {
            _ if self.verdict.violations.is_empty() => return Ok(self),
            OnViolation::Flag => return Ok(self),
            OnViolation::Reject => false,
            OnViolation::Rollback => true,
        };
        Err(ControlError::Violation { what: self.violations().join("; "), put_back })
    }
}

/// Whether two snapshots have the same memory in the same places.
#[must_use]
pub fn same_memory(one: &Record, two: &Record) -> bool {
    one.regions == two.regions
}

fn unusable(error: sentient_zk::contract::ContractError) -> ControlError {
    ControlError::Contract(error.to_string())
}
