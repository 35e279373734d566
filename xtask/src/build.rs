//! `cargo xtask build`.

use crate::cli::BuildArgs;
use crate::root;
use crate::step::{self, Failure};
use std::process::Command;

/// Builds, and prints what came of it.
///
/// # Errors
/// [`Failure`] if the build fails or what it built does not start.
pub fn run(args: &BuildArgs) -> Result<(), Failure> {
    let mut words = vec!["build", "--package", "sentctl", "--locked"];
    if !args.debug {
        words.push("--release");
    }
    step::must(&mut step::cargo(&words))?;
    let program = root::target().join(if args.debug { "debug" } else { "release" }).join("sentctl");
    let bytes = std::fs::metadata(&program)
        .map_err(|error| Failure::Other(format!("cargo has built no {}: {error}", program.display())))?
        .len();
    println!("{} ({} KiB)", program.display(), bytes / 1024);
    // Its versions, the guest kernel's digest and size among them; and the proof that it starts.
    step::must(Command::new(&program).arg("version"))
}
