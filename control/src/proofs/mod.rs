//! What happened to a machine, recorded, held against its contract, and proved.
//!
//! * [`places`]: where the files are;
//! * [`permissions`], [`judging`]: a transition against the machine's contract;
//! * [`ledger`], [`plain`], [`origin`], [`in_step`]: where transitions are recorded, and a fork's first one;
//! * [`keyring`]: key sets, and which one a machine is pinned to;
//! * [`worker`], [`remind`]: the threads that record and prove, and what they say;
//! * [`binaries`]: roots of kernel and images;
//! * [`checking`], [`exporting`], [`rollups`], [`listing`]: what is asked about all that;
//! * [`api`], [`routes`]: the same over the socket.
//!
//! A snapshot comes about in this order: it is hashed, [`Proofs::judge`] holds it against the contract, it is stored,
//! the timeline has it, [`Proofs::note`] keeps the transition in memory; and once the guest runs again,
//! [`Proofs::record_soon`] has it appended to the ledger by a thread, which wakes the one that proves. What a killed process has not
//! written, follows from the timeline: whoever needs the ledger next, writes it ([`ledger::missing`]).
//!
//! Invariants:
//!
//! 1. Nothing here is read before the machine is up, and no key before there is something to prove.
//! 2. The guest never waits for a state's hash or a sync of ours: with the guest stopped, a transition is only
//!    held against the contract.
//! 3. A transition is in the ledger before the next one is judged, or that one is refused.

pub mod api;
pub mod binaries;
pub mod checking;
pub mod exporting;
pub mod in_step;
pub mod judging;
pub mod keyring;
pub mod ledger;
pub mod listing;
pub mod origin;
pub mod permissions;
pub mod places;
pub mod plain;
pub mod remind;
pub mod rollups;
pub mod routes;
pub mod worker;

use crate::error::ControlError;
use crate::history::History;
use crate::home::{Home, MachineFolder};
use in_step::{Open, between, written};
use judging::{Judged, Position};
use keyring::Keyring;
use ledger::Ledger;
use origin::Original;
use permissions::Permissions;
use sentient_snapshot::{MemoryMap, Record, SignedRecord};
use sentient_zk::chain::Trace;
use sentient_zk::commitment::{Delta, Origin};
use std::fs;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use worker::Queue;

/// The record of a machine's transitions.
#[derive(Debug)]
pub struct Proofs {
    machine: MachineFolder,
    keyring: Keyring,
    zk: bool,
    inner: Mutex<Inner>,
    queue: Queue,
}

#[derive(Debug, Default)]
struct Inner {
    permissions: Permissions,
    open: Option<Open>,
}

impl Proofs {
    /// Of a machine; nothing is read yet. Without `zk`, there are no proofs.
    #[must_use]
    pub fn new(home: &Home, machine: &MachineFolder, zk: bool) -> Self {
        Self {
            machine: machine.clone(),
            keyring: Keyring::of(home),
            zk,
            inner: Mutex::default(),
            queue: Queue::default(),
        }
    }

    /// Forgets what an interrupted attempt to make the machine has left.
    ///
    /// # Errors
    /// The error of removing it.
    pub fn begin(&self) -> Result<(), ControlError> {
        for folder in [self.machine.path().join(".lock"), self.machine.plain_trace()] {
            match fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(ControlError::io(&folder)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The home's key sets.
    #[must_use]
    pub fn keyring(&self) -> &Keyring {
        &self.keyring
    }

    /// What is to be proved.
    #[must_use]
    pub fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Whether transitions are proved.
    #[must_use]
    pub fn are_wanted(&self) -> bool {
        self.zk
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Holds a snapshot that is about to be taken against the contract. `previous` is the memory that it is taken
    /// after, if the caller has it.
    ///
    /// # Errors
    /// [`ControlError::Violation`] if the contract refuses it; others if there is no saying.
    pub fn judge(
        &self,
        history: &History,
        previous: Option<&MemoryMap>,
        record: &Record,
        memory: &MemoryMap,
    ) -> Result<Judged, ControlError> {
        let mut inner = self.lock();
        let Inner { permissions, open } = &mut *inner;
        let open = written(open, permissions, history, self)?;
        let contract = permissions.now(&self.machine)?;
        let to =
            Position { snapshot: record.id(), record: Arc::new(record.clone()), map: Some(memory.clone()) };
        let judged = match &open.at {
            None => Judged::first(to, memory, contract)?,
            Some(at) => {
                let delta = between(history, at, previous, record, memory)?;
                Judged::next(Origin::Snapshot, &at.record, to, delta, contract)?
            }
        };
        judged.allowed()
    }

    /// A snapshot that was judged is in the timeline now.
    pub fn note(&self, judged: Judged) {
        if let Some(open) = &mut self.lock().open {
            open.note(judged);
        }
    }

    /// The machine was put back to a snapshot, with this memory. What cannot be found out about it now, is when the
    /// ledger is read again.
    pub fn went_back(&self, history: &History, target: &SignedRecord, memory: Option<&MemoryMap>) {
        let mut inner = self.lock();
        let Inner { permissions, open } = &mut *inner;
        let judged = (|| {
            let Some(open) = open else { return Ok(()) };
            let Some(at) = &open.at else { return Ok(()) };
            let contract = permissions.now(&self.machine)?;
            let loaded;
            let memory = match memory {
                Some(memory) => memory,
                None => {
                    loaded = MemoryMap::load(target.record(), &history.store().session()?)?;
                    &loaded
                }
            };
            let delta = between(history, at, None, target.record(), memory)?;
            let record = Arc::new(target.record().clone());
            let to = Position { snapshot: target.id(), record, map: Some(memory.clone()) };
            let judged = Judged::next(Origin::Rollback, &at.record, to, delta, contract)?;
            open.note(judged);
            Ok::<(), ControlError>(())
        })();
        if let Err(error) = judged {
            tracing::warn!(%error, "a rollback is recorded later");
            *open = None;
        }
    }

    /// Appends what was noted to the ledger, and has it proved. Durable when it returns. What cannot be done is done
    /// before the next snapshot, or that one is refused; until then `.lock/zk.remind/` says why.
    pub fn record(&self, history: &History) {
        let problem = self.write(history).err().map(|error| error.to_string());
        if let Some(problem) = &problem {
            tracing::warn!(problem, "what happened to the machine is not recorded yet");
        }
        self.queue.chain_is(problem);
        self.queue.remind(&self.machine, None);
    }

    /// The same, without waiting for it, if there is a thread that does it.
    pub fn record_soon(&self, history: &History) {
        if !self.queue.ask_to_record() {
            self.record(history);
        }
    }

    /// What [`record`](Self::record) does, and says why it cannot be done.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn write(&self, history: &History) -> Result<(), ControlError> {
        let mut inner = self.lock();
        let Inner { permissions, open } = &mut *inner;
        written(open, permissions, history, self).map(drop)
    }

    /// The chain, in step with the timeline.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] for a machine without proofs, and as [`write`](Self::write).
    pub fn chain(&self, history: &History) -> Result<Trace, ControlError> {
        let mut inner = self.lock();
        let Inner { permissions, open } = &mut *inner;
        match &written(open, permissions, history, self)?.ledger {
            Ledger::Chain(chain) => Ok(chain.trace.clone()),
            Ledger::Plain(_) => Err(self.unwanted()),
        }
    }

    /// The chain as it is, for who must not keep the next snapshot waiting.
    ///
    /// # Errors
    /// As [`chain`](Self::chain), if it was not read yet.
    fn trace(&self, history: &History) -> Result<Trace, ControlError> {
        if let Some(Ledger::Chain(chain)) = self.lock().open.as_ref().map(|open| &open.ledger) {
            return Ok(chain.trace.clone());
        }
        self.chain(history)
    }

    fn unwanted(&self) -> ControlError {
        ControlError::Conflict(format!(
            "the machine `{}` was made with --zk=false: it has no proofs, and {} says what happened to it",
            self.machine.name(),
            self.machine.plain_trace().display()
        ))
    }

    /// Gives a fork what it has of this machine: its contract, its keys, and where it comes from.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn leave_to(
        &self,
        history: &History,
        fork: &MachineFolder,
        from: &SignedRecord,
        record: &Record,
    ) -> Result<(), ControlError> {
        let mut inner = self.lock();
        let Inner { permissions, open } = &mut *inner;
        let open = written(open, permissions, history, self)?;
        for (ours, theirs) in [(self.machine.contract(), fork.contract()), (self.machine.pin(), fork.pin())] {
            match fs::read(&ours) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                read => {
                    let bytes = read.map_err(ControlError::io(&ours))?;
                    sentient_zk::chain::durable::replace(&theirs, &bytes)
                        .map_err(ControlError::io(&theirs))?;
                }
            }
        }
        let Some(at) = &open.at else { return Ok(()) };
        let delta = match judging::same_memory(&at.record, record) {
            true => Delta { old_state: at.record.state.0, new_state: record.state.0, pages: Vec::new() },
            false => {
                let memory = MemoryMap::load(from.record(), &history.store().session()?)?;
                between(history, at, None, record, &memory)?
            }
        };
        let (record, opening) = match &open.ledger {
            Ledger::Plain(_) => (None, None),
            Ledger::Chain(chain) => match chain.trace.head() {
                None => (None, None),
                Some(head) => (Some(head.clone()), Some(chain.trace.opening(head.record().sequence)?)),
            },
        };
        Original { record, opening, snapshot: (*at.record).clone(), delta }.write(fork)
    }
}
