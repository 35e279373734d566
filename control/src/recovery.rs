//! Recovery: a guest that has failed goes on from a snapshot, by itself.
//!
//! What would have ended the machine (a panic of the guest's kernel, a triple fault, an instruction that KVM cannot go on with,
//! a device misused) is told to a thread of the machine's process, while the guest stands still. It puts the machine back to its
//! last good snapshot, in place, and the guest goes on from there. Good is a snapshot from which the machine has gone on for a
//! while. One fault soon after another means that the fault is in there already: each of them goes one snapshot further back.
//! After too many of them the machine ends, with the last one's reason. How long and how many is its [`Policy`].
//!
//! What was done is in `.panic/trace.recover`, a line for each fault, and the last good snapshot in `.panic/fallback.zk`.

mod policy;
pub(crate) mod routes;

use crate::api::{MachineHealth, Recovered};
use crate::error::ControlError;
use crate::history::{short, unix_ns};
use crate::home::{MachineFolder, append_to, make_folder};
use crate::session::{How, Session};
pub use policy::{Policy, Trigger};
use sentient_snapshot::record::{SignedRecord, SnapshotId};
use sentient_vmm::Ended;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

/// Most snapshots that are looked through.
const LOOK_BACK: u64 = 64;

/// What the thread is told.
enum News {
    /// The guest has failed.
    Fault(Ended),
    /// The machine stands at another snapshot.
    Moved,
}

/// What is known of a machine's health.
pub struct Recovery {
    state: Mutex<State>,
    news: Sender<News>,
    /// Until the thread takes it.
    told: Mutex<Option<Receiver<News>>>,
}

#[derive(Default)]
struct State {
    policy: Policy,
    /// The snapshot that the machine stands at, and since when.
    at: Option<(SnapshotId, Instant)>,
    /// The last one that was found good.
    good: Option<SnapshotId>,
    /// Since when the guest runs without a fault.
    running: Option<Instant>,
    /// When there were faults.
    faults: VecDeque<Instant>,
    /// How many of them have come soon after the one before.
    in_a_row: usize,
    recovered: u64,
}

/// `.panic/fallback.zk`.
#[derive(Debug, Serialize, Deserialize)]
struct Fallback {
    /// The last good snapshot.
    snapshot: String,
    /// The hash of its vCPU's and devices' state.
    state: String,
}

/// What is to be done about a fault.
enum Plan {
    /// Put the machine back, to so many snapshots before the last good one.
    Back(usize),
    /// Nothing more.
    GiveUp,
}

impl Recovery {
    /// Of a machine that has just been started.
    #[must_use]
    pub fn new() -> Self {
        let (news, told) = channel();
        Self { state: Mutex::default(), news, told: Mutex::new(Some(told)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The machine stands at another snapshot from here on.
    pub(crate) fn moved(&self, to: SnapshotId) {
        let mut state = self.state();
        state.prove(Instant::now());
        state.at = Some((to, Instant::now()));
        drop(state);
        // Who is gone needs no news.
        let _ = self.news.send(News::Moved);
    }

    /// How the machine fares.
    #[must_use]
    pub fn health(&self) -> MachineHealth {
        let mut state = self.state();
        state.prove(Instant::now());
        MachineHealth {
            good: state.good.map(|id| id.to_string()),
            recoveries: state.recovered,
            failing: state.recovered > 0 && !state.is_well(Instant::now()),
        }
    }
}

impl Default for Recovery {
    fn default() -> Self {
        Self::new()
    }
}

impl State {
    fn is_well(&self, now: Instant) -> bool {
        self.running.is_some_and(|since| now.duration_since(since) >= self.policy.healthy)
    }

    /// Whether the snapshot that the machine stands at has become a good one; gives it if it was none before.
    fn prove(&mut self, now: Instant) -> Option<SnapshotId> {
        let (id, since) = self.at?;
        let is_proven =
            now.duration_since(since) >= self.policy.healthy && self.is_well(now) && self.good != Some(id);
        is_proven.then(|| {
            self.good = Some(id);
            id
        })
    }

    /// When there is something to prove.
    fn due(&self) -> Option<Instant> {
        let (id, since) = self.at?;
        (self.good != Some(id)).then(|| since.max(self.running.unwrap_or(since)) + self.policy.healthy)
    }

    /// The guest has failed.
    fn plan(&mut self, now: Instant) -> Plan {
        let is_well = self.is_well(now);
        self.prove(now);
        self.in_a_row = if is_well || self.faults.is_empty() { 0 } else { self.in_a_row + 1 };
        while self.faults.front().is_some_and(|fault| now.duration_since(*fault) > self.policy.within) {
            self.faults.pop_front();
        }
        self.faults.push_back(now);
        if self.faults.len() > self.policy.budget { Plan::GiveUp } else { Plan::Back(self.in_a_row) }
    }

    /// It goes on.
    fn recovered(&mut self, to: SnapshotId) {
        let now = Instant::now();
        self.running = Some(now);
        self.at = Some((to, now));
        self.recovered += 1;
    }
}

impl Session {
    /// Sees to faults from here on.
    ///
    /// # Errors
    /// That there can be no thread for it.
    pub fn watch_faults(self: &Arc<Self>) -> Result<(), ControlError> {
        let told = self.recovery.told.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(told) = told else { return Ok(()) };
        let good = read_fallback(self.history.machine()).and_then(|fallback| {
            let known = self.history.named(&fallback.snapshot).ok()?;
            Some(known.id())
        });
        let head = self.history.current()?.id();
        {
            let mut state = self.recovery.state();
            let now = Instant::now();
            (state.at, state.good, state.running) = (Some((head, now)), good, Some(now));
            state.policy = self.policy();
        }
        let news = self.recovery.news.clone();
        self.door.tell_faults(move |fault| drop(news.send(News::Fault(fault))));
        let session = Arc::downgrade(self);
        let watch = move || watch(&told, &session);
        let thread = std::thread::Builder::new().name("recovery".into()).spawn(watch);
        thread.map(drop).map_err(ControlError::io("starting the recovery thread"))
    }

    /// How the machine fares.
    #[must_use]
    pub fn health(&self) -> MachineHealth {
        self.recovery.health()
    }

    /// The guest stands still after a fault: puts the machine back, or ends it.
    fn recover(&self, fault: Ended) {
        let started = Instant::now();
        tracing::error!(fault = fault.kind(), "{fault}");
        // Nobody waits for a guest that cannot answer, and keeps others waiting with it.
        self.containers.set_mute(true);
        let mut live = self.live();
        let policy = self.policy();
        let plan = {
            let mut state = self.recovery.state();
            state.policy = policy;
            state.plan(started)
        };
        let mut line = Recovered {
            unix_ns: unix_ns(),
            fault: fault.kind().to_owned(),
            what: fault.to_string(),
            before: self.history.timeline().head().ok().flatten().map(|id| id.to_string()),
            action: "stop".to_owned(),
            to: None,
            pause_us: 0,
            error: None,
        };
        if let Plan::Back(steps) = plan {
            match self.candidates(steps) {
                Ok(candidates) => {
                    for target in candidates {
                        match self.go_to(&mut live, &target, How::Rescue) {
                            Ok(_) => {
                                self.recovery.state().recovered(target.id());
                                "rollback".clone_into(&mut line.action);
                                line.to = Some(target.id().to_string());
                                break;
                            }
                            Err(error) => {
                                tracing::error!(%error, "it cannot go on from {}", short(target.id()));
                                line.error = Some(error.to_string());
                            }
                        }
                    }
                }
                Err(error) => line.error = Some(error.to_string()),
            }
        } else {
            line.error = Some(format!("more than {} faults within {:?}", policy.budget, policy.within));
        }
        line.pause_us = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        if line.to.is_none() {
            self.stop.stop(fault);
        } else {
            self.containers.set_mute(false);
        }
        drop(live);
        if let Err(error) = append(self.history.machine(), &line) {
            tracing::error!(%error, "what was done about a fault is not written down");
        }
    }

    /// What is to be done about faults, as far as it can be read.
    fn policy(&self) -> Policy {
        Policy::of(self.history.machine()).unwrap_or_else(|error| {
            tracing::warn!(%error, "faults are seen to as usual");
            Policy::default()
        })
    }

    /// Snapshots to go back to, in the order in which they are tried.
    fn candidates(&self, steps: usize) -> Result<Vec<SignedRecord>, ControlError> {
        let timeline = self.history.timeline();
        let head = self.history.current()?.id();
        let mut all = vec![head];
        all.extend(timeline.ancestors(head, LOOK_BACK)?);
        let good = self.recovery.state().good;
        let first = all.iter().position(|id| Some(*id) == good).unwrap_or(0);
        let first = (first + steps).min(all.len() - 1);
        all.drain(first..).map(|id| Ok(timeline.get(id)?)).collect()
    }

    /// Writes down a snapshot that was found good.
    fn write_fallback(&self, id: SnapshotId) -> Result<(), ControlError> {
        let record = self.history.timeline().get(id)?;
        let fallback = Fallback {
            snapshot: id.to_string(),
            state: format!("{}", blake3::Hash::from(record.record().state.0)),
        };
        let text = serde_json::to_string(&fallback).map_err(|error| ControlError::Bug(error.to_string()))?;
        let path = self.history.machine().fallback();
        make_folder(&self.history.machine().panics()).map_err(ControlError::io(&path))?;
        crate::description::note(&path, &format!("{text}\n"))
    }
}

/// The thread: waits for faults, and for snapshots to become good.
fn watch(news: &Receiver<News>, session: &Weak<Session>) {
    loop {
        let due = session.upgrade().and_then(|session| session.recovery.state().due());
        let next = match due {
            None => news.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => news.recv_timeout(due.saturating_duration_since(Instant::now())),
        };
        let Some(session) = session.upgrade() else { return };
        match next {
            Ok(News::Fault(fault)) => session.recover(fault),
            Ok(News::Moved) => {}
            Err(RecvTimeoutError::Timeout) => {
                let good = session.recovery.state().prove(Instant::now());
                if let Some(Err(error)) = good.map(|id| session.write_fallback(id)) {
                    tracing::warn!(%error, "the last good snapshot is not written down");
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

fn read_fallback(machine: &MachineFolder) -> Option<Fallback> {
    serde_json::from_slice(&std::fs::read(machine.fallback()).ok()?).ok()
}

/// Appends what was done; it is durable when this returns.
fn append(machine: &MachineFolder, line: &Recovered) -> io::Result<()> {
    make_folder(&machine.panics())?;
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    let mut file = append_to(&machine.recoveries())?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// What was done about a machine's faults, the oldest first. A line that a crash has cut short is left out.
///
/// # Errors
/// That of reading.
pub fn recoveries(machine: &MachineFolder) -> Result<Vec<Recovered>, ControlError> {
    let path = machine.recoveries();
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(ControlError::io(&path))?,
    };
    let lines = BufReader::new(file).lines().collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(ControlError::io(&path))?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn id(number: u8) -> SnapshotId {
        SnapshotId([number; 32])
    }

    fn at(base: Instant, seconds: u64) -> Instant {
        base + Duration::from_secs(seconds)
    }

    fn running(base: Instant) -> State {
        State { at: Some((id(1), base)), running: Some(base), ..State::default() }
    }

    #[test]
    fn a_snapshot_is_good_when_the_machine_has_gone_on_from_it_for_a_while() {
        let base = Instant::now();
        let mut state = running(base);
        assert_eq!((state.prove(at(base, 1)), state.due()), (None, Some(base + Policy::default().healthy)));
        assert_eq!(
            (state.prove(at(base, 2)), state.prove(at(base, 3)), state.due()),
            (Some(id(1)), None, None)
        );
        // One that was taken just before the fault is none.
        state.at = Some((id(2), at(base, 9)));
        assert!(matches!(state.plan(at(base, 10)), Plan::Back(0)));
        assert_eq!(state.good, Some(id(1)));
    }

    #[test]
    fn faults_in_a_row_go_further_back_and_too_many_end_it() {
        let base = Instant::now();
        let mut state = running(base);
        let mut steps = Vec::new();
        let budget = Policy::default().budget;
        for fault in 0..=budget {
            state.running = Some(at(base, 10));
            steps.push(match state.plan(at(base, 10 + (fault as u64) / 8)) {
                Plan::Back(steps) => Some(steps),
                Plan::GiveUp => None,
            });
        }
        let expected: Vec<_> = (0..budget).map(Some).chain([None]).collect();
        assert_eq!(steps, expected);
        // After a while all is forgotten.
        state.running = Some(at(base, 20));
        assert!(matches!(state.plan(at(base, 100)), Plan::Back(0)));
    }
}
