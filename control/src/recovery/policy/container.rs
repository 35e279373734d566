//! What is done about containers that trap or stall.
//!
//! ```yaml
//! trigger: 1
//! then: [heal, restart]   # what is done, and what about the next time soon after; the last one again and again
//! budget: 5               # most times
//! within: 1m              # in such a time; one more ends it
//! stall: 10s              # how much of the processor it may have without calling anything until it stalls
//! ```
//!
//! Without a file, one that traps has ended, and none stalls: a container may compute for as long as it likes.

use super::{CONTAINER, Trigger, check, check_steps, millis, of, word};
use crate::error::ControlError;
use crate::home::MachineFolder;
use sentient_images::quantity::Time;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// What can be done about a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ContainerStep {
    /// Put it back to the last snapshot that has it; the next time in a row, to the one before that, and so on. Where that cannot
    /// be done, the next step that is another one.
    Heal,
    /// Start it again as it was started.
    Restart,
    /// End it.
    Stop,
}

/// What is done about containers that trap or stall.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPolicy {
    /// What is done the first time, and what about those times that follow soon after it; never empty.
    pub then: Vec<ContainerStep>,
    /// How often within a time.
    pub budget: usize,
    /// That time.
    pub within: Duration,
    /// How much of the processor one may have without calling a function of the runtime's until it stalls.
    pub stall: Option<Duration>,
}

impl Default for ContainerPolicy {
    fn default() -> Self {
        Self { then: vec![ContainerStep::Stop], budget: 5, within: Duration::from_secs(60), stall: None }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    trigger: u64,
    then: Option<Vec<ContainerStep>>,
    budget: Option<usize>,
    within: Option<Time>,
    stall: Option<Time>,
}

impl ContainerPolicy {
    /// The policy of a text.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Text { trigger, then, budget, within, stall } =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        check(trigger, budget, &[("within", within), ("stall", stall)])?;
        check_steps(then.as_deref(), "the container")?;
        let usual = Self::default();
        Ok(Self {
            then: then.unwrap_or(usual.then),
            budget: budget.unwrap_or(usual.budget),
            within: within.map_or(usual.within, |Time(within)| within),
            stall: stall.map(|Time(stall)| stall),
        })
    }

    /// A machine's policy; the usual one where there is no file.
    ///
    /// # Errors
    /// As [`Policy::of`](super::Policy::of).
    pub fn of(machine: &MachineFolder) -> Result<Self, ControlError> {
        of(&machine.trigger(CONTAINER), Self::parse)
    }

    /// For whoever wants to see it.
    #[must_use]
    pub fn trigger(&self, machine: &MachineFolder) -> Trigger {
        Trigger {
            on: CONTAINER,
            then: self.then.iter().map(word).collect(),
            healthy_ms: None,
            budget: self.budget,
            within_ms: millis(self.within),
            check_ms: None,
            hold_output: None,
            hang_ms: None,
            stall_ms: self.stall.map(millis),
            file: Some(machine.trigger(CONTAINER)).filter(|file| file.exists()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_does_not_say_is_as_usual() {
        assert_eq!(ContainerPolicy::parse("trigger: 1"), Ok(ContainerPolicy::default()));
        let wanted = ContainerPolicy {
            then: vec![ContainerStep::Heal, ContainerStep::Restart],
            budget: 1,
            stall: Some(Duration::from_secs(2)),
            ..ContainerPolicy::default()
        };
        let text = "trigger: 1\nthen: [heal, restart]\nbudget: 1\nstall: 2s";
        assert_eq!(ContainerPolicy::parse(text), Ok(wanted));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_place() {
        for (text, why) in [
            ("", "trigger"),
            ("trigger: 2", "version 2"),
            ("trigger: 1\nbudget: 9999999", "at most"),
            ("trigger: 1\nstall: 0s", "zero"),
            ("trigger: 1\nstall: 25h", "a day"),
            ("trigger: 1\nhealthy: 2s", "healthy"),
            ("trigger: 1\nthen: []", "one step"),
            ("trigger: 1\nthen: [rollback]", "rollback"),
        ] {
            let error = ContainerPolicy::parse(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{text}: {error:?}");
        }
    }
}
