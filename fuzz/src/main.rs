//! `cargo xtask fuzz` starts this.

use clap::{Parser, Subcommand};
use sentient_fuzz::campaign::{self, Found, Plan};
use sentient_fuzz::{TARGETS, Target, targets};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Feeds mutated inputs to the code that reads untrusted bytes.
#[derive(Debug, Parser)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Print the targets.
    List,
    /// Run targets for a time each; all of them if none is named.
    Run {
        #[arg(value_parser = target)]
        target: Option<&'static Target>,
        #[arg(long)]
        seconds: u64,
        /// By default another one each time.
        #[arg(long)]
        seed: Option<u64>,
        /// The folder for failing inputs.
        #[arg(long)]
        findings: PathBuf,
    },
    /// Run a target once, with a file.
    Replay {
        #[arg(value_parser = target)]
        target: &'static Target,
        input: PathBuf,
    },
    /// What `run` starts.
    #[command(hide = true)]
    Work {
        #[arg(value_parser = target)]
        target: &'static Target,
        #[arg(long)]
        seed: u64,
        #[arg(long)]
        milliseconds: u64,
        #[arg(long)]
        progress: PathBuf,
    },
}

fn target(name: &str) -> Result<&'static Target, String> {
    targets::find(name).ok_or_else(|| {
        let names: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
        format!("the targets are {}", names.join(", "))
    })
}

fn main() -> ExitCode {
    match Cli::parse().verb {
        Verb::List => {
            for target in TARGETS {
                println!("{:<18} {}", target.name, target.about);
            }
            ExitCode::SUCCESS
        }
        Verb::Run { target, seconds, seed, findings } => {
            let seed =
                seed.unwrap_or_else(|| std::time::UNIX_EPOCH.elapsed().map_or(1, |since| since.as_secs()));
            let chosen = target.map_or_else(|| TARGETS.iter().collect(), |target| vec![target]);
            let plan = |target| Plan {
                target,
                time: Duration::from_secs(seconds),
                seed,
                findings: findings.clone(),
            };
            let failed = chosen.into_iter().map(plan).filter(|plan| !run(plan)).count();
            if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Verb::Replay { target, input } => match std::fs::read(&input) {
            Ok(bytes) => {
                (target.run)(&bytes);
                println!("{}: no failure with the {} bytes of {}", target.name, bytes.len(), input.display());
                ExitCode::SUCCESS
            }
            Err(error) => {
                eprintln!("cannot read {}: {error}", input.display());
                ExitCode::FAILURE
            }
        },
        Verb::Work { target, seed, milliseconds, progress } => {
            let worked = campaign::work(target, seed, Duration::from_millis(milliseconds), &progress);
            worked.map_or_else(|error| fail(&error), |()| ExitCode::SUCCESS)
        }
    }
}

/// Runs one target; false if it failed.
fn run(plan: &Plan) -> bool {
    let name = plan.target.name;
    match campaign::run(plan) {
        Ok(Found::Nothing(inputs)) => {
            println!("ok    {name:<18} {inputs} inputs (seed {})", plan.seed);
            true
        }
        Ok(Found::Failure { input, what }) => {
            println!("FAIL  {name:<18} it {what}");
            println!("      replay it: cargo xtask fuzz {name} --input {}", input.display());
            false
        }
        Err(error) => {
            println!("FAIL  {name:<18} {error}");
            false
        }
    }
}

fn fail(error: &campaign::CampaignError) -> ExitCode {
    eprintln!("{error}");
    ExitCode::FAILURE
}
