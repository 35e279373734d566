//! Taking a snapshot: what happens while the guest stands still.

use super::page::{PageBuffer, PageBytes};
use super::rollback::merge;
use super::{dirty, regions};
use crate::error::MachineError;
use crate::machine::state::MachineState;
use crate::machine::vcpu_thread::Stopped;
use sentient_abi::region::Region;
use std::ops::Range;
use std::time::{Duration, Instant};

/// What a machine was at one instant, as far as it had changed since the last one.
#[derive(Debug)]
pub struct Capture {
    /// Numbers of the pages copied, ascending.
    pub numbers: Vec<u64>,
    /// Their contents, in the same order.
    pub buffer: PageBuffer,
    /// vCPU and devices, encoded.
    pub state: Vec<u8>,
    /// The guest's regions, as it says.
    pub regions: Vec<Region>,
    /// How long the guest stood still for it.
    pub pause: Duration,
}

impl Capture {
    /// The pages with their numbers.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &PageBytes)> {
        self.numbers.iter().copied().zip(self.buffer.pages())
    }
}

/// Which pages to copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// Those written since the last capture or rollback.
    Changed,
    /// All that were ever touched: for the first one.
    Everything,
}

/// Copies. `buffer` is where to; it comes back in the capture.
///
/// # Errors
/// [`MachineError`] if KVM refuses to give the state. The log of written pages is then lost: the next
/// capture must be of everything.
pub fn take(
    machine: &mut Stopped<'_>,
    extent: Extent,
    mut buffer: PageBuffer,
) -> Result<Capture, MachineError> {
    let started = Instant::now();
    let mut numbers = dirty::take(machine.vm, machine.memory)?;
    if extent == Extent::Everything {
        numbers = touched(machine)?;
    }
    buffer.begin(numbers.len());
    for number in &numbers {
        buffer.push(machine.memory, *number).map_err(|error| MachineError::Memory {
            bytes: sentient_abi::PAGE_SIZE,
            source: std::io::Error::other(error),
        })?;
    }
    let state = MachineState::read(machine)?;
    let regions = regions::read(machine.memory, machine.places.region_table)?;
    let pause = started.elapsed();
    // Encoding it is the one thing here that could be done later; it takes microseconds.
    Ok(Capture { numbers, buffer, state: state.encode()?, regions, pause })
}

/// Numbers of all pages that were ever touched, ascending: by this machine, or by the one whose image it began with.
///
/// # Errors
/// [`MachineError::Io`].
pub fn touched(machine: &Stopped<'_>) -> Result<Vec<u64>, MachineError> {
    touched_within(machine, std::slice::from_ref(&(0..u64::MAX)))
}

/// The same of some pages alone.
///
/// # Errors
/// [`MachineError::Io`].
pub fn touched_within(machine: &Stopped<'_>, wanted: &[Range<u64>]) -> Result<Vec<u64>, MachineError> {
    let own = dirty::touched_within(machine.memory, wanted);
    let own = own.map_err(MachineError::io("looking for memory in use"))?;
    let is_wanted = |page: &u64| wanted.iter().any(|range| range.contains(page));
    let image: Vec<u64> =
        machine.image.map(|image| image.pages().filter(is_wanted).collect()).unwrap_or_default();
    Ok(merge(&own, &image))
}
