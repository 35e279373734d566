//! Putting a part of memory back, while the rest of the machine stays as it is.

use super::kernel::{put_range_back, written};
use super::page::{PageSource, address};
use super::regions;
use super::rollback::{Done, Failed};
use crate::machine::vcpu_thread::Stopped;
use sentient_abi::PAGE_SIZE;
use sentient_abi::container_header::ContainerHeader;
use sentient_abi::region::{Region, RegionKind};
use std::ops::Range;
use std::time::Instant;
use vm_memory::Bytes;

/// What came of it.
#[derive(Clone, Copy, Debug)]
pub enum Outcome {
    /// The region is as the snapshot has it.
    Back(Done),
    /// Nothing was changed: the container's region is not there, or the container is another one.
    Elsewhere,
    /// Nothing was changed: what lies in the region is not all of the container.
    NotAtRest,
}

/// Puts the region of container `index`, `pages` by number, into the state of a snapshot in which it was at rest.
///
/// `differing` are the pages of it that the snapshot has otherwise than the last capture or rollback left them,
/// ascending; those written since are found out here. Whatever was written, here and elsewhere, the next capture still
/// finds. The container is the one with this `life`, or another one.
///
/// # Errors
/// [`Failed`], which says whether the machine can go on as it was.
pub fn put_back(
    machine: &Stopped<'_>,
    (index, life): (u32, u64),
    pages: Range<u64>,
    differing: &[u64],
    source: &mut dyn PageSource,
) -> Result<Outcome, Failed> {
    let started = Instant::now();
    let all = regions::read(machine.memory, machine.places.region_table);
    let all = all.map_err(|error| Failed::before(error.into()))?;
    let own = |region: &&Region| region.kind == RegionKind::Container as u32 && region.owner == index;
    let own = all
        .iter()
        .find(own)
        .map(|region| region.base / PAGE_SIZE..region.base.saturating_add(region.len) / PAGE_SIZE);
    let mut bytes = [0; size_of::<ContainerHeader>()];
    let read = machine.memory.read_slice(&mut bytes, address(pages.start));
    let header = ContainerHeader::parse(&bytes).filter(|header| read.is_ok() && header.life == life);
    match header.filter(|_| own.as_ref() == Some(&pages)) {
        None => return Ok(Outcome::Elsewhere),
        Some(header) if !header.is_at_rest() => return Ok(Outcome::NotAtRest),
        Some(_) => {}
    }
    let written = written(machine)?;
    let put = put_range_back(machine, &pages, (&written, differing), source)?;
    // There are no page tables in it.
    Ok(Outcome::Back(Done { pages: put, translations: false, pause: started.elapsed() }))
}
