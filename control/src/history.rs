//! A machine's snapshots, whether it runs or not.
//!
//! * this file: opening them, looking at them, and adding to them;
//! * [`comparison`]: what differs between them;
//! * [`retention`]: what goes, what stays, and what it is called;
//! * [`exchange`]: exports, imports and forks.
//!
//! Whoever has a [`History`] holds the machine's lock: the machine's process while it runs, `sentctl`
//! otherwise.

mod comparison;
mod exchange;
mod retention;

use crate::api::{SnapshotInfo, Verified};
use crate::description::{Description, note};
use crate::error::ControlError;
use crate::home::{Home, MachineFolder, append_to};
use crate::lock::Lock;
use crate::proofs::{Proofs, listing};
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::record::{Record, SignedRecord, SnapshotId};
use sentient_snapshot::store::{Kind, Session as StoreSession, Store, StoreError};
use sentient_snapshot::timeline::{LogEntry, Timeline, TimelineError, Undo};
use sentient_snapshot::verify;
use sentient_vmm::MachineError;
use sentient_vmm::machine::state::MachineState;
use serde_json::json;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// How long a process that was killed may take to close a timeline after it has closed its lock.
const CLOSE_PATIENCE: Duration = Duration::from_secs(1);

/// A machine's snapshots.
pub struct History {
    machine: MachineFolder,
    description: Description,
    store: Store,
    timeline: Timeline,
    key: MachineKey,
    proofs: Proofs,
    _lock: Lock,
}

/// A machine that is being made: its folder is held, and says who it will be. It exists once its [`Description`] is written.
#[derive(Debug)]
pub struct Newborn {
    machine: MachineFolder,
    description: Description,
    lock: Lock,
}

impl Newborn {
    /// One with so much RAM, proved or not.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if there is one already, and others.
    pub fn begin(machine: MachineFolder, ram: u64, zk: bool) -> Result<Self, ControlError> {
        let lock = Self::claim(&machine)?;
        Self::claimed(machine, ram, zk, lock)
    }

    /// Takes the lock of a machine that is to be made, and removes what an interrupted attempt has left.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn claim(machine: &MachineFolder) -> Result<Lock, ControlError> {
        if machine.exists() {
            return Err(ControlError::machine_exists(machine.name()));
        }
        let lock = Lock::take_new(machine)?;
        if machine.exists() {
            // Somebody else was faster.
            return Err(ControlError::machine_exists(machine.name()));
        }
        let _ = std::fs::remove_file(machine.timeline());
        let _ = std::fs::remove_dir_all(machine.containers());
        Ok(lock)
    }

    /// One whose lock is [claimed](Self::claim). From here on its folder says who it will be.
    ///
    /// # Errors
    /// The error of writing.
    pub fn claimed(machine: MachineFolder, ram: u64, zk: bool, lock: Lock) -> Result<Self, ControlError> {
        let description = Description::of_new(&machine, ram, zk)?;
        description.write_draft(&machine)?;
        Ok(Self { machine, description, lock })
    }

    /// With snapshots, of which there is none yet.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn with_history(self, home: &Home) -> Result<History, ControlError> {
        let Self { machine, description, lock } = self;
        let key = MachineKey::load_or_create(machine.path())?;
        let history = History::with(home, machine, description, key, lock)?;
        history.proofs.begin()?;
        Ok(history)
    }
}

impl History {
    /// Opens those of a machine that exists.
    ///
    /// # Errors
    /// [`ControlError`]; [`Lock`](ControlError::Lock) if a process has the machine.
    pub fn open(home: &Home, machine: MachineFolder) -> Result<Self, ControlError> {
        Self::open_within(home, machine, Duration::ZERO)
    }

    /// The same, waiting for so long for a process that is about to end.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_within(
        home: &Home,
        machine: MachineFolder,
        patience: Duration,
    ) -> Result<Self, ControlError> {
        let lock = Lock::take_within(&machine, patience)?;
        Self::locked(home, machine, lock)
    }

    /// The same, of a machine whose lock this process has already.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn locked(home: &Home, machine: MachineFolder, lock: Lock) -> Result<Self, ControlError> {
        let description = Description::read(&machine)?;
        let key = MachineKey::load(&machine.key())?;
        Self::with(home, machine, description, key, lock)
    }

    fn with(
        home: &Home,
        machine: MachineFolder,
        description: Description,
        key: MachineKey,
        lock: Lock,
    ) -> Result<Self, ControlError> {
        let timeline = open_timeline(&machine)?;
        let store = Store::open_unseen(&home.store(), timeline.settings()?.quota)?;
        let proofs = Proofs::new(home, &machine, description.zk);
        Ok(Self { machine, description, store, timeline, key, proofs, _lock: lock })
    }

    /// The machine's folder.
    #[must_use]
    pub fn machine(&self) -> &MachineFolder {
        &self.machine
    }

    /// What the machine is.
    #[must_use]
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The page store.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The timeline.
    #[must_use]
    pub fn timeline(&self) -> &Timeline {
        &self.timeline
    }

    /// The machine's key.
    #[must_use]
    pub fn key(&self) -> &MachineKey {
        &self.key
    }

    /// What is recorded and proved of it.
    #[must_use]
    pub fn proofs(&self) -> &Proofs {
        &self.proofs
    }

    /// Snapshots that were stored but never got into the timeline, because the process was killed between
    /// the two: they go. Called at the start, when nothing else is being done.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn tidy(&self) -> Result<(), ControlError> {
        let lost = self.timeline.unclaimed(self.store.roots(Some(self.description.id.0))?)?;
        if !lost.is_empty() {
            self.store.remove(&lost)?;
        }
        Ok(())
    }

    /// The snapshot of a name: a tag, an id, the unique beginning of one, `@`, `@~N`.
    ///
    /// # Errors
    /// [`ControlError::Timeline`].
    pub fn named(&self, name: &str) -> Result<SignedRecord, ControlError> {
        Ok(self.timeline.get(self.timeline.resolve(name)?)?)
    }

    /// The current snapshot.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] for a machine that has none.
    pub fn current(&self) -> Result<SignedRecord, ControlError> {
        let none =
            || ControlError::Conflict(format!("the machine `{}` has no snapshot", self.machine.name()));
        Ok(self.timeline.get(self.timeline.head()?.ok_or_else(none)?)?)
    }

    /// What a machine needs to be put into the state of a snapshot, but for the pages themselves. `session`
    /// is one of the store's.
    ///
    /// # Errors
    /// [`ControlError::Store`], and [`ControlError::Machine`] for a state that this build cannot read.
    pub fn load(record: &Record, session: &StoreSession) -> Result<(MemoryMap, MachineState), ControlError> {
        Ok((MemoryMap::load(record, session)?, Self::load_state(record, session)?))
    }

    /// Reads its vCPU and devices.
    ///
    /// # Errors
    /// [`ControlError::Machine`] if this build cannot run it.
    fn load_state(record: &Record, session: &StoreSession) -> Result<MachineState, ControlError> {
        let state = session.object(Kind::State, record.state)?;
        Ok(MachineState::decode(&state).map_err(MachineError::from)?)
    }

    /// All snapshots, oldest first. What is damaged in the store keeps only the sizes from being known that
    /// it says something about.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, ControlError> {
        // In this order: what the timeline has while the session lives, nobody has removed from the store.
        let session = self.store.session()?;
        let entries = self.timeline.log()?;
        let own = Self::own_pages(&entries, &session);
        drop(session);
        let info = |(entry, own): (&LogEntry, Result<u64, Arc<StoreError>>)| {
            let record = entry.snapshot.record();
            SnapshotInfo {
                id: entry.snapshot.id().to_string(),
                parent: entry.parent.map(|id| id.to_string()),
                tags: entry.tags.clone(),
                current: entry.head,
                created_unix_ns: record.created_unix_ns,
                message: record.message.clone(),
                dirty_pages: record.dirty_pages,
                used_bytes: own.as_ref().ok().map(|pages| pages * PAGE),
                referenced_bytes: record.used_pages * PAGE,
                problem: own.err().map(|error| error.to_string()),
                transitions: Vec::new(),
            }
        };
        let mut list: Vec<SnapshotInfo> = entries.iter().zip(own).map(info).collect();
        listing::annotate(self, &mut list);
        Ok(list)
    }

    /// Reads all snapshots, or one, and compares every page with its name.
    ///
    /// # Errors
    /// [`ControlError`] if something keeps it from looking; what it finds is in the result.
    pub fn verify(&self, name: Option<&str>) -> Result<Verified, ControlError> {
        let records = match name {
            Some(name) => vec![self.named(name)?],
            None => self.timeline.log()?.into_iter().map(|entry| entry.snapshot).collect(),
        };
        let mut found = Verified { snapshots: 0, pages: 0, problems: Vec::new() };
        for signed in records {
            let checked = verify::verify(&self.store, signed.record())?;
            // One that was removed meanwhile has lost nothing.
            if !checked.problems.is_empty()
                && matches!(self.timeline.get(signed.id()), Err(TimelineError::Unknown { .. }))
            {
                continue;
            }
            found.snapshots += 1;
            found.pages += checked.pages;
            let id = short(signed.id());
            found.problems.extend(checked.problems.iter().map(|problem| format!("snapshot {id}: {problem}")));
        }
        Ok(found)
    }

    /// Puts a stored snapshot into the timeline: it is the current one from here on.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn add(&self, signed: &SignedRecord, tag: Option<&str>) -> Result<(), ControlError> {
        self.timeline.add(signed, tag)?;
        self.note_current(signed.id())?;
        self.trace("snapshot", &json!({ "snapshot": signed.id().to_string(), "tag": tag }))
    }

    /// The machine has been put back.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn moved(&self, to: SnapshotId, undo: Option<Undo>) -> Result<(), ControlError> {
        self.timeline.move_head(to, undo)?;
        self.note_current(to)?;
        self.trace("rollback", &json!({ "snapshot": to.to_string() }))
    }

    fn note_current(&self, id: SnapshotId) -> Result<(), ControlError> {
        note(&self.machine.recycle_lock(), &format!("{id}\n"))
    }

    /// A line in `recycle.trace`.
    ///
    /// # Errors
    /// The error of writing.
    pub fn trace(&self, what: &str, details: &serde_json::Value) -> Result<(), ControlError> {
        let path = self.machine.recycle_trace();
        let line = json!({ "unix_ns": unix_ns(), "what": what, "details": details });
        let mut file = append_to(&path).map_err(ControlError::io(&path))?;
        writeln!(file, "{line}").map_err(ControlError::io(&path))
    }
}

/// Opens the timeline of a machine whose lock this process has. One that had it a moment ago may have been killed: its
/// files are closed one after the other, a virtual machine among them, and its timeline may come after its lock.
fn open_timeline(machine: &MachineFolder) -> Result<Timeline, ControlError> {
    let deadline = Instant::now() + CLOSE_PATIENCE;
    loop {
        match Timeline::open(&machine.timeline()) {
            Err(error) if error.is_open_elsewhere() && Instant::now() < deadline => {
                std::thread::sleep(Duration::from_millis(1));
            }
            opened => return Ok(opened?),
        }
    }
}

/// Nanoseconds since 1970-01-01 UTC.
#[must_use]
pub fn unix_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The beginning of an id, as people see it.
#[must_use]
pub fn short(id: SnapshotId) -> String {
    let mut text = id.to_string();
    text.truncate(12);
    text
}
