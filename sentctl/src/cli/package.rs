//! Verbs about packages.

use clap::Args;
use std::path::PathBuf;

/// A package to make.
#[derive(Args, Debug)]
pub struct PackArgs {
    /// The folder.
    #[arg(value_name = "FOLDER")]
    pub folder: PathBuf,

    /// The file to write; by default NAME.tso, by the name in meta.yaml.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,

    /// Sign it with the ed25519 key in this file, instead of that of the home: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// Sign it with ML-DSA-65 as well, which quantum computers are not known to break.
    #[arg(long)]
    pub ml_dsa: bool,

    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

/// A package to look at.
#[derive(Args, Debug)]
pub struct InspectArgs {
    /// The package.
    #[arg(value_name = "PACKAGE.tso")]
    pub package: PathBuf,

    /// The public key of who must have signed it.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,
}
