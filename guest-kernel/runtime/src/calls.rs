//! Host functions of a container, and how they end: with an answer, by waiting for one, or with the container.

use crate::{clock, scheduler};
use sentient_abi::exit::ContainerEnd;
use sentient_wasi::{Errno, Outcome};

/// Why a host function stops the container; found again in the error wasmtime returns.
#[derive(Debug)]
pub enum Stop {
    /// `proc_exit`.
    Exit(u32),
    /// The scheduler has ended the container, in this way.
    Doomed(ContainerEnd),
}

impl core::fmt::Display for Stop {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exited with {code}"),
            Self::Doomed(ContainerEnd::CpuLimit) => f.write_str("the CPU time limit is reached"),
            Self::Doomed(_) => f.write_str("killed"),
        }
    }
}

impl core::error::Error for Stop {}

/// Makes a call of the WASI layer until it has an answer: while it blocks, the thread waits.
///
/// If the call `draws` random numbers, a snapshot may be taken between that and the program's seeing them: in each life that
/// goes on from it they are drawn anew.
///
/// # Errors
/// [`Stop`], or what `once` gives.
pub fn answer(draws: bool, mut once: impl FnMut() -> wasmtime::Result<Outcome>) -> wasmtime::Result<Errno> {
    let mut life = if draws { clock::page_number() } else { 0 };
    loop {
        scheduler::check()?;
        match once()? {
            Outcome::Done(errno) => {
                scheduler::give_way();
                if !draws || clock::page_number() == life {
                    return Ok(errno);
                }
                life = clock::page_number();
            }
            Outcome::Block(wait) => scheduler::wait(wait)?,
            Outcome::Exit(code) => return Err(wasmtime::Error::new(Stop::Exit(code))),
        }
    }
}
