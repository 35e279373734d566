//! `exec`: another program with a container's files.

use super::Context;
use crate::cli::containers::ExecArgs;
use crate::commands::program::Given;
use crate::errors::CommandError;
use sentient_control::api::{ContainerStatus, StartContainer};
use sentient_control::client::encoded;
use std::process::ExitCode;

impl Context {
    /// `exec`.
    pub fn exec(&self, args: &ExecArgs) -> Result<ExitCode, CommandError> {
        let start = StartContainer {
            files_of: Some(args.container.clone()),
            name: args.name.clone(),
            stdin: args.interactive,
            ..self.to_start(&args.program, &Given::default())?
        };
        let client = self.client()?;
        let started: ContainerStatus =
            self.during("starting the program", || client.post("/v1/containers", &start))?;
        if args.detach {
            return self.answer(&started, |out, started| writeln!(out, "{}", started.name));
        }
        let ended = self.be_with(&client, &started.name, true, args.interactive);
        // It was there for this, and whoever was here has seen what it wrote. One that goes on, because nobody wanted to see
        // more of it, is ended.
        client.delete::<ContainerStatus>(&format!("/v1/containers/{}?force=true", encoded(&started.name)))?;
        ended
    }
}
