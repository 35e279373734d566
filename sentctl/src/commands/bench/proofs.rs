//! Figures of proofs: of the prover in this process, and of a machine's.

use super::snapshots::{
    COUNTER, COUNTER_MEMORY, INTERVAL_MS, Measured, PAGES, PAGES_CHANGED, PAGES_MEMORY, PATIENCE, Stage, ms,
};
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_control::api::{MachineStatus, SnapshotTaken};
use sentient_control::client::Client;
use sentient_control::error::ControlError;
use sentient_control::proofs::api::ProofsMade;
use sentient_zk::circuit::{Assignment, Inputs, Statement};
use sentient_zk::commitment::{Memory, SLOTS, SlotSet, StateOpening};
use sentient_zk::keys::{KeySet, development};
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use sentient_zk::scalar::{Scalar, truncated};
use sentient_zk::verify::{MAX_BATCH, Proof, Verifier, VerifyError};
use serde_json::{Map, json};
use std::time::{Duration, Instant};

/// A prover with keys of its own, on all processors, and something to prove: half of the slots differ.
pub struct Workshop {
    keys: KeySet,
    prover: Prover,
    /// How long its multiples took.
    prepared: Duration,
    statement: Statement,
    old: StateOpening,
    new: StateOpening,
}

impl Workshop {
    pub fn new() -> Result<Self, CommandError> {
        let keys = development::setup().map_err(ControlError::from)?;
        let started = Instant::now();
        let prover = Prover::new(&keys, Threads { count: 0, niceness: 0 }).map_err(ControlError::from)?;
        let prepared = started.elapsed();
        let mut slots = [Scalar::default(); SLOTS];
        slots.iter_mut().zip(0..).for_each(|(slot, seed)| *slot = number(seed));
        let old = StateOpening {
            previous: number(100),
            memory: Memory::from_slots(slots),
            delta: number(101),
            meta: number(102),
        };
        slots.iter_mut().zip(200..).step_by(2).for_each(|(slot, seed)| *slot = number(seed));
        let new = StateOpening {
            previous: old.state(),
            memory: Memory::from_slots(slots),
            delta: number(103),
            meta: number(104),
        };
        let statement = Statement {
            old_state: old.state(),
            new_state: new.state(),
            dirty: old.memory.differs(&new.memory),
            frozen: SlotSet(0xaaaa),
            contract: [1; 32],
        };
        Ok(Self { keys, prover, prepared, statement, old, new })
    }

    fn prove(&self) -> Result<Proof, CommandError> {
        let proof = self.prover.prove(&self.statement, &self.old, &self.new);
        Ok(proof.map_err(ControlError::from)?)
    }

    /// Milliseconds of proofs, with witness and check.
    pub fn times(&self, repeats: u32) -> Result<Series, CommandError> {
        times(repeats, || self.prove().map(drop))
    }

    /// The prover's keys.
    pub fn keys(&self) -> &KeySet {
        &self.keys
    }

    /// The witness of what is proved.
    pub fn assignment(&self) -> Assignment {
        Assignment::of(&Inputs::honest(&self.statement, &self.old, &self.new))
    }

    fn verifier(&self) -> Verifier {
        Verifier::new(self.prover.key().clone())
    }
}

/// A number as large and as mixed as a truncated hash is (splitmix64, four times).
fn number(seed: u64) -> Scalar {
    let mut bytes = [0; 32];
    for (part, place) in (seed * 4..).zip(bytes.chunks_exact_mut(8)) {
        let mut word = part.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        place.copy_from_slice(&(word ^ (word >> 31)).to_le_bytes());
    }
    truncated(&bytes)
}

fn times(repeats: u32, mut work: impl FnMut() -> Result<(), CommandError>) -> Result<Series, CommandError> {
    let mut times = Vec::new();
    for round in 0..=repeats {
        let started = Instant::now();
        work()?;
        if round > 0 {
            times.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok(Series::new(times))
}

/// Milliseconds of a proof that was verified, on all processors: witness, proof, check.
pub fn proof(repeats: u32) -> Measured {
    let workshop = Workshop::new()?;
    let series = workshop.times(repeats)?;
    let mut details = Map::new();
    details.insert("prepare_ms".into(), json!(workshop.prepared.as_secs_f64() * 1e3));
    Ok((series, details))
}

fn refused(error: VerifyError) -> CommandError {
    CommandError::Bench(error.to_string())
}

/// Milliseconds in which a proof is checked.
pub fn verify(repeats: u32) -> Measured {
    let workshop = Workshop::new()?;
    let (proof, verifier) = (workshop.prove()?, workshop.verifier());
    let series = times(repeats, || verifier.verify(&workshop.statement, &proof).map_err(refused))?;
    Ok((series, Map::new()))
}

/// Milliseconds in which 64 proofs are checked together.
pub fn verify_64(repeats: u32) -> Measured {
    let workshop = Workshop::new()?;
    let verifier = workshop.verifier();
    let (one, two) = (workshop.prove()?, workshop.prove()?);
    let batch: Vec<(Statement, Proof)> =
        [one, two].into_iter().cycle().take(MAX_BATCH).map(|proof| (workshop.statement, proof)).collect();
    let series = times(repeats, || verifier.verify_batch(&batch).map_err(refused))?;
    Ok((series, Map::new()))
}

/// Waits until a machine owes no proof.
fn all_proved(client: &Client) -> Result<(), CommandError> {
    let made: ProofsMade = client.post("/v1/zk/prove", &json!({}))?;
    match made.problems.first() {
        None => Ok(()),
        Some(problem) => Err(CommandError::Bench(problem.clone())),
    }
}

/// Milliseconds from a durable snapshot, of a machine that does little, to its stored proof. The prover is ready.
pub fn lag(repeats: u32) -> Measured {
    let stage = Stage::new("128M")?;
    stage.start("counter", COUNTER, COUNTER_MEMORY, &["--interval-ms", "20"])?;
    let client = stage.client()?;
    let mut lags = Vec::new();
    for round in 0..=repeats {
        let _: SnapshotTaken = client.post("/v1/snapshots", &json!({}))?;
        let durable = Instant::now();
        // The genesis is record 0.
        let proof = stage.machine.chain().join(format!("{:08}.proof", round + 1));
        while !proof.exists() {
            if durable.elapsed() > PATIENCE {
                return Err(CommandError::Bench(format!("{} does not come", proof.display())));
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        if round > 0 {
            lags.push(durable.elapsed().as_secs_f64() * 1e3);
        }
    }
    Ok((Series::new(lags), Map::new()))
}

/// Least rounds of the ratio of pauses: of fewer, the medians differ by more than the few hundredths that are looked for.
const PAUSE_ROUNDS: u32 = 61;

/// How long a guest stands still for a snapshot of 256 pages where transitions are proved, over how long where they are
/// not: two machines that take turns. Beside it, the same of snapshots that are taken while a proof is being made.
pub fn pause_ratio(repeats: u32) -> Measured {
    let (on, off) = (Stage::new("256M")?, Stage::without_proofs("256M")?);
    for stage in [&on, &off] {
        let words = [PAGES_CHANGED.to_string(), INTERVAL_MS.to_string(), "0".to_owned()];
        stage.start("pages", PAGES, PAGES_MEMORY, &words.each_ref().map(String::as_str))?;
    }
    let (with, without) = (on.client()?, off.client()?);
    let pause = |stage: &Stage, client: &Client| -> Result<f64, CommandError> {
        let written = stage.output_len("pages");
        stage.wait_for_more("pages", written)?;
        let taken: SnapshotTaken = client.post("/v1/snapshots", &json!({}))?;
        Ok(ms(taken.pause_us))
    };
    let (mut proved, mut plain, mut proving) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=repeats.max(PAUSE_ROUNDS) {
        all_proved(&with)?;
        let turns = if round % 2 == 0 {
            let first = pause(&on, &with)?;
            all_proved(&with)?;
            (first, pause(&off, &without)?)
        } else {
            let first = pause(&off, &without)?;
            (pause(&on, &with)?, first)
        };
        let _: SnapshotTaken = with.post("/v1/snapshots", &json!({}))?;
        let meanwhile = pause(&on, &with)?;
        if round > 0 {
            proved.push(turns.0);
            plain.push(turns.1);
            proving.push(meanwhile);
        }
    }
    let (proved, plain, proving) = (Series::new(proved), Series::new(plain), Series::new(proving));
    let mut details = Map::new();
    details.insert("with_ms".into(), json!(proved.median()));
    details.insert("without_ms".into(), json!(plain.median()));
    details.insert("while_proving_ratio".into(), json!(proving.median() / plain.median()));
    Ok((Series::exact(proved.median() / plain.median()), details))
}

/// MiB by which a machine's process is larger at its largest, once it has made proofs, than before.
pub fn memory(_: u32) -> Measured {
    let stage = Stage::new("128M")?;
    let client = stage.client()?;
    let status: MachineStatus = client.get("/v1/machine")?;
    let process = status.pid.ok_or_else(|| CommandError::Bench("the machine has no process".into()))?;
    let before = kib_of(process, "VmRSS:")?;
    for _ in 0..3 {
        let _: SnapshotTaken = client.post("/v1/snapshots", &json!({}))?;
        all_proved(&client)?;
    }
    let most = kib_of(process, "VmHWM:")?;
    Ok((Series::exact((most - before) / 1024.0), Map::new()))
}

/// A line of /proc/PID/status, in KiB (proc_pid_status(5)).
fn kib_of(process: u32, field: &str) -> Result<f64, CommandError> {
    let text = std::fs::read_to_string(format!("/proc/{process}/status"))
        .map_err(CommandError::io("reading what a process has in memory"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.ok_or_else(|| CommandError::Bench(format!("/proc/{process}/status has no {field}")))
}
