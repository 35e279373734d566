//! From an old state and a new record to a statement and its witness.

use sentient_snapshot::{Record, SnapshotId};

use crate::circuit::Statement;
use crate::commitment::state::{genesis, meta};
use crate::commitment::{Delta, Memory, Origin, SLOTS, SlotSet, StateOpening};
use crate::contract::Verdict;
use crate::scalar::Scalar;

/// What happened between two snapshots of a machine, ready to be recorded and proved.
#[derive(Clone, Debug)]
pub struct Transition {
    /// How the machine came to be in the new state.
    pub origin: Origin,
    /// The snapshot whose memory and state the machine has now.
    pub snapshot: SnapshotId,
    /// What the contract makes of it.
    pub verdict: Verdict,
    /// Slots that differ.
    pub dirty: SlotSet,
    /// Digest of what changed.
    pub delta: [u8; 32],
    /// What the old state is hashed from; `None` for a machine's first.
    pub old: Option<StateOpening>,
    /// What the new state is hashed from.
    pub new: StateOpening,
}

impl Transition {
    /// A machine's first snapshot: there is nothing before it, and nothing to prove.
    #[must_use]
    pub fn first(record: &Record, delta: &Delta, verdict: Verdict) -> Self {
        Self::to(Origin::Genesis, None, record, delta, verdict)
    }

    /// From the state that `old` opens to that of `record`. For a rollback, `record` is the snapshot that
    /// the machine was put back to, and `delta` what differs between the last state and that.
    #[must_use]
    pub fn between(
        old: StateOpening,
        origin: Origin,
        record: &Record,
        delta: &Delta,
        verdict: Verdict,
    ) -> Self {
        let state = old.state();
        Self::after((old, state), origin, record, delta, verdict)
    }

    /// The same, where the state that `old` opens is known: it is not hashed again, which costs a millisecond. With
    /// another state the transition cannot be proved.
    #[must_use]
    pub fn after(
        old: (StateOpening, Scalar),
        origin: Origin,
        record: &Record,
        delta: &Delta,
        verdict: Verdict,
    ) -> Self {
        Self::to(origin, Some(old), record, delta, verdict)
    }

    fn to(
        origin: Origin,
        old: Option<(StateOpening, Scalar)>,
        record: &Record,
        delta: &Delta,
        verdict: Verdict,
    ) -> Self {
        let snapshot = record.id();
        let memory = Memory::of(record);
        let (old, previous) = match old {
            Some((old, state)) => (Some(old), state),
            None => (None, genesis(&record.machine)),
        };
        let (dirty, memory) = match &old {
            Some(old) => (old.memory.differs(&memory), memory.after(&old.memory)),
            None => (Memory::from_slots([Scalar::default(); SLOTS]).differs(&memory), memory),
        };
        let new = StateOpening { previous, memory, delta: delta.scalar(), meta: meta(origin, snapshot) };
        Self { origin, snapshot, verdict, dirty, delta: delta.digest(), old, new }
    }

    /// Frozen slots that are dirty all the same. With `on_violation: flag` they are recorded as such, and
    /// what is proved leaves them out.
    #[must_use]
    pub fn flagged(&self) -> SlotSet {
        match self.old {
            Some(_) => self.dirty.and(self.verdict.frozen),
            None => SlotSet::EMPTY,
        }
    }

    /// What there is to prove; `None` for a machine's first snapshot.
    #[must_use]
    pub fn statement(&self) -> Option<Statement> {
        self.old.as_ref().map(|old| Statement {
            old_state: old.state(),
            new_state: self.new.state(),
            dirty: self.dirty,
            frozen: self.verdict.frozen.without(self.flagged()),
            contract: self.verdict.contract,
        })
    }
}
