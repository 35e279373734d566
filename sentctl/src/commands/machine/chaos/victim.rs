//! A machine of a campaign's, which is made to fail.

use super::report::{Findings, Tally};
use super::workload::Workload;
use super::{FULL, STUCK, WILD};
use crate::commands::bench::snapshots::Stage;
use crate::errors::CommandError;
use sentient_control::api::{ContainerStatus, MachineHealth, MachineStatus, Recovered, SnapshotTaken};
use sentient_control::client::Client;
use serde_json::json;
use std::time::{Duration, Instant};

const FAULTS: &[u8] = include_bytes!("../../../../../resources/containers/faults/faults.wasm");

/// How long a machine may take to notice a fault, or to show that it works.
const PATIENCE: Duration = Duration::from_secs(8);

/// What it does about faults: a snapshot proves itself soon, nothing is ever too much, and nothing is said that was not said by the
/// kernel's own code.
const TRIGGER: &str = "trigger: 1\nhealthy: 50ms\nbudget: 1000000\ncheck: 20ms\nhold_output: true\n";
/// And about containers that trap.
const CONTAINER_TRIGGER: &str = "trigger: 1\nthen: [heal, restart]\nbudget: 50\nwithin: 10s\n";

/// Numbers that the counter has to come to before it is said to work.
const ENOUGH: u64 = 10;

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Recovered,
    Harmless,
    Stuck,
    Ended,
}

/// A machine that is made to fail.
pub struct Victim {
    stage: Stage,
    client: Client,
    workload: Workload,
    /// Faults that are known.
    known: usize,
    /// How often it had been recovered before, as it says itself: that is written down somewhat later.
    recovered: Option<u64>,
    /// What was read of them, and the length of the file then.
    faults: (u64, Vec<Recovered>),
    /// What is being done to it, and what that was, for people.
    kind: &'static str,
    done: String,
    /// What was said meanwhile that is wrong.
    accused: Vec<String>,
    findings: Findings,
}

impl Victim {
    /// A machine that is well, and works.
    pub fn begin() -> Result<Self, CommandError> {
        let stage = Stage::without_proofs("128M")?;
        let client = stage.client()?;
        stage.trigger("fault", TRIGGER)?;
        stage.trigger("container", CONTAINER_TRIGGER)?;
        let workload = Workload::start(&stage)?;
        let _: SnapshotTaken = client.post("/v1/snapshots", &json!({ "tag": "good" }))?;
        let mut victim = Self {
            stage,
            client,
            workload,
            known: 0,
            recovered: None,
            faults: (0, Vec::new()),
            kind: "",
            done: String::new(),
            accused: Vec::new(),
            findings: Findings::default(),
        };
        // The trigger is read at each fault, of which this is the first.
        victim.inflict("exception", 0)?;
        victim.wait(|victim| Ok(!victim.faults()?.is_empty()))?;
        victim.settle()?;
        victim.remember()?;
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
                self.accuse(&wrong);
                0
            }
        }
    }

    /// Looks at what was written to the volume.
    fn look_at_disk(&mut self) {
        for wrong in self.workload.written() {
            self.accuse(&wrong);
        }
    }

    /// Looks at all that was ever written to it.
    fn look_at_all(&mut self) {
        for wrong in self.workload.all_written() {
            self.accuse(&wrong);
        }
    }

    fn accuse(&mut self, wrong: &str) {
        self.accused.push(format!("{}: {wrong}", self.done));
    }

    /// Counts what was said that is wrong.
    fn judge(&mut self) {
        for wrong in std::mem::take(&mut self.accused) {
            self.findings.accuse(self.kind, &wrong);
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
            && match self.workload.served(&self.client) {
                Ok(served) => served,
                Err(wrong) => {
                    self.accuse(&wrong);
                    true
                }
            })
    }

    /// Waits for what comes of a fault.
    fn outcome(&mut self) -> Result<(Outcome, Option<Recovered>), CommandError> {
        let mut counted = 0;
        let deadline = Instant::now() + PATIENCE;
        loop {
            counted += self.look();
            let known = self.known;
            if let Some(fault) = self.faults()?.get(known).cloned() {
                self.known += 1;
                return Ok((Outcome::Recovered, Some(fault)));
            }
            if counted >= ENOUGH
                && self.works()?
                && (self.recovered.is_none() || self.recoveries() == self.recovered)
                && self.faults()?.len() == self.known
            {
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
    pub fn suffer(&mut self, kind: &'static str, seed: u64, tally: &mut Tally) -> Result<(), CommandError> {
        self.kind = kind;
        self.done = self.inflict(kind, seed).unwrap_or_else(|error| error.to_string());
        let (outcome, fault) = self.outcome()?;
        tally.count(outcome, fault.as_ref());
        if matches!(outcome, Outcome::Stuck | Outcome::Ended) {
            let log = std::fs::read_to_string(self.stage.machine.log()).unwrap_or_default();
            let last = log.lines().last().unwrap_or("nothing");
            let recorded = self.faults()?.len();
            let text = format!(
                "{kind}, seed {seed}: {}; {outcome:?}, with {recorded} faults on record, of which {} were known; the machine's \
                 log: {last}",
                self.done, self.known
            );
            self.findings.failures.push(text);
        }
        if fault.is_some_and(|fault| fault.lost.iter().any(|name| name == "chain")) {
            self.workload.begin_anew();
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
            // Whoever was changed may have written where it had written before.
            self.look_at_all();
            let back = json!({ "to": "good", "discard": true });
            // It may fail at that very moment, of what was done to it.
            self.wait(|victim| Ok(victim.client.post::<serde_json::Value>("/v1/rollback", &back).is_ok()))?;
            self.settle()?;
        }
        self.judge();
        self.remember()
    }

    /// What has come of it until now is known.
    fn remember(&mut self) -> Result<(), CommandError> {
        (self.recovered, self.known) = (self.recoveries(), self.faults()?.len());
        Ok(())
    }

    fn recoveries(&self) -> Option<u64> {
        self.client.get::<MachineHealth>("/v1/health").ok().map(|health| health.recoveries)
    }

    /// Looks once more at all that was written; gives what went wrong all the time.
    pub fn finish(mut self) -> Findings {
        (self.kind, self.done) = ("any", "in the end".to_owned());
        self.look_at_all();
        self.judge();
        tracing::info!(number = self.workload.number(), "the counter has come to here");
        self.findings
    }
}
