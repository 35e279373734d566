//! A run of a target in a process of its own.
//!
//! The worker is the same program. Before each input it writes the input's number to a file, so that
//! however it ends (a panic, an abort, a stack overflow, a hang) the supervisor knows which input it was,
//! makes it again, and saves it.

use crate::{Target, mutate};
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::time::{Duration, Instant};

/// One input may take this long before it counts as a hang.
const PATIENCE: Duration = Duration::from_secs(20);
/// How often the supervisor looks.
const LOOK: Duration = Duration::from_millis(50);

/// What a run is to be.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The target.
    pub target: &'static Target,
    /// For how long.
    pub time: Duration,
    /// Start of the random numbers.
    pub seed: u64,
    /// The folder that failing inputs are saved in.
    pub findings: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub enum Found {
    /// Nothing, with this many inputs.
    Nothing(u64),
    /// This input, for this reason.
    Failure {
        /// Where it was saved.
        input: PathBuf,
        /// What it did.
        what: String,
    },
}

/// Why a run could not take place.
#[derive(Debug, thiserror::Error)]
pub enum CampaignError {
    /// The host's fault.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> CampaignError {
    move |source| CampaignError::Io { what: what.into(), source }
}

/// Runs a worker to its end, and saves what it died of.
///
/// # Errors
/// [`CampaignError`] if the worker cannot be started or the input cannot be saved.
pub fn run(plan: &Plan) -> Result<Found, CampaignError> {
    fs::create_dir_all(&plan.findings).map_err(io(format!("making {}", plan.findings.display())))?;
    let progress = tempfile::NamedTempFile::new().map_err(io("making the progress file"))?;
    let program = std::env::current_exe().map_err(io("finding this program"))?;
    let mut worker = Command::new(program)
        .args(["work", plan.target.name, "--seed", &plan.seed.to_string()])
        .args(["--milliseconds", &plan.time.as_millis().to_string()])
        .arg("--progress")
        .arg(progress.path())
        .spawn()
        .map_err(io("starting the worker"))?;
    let ended = watch(&mut worker, progress.as_file()).map_err(io("watching the worker"))?;
    let iteration = read_progress(progress.as_file()).unwrap_or(0);
    let what = match ended {
        Some(status) if status.success() => return Ok(Found::Nothing(iteration)),
        Some(status) => describe(status),
        None => format!("took longer than {} s", PATIENCE.as_secs()),
    };
    let bytes = mutate::input(plan.target, &(plan.target.corpus)(), plan.seed, iteration);
    let input = plan.findings.join(format!("{}-{:x}-{iteration:x}.bin", plan.target.name, plan.seed));
    fs::write(&input, bytes).map_err(io(format!("writing {}", input.display())))?;
    Ok(Found::Failure { input, what })
}

/// Waits for the worker; `None` if it hung, and was killed.
fn watch(worker: &mut Child, progress: &File) -> io::Result<Option<ExitStatus>> {
    let mut last = None;
    let mut since = Instant::now();
    loop {
        if let Some(status) = worker.try_wait()? {
            return Ok(Some(status));
        }
        let now = read_progress(progress);
        if now != last {
            (last, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            worker.kill()?;
            worker.wait()?;
            return Ok(None);
        }
        std::thread::sleep(LOOK);
    }
}

fn read_progress(file: &File) -> Option<u64> {
    let mut bytes = [0; 8];
    file.read_exact_at(&mut bytes, 0).ok()?;
    Some(u64::from_le_bytes(bytes))
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(101), _) => "panicked".into(),
        (_, Some(signal)) => format!("died of signal {signal}"),
        (code, _) => format!("ended the process with code {}", code.unwrap_or(-1)),
    }
}

/// The worker: feeds inputs to the target until the time is up.
///
/// # Errors
/// [`CampaignError`] if it cannot note its progress.
pub fn work(target: &Target, seed: u64, time: Duration, progress: &Path) -> Result<(), CampaignError> {
    let file = OpenOptions::new().write(true).open(progress).map_err(io("opening the progress file"))?;
    let corpus = (target.corpus)();
    let end = Instant::now() + time;
    let mut iteration: u64 = 0;
    while Instant::now() < end {
        file.write_all_at(&iteration.to_le_bytes(), 0).map_err(io("noting the progress"))?;
        (target.run)(&mutate::input(target, &corpus, seed, iteration));
        iteration += 1;
    }
    file.write_all_at(&iteration.to_le_bytes(), 0).map_err(io("noting the progress"))
}
