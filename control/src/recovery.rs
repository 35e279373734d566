//! Recovery: a guest that has failed goes on from a snapshot, by itself.
//!
//! What would have ended the machine (a panic of the guest's kernel, a triple fault, an instruction that KVM cannot go on with,
//! a device misused) is told to a thread of the machine's process, while the guest stands still. What it does about that is the
//! machine's [`Policy`], step by step: at first it puts the [kernel](kernel) back, and the containers go on as they are. If that
//! cannot be done, or a fault comes soon after it, the whole machine goes back to its last good snapshot. Good is a snapshot from
//! which the machine has gone on for a while. Each further fault soon after another means that the fault is in there already, and
//! goes one snapshot further back. After too many of them the machine ends, with the last one's reason.
//!
//! What was done is in `.panic/trace.recover`, a line for each fault, and the last good snapshot in `.panic/fallback.zk`.

mod containers;
mod crash;
mod frozen;
mod kernel;
mod policy;
mod records;
mod rescue;
pub(crate) mod routes;
mod send;

use crate::api::MachineHealth;
use crate::containers::Told;
use crate::error::ControlError;
use crate::session::Session;
use containers::{Stalls, Troubles};
pub use crash::crashes;
use frozen::Looked;
use kernel::Point;
pub use policy::{ContainerPolicy, ContainerStep, Policy, Step, Trigger};
use records::Fallback;
pub use records::{fallen, recover_stopped, recoveries, rise};
use sentient_snapshot::record::SnapshotId;
use sentient_vmm::Ended;
use sentient_vmm::machine::gate::CodeGate;
use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// How soon it is looked again at code that could not be looked at, because somebody was at work on the machine.
const SOON: Duration = Duration::from_millis(20);

/// How long somebody may be at work on a machine whose output is held, until nobody waits for that any more.
const AT_WORK: Duration = Duration::from_secs(1);

/// What the thread is told.
enum News {
    /// The guest has failed.
    Fault(Ended),
    /// The machine stands at another snapshot, or its kernel should be copied anew.
    Changed,
    /// The kernel's code is not what it was, by the look of whoever [holds output](Policy::hold_output).
    Code,
    /// Something has become of a container by itself.
    Container(String, Told),
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
    /// The one that is written down as that.
    noted: Option<SnapshotId>,
    /// Since when the guest runs without a fault.
    running: Option<Instant>,
    /// When there were faults.
    faults: VecDeque<Instant>,
    /// How many of them have come soon after the one before.
    in_a_row: usize,
    recovered: u64,
    /// The kernel as it was last copied.
    point: Point,
    /// When something was the matter with containers.
    troubles: Troubles,
    stalls: Stalls,
    /// When it was last looked whether what nobody writes is what it was.
    checked: Option<Instant>,
    /// What output waits for, if it does.
    gate: Option<Arc<CodeGate>>,
    /// It is to wait, and cannot.
    cannot_hold: bool,
}

/// What is to be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Put the kernel back, and keep the containers.
    Kernel,
    /// Put the machine back, to so many snapshots before the last good one.
    Back(usize),
    /// Nothing more: there were too many.
    GiveUp,
    /// Nothing more, and nothing as usual before somebody has looked.
    Zero,
    /// Nothing more: that is its policy.
    Stop,
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
        state.vouch_for_nobody();
        drop(state);
        // Who is gone needs no news.
        let _ = self.news.send(News::Changed);
    }

    /// Something has become of the machine's containers, or the kernel has something for them that it had not.
    pub(crate) fn changed(&self) {
        let mut state = self.state();
        state.point.changed(Instant::now());
        state.vouch_for_nobody();
        drop(state);
        // Who is gone needs no news.
        let _ = self.news.send(News::Changed);
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
            copied: state.point.is_current(),
            holds_output: state.gate.is_some(),
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

    /// Containers are at other points of their lives than when it was last looked at code.
    fn vouch_for_nobody(&self) {
        if let Some(gate) = &self.gate {
            gate.forget();
        }
    }

    /// When there is something to do.
    fn due(&self) -> Option<Instant> {
        let proof = self.proof_due();
        [proof, self.point.due(), self.check_due(), self.stalls.due()].into_iter().flatten().min()
    }

    /// When it is to be looked whether what nobody writes is what it was.
    fn check_due(&self) -> Option<Instant> {
        let is_as_wanted = self.cannot_hold || self.policy.hold_output == self.gate.is_some();
        let wait = if is_as_wanted { self.policy.check } else { self.policy.check.min(SOON) };
        self.checked.map(|checked| checked + wait)
    }

    /// It could not be looked at code, and is to be soon.
    fn check_soon(&mut self, now: Instant) {
        let passed = self.policy.check.saturating_sub(SOON);
        self.checked = now.checked_sub(passed).or(Some(now));
    }

    /// When there is something to prove.
    fn proof_due(&self) -> Option<Instant> {
        let (id, since) = self.at?;
        // Whoever asks how the machine fares may have been the first to find one good: it is to be written down now.
        if self.good != self.noted {
            return Some(since);
        }
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
        if self.faults.len() > self.policy.budget {
            return Plan::GiveUp;
        }
        match self.policy.step(self.in_a_row) {
            Step::HealBoot => Plan::Kernel,
            Step::Rollback => {
                Plan::Back(self.in_a_row - self.policy.first(Step::Rollback).min(self.in_a_row))
            }
            Step::Zero => Plan::Zero,
            Step::Stop => Plan::Stop,
        }
    }

    /// It goes on: from another snapshot, or from where it was.
    fn recovered(&mut self, to: Option<SnapshotId>) {
        let now = Instant::now();
        self.running = Some(now);
        self.vouch_for_nobody();
        if let Some(to) = to {
            self.at = Some((to, now));
        }
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
        let good = Fallback::good(&self.history);
        let head = self.history.current()?.id();
        {
            let mut state = self.recovery.state();
            let now = Instant::now();
            (state.at, state.good, state.running) = (Some((head, now)), good, Some(now));
            state.noted = good;
            state.policy = self.policy();
            state.point.changed(now);
            state.checked = Some(now);
        }
        let news = self.recovery.news.clone();
        self.door.tell_faults(move |fault| drop(news.send(News::Fault(fault))));
        let (session, news) = (Arc::downgrade(self), self.recovery.news.clone());
        self.containers.tell(move |name, told| {
            if let Some(session) = session.upgrade() {
                session.recovery.changed();
            }
            let _ = news.send(News::Container(name.to_owned(), told));
        });
        self.plan_stall_checks();
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

    /// Looks whether what nobody writes is what it was, and at what is wanted from here on.
    fn check(&self) -> Looked {
        let hold_output = self.recovery.state().policy.hold_output;
        let looked = self.check_frozen(hold_output);
        if looked == Looked::Busy {
            self.recovery.state().check_soon(Instant::now());
            return looked;
        }
        self.plan_stall_checks();
        let policy = self.policy();
        let mut state = self.recovery.state();
        (state.policy, state.checked) = (policy, Some(Instant::now()));
        looked
    }

    /// What output waits for, if the code is not what that is to let through.
    fn differing_code(&self) -> Option<Arc<CodeGate>> {
        let gate = self.recovery.state().gate.clone();
        gate.filter(|gate| !gate.is_right())
    }

    /// What the guest says is held, because its code is not what it was.
    fn code_differs(&self) {
        if self.differing_code().is_none() {
            // It was put back meanwhile.
            return;
        }
        // Whoever waits for an answer of its may be at work on the machine, and keep it from being looked at.
        self.containers.set_mute(true);
        let until = Instant::now() + AT_WORK;
        let looked = loop {
            match self.check() {
                Looked::Busy if Instant::now() < until => std::thread::sleep(Duration::from_millis(1)),
                looked => break looked,
            }
        };
        // One that stands still goes on when it was put back, and answers then.
        if looked != Looked::Wrong {
            self.containers.set_mute(false);
        }
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
            Ok(News::Changed) => {}
            Ok(News::Code) => session.code_differs(),
            Ok(News::Container(name, told)) => session.container_told(&name, told),
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                let good = {
                    let mut state = session.recovery.state();
                    state.prove(now);
                    let good = state.good.filter(|good| state.noted != Some(*good));
                    state.noted = state.good;
                    good
                };
                if let Some(Err(error)) = good.map(|id| Fallback::write(&session.history, id)) {
                    tracing::warn!(%error, "the last good snapshot is not written down");
                }
                let is_due = |due: Option<Instant>| due.is_some_and(|due| due <= now);
                let (copy, check, stalls) = {
                    let state = session.recovery.state();
                    (is_due(state.point.due()), is_due(state.check_due()), is_due(state.stalls.due()))
                };
                if stalls {
                    session.check_stalls();
                }
                if copy {
                    session.copy_kernel();
                }
                if check {
                    let _ = session.check();
                }
            }
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            (Some(id(1)), None, Some(base)),
            "it is to be written down"
        );
        state.noted = state.good;
        assert_eq!(state.due(), None);
        // One that was taken just before the fault is none.
        state.at = Some((id(2), at(base, 9)));
        assert_eq!(state.plan(at(base, 10)), Plan::Kernel);
        assert_eq!(state.good, Some(id(1)));
    }

    #[test]
    fn code_that_could_not_be_looked_at_is_looked_at_soon() {
        let now = Instant::now() + Duration::from_secs(60);
        let mut state = State { checked: Some(now), ..State::default() };
        assert_eq!(state.check_due(), Some(now + state.policy.check));
        state.check_soon(now);
        assert_eq!(state.check_due(), Some(now + SOON));
    }

    #[test]
    fn faults_in_a_row_go_further_back_and_too_many_end_it() {
        let base = Instant::now();
        let mut state = running(base);
        let mut plans = Vec::new();
        let budget = Policy::default().budget;
        for fault in 0..=budget {
            state.running = Some(at(base, 10));
            plans.push(state.plan(at(base, 10 + (fault as u64) / 8)));
        }
        let back = (0..budget - 1).map(Plan::Back);
        let expected: Vec<_> = [Plan::Kernel].into_iter().chain(back).chain([Plan::GiveUp]).collect();
        assert_eq!(plans, expected);
        // After a while all is forgotten.
        state.running = Some(at(base, 20));
        assert_eq!(state.plan(at(base, 100)), Plan::Kernel);
    }

    #[test]
    fn what_is_done_about_a_fault_and_the_next_is_what_the_policy_says() {
        let base = Instant::now();
        for (steps, expected) in [
            (vec![Step::Stop], vec![Plan::Stop, Plan::Stop]),
            (vec![Step::Rollback], vec![Plan::Back(0), Plan::Back(1), Plan::Back(2)]),
            (vec![Step::HealBoot, Step::HealBoot, Step::Stop], vec![Plan::Kernel, Plan::Kernel, Plan::Stop]),
            (vec![Step::HealBoot, Step::Rollback, Step::Stop], vec![Plan::Kernel, Plan::Back(0), Plan::Stop]),
        ] {
            let mut state = running(base);
            state.policy.then = steps;
            let plans: Vec<_> = expected.iter().map(|_| state.plan(at(base, 1))).collect();
            assert_eq!(plans, expected);
        }
    }
}
