//! `cargo xtask storm`: machines, many at once, again and again.
//!
//! Most are left alone, and must print and end as they always do. Some are ended by a signal at a random
//! moment. None may hang, and none may spoil the cache of compiled programs they all share: at the end
//! each program runs once more. With `--kills`, machines that stay are killed as well: by the tests of
//! `tests/` that do so in CI, told to do it more often. With `--faults` their guests are made to fail, likewise.

mod deed;

use crate::cli::StormArgs;
use crate::needs;
use crate::root;
use crate::step::{self, Failure};
use deed::{DEEDS, Fate, Outcome};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Of how many runs one is ended by a signal.
const ENDED_EARLY: u64 = 4;
/// Most failures that are printed.
const PRINTED: usize = 5;

/// What all threads count.
#[derive(Default)]
struct Tally {
    done: AtomicU64,
    ended_early: AtomicU64,
    failures: Mutex<Vec<String>>,
}

impl Tally {
    fn count(&self, fate: Fate, outcome: Outcome) {
        let counter = if fate == Fate::LeftAlone { &self.done } else { &self.ended_early };
        counter.fetch_add(1, Relaxed);
        if let Outcome::Wrong(what) = outcome
            && let Ok(mut failures) = self.failures.lock()
        {
            failures.push(what);
        }
    }
}

/// Storms for the time asked for.
///
/// # Errors
/// [`Failure`] if there is no KVM, or a run did something it must not.
pub fn run(args: &StormArgs) -> Result<(), Failure> {
    needs::kvm()?;
    step::must(&mut step::cargo(&["build", "--release", "--package", "sentctl", "--locked"]))?;
    let program = root::release_program();
    let cache =
        tempfile::tempdir().map_err(|error| Failure::Other(format!("cannot make a folder: {error}")))?;
    let (tally, next) = (Tally::default(), AtomicU64::new(0));
    let end = Instant::now() + Duration::from_secs(args.seconds);
    std::thread::scope(|scope| {
        for _ in 0..args.jobs.max(1) {
            scope.spawn(|| {
                while Instant::now() < end {
                    let number = next.fetch_add(1, Relaxed);
                    one(&program, cache.path(), args.seed, number, &tally);
                }
            });
        }
    });
    for deed in DEEDS {
        tally.count(Fate::LeftAlone, deed.run(&program, cache.path(), Fate::LeftAlone));
    }
    report(&tally, args)?;
    if args.kills > 0 {
        kill(args)?;
    }
    if args.faults > 0 { fail(args) } else { Ok(()) }
}

/// Guests that fail: the test of a campaign, with as many faults as asked for.
fn fail(args: &StormArgs) -> Result<(), Failure> {
    let mut tests = step::cargo(&["test", "--locked", "--workspace"]);
    tests.args(["--test", "recovery", "--", "--nocapture", "machines_survive"]);
    tests.env("SENTIENT_FAULTS", args.faults.to_string());
    step::must(&mut tests)
}

/// Machines that stay: the tests that kill them and their commands, by name, as often as asked for.
fn kill(args: &StormArgs) -> Result<(), Failure> {
    let mut tests = step::cargo(&["test", "--locked", "--workspace"]);
    tests.args(["--test", "machines", "--test", "machines_durability", "--test", "machines_fork"]);
    tests.args(["--test", "proofs", "--", "--nocapture", "killed"]);
    tests.env("SENTIENT_KILLS", args.kills.to_string()).env("SENTIENT_KILLS_SEED", args.seed.to_string());
    step::must(&mut tests)
}

/// Run number `number`: which program, and its fate, follow from the seed and from nothing else.
fn one(program: &Path, cache: &Path, seed: u64, number: u64, tally: &Tally) {
    let dice = mix(seed.wrapping_mul(0x1_0000_0001).wrapping_add(number));
    let Some(deed) = DEEDS.get((dice % DEEDS.len() as u64) as usize) else { return };
    let fate = match (dice >> 16) % ENDED_EARLY {
        // Within the time a run takes, compiling included, and most of them within a run's own few ms.
        0 => Fate::Signal {
            which: (dice >> 24) as u8 % 3,
            after: Duration::from_micros(1 << ((dice >> 32) % 17)),
        },
        _ => Fate::LeftAlone,
    };
    tally.count(fate, deed.run(program, cache, fate));
}

fn report(tally: &Tally, args: &StormArgs) -> Result<(), Failure> {
    let failures = tally.failures.lock().map(|failures| failures.clone()).unwrap_or_default();
    for failure in failures.iter().take(PRINTED) {
        eprintln!("{failure}\n");
    }
    let (done, ended_early) = (tally.done.load(Relaxed), tally.ended_early.load(Relaxed));
    println!(
        "{done} runs left alone, {ended_early} ended by a signal, {} at once, seed {}: {} failed",
        args.jobs,
        args.seed,
        failures.len()
    );
    if failures.is_empty() { Ok(()) } else { Err(Failure::Steps(vec!["storm".into()])) }
}

/// SplitMix64.
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
