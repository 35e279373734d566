//! `attach`: a container's streams, for as long as somebody is there.

use super::Context;
use super::output::{LOOK, Logs};
use crate::cli::containers::AttachArgs;
use crate::errors::CommandError;
use sentient_abi::exit;
use sentient_control::api::{ContainerState, Taken};
use sentient_control::client::{Client, ClientError, encoded};
use sentient_control::home::MachineFolder;
use std::io::Read;
use std::process::ExitCode;

/// Bytes of standard input that are read at once.
const CHUNK: usize = 64 << 10;

impl Context {
    /// `attach`.
    pub fn attach(&self, args: &AttachArgs) -> Result<ExitCode, CommandError> {
        let client = self.client()?;
        self.be_with(&client, &args.name, args.all, !args.no_stdin)
    }

    /// Is where a container's streams are until it ends, and ends as it does: from what it writes now on, or from all that it
    /// has written; with its standard input, if it takes any.
    pub(super) fn be_with(
        &self,
        client: &Client,
        name: &str,
        all: bool,
        input: bool,
    ) -> Result<ExitCode, CommandError> {
        let container = self.of(client, name)?;
        let machine = self.machine()?;
        let mut logs = Logs::of(&machine.container(name));
        if !all {
            logs.skip_to_tail(0)?;
        }
        if container.stdin && input {
            let name = name.to_owned();
            // It ends with this process, at the latest: a thread that reads cannot be called back.
            std::thread::Builder::new()
                .name("input".into())
                .spawn(move || pass_on(machine, &name))
                .map_err(CommandError::io("starting the thread that reads"))?;
        }
        loop {
            // Looked at before its output: what it writes until it has ended is shown.
            let now = self.of(client, name)?;
            if !logs.show()? {
                return Ok(ExitCode::SUCCESS);
            }
            if now.state != ContainerState::Ended {
                std::thread::sleep(LOOK);
                continue;
            }
            let Some(code) = now.exit_code else {
                let why = now.reason.unwrap_or_else(|| "it has ended".to_owned());
                eprintln!("sentctl: `{name}`: {why}");
                return Ok(ExitCode::from(exit::SENTCTL_ERROR));
            };
            return Ok(ExitCode::from(code));
        }
    }
}

/// Gives a container this process' standard input.
fn pass_on(machine: MachineFolder, name: &str) {
    if let Err(error) = give_all(machine, name) {
        // One that has ended while somebody was typing has said so by other means.
        tracing::debug!(%error, "standard input was not passed on");
    }
}

fn give_all(machine: MachineFolder, name: &str) -> Result<(), ClientError> {
    let client = Client::new(machine)?;
    let path = format!("/v1/containers/{}/input", encoded(name));
    let mut stdin = std::io::stdin().lock();
    let mut buffer = vec![0; CHUNK];
    loop {
        // What cannot be read is at its end.
        let len = stdin.read(&mut buffer).unwrap_or(0);
        let mut rest = buffer.get(..len).unwrap_or_default();
        if rest.is_empty() {
            let _: Taken = client.give(&format!("{path}?end=true"), &[])?;
            return Ok(());
        }
        while !rest.is_empty() {
            let Taken { bytes } = client.give(&path, rest)?;
            rest = rest.get(usize::try_from(bytes).unwrap_or(rest.len())..).unwrap_or_default();
        }
    }
}
