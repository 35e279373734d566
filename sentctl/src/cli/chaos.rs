//! Words of `chaos`.

use clap::{Args, Subcommand};

/// What to make fail.
#[derive(Debug, Subcommand)]
pub enum ChaosCommand {
    /// Do a fault to a machine's guest.
    #[command(after_help = "Examples:
  sentctl chaos inflict exception
  sentctl chaos inflict heap --seed 7
  sentctl panic report

Kinds: exception, triple-fault, halt, loop, instruction (at the next interrupt); stack; interrupt-doubled, interrupt-lost,
interrupt-stuck; thread (of this program's, that works for a device); disk-full (for 0.2 s), device-errors, short-writes (the
next 20 calls of volumes); code, nucleus, runtime, heap, page-tables, devices,
container (changed bytes somewhere in there, chosen by --seed).")]
    Inflict(InflictArgs),

    /// Do one fault after the other to machines of its own, whose containers check what they say.
    #[command(after_help = "Examples:
  sentctl chaos run
  sentctl chaos run --faults 1000 --machines 2 --json
  sentctl chaos run --kind heap --kind page-tables

Exit code 1 if fewer than 99 of 100 were recovered from, or a container said something wrong.")]
    Run(RunArgs),
}

/// A fault.
#[derive(Args, Debug)]
pub struct InflictArgs {
    /// Its kind.
    pub kind: String,

    /// Chooses where.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub seed: u64,
}

/// A campaign.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// How many faults.
    #[arg(long, value_name = "COUNT", default_value_t = 130)]
    pub faults: u64,

    /// Chooses where.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// How many machines are done faults to, side by side.
    #[arg(long, value_name = "COUNT", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=64))]
    pub machines: u64,

    /// Only faults of this kind; may be given several times.
    #[arg(long, value_name = "KIND")]
    pub kind: Vec<String>,
}
