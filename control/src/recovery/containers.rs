//! What is done about containers that trap or stall.
//!
//! One that traps is held by the guest as it is (`sentient_abi::boot_module::container_flags::HOLD`) until it is put back or ended
//! here. One that stalls has had the processor for a long time, and has called nothing of the runtime's: it computes for ever, or for
//! longer than the machine's owner lets it. What is done may wait for the guest, and is done on a thread of its own: the guest may need
//! the one that sees to faults.

use super::policy::{ContainerPolicy, ContainerStep};
use super::records;
use crate::api::Recovered;
use crate::containers::Told;
use crate::history::unix_ns;
use crate::session::Session;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::Status;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often it is looked for stalls, at most.
const OFTEN: Duration = Duration::from_millis(50);

/// When something was the matter with containers, by name.
#[derive(Default)]
pub(super) struct Troubles(HashMap<String, VecDeque<Instant>>);

/// What is to be done about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Put it back, to so many snapshots before the last one that has it; if that cannot be, the other step.
    Heal(usize, ContainerStep),
    /// Start it again.
    Restart,
    /// End it.
    Stop,
    /// The same: there was too much the matter with it.
    GiveUp,
}

impl Troubles {
    /// Something is the matter with one.
    fn plan(&mut self, name: &str, policy: &ContainerPolicy, now: Instant) -> Plan {
        // Of those that are over nobody asks any more.
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) <= policy.within));
        let times = self.0.entry(name.to_owned()).or_default();
        while times.front().is_some_and(|time| now.duration_since(*time) > policy.within) {
            times.pop_front();
        }
        let before = times.len();
        if before >= policy.budget {
            return Plan::GiveUp;
        }
        times.push_back(now);
        let step =
            |at: usize| policy.then.get(at).or(policy.then.last()).copied().unwrap_or(ContainerStep::Stop);
        match step(before) {
            ContainerStep::Heal => {
                let back = (0..before).filter(|at| step(*at) == ContainerStep::Heal).count();
                let other = policy.then.iter().skip(before).find(|step| **step != ContainerStep::Heal);
                Plan::Heal(back, other.copied().unwrap_or(ContainerStep::Stop))
            }
            ContainerStep::Restart => Plan::Restart,
            ContainerStep::Stop => Plan::Stop,
        }
    }
}

/// What is the matter with a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trouble {
    /// It has trapped, and the guest holds it.
    Held,
    /// It has trapped, and is over.
    Over,
    /// It has called nothing since it had called this often.
    Stalled(u64),
}

impl Trouble {
    fn word(self) -> &'static str {
        match self {
            Self::Held | Self::Over => "container-trap",
            Self::Stalled(_) => "container-stall",
        }
    }

    fn says(self, name: &str) -> String {
        match self {
            Self::Held | Self::Over => format!("the container `{name}` has trapped"),
            Self::Stalled(_) => format!("the container `{name}` computes, and calls nothing"),
        }
    }
}

/// What containers did when it was last looked for stalls.
#[derive(Default)]
pub(super) struct Stalls {
    due: Option<Instant>,
    /// Calls, and CPU time at the first time with so many.
    known: HashMap<String, (u64, u64)>,
}

impl Stalls {
    /// When it is to be looked again; `None` if nobody wants that.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether one stalls by what the guest says of it now; that is then not known any more.
    fn is_stalled(&mut self, name: &str, status: Status, stall: Duration) -> bool {
        let (calls, used) = *self.known.get(name).unwrap_or(&(status.calls, status.used_ns));
        // One that was put back has used less than before.
        if calls != status.calls || status.used_ns < used {
            self.known.insert(name.to_owned(), (status.calls, status.used_ns));
            return false;
        }
        if u128::from(status.used_ns - used) >= stall.as_nanos() {
            self.known.remove(name);
            return true;
        }
        self.known.insert(name.to_owned(), (calls, used));
        false
    }
}

impl Session {
    /// Something has become of a container.
    pub(super) fn container_told(self: &Arc<Self>, name: &str, told: Told) {
        match told {
            Told::Trapped => self.see_to(name, Trouble::Held, &self.container_policy()),
            Told::Ended(ContainerEnd::Trapped) => self.see_to(name, Trouble::Over, &self.container_policy()),
            // Of who has just come it may be wanted to know whether it stalls.
            Told::Runs => self.plan_stall_checks(),
            Told::Ended(_) => {}
        }
    }

    /// Looks at whether it is to be looked for stalls, by the policy as it is now.
    pub(super) fn plan_stall_checks(&self) {
        let stall = self.container_policy().stall;
        let mut state = self.recovery.state();
        if stall.is_none() {
            state.stalls = Stalls::default();
        } else if state.stalls.due.is_none() {
            state.stalls.due = Some(Instant::now());
        }
    }

    /// Looks for containers that stall, by what the guest has said since the last time; it is not waited for.
    pub(super) fn check_stalls(self: &Arc<Self>) {
        let policy = self.container_policy();
        let Some(stall) = policy.stall else {
            self.recovery.state().stalls = Stalls::default();
            return;
        };
        let said = self.containers.said();
        let stalled: Vec<(String, u64)> = {
            let mut state = self.recovery.state();
            let stalls = &mut state.stalls;
            stalls.due = Some(Instant::now() + (stall / 2).max(OFTEN));
            stalls.known.retain(|name, _| said.iter().any(|(_, known, _)| known == name));
            let is_stalled = |(_, name, status): &(u32, String, Option<Status>)| {
                let status = status.filter(|status| !status.paused)?;
                stalls.is_stalled(name, status, stall).then(|| (name.clone(), status.calls))
            };
            said.iter().filter_map(is_stalled).collect()
        };
        for (index, ..) in &said {
            self.guest.ask(*index);
        }
        for (name, calls) in stalled {
            self.see_to(&name, Trouble::Stalled(calls), &policy);
        }
    }

    fn container_policy(&self) -> ContainerPolicy {
        ContainerPolicy::of(self.history.machine()).unwrap_or_else(|error| {
            tracing::warn!(%error, "containers are seen to as usual");
            ContainerPolicy::default()
        })
    }

    /// Does what is to be done about a container.
    fn see_to(self: &Arc<Self>, name: &str, trouble: Trouble, policy: &ContainerPolicy) {
        let plan = self.recovery.state().troubles.plan(name, policy, Instant::now());
        let is_over = trouble == Trouble::Over && matches!(plan, Plan::Stop);
        if is_over {
            return;
        }
        if plan == Plan::GiveUp {
            tracing::error!(
                container = name,
                "more was the matter with it than {} times within {:?}: it ends",
                policy.budget,
                policy.within
            );
        }
        // Of programs that trap, and of which nothing is wanted, nobody needs to be told but who runs them.
        let is_told = policy.then != [ContainerStep::Stop] || matches!(trouble, Trouble::Stalled(_));
        let (session, name) = (Arc::clone(self), name.to_owned());
        let work = move || session.do_about(&name, trouble, plan, is_told);
        if let Err(error) = std::thread::Builder::new().name("container".into()).spawn(work) {
            tracing::error!(%error, "nothing is done about a container");
        }
    }

    fn do_about(&self, name: &str, trouble: Trouble, plan: Plan, is_told: bool) {
        let started = Instant::now();
        let mut line = Recovered {
            unix_ns: unix_ns(),
            fault: trouble.word().to_owned(),
            what: trouble.says(name),
            before: self.history.timeline().head().ok().flatten().map(|id| id.to_string()),
            ..Recovered::default()
        };
        // Nobody may have started another one by this name until it is done.
        let mut live = self.live();
        let is_so = match trouble {
            Trouble::Held => self.containers.is_held(name),
            Trouble::Over => self.containers.running(name).is_err(),
            Trouble::Stalled(calls) => self.containers.calls(name) == Some(calls),
        };
        if !is_so {
            return;
        }
        let other = match plan {
            Plan::Heal(back, other) if trouble != Trouble::Over => {
                match self.heal_back(&mut live, name, back) {
                    Ok(healed) => {
                        "heal-container".clone_into(&mut line.action);
                        line.pause_us = healed.pause_us;
                        line.to = Some(healed.to);
                        line.healed.push(name.to_owned());
                        None
                    }
                    Err(error) => {
                        line.error = Some(error.to_string());
                        Some(other)
                    }
                }
            }
            Plan::Heal(_, other) => Some(other),
            Plan::Restart => Some(ContainerStep::Restart),
            Plan::Stop | Plan::GiveUp => Some(ContainerStep::Stop),
        };
        let done = match other {
            None => Ok(()),
            Some(ContainerStep::Restart) => {
                "restart-container".clone_into(&mut line.action);
                line.lost.push(name.to_owned());
                self.restart_with(&live, name).map(drop)
            }
            Some(ContainerStep::Heal | ContainerStep::Stop) => {
                "stop-container".clone_into(&mut line.action);
                self.end_container(name)
            }
        };
        drop(live);
        if let Err(error) = done {
            line.error = Some(error.to_string());
        }
        let Recovered { action, error, .. } = &line;
        let took = started.elapsed();
        tracing::warn!(container = name, fault = line.fault, action, error, ?took, "a container was seen to");
        if is_told && let Err(error) = records::append(self.history.machine(), &line) {
            tracing::error!(%error, "what was done about a container is not written down");
        }
    }

    /// Starts containers again, on a thread of its own: that waits for the guest, and the guest may need this one.
    pub(super) fn start_again(self: &Arc<Self>, names: Vec<String>) {
        if names.is_empty() {
            return;
        }
        let session = Arc::clone(self);
        let start = move || {
            for name in &names {
                match session.restart_container(name) {
                    Ok(_) => tracing::warn!(container = name, "it was started anew"),
                    Err(error) => tracing::error!(%error, container = name, "it is not started anew"),
                }
            }
        };
        if let Err(error) = std::thread::Builder::new().name("restart".into()).spawn(start) {
            tracing::error!(%error, "containers are not started anew");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(then: &[ContainerStep], budget: usize) -> ContainerPolicy {
        let within = Duration::from_secs(10);
        ContainerPolicy { then: then.to_vec(), budget, within, stall: None }
    }

    #[test]
    fn one_that_always_traps_is_not_started_for_ever() {
        let policy = policy(&[ContainerStep::Restart], 2);
        let base = Instant::now();
        let mut troubles = Troubles::default();
        let mut plan = |name, seconds| troubles.plan(name, &policy, base + Duration::from_secs(seconds));
        assert_eq!(
            [plan("a", 0), plan("a", 1), plan("a", 2), plan("b", 2)],
            [Plan::Restart, Plan::Restart, Plan::GiveUp, Plan::Restart]
        );
        assert_eq!(
            [plan("a", 11), plan("a", 12), plan("a", 13)],
            [Plan::Restart, Plan::Restart, Plan::GiveUp]
        );
    }

    #[test]
    fn one_that_traps_again_goes_further_back_and_then_on_to_the_next_step() {
        use ContainerStep::{Heal, Restart, Stop};
        let base = Instant::now();
        for (then, expected) in [
            (vec![Heal, Heal, Restart], [Plan::Heal(0, Restart), Plan::Heal(1, Restart), Plan::Restart]),
            (vec![Heal], [Plan::Heal(0, Stop), Plan::Heal(1, Stop), Plan::Heal(2, Stop)]),
            (vec![Heal, Stop], [Plan::Heal(0, Stop), Plan::Stop, Plan::Stop]),
        ] {
            let mut troubles = Troubles::default();
            let policy = policy(&then, 9);
            assert_eq!([0, 1, 2].map(|_| troubles.plan("a", &policy, base)), expected);
        }
    }

    #[test]
    fn one_stalls_that_computes_and_calls_nothing() {
        let mut stalls = Stalls::default();
        let mut at = |calls, used_ms: u64| {
            let status = Status { weight: 100, calls, used_ns: used_ms * 1_000_000, ..Status::default() };
            stalls.is_stalled("a", status, Duration::from_millis(100))
        };
        // It calls; it waits; it computes; it was put back.
        assert_eq!([at(1, 500), at(2, 700), at(2, 700), at(2, 790)], [false; 4]);
        assert_eq!(
            [at(2, 800), at(2, 850), at(2, 100), at(2, 190), at(2, 200)],
            [true, false, false, false, true]
        );
    }
}
