//! Proving, rolling up and exporting; contracts.

use super::{Context, Reach};
use crate::cli::zk::{ContractCommand, ExportArgs, Format, ZkCommand};
use crate::errors::CommandError;
use sentient_control::client::encoded;
use sentient_control::proofs::api::{ProofsMade, Prove, RollupMade, SnarkjsProof, SolidityVerifier};
use sentient_control::proofs::{exporting, permissions, rollups, worker};
use sentient_zk::circuit::Shape;
use sentient_zk::contract::OnViolation;
use sentient_zk::keys::r1cs_file;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Exit code of `zk prove` when something could not be proved.
const NOT_PROVED: u8 = 1;

impl Context {
    /// `zk`.
    pub fn zk(&self, command: &ZkCommand) -> Result<ExitCode, CommandError> {
        match command {
            ZkCommand::Prove { snapshot } => self.zk_prove(snapshot.as_deref()),
            ZkCommand::Rollup => self.zk_rollup(),
            ZkCommand::Export(args) => self.zk_export(args),
            ZkCommand::Keys { command } => self.zk_keys(command),
        }
    }

    fn zk_prove(&self, snapshot: Option<&str>) -> Result<ExitCode, CommandError> {
        let reach = self.reach()?;
        let made: ProofsMade = self.during("proving", || match reach {
            Reach::Running(client) => {
                Ok(client.post("/v1/zk/prove", &Prove { snapshot: snapshot.map(str::to_owned) })?)
            }
            Reach::Stopped(history) => Ok::<_, CommandError>(worker::prove(&history, snapshot)?),
        })?;
        self.answer(&made, |out, made| {
            for problem in &made.problems {
                writeln!(out, "{problem}")?;
            }
            writeln!(out, "{} transitions proved", made.proved.len())
        })?;
        Ok(if made.problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(NOT_PROVED) })
    }

    fn zk_rollup(&self) -> Result<ExitCode, CommandError> {
        let reach = self.reach()?;
        let made: Vec<RollupMade> = self.during("rolling up", || match reach {
            Reach::Running(client) => Ok(client.post("/v1/zk/rollup", &json!({}))?),
            Reach::Stopped(history) => Ok::<_, CommandError>(rollups::make(&history)?),
        })?;
        self.answer(&made, |out, made| {
            for RollupMade { path, first, last, bytes, key, key_origin } in made {
                writeln!(out, "{path}  records {first} to {last}, {bytes} bytes")?;
                writeln!(out, "  for the {key_origin} key {key}")?;
            }
            Ok(())
        })
    }

    fn zk_export(&self, args: &ExportArgs) -> Result<ExitCode, CommandError> {
        let output = args.output.as_deref();
        match (args.format, &args.snapshot) {
            (Format::Snarkjs, Some(snapshot)) => {
                let proof: SnarkjsProof = match self.reach()? {
                    Reach::Running(client) => client.get(&format!("/v1/zk/proofs/{}", encoded(snapshot)))?,
                    Reach::Stopped(history) => exporting::snarkjs(&history, snapshot)?,
                };
                self.write_snarkjs(&proof, output.unwrap_or(Path::new(".")), args.force)
            }
            (Format::Snarkjs, None) => {
                Err(CommandError::Usage("which proof? Name the snapshot that it led to".into()))
            }
            (Format::Solidity, _) => {
                let made: SolidityVerifier = match self.reach()? {
                    Reach::Running(client) => client.get("/v1/zk/solidity")?,
                    Reach::Stopped(history) => exporting::solidity(&history)?,
                };
                self.write_one(output, made.source.as_bytes(), args.force, &made.key, &made.key_origin)
            }
            (Format::R1cs, _) => {
                let bytes = self.during("writing the constraints", || r1cs_file::export(Shape::transition()));
                self.write_one(output, &bytes, args.force, "", "")
            }
        }
    }

    fn write_snarkjs(
        &self,
        proof: &SnarkjsProof,
        folder: &Path,
        force: bool,
    ) -> Result<ExitCode, CommandError> {
        std::fs::create_dir_all(folder)
            .map_err(|source| CommandError::Write { path: folder.to_owned(), source })?;
        let files = [
            ("proof.json", &proof.proof),
            ("public.json", &proof.public),
            ("verification_key.json", &proof.verification_key),
        ];
        let mut written: Vec<PathBuf> = Vec::new();
        for (name, value) in files {
            let path = folder.join(name);
            put(&path, format!("{value:#}\n").as_bytes(), force)?;
            written.push(path);
        }
        let answer = json!({ "record": proof.record, "files": written, "key": proof.key, "key_origin": proof.key_origin });
        self.answer(&answer, |out, _| {
            writeln!(out, "record {}, for the {} key {}", proof.record, proof.key_origin, proof.key)?;
            written.iter().try_for_each(|path| writeln!(out, "{}", path.display()))
        })
    }

    /// To a file, of which is told; or to standard output, and nothing else.
    fn write_one(
        &self,
        output: Option<&Path>,
        bytes: &[u8],
        force: bool,
        key: &str,
        key_origin: &str,
    ) -> Result<ExitCode, CommandError> {
        let Some(path) = output else {
            let mut out = std::io::stdout().lock();
            return match out.write_all(bytes).and_then(|()| out.flush()) {
                Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
                    Err(CommandError::Io { what: "writing the answer", source: error })
                }
                _ => Ok(ExitCode::SUCCESS),
            };
        };
        put(path, bytes, force)?;
        let mut answer = json!({ "files": [path] });
        if !key.is_empty() {
            answer = json!({ "files": [path], "key": key, "key_origin": key_origin });
        }
        self.answer(&answer, |out, _| match key.is_empty() {
            true => writeln!(out, "{}", path.display()),
            false => writeln!(out, "{}, for the {key_origin} key {key}", path.display()),
        })
    }

    /// `contract`.
    pub fn contract(&self, command: &ContractCommand) -> Result<ExitCode, CommandError> {
        let ContractCommand::Verify { file } = command;
        let contract = permissions::read(file)?;
        let on_violation = match contract.on_violation {
            OnViolation::Reject => "reject",
            OnViolation::Flag => "flag",
            OnViolation::Rollback => "rollback",
        };
        let digest: String = contract.digest().iter().map(|byte| format!("{byte:02x}")).collect();
        let frozen: Vec<String> = contract.always_frozen().iter().map(|slot| slot.to_string()).collect();
        let answer = json!({
            "digest": digest,
            "on_violation": on_violation,
            "frozen": frozen,
            "dirty_pages": contract.limits.dirty_pages,
            "region_pages": contract.limits.region_pages,
        });
        self.answer(&answer, |out, _| {
            writeln!(out, "contract {digest}")?;
            writeln!(out, "  on violation  {on_violation}")?;
            writeln!(out, "  frozen        {}", frozen.join(", "))?;
            if let Some(pages) = contract.limits.dirty_pages {
                writeln!(out, "  at most {pages} pages may change from one snapshot to the next")?;
            }
            if let Some(pages) = contract.limits.region_pages {
                writeln!(out, "  a region has at most {pages} pages")?;
            }
            Ok(())
        })
    }
}

fn put(path: &Path, bytes: &[u8], force: bool) -> Result<(), CommandError> {
    let opened = if force { File::create(path) } else { File::create_new(path) };
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.map_err(|source| match source.kind() {
        std::io::ErrorKind::AlreadyExists => CommandError::Exists(path.to_owned()),
        _ => CommandError::Write { path: path.to_owned(), source },
    })
}
