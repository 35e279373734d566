//! `sentctl completions`.

use crate::cli::Cli;
use crate::errors::CommandError;
use clap::CommandFactory;
use std::process::ExitCode;

/// Prints the script.
pub fn run(shell: clap_complete::Shell) -> Result<ExitCode, CommandError> {
    clap_complete::generate(shell, &mut Cli::command(), "sentctl", &mut std::io::stdout());
    Ok(ExitCode::SUCCESS)
}
