//! Figures of machines whose guests fail.

use super::snapshots::{COUNTER, COUNTER_MEMORY, Measured, PATIENCE, Stage};
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_control::api::{KernelHealed, MachineHealth, Recovered};
use sentient_control::client::Client;
use sentient_control::history::unix_ns;
use sentient_control::recovery::recoveries;
use serde_json::{Map, json};
use std::time::{Duration, Instant};

/// What the machine does about faults: a snapshot proves itself soon, and nothing is too much.
const TRIGGER: &str = "trigger: 1\nhealthy: 100ms\nbudget: 1000000\n";

/// A machine with two containers, of whose kernel there is a copy.
fn stage() -> Result<(Stage, Client), CommandError> {
    let stage = Stage::without_proofs("128M")?;
    stage.trigger("fault", TRIGGER)?;
    for name in ["one", "two"] {
        stage.start(name, COUNTER, COUNTER_MEMORY, &["--interval-ms", "20"])?;
    }
    let client = stage.client()?;
    healed(&client)?;
    Ok((stage, client))
}

/// Puts the kernel back; waits for a copy of it that has all containers.
fn healed(client: &Client) -> Result<KernelHealed, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match client.post("/v1/heal", &json!({})) {
            Ok(healed) => return Ok(healed),
            Err(error) if Instant::now() > deadline => return Err(error.into()),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

/// Milliseconds from asking for the kernel to be put back to the answer that its containers go on.
pub fn heal_boot(repeats: u32) -> Measured {
    let (stage, client) = stage()?;
    let (mut times, mut pauses, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=repeats {
        stage.wait_for_more("one", stage.output_len("one"))?;
        let started = Instant::now();
        let healed = healed(&client)?;
        let took = started.elapsed();
        if round > 0 {
            times.push(took.as_secs_f64() * 1e3);
            pauses.push(healed.pause_us as f64 / 1e3);
            pages.push(healed.pages as f64);
        }
    }
    let mut details = Map::new();
    details.insert("pause_ms".into(), json!(Series::new(pauses).median()));
    details.insert("pages".into(), json!(Series::new(pages).median()));
    Ok((Series::new(times), details))
}

/// A fault that was done to order, and how long after it was found, in milliseconds.
fn suffered(stage: &Stage, client: &Client, kind: &str) -> Result<(Recovered, f64), CommandError> {
    if !cfg!(any(debug_assertions, feature = "chaos")) {
        return Err(CommandError::NotHere("this build has no faults to order (feature `chaos`)".into()));
    }
    let known = recoveries(&stage.machine)?.len();
    let before = unix_ns();
    let _: String = client.post("/v1/chaos", &json!({ "kind": kind, "seed": 1 }))?;
    let deadline = Instant::now() + PATIENCE;
    let fault = loop {
        if let Some(fault) = recoveries(&stage.machine)?.into_iter().nth(known) {
            break fault;
        }
        if Instant::now() > deadline {
            return Err(CommandError::Bench(format!("nobody has noticed a fault: {kind}")));
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    // The next one is another one.
    let is_well = || client.get("/v1/health").is_ok_and(|health: MachineHealth| !health.failing);
    while !is_well() && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(10));
    }
    let found_after = fault.unix_ns.saturating_sub(before) as f64 / 1e6;
    Ok((fault, found_after))
}

/// Milliseconds from when a panic is found until the guest goes on.
pub fn panic_to_running(repeats: u32) -> Measured {
    let (stage, client) = stage()?;
    let (mut pauses, mut kept) = (Vec::new(), 0);
    for _ in 0..repeats {
        let (fault, _) = suffered(&stage, &client, "exception")?;
        kept += u32::from(fault.action == "heal-boot");
        pauses.push(fault.pause_us as f64 / 1e3);
    }
    let mut details = Map::new();
    details.insert("with_containers_kept".into(), json!(f64::from(kept) / f64::from(repeats.max(1))));
    Ok((Series::new(pauses), details))
}

/// Milliseconds until a guest that hangs is found.
pub fn hang_detect(repeats: u32) -> Measured {
    let (stage, client) = stage()?;
    let found = (0..repeats).map(|_| suffered(&stage, &client, "loop").map(|(_, after)| after));
    Ok((Series::new(found.collect::<Result<_, _>>()?), Map::new()))
}
