//! `cargo xtask prepush`.

use crate::step::{self, Failure};

/// Runs CI's own script, so that the two cannot drift apart.
///
/// # Errors
/// [`Failure`] if it fails.
pub fn run() -> Result<(), Failure> {
    step::must(&mut step::command("bash", &[".ci/run"]))
}
