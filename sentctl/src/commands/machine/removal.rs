//! Removing machines, and giving back what is nobody's.

use super::{Context, tree};
use crate::cli::machine::RmArgs;
use crate::errors::CommandError;
use sentient_control::api::{MachineStatus, SnapshotTaken};
use sentient_control::client::{Client, ClientError};
use sentient_control::error::ControlError;
use sentient_control::home::{HomeError, MachineFolder};
use sentient_control::removal::{self, Gone, Reclaimed};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

/// How long a machine's process may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

impl Context {
    /// `rm`.
    pub fn rm(&self, args: &RmArgs) -> Result<ExitCode, CommandError> {
        let done = self.during("removing the machine", || self.remove_machine(args))?;
        self.answer(&done, |out, done| {
            for gone in &done.machines {
                let name = gone.name.as_deref().unwrap_or(&gone.id);
                writeln!(out, "removed {name}: {} snapshots", gone.snapshots)?;
            }
            writeln!(out, "{} given back", tree::bytes(done.freed_bytes))
        })
    }

    fn remove_machine(&self, args: &RmArgs) -> Result<Reclaimed, CommandError> {
        // What was interrupted may be this very removal.
        let mut done = removal::finish(&self.home)?;
        let is_it = |gone: &Gone| gone.name.as_ref() == Some(&args.name);
        let machine = match self.removable(&args.name) {
            Err(CommandError::Control(ControlError::Home(HomeError::Unknown { .. })))
                if done.machines.iter().any(is_it) =>
            {
                return Ok(done);
            }
            machine => machine?,
        };
        self.see_it_stopped(&machine, args.force)?;
        let patience = if args.force { STOP_PATIENCE } else { Duration::ZERO };
        let removed = removal::remove(&self.home, &machine, patience)?;
        done.machines.extend(removed.machines);
        done.freed_bytes += removed.freed_bytes;
        Ok(done)
    }

    /// The machine of a name, or what an interrupted `init` or `fork` has left under it.
    fn removable(&self, name: &str) -> Result<MachineFolder, CommandError> {
        match self.home.chosen(Some(name)) {
            Err(HomeError::Unknown { name, home }) => {
                let machine = self.home.machine(&name)?;
                let there = machine.path().is_dir();
                if there { Ok(machine) } else { Err(HomeError::Unknown { name, home }.into()) }
            }
            chosen => Ok(chosen?),
        }
    }

    fn see_it_stopped(&self, machine: &MachineFolder, force: bool) -> Result<(), CommandError> {
        let client = Client::new(machine.clone())?;
        let answer = if force {
            let body = serde_json::json!({ "discard": true });
            client.post::<Option<SnapshotTaken>>("/v1/machine/stop", &body).map(|_| None)
        } else {
            client.get::<MachineStatus>("/v1/machine").map(Some)
        };
        match answer {
            Err(ClientError::NotRunning(_)) | Ok(None) => Ok(()),
            Ok(Some(status)) => Err(ControlError::Conflict(format!(
                "`{0}` runs, process {1}: stop it first (`sentctl --machine {0} stop`), or let `sentctl rm --force {0}` do it",
                machine.name(),
                status.pid.unwrap_or(0)
            ))
            .into()),
            Err(error) => Err(error.into()),
        }
    }

    /// `prune --unclaimed`.
    pub fn reclaim(&self) -> Result<ExitCode, CommandError> {
        let done = self.during("reclaiming", || removal::reclaim(&self.home))?;
        self.answer(&done, |out: &mut dyn Write, done| {
            for gone in &done.machines {
                let id = tree::short(&gone.id);
                let name = gone.name.as_ref().map_or_else(String::new, |name| format!(" ({name})"));
                writeln!(out, "removed {} snapshots of {id}{name}", gone.snapshots)?;
            }
            writeln!(out, "{} machines, {} given back", done.machines.len(), tree::bytes(done.freed_bytes))
        })
    }
}
