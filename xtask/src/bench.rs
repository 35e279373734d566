//! `cargo xtask bench`.

use crate::cli::BenchArgs;
use crate::needs;
use crate::root;
use crate::step::{self, Failure};
use std::process::Command;

/// Builds as for a release, then measures.
///
/// # Errors
/// [`Failure`] if there is no KVM, or a step fails.
pub fn run(args: &BenchArgs) -> Result<(), Failure> {
    needs::kvm()?;
    step::must(&mut step::cargo(&["build", "--release", "--package", "sentctl", "--locked"]))?;
    let program = root::release_program();
    step::must(Command::new(program).arg("bench").args(&args.args).current_dir(root::folder()))
}
