//! Verbs about containers of a machine that stays.

use super::package::CommitArgs;
use super::run::ProgramArgs;
use chrono::DateTime;
use clap::{Args, Subcommand};
use sentient_control::history::unix_ns;
use sentient_images::quantity::parse_duration;
use std::time::Duration;

/// What to do with containers.
#[derive(Debug, Subcommand)]
pub enum MatrixBoxCommand {
    /// List the machine's containers.
    #[command(after_help = "Examples:
  sentctl matrixbox ls
  sentctl matrixbox ls --all")]
    Ls(PsArgs),

    /// Show all that is known of a container.
    #[command(after_help = "Examples:
  sentctl matrixbox inspect web")]
    Inspect {
        /// The container.
        name: String,
    },

    /// Show what a container has written.
    #[command(after_help = "Examples:
  sentctl matrixbox logs web
  sentctl matrixbox logs --follow web")]
    Logs(LogsArgs),

    /// Be where a container's streams are.
    #[command(after_help = "Examples:
  sentctl matrixbox attach shell")]
    Attach(AttachArgs),

    /// Run another program with a container's files.
    #[command(after_help = "Examples:
  sentctl matrixbox exec web ls.wasm -- /etc")]
    Exec(ExecArgs),

    /// End containers at once.
    #[command(
        visible_alias = "stop",
        after_help = "Examples:
  sentctl matrixbox kill web db

There are no signals in WebAssembly that a program could take as a wish: stopping one is ending it."
    )]
    Kill(Names),

    /// Keep containers from running.
    #[command(after_help = "Examples:
  sentctl matrixbox pause web")]
    Pause(Names),

    /// Let paused containers go on.
    #[command(after_help = "Examples:
  sentctl matrixbox unpause web")]
    Unpause(Names),

    /// Show what containers take.
    #[command(after_help = "Examples:
  sentctl matrixbox stats
  sentctl matrixbox stats --follow web")]
    Stats(StatsArgs),

    /// Copy files into a container, or out of it.
    #[command(after_help = "Examples:
  sentctl matrixbox cp settings.json web:/etc/
  sentctl matrixbox cp web:/data .")]
    Cp(CpArgs),

    /// Make an image of a container that runs.
    #[command(after_help = "Examples:
  sentctl matrixbox commit web greeter:1.3.0")]
    Commit(CommitArgs),

    /// Start a container again, as it was started.
    #[command(after_help = "Examples:
  sentctl matrixbox restart web

One that runs is killed first. Its program is read again from where it was.")]
    Restart {
        /// The container.
        name: String,
    },

    /// Forget containers that have ended, and remove what they have written.
    #[command(after_help = "Examples:
  sentctl matrixbox rm web
  sentctl matrixbox rm --force web db

Snapshots in which they run are not touched: a rollback to one brings them back.")]
    Rm {
        /// The containers.
        #[arg(required = true, value_name = "NAME")]
        names: Vec<String>,

        /// Kill those that run first.
        #[arg(long)]
        force: bool,
    },
}

/// What to copy, and where.
#[derive(Debug, Args)]
pub struct CpArgs {
    /// A path on this host, one in a container (`NAME:PATH`), or `-` for an archive on standard input. What ends in `/.`
    /// is what is in a directory, and not the directory.
    #[arg(value_name = "FROM")]
    pub from: String,

    /// The same, with `-` for an archive on standard output.
    #[arg(value_name = "TO")]
    pub to: String,
}

/// What to put back.
#[derive(Debug, Subcommand)]
pub enum HealCommand {
    /// Put a container back to how a snapshot has it.
    #[command(after_help = "Examples:
  sentctl heal container web
  sentctl heal container web --to before-upgrade

The other containers, the kernel and the snapshots stay as they are, and so does what it has written to its logs. The
snapshot must have it as it was started last.")]
    Container {
        /// The container.
        name: String,

        /// A snapshot: a tag, an id, or its beginning; the last one that has it, if not given.
        #[arg(long, value_name = "SNAPSHOT")]
        to: Option<String>,
    },

    /// Put the kernel back, and keep the containers.
    #[command(after_help = "Examples:
  sentctl heal boot

The kernel's memory goes back to when it was last copied, which is done by itself whenever containers have come or gone. The
containers go on as they are, without their connections. It is what is done at first when the kernel fails.")]
    Boot,

    /// See to what is done by itself.
    #[command(after_help = "Examples:
  sentctl heal triggers ls")]
    Triggers {
        /// What.
        #[command(subcommand)]
        command: TriggersCommand,
    },
}

/// What to do about triggers.
#[derive(Debug, Subcommand)]
pub enum TriggersCommand {
    /// List them: what is done about what, and by which file.
    #[command(after_help = "Examples:
  sentctl heal triggers ls
  sentctl heal triggers ls --json

A machine's owner changes them by .heal/trigger/fault.yaml and container.yaml in its folder; docs/machines.md has examples.")]
    Ls,
}

/// Which containers to list.
#[derive(Args, Debug)]
pub struct PsArgs {
    /// Also those that have ended.
    #[arg(short, long)]
    pub all: bool,
}

/// Whose output to show.
#[derive(Args, Debug)]
pub struct LogsArgs {
    /// The container.
    pub name: String,

    /// Go on until it has ended.
    #[arg(short, long)]
    pub follow: bool,

    /// Only the last lines, so many of each stream, and with --follow what comes after them.
    #[arg(short = 'n', long, value_name = "LINES")]
    pub tail: Option<u64>,

    /// Only what came at this time or later: how long ago, as 90s, 10m or 2h, or a moment, as 2026-11-29T08:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = parse_moment, conflicts_with = "tail")]
    pub since: Option<u64>,

    /// Show nothing, and compare all that is there with the chain that was written with it.
    #[arg(long, conflicts_with_all = ["follow", "tail", "since"])]
    pub verify: bool,
}

/// Whose streams to be at.
#[derive(Args, Debug)]
pub struct AttachArgs {
    /// The container.
    pub name: String,

    /// Also show what it has written before.
    #[arg(long)]
    pub all: bool,

    /// Only show what it writes: its standard input is somebody else's.
    #[arg(long)]
    pub no_stdin: bool,
}

/// Which program to run, and with whose files.
#[derive(Args, Debug)]
pub struct ExecArgs {
    /// The container, which has to run.
    #[arg(value_name = "CONTAINER", conflicts_with_all = ["invoke", "repeat"])]
    pub container: String,

    /// The program.
    #[command(flatten)]
    pub program: ProgramArgs,

    /// Pass standard input on to it.
    #[arg(short, long)]
    pub interactive: bool,

    /// Leave it in the background, and print its name.
    #[arg(short, long)]
    pub detach: bool,

    /// Its own name as a container; the other one's with -exec behind it, if none is given.
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,
}

/// Some containers.
#[derive(Args, Debug)]
pub struct Names {
    /// The containers.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}

/// What to measure, and for how long.
#[derive(Args, Debug)]
pub struct StatsArgs {
    /// The containers; all that run, if none is named.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// How long processor time is measured, such as 500ms or 10s.
    #[arg(long, value_name = "TIME", value_parser = parse_duration, default_value = "1s")]
    pub interval: Duration,

    /// Go on, once every interval.
    #[arg(short, long)]
    pub follow: bool,
}

/// Reads a moment, or how long ago one was: in nanoseconds since 1970.
fn parse_moment(text: &str) -> Result<u64, String> {
    if let Ok(moment) = DateTime::parse_from_rfc3339(text) {
        let ns = moment.timestamp_nanos_opt().and_then(|ns| u64::try_from(ns).ok());
        return ns.ok_or_else(|| format!("`{text}` is no time of this age of the world"));
    }
    let ago = parse_duration(text)
        .map_err(|error| format!("{error}; a moment is written as 2026-11-29T08:00:00Z"))?;
    Ok(unix_ns().saturating_sub(u64::try_from(ago.as_nanos()).unwrap_or(u64::MAX)))
}
