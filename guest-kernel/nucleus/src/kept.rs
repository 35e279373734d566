//! Checkpoints of all of ring 3, on a disk of a machine that has no VMM of ours (`sentient_abi::kept`).
//!
//! What is kept is every page that ring 3 may write and that is not zero: its variables, stack, heap, and its containers, with all that
//! they refer to each other by. They go back to the same places, under the same code, which `measured` stands for. Only devices
//! are as after a boot.
//!
//! The partition has two slots, which are written by turns: a head, the region table, and lists of pages, each with the
//! pages behind it. The head is written last, when all else is on the disk for good; a checkpoint that was not finished is none.
//!
//! Here are loops over data, against principle 1: there is no VMM that could do this, and ring 0 is not emulated.

mod slot;

use crate::alone::Alone;
use crate::devices::{Mapped, Ports};
use crate::header::region_table;
use crate::{again, end, runtime};
use blake2::Digest;
use core::cell::{Cell, UnsafeCell};
use sentient_abi::PAGE_SIZE;
use sentient_abi::bytes::read_u64;
use sentient_abi::gate::REFUSED;
use sentient_abi::kept::{KeepRequest, Outcome};
use sentient_abi::layout::HIGHEST;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::panic_record::Reason;
use sentient_abi::region::{Region, RegionKind, RegionTable, TABLE_LEN, access};
use sentient_boot::disks::{
    Direction::{self, Read, Write},
    Disk, DiskError, MOST_PAGES, OWN_PAGES, Transfer, gpt,
};
use slot::{Hasher, Head, LIST_LEN};

const PAGE: usize = PAGE_SIZE as usize;
/// Pages of a region table.
const TABLE_PAGES: u64 = TABLE_LEN / PAGE_SIZE;
/// Pages that are read at once, to be looked at before any of them is put in its place.
const LOOKED_AT_PAGES: u64 = 8;

/// Pages that disks read and write: no reference to them is held while they do.
#[repr(C, align(4096))]
struct Pages<const COUNT: usize>(UnsafeCell<[[u8; PAGE]; COUNT]>);

impl<const COUNT: usize> Pages<COUNT> {
    const fn new() -> Self {
        Self(UnsafeCell::new([[0; PAGE]; COUNT]))
    }

    fn address(&self) -> u64 {
        self.0.get() as u64
    }

    /// Does something with them.
    fn with<T>(&self, work: impl FnOnce(&mut [[u8; PAGE]; COUNT]) -> T) -> T {
        // SAFETY: no disk is at work while the nucleus does something else than to wait for it, and nothing that is passed here comes back
        // to these pages.
        work(unsafe { &mut *self.0.get() })
    }
}

/// Those of the driver; a head; a list; pages that are looked at.
static OWN: Alone<Pages<{ OWN_PAGES as usize }>> = Alone::new(Pages::new());
static HEAD: Alone<Pages<1>> = Alone::new(Pages::new());
static LIST: Alone<Pages<1>> = Alone::new(Pages::new());
static LOOKED_AT: Alone<Pages<{ LOOKED_AT_PAGES as usize }>> = Alone::new(Pages::new());

/// A disk with a partition for this.
struct Place {
    disk: Disk,
    kind: DeviceKind,
    first: u64,
    /// Pages of each of the two slots.
    pages: u64,
}

static PLACE: Alone<Cell<Option<Place>>> = Alone::new(Cell::new(None));

/// The pages that the driver of a disk has for itself.
pub fn own_pages() -> u64 {
    OWN.address()
}

/// Whether there is a disk for this.
pub fn has_disk() -> bool {
    let place = PLACE.take();
    let has = place.is_some();
    PLACE.set(place);
    has
}

/// There is none any more.
pub fn forget_disk() {
    PLACE.set(None);
}

/// Takes a disk, if it has a partition for this; otherwise it does nothing any more.
pub fn offer(mut disk: Disk, kind: DeviceKind) {
    match gpt::find(&mut disk, &Mapped, LOOKED_AT.address()) {
        Ok(Some(partition)) => {
            PLACE.set(Some(Place { disk, kind, first: partition.first, pages: partition.pages / 2 }));
        }
        Ok(None) | Err(_) => disk.quiet(&Ports, &Mapped),
    }
}

/// Does something that ring 3 asks for by a request at this address, with the disk, and answers there; gives what the call does.
fn answer(at: u64, work: impl FnOnce(&mut Place, &mut KeepRequest) -> Result<Outcome, DiskError>) -> u64 {
    if !runtime::may_use(at, size_of::<KeepRequest>() as u64, true) {
        return REFUSED;
    }
    // SAFETY: memory of ring 3, which does not run meanwhile; any bytes are a request.
    let mut request = unsafe { (at as *const KeepRequest).read_unaligned() };
    let outcome = match PLACE.take() {
        None => Outcome::NoPartition,
        Some(mut place) => {
            request.device = place.kind as u32;
            request.room = place.pages * PAGE_SIZE;
            let done = work(&mut place, &mut request);
            PLACE.set(Some(place));
            done.unwrap_or(Outcome::DiskFailed)
        }
    };
    request.outcome = outcome as u32;
    // SAFETY: as above.
    unsafe { (at as *mut KeepRequest).write_unaligned(request) }
    0
}

/// Keeps all of ring 3, as the request at `at` says.
pub fn keep(at: u64) -> u64 {
    answer(at, |place, request| {
        let table = runtime::regions();
        let pages = pages_of(table).count() as u64;
        let all = pages_of_slot(pages);
        request.bytes = all.saturating_mul(PAGE_SIZE);
        if all > place.pages {
            return Ok(Outcome::TooLarge);
        }
        let newest = place.heads()?.into_iter().flatten().max_by_key(|(_, head)| head.sequence);
        let (slot, sequence) =
            newest.map_or((0, 1), |(slot, head)| (1 - slot, head.sequence.wrapping_add(1)));
        let mut stream = place.stream(slot);
        stream.pass(Write, region_table() as u64, TABLE_PAGES)?;
        let mut left = pages_of(table);
        while let Some(first) = left.next() {
            LIST.with(|[list]| {
                let (number, places) = list.split_at_mut(8);
                let mut count = 0u64;
                let pages = core::iter::once(first).chain(left.by_ref());
                for (to, page) in places.chunks_exact_mut(8).zip(pages) {
                    to.copy_from_slice(&page.to_le_bytes());
                    count += 1;
                }
                number.copy_from_slice(&count.to_le_bytes());
            });
            stream.pass(Write, LIST.address(), 1)?;
            each_run(|base, pages| stream.pass(Write, base, pages))?;
        }
        let body = <[u8; 32]>::from(stream.hasher.finalize());
        place.disk.flush(&Mapped)?;
        let (measured, rip, rsp) = (request.measured, request.rip, request.rsp);
        let head = Head { sequence, rip, rsp, request: at, pages, measured, body };
        HEAD.with(|[page]| head.encode(page));
        place.pass_head(Write, slot)?;
        place.disk.flush(&Mapped)?;
        request.sequence = sequence;
        Ok(Outcome::Done)
    })
}

/// Goes on from what is kept of what the request at `at` says, if it is wanted; then it does not return.
pub fn go_on(at: u64, wanted: bool) -> u64 {
    answer(at, |place, request| {
        let mut heads = place.heads()?;
        heads.sort_unstable_by_key(|head| core::cmp::Reverse(head.map_or(0, |(_, head)| head.sequence)));
        let is_it = |(_, head): &(u64, Head)| wanted && head.measured == request.measured;
        let mut outcome = Outcome::Nothing;
        for (slot, head) in heads.into_iter().flatten().filter(is_it) {
            request.sequence = head.sequence;
            // The other one may be better.
            outcome = place.look_at(slot, &head).unwrap_or_else(|error| match error {
                DiskError::Beyond => Outcome::Damaged,
                DiskError::Failed | DiskError::Silent => Outcome::DiskFailed,
            });
            if outcome == Outcome::Done {
                place.put_back(slot, &head, request);
            }
        }
        Ok(outcome)
    })
}

/// Keeps nothing any more.
pub fn forget(at: u64) -> u64 {
    answer(at, |place, _| {
        HEAD.with(|[page]| page.fill(0));
        place.pass_head(Write, 0)?;
        place.pass_head(Write, 1)?;
        place.disk.flush(&Mapped)?;
        Ok(Outcome::Done)
    })
}

/// Pages that a checkpoint takes which keeps so many.
fn pages_of_slot(kept: u64) -> u64 {
    (1 + TABLE_PAGES).saturating_add(kept).saturating_add(kept.div_ceil(LIST_LEN as u64))
}

/// Regions of a table that are kept, and that ring 3 may write: the table is its own word.
fn regions_of(table: &RegionTable) -> impl Iterator<Item = &Region> {
    const KEPT: [RegionKind; 5] = [
        RegionKind::RuntimeData,
        RegionKind::RuntimeStack,
        RegionKind::Heap,
        RegionKind::Container,
        RegionKind::Checkpoint,
    ];
    table.iter().filter(|region| {
        KEPT.iter().any(|kind| region.kind == *kind as u32) && is_writable(region.base, region.len)
    })
}

/// Pages that are kept, by their addresses: those that are not zero.
fn pages_of(table: &RegionTable) -> impl Iterator<Item = u64> {
    let pages = regions_of(table).flat_map(|region| (region.base..region.base + region.len).step_by(PAGE));
    pages.filter(|page| {
        // SAFETY: ring 3 may write it, so that it is mapped; ring 3 does not run meanwhile.
        let words = unsafe { core::slice::from_raw_parts(*page as *const u64, PAGE / 8) };
        words.iter().any(|word| *word != 0)
    })
}

/// Whether whole pages are ones that ring 3 may write, and was given when it started.
fn is_writable(base: u64, len: u64) -> bool {
    let wanted = access::USER | access::WRITE;
    (base | len).is_multiple_of(PAGE_SIZE) && is_within(base, len, wanted)
}

/// Whether all of a range is part of a region, with this access, that ring 3 was given when it started.
fn is_within(base: u64, len: u64, wanted: u32) -> bool {
    let Some(end) = base.checked_add(len) else { return false };
    again::first_table().is_some_and(|table| {
        table.iter().any(|region| {
            let ends = region.end().is_some_and(|region_end| end <= region_end);
            base >= region.base && ends && region.access & wanted == wanted
        })
    })
}

/// Whether a table fits this machine: whatever ring 3 has by it, it has here, and what code and page tables rely on is where it was.
fn fits(table: &RegionTable) -> bool {
    const PLACED: [RegionKind; 3] =
        [RegionKind::BootModule, RegionKind::PageTables, RegionKind::DeviceBuffers];
    let Some(first) = again::first_table() else { return false };
    let is_valid = (table.magic, table.abi_version) == (first.magic, first.abi_version);
    let is_there = |region: &Region| {
        region.access & access::USER == 0
            || region.kind == RegionKind::BootModule as u32
            || is_within(region.base, region.len, region.access)
    };
    let is_placed = |kind: &RegionKind| {
        let place = |table: &RegionTable| table.find(*kind).map(|region| (region.base, region.len));
        place(table) == place(first)
    };
    is_valid && table.iter().all(is_there) && PLACED.iter().all(is_placed)
}

/// Calls `pass` with the pages of the list, as many as follow each other at a time.
fn each_run(mut pass: impl FnMut(u64, u64) -> Result<(), DiskError>) -> Result<(), DiskError> {
    let page = |at: usize| LIST.with(|[list]| read_u64(list, 8 * (at + 1))).unwrap_or(0);
    let count = list_len();
    let mut at = 0;
    while at < count {
        let base = page(at);
        let mut pages = 1;
        while at + pages < count && page(at + pages) == base + pages as u64 * PAGE_SIZE {
            pages += 1;
        }
        pass(base, pages as u64)?;
        at += pages;
    }
    Ok(())
}

/// Pages in the list.
fn list_len() -> usize {
    let count = LIST.with(|[list]| read_u64(list, 0)).unwrap_or(0);
    usize::try_from(count).unwrap_or(LIST_LEN).min(LIST_LEN)
}

/// What follows a head, passed from one end to the other.
struct Stream<'a> {
    place: &'a mut Place,
    at: u64,
    end: u64,
    hasher: Hasher,
}

impl Stream<'_> {
    /// Passes pages from or to memory, all of which ring 3 may write, or is the nucleus' own for this.
    fn pass(&mut self, direction: Direction, memory: u64, pages: u64) -> Result<(), DiskError> {
        if pages > self.end - self.at {
            return Err(DiskError::Beyond);
        }
        for done in (0..pages).step_by(MOST_PAGES as usize) {
            let len = (pages - done).min(u64::from(MOST_PAGES));
            let memory = memory + done * PAGE_SIZE;
            self.place.transfer(direction, self.at, memory, len)?;
            self.at += len;
            // SAFETY: the caller's word; the disk is done, and nobody else uses the memory meanwhile.
            let bytes = unsafe { core::slice::from_raw_parts(memory as *const u8, len as usize * PAGE) };
            self.hasher.update(bytes);
        }
        Ok(())
    }

    /// Reads lists of `left` pages, and has `read` do so with these, as many as follow each other at a time.
    fn read_lists(
        &mut self,
        mut left: u64,
        mut read: impl FnMut(&mut Self, u64, u64) -> Result<(), DiskError>,
    ) -> Result<(), DiskError> {
        while left > 0 {
            self.pass(Read, LIST.address(), 1)?;
            let count = list_len() as u64;
            left = left.checked_sub(count).filter(|_| count > 0).ok_or(DiskError::Beyond)?;
            each_run(|base, pages| read(self, base, pages))?;
        }
        Ok(())
    }
}

impl Place {
    fn start(&self, slot: u64) -> u64 {
        self.first + slot * self.pages
    }

    fn transfer(
        &mut self,
        direction: Direction,
        first: u64,
        memory: u64,
        pages: u64,
    ) -> Result<(), DiskError> {
        self.disk.transfer(&Mapped, Transfer { direction, first, memory, pages: pages as u32 })
    }

    fn pass_head(&mut self, direction: Direction, slot: u64) -> Result<(), DiskError> {
        let first = self.start(slot);
        self.transfer(direction, first, HEAD.address(), 1)
    }

    /// The slots' heads, with the numbers of these.
    fn heads(&mut self) -> Result<[Option<(u64, Head)>; 2], DiskError> {
        let mut heads = [None; 2];
        for (slot, to) in (0..).zip(&mut heads) {
            self.pass_head(Read, slot)?;
            *to = HEAD.with(|[page]| Head::decode(page)).map(|head| (slot, head));
        }
        Ok(heads)
    }

    fn stream(&mut self, slot: u64) -> Stream<'_> {
        let start = self.start(slot);
        Stream { at: start + 1, end: start + self.pages, place: self, hasher: Hasher::new() }
    }

    /// Whether a checkpoint is whole, and can be put back here: [`Outcome::Done`].
    fn look_at(&mut self, slot: u64, head: &Head) -> Result<Outcome, DiskError> {
        let mut stream = self.stream(slot);
        stream.pass(Read, LOOKED_AT.address(), TABLE_PAGES)?;
        // SAFETY: the pages are as long as a table, and any bytes are one.
        let fits = LOOKED_AT.with(|pages| fits(unsafe { &*pages.as_ptr().cast::<RegionTable>() }));
        let mut is_here = true;
        stream.read_lists(head.pages, |stream, base, pages| {
            is_here &= is_writable(base, pages * PAGE_SIZE);
            for done in (0..pages).step_by(LOOKED_AT_PAGES as usize) {
                stream.pass(Read, LOOKED_AT.address(), (pages - done).min(LOOKED_AT_PAGES))?;
            }
            Ok(())
        })?;
        Ok(if <[u8; 32]>::from(stream.hasher.finalize()) != head.body || head.rip.max(head.rsp) >= HIGHEST {
            Outcome::Damaged
        } else if !fits || !is_here {
            Outcome::OtherMemory
        } else {
            Outcome::Done
        })
    }

    /// Puts a checkpoint that was looked at in its place, and goes on from it.
    fn put_back(&mut self, slot: u64, head: &Head, request: &KeepRequest) -> ! {
        let mut stream = self.stream(slot);
        let put = stream.pass(Read, region_table() as u64, TABLE_PAGES).and_then(|()| {
            for region in regions_of(runtime::regions()) {
                // SAFETY: ring 3 may write it; ring 3 does not run, and goes on with what is put there.
                unsafe { core::ptr::write_bytes(region.base as *mut u8, 0, region.len as usize) }
            }
            stream.read_lists(head.pages, |stream, base, pages| {
                if !is_writable(base, pages * PAGE_SIZE) {
                    return Err(DiskError::Beyond);
                }
                stream.pass(Read, base, pages)
            })
        });
        if put.is_err() || <[u8; 32]>::from(stream.hasher.finalize()) != head.body {
            // It is neither what it was nor what it was to be: ring 3 begins anew.
            end::refuse(Reason::Disk, head.sequence)
        }
        let bytes = pages_of_slot(head.pages).saturating_mul(PAGE_SIZE);
        let outcome = Outcome::WentOn as u32;
        let answer = KeepRequest { rip: head.rip, rsp: head.rsp, outcome, bytes, ..*request };
        if runtime::may_use(head.request, size_of::<KeepRequest>() as u64, true) {
            // SAFETY: memory of ring 3, which does not run; any bytes may be there.
            unsafe { (head.request as *mut KeepRequest).write_unaligned(answer) }
        }
        again::restart_devices();
        runtime::go_on(head.rip, head.rsp, [0; 4])
    }
}
