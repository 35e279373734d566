//! What waits for a proof, what cannot have one, and why the chain cannot go on: `.lock/zk.remind/proofs.json`, for
//! people. What is waiting follows from the chain; nobody reads it from here.

use crate::description::note;
use crate::error::ControlError;
use crate::home::{MachineFolder, make_folder};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;

/// What there is to say.
#[derive(Debug, PartialEq, Eq)]
pub struct Reminder {
    /// Records that wait for their proofs.
    pub waiting: BTreeSet<u64>,
    /// Those that cannot have one, and why.
    pub broken: BTreeMap<u64, String>,
    /// Why the chain cannot go on.
    pub chain: Option<String>,
}

impl Reminder {
    /// Writes it down, or takes away what is there if there is nothing to say.
    pub fn write(&self, machine: &MachineFolder) {
        let Self { waiting, broken, chain } = self;
        let path = machine.remind().join("proofs.json");
        if waiting.is_empty() && broken.is_empty() && chain.is_none() {
            // One that is not there is not in the way.
            let _ = fs::remove_file(path);
            return;
        }
        let broken: Vec<_> = broken
            .iter()
            .map(|(sequence, problem)| json!({ "record": sequence, "problem": problem }))
            .collect();
        let text = json!({ "waiting": waiting, "broken": broken, "chain": chain });
        let written = make_folder(&machine.remind())
            .map_err(ControlError::io(&machine.remind()))
            .and_then(|()| note(&path, &format!("{text:#}\n")));
        if let Err(error) = written {
            tracing::warn!(%error, "what waits for a proof is not written down");
        }
    }
}
