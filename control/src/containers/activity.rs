//! What containers do and take, as the guest says it: only it knows.

use super::{Containers, Entry};
use crate::api::{ContainerState, ContainerStats, ContainerStatus, Taken};
use crate::error::ControlError;
use sentient_abi::stdio::Status;
use sentient_vmm::machine::resident::ResidentHandle;
use std::time::{Duration, Instant};

/// How long the guest may take to say what a container takes, for who asks for that.
pub(super) const ANSWER_PATIENCE: Duration = Duration::from_secs(10);
/// The same for who only wants to know what there is.
const LIST_PATIENCE: Duration = Duration::from_secs(1);
/// How long a container may take to read what is before what it is given.
const INPUT_PATIENCE: Duration = Duration::from_secs(1);

impl Containers {
    /// All of them, in the order they were started. The guest is asked about those of which it has said nothing yet:
    /// a machine that was put back may have paused containers. One of which it says nothing in time is told as running.
    #[must_use]
    pub fn list(&self, guest: &ResidentHandle) -> Vec<ContainerStatus> {
        // Who says nothing is told as it was.
        let _ = self.learn(guest, LIST_PATIENCE);
        self.table().iter().map(Entry::status).collect()
    }

    /// One of them, whether it runs or not, as [`list`](Self::list) has it.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn named(&self, guest: &ResidentHandle, name: &str) -> Result<ContainerStatus, ControlError> {
        let found = self.list(guest).into_iter().find(|container| container.name == name);
        found.ok_or_else(|| self.unknown(name))
    }

    /// What those that run take now.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if the guest does not say.
    pub fn stats(&self, guest: &ResidentHandle) -> Result<Vec<ContainerStats>, ControlError> {
        for entry in self.table().iter_mut() {
            entry.takes = None;
        }
        self.learn(guest, ANSWER_PATIENCE)?;
        Ok(self.table().iter().filter(|entry| entry.is_live()).filter_map(stats).collect())
    }

    /// Keeps a container from running, or lets it run again.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] if the guest does not answer.
    pub fn pause(
        &self,
        guest: &ResidentHandle,
        name: &str,
        paused: bool,
    ) -> Result<ContainerStatus, ControlError> {
        let index = self.running(name)?;
        // What it has said before is no answer.
        self.forget(name);
        let failures = self.failures();
        guest.pause(index, paused);
        self.wait_for_answer(failures, ANSWER_PATIENCE, |table| {
            let Some(entry) = table.iter().find(|entry| entry.name == name && entry.is_live()) else {
                return Some(Err(self.ended_meanwhile(name)));
            };
            entry.takes.filter(|takes| takes.paused == paused).map(|_| Ok(entry.status()))
        })?
    }

    /// Gives a container standard input, and ends it if that is wanted and all of it was taken. Gives how much was:
    /// what it does not read is not taken for long.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] if its standard input is not open.
    pub fn give(
        &self,
        guest: &ResidentHandle,
        name: &str,
        bytes: &[u8],
        end: bool,
    ) -> Result<Taken, ControlError> {
        let index = self.running(name)?;
        let takes_input = self.with_entry(name, |entry| entry.takes_input());
        if takes_input != Some(true) {
            return Err(ControlError::Conflict(format!(
                "the standard input of `{name}` is at its end; `sentctl run --detach --interactive` keeps it open"
            )));
        }
        let mut taken = 0;
        let deadline = Instant::now() + INPUT_PATIENCE;
        while let Some(rest) = bytes.get(taken..).filter(|rest| !rest.is_empty()) {
            let patience = deadline.saturating_duration_since(Instant::now());
            taken += guest.input(index, rest, patience);
            if patience.is_zero() {
                break;
            }
        }
        if end && taken == bytes.len() {
            guest.end_input(index);
            self.with_entry(name, |entry| entry.input_ended = true);
        }
        Ok(Taken { bytes: taken as u64 })
    }

    fn with_entry<T>(&self, name: &str, work: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        self.table().iter_mut().find(|entry| entry.name == name && entry.is_live()).map(work)
    }

    /// Forgets what the guest has said of a container: something was done to it.
    pub fn forget(&self, name: &str) {
        if let Some(entry) = self.table().iter_mut().find(|entry| entry.name == name) {
            entry.takes = None;
        }
    }

    /// What the guest has said of those that run and are not held, with their numbers and names.
    pub(crate) fn said(&self) -> Vec<(u32, String, Option<Status>)> {
        let table = self.table();
        let runs = |entry: &&Entry| entry.state == ContainerState::Running && !entry.held;
        table.iter().filter(runs).map(|entry| (entry.index, entry.name.clone(), entry.takes)).collect()
    }

    /// How often a container has called a function of the runtime's, as the guest has said last.
    pub(crate) fn calls(&self, name: &str) -> Option<u64> {
        self.with_entry(name, |entry| entry.takes.map(|takes| takes.calls)).flatten()
    }

    /// Whether a container has trapped, and is held.
    pub(crate) fn is_held(&self, name: &str) -> bool {
        self.with_entry(name, |entry| entry.held) == Some(true)
    }

    /// A container was put back: what the guest has said of it was of another one.
    pub(crate) fn came_back(&self, name: &str) {
        self.with_entry(name, |entry| (entry.takes, entry.held) = (None, false));
    }

    /// The same of all.
    pub(crate) fn forget_all(&self) {
        for entry in self.table().iter_mut() {
            entry.takes = None;
        }
    }

    /// Those that run: their numbers and names.
    pub(crate) fn live_indices(&self) -> Vec<(u32, String)> {
        let table = self.table();
        table.iter().filter(|entry| entry.is_live()).map(|entry| (entry.index, entry.name.clone())).collect()
    }

    pub(super) fn ended_meanwhile(&self, name: &str) -> ControlError {
        ControlError::NotFound(format!(
            "the container `{name}` of `{}` has ended meanwhile",
            self.machine.name()
        ))
    }

    /// Asks the guest about all of which it has said nothing.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if it has not said something of each, or has failed meanwhile.
    fn learn(&self, guest: &ResidentHandle, patience: Duration) -> Result<(), ControlError> {
        let failures = self.failures();
        // One that starts is not there yet for the guest.
        let unknown = |entry: &&Entry| entry.state == ContainerState::Running && entry.takes.is_none();
        for entry in self.table().iter().filter(unknown) {
            guest.ask(entry.index);
        }
        self.wait_for_answer(failures, patience, |table| {
            (!table.iter().any(|entry| unknown(&entry))).then_some(())
        })
    }
}

fn stats(entry: &Entry) -> Option<ContainerStats> {
    let Status { weight, used_ns, memory, memory_limit, .. } = entry.takes?;
    Some(ContainerStats {
        name: entry.name.clone(),
        state: entry.status().state,
        cpu_ns: used_ns,
        cpu_percent: weight,
        memory_bytes: memory,
        memory_limit_bytes: memory_limit,
    })
}
