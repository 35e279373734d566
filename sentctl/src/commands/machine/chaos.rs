//! `sentctl chaos`: a guest is made to fail, to see that it goes on. Not in release builds, unless the feature `chaos` is asked for.
//!
//! A campaign has a machine of its own, in which runs what [says by itself](workload) whether it is right, and does one fault after
//! the other to it. What comes of each is one of four things: the machine has noticed it and gone on; nobody has noticed anything,
//! and everything works; it does not work, and does not know; it has ended.

mod chain;
mod disk;
mod rule;
mod workload;

use super::Context;
use crate::cli::chaos::{ChaosCommand, InflictArgs, RunArgs};
use crate::commands::bench::snapshots::Stage;
use crate::commands::bench::statistics::Series;
use crate::errors::CommandError;
use sentient_control::api::{ContainerStatus, MachineHealth, MachineStatus, Recovered, SnapshotTaken};
use sentient_control::client::Client;
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::time::{Duration, Instant};
use workload::Workload;

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
    "stuck-container",
    "disk-full",
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
const FAULTS: &[u8] = include_bytes!("../../../../resources/containers/faults/faults.wasm");

/// No file can be written for a while.
const FULL: &str = "disk-full";

/// Faults that change bytes somewhere, which may hit nothing that is looked at again.
const WILD: [&str; 7] = ["code", "nucleus", "runtime", "heap", "page-tables", "devices", "container"];

/// How long a machine may take to notice a fault, or to show that it works.
const PATIENCE: Duration = Duration::from_secs(8);

/// Numbers that the counter has to come to before it is said to work: many where somebody looks now and then.
fn enough(kind: &str) -> u64 {
    if kind == "code" { 200 } else { 20 }
}

/// What a campaign's machine does about faults: a snapshot proves itself soon, and nothing is ever too much.
const TRIGGER: &str = "trigger: 1\nhealthy: 50ms\nbudget: 1000000\ncheck: 200ms\n";

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    Recovered,
    Harmless,
    Stuck,
    Ended,
}

/// What came of all faults of a kind.
#[derive(Clone, Debug, Default, Serialize)]
struct Tally {
    kind: String,
    faults: u64,
    /// Noticed, and gone on from.
    recovered: u64,
    /// Of these: with the kernel alone put back.
    heal_boot: u64,
    /// Not noticed by anybody, with everything working.
    harmless: u64,
    /// Not working, and not known.
    stuck: u64,
    /// The machine's process is not there any more.
    ended: u64,
    /// Containers that went on as they were, of all there were in those faults that were recovered from.
    kept: u64,
    containers: u64,
    /// How long the guest stood still, in milliseconds: the median and the most.
    pause_ms: f64,
    pause_most_ms: f64,
    #[serde(skip)]
    pauses: Vec<f64>,
}

/// A campaign.
#[derive(Debug, Serialize)]
struct Campaign {
    faults: u64,
    seed: u64,
    recovered_or_harmless: f64,
    /// What containers said that was not so, and after which kind of fault.
    wrong: Vec<String>,
    /// How often a container whose own memory was changed said something wrong.
    hurt: u64,
    /// How often something is missing that a container has said while no file could be written.
    cut: u64,
    /// Faults that were not recovered from.
    failures: Vec<String>,
    kinds: Vec<Tally>,
}

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
        let campaign = self.during("making the guest fail", || run(args))?;
        let is_well = campaign.wrong.is_empty() && campaign.recovered_or_harmless >= 0.99;
        self.answer(&campaign, write)?;
        Ok(if is_well { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn write(out: &mut dyn Write, campaign: &Campaign) -> std::io::Result<()> {
    writeln!(
        out,
        "{:18}{:>7}{:>11}{:>11}{:>10}{:>7}{:>7}{:>7}  PAUSE (MOST)",
        "KIND", "FAULTS", "RECOVERED", "HEAL-BOOT", "HARMLESS", "STUCK", "ENDED", "KEPT"
    )?;
    for tally in &campaign.kinds {
        let kept = match tally.containers {
            0 => "-".to_owned(),
            all => format!("{} %", tally.kept * 100 / all),
        };
        let Tally {
            kind, faults, recovered, heal_boot, harmless, stuck, ended, pause_ms, pause_most_ms, ..
        } = tally;
        writeln!(
            out,
            "{kind:18}{faults:>7}{recovered:>11}{heal_boot:>11}{harmless:>10}{stuck:>7}{ended:>7}{kept:>7}  {pause_ms:.1} ms ({pause_most_ms:.1})"
        )?;
    }
    campaign.failures.iter().try_for_each(|failure| writeln!(out, "NOT RECOVERED FROM: {failure}"))?;
    campaign.wrong.iter().try_for_each(|wrong| writeln!(out, "WRONG: {wrong}"))?;
    writeln!(
        out,
        "{} faults with seed {}: {:.1} % went on by themselves, {} wrong answers",
        campaign.faults,
        campaign.seed,
        campaign.recovered_or_harmless * 100.0,
        campaign.wrong.len()
    )
}

/// A machine that is made to fail.
struct Victim {
    stage: Stage,
    client: Client,
    workload: Workload,
    /// Faults that are known.
    known: usize,
    /// What was read of them, and the length of the file then.
    faults: (u64, Vec<Recovered>),
    /// What is being done to it.
    kind: &'static str,
    wrong: Vec<String>,
    /// How often one whose own memory was changed has said something wrong.
    hurt: u64,
    /// How often something is missing of what one has said.
    cut: u64,
    /// Faults that were not recovered from.
    failures: Vec<String>,
}

impl Victim {
    fn begin() -> Result<Self, CommandError> {
        let stage = Stage::without_proofs("128M")?;
        let client = stage.client()?;
        stage.trigger_on_fault(TRIGGER)?;
        let workload = Workload::start(&stage)?;
        let _: SnapshotTaken = client.post("/v1/snapshots", &json!({ "tag": "good" }))?;
        let mut victim = Self {
            stage,
            client,
            workload,
            known: 0,
            faults: (0, Vec::new()),
            kind: "",
            wrong: Vec::new(),
            hurt: 0,
            cut: 0,
            failures: Vec::new(),
        };
        // The trigger is read at each fault, of which this is the first.
        victim.inflict("exception", 0)?;
        victim.wait(|victim| Ok(!victim.faults()?.is_empty()))?;
        victim.known = victim.faults()?.len();
        victim.settle()?;
        Ok(victim)
    }

    fn inflict(&self, kind: &str, seed: u64) -> Result<String, CommandError> {
        if kind == STUCK {
            // It computes for ever, and asks nobody for anything.
            let program = self.stage.program("stuck", FAULTS)?;
            let start =
                json!({ "program": program, "name": STUCK, "memory_bytes": 8 << 20, "args": ["loop"] });
            let started: ContainerStatus = self.client.post("/v1/containers", &start)?;
            return Ok(started.name);
        }
        let inflict = || self.client.post("/v1/chaos", &json!({ "kind": kind, "seed": seed }));
        if kind != FULL {
            return Ok(inflict()?);
        }
        // Who wants a snapshot just then is refused, or comes before it.
        std::thread::scope(|scope| {
            let amid = scope.spawn(|| self.client.post::<SnapshotTaken>("/v1/snapshots", &json!({})));
            let said = inflict();
            let _ = amid.join();
            Ok(said?)
        })
    }

    /// Faults that are known. They are read when there are more: whoever reads on and on takes the processor from what is measured.
    fn faults(&mut self) -> Result<&[Recovered], CommandError> {
        let len = std::fs::metadata(self.stage.machine.recoveries()).map_or(0, |file| file.len());
        if len != self.faults.0 {
            self.faults = (len, sentient_control::recovery::recoveries(&self.stage.machine)?);
        }
        Ok(&self.faults.1)
    }

    fn look(&mut self) -> u64 {
        match self.workload.counted() {
            Ok(count) => count,
            Err(wrong) => {
                self.accuse(wrong);
                0
            }
        }
    }

    /// Looks at what was written to the volume.
    fn look_at_disk(&mut self) {
        for wrong in self.workload.written() {
            self.accuse(wrong);
        }
    }

    /// A container has said something wrong. One whose own memory was changed may, and what could not be written is missing.
    fn accuse(&mut self, wrong: String) {
        match self.kind {
            "container" => self.hurt += 1,
            FULL => self.cut += 1,
            kind => self.wrong.push(format!("{kind}: {wrong}")),
        }
    }

    fn wait(
        &mut self,
        mut done: impl FnMut(&mut Self) -> Result<bool, CommandError>,
    ) -> Result<bool, CommandError> {
        let deadline = Instant::now() + PATIENCE;
        while !done(self)? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(true)
    }

    /// Waits until the machine is well, and counts.
    fn settle(&mut self) -> Result<bool, CommandError> {
        let mut counted = 0;
        self.wait(|victim| {
            counted += victim.look();
            let health: Result<MachineHealth, _> = victim.client.get("/v1/health");
            Ok(counted > 2
                && health.is_ok_and(|health| health.good.is_some() && !health.failing && health.copied))
        })
    }

    fn is_there(&self) -> bool {
        self.client.get::<MachineStatus>("/v1/machine").is_ok()
    }

    /// Whether everything works: the guest answers, so does the server, the volume is written to, and after a disk that was full
    /// there can be snapshots.
    fn works(&mut self) -> Result<bool, CommandError> {
        let answers = self.client.get::<serde_json::Value>("/v1/stats").is_ok();
        self.look_at_disk();
        if !self.workload.is_written() {
            return Ok(false);
        }
        let keeps =
            self.kind != FULL || self.client.post::<SnapshotTaken>("/v1/snapshots", &json!({})).is_ok();
        Ok(answers
            && keeps
            && match self.workload.served() {
                Ok(served) => served,
                Err(wrong) => {
                    self.accuse(wrong);
                    true
                }
            })
    }

    /// Waits for what comes of a fault.
    fn outcome(&mut self, kind: &str) -> Result<(Outcome, Option<Recovered>), CommandError> {
        let mut counted = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            counted += self.look();
            let known = self.known;
            if let Some(fault) = self.faults()?.get(known).cloned() {
                self.known += 1;
                return Ok((Outcome::Recovered, Some(fault)));
            }
            if counted >= enough(kind) && self.works()? && self.faults()?.len() == self.known {
                return Ok((Outcome::Harmless, None));
            }
            if Instant::now() > deadline {
                let outcome = if self.is_there() { Outcome::Stuck } else { Outcome::Ended };
                return Ok((outcome, None));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Does a fault, and sees to it that the next one finds a machine that is well.
    fn suffer(&mut self, kind: &'static str, seed: u64, tally: &mut Tally) -> Result<(), CommandError> {
        tally.faults += 1;
        self.kind = kind;
        let said = self.inflict(kind, seed);
        let (outcome, fault) = self.outcome(kind)?;
        match outcome {
            Outcome::Recovered => tally.recovered += 1,
            Outcome::Harmless => tally.harmless += 1,
            Outcome::Stuck => tally.stuck += 1,
            Outcome::Ended => tally.ended += 1,
        }
        if matches!(outcome, Outcome::Stuck | Outcome::Ended) {
            let said = said.unwrap_or_else(|error| error.to_string());
            let log = std::fs::read_to_string(self.stage.machine.log()).unwrap_or_default();
            let last = log.lines().last().unwrap_or("nothing");
            self.failures
                .push(format!("{kind}, seed {seed}: {said}; {outcome:?}; the machine's log: {last}"));
        }
        if let Some(fault) = fault {
            tally.pauses.push(fault.pause_us as f64 / 1e3);
            if fault.action == "heal-boot" {
                tally.heal_boot += 1;
                tally.kept += fault.kept.len() as u64;
                tally.containers += (fault.kept.len() + fault.healed.len() + fault.lost.len()) as u64;
            }
            if fault.lost.iter().any(|name| name == "chain") {
                self.workload.begin_anew();
            }
        }
        if kind == STUCK {
            let _: Result<ContainerStatus, _> =
                self.client.delete(&format!("/v1/containers/{STUCK}?force=true"));
        }
        if outcome == Outcome::Ended {
            self.stage.sentctl(&["-m", "bench", "boot"])?;
            self.client = self.stage.client()?;
        }
        // What was not noticed is still there, and so may be what was: of the next fault only its own is to be seen.
        let well = outcome != Outcome::Stuck && self.settle()? && self.wait(Self::works)?;
        if !well || WILD.contains(&kind) {
            let back = json!({ "to": "good", "discard": true });
            // It may fail at that very moment, of what was done to it.
            self.wait(|victim| Ok(victim.client.post::<serde_json::Value>("/v1/rollback", &back).is_ok()))?;
            self.settle()?;
        }
        self.known = self.faults()?.len();
        Ok(())
    }
}

fn run(args: &RunArgs) -> Result<Campaign, CommandError> {
    let mut tallies: BTreeMap<usize, Tally> = BTreeMap::new();
    let unknown = args.kind.iter().find(|kind| !KINDS.contains(&kind.as_str()));
    if let Some(unknown) = unknown {
        return Err(CommandError::Usage(format!(
            "there is no kind `{unknown}`: choose from {}",
            KINDS.join(", ")
        )));
    }
    let is_wanted = |kind: &&&str| args.kind.is_empty() || args.kind.iter().any(|wanted| wanted == **kind);
    let kinds: Vec<&'static str> = KINDS.iter().filter(is_wanted).copied().collect();
    let mut victim = Victim::begin()?;
    for fault in 0..args.faults {
        let place = usize::try_from(fault).unwrap_or(0) % kinds.len();
        let Some(kind) = kinds.get(place) else { continue };
        let tally =
            tallies.entry(place).or_insert_with(|| Tally { kind: (*kind).to_owned(), ..Tally::default() });
        let seed = args.seed.wrapping_add(fault).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8;
        victim.suffer(kind, seed, tally)?;
    }
    victim.kind = "any";
    for wrong in victim.workload.all_written() {
        victim.accuse(wrong);
    }
    let kinds: Vec<Tally> = tallies.into_values().map(Tally::finished).collect();
    let went_on: u64 = kinds.iter().map(|tally| tally.recovered + tally.harmless).sum();
    let recovered_or_harmless = went_on as f64 / args.faults.max(1) as f64;
    tracing::info!(number = victim.workload.number(), "the counter has come to here");
    Ok(Campaign {
        faults: args.faults,
        seed: args.seed,
        recovered_or_harmless,
        wrong: victim.wrong,
        hurt: victim.hurt,
        cut: victim.cut,
        failures: victim.failures,
        kinds,
    })
}

impl Tally {
    fn finished(mut self) -> Self {
        self.pause_most_ms = self.pauses.iter().copied().fold(0.0, f64::max);
        if !self.pauses.is_empty() {
            self.pause_ms = Series::new(std::mem::take(&mut self.pauses)).median();
        }
        self
    }
}
