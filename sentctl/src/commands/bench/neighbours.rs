//! What containers that compute cost each other, and those beside them that wait for somebody.

use super::kernels::KERNELS;
use super::runs::image;
use super::sharing::{PATIENCE, Resident, Said, container};
use super::snapshots::Measured;
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_abi::boot_module::container_flags;
use sentient_abi::stdio::Status;
use sentient_devices::virtio::stdio_mux::ContainerEvent;
use sentient_vmm::ContainerRun;
use serde_json::{Map, json};
use std::time::{Duration, Instant};

const CAT: &[u8] = include_bytes!("../../../../resources/containers/cat/cat.wasm");

/// What is typed, over and over.
const LINE: &[u8] = b"a line that somebody types\n";
/// Lines of a round, and rounds with and without a neighbour.
const LINES: usize = 200;
const ROUNDS: u32 = 5;
/// Time between an answer and the next line, in which a neighbour computes.
const THINKING: Duration = Duration::from_millis(3);

/// How long two share the processor, and how often.
const SHARING: Duration = Duration::from_secs(3);
const SHARING_ROUNDS: u32 = 3;

/// One that computes for ever.
fn looping() -> Result<ContainerRun, CommandError> {
    Ok(container(&image(KERNELS)?, container_flags::INVOKE, &["kernels", "nbody", "0", "2000000000"]))
}

/// Milliseconds to the answer of 99 of 100 lines.
fn p99(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    let at = (times.len() * 99).div_ceil(100).saturating_sub(1);
    times.get(at).copied().unwrap_or(f64::NAN)
}

/// How long each line takes to be answered by a container that copies it.
fn answers(resident: &Resident) -> Result<Vec<f64>, CommandError> {
    let mut times = Vec::with_capacity(LINES);
    for _ in 0..LINES {
        std::thread::sleep(THINKING);
        let typed = Instant::now();
        if resident.guest.input(0, LINE, PATIENCE) < LINE.len() {
            return Err(CommandError::Bench("a container takes no input any more".into()));
        }
        let mut left = LINE.len();
        while left > 0 {
            if let (0, Said::Output(bytes)) = resident.next()? {
                left = left.saturating_sub(bytes.len());
            }
        }
        times.push(typed.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

/// How much longer a line takes to be answered, at the 99th percentile, where another container computes for ever, in
/// milliseconds.
pub fn interactive(_: u32) -> Measured {
    let (resident, cat, looping) = (Resident::start()?, container(&image(CAT)?, 0, &["cat"]), looping()?);
    let (mut costs, mut alone, mut beside) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        resident.begin(0, &cat)?;
        let without = p99(answers(&resident)?);
        resident.begin(1, &looping)?;
        let with = p99(answers(&resident)?);
        resident.guest.end_input(0);
        resident.guest.kill(1);
        resident.until_ended(2)?;
        costs.push(with - without);
        alone.push(without);
        beside.push(with);
    }
    let mut details = Map::new();
    details.insert("alone_p99_ms".into(), json!(Series::new(alone).median()));
    details.insert("beside_p99_ms".into(), json!(Series::new(beside).median()));
    Ok((Series::new(costs), details))
}

/// By which part of its half one of two containers that compute is served too well.
pub fn fairness(_: u32) -> Measured {
    let (resident, looping) = (Resident::start()?, looping()?);
    resident.begin(0, &looping)?;
    resident.begin(1, &looping)?;
    let mut used = times(&resident)?;
    let mut deviations = Vec::new();
    for _ in 0..SHARING_ROUNDS {
        std::thread::sleep(SHARING);
        let now = times(&resident)?;
        let [one, other] = [0, 1].map(|at: usize| match (used.get(at), now.get(at)) {
            (Some(before), Some(now)) => now.saturating_sub(*before) as f64,
            _ => f64::NAN,
        });
        deviations.push((one - other).abs() / (one + other));
        used = now;
    }
    Ok((Series::new(deviations), Map::new()))
}

/// Nanoseconds of processor time that both have had.
fn times(resident: &Resident) -> Result<Vec<u64>, CommandError> {
    let mut used = [None; 2];
    (0..2).for_each(|container| resident.guest.ask(container));
    while used.iter().any(Option::is_none) {
        let (container, said) = resident.next()?;
        if let (Said::Event(ContainerEvent::Status(Status { used_ns, .. })), Some(used)) =
            (said, used.get_mut(container as usize))
        {
            *used = Some(used_ns);
        }
    }
    Ok(used.into_iter().flatten().collect())
}
