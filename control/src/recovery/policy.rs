//! What is done about faults, as the machine's owner wants it: `.heal/trigger/fault.yaml` about those of the guest's kernel,
//! `.heal/trigger/container.yaml` about those of [containers](container).
//!
//! ```yaml
//! trigger: 1
//! then: [heal-boot, rollback]   # what is done, and what about the next fault soon after; the last one again and again
//! healthy: 2s                   # how long the machine goes on until that counts as well
//! budget: 8                     # most faults that it is put back after
//! within: 1m                    # in such a time; one more ends it
//! check: 30s                    # how often it is looked whether what nobody writes is what it was
//! hold_output: false            # whether what the guest says leaves only when the kernel's code was looked at after it
//! hang: 200ms                   # how much of the processor the kernel may have without an answer until it hangs
//! ```
//!
//! It is read at each fault: who changes it need not tell anybody. One that cannot be read is as if it were not there, and the
//! machine's log says why.

mod container;

use crate::error::ControlError;
use crate::home::MachineFolder;
pub use container::{ContainerPolicy, ContainerStep};
use sentient_images::quantity::Time;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the text that is known.
const VERSION: u64 = 1;
/// Most bytes of it.
const MAX_LEN: u64 = 64 << 10;
/// The longest that any of its times may be.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The largest budget.
const MOST: usize = 1_000_000;
/// Most steps.
const MOST_STEPS: usize = 16;
/// Names of triggers: of their files, without `.yaml`.
const FAULT: &str = "fault";
const CONTAINER: &str = "container";

/// What can be done about a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// Put the kernel back, and keep the containers; where that cannot be done, [`Rollback`](Self::Rollback).
    HealBoot,
    /// Put the machine back to its last good snapshot; the next time in a row, to the one before that, and so on.
    Rollback,
    /// End the machine, and have it booted as usual only when somebody has said so: until then it has a console for repair.
    Zero,
    /// End the machine.
    Stop,
}

/// What is done about faults of the guest's kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// What is done about a fault, and about those that follow soon after it; never empty.
    pub then: Vec<Step>,
    /// How long a machine has to go on until it is well, and a snapshot good that it goes on from.
    pub healthy: Duration,
    /// Most faults within a time that are recovered from.
    pub budget: usize,
    /// That time.
    pub within: Duration,
    /// How often it is looked whether what nobody writes is what it was.
    pub check: Duration,
    /// Whether what the guest says leaves only when the kernel's code was [looked at](sentient_vmm::machine::gate) after it.
    pub hold_output: bool,
    /// How much of the processor the kernel may have without an answer until it hangs.
    pub hang: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            then: vec![Step::HealBoot, Step::Rollback],
            healthy: Duration::from_secs(2),
            budget: 8,
            within: Duration::from_secs(60),
            check: Duration::from_secs(30),
            hold_output: false,
            hang: Duration::from_millis(200),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    trigger: u64,
    then: Option<Vec<Step>>,
    healthy: Option<Time>,
    budget: Option<usize>,
    within: Option<Time>,
    check: Option<Time>,
    hold_output: Option<bool>,
    hang: Option<Time>,
}

/// A machine's policy, and where it is from, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// What it is about.
    pub on: &'static str,
    /// What is done, in order.
    pub then: Vec<String>,
    /// [`Policy::healthy`], in milliseconds; absent where it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub healthy_ms: Option<u64>,
    /// [`Policy::budget`].
    pub budget: usize,
    /// [`Policy::within`], in milliseconds.
    pub within_ms: u64,
    /// [`Policy::check`], in milliseconds; absent where it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub check_ms: Option<u64>,
    /// [`Policy::hold_output`]; absent where it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hold_output: Option<bool>,
    /// [`Policy::hang`], in milliseconds; absent where it means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hang_ms: Option<u64>,
    /// [`ContainerPolicy::stall`], in milliseconds; absent where it is not looked for, or means nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_ms: Option<u64>,
    /// The file that says so; `None` if there is none.
    pub file: Option<PathBuf>,
}

/// What is wrong with the numbers that all triggers have.
fn check(trigger: u64, budget: Option<usize>, times: &[(&str, Option<Time>)]) -> Result<(), String> {
    if trigger != VERSION {
        return Err(format!("it is of version {trigger}, and {VERSION} is known"));
    }
    if budget.is_some_and(|budget| budget > MOST) {
        return Err(format!("budget: at most {MOST}"));
    }
    times.iter().try_for_each(|(name, time)| longest(name, *time))
}

/// What is wrong with a time.
pub(super) fn longest(name: &str, time: Option<Time>) -> Result<(), String> {
    match time {
        Some(Time(time)) if time > LONGEST => Err(format!("{name}: a day is the longest")),
        _ => Ok(()),
    }
}

/// What is wrong with a list of steps, the last of which may be `stop`, which ends `what`.
fn check_steps<S>(then: Option<&[S]>, what: &str) -> Result<(), String> {
    match then {
        Some(then) if then.is_empty() || then.len() > MOST_STEPS => {
            Err(format!("then: one step at least, and at most {MOST_STEPS}; `stop` ends {what}"))
        }
        _ => Ok(()),
    }
}

/// The text of a file that says what is to be done; `None` where there is none.
fn read(path: &Path) -> Result<Option<String>, ControlError> {
    let mut text = String::new();
    match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.and_then(|file| file.take(MAX_LEN + 1).read_to_string(&mut text)),
    }
    .map_err(ControlError::io(path))?;
    if text.len() as u64 > MAX_LEN {
        return Err(damaged(path, "it is too long"));
    }
    Ok(Some(text))
}

/// What such a file says; `None` where there is none.
pub(super) fn said<P>(path: &Path, parse: fn(&str) -> Result<P, String>) -> Result<Option<P>, ControlError> {
    read(path)?.map(|text| parse(&text).map_err(|why| damaged(path, &why))).transpose()
}

/// The policy of a file; the usual one where there is none.
fn of<P: Default>(path: &Path, parse: fn(&str) -> Result<P, String>) -> Result<P, ControlError> {
    said(path, parse).map(Option::unwrap_or_default)
}

fn damaged(path: &Path, why: &str) -> ControlError {
    ControlError::Damaged(format!("{}: {why}", path.display()))
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A word of the text.
fn word(value: impl Serialize) -> String {
    serde_json::to_value(value).ok().and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default()
}

impl Policy {
    /// What is done about fault number `in_a_row`, counted from 0.
    #[must_use]
    pub fn step(&self, in_a_row: usize) -> Step {
        self.then.get(in_a_row).or(self.then.last()).copied().unwrap_or(Step::Stop)
    }

    /// The place of the first step of a kind.
    #[must_use]
    pub fn first(&self, wanted: Step) -> usize {
        self.then.iter().position(|step| *step == wanted).unwrap_or(0)
    }

    /// The policy of a text.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Text { trigger, then, healthy, budget, within, check: every, hold_output, hang } =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        check(
            trigger,
            budget,
            &[("healthy", healthy), ("within", within), ("check", every), ("hang", hang)],
        )?;
        check_steps(then.as_deref(), "the machine")?;
        let usual = Self::default();
        let time = |time: Option<Time>, usual| time.map_or(usual, |Time(time)| time);
        Ok(Self {
            then: then.unwrap_or(usual.then),
            healthy: time(healthy, usual.healthy),
            budget: budget.unwrap_or(usual.budget),
            within: time(within, usual.within),
            check: time(every, usual.check),
            hold_output: hold_output.unwrap_or(usual.hold_output),
            hang: time(hang, usual.hang),
        })
    }

    /// A machine's policy; the usual one where there is no file.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] with what is wrong with the file, or that of reading it.
    pub fn of(machine: &MachineFolder) -> Result<Self, ControlError> {
        of(&machine.trigger(FAULT), Self::parse)
    }

    /// For whoever wants to see it.
    #[must_use]
    pub fn trigger(&self, machine: &MachineFolder) -> Trigger {
        Trigger {
            on: FAULT,
            then: self.then.iter().map(word).collect(),
            healthy_ms: Some(millis(self.healthy)),
            budget: self.budget,
            within_ms: millis(self.within),
            check_ms: Some(millis(self.check)),
            hold_output: Some(self.hold_output),
            hang_ms: Some(millis(self.hang)),
            stall_ms: None,
            file: Some(machine.trigger(FAULT)).filter(|file| file.exists()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_text_does_not_say_is_as_usual() {
        assert_eq!(Policy::parse("trigger: 1"), Ok(Policy::default()));
        let wanted = Policy { budget: 3, healthy: Duration::from_millis(500), ..Policy::default() };
        assert_eq!(Policy::parse("trigger: 1\nbudget: 3\nhealthy: 500ms\n"), Ok(wanted));
        let wanted = Policy { hold_output: true, ..Policy::default() };
        assert_eq!(Policy::parse("trigger: 1\nhold_output: true"), Ok(wanted));
        let wanted = Policy { then: vec![Step::Rollback, Step::Stop], ..Policy::default() };
        assert_eq!(Policy::parse("trigger: 1\nthen: [rollback, stop]"), Ok(wanted));
    }

    #[test]
    fn what_makes_no_sense_is_refused_with_the_place() {
        for (text, why) in [
            ("", "trigger"),
            ("trigger: 2", "version 2"),
            ("trigger: 1\nbudget: -1", "budget"),
            ("trigger: 1\nbudget: 9999999", "at most"),
            ("trigger: 1\nhealthy: 0s", "zero"),
            ("trigger: 1\nwithin: 25h", "a day"),
            ("trigger: 1\nwithin: soon", "soon"),
            ("trigger: 1\nalso: 1", "also"),
            ("trigger: 1\nhold_output: perhaps", "hold_output"),
            ("trigger: 1\nthen: []", "one step"),
            ("trigger: 1\nthen: [pray]", "pray"),
            ("[", "invalid type"),
        ] {
            let error = Policy::parse(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{text}: {error:?}");
        }
    }
}
