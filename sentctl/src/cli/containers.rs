//! Verbs about containers of a machine that stays.

use clap::{Args, Subcommand};

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

    /// End containers at once.
    #[command(after_help = "Examples:
  sentctl matrixbox kill web db")]
    Kill(KillArgs),

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
}

/// Which containers to end.
#[derive(Args, Debug)]
pub struct KillArgs {
    /// The containers.
    #[arg(required = true, value_name = "NAME")]
    pub names: Vec<String>,
}
