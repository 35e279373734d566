//! Verbs about containers: listing, ending, starting again, removing them, and what they have written.

use super::output::{LOOK, Logs};
use super::snapshots::DAMAGED;
use super::{Context, tree};
use crate::cli::containers::{HealCommand, LogsArgs, MatrixBoxCommand, Names, PsArgs, TriggersCommand};
use crate::errors::CommandError;
use sentient_control::api::{ContainerState, ContainerStatus, Heal, Healed};
use sentient_control::client::{Client, ClientError, encoded};
use sentient_control::home::check_container_name;
use sentient_control::logs::{self, Checked};
use sentient_control::ports::PublishedPort;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// What a container does, in words.
pub fn doing(container: &ContainerStatus) -> String {
    match (container.state, container.exit_code) {
        (ContainerState::Starting, _) => "starts".to_owned(),
        (ContainerState::Running, _) => "runs".to_owned(),
        (ContainerState::Paused, _) => "is paused".to_owned(),
        (ContainerState::Ended, Some(code)) => format!("ended with {code}"),
        (ContainerState::Ended, None) => container.reason.clone().unwrap_or_else(|| "ended".to_owned()),
    }
}

/// What a container runs: its package, or its program, marked if that may do everything.
pub fn running(container: &ContainerStatus) -> String {
    let program = match &container.package {
        Some(package) => format!("{} {}", package.name, package.version),
        None => container.program.clone(),
    };
    if container.confined { program } else { format!("{program}, unconfined") }
}

/// Where a container's ports are found.
fn ports(container: &ContainerStatus) -> String {
    let all = container.ports.iter().map(|PublishedPort { port, address }| format!("{address}->{port}"));
    all.collect::<Vec<_>>().join(", ")
}

impl Context {
    /// `matrixbox`.
    pub fn matrixbox(&self, command: &MatrixBoxCommand) -> Result<ExitCode, CommandError> {
        match command {
            MatrixBoxCommand::Ls(args) => self.ps(args),
            MatrixBoxCommand::Inspect { name } => {
                let found = self.of(&self.client()?, name)?;
                self.answer(&found, write_container)
            }
            MatrixBoxCommand::Logs(args) => self.logs(args),
            MatrixBoxCommand::Attach(args) => self.attach(args),
            MatrixBoxCommand::Exec(args) => self.exec(args),
            MatrixBoxCommand::Kill(args) => self.kill(args),
            MatrixBoxCommand::Pause(args) => self.pause(args, true),
            MatrixBoxCommand::Unpause(args) => self.pause(args, false),
            MatrixBoxCommand::Stats(args) => self.stats(args),
            MatrixBoxCommand::Cp(args) => self.cp(args),
            MatrixBoxCommand::Commit(args) => self.commit(args),
            MatrixBoxCommand::Restart { name } => {
                let path = format!("/v1/containers/{}/restart", encoded(name));
                let client = self.client()?;
                let started: ContainerStatus =
                    self.during("starting the program", || client.post(&path, &serde_json::json!({})))?;
                self.answer(&started, |out, started| writeln!(out, "{}", started.name))
            }
            MatrixBoxCommand::Rm { names, force } => {
                let client = self.client()?;
                self.each(names, |name| {
                    client.delete(&format!("/v1/containers/{}?force={force}", encoded(name)))
                })
            }
        }
    }

    /// `ps`.
    pub fn ps(&self, args: &PsArgs) -> Result<ExitCode, CommandError> {
        let mut found: Vec<ContainerStatus> = self.client()?.get("/v1/containers")?;
        found.retain(|container| args.all || container.state != ContainerState::Ended);
        self.answer(&found, |out, found| {
            let widest = |text: fn(&ContainerStatus) -> String, least: usize| {
                found.iter().map(|container| text(container).chars().count()).max().unwrap_or(0).max(least)
            };
            let name: fn(&ContainerStatus) -> String = |container| container.name.clone();
            let (names, programs) = (widest(name, 4), widest(running, 7));
            // Only where there are any.
            let with_ports = found.iter().any(|container| !container.ports.is_empty());
            let width = widest(ports, 5);
            let column = |text: &str| if with_ports { format!("{text:width$}  ") } else { String::new() };
            if !found.is_empty() {
                writeln!(out, "{:names$}  {:programs$}  {}DOES", "NAME", "PROGRAM", column("PORTS"))?;
            }
            for container in found {
                let (program, ports) = (running(container), column(&ports(container)));
                writeln!(out, "{:names$}  {program:programs$}  {ports}{}", container.name, doing(container))?;
            }
            Ok(())
        })
    }

    /// `kill`.
    pub fn kill(&self, args: &Names) -> Result<ExitCode, CommandError> {
        self.tell_each(args, "kill")
    }

    /// `pause` and `unpause`.
    pub fn pause(&self, args: &Names, paused: bool) -> Result<ExitCode, CommandError> {
        self.tell_each(args, if paused { "pause" } else { "unpause" })
    }

    /// `heal`.
    pub fn heal(&self, command: &HealCommand) -> Result<ExitCode, CommandError> {
        let (name, to) = match command {
            HealCommand::Container { name, to } => (name, to),
            HealCommand::Boot => return self.heal_boot(),
            HealCommand::Triggers { command: TriggersCommand::Ls } => return self.triggers(),
        };
        let path = format!("/v1/containers/{}/heal", encoded(name));
        let healed: Healed = self.client()?.post(&path, &Heal { to: to.clone() })?;
        self.answer(&healed, |out, healed| {
            let Healed { container, to, pages, pause_us } = healed;
            let (to, pause) = (tree::short(to), tree::time(*pause_us));
            writeln!(out, "{container} goes on from {to}: {pages} pages, the machine paused {pause}")
        })
    }

    fn tell_each(&self, args: &Names, what: &str) -> Result<ExitCode, CommandError> {
        let client = self.client()?;
        self.each(&args.names, |name| {
            client.post(&format!("/v1/containers/{}/{what}", encoded(name)), &serde_json::json!({}))
        })
    }

    /// Does something with each of some containers; what cannot be done with one is told when it was done with those
    /// before it.
    fn each(
        &self,
        names: &[String],
        work: impl Fn(&str) -> Result<ContainerStatus, ClientError>,
    ) -> Result<ExitCode, CommandError> {
        let mut done = Vec::with_capacity(names.len());
        let mut failed = None;
        for name in names {
            match work(name) {
                Ok(container) => done.push(container),
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !done.is_empty() {
            self.answer(&done, |out, done| done.iter().try_for_each(|one| writeln!(out, "{}", one.name)))?;
        }
        failed.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
    }

    pub(super) fn of(&self, client: &Client, name: &str) -> Result<ContainerStatus, CommandError> {
        Ok(client.get(&format!("/v1/containers/{}", encoded(name)))?)
    }

    /// `logs`: the output is the host's, and there whether the machine runs or not.
    pub fn logs(&self, args: &LogsArgs) -> Result<ExitCode, CommandError> {
        check_container_name(&args.name)?;
        let folder = self.machine()?.container(&args.name);
        if !folder.is_dir() {
            let there_is_none = format!("no container `{}` has ever run in this machine", args.name);
            return Err(CommandError::Usage(there_is_none));
        }
        if args.verify {
            return self.verify_logs(&folder);
        }
        let mut logs = Logs::of(&folder);
        if !args.follow {
            logs.end_here()?;
        }
        if let Some(lines) = args.tail {
            logs.skip_to_tail(lines)?;
        }
        if let Some(moment) = args.since {
            logs.skip_to(moment)?;
        }
        let client = args.follow.then(|| self.client()).transpose()?;
        loop {
            // Looked at before its output: what it writes until it has ended is shown.
            let goes_on = match client.as_ref().map(|client| self.of(client, &args.name)) {
                None | Some(Err(CommandError::Client(ClientError::NotRunning(_)))) => false,
                Some(Ok(container)) => container.state != ContainerState::Ended,
                Some(Err(error)) if error.kind() == "not-found" => false,
                Some(Err(error)) => return Err(error),
            };
            if !logs.show()? || !goes_on {
                return Ok(ExitCode::SUCCESS);
            }
            std::thread::sleep(LOOK);
        }
    }
}

impl Context {
    fn verify_logs(&self, folder: &Path) -> Result<ExitCode, CommandError> {
        let checked =
            self.during("verifying", || logs::check(folder).map_err(CommandError::io("reading the output")))?;
        self.answer(&checked, |out, checked| {
            let Checked { segments, links, stdout_bytes, stderr_bytes, unsealed_bytes, .. } = checked;
            if let Some(problem) = &checked.problem {
                return writeln!(out, "{problem}");
            }
            write!(out, "{stdout_bytes} bytes of standard output and {stderr_bytes} of standard error ")?;
            writeln!(out, "are as {links} lines of the chain have them, in {segments} segments")?;
            if *unsealed_bytes > 0 {
                writeln!(out, "{unsealed_bytes} bytes behind them are in no line yet")?;
            }
            Ok(())
        })?;
        Ok(if checked.problem.is_none() { ExitCode::SUCCESS } else { ExitCode::from(DAMAGED) })
    }
}

fn write_container(out: &mut dyn Write, container: &ContainerStatus) -> std::io::Result<()> {
    writeln!(out, "{} {}", container.name, doing(container))?;
    writeln!(out, "  number     {}", container.index)?;
    writeln!(out, "  program    {}", running(container))?;
    if let Some(package) = &container.package {
        writeln!(out, "  digest     {}", package.digest)?;
        for signer in &package.signers {
            writeln!(out, "  signed by  {signer}")?;
        }
    }
    for PublishedPort { port, address } in &container.ports {
        writeln!(out, "  port       {port}, at {address}")?;
    }
    if let (Some(_), Some(reason)) = (container.exit_code, &container.reason) {
        writeln!(out, "  because    {reason}")?;
    }
    if container.stdin {
        writeln!(out, "  input      open")?;
    }
    writeln!(out, "  output     {} bytes, {} of errors", container.stdout_bytes, container.stderr_bytes)
}
