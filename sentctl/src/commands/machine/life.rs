//! Making, starting, stopping and looking at machines; starting containers in them.

use super::{Context, containers};
use crate::cli::VerifyArg;
use crate::cli::machine::{ForkArgs, InitArgs, StopArgs};
use crate::cli::run::{ProgramArgs, RunArgs};
use crate::commands::program::{self, Given};
use crate::commands::{image, package};
use crate::errors::CommandError;
use crate::paths;
use sentient_control::api::{
    ContainerStatus, Fork, Forked, MachineState, MachineStatus, SnapshotTaken, StartContainer,
};
use sentient_control::client::{Client, ClientError};
use sentient_control::description::Description;
use sentient_control::error::ControlError;
use sentient_control::fork;
use sentient_control::history::History;
use sentient_control::home::MachineFolder;
use sentient_control::machine_process::{self, Task};
use sentient_control::process::{self, Invocation};
use sentient_control::recovery::fallen;
use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

/// How long a machine's process may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(10);

impl Context {
    /// `init`.
    pub fn init(&self, args: &InitArgs) -> Result<ExitCode, CommandError> {
        let machine = self.home.machine(&args.name)?;
        if machine.exists() {
            return Err(ControlError::Conflict(format!(
                "there is a machine `{}` already, in {}",
                args.name,
                machine.path().display()
            ))
            .into());
        }
        std::fs::create_dir_all(machine.runtime()).map_err(ControlError::io(&machine.runtime()))?;
        self.during("making the machine", || {
            self.start_process(&machine, Task::Init { ram: args.memory, zk: args.zk })
        })?;
        let status: MachineStatus = Client::new(machine.clone())?.get("/v1/machine")?;
        self.answer(&status, |out, status| {
            writeln!(out, "{} runs, in {}", status.name, machine.path().display())
        })
    }

    /// `boot`.
    pub fn boot(&self, name: Option<&str>, verify: VerifyArg) -> Result<ExitCode, CommandError> {
        let named = name.or(self.named.as_deref());
        let machine = self.home.chosen(named)?;
        if let Some(why) = fallen(&machine) {
            return Err(ControlError::Conflict(format!(
                "`{}` has fallen to zero mode: {why}; `sentctl boot --zero` has its console, whose `reboot` boots it as usual, and \
                 `sentctl panic recover` boots it from its last good snapshot",
                machine.name()
            ))
            .into());
        }
        self.during("booting the machine", || {
            self.start_process(&machine, Task::Boot { verify: verify.into() })
        })?;
        let status: Result<MachineStatus, _> = Client::new(machine.clone())?.get("/v1/machine");
        let status = status.map_err(|error| match std::fs::read_to_string(machine.last_end()) {
            // It was up, and has ended before it could be asked: by a page that is damaged, say.
            Ok(end) => ControlError::Conflict(format!("`{}` has ended: {}", machine.name(), end.trim())),
            Err(_) => error.into(),
        })?;
        self.answer(&status, |out, status| {
            let current = status.current.as_deref().map_or("nothing", super::tree::short);
            writeln!(out, "{} runs, from {current}", status.name)
        })
    }

    fn start_process(&self, machine: &MachineFolder, task: Task) -> Result<(), ControlError> {
        let (machine, home) = (machine.clone(), self.home.clone());
        process::start(&Invocation { task, machine, home }).map(drop)
    }

    /// `stop`.
    pub fn stop(&self, args: &StopArgs) -> Result<ExitCode, CommandError> {
        let machine = self.machine()?;
        let body = serde_json::json!({ "discard": args.discard });
        let client = Client::new(machine.clone())?;
        let taken: Option<SnapshotTaken> = self.during("stopping the machine", || {
            let taken = client.post("/v1/machine/stop", &body)?;
            // The folder is free again when the process is gone.
            History::open_within(&self.home, machine.clone(), STOP_PATIENCE)?;
            Ok::<_, CommandError>(taken)
        })?;
        self.answer(&taken, |out, taken| match taken {
            Some(taken) => writeln!(out, "{} stopped at {}", machine.name(), super::tree::short(&taken.id)),
            None => writeln!(out, "{} stopped", machine.name()),
        })
    }

    /// `status`.
    pub fn status(&self) -> Result<ExitCode, CommandError> {
        let status = self.status_of(&self.machine()?)?;
        self.answer(&status, |out, status| {
            let doing = match status.state {
                MachineState::Running => format!("runs, process {}", status.pid.unwrap_or(0)),
                MachineState::Stopped => "is stopped".to_owned(),
            };
            writeln!(out, "{} {doing}", status.name)?;
            writeln!(out, "  id         {}", status.id)?;
            writeln!(out, "  public key {}", status.public_key)?;
            writeln!(out, "  memory     {} MiB", status.ram_bytes >> 20)?;
            let current = status.current.as_deref().map_or("none", super::tree::short);
            writeln!(out, "  snapshots  {}, current {current}", status.snapshots)?;
            if let Some(end) = &status.last_end {
                writeln!(out, "  last end   {end}")?;
            }
            for container in &status.containers {
                let (program, doing) = (containers::running(container), containers::doing(container));
                writeln!(out, "  container  {} ({program}): {doing}", container.name)?;
            }
            Ok(())
        })
    }

    /// What a machine is and does, whether it runs or not.
    pub(super) fn status_of(&self, machine: &MachineFolder) -> Result<MachineStatus, CommandError> {
        match Client::new(machine.clone())?.get("/v1/machine") {
            Err(ClientError::NotRunning(_)) => self.stopped_status(machine),
            status => Ok(status?),
        }
    }

    fn stopped_status(&self, machine: &MachineFolder) -> Result<MachineStatus, CommandError> {
        let last_end = std::fs::read_to_string(machine.last_end()).ok().map(|text| text.trim().to_owned());
        let description = Description::read(machine)?;
        let history = History::open(&self.home, machine.clone())?;
        let timeline = history.timeline();
        Ok(MachineStatus {
            name: history.machine().name().to_owned(),
            id: description.id.to_string(),
            public_key: history.key().public_hex(),
            state: MachineState::Stopped,
            pid: None,
            ram_bytes: description.ram_bytes,
            uptime_ms: None,
            current: timeline.head().map_err(ControlError::from)?.map(|id| id.to_string()),
            snapshots: timeline.ids().map_err(ControlError::from)?.len() as u64,
            last_end,
            containers: Vec::new(),
        })
    }

    /// `run --detach`.
    pub fn run_detached(&self, args: &RunArgs) -> Result<ExitCode, CommandError> {
        let volumes = program::folders(&args.volume)?;
        let start = StartContainer {
            name: args.name.clone(),
            cpu_percent: args.cpu,
            ports: args.publish.clone(),
            stdin: args.interactive,
            ..self.to_start(&args.program, &Given::of(args, &volumes))?
        };
        let client = self.client()?;
        let started: ContainerStatus =
            self.during("starting the program", || client.post("/v1/containers", &start))?;
        self.answer(&started, |out, started| {
            writeln!(out, "{}", started.name)?;
            started.ports.iter().try_for_each(|port| writeln!(out, "port {} at {}", port.port, port.address))
        })
    }

    /// A program as a machine is asked to start it. It is compiled here, so that the machine's process finds it in the cache.
    pub(super) fn to_start(
        &self,
        args: &ProgramArgs,
        given: &Given<'_>,
    ) -> Result<StartContainer, CommandError> {
        let home = Some(self.home.path());
        program::prepare(args, given, home, self.json)?;
        let permissions = args.permissions.as_deref().map(package::permissions).transpose()?;
        let program = std::path::absolute(image::find(home, &args.program)?)
            .map_err(CommandError::io("finding the program"))?;
        let text = |what: &str, value: OsString| {
            value.into_string().map_err(|value| CommandError::Usage(format!("{what} {value:?} is not UTF-8")))
        };
        let words = args.args.iter().map(|arg| text("the argument", arg.clone()));
        let variables = program::environment(&args.env)?;
        Ok(StartContainer {
            program: text("the program's path", program.into_os_string())?,
            args: words.collect::<Result<_, _>>()?,
            env: variables.iter().map(|variable| String::from_utf8_lossy(variable).into_owned()).collect(),
            memory_bytes: args.memory,
            cpu_time_ms: args.cpu_time.map(|time| u64::try_from(time.as_millis()).unwrap_or(u64::MAX)),
            permissions: permissions.map(|(text, _)| text),
            unconfined: args.unconfined,
            signer: args.signer.clone(),
            explain: args.explain,
            connect: given.connect.to_vec(),
            volumes: given.volumes.to_vec(),
            ..StartContainer::default()
        })
    }

    /// `fork`.
    pub fn fork(&self, args: &ForkArgs) -> Result<ExitCode, CommandError> {
        let original = self.home.chosen(Some(&args.original))?;
        let machine = self.home.machine(&args.name)?;
        if machine.exists() {
            return Err(ControlError::machine_exists(&args.name).into());
        }
        let running = match &args.from {
            None => self.fork_from_here(&original, &machine)?,
            Some(_) => false,
        };
        if !running {
            self.during("forking the machine", || self.fork_from_snapshot(&original, args))?;
            self.during("booting the new machine", || {
                self.start_process(&machine, Task::Boot { verify: args.verify.into() })
            })?;
        }
        let status: MachineStatus = Client::new(machine)?.get("/v1/machine")?;
        self.answer(&status, |out, status| {
            let current = status.current.as_deref().map_or("nothing", super::tree::short);
            writeln!(out, "{} runs, from {current} of {}", status.name, args.original)
        })
    }

    /// A machine that goes on from where another one is; `false` if that is not running.
    fn fork_from_here(
        &self,
        original: &MachineFolder,
        machine: &MachineFolder,
    ) -> Result<bool, CommandError> {
        let (clone, home) = (machine.clone(), self.home.clone());
        match self.during("forking the machine", || fork::start(original, clone, home)) {
            Err(ControlError::Client(ClientError::NotRunning(_))) => Ok(false),
            started => Ok(started.map(|_| true)?),
        }
    }

    /// Makes a machine from a snapshot of another one.
    fn fork_from_snapshot(&self, original: &MachineFolder, args: &ForkArgs) -> Result<(), CommandError> {
        let wanted = Fork { name: args.name.clone(), from: args.from.clone() };
        match Client::new(original.clone())?.post::<Forked>("/v1/fork", &wanted) {
            Err(ClientError::NotRunning(_)) => {
                let history = History::open(&self.home, original.clone())?;
                let from = history.named(args.from.as_deref().unwrap_or("@"))?;
                let newborn = history.begin_fork(&self.home, &args.name)?;
                history.fork(&self.home, newborn, &from)?;
                Ok(())
            }
            forked => Ok(forked.map(drop)?),
        }
    }
}

/// The process of a machine, with the words behind its verb.
pub fn process(words: impl Iterator<Item = OsString>) -> Result<ExitCode, CommandError> {
    let Invocation { task, machine, home } = Invocation::read(words)?;
    machine_process::run(&home, machine, task, paths::image_cache())?;
    Ok(ExitCode::SUCCESS)
}
