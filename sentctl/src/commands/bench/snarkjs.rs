//! snarkjs' prover beside ours, where it is installed.

use super::proofs::Workshop;
use super::runs::Programs;
use super::snapshots::Measured;
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_zk::export::{prover_files, snarkjs};
use serde_json::{Map, Value, json};
use std::io;
use std::process::Command;

/// Proves again and again, and prints milliseconds.
const SCRIPT: &str = include_str!("snarkjs.js");

/// What to do about a figure that is not there.
const INSTALL: &str = "install node 20 or newer, and `npm install snarkjs@0.7.6` in this folder, or in one whose node_modules NODE_PATH names";

/// How many times as long as ours snarkjs' prover takes, with the same keys and the same witness, one after the other.
/// Both have read their keys before; only ours computes the witness and checks the proof within its time.
pub fn ratio(repeats: u32) -> Measured {
    let missing = |why: &str| CommandError::NotHere(format!("{why}: {INSTALL}"));
    let found = Command::new("node").args(["-e", "require.resolve('snarkjs')"]).output();
    match found {
        Ok(output) if output.status.success() => {}
        Ok(_) => return Err(missing("node finds no snarkjs")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(missing("there is no node")),
        Err(error) => return Err(CommandError::io("starting node")(error)),
    }
    let workshop = Workshop::new()?;
    let folder = Programs::new()?;
    let files = [
        prover_files::zkey(workshop.keys()),
        prover_files::witness(&workshop.assignment()),
        snarkjs::verification_key(workshop.keys().verifying()).to_string().into_bytes(),
    ];
    let mut command = Command::new("node");
    command.args(["-e", SCRIPT, "--", &repeats.to_string()]);
    for (name, bytes) in ["key.zkey", "witness.wtns", "key.json"].into_iter().zip(files) {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).map_err(CommandError::io("writing what snarkjs reads"))?;
        command.arg(path);
    }
    let output = command.output().map_err(CommandError::io("starting node"))?;
    if !output.status.success() {
        return Err(CommandError::Bench(format!("snarkjs: {}", String::from_utf8_lossy(&output.stderr))));
    }
    let times: Vec<f64> = serde_json::from_slice(&output.stdout)
        .map_err(|error| CommandError::Bench(format!("snarkjs' times cannot be read: {error}")))?;
    let (theirs, ours) = (Series::new(times), workshop.times(repeats)?);
    let mut details: Map<String, Value> = Map::new();
    details.insert("snarkjs_ms".into(), json!(theirs.median()));
    details.insert("ours_ms".into(), json!(ours.median()));
    Ok((Series::exact(theirs.median() / ours.median()), details))
}
