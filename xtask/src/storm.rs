//! x
use crate::cli::StormArgs;
use crate::step::Failure;
pub fn run(_: &StormArgs) -> Result<(), Failure> {
    Ok(())
}
