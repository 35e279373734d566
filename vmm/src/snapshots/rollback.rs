//! Going back in place: the same process, the same virtual machine, the same vCPU.

use super::dirty;
use super::page::{PageBytes, PageContents, PageSource, address};
use crate::error::MachineError;
use crate::machine::state::MachineState;
use crate::machine::vcpu_thread::Stopped;
use crate::memory::{GuestMemory, write_unnoted};
use sentient_abi::PAGE_SIZE;
use sentient_abi::paging::{ACCESSED, DIRTY};
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};
use vm_memory::Bytes;

/// What a rollback did.
#[derive(Clone, Copy, Debug)]
pub struct Done {
    /// Pages that were put back.
    pub pages: usize,
    /// KVM had to forget its translations, because page tables differed.
    pub translations: bool,
    /// How long the guest stood still for it.
    pub pause: Duration,
}

/// Puts the machine into the state of a snapshot.
///
/// `differing` are the pages that the snapshot has otherwise than the last capture or rollback left them,
/// ascending; those written since are found out here. `tables` is the range of page numbers in which the
/// guest keeps its page tables.
///
/// # Errors
/// [`Failed`], which says whether the machine can go on as it was. The log of written pages is lost either
/// way: the next capture must be of everything.
pub fn back_to(
    machine: &mut Stopped<'_>,
    state: &MachineState,
    differing: &[u64],
    tables: Range<u64>,
    source: &mut dyn PageSource,
) -> Result<Done, Failed> {
    let started = Instant::now();
    let written = dirty::take(machine.vm, machine.memory).map_err(|error| Failed::before(error.into()))?;
    let numbers = merge(&written, differing);
    // All pages are read before the first is written: one that cannot be had leaves the machine whole.
    let reading = MachineError::io("reading a snapshot's pages");
    let pages = source.pages(&numbers).map_err(|error| Failed::before(reading(error)))?;
    let mut translations = false;
    for (number, contents) in numbers.iter().zip(&pages) {
        if !translations && tables.contains(number) {
            translations = table_differs(machine.memory, *number, *contents);
        }
        // Whatever was noted is forgotten below.
        write_unnoted(machine.memory, address(*number), bytes_of(*contents))
            .map_err(|error| Failed::amid(MachineError::io("writing guest memory")(error)))?;
    }
    dirty::forget_device_writes(machine.memory);
    if translations {
        machine.vm.forget_translations().map_err(|error| Failed::amid(error.into()))?;
    }
    state.write(machine).map_err(|error| Failed::amid(error.into()))?;
    Ok(Done { pages: pages.len(), translations, pause: started.elapsed() })
}

/// A rollback that did not come about.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct Failed {
    /// Why.
    pub error: MachineError,
    /// The machine is neither in the old nor in the new state: it must not go on.
    pub amid: bool,
}

impl Failed {
    pub(super) fn before(error: MachineError) -> Self {
        Self { error, amid: false }
    }

    pub(super) fn amid(error: MachineError) -> Self {
        Self { error, amid: true }
    }
}

/// Both lists, ascending, each number once.
#[must_use]
pub fn merge(a: &[u64], b: &[u64]) -> Vec<u64> {
    let mut both = Vec::with_capacity(a.len() + b.len());
    let (mut a, mut b) = (a.iter().copied().peekable(), b.iter().copied().peekable());
    loop {
        let next = match (a.peek(), b.peek()) {
            (Some(x), Some(y)) if x == y => {
                b.next();
                a.next()
            }
            (Some(x), Some(y)) if x > y => b.next(),
            (Some(_), _) => a.next(),
            (None, _) => b.next(),
        };
        match next {
            Some(number) => both.push(number),
            None => return both,
        }
    }
}

/// Writes a page, as a device does: the next capture has it.
pub(super) fn put(memory: &GuestMemory, number: u64, contents: PageContents<'_>) -> io::Result<()> {
    memory.write_slice(bytes_of(contents), address(number)).map_err(io::Error::other)
}

fn bytes_of(contents: PageContents<'_>) -> &PageBytes {
    const ZEROS: PageBytes = [0; PAGE_SIZE as usize];
    match contents {
        PageContents::Zero => &ZEROS,
        PageContents::Bytes(bytes) => bytes,
    }
}

/// Whether a page of page tables maps anything otherwise than it will. The processor sets the accessed and
/// dirty bits by itself, and takes no notice of what they are set to.
pub(super) fn table_differs(memory: &GuestMemory, number: u64, new: PageContents<'_>) -> bool {
    let mut old = [0; PAGE_SIZE as usize];
    if memory.read_slice(&mut old, address(number)).is_err() {
        return true;
    }
    let entry = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |entry, byte| entry << 8 | u64::from(*byte));
    let mapped = |bytes: &[u8]| entry(bytes) & !(ACCESSED | DIRTY);
    match new {
        PageContents::Zero => old.chunks_exact(8).any(|old| mapped(old) != 0),
        PageContents::Bytes(new) => {
            old.chunks_exact(8).zip(new.chunks_exact(8)).any(|(old, new)| mapped(old) != mapped(new))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_order_and_drops_what_is_in_both() {
        assert_eq!(merge(&[1, 3, 5], &[2, 3, 9]), [1, 2, 3, 5, 9]);
        assert_eq!(merge(&[], &[4]), [4]);
        assert_eq!(merge(&[4], &[]), [4]);
        assert_eq!(merge(&[], &[]), [0u64; 0]);
    }
}
