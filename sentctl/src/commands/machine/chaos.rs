//! `sentctl chaos`: a guest is made to fail, to see that it goes on. Not in release builds, unless the feature `chaos` is asked for.
//!
//! A campaign has machines of its own, in each of which runs what [says by itself](workload) whether it is right, and does one fault
//! after the other to them. What comes of each is one of four things: the machine has noticed it and gone on; nobody has noticed
//! anything, and everything works; it does not work, and does not know; it has ended.

mod chain;
mod disk;
mod report;
mod rule;
mod victim;
mod workload;

use super::Context;
use crate::cli::chaos::{ChaosCommand, InflictArgs, RunArgs};
use crate::errors::CommandError;
use crate::progress::{Measure, Progress};
use report::{Campaign, Findings, Tally};
use serde_json::json;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use victim::Victim;

/// All kinds, in the order in which a campaign goes through them.
const KINDS: [&str; 21] = [
    "exception",
    "triple-fault",
    "halt",
    "loop",
    "instruction",
    "stack",
    "interrupt-doubled",
    "interrupt-lost",
    "interrupt-stuck",
    "thread",
    STUCK,
    FULL,
    "device-errors",
    "short-writes",
    "code",
    "nucleus",
    "runtime",
    "heap",
    "page-tables",
    "devices",
    "container",
];

/// A container that computes for ever, beside the others.
const STUCK: &str = "stuck-container";

/// No file can be written for a while.
const FULL: &str = "disk-full";

/// Faults that change bytes somewhere, which may hit nothing that is looked at again.
const WILD: [&str; 7] = ["code", "nucleus", "runtime", "heap", "page-tables", "devices", "container"];

impl Context {
    /// `chaos`.
    pub fn chaos(&self, command: &ChaosCommand) -> Result<ExitCode, CommandError> {
        match command {
            ChaosCommand::Inflict(args) => self.inflict(args),
            ChaosCommand::Run(args) => self.campaign(args),
        }
    }

    fn inflict(&self, InflictArgs { kind, seed }: &InflictArgs) -> Result<ExitCode, CommandError> {
        let done: String = self.client()?.post("/v1/chaos", &json!({ "kind": kind, "seed": seed }))?;
        self.answer(&done, |out, done| writeln!(out, "{done}"))
    }

    fn campaign(&self, args: &RunArgs) -> Result<ExitCode, CommandError> {
        let campaign = {
            let progress = Progress::start("making the guest fail", Measure::Of(args.faults), self.json);
            run(args, &progress)?
        };
        self.answer(&campaign, Campaign::write)?;
        Ok(if campaign.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

/// The kinds that are asked for; all, if none are.
fn wanted(kinds: &[String]) -> Result<Vec<&'static str>, CommandError> {
    if let Some(unknown) = kinds.iter().find(|kind| !KINDS.contains(&kind.as_str())) {
        return Err(CommandError::Usage(format!(
            "there is no kind `{unknown}`: choose from {}",
            KINDS.join(", ")
        )));
    }
    let is_wanted = |kind: &&str| kinds.is_empty() || kinds.iter().any(|wanted| wanted == kind);
    Ok(KINDS.iter().copied().filter(is_wanted).collect())
}

/// What one machine's share of a campaign came to, with a tally of each kind.
type Share = Result<(Vec<Tally>, Findings), CommandError>;

fn run(args: &RunArgs, progress: &Progress) -> Result<Campaign, CommandError> {
    let kinds = wanted(&args.kind)?;
    let is_over = AtomicBool::new(false);
    let shares: Vec<Share> = std::thread::scope(|scope| {
        let machines: Vec<_> = (0..args.machines)
            .map(|first| {
                let (kinds, is_over) = (&kinds, &is_over);
                scope.spawn(move || {
                    let share = share(args, kinds, first, progress, is_over);
                    // A campaign of the others alone would not be the one that was asked for.
                    is_over.fetch_or(share.is_err(), Relaxed);
                    share
                })
            })
            .collect();
        let gone = || CommandError::Bench("a thread of the campaign has panicked".into());
        machines.into_iter().map(|machine| machine.join().unwrap_or_else(|_| Err(gone()))).collect()
    });
    let mut tallies: Vec<Tally> = kinds.iter().map(|kind| Tally::of(kind)).collect();
    let mut findings = Findings::default();
    for share in shares {
        let (counted, found) = share?;
        tallies.iter_mut().zip(counted).for_each(|(tally, own)| tally.add(own));
        findings.add(found);
    }
    Ok(Campaign::of(args.seed, tallies.into_iter(), findings))
}

/// Does a machine every fault whose number is `first`, or any number of machines more. What a fault is follows from its number.
fn share(
    args: &RunArgs,
    kinds: &[&'static str],
    first: u64,
    progress: &Progress,
    is_over: &AtomicBool,
) -> Share {
    let mut tallies: Vec<Tally> = kinds.iter().map(|kind| Tally::of(kind)).collect();
    let mut victim = Victim::begin()?;
    for fault in (first..args.faults).step_by(usize::try_from(args.machines).unwrap_or(usize::MAX)) {
        if is_over.load(Relaxed) {
            break;
        }
        // Each round begins with another kind, so that every machine meets all of them.
        let number = usize::try_from(fault).unwrap_or(0);
        let place = (number + number / kinds.len()) % kinds.len();
        if let (Some(kind), Some(tally)) = (kinds.get(place), tallies.get_mut(place)) {
            let seed = args.seed.wrapping_add(fault).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
            victim.suffer(kind, seed, tally)?;
        }
        progress.one_more();
    }
    Ok((tallies, victim.finish()))
}
