//! Verbs about proofs and contracts.

use clap::{Args, Subcommand, ValueEnum};
use std::path::PathBuf;

/// What to check.
#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// Instead of a machine's chain: files of `sentctl zk rollup`, in order.
    #[arg(value_name = "FILE", conflicts_with_all = ["from", "to"])]
    pub files: Vec<PathBuf>,

    /// Only what came after the machine was first at this snapshot.
    #[arg(long, value_name = "SNAPSHOT")]
    pub from: Option<String>,

    /// Only what came until the machine was last at this snapshot.
    #[arg(long, value_name = "SNAPSHOT")]
    pub to: Option<String>,

    /// The verifying key that is trusted, by its digest. Without it: the one that the machine is pinned to; for
    /// files, one that is in the home.
    #[arg(long, value_name = "DIGEST")]
    pub key: Option<String>,

    /// For files: the machine's public key, as `sentctl status` shows it.
    #[arg(long, value_name = "KEY", requires = "files")]
    pub signer: Option<String>,

    /// A record that must be in the chain: what an earlier check gave as its end.
    #[arg(long, value_name = "RECORD")]
    pub known: Option<String>,
}

/// What to do about proofs.
#[derive(Debug, Subcommand)]
pub enum ZkCommand {
    /// Prove now what is not proved yet, and return when that is done.
    #[command(after_help = "Examples:
  sentctl zk prove
  sentctl zk prove v2

A machine that runs proves by itself, after everybody else on its processors. Of one that is stopped, this
command proves. Exit codes: 0 all is proved, 1 something could not be proved.")]
    Prove {
        /// Only the transitions to this snapshot.
        snapshot: Option<String>,
    },

    /// Write what is proved into files that a third party can check alone, up to 64 transitions each.
    #[command(after_help = "Examples:
  sentctl zk rollup
  sentctl zk rollup --json

The files are in .lock/zk.rollup/ of the machine's folder. They show no memory.")]
    Rollup,

    /// Write a proof, a verifier or the constraints for other programs.
    #[command(after_help = "Examples:
  sentctl zk export v2 --format snarkjs -o proof/
  sentctl zk export --format solidity > TransitionVerifier.sol
  sentctl zk export --format r1cs -o circuit.r1cs

snarkjs: proof.json, public.json and verification_key.json, for `snarkjs groth16 verify`.")]
    Export(ExportArgs),

    /// Show, make, import and choose the keys that proofs are made with.
    #[command(after_help = "Examples:
  sentctl zk keys show
  sentctl zk keys import final.zkey
  sentctl zk keys pin 3f9a")]
    Keys {
        /// What to do.
        #[command(subcommand)]
        command: KeysCommand,
    },
}

/// What to write.
#[derive(Args, Debug)]
pub struct ExportArgs {
    /// With snarkjs: the snapshot; the proof is that of the transition to it.
    #[arg(required_if_eq("format", "snarkjs"))]
    pub snapshot: Option<String>,

    /// For which program.
    #[arg(long, value_enum)]
    pub format: Format,

    /// The file; for snarkjs the folder, made if it is not there. By default standard output, and this folder.
    #[arg(short, long, value_name = "PATH")]
    pub output: Option<PathBuf>,

    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}

/// For which program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A proof for `snarkjs groth16 verify`.
    Snarkjs,
    /// A contract for Ethereum that checks proofs.
    Solidity,
    /// The constraints, for a ceremony.
    R1cs,
}

/// What to do about keys.
#[derive(Debug, Subcommand)]
pub enum KeysCommand {
    /// List the home's keys; the machine's, and those that new machines get, are marked.
    #[command(after_help = "Examples:
  sentctl zk keys show
  sentctl zk keys show --json")]
    Show,

    /// Make development keys, for new machines: good for trying things out, and for nothing else.
    #[command(after_help = "Examples:
  sentctl zk keys setup

Whoever owns this host could prove anything with them. Machines that are there keep their keys. Without this,
development keys are made when a machine of the home first has something to prove.")]
    Setup,

    /// Import the keys of a ceremony, for new machines.
    #[command(after_help = "Examples:
  sentctl zk keys import final.zkey

Check that it comes out of the ceremony first: `snarkjs zkey verify circuit.r1cs final.ptau final.zkey`. Every
point is checked here, and a proof is made. Machines that are there keep their keys.")]
    Import {
        /// The .zkey file.
        file: PathBuf,
    },

    /// Have the machine use these keys; what was proved with others is proved again.
    #[command(after_help = "Examples:
  sentctl zk keys pin 3f9a")]
    Pin {
        /// The first digits of the verifying key's digest.
        key: String,
    },
}

/// What to do about contracts.
#[derive(Debug, Subcommand)]
pub enum ContractCommand {
    /// Check the text of a contract, and show what it freezes.
    #[command(after_help = "Examples:
  sentctl contract verify permissions.zky

A machine's contract is permissions.zky in its folder. It holds from the next snapshot on.")]
    Verify {
        /// The file.
        file: PathBuf,
    },
}
