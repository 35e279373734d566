//! What is done about faults, as the machine's owner wants it: `.heal/trigger/fault.yaml`.
//!
//! ```yaml
//! trigger: 1
//! healthy: 2s       # how long the machine goes on from a snapshot until that counts as good
//! budget: 8         # most faults that it is put back after
//! within: 1m        # in such a time; one more ends it
//! ```
//!
//! It is read at each fault: who changes it need not tell anybody. One that cannot be read is as if it were not there, and the
//! machine's log says why.

use crate::error::ControlError;
use crate::home::MachineFolder;
use sentient_images::quantity::Time;
use serde::{Deserialize, Serialize};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// The version of the text that is known.
const VERSION: u64 = 1;
/// Most bytes of it.
const MAX_LEN: u64 = 64 << 10;
/// The longest that any of its times may be.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
/// The largest budget.
const MOST: usize = 1_000_000;

/// What is done about faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long a machine has to go on from a snapshot until that counts as good.
    pub healthy: Duration,
    /// Most faults within a time that are recovered from.
    pub budget: usize,
    /// That time.
    pub within: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        Self { healthy: Duration::from_secs(2), budget: 8, within: Duration::from_secs(60) }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    trigger: u64,
    healthy: Option<Time>,
    budget: Option<usize>,
    within: Option<Time>,
}

/// A machine's policy, and where it is from, for whoever wants to see it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trigger {
    /// What it is about.
    pub on: &'static str,
    /// What is done.
    pub then: &'static str,
    /// [`Policy::healthy`], in milliseconds.
    pub healthy_ms: u64,
    /// [`Policy::budget`].
    pub budget: usize,
    /// [`Policy::within`], in milliseconds.
    pub within_ms: u64,
    /// The file that says so; `None` if there is none.
    pub file: Option<PathBuf>,
}

impl Policy {
    /// The policy of a text.
    ///
    /// # Errors
    /// What is wrong with it, for people.
    pub fn parse(text: &str) -> Result<Self, String> {
        let Text { trigger, healthy, budget, within } =
            serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if trigger != VERSION {
            return Err(format!("it is of version {trigger}, and {VERSION} is known"));
        }
        if budget.is_some_and(|budget| budget > MOST) {
            return Err(format!("budget: at most {MOST}"));
        }
        for (name, time) in [("healthy", healthy), ("within", within)] {
            if time.is_some_and(|Time(time)| time > LONGEST) {
                return Err(format!("{name}: a day is the longest"));
            }
        }
        let usual = Self::default();
        let time = |time: Option<Time>, usual| time.map_or(usual, |Time(time)| time);
        Ok(Self {
            healthy: time(healthy, usual.healthy),
            budget: budget.unwrap_or(usual.budget),
            within: time(within, usual.within),
        })
    }

    /// A machine's policy; the usual one where there is no file.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] with what is wrong with the file, or that of reading it.
    pub fn of(machine: &MachineFolder) -> Result<Self, ControlError> {
        let path = machine.fault_trigger();
        let damaged = |why: &str| ControlError::Damaged(format!("{}: {why}", path.display()));
        match std::fs::metadata(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(ControlError::io(&path)(error)),
            Ok(file) if file.len() > MAX_LEN => return Err(damaged("it is too long")),
            Ok(_) => {}
        }
        let text = std::fs::read_to_string(&path).map_err(ControlError::io(&path))?;
        Self::parse(&text).map_err(|why| damaged(&why))
    }

    /// For whoever wants to see it.
    #[must_use]
    pub fn trigger(&self, machine: &MachineFolder) -> Trigger {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Trigger {
            on: "fault",
            then: "rollback",
            healthy_ms: millis(self.healthy),
            budget: self.budget,
            within_ms: millis(self.within),
            file: Some(machine.fault_trigger()).filter(|file| file.exists()),
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
            ("[", "invalid type"),
        ] {
            let error = Policy::parse(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{text}: {error:?}");
        }
    }
}
