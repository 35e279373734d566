//! `cargo xtask`: the chores of this repository.
//!
//! Contributors and CI call it, and nothing else does. [`cli`] is what may be typed; each verb is a file
//! of its own; [`step`] runs other programs, says what it runs, and remembers what failed; [`needs`]
//! knows what must be on the machine, and how it gets there.
//!
//! Invariant: a verb ends with a non-zero exit code if anything it ran did, and with the name of it as
//! one of its last lines.

mod bench;
mod build;
mod cli;
mod fuzz;
mod needs;
mod prepush;
mod root;
mod step;
mod storm;
mod test;

use clap::Parser;
use cli::{Cli, Verb};
use std::process::ExitCode;
use step::Failure;

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Build(args) => build::run(&args),
        Verb::Test(args) => test::run(&args),
        Verb::Bench(args) => bench::run(&args),
        Verb::Prepush => prepush::run(),
        Verb::Fuzz(args) => fuzz::run(&args),
        Verb::Storm(args) => storm::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Said) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}
