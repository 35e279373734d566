//! A machine's snapshots, whether it runs or not.
//!
//! Whoever has a [`History`] holds the machine's lock: the machine's process while it runs, `sentctl`
//! otherwise.

use crate::api::{Difference, PageRange, Pruned, RegionDifference, SnapshotInfo, Verified};
use crate::description::{Description, note};
use crate::error::ControlError;
use crate::home::{Home, MachineFolder, append_to, make_folder};
use crate::lock::Lock;
use sentient_snapshot::hash::Hash;
use sentient_snapshot::keys::MachineKey;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::record::{Record, SignedRecord, SnapshotId, Trust};
use sentient_snapshot::store::{Kind, Objects, Root, Session as StoreSession, Store, StoreError};
use sentient_snapshot::stream;
use sentient_snapshot::timeline::{LogEntry, Timeline, TimelineError, Undo};
use sentient_snapshot::verify;
use sentient_vmm::MachineError;
use sentient_vmm::machine::state::MachineState;
use serde_json::json;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// A machine's snapshots.
pub struct History {
    machine: MachineFolder,
    description: Description,
    store: Store,
    timeline: Timeline,
    key: MachineKey,
    _lock: Lock,
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
        let description = Description::read(&machine)?;
        let key = MachineKey::load(&machine.key())?;
        Self::with(home, machine, description, key, lock)
    }

    /// Begins those of a new machine with so much RAM; the machine exists once its [`Description`] is written.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if there is one already, and others.
    pub fn begin(home: &Home, machine: MachineFolder, ram: u64) -> Result<Self, ControlError> {
        if machine.exists() {
            return Err(ControlError::machine_exists(machine.name()));
        }
        make_folder(machine.path()).map_err(ControlError::io(machine.path()))?;
        let lock = Lock::take(&machine)?;
        // What an interrupted attempt has left is nobody's.
        let _ = std::fs::remove_file(machine.timeline());
        let description = Description::new(ram)?;
        let key = MachineKey::load_or_create(machine.path())?;
        Self::with(home, machine, description, key, lock)
    }

    fn with(
        home: &Home,
        machine: MachineFolder,
        description: Description,
        key: MachineKey,
        lock: Lock,
    ) -> Result<Self, ControlError> {
        let timeline = Timeline::open(&machine.timeline())?;
        let store = Store::open(&home.store(), timeline.settings()?.quota)?;
        Ok(Self { machine, description, store, timeline, key, _lock: lock })
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
        let map = MemoryMap::load(record, session)?;
        let state = session.object(Kind::State, record.state)?;
        Ok((map, MachineState::decode(&state).map_err(MachineError::from)?))
    }

    /// All snapshots, oldest first.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn list(&self) -> Result<Vec<SnapshotInfo>, ControlError> {
        // In this order: what the timeline has while the session lives, nobody has removed from the store.
        let session = self.store.session()?;
        let entries = self.timeline.log()?;
        let used = Self::used(&entries, session)?;
        let info = |entry: &LogEntry| {
            let (id, record) = (entry.snapshot.id(), entry.snapshot.record());
            SnapshotInfo {
                id: id.to_string(),
                parent: entry.parent.map(|id| id.to_string()),
                tags: entry.tags.clone(),
                current: entry.head,
                created_unix_ns: record.created_unix_ns,
                message: record.message.clone(),
                dirty_pages: record.dirty_pages,
                used_bytes: used.get(&id).copied().unwrap_or(0) * PAGE,
                referenced_bytes: record.used_pages * PAGE,
            }
        };
        Ok(entries.iter().map(info).collect())
    }

    /// Pages that each snapshot shares with neither its parent nor any child: page for page where the
    /// trees differ, so that it costs what changed.
    fn used(entries: &[LogEntry], session: StoreSession) -> Result<HashMap<SnapshotId, u64>, ControlError> {
        let mut maps = HashMap::new();
        for entry in entries {
            maps.insert(entry.snapshot.id(), MemoryMap::load(entry.snapshot.record(), &session)?);
        }
        drop(session);
        let mut used = HashMap::new();
        for entry in entries {
            let id = entry.snapshot.id();
            let Some(own) = maps.get(&id) else { continue };
            let children =
                entries.iter().filter(|child| child.parent == Some(id)).map(|child| child.snapshot.id());
            let neighbours: Vec<_> =
                entry.parent.into_iter().chain(children).filter_map(|id| maps.get(&id)).collect();
            let mut differing: Option<HashMap<u64, Hash>> = None;
            for neighbour in &neighbours {
                let here: HashMap<u64, Hash> = own
                    .diff(neighbour)
                    .into_iter()
                    .filter(|(_, hash, _)| !hash.is_zero())
                    .map(|(gpn, hash, _)| (gpn, hash))
                    .collect();
                differing = Some(match differing {
                    None => here,
                    Some(mut before) => {
                        before.retain(|gpn, _| here.contains_key(gpn));
                        before
                    }
                });
            }
            used.insert(id, differing.map_or_else(|| own.used_pages(), |pages| pages.len() as u64));
        }
        Ok(used)
    }

    /// What differs between two snapshots.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn diff(&self, from: &str, to: &str) -> Result<Difference, ControlError> {
        let session = self.store.session()?;
        let (from, to) = (self.named(from)?, self.named(to)?);
        let (one, two) = (MemoryMap::load(from.record(), &session)?, MemoryMap::load(to.record(), &session)?);
        drop(session);
        let pages: Vec<u64> = one.diff(&two).into_iter().map(|(gpn, ..)| gpn).collect();
        let mut regions = Vec::new();
        for region in &to.record().regions {
            let first = region.base / PAGE;
            let here = first..first + region.pages;
            let start = pages.partition_point(|gpn| *gpn < here.start);
            let end = pages.partition_point(|gpn| *gpn < here.end);
            let Some(differing) = pages.get(start..end).filter(|pages| !pages.is_empty()) else { continue };
            let containers = &to.record().containers;
            let container = containers.iter().find(|container| container.base == region.base);
            regions.push(RegionDifference {
                name: region.name.clone(),
                container: container.map(|container| container.name.clone()),
                base: region.base,
                len: region.pages * PAGE,
                pages: differing.len() as u64,
                ranges: runs(differing),
            });
        }
        Ok(Difference {
            from: from.id().to_string(),
            to: to.id().to_string(),
            pages: pages.len() as u64,
            regions,
        })
    }

    /// Lets a snapshot go, and gives back what only it held.
    ///
    /// # Errors
    /// [`ControlError::Timeline`] if it is the current one, or (unless `force`) tagged or needed to undo.
    pub fn remove(&self, name: &str, force: bool) -> Result<Pruned, ControlError> {
        let id = self.timeline.resolve(name)?;
        self.remove_all(vec![id], force)
    }

    /// Lets the oldest go, but for `keep`; never the current one, a tagged one, or one needed to undo.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn prune(&self, keep: Option<u32>) -> Result<Pruned, ControlError> {
        let keep = keep.map_or(self.timeline.settings()?.keep, u64::from);
        self.remove_all(self.timeline.prune_candidates(keep)?, false)
    }

    fn remove_all(&self, ids: Vec<SnapshotId>, force: bool) -> Result<Pruned, ControlError> {
        if ids.is_empty() {
            return Ok(Pruned { removed: Vec::new(), freed_bytes: 0 });
        }
        let before = self.store.usage()?.bytes;
        let mut roots = Vec::new();
        for id in &ids {
            self.timeline.remove(*id, force)?;
            roots.push(Root { machine: self.description.id.0, snapshot: id.0 });
        }
        self.store.remove(&roots)?;
        let removed: Vec<String> = ids.iter().map(ToString::to_string).collect();
        self.trace("remove", &json!({ "snapshots": removed }))?;
        Ok(Pruned { removed, freed_bytes: before.saturating_sub(self.store.usage()?.bytes) })
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

    /// Writes a snapshot as a file that needs nothing else.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn export(&self, name: &str, out: impl Write) -> Result<(), ControlError> {
        self.export_signed(&self.named(name)?, out)
    }

    /// The same, of a record.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn export_signed(&self, signed: &SignedRecord, out: impl Write) -> Result<(), ControlError> {
        stream::export(&self.store, signed, out)?;
        Ok(())
    }

    /// Reads such a file. Signatures of `trusted` keys (64 hexadecimal digits each) count besides the
    /// machine's own.
    ///
    /// # Errors
    /// [`ControlError::Import`] by the first thing that is not as it should be; nothing is changed then.
    pub fn import(
        &self,
        stream: impl Read,
        trusted: &[String],
        tag: Option<&str>,
    ) -> Result<SnapshotId, ControlError> {
        let trust = Trust::only(self.key.public()).and_hex(trusted.iter().map(String::as_str))?;
        let holder = self.description.id.0;
        let (signed, _) = stream::import(&self.store, holder, &trust, stream)?;
        let ram = signed.record().ram;
        if ram != self.description.ram_bytes {
            self.store.remove(&[Root { machine: holder, snapshot: signed.id().0 }])?;
            return Err(ControlError::Conflict(format!(
                "the snapshot is of a machine with {ram} bytes of RAM, and `{}` has {}; import it into a machine of its size",
                self.machine.name(),
                self.description.ram_bytes
            )));
        }
        self.timeline.adopt(&signed, tag)?;
        self.trace("import", &json!({ "snapshot": signed.id().to_string() }))?;
        Ok(signed.id())
    }

    /// Makes another machine that starts from a snapshot of this one: its id and its first snapshot. The
    /// pages are not copied.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn fork(
        &self,
        home: &Home,
        name: &str,
        from: &SignedRecord,
    ) -> Result<(String, SnapshotId), ControlError> {
        let other = Self::begin(home, home.machine(name)?, self.description.ram_bytes)?;
        let id = other.description.id;
        let record = Record {
            machine: id.0,
            parent: None,
            created_unix_ns: unix_ns(),
            message: format!("fork of {} at {}", self.machine.name(), short(from.id())),
            ..from.record().clone()
        };
        let signed = SignedRecord::sign(record, &other.key)?;
        let stored = sentient_snapshot::capture::stored(signed.record(), signed.id());
        self.store.add(&stored, &mut NothingNew)?;
        other.add(&signed, Some("genesis"))?;
        other.description.write(&other.machine)?;
        self.trace("fork", &json!({ "machine": name, "snapshot": from.id().to_string() }))?;
        Ok((id.to_string(), signed.id()))
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

/// All of a fork's objects are in the store already.
struct NothingNew;

impl Objects for NothingNew {
    fn object(&mut self, _: Kind, _: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(None)
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

/// Runs of page numbers, which ascend.
fn runs(pages: &[u64]) -> Vec<PageRange> {
    let mut runs: Vec<PageRange> = Vec::new();
    for gpn in pages {
        match runs.last_mut() {
            Some(last) if last.base + last.len == gpn * PAGE => last.len += PAGE,
            _ => runs.push(PageRange { base: gpn * PAGE, len: PAGE }),
        }
    }
    runs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_pages_are_one_run() {
        let found: Vec<_> =
            runs(&[1, 2, 3, 7, 9, 10]).iter().map(|run| (run.base / PAGE, run.len / PAGE)).collect();
        assert_eq!(found, [(1, 3), (7, 1), (9, 2)]);
        assert!(runs(&[]).is_empty());
    }
}
