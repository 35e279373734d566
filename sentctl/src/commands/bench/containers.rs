//! Figures of containers that come and go in a machine that runs, asked for over its socket as `sentctl` does it.

use super::runs::HELLO;
use super::snapshots::{COUNTER, COUNTER_MEMORY, Measured, Stage, private_kib};
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_control::api::{ContainerState, ContainerStatus, Healed, SnapshotTaken, StartContainer};
use sentient_control::client::Client;
use serde_json::{Map, json};
use std::time::{Duration, Instant};

/// Memory of each.
const MEMORY: u64 = 2 << 20;
/// Containers that are started, and end by themselves, in one round of the rate.
const AT_A_TIME: u32 = 100;
/// Most rounds of it.
const MOST_ROUNDS: u32 = 11;
/// Containers that are there together while memory is looked at.
const TOGETHER: u32 = 32;
/// How often one that has ended is looked for.
const LOOK: Duration = Duration::from_millis(1);

/// Has a program started; gives how long it took until it ran, in milliseconds.
fn start(client: &Client, wanted: &StartContainer) -> Result<f64, CommandError> {
    let started = Instant::now();
    let _: ContainerStatus = client.post("/v1/containers", wanted)?;
    Ok(started.elapsed().as_secs_f64() * 1e3)
}

fn wanted(stage: &Stage, name: &str, wasm: &[u8], args: &[&str]) -> Result<StartContainer, CommandError> {
    Ok(StartContainer {
        program: stage.program(name, wasm)?.display().to_string(),
        name: Some(name.to_owned()),
        args: args.iter().map(|arg| (*arg).to_owned()).collect(),
        memory_bytes: Some(MEMORY),
        ..StartContainer::default()
    })
}

fn wait_until_ended(client: &Client, name: &str) -> Result<(), CommandError> {
    loop {
        let all: Vec<ContainerStatus> = client.get("/v1/containers")?;
        let lives = |one: &ContainerStatus| one.name == name && one.state != ContainerState::Ended;
        if !all.iter().any(lives) {
            return Ok(());
        }
        std::thread::sleep(LOOK);
    }
}

/// Milliseconds from asking a running machine for a container, whose image is there, to the answer that it runs.
pub fn start_ms(repeats: u32) -> Measured {
    let stage = Stage::without_proofs("128M")?;
    let client = stage.client()?;
    let hello = wanted(&stage, "hello", HELLO, &[])?;
    let (mut times, mut first, mut commands) = (Vec::new(), 0.0, Vec::new());
    for round in 0..=repeats {
        let took = start(&client, &hello)?;
        wait_until_ended(&client, "hello")?;
        let command = stage.sentctl(&["run", "-d", "--name", "typed", "--memory", "2M", &hello.program])?;
        wait_until_ended(&client, "typed")?;
        if round == 0 {
            first = took;
        } else {
            times.push(took);
            commands.push(command.as_secs_f64() * 1e3);
        }
    }
    let mut details = Map::new();
    details.insert("first_of_its_image_ms".into(), json!(first));
    details.insert("run_command_ms".into(), json!(Series::new(commands).median()));
    Ok((Series::new(times), details))
}

/// Containers a second that are started one after the other, run to their ends, and are gone.
pub fn per_second(repeats: u32) -> Measured {
    let stage = Stage::without_proofs("128M")?;
    let client = stage.client()?;
    let hello = wanted(&stage, "hello", HELLO, &[])?;
    let mut rates = Vec::new();
    for round in 0..=repeats.min(MOST_ROUNDS) {
        let started = Instant::now();
        for number in 0..AT_A_TIME {
            start(&client, &StartContainer { name: Some(format!("hello-{number}")), ..hello.clone() })?;
        }
        wait_until_ended(&client, &format!("hello-{}", AT_A_TIME - 1))?;
        if round > 0 {
            rates.push(f64::from(AT_A_TIME) / started.elapsed().as_secs_f64());
        }
    }
    Ok((Series::new(rates), Map::new()))
}

/// Milliseconds from asking for a container, one of two, to be put back alone to the answer that it goes on from there.
pub fn heal(repeats: u32) -> Measured {
    let stage = Stage::without_proofs("128M")?;
    for name in ["healed", "other"] {
        stage.start(name, COUNTER, COUNTER_MEMORY, &["--interval-ms", "20"])?;
    }
    let client = stage.client()?;
    let nothing = json!({});
    // Paused, so that the snapshot has it at rest, whatever it was about to do.
    let _: ContainerStatus = client.post("/v1/containers/healed/pause", &nothing)?;
    let _: SnapshotTaken = client.post("/v1/snapshots", &json!({ "tag": "good" }))?;
    let (mut times, mut pauses, mut pages) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=repeats {
        let _: ContainerStatus = client.post("/v1/containers/healed/unpause", &nothing)?;
        stage.wait_for_more("healed", stage.output_len("healed"))?;
        let started = Instant::now();
        let healed: Healed = client.post("/v1/containers/healed/heal", &json!({ "to": "good" }))?;
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

/// KiB of host memory that a container takes which waits, with what its program has written to its own memory.
pub fn overhead(repeats: u32) -> Measured {
    let mut growths = Vec::new();
    for _ in 0..repeats.clamp(1, 5) {
        let stage = Stage::without_proofs("128M")?;
        let client = stage.client()?;
        let counter = wanted(&stage, "counter", COUNTER, &["--interval-ms", "3600000"])?;
        // The first one brings the image.
        start(&client, &counter)?;
        let before = private_kib(&stage.machine)?;
        for number in 1..=TOGETHER {
            start(&client, &StartContainer { name: Some(format!("counter-{number}")), ..counter.clone() })?;
            // It has counted to one, and waits.
            stage.wait_for_more(&format!("counter-{number}"), 0)?;
        }
        growths.push((private_kib(&stage.machine)? - before) / f64::from(TOGETHER));
    }
    let mut details = Map::new();
    details.insert("containers_at_once".into(), json!(TOGETHER));
    Ok((Series::new(growths), details))
}
