//! `zk-verify`: a machine's chain, or files of one.

use super::{Context, Reach};
use crate::cli::zk::VerifyArgs;
use crate::errors::CommandError;
use sentient_control::error::ControlError;
use sentient_control::proofs::api::{ChainVerified, VerifyChain};
use sentient_control::proofs::keyring::Keyring;
use sentient_control::proofs::{checking, rollups};
use sentient_zk::chain::RecordId;
use sentient_zk::keys::KeyDigest;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

/// Exit code when something is wrong.
const WRONG: u8 = 1;
/// Exit code when nothing is wrong, and something is not proved yet.
const UNPROVED: u8 = 2;

impl Context {
    /// `zk-verify`.
    pub fn zk_verify(&self, args: &VerifyArgs) -> Result<ExitCode, CommandError> {
        let found = match args.files.is_empty() {
            true => self.verify_machine(args)?,
            false => self.during("verifying", || self.verify_files(&args.files, args))?,
        };
        self.answer(&found, write)?;
        Ok(match (found.problems.is_empty(), found.unproved.is_empty()) {
            (false, _) => ExitCode::from(WRONG),
            (true, false) => ExitCode::from(UNPROVED),
            (true, true) => ExitCode::SUCCESS,
        })
    }

    fn verify_machine(&self, args: &VerifyArgs) -> Result<ChainVerified, CommandError> {
        let wanted = VerifyChain {
            from: args.from.clone(),
            to: args.to.clone(),
            known: args.known.clone(),
            key: args.key.clone(),
        };
        let reach = self.reach()?;
        self.during("verifying", || match reach {
            Reach::Running(client) => Ok(client.post("/v1/zk/verify", &wanted)?),
            Reach::Stopped(history) => Ok(checking::verify_chain(&history, &wanted)?),
        })
    }

    fn verify_files(&self, files: &[PathBuf], args: &VerifyArgs) -> Result<ChainVerified, CommandError> {
        let signer = args.signer.as_deref().map(|text| rollups::digest(text, "public key")).transpose()?;
        let known = args.known.as_deref().map(|text| rollups::digest(text, "record's id")).transpose()?;
        let key = match (&args.key, files.first()) {
            (Some(text), _) => KeyDigest(rollups::digest(text, "key's digest")?),
            (None, Some(first)) => self.known_key(rollups::claimed_key(first)?)?,
            (None, None) => return Ok(ChainVerified::default()),
        };
        let expected = rollups::Expected { key, signer: signer.as_ref(), known: known.map(RecordId) };
        Ok(rollups::verify(files, expected)?)
    }

    /// A key that a file brings is trusted if it is one of the home's.
    fn known_key(&self, claimed: KeyDigest) -> Result<KeyDigest, CommandError> {
        let all = Keyring::of(&self.home).all()?;
        match all.iter().any(|pin| pin.verifying == claimed.to_string()) {
            true => Ok(claimed),
            false => Err(ControlError::Request(format!(
                "the file's proofs are for the key {claimed}, which is not in this home: if you trust it, and not \
                 because the file names it, pass --key {claimed}"
            ))
            .into()),
        }
    }
}

fn write(out: &mut dyn Write, found: &ChainVerified) -> std::io::Result<()> {
    for problem in &found.problems {
        writeln!(out, "{problem}")?;
    }
    let ChainVerified { records, proved, snapshots, pages, .. } = found;
    writeln!(out, "{records} records: {proved} transitions proved, {} unproved", found.unproved.len())?;
    if *snapshots > 0 {
        writeln!(out, "{snapshots} stored snapshots compared with them, {pages} pages")?;
    }
    if !found.flagged.is_empty() {
        let flagged: Vec<String> = found.flagged.iter().map(u64::to_string).collect();
        writeln!(out, "records {} broke the contract, and say so", flagged.join(", "))?;
    }
    if let (Some(key), Some(origin)) = (&found.key, &found.key_origin) {
        writeln!(out, "key {key}, {origin}")?;
        if origin == "development" {
            writeln!(out, "with a development key, proofs convince only who trusts the host that made it")?;
        }
    }
    if let Some(head) = &found.head {
        writeln!(out, "ends with {head}")?;
    }
    match (found.problems.len(), found.unproved.len()) {
        (0, 0) => writeln!(out, "all is well"),
        (0, _) => writeln!(out, "nothing is wrong; `sentctl zk prove` proves the rest"),
        (count, _) => writeln!(out, "{count} problems"),
    }
}
