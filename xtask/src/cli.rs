//! What may be typed after `cargo xtask`.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// The chores of this repository.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about, max_term_width = 100)]
#[command(after_help = "Examples:
  cargo xtask test
  cargo xtask fuzz boot_module --seconds 60
  cargo xtask bench --only cold_first_byte_ms")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub verb: Verb,
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Build sentctl as it is released, and say how large it and the guest kernel are.
    #[command(after_help = "Examples:
  cargo xtask build
  cargo xtask build --debug")]
    Build(BuildArgs),

    /// Run every check and every test; install what they need where that is possible.
    #[command(after_help = "Examples:
  cargo xtask test
  cargo xtask test --skip licences --skip containers
  cargo xtask test -- panic        only tests with `panic` in their name

Needs /dev/kvm. Everything runs, whatever fails before; what failed is named at the end, and the last
line is the test runner's summary.")]
    Test(TestArgs),

    /// Measure, with an optimised build: `sentctl bench`.
    #[command(after_help = "Examples:
  cargo xtask bench
  cargo xtask bench --json --only cold_first_byte_ms")]
    Bench(BenchArgs),

    /// Run exactly what CI runs (.ci/run), before a push.
    #[command(after_help = "Examples:
  cargo xtask prepush")]
    Prepush,

    /// Feed mutated inputs to the code that reads untrusted bytes.
    #[command(after_help = "Examples:
  cargo xtask fuzz                                 every target, 10 seconds each
  cargo xtask fuzz --list
  cargo xtask fuzz boot_module --seconds 600 --seed 7
  cargo xtask fuzz boot_module --input target/fuzz/boot_module-1f0c.bin
  cargo xtask fuzz boot_module --libfuzzer         needs nightly and cargo-fuzz

A failing input is written to target/fuzz, with the command that replays it.")]
    Fuzz(FuzzArgs),

    /// Run many machines at once, kill some of them, and look what is left behind.
    #[command(after_help = "Examples:
  cargo xtask storm
  cargo xtask storm --seconds 300 --jobs 8 --seed 3
  cargo xtask storm --kills 5000               and machines that stay, killed so often
  cargo xtask storm --faults 1000              and one whose guest fails so often

With --kills the tests that kill run afterwards, more often than in `cargo xtask test`: the processes of
machines, and the commands that are given to them. With --faults, so does the one that makes guests fail.")]
    Storm(StormArgs),
}

/// Arguments of `build`.
#[derive(Args, Debug)]
pub struct BuildArgs {
    /// Build it unoptimised instead, as the tests do.
    #[arg(long)]
    pub debug: bool,
}

/// Arguments of `test`.
#[derive(Args, Debug)]
pub struct TestArgs {
    /// Leave this step out; may be given several times.
    #[arg(long, value_name = "STEP", value_parser = crate::test::STEPS)]
    pub skip: Vec<String>,

    /// Handed on to the test runner, such as a part of a test's name.
    #[arg(last = true, value_name = "FILTER")]
    pub filter: Vec<String>,
}

/// Arguments of `bench`.
#[derive(Args, Debug)]
pub struct BenchArgs {
    /// Handed on to `sentctl bench`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, value_name = "ARGS")]
    pub args: Vec<String>,
}

/// Arguments of `fuzz`.
#[derive(Args, Debug)]
pub struct FuzzArgs {
    /// The target; all of them if none is named.
    pub target: Option<String>,

    /// Time for each target.
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    pub seconds: u64,

    /// Start of the random numbers: the same seed gives the same inputs.
    #[arg(long, value_name = "NUMBER")]
    pub seed: Option<u64>,

    /// Run the target once, with this file.
    #[arg(long, value_name = "FILE", requires = "target")]
    pub input: Option<PathBuf>,

    /// Print the targets.
    #[arg(long, exclusive = true)]
    pub list: bool,

    /// Guided by coverage, with libFuzzer.
    #[arg(long, requires = "target", conflicts_with = "input")]
    pub libfuzzer: bool,
}

/// Arguments of `storm`.
#[derive(Args, Debug)]
pub struct StormArgs {
    /// How long.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub seconds: u64,

    /// Machines at once.
    #[arg(long, value_name = "COUNT", default_value_t = 4)]
    pub jobs: u32,

    /// Start of the random numbers.
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub seed: u64,

    /// How often each test that kills is to do so.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub kills: u64,

    /// How often a machine's guest is to be made to fail.
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub faults: u64,
}
