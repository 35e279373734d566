//! What is done about containers that trap.

use super::policy::{ContainerPolicy, ContainerStep};
use crate::session::Session;
use sentient_abi::exit::ContainerEnd;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

/// When containers were started again, by name.
#[derive(Default)]
pub(super) struct Restarts(HashMap<String, VecDeque<Instant>>);

impl Restarts {
    /// Whether one may be started again now; it then counts.
    fn allow(&mut self, name: &str, policy: &ContainerPolicy, now: Instant) -> bool {
        // Of those that are over nobody asks any more.
        self.0.retain(|_, times| times.back().is_some_and(|last| now.duration_since(*last) <= policy.within));
        let times = self.0.entry(name.to_owned()).or_default();
        while times.front().is_some_and(|time| now.duration_since(*time) > policy.within) {
            times.pop_front();
        }
        let allowed = times.len() < policy.budget;
        if allowed {
            times.push_back(now);
        }
        allowed
    }
}

impl Session {
    /// A container has ended by itself.
    pub(super) fn container_ended(self: &Arc<Self>, name: &str, end: ContainerEnd) {
        if end != ContainerEnd::Trapped {
            return;
        }
        let policy = ContainerPolicy::of(self.history.machine()).unwrap_or_else(|error| {
            tracing::warn!(%error, "containers that trap are seen to as usual");
            ContainerPolicy::default()
        });
        if policy.then == ContainerStep::Nothing {
            return;
        }
        if !self.recovery.state().restarts.allow(name, &policy, Instant::now()) {
            tracing::error!(
                container = name,
                "it has trapped more than {} times within {:?}, and is not started again",
                policy.budget,
                policy.within
            );
            return;
        }
        self.start_again(vec![name.to_owned()]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn one_that_always_traps_is_not_started_for_ever() {
        let policy =
            ContainerPolicy { then: ContainerStep::Restart, budget: 2, within: Duration::from_secs(10) };
        let base = Instant::now();
        let mut restarts = Restarts::default();
        let mut allow = |name, seconds| restarts.allow(name, &policy, base + Duration::from_secs(seconds));
        assert_eq!([allow("a", 0), allow("a", 1), allow("a", 2), allow("b", 2)], [true, true, false, true]);
        assert_eq!([allow("a", 11), allow("a", 12), allow("a", 13)], [true, true, false]);
    }
}
