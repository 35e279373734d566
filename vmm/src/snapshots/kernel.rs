//! Putting the guest's kernel back, while its containers stay as they are.
//!
//! A container that is at rest is all in its region, but for what the kernel keeps for it
//! (`sentient_abi::container_header`). So the rest of memory can be put back to an earlier instant of the same life of the same
//! containers: the kernel's variables, its heap and stacks, its page tables, the rings of its devices. A [`KernelPoint`] is a copy
//! of that, in the VMM's memory. What of the kernel is never written (code, constants, images) is not in it.
//!
//! The kernel then is as it was, and its containers as they are. It is told by a new life (`sentient_abi::time_page`), as after a
//! rollback; but time has not gone back, because the containers have seen it. A container of which something is missing is
//! [lost](sentient_abi::container_header::LOST): the kernel takes it away without looking at it.

use super::page::{PageBuffer, PageContents, PageSource, address};
use super::rollback::{Done, Failed, merge, put, table_differs};
use super::{capture, dirty, regions};
use crate::error::MachineError;
use crate::machine::state::MachineState;
use crate::machine::vcpu_thread::Stopped;
use crate::memory::GuestMemory;
use sentient_abi::PAGE_SIZE;
use sentient_abi::container_header::{ContainerHeader, LOST, RUNS, STATE};
use sentient_abi::region::{Region, RegionKind};
use std::io;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::time::Instant;
use vm_memory::{Address, Bytes, GuestAddress};

/// Kinds of regions that are the kernel's, and are written.
pub const KERNEL: [RegionKind; 7] = [
    RegionKind::NucleusData,
    RegionKind::RegionTable,
    RegionKind::RuntimeData,
    RegionKind::RuntimeStack,
    RegionKind::PageTables,
    RegionKind::DeviceBuffers,
    RegionKind::Heap,
];

/// Kinds of regions of which nothing is written, once they are there.
pub const FROZEN: [RegionKind; 7] = [
    RegionKind::NucleusText,
    RegionKind::NucleusConstants,
    RegionKind::RuntimeText,
    RegionKind::RuntimeConstants,
    RegionKind::BootModule,
    RegionKind::LoaderData,
    RegionKind::Image,
];

/// Kinds of regions that hold what the kernel's instructions are, and its constants.
pub const CODE: [RegionKind; 4] = [
    RegionKind::NucleusText,
    RegionKind::NucleusConstants,
    RegionKind::RuntimeText,
    RegionKind::RuntimeConstants,
];

/// Page numbers of a region.
#[must_use]
pub fn pages_of(region: &Region) -> Range<u64> {
    region.base / PAGE_SIZE..region.base.saturating_add(region.len) / PAGE_SIZE
}

/// Whether a region is of one of these kinds.
#[must_use]
pub fn is_of(region: &Region, kinds: &[RegionKind]) -> bool {
    kinds.iter().any(|kind| region.kind == *kind as u32)
}

/// A container as a point knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its index.
    pub index: u32,
    /// The page that its region begins with.
    pub first: u64,
    life: u64,
    /// What the kernel kept for it.
    ties: (u32, u64),
}

impl Known {
    /// Whether a container with this header is the same one, and lacks nothing beside the kernel of the point.
    #[must_use]
    pub fn is_kept_by(&self, header: &ContainerHeader) -> bool {
        header.life == self.life && header.is_at_rest() && header.ties() == self.ties
    }
}

/// The kernel at one instant.
#[derive(Debug)]
pub struct KernelPoint {
    regions: Vec<Region>,
    containers: Vec<Known>,
    /// Pages of the kernel that were in use, ascending.
    numbers: Vec<u64>,
    /// What they held.
    buffer: PageBuffer,
    state: MachineState,
}

/// There is no going back to a point.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// The guest's regions are not those of the point.
    #[error("containers or images have come or gone since the kernel was last copied")]
    OtherRegions,
}

impl KernelPoint {
    /// Copies the kernel of a guest of which no container is being run; `None` if one is.
    ///
    /// # Errors
    /// [`MachineError`] if the guest's regions or the vCPU's state cannot be read.
    pub fn take(machine: &Stopped<'_>) -> Result<Option<Self>, MachineError> {
        let regions = regions::read(machine.memory, machine.places.region_table)?;
        let mut containers = Vec::new();
        for region in regions.iter().filter(|region| is_of(region, &[RegionKind::Container])) {
            let first = pages_of(region).start;
            let header = header_at(machine.memory, first).filter(ContainerHeader::is_at_rest);
            let Some(header) = header else { return Ok(None) };
            containers.push(Known { index: region.owner, first, life: header.life, ties: header.ties() });
        }
        let numbers = in_use(machine, &regions, &KERNEL)?;
        let mut buffer = PageBuffer::default();
        buffer.begin(numbers.len());
        for number in &numbers {
            buffer.push(machine.memory, *number).map_err(|error| MachineError::Memory {
                bytes: PAGE_SIZE,
                source: io::Error::other(error),
            })?;
        }
        let state = MachineState::read(machine)?;
        Ok(Some(Self { regions, containers, numbers, buffer, state }))
    }

    /// Its containers.
    #[must_use]
    pub fn containers(&self) -> &[Known] {
        &self.containers
    }

    /// Whether the guest still has the regions that it had then.
    ///
    /// # Errors
    /// [`Unfit`] if not.
    pub fn fits(&self, machine: &Stopped<'_>) -> Result<(), Unfit> {
        match regions::read(machine.memory, machine.places.region_table) {
            Ok(now) if now == self.regions => Ok(()),
            _ => Err(Unfit::OtherRegions),
        }
    }

    /// Whether a container is the same one, and lacks nothing beside the kernel of this point.
    #[must_use]
    pub fn keeps(machine: &Stopped<'_>, known: &Known) -> bool {
        header_at(machine.memory, known.first).is_some_and(|header| known.is_kept_by(&header))
    }

    /// Puts the kernel back. The containers with these indices are lost.
    ///
    /// # Errors
    /// [`Failed`], which says whether the machine can go on as it was.
    pub fn put_back(&self, machine: &mut Stopped<'_>, lost: &[u32]) -> Result<Done, Failed> {
        let started = Instant::now();
        let before = |error: MachineError| Failed::before(error);
        let in_use = in_use(machine, &self.regions, &KERNEL).map_err(before)?;
        let tables: Vec<Range<u64>> = self
            .regions
            .iter()
            .filter(|region| is_of(region, &[RegionKind::PageTables]))
            .map(pages_of)
            .collect();
        let mut then = self.numbers.iter().copied().zip(self.buffer.pages()).peekable();
        let (mut pages, mut translations) = (0, false);
        for number in merge(&in_use, &self.numbers) {
            // What nobody had touched then was zero.
            let contents = match then.next_if(|(at, _)| *at == number) {
                Some((_, bytes)) => PageContents::Bytes(bytes),
                None => PageContents::Zero,
            };
            if !differs(machine.memory, number, contents) {
                continue;
            }
            let is_table = tables.iter().any(|range| range.contains(&number));
            translations |= is_table && table_differs(machine.memory, number, contents);
            let written = put(machine.memory, number, contents);
            written.map_err(|error| Failed::amid(MachineError::io("writing guest memory")(error)))?;
            pages += 1;
        }
        for known in self.containers.iter().filter(|known| lost.contains(&known.index)) {
            let at = GuestAddress(known.first.saturating_mul(PAGE_SIZE).saturating_add(STATE as u64));
            let written = machine.memory.write_slice(&LOST.to_le_bytes(), at).map_err(io::Error::other);
            written.map_err(|error| Failed::amid(MachineError::io("writing guest memory")(error)))?;
        }
        if translations {
            machine.vm.forget_translations().map_err(|error| Failed::amid(error.into()))?;
        }
        self.state.write_now(machine).map_err(|error| Failed::amid(error.into()))?;
        Ok(Done { pages, translations, pause: started.elapsed() })
    }
}

/// What was written since the last capture or rollback. The next capture still finds it.
///
/// # Errors
/// [`Failed`]: the machine can go on as it was.
pub fn written(machine: &Stopped<'_>) -> Result<Vec<u64>, Failed> {
    let written = dirty::take(machine.vm, machine.memory).map_err(|error| Failed::before(error.into()))?;
    dirty::keep(machine.memory, &written);
    Ok(written)
}

/// Puts those of a range's pages back that were [`written`], or are `differing`; gives how many that were.
///
/// # Errors
/// [`Failed`], which says whether the machine can go on as it was.
pub fn put_range_back(
    machine: &Stopped<'_>,
    pages: &Range<u64>,
    (written, differing): (&[u64], &[u64]),
    source: &mut dyn PageSource,
) -> Result<usize, Failed> {
    let within = |numbers: &[u64]| -> Vec<u64> {
        numbers.iter().copied().filter(|number| pages.contains(number)).collect()
    };
    let numbers = merge(&within(written), &within(differing));
    let reading = MachineError::io("reading a snapshot's pages");
    let contents = source.pages(&numbers).map_err(|error| Failed::before(reading(error)))?;
    for (number, contents) in numbers.iter().zip(&contents) {
        put(machine.memory, *number, *contents)
            .map_err(|error| Failed::amid(MachineError::io("writing guest memory")(error)))?;
    }
    Ok(numbers.len())
}

/// Pages of regions of these kinds that are in use, ascending.
///
/// # Errors
/// [`MachineError::Io`].
pub fn in_use(
    machine: &Stopped<'_>,
    regions: &[Region],
    kinds: &[RegionKind],
) -> Result<Vec<u64>, MachineError> {
    let own: Vec<Range<u64>> = regions.iter().filter(|region| is_of(region, kinds)).map(pages_of).collect();
    capture::touched_within(machine, &own)
}

fn header_at(memory: &GuestMemory, first: u64) -> Option<ContainerHeader> {
    let mut bytes = [0; size_of::<ContainerHeader>()];
    memory.read_slice(&mut bytes, address(first)).ok()?;
    ContainerHeader::parse(&bytes)
}

/// Of a container that is at rest, which one it is, and how often it was taken up to be run; also while the guest runs.
pub(crate) fn runs_at_rest(memory: &GuestMemory, first: u64) -> Option<(u64, u64)> {
    let runs = address(first).checked_add(RUNS as u64)?;
    // Before the state: see there.
    let runs: u64 = memory.load(runs, Ordering::Acquire).ok()?;
    let header = header_at(memory, first).filter(ContainerHeader::is_at_rest)?;
    Some((header.life, u64::from_le(runs)))
}

fn differs(memory: &GuestMemory, number: u64, new: PageContents<'_>) -> bool {
    let mut old = [0; PAGE_SIZE as usize];
    memory.read_slice(&mut old, address(number)).is_err()
        || match new {
            PageContents::Zero => old.iter().any(|byte| *byte != 0),
            PageContents::Bytes(bytes) => old != *bytes,
        }
}
