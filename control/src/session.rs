//! A running machine and its snapshots: what the socket's requests come to.
//!
//! Things that stop the guest or move the timeline happen one at a time. A snapshot is taken in two steps:
//! copying, with the guest stopped; then hashing, storing and syncing, while it runs.

use crate::api::{
    ContainerStats, ContainerStatus, Difference, Fork, Forked, Import, Imported, MachineState as Activity,
    MachineStatus, Origin, Pruned, Rollback, RolledBack, SnapshotInfo, SnapshotTaken, StartContainer,
    TakeSnapshot, Taken, Verified,
};
use crate::cache::SnapshotPages;
use crate::containers::Containers;
use crate::description::Description;
use crate::error::ControlError;
use crate::filling::Filling;
use crate::fork::{Connection, origin};
use crate::history::{History, Newborn, short};
use crate::home::Home;
use crate::live::{Committed, Hashed, Live, PutBack, REST_PATIENCE, Target};
use crate::proofs::worker;
use crate::recovery::Recovery;
use sentient_snapshot::record::SignedRecord;
use sentient_snapshot::timeline::Undo;
use sentient_vmm::Ended;
use sentient_vmm::machine::Door;
use sentient_vmm::machine::resident::ResidentHandle;
use sentient_vmm::machine::{StopHandle, Stopped};
use sentient_vmm::snapshots::MemoryReader;
use std::fs::File;
use std::io::{self, BufReader};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::{Duration, Instant};

/// How long a container may take to end when it is killed.
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// The running machine.
pub struct Session {
    pub(crate) history: Arc<History>,
    pub(crate) door: Arc<Door>,
    pub(crate) stop: StopHandle,
    pub(crate) guest: ResidentHandle,
    pub(crate) memory: MemoryReader,
    pub(crate) containers: Arc<Containers>,
    started: Instant,
    /// What the next snapshot or rollback builds on; held while one is being done.
    live: Mutex<Live>,
    /// Memory that is still on its way.
    filling: Mutex<Option<Filling>>,
    pub(crate) recovery: Recovery,
}

/// How a machine is put back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// Where it was is kept first.
    Keep,
    /// Where it was is lost.
    Discard,
    /// The same, and it cannot go on from where it is.
    Rescue,
}

/// The ways to a running machine.
pub struct Handles {
    /// To its state.
    pub door: Arc<Door>,
    /// To its end.
    pub stop: StopHandle,
    /// To its guest.
    pub guest: ResidentHandle,
    /// To its memory.
    pub memory: MemoryReader,
    /// To its containers.
    pub containers: Arc<Containers>,
    /// When it was started.
    pub started: Instant,
}

impl Session {
    /// Over a machine that has been started.
    #[must_use]
    pub fn new(history: History, handles: Handles, live: Live, filling: Option<Filling>) -> Self {
        let Handles { door, stop, guest, memory, containers, started } = handles;
        Self {
            history: Arc::new(history),
            door,
            stop,
            guest,
            memory,
            containers,
            started,
            live: Mutex::new(live),
            filling: Mutex::new(filling),
            recovery: Recovery::new(),
        }
    }

    /// Whether all of the machine's memory is there; waits for it so long.
    #[must_use]
    pub fn is_whole_within(&self, patience: Duration) -> bool {
        let mut filling = self.filling.lock().unwrap_or_else(PoisonError::into_inner);
        let whole = filling.as_ref().is_none_or(|filling| filling.wait(patience));
        if whole {
            *filling = None;
        }
        whole
    }

    /// Not before its memory is whole: nobody could say what of it is in use.
    pub(crate) fn live(&self) -> MutexGuard<'_, Live> {
        while !self.is_whole_within(KILL_PATIENCE) {}
        // What is going to be done may need all of it.
        if let Err(error) = self.guest.give_all_memory() {
            tracing::warn!(%error, "the guest gets its memory when it first uses it");
        }
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The same, for whoever must not wait for anybody.
    pub(crate) fn live_now(&self) -> Option<MutexGuard<'_, Live>> {
        let mut filling = self.filling.try_lock().ok()?;
        if filling.as_ref().is_some_and(|filling| !filling.wait(Duration::ZERO)) {
            return None;
        }
        *filling = None;
        drop(filling);
        match self.live.try_lock() {
            Ok(live) => Some(live),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What need not be done before the guest runs, but before the first request.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn settle(&self) -> Result<(), ControlError> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner).warm();
        worker::start(&self.history)?;
        self.history.tidy()
    }

    /// The machine's containers.
    #[must_use]
    pub fn containers(&self) -> Vec<ContainerStatus> {
        self.containers.list(&self.guest)
    }

    /// Starts a container. No snapshot is taken while it is on its way into the guest: half of it would not be
    /// in there.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn start_container(&self, wanted: &StartContainer) -> Result<ContainerStatus, ControlError> {
        let _live = self.live();
        self.containers.start(&self.guest, wanted)
    }

    /// Gives a container standard input.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn give_input(&self, name: &str, bytes: &[u8], end: bool) -> Result<Taken, ControlError> {
        // Not with the session's lock: a container that does not read holds up nobody else.
        let given = self.containers.give(&self.guest, name, bytes, end);
        self.recovery.changed();
        given
    }

    /// Kills a container.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn kill_container(&self, name: &str) -> Result<ContainerStatus, ControlError> {
        let _live = self.live();
        self.guest.kill(self.containers.running(name)?);
        self.containers.wait_until_ended(name, KILL_PATIENCE)
    }

    /// Starts a container again as it was started, after killing it if it runs.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn restart_container(&self, name: &str) -> Result<ContainerStatus, ControlError> {
        let live = self.live();
        self.restart_with(&live, name)
    }

    /// The same, for whoever has the lock.
    pub(crate) fn restart_with(&self, _: &Live, name: &str) -> Result<ContainerStatus, ControlError> {
        let start = self.containers.started_by(name)?.start;
        self.end_container(name)?;
        self.containers.start(&self.guest, &start)
    }

    /// Forgets a container, with what it has written; one that runs only if it is to be killed.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn remove_container(&self, name: &str, kill: bool) -> Result<ContainerStatus, ControlError> {
        let _live = self.live();
        if kill {
            self.end_container(name)?;
        }
        self.containers.remove(name)
    }

    /// Keeps a container from running, or lets it run again.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn pause_container(&self, name: &str, paused: bool) -> Result<ContainerStatus, ControlError> {
        let _live = self.live();
        self.containers.pause(&self.guest, name, paused)
    }

    /// What the containers that run take.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if the guest does not say.
    pub fn stats(&self) -> Result<Vec<ContainerStats>, ControlError> {
        let _live = self.live();
        self.containers.stats(&self.guest)
    }

    /// Kills a container if it runs.
    pub(crate) fn end_container(&self, name: &str) -> Result<(), ControlError> {
        if let Ok(index) = self.containers.running(name) {
            self.guest.kill(index);
            self.containers.wait_until_ended(name, KILL_PATIENCE)?;
        }
        Ok(())
    }

    /// A container.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn container(&self, name: &str) -> Result<ContainerStatus, ControlError> {
        self.containers.named(&self.guest, name)
    }

    /// How a container came to be.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] if nobody knows.
    pub fn origin(&self, name: &str) -> Result<Origin, ControlError> {
        self.containers.started_by(name)
    }

    /// Ends the machine without another word.
    pub fn abandon(&self) {
        self.stop.stop(Ended::Terminated);
    }

    /// What the machine is and does.
    ///
    /// # Errors
    /// [`ControlError::Timeline`].
    pub fn status(&self) -> Result<MachineStatus, ControlError> {
        let timeline = self.history.timeline();
        Ok(MachineStatus {
            name: self.history.machine().name().to_owned(),
            id: self.history.description().id.to_string(),
            public_key: self.history.key().public_hex(),
            state: Activity::Running,
            pid: Some(std::process::id()),
            ram_bytes: self.history.description().ram_bytes,
            uptime_ms: Some(u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)),
            current: timeline.head()?.map(|id| id.to_string()),
            snapshots: timeline.ids()?.len() as u64,
            last_end: None,
            containers: self.containers(),
        })
    }

    /// The machine's snapshots, oldest first.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn snapshots(&self) -> Result<Vec<SnapshotInfo>, ControlError> {
        self.history.list()
    }

    /// Takes a snapshot; it is durable when this returns.
    ///
    /// # Errors
    /// [`ControlError`]; the machine goes on, and its snapshots are as before.
    pub fn snapshot(&self, wanted: &TakeSnapshot) -> Result<SnapshotTaken, ControlError> {
        if let Some(tag) = &wanted.tag {
            // Before the work, not after it.
            sentient_snapshot::timeline::check_tag(tag)?;
            if let Ok(id) = self.history.timeline().resolve(tag) {
                return Err(ControlError::Conflict(format!(
                    "the snapshot {} is called `{tag}` already; choose another tag",
                    short(id)
                )));
            }
        }
        let mut live = self.live();
        let started = Instant::now();
        let instant = live.capture(&self.door, &self.containers, REST_PATIENCE)?;
        let pause = instant.capture.pause;
        let done = live.commit(&self.history, instant, &wanted.message, wanted.tag.as_deref());
        let done = self.unless_refused(&mut live, done)?;
        self.recovery.moved(done.id);
        let durable = started.elapsed();
        self.history.proofs().record_soon(&self.history);
        self.history.prune(None)?;
        Ok(snapshot_taken(&done, pause, durable))
    }

    /// Puts the machine back. Where it was is kept first, unless that is not wanted.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn rollback(&self, wanted: &Rollback) -> Result<RolledBack, ControlError> {
        let name = match (&wanted.to, wanted.back) {
            (Some(name), None) => name.clone(),
            (None, back) => format!("@~{}", back.unwrap_or(0)),
            (Some(_), Some(_)) => {
                return Err(ControlError::Request("give `to` or `back`, not both".into()));
            }
        };
        let mut live = self.live();
        let target = self.history.named(&name)?;
        let how = if wanted.discard { How::Discard } else { How::Keep };
        self.go_to(&mut live, &target, how)
    }

    /// Puts the machine back to where it was before the last rollback.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if there is none to undo.
    pub fn undo(&self) -> Result<RolledBack, ControlError> {
        let mut live = self.live();
        let nothing =
            || ControlError::Conflict("there is no rollback to undo, or it was done with --discard".into());
        let undo = self.history.timeline().undo()?.ok_or_else(nothing)?;
        let target = self.history.timeline().get(undo.snapshot)?;
        // What was done since the rollback is kept, so that undoing can be undone.
        self.go_to(&mut live, &target, How::Keep)
    }

    /// A snapshot that the machine's contract refuses may mean that the machine is put back.
    fn unless_refused<T>(&self, live: &mut Live, done: Result<T, ControlError>) -> Result<T, ControlError> {
        if let Err(ControlError::Violation { put_back: true, .. }) = &done {
            let head = self.history.current()?;
            self.go_to(live, &head, How::Discard)?;
        }
        done
    }

    pub(crate) fn go_to(
        &self,
        live: &mut Live,
        target: &SignedRecord,
        how: How,
    ) -> Result<RolledBack, ControlError> {
        let before = self.history.timeline().head()?;
        let (map, state) = History::load(target.record(), &self.history.store().session()?)?;
        // Whatever is not in memory is read before the guest is stopped.
        let differing = live.differing(&map);
        let mut pages = SnapshotPages { map: &map, cache: &mut live.cache, store: self.history.store() };
        pages.load(&differing).map_err(ControlError::io("reading the snapshot"))?;
        let returning = self.containers.returning(target.record())?;
        let target_now = Target { id: target.id(), returning, map, state, differing };
        let keep = (how == How::Keep).then(|| format!("before going back to {}", short(target.id())));
        // Before the guest is stopped, and not while it is.
        self.history.proofs().record(&self.history);
        let (taken, history) = (live.lend(), Arc::clone(&self.history));
        let containers = Arc::clone(&self.containers);
        // What is not kept need not be at rest.
        let patience = if keep.is_some() { REST_PATIENCE } else { Duration::ZERO };
        let roll_back = move |machine: &mut Stopped<'_>| {
            taken.roll_back(machine, target_now, &history, &containers, keep)
        };
        let (after, result) = match how {
            How::Keep | How::Discard => self.door.stopped_at_rest(patience, roll_back),
            How::Rescue => self.door.rescue(|machine| {
                let (after, result) = roll_back(machine);
                (result.is_ok(), (after, result))
            }),
        }?;
        *live = after;
        match result {
            Ok(PutBack { kept, done, pause, keeping }) => {
                let undo = kept.zip(before).map(|(snapshot, head)| Undo { snapshot, head });
                self.recovery.moved(target.id());
                self.recovery.changed();
                self.history.moved(target.id(), undo)?;
                self.history.proofs().went_back(&self.history, target, live.head());
                self.history.proofs().record_soon(&self.history);
                Ok(RolledBack {
                    id: target.id().to_string(),
                    kept: kept.map(|id| id.to_string()),
                    pages: done.pages as u64,
                    pause_us: micros(pause),
                    keep_us: micros(keeping),
                    translations_forgotten: done.translations,
                })
            }
            Err(failure) => {
                if failure.amid {
                    // Half of one state and half of another must not run.
                    self.stop.stop(Ended::UnexpectedExit(format!(
                        "a rollback failed half way: {}",
                        failure.error
                    )));
                    return Err(failure.error);
                }
                if how == How::Rescue {
                    return Err(failure.error);
                }
                self.unless_refused(live, Err(failure.error))
            }
        }
    }

    /// What differs between two snapshots.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn diff(&self, from: &str, to: &str) -> Result<Difference, ControlError> {
        self.history.diff(from, to)
    }

    /// Lets a snapshot go.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn remove_snapshot(&self, name: &str, force: bool) -> Result<Pruned, ControlError> {
        let _live = self.live();
        self.history.remove(name, force)
    }

    /// Lets the oldest snapshots go.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn prune(&self, keep: Option<u32>) -> Result<Pruned, ControlError> {
        let _live = self.live();
        self.history.prune(keep)
    }

    /// Takes a snapshot from an export.
    ///
    /// # Errors
    /// [`ControlError`]; nothing is changed then.
    pub fn import(&self, wanted: &Import) -> Result<Imported, ControlError> {
        let path = Path::new(&wanted.file);
        ControlError::unless_absolute("file", path)?;
        let file = File::open(path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ControlError::NotFound(format!("there is no file {}", wanted.file)),
            _ => ControlError::Request(format!("the file {} cannot be read: {error}", wanted.file)),
        })?;
        // Nothing is removed while it comes in.
        let _live = self.live();
        let id = self.history.import(BufReader::new(file), &wanted.trust, wanted.tag.as_deref())?;
        Ok(Imported { id: id.to_string() })
    }

    /// Checks all snapshots.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn verify(&self, name: Option<&str>) -> Result<Verified, ControlError> {
        self.history.verify(name)
    }

    /// The snapshots, for what needs no guest.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// Ends the machine, after a last snapshot unless `discard`. The guest does not go on behind it: what it
    /// has written by then is what the snapshot says.
    ///
    /// # Errors
    /// [`ControlError`] if the snapshot cannot be taken; the machine then goes on.
    pub fn stop(&self, discard: bool) -> Result<Option<SnapshotTaken>, ControlError> {
        if discard {
            self.stop.stop(Ended::Terminated);
            return Ok(None);
        }
        let mut live = self.live();
        self.history.proofs().record(&self.history);
        let started = Instant::now();
        let (taken, stop) = (live.lend(), self.stop.clone());
        let (history, containers) = (Arc::clone(&self.history), Arc::clone(&self.containers));
        let (after, done) = self.door.stopped_at_rest(REST_PATIENCE, move |machine| {
            taken.last(machine, &history, &containers, &stop)
        })?;
        *live = after;
        let kept = self.unless_refused(&mut live, done)?;
        self.history.proofs().record(&self.history);
        Ok(Some(snapshot_taken(&kept.committed, kept.pause, started.elapsed())))
    }

    /// Makes another machine that goes on from a snapshot of this one.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn fork(&self, wanted: &Fork, home: &Home) -> Result<Forked, ControlError> {
        if home.machine(&wanted.name)?.exists() {
            return Err(ControlError::machine_exists(&wanted.name));
        }
        let (from, pause_us) = match &wanted.from {
            Some(name) => (self.history.named(name)?, 0),
            None => {
                let message = format!("fork to {}", wanted.name);
                let taken = self.snapshot(&TakeSnapshot { message, tag: None })?;
                (self.history.named(&taken.id)?, taken.pause_us)
            }
        };
        let newborn = self.history.begin_fork(home, &wanted.name)?;
        let forked = self.history.fork(home, newborn, &from)?;
        Ok(Forked { pause_us, ..forked })
    }

    /// Makes another machine that goes on from here, and whose process is there already: it runs before all this is
    /// durable, and is told when it is.
    ///
    /// # Errors
    /// [`ControlError`]; there is no such machine then.
    pub fn fork_running(&self, name: &str, home: &Home, clone: &Connection) -> Result<(), ControlError> {
        let folder = home.machine(name)?;
        if folder.exists() {
            return Err(ControlError::machine_exists(name));
        }
        origin::announce(clone, self.history.machine().name(), self.containers.live_names())?;
        let mut live = self.live();
        // The clone waits for it: nobody else does.
        let instant = live.capture(&self.door, &self.containers, Duration::ZERO)?;
        let mut lock = None;
        let tell = |hashed: Hashed<'_>| {
            let told = origin::hand_over(clone, &self.memory, hashed);
            lock = Some(told.and_then(|()| origin::let_run(clone)));
        };
        let done = live.commit_after(&self.history, instant, &format!("fork to {name}"), None, tell);
        let done = self.unless_refused(&mut live, done)?;
        self.recovery.moved(done.id);
        let lock = lock.unwrap_or_else(|| Err(ControlError::Bug("a fork was told nothing".into())))?;
        let Description { ram_bytes, zk, .. } = *self.history.description();
        let newborn = Newborn::claimed(folder, ram_bytes, zk, lock)?;
        // With the snapshot held in place: nobody may remove it in between.
        let from = self.history.timeline().get(done.id)?;
        self.history.fork(home, newborn, &from)?;
        drop(live);
        origin::durable(clone)?;
        self.history.proofs().record_soon(&self.history);
        if let Err(error) = self.history.prune(None) {
            tracing::warn!(%error, "older snapshots stay");
        }
        Ok(())
    }
}

fn snapshot_taken(done: &Committed, pause: Duration, whole: Duration) -> SnapshotTaken {
    SnapshotTaken {
        id: done.id.to_string(),
        dirty_pages: done.dirty_pages,
        pause_us: micros(pause),
        durable_us: micros(whole),
        stored_bytes: done.stored_bytes,
    }
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}
