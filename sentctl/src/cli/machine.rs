//! Verbs about machines that stay.

use super::VerifyArg;
use clap::{Args, Subcommand};
use sentient_images::quantity::parse_size;
use std::path::PathBuf;

/// A new machine.
#[derive(Args, Debug)]
pub struct InitArgs {
    /// The machine's name.
    pub name: String,

    /// RAM of the machine.
    #[arg(long, value_name = "SIZE", default_value = "128M", value_parser = parse_size)]
    pub memory: u64,

    /// Prove what happens to the machine; with --zk=false it is only recorded, in .trace/.
    #[arg(
        long,
        value_name = "BOOL",
        default_value_t = true,
        default_missing_value = "true",
        num_args = 0..=1,
        require_equals = true,
        action = clap::ArgAction::Set
    )]
    pub zk: bool,
}

/// A snapshot to take, or what to do with others.
#[derive(Args, Debug)]
#[command(args_conflicts_with_subcommands = true)]
pub struct SnapshotArgs {
    /// What to do with a snapshot that is there.
    #[command(subcommand)]
    pub other: Option<SnapshotCommand>,

    /// Give the snapshot a name.
    #[arg(short, long, value_name = "NAME")]
    pub tag: Option<String>,

    /// What it is for.
    #[arg(default_value = "")]
    pub message: String,
}

/// What to do with a snapshot.
#[derive(Debug, Subcommand)]
pub enum SnapshotCommand {
    /// Let snapshots go, and give back the disk space that only they need.
    #[command(after_help = "Examples:
  sentctl snapshot rm before-upgrade --force
  sentctl snapshot rm 3f9a 77c1")]
    Rm {
        /// Tags, ids, or unique beginnings of ids.
        #[arg(required = true)]
        snapshots: Vec<String>,

        /// Also a tagged one, or one that the last rollback can be undone to.
        #[arg(long)]
        force: bool,
    },
}

/// A name to give or to take away.
#[derive(Args, Debug)]
pub struct TagArgs {
    /// A tag, an id, or a unique beginning of one; `@` is the current snapshot.
    #[arg(value_name = "SNAPSHOT", required_unless_present = "rm")]
    pub snapshot: Option<String>,

    /// The new name.
    #[arg(value_name = "NAME", required_unless_present = "rm")]
    pub name: Option<String>,

    /// Take the name from the snapshot that has it.
    #[arg(long = "move")]
    pub moving: bool,

    /// Take this name away; its snapshot stays.
    #[arg(long, value_name = "NAME", conflicts_with_all = ["snapshot", "name", "moving"])]
    pub rm: Option<String>,
}

/// What to keep.
#[derive(Args, Debug)]
pub struct SetArgs {
    /// keep=COUNT: so many snapshots, the newest, and tagged ones; quota=SIZE or quota=none: most space of
    /// the home's store.
    #[arg(required = true, value_name = "NAME=VALUE", value_parser = parse_property)]
    pub properties: Vec<Property>,
}

/// A setting of a machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Property {
    /// Snapshots that pruning leaves.
    Keep(u32),
    /// Most bytes of the store; none for no limit.
    Quota(Option<u64>),
}

fn parse_property(text: &str) -> Result<Property, String> {
    let (name, value) =
        text.split_once('=').ok_or("a setting is NAME=VALUE: keep=64, quota=2G or quota=none")?;
    match (name, value) {
        ("keep", count) => {
            let count = count.parse().ok().filter(|count| *count > 0);
            count.map(Property::Keep).ok_or_else(|| format!("`{value}` is no number of snapshots from 1 on"))
        }
        ("quota", "none") => Ok(Property::Quota(None)),
        ("quota", size) => match parse_size(size)? {
            0 => Err("a quota of 0 would allow no snapshot; `quota=none` is no limit".into()),
            bytes => Ok(Property::Quota(Some(bytes))),
        },
        _ => Err(format!("`{name}` is no setting: there are keep and quota")),
    }
}

/// Where to go back to.
#[derive(Args, Debug)]
pub struct RollbackArgs {
    /// A tag, an id, or a unique beginning of one.
    #[arg(conflicts_with_all = ["back", "undo"])]
    pub snapshot: Option<String>,

    /// So many snapshots before the current one; 0 is the current one.
    #[arg(short = 'n', long, value_name = "COUNT", conflicts_with = "undo")]
    pub back: Option<u32>,

    /// Return to where the machine was before the last rollback.
    #[arg(long)]
    pub undo: bool,

    /// Do not keep where the machine is now: this rollback cannot be undone.
    #[arg(long, conflicts_with = "undo")]
    pub discard: bool,
}

/// What to compare.
#[derive(Args, Debug)]
pub struct DiffArgs {
    /// A tag, an id, or a unique beginning of one; `@` is the current snapshot.
    pub from: String,

    /// Another one.
    #[arg(default_value = "@")]
    pub to: String,

    /// List the addresses that differ.
    #[arg(short, long)]
    pub verbose: bool,
}

/// A machine to be made from another.
#[derive(Args, Debug)]
pub struct ForkArgs {
    /// The machine that is there.
    #[arg(value_name = "MACHINE")]
    pub original: String,

    /// The name of the new one.
    pub name: String,

    /// Start from this snapshot; without it, from this moment.
    #[arg(long, value_name = "SNAPSHOT")]
    pub from: Option<String>,

    /// When its memory is read and checked: each page before it is first used, or all before it runs.
    #[arg(long, value_name = "WHEN", default_value = "lazy")]
    pub verify: VerifyArg,
}

/// A snapshot to write out.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// A tag, an id, or a unique beginning of one; `@` is the current snapshot.
    pub snapshot: String,

    /// Write to this file instead of standard output.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
}

/// A snapshot to read in.
#[derive(Args, Debug)]
pub struct ImportArgs {
    /// The file; standard input if there is none.
    pub file: Option<PathBuf>,

    /// Take a snapshot signed by this key: 64 hexadecimal digits. The machine's own is trusted.
    #[arg(long, value_name = "KEY")]
    pub trust: Vec<String>,

    /// Give the snapshot a name.
    #[arg(short, long, value_name = "NAME")]
    pub tag: Option<String>,
}

/// Which snapshots to let go.
#[derive(Args, Debug)]
pub struct PruneArgs {
    /// How many to keep, the newest; what `sentctl get` shows if not given. Tagged ones stay as well.
    #[arg(long, value_name = "COUNT")]
    pub keep: Option<u32>,

    /// Instead: give back what the home's store has of machines that are not in it any more.
    #[arg(long, conflicts_with = "keep")]
    pub unclaimed: bool,
}

/// A machine to remove.
#[derive(Args, Debug)]
pub struct RmArgs {
    /// The machine.
    #[arg(value_name = "MACHINE")]
    pub name: String,

    /// Stop it first, if it runs.
    #[arg(short, long)]
    pub force: bool,
}

/// How to stop.
#[derive(Args, Debug)]
pub struct StopArgs {
    /// Take no last snapshot: what was done since the one before is lost.
    #[arg(long)]
    pub discard: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_as_people_write_them() {
        assert_eq!(parse_property("keep=32"), Ok(Property::Keep(32)));
        assert_eq!(parse_property("quota=2G"), Ok(Property::Quota(Some(2 << 30))));
        assert_eq!(parse_property("quota=none"), Ok(Property::Quota(None)));
        for bad in [
            "keep",
            "keep=",
            "keep=0",
            "keep=-1",
            "keep=none",
            "quota=",
            "quota=0",
            "quota=2X",
            "=1",
            "ram=1G",
        ] {
            assert!(parse_property(bad).is_err(), "{bad}");
        }
    }
}

/// What to do about faults.
#[derive(Debug, Subcommand)]
pub enum PanicCommand {
    /// Show the faults of the machine's guest, and what was done about each.
    #[command(after_help = "Examples:
  sentctl panic report
  sentctl panic report --verbose
  sentctl panic report --html --output report.html

A machine whose guest fails goes on by itself. The machine need not run for this. The cores of the last few faults are in .panic/
in its folder: gdb .panic/kernel.symbols.elf .panic/crash-TIME.core.")]
    Report(ReportArgs),
    /// Put the machine back to its last good snapshot, and boot it if it has ended.
    #[command(after_help = "Examples:
  sentctl panic recover

A machine whose guest fails does this by itself. One that runs keeps where it was: `sentctl rollback --undo` returns there.")]
    Recover,
}

/// How to tell of faults.
#[derive(Args, Debug)]
pub struct ReportArgs {
    /// Tell all that is kept: registers, calls, stack, the log's last lines.
    #[arg(short, long, conflicts_with = "html")]
    pub verbose: bool,

    /// Make one page of it, for a browser.
    #[arg(long)]
    pub html: bool,

    /// Write the page to this file instead of standard output.
    #[arg(short, long, value_name = "FILE", requires = "html")]
    pub output: Option<PathBuf>,
}
