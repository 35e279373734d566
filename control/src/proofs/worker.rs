//! The threads that record and prove.
//!
//! The one that proves begins when the machine is up, works after everybody else on its processors, and reads the keys when there
//! is something to prove. What is to be proved is what has no proof on disk, so it goes on where a process that
//! was killed has left off. The key's multiples, some 40 MB, are kept for a while, for the next transition.

use super::api::{KeyInfo, ProofsMade};
use super::keyring;
use super::remind::Reminder;
use crate::error::ControlError;
use crate::history::History;
use crate::home::MachineFolder;
use rustix::process::setpriority_process;
use sentient_zk::chain::Trace;
use sentient_zk::keys::Pin;
use sentient_zk::prove::Prover;
use sentient_zk::prove::prover::Threads;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Priority of everything that proves (setpriority(2)): the last.
const NICENESS: i32 = 19;
/// What is missing in the ledger is written so long after the machine is up: its first bytes go before.
const RECORD_AFTER: Duration = Duration::from_millis(50);
/// Proving begins so long after the machine is up: until then its start may still need the processors.
const PROVE_AFTER: Duration = Duration::from_millis(500);
/// For so long the prover is kept without anything to do.
const KEEP: Duration = Duration::from_secs(120);

/// What is to be proved.
#[derive(Debug, Default)]
pub struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    /// What `.lock/zk.remind/` says. Locked before the state.
    reminder: Mutex<Option<Reminder>>,
}

#[derive(Debug, Default)]
struct State {
    waiting: BTreeSet<u64>,
    proving: Option<u64>,
    /// What could not be proved, and why: not tried again until somebody asks for it.
    broken: BTreeMap<u64, String>,
    /// Why the chain could not go on when it was last tried.
    chain: Option<String>,
    /// Something is to be recorded.
    to_record: bool,
    /// Whether a thread records.
    records: bool,
    /// Whether a thread proves.
    works: bool,
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records wait for their proofs, also those that could not be made.
    pub fn add(&self, sequences: impl IntoIterator<Item = u64>) {
        let mut state = self.lock();
        for sequence in sequences {
            state.broken.remove(&sequence);
            if state.proving != Some(sequence) {
                state.waiting.insert(sequence);
            }
        }
        self.changed.notify_all();
    }

    /// Why the chain cannot go on, or that it can.
    pub fn chain_is(&self, problem: Option<String>) {
        self.lock().chain = problem;
    }

    /// Has `.lock/zk.remind/` say how things are, now that `proved` has its proof. Nobody who keeps the guest or the
    /// next snapshot waiting calls this.
    pub fn remind(&self, machine: &MachineFolder, proved: Option<u64>) {
        let mut written = self.reminder.lock().unwrap_or_else(PoisonError::into_inner);
        let reminder = {
            let state = self.lock();
            let mut waiting = state.waiting.clone();
            waiting.extend(state.proving.filter(|proving| Some(*proving) != proved));
            Reminder { waiting, broken: state.broken.clone(), chain: state.chain.clone() }
        };
        if written.as_ref() != Some(&reminder) {
            reminder.write(machine);
            *written = Some(reminder);
        }
    }

    /// Has what happened recorded; whether there is a thread that does so.
    pub(super) fn ask_to_record(&self) -> bool {
        let mut state = self.lock();
        state.to_record = state.records;
        self.changed.notify_all();
        state.records
    }

    fn wait_to_record(&self) {
        let mut state = self.lock();
        while !std::mem::take(&mut state.to_record) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// The record that is being proved.
    #[must_use]
    pub fn proving(&self) -> Option<u64> {
        self.lock().proving
    }

    /// Why records could not be proved.
    #[must_use]
    pub fn broken(&self) -> BTreeMap<u64, String> {
        self.lock().broken.clone()
    }

    /// Waits until none of these is to be proved any more; whether somebody works on it.
    #[must_use]
    pub fn wait_for(&self, sequences: &BTreeSet<u64>) -> bool {
        let mut state = self.lock();
        let busy = |state: &State| {
            state.proving.is_some_and(|proving| sequences.contains(&proving))
                || state.waiting.intersection(sequences).next().is_some()
        };
        while state.works && busy(&state) {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.works
    }

    /// Proves what waits, here and now, where no thread does.
    fn work_off(&self, history: &History) {
        let mut bench = Bench::default();
        while let Some(sequence) = self.next(Duration::ZERO) {
            let proved =
                history.proofs().trace(history).and_then(|trace| bench.prove(history, &trace, sequence));
            self.done(sequence, proved.err().map(|error| error.to_string()), history.machine());
        }
    }

    /// The next record, waiting for one so long.
    fn next(&self, patience: Duration) -> Option<u64> {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        loop {
            if let Some(sequence) = state.waiting.pop_first() {
                state.proving = Some(sequence);
                return Some(sequence);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn done(&self, sequence: u64, problem: Option<String>, machine: &MachineFolder) {
        if let Some(problem) = problem {
            tracing::warn!(sequence, problem, "a transition is not proved");
            self.lock().broken.insert(sequence, problem);
        }
        // Before those who wait for the proof go on.
        self.remind(machine, Some(sequence));
        self.lock().proving = None;
        self.changed.notify_all();
    }
}

/// Starts the threads, for a machine that is up: one that records, and one that proves, if that is wanted.
///
/// # Errors
/// The error of starting a thread.
pub fn start(history: &Arc<History>) -> Result<(), ControlError> {
    let start = |name: &str, work: fn(&History)| {
        let history = Arc::clone(history);
        let thread = std::thread::Builder::new().name(name.into()).spawn(move || work(&history));
        thread.map(drop).map_err(ControlError::io("starting a thread for the machine's chain"))
    };
    history.proofs().queue().lock().records = true;
    start("chain", record)?;
    if history.proofs().are_wanted() {
        history.proofs().queue().lock().works = true;
        start("proofs", work)?;
    }
    Ok(())
}

/// Ends with the process. Of everybody's priority: who takes a snapshot next, waits for the ledger.
fn record(history: &History) {
    let (proofs, machine) = (history.proofs(), history.machine());
    std::thread::sleep(RECORD_AFTER);
    proofs.record(history);
    if proofs.are_wanted() {
        match proofs.trace(history).and_then(|trace| unproved(history, &trace)) {
            Ok(unproved) => proofs.queue().add(unproved),
            // It was told by `record`.
            Err(error) => tracing::debug!(%error, "the machine's chain is not in order"),
        }
        proofs.queue().remind(machine, None);
    }
    loop {
        proofs.queue().wait_to_record();
        proofs.record(history);
    }
}

/// Ends with the process.
fn work(history: &History) {
    let proofs = history.proofs();
    std::thread::sleep(PROVE_AFTER);
    // On Linux this is the thread's alone, and that of threads it starts.
    let _ = setpriority_process(None, NICENESS);
    let mut bench = Bench::default();
    loop {
        let Some(sequence) = proofs.queue().next(KEEP) else {
            bench = Bench::default();
            continue;
        };
        let proved = proofs.trace(history).and_then(|trace| bench.prove(history, &trace, sequence));
        proofs.queue().done(sequence, proved.err().map(|error| error.to_string()), history.machine());
    }
}

/// Records without a proof, or with one that was made with another key than the machine is pinned to.
///
/// # Errors
/// [`ControlError`] if the pin cannot be read.
pub fn unproved(history: &History, trace: &Trace) -> Result<Vec<u64>, ControlError> {
    let mut found = trace.unproved();
    if let Some(pin) = keyring::pin_of(history.machine())? {
        for record in trace.records() {
            let sequence = record.record().sequence;
            // A file that is no proof is for zk-verify to report, and not for us to replace.
            if let Ok(Some((key, _))) = trace.proof(sequence)
                && key.to_string() != pin.verifying
            {
                found.push(sequence);
            }
        }
    }
    found.sort_unstable();
    Ok(found)
}

/// Proves the transitions to a snapshot, or all of them, and returns when that is done.
///
/// # Errors
/// [`ControlError`] if there is no saying what is to be proved; what cannot be proved is in the answer.
pub fn prove(history: &History, name: Option<&str>) -> Result<ProofsMade, ControlError> {
    let proofs = history.proofs();
    let trace = proofs.chain(history)?;
    let wanted = name.map(|name| history.timeline().resolve(name)).transpose()?;
    let is_wanted = |sequence: &u64| {
        let record = trace.record(*sequence).ok();
        wanted.is_none_or(|id| record.is_some_and(|record| record.record().snapshot == id))
    };
    let records: BTreeSet<u64> = unproved(history, &trace)?.into_iter().filter(is_wanted).collect();
    proofs.queue().add(records.iter().copied());
    if !proofs.queue().wait_for(&records) {
        proofs.queue().work_off(history);
    }
    let mut broken = proofs.queue().broken();
    broken.retain(|sequence, _| records.contains(sequence));
    let problems = broken.iter().map(|(sequence, problem)| format!("record {sequence}: {problem}")).collect();
    let proved = records.into_iter().filter(|sequence| !broken.contains_key(sequence)).collect();
    Ok(ProofsMade { proved, problems })
}

/// Pins a machine to a key set of its home, by the first digits of its verifying key's digest. Transitions that were
/// proved with another are proved again.
///
/// # Errors
/// [`ControlError`].
pub fn pin(history: &History, digits: &str) -> Result<KeyInfo, ControlError> {
    let proofs = history.proofs();
    let trace = proofs.chain(history)?;
    let pin = proofs.keyring().named(digits)?;
    // Whether they are whole, before they are relied on.
    proofs.keyring().load(&pin)?;
    keyring::pin(history.machine(), &pin)?;
    history.trace("pin", &serde_json::json!({ "key": pin.verifying }))?;
    proofs.queue().add(unproved(history, &trace)?);
    proofs.queue().remind(history.machine(), None);
    let default = proofs.keyring().default()?;
    Ok(KeyInfo::of(&pin, Some(&pin), default.as_ref()))
}

/// A prover, once there is something to prove.
#[derive(Debug, Default)]
pub struct Bench {
    prover: Option<(Pin, Prover)>,
}

impl Bench {
    /// Proves a record and stores the proof, which was verified. Durable when it returns.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn prove(&mut self, history: &History, trace: &Trace, sequence: u64) -> Result<(), ControlError> {
        let Some((statement, old, new)) = trace.to_prove(sequence)? else { return Ok(()) };
        loop {
            let prover = self.prover(history)?;
            let proof = prover.prove(&statement, &old, &new)?;
            let key = prover.key().digest();
            trace.put_proof(sequence, key, &proof)?;
            // The machine may have been pinned to other keys meanwhile.
            if keyring::pin_of(history.machine())?.is_some_and(|pin| pin.verifying == key.to_string()) {
                return Ok(());
            }
        }
    }

    fn prover(&mut self, history: &History) -> Result<&Prover, ControlError> {
        let machine = history.machine();
        let keyring = history.proofs().keyring();
        let threads = || Threads { count: 0, niceness: 0 }.start();
        let pin = keyring::pin_of(machine)?;
        let kept = self.prover.take().filter(|(of, _)| Some(of) == pin.as_ref());
        let ready = match (kept, pin) {
            (Some(kept), _) => kept,
            (None, Some(pin)) => {
                let threads = threads()?;
                let keys = threads.install(|| keyring.load(&pin))?;
                (pin, Prover::on(threads, &keys)?)
            }
            (None, None) => {
                let threads = threads()?;
                let (pin, keys) = threads.install(|| {
                    let pin = keyring.default_or_made()?;
                    keyring.load(&pin).map(|keys| (pin, keys))
                })?;
                keyring::pin(machine, &pin)?;
                (pin, Prover::on(threads, &keys)?)
            }
        };
        let (_, prover) = self.prover.insert(ready);
        Ok(prover)
    }
}
