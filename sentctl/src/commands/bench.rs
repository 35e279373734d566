//! `sentctl bench`.

use crate::cli::BenchArgs;
use crate::errors::CommandError;
use std::process::ExitCode;

/// Measures.
pub fn run(_args: &BenchArgs, _json: bool) -> Result<ExitCode, CommandError> {
    Err(CommandError::Bench("not yet".into()))
}
