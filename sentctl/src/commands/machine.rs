//! Verbs about machines that stay: thin over `sentient-control`.
//!
//! A machine that runs is asked over its socket; of one that does not, the snapshots are opened here.

mod attach;
#[cfg(any(debug_assertions, feature = "chaos"))]
mod chaos;
mod commit;
pub mod containers;
mod copy;
mod exec;
mod health;
pub mod keeping;
pub mod life;
mod list;
mod output;
pub mod removal;
pub mod snapshots;
mod stats;
pub mod tree;
mod zero;
pub mod zk;
pub mod zk_keys;
pub mod zk_verify;

use crate::cli::Cli;
use crate::errors::CommandError;
use crate::progress::{Measure, Progress};
use sentient_control::client::Client;
use sentient_control::error::ControlError;
use sentient_control::history::History;
use sentient_control::home::{Home, MachineFolder};
use sentient_control::lock::LockError;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;

/// Which home, which machine, and how to answer.
pub struct Context {
    home: Home,
    named: Option<String>,
    json: bool,
}

impl Context {
    /// As the command line and the environment say.
    pub fn new(cli: &Cli) -> Result<Self, CommandError> {
        let home = Home::find(cli.home.clone())?;
        Ok(Self { home, named: cli.machine.clone(), json: cli.json })
    }

    /// The home.
    pub fn home(&self) -> &Home {
        &self.home
    }

    fn machine(&self) -> Result<MachineFolder, CommandError> {
        Ok(self.home.chosen(self.named.as_deref())?)
    }

    fn client(&self) -> Result<Client, CommandError> {
        Ok(Client::new(self.machine()?)?)
    }

    /// The machine's process, or its snapshots if there is none.
    fn reach(&self) -> Result<Reach, CommandError> {
        let machine = self.machine()?;
        match History::open(&self.home, machine.clone()) {
            Ok(history) => Ok(Reach::Stopped(Box::new(history))),
            Err(ControlError::Lock(LockError::Taken { .. })) => Ok(Reach::Running(Client::new(machine)?)),
            Err(error) => Err(error.into()),
        }
    }

    /// Does something that people are told of if it takes long.
    pub(super) fn during<T>(&self, what: &'static str, work: impl FnOnce() -> T) -> T {
        let _until_done = Progress::start(what, Measure::Time, self.json);
        work()
    }

    /// Prints an answer: as JSON, or as `text` writes it.
    pub(super) fn answer<A: Serialize>(
        &self,
        answer: &A,
        text: impl FnOnce(&mut dyn Write, &A) -> std::io::Result<()>,
    ) -> Result<ExitCode, CommandError> {
        self.answer_in_part(answer, text).map(|_| ExitCode::SUCCESS)
    }

    /// The same where more answers follow; whether anybody still reads them.
    fn answer_in_part<A: Serialize>(
        &self,
        answer: &A,
        text: impl FnOnce(&mut dyn Write, &A) -> std::io::Result<()>,
    ) -> Result<bool, CommandError> {
        let mut out = std::io::stdout().lock();
        let written = if self.json {
            serde_json::to_writer(&mut out, answer).map_err(std::io::Error::from).and_then(|()| writeln!(out))
        } else {
            text(&mut out, answer)
        };
        match written.and_then(|()| out.flush()) {
            Ok(()) => Ok(true),
            // Whoever has stopped reading has what they wanted.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(error) => Err(CommandError::Io { what: "writing the answer", source: error }),
        }
    }
}

enum Reach {
    Running(Client),
    Stopped(Box<History>),
}
