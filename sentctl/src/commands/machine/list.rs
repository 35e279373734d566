//! All machines of a home.

use super::{Context, tree};
use crate::errors::CommandError;
use sentient_control::api::{MachineState, Properties};
use sentient_control::client::Client;
use sentient_control::history::History;
use sentient_control::home::MachineFolder;
use serde::Serialize;
use std::process::ExitCode;

/// A machine as it is listed. Of one that cannot be looked at, there is the name and the problem.
#[derive(Debug, Default, Serialize)]
struct Listed {
    name: String,
    id: Option<String>,
    state: Option<MachineState>,
    pid: Option<u32>,
    ram_bytes: Option<u64>,
    current: Option<String>,
    snapshots: Option<u64>,
    used_bytes: Option<u64>,
    problem: Option<String>,
}

impl Context {
    /// `ls`.
    pub fn list(&self) -> Result<ExitCode, CommandError> {
        let mut all = Vec::new();
        for name in self.home.names()? {
            let machine = self.home.machine(&name)?;
            // One machine that is damaged, or busy, must not hide the others.
            all.push(self.look_at(&machine).unwrap_or_else(|error| Listed {
                name,
                problem: Some(error.to_string()),
                ..Listed::default()
            }));
        }
        self.answer(&all, |out, all| {
            let widest = all.iter().map(|one| one.name.len()).max().unwrap_or(0).max("NAME".len());
            writeln!(out, "{:widest$}  STATE    CURRENT       SNAPSHOTS       USED        RAM", "NAME")?;
            for one in all {
                let name = &one.name;
                if let Some(problem) = &one.problem {
                    writeln!(out, "{name:widest$}  ?        {problem}")?;
                    continue;
                }
                let state = match one.state {
                    Some(MachineState::Running) => "running",
                    Some(MachineState::Stopped) => "stopped",
                    None => "?",
                };
                let current = one.current.as_deref().map_or("none", tree::short);
                let size = |bytes: Option<u64>| tree::bytes(bytes.unwrap_or(0));
                writeln!(
                    out,
                    "{name:widest$}  {state:7}  {current:12}  {:>9}  {:>9}  {:>9}",
                    one.snapshots.unwrap_or(0),
                    size(one.used_bytes),
                    size(one.ram_bytes),
                )?;
            }
            Ok(())
        })
    }

    fn look_at(&self, machine: &MachineFolder) -> Result<Listed, CommandError> {
        let status = self.status_of(machine)?;
        let properties: Properties = match status.state {
            MachineState::Running => Client::new(machine.clone())?.get("/v1/properties")?,
            MachineState::Stopped => History::open(&self.home, machine.clone())?.properties()?,
        };
        Ok(Listed {
            name: status.name,
            id: Some(status.id),
            state: Some(status.state),
            pid: status.pid,
            ram_bytes: Some(status.ram_bytes),
            current: status.current,
            snapshots: Some(status.snapshots),
            used_bytes: Some(properties.used_bytes),
            problem: None,
        })
    }
}
