//! Changing the rights of mapped pages (`Call::Protect`): how code that arrives at run time becomes
//! executable.
//!
//! Ring 3 names the pages, and may name nothing of ring 0 (principle 6): everything of ring 0's lies below
//! the end of the page tables, which is noted before ring 3 first runs, or is mapped for ring 0 alone. What
//! the region table says is checked on top of that; it is ring 3's own word.
//!
//! Per page there are a handful of instructions (principle 1). A large page is split once, into a table of
//! the pool's spare ones: some 1,200 instructions, and the table stays.

use crate::runtime;
use core::arch::asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sentient_abi::gate::Rights;
use sentient_abi::layout::{HIGHEST, SPARE_TABLES};
use sentient_abi::paging::{ACCESSED, ADDRESS, DIRTY, LARGE, NO_EXECUTE, PRESENT, USER, WRITABLE};
use sentient_abi::region::RegionKind;
use sentient_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};

/// End of the region of page tables: also the end of what is ring 0's.
static POOL_END: AtomicU64 = AtomicU64::new(0);
/// The next spare table.
static NEXT_SPARE: AtomicU64 = AtomicU64::new(0);

/// Notes where the page tables end; the spare ones are the last.
pub fn set_pool(end: u64) {
    POOL_END.store(end, Ordering::Relaxed);
    NEXT_SPARE.store(end - SPARE_TABLES * PAGE_SIZE, Ordering::Relaxed);
}

/// Changes the rights of `len` bytes of whole pages at `base`. `None` if that is refused.
pub fn protect(base: u64, len: u64, rights: u64) -> Option<()> {
    let leaf = PRESENT
        | USER
        | ACCESSED
        | match Rights::from_u64(rights)? {
            Rights::Read => NO_EXECUTE,
            Rights::Write => NO_EXECUTE | WRITABLE | DIRTY,
            Rights::Execute => 0,
        };
    let end = base.checked_add(len)?;
    if !(base | len).is_multiple_of(PAGE_SIZE) || base < POOL_END.load(Ordering::Relaxed) || end > HIGHEST {
        return None;
    }
    let within = |kind| {
        kind == RegionKind::Unassigned as u32
            || kind == RegionKind::Container as u32
            || kind == RegionKind::Image as u32
    };
    runtime::regions().iter().find(|region| {
        base >= region.base && within(region.kind) && region.end().is_some_and(|region_end| end <= region_end)
    })?;
    let mut at = base;
    while at < end {
        let table = table_of(at)?;
        let stop = end.min((at | (LARGE_PAGE_SIZE - 1)) + 1);
        let mut entry = (table + (at >> 12) % 512 * 8) as *mut u64;
        while at < stop {
            // SAFETY: an entry of the page table that maps `at`, in the pool, which is mapped for ring 0.
            // A page of ring 0 alone keeps its rights. The page itself stays mapped to itself, and neither
            // it nor the table holds anything this program refers to.
            unsafe {
                if entry.read_volatile() & (PRESENT | USER) != PRESENT | USER {
                    return None;
                }
                entry.write_volatile(at | leaf);
                asm!("invlpg [{}]", in(reg) at, options(nostack, preserves_flags));
                entry = entry.add(1);
            }
            at += PAGE_SIZE;
        }
    }
    Some(())
}

/// The page table that maps an address by small pages; a large page is split.
fn table_of(at: u64) -> Option<u64> {
    let root: u64;
    // SAFETY: reads a register.
    unsafe { asm!("mov {}, cr3", out(reg) root, options(nomem, nostack, preserves_flags)) }
    let pointers = next(root & ADDRESS, at, 39)?;
    let directory = next(pointers, at, 30)?;
    let slot = (directory + (at >> 21) % 512 * 8) as *mut u64;
    // SAFETY: an entry of the directory, in the pool.
    let entry = unsafe { slot.read_volatile() };
    if entry & (PRESENT | USER) != PRESENT | USER {
        return None;
    }
    if entry & LARGE == 0 {
        return Some(entry & ADDRESS);
    }
    let table = NEXT_SPARE.load(Ordering::Relaxed);
    if table >= POOL_END.load(Ordering::Relaxed) {
        return None;
    }
    NEXT_SPARE.store(table + PAGE_SIZE, Ordering::Relaxed);
    // SAFETY: the table is a spare one, and becomes reachable when it is complete; it maps what the large
    // page did, with the same rights, so nothing cached of that is wrong before it is changed.
    unsafe {
        fill(table, entry & !LARGE);
        slot.write_volatile(table | PRESENT | WRITABLE | USER);
    }
    Some(table)
}

/// The table an entry of a higher table points to.
fn next(table: u64, at: u64, shift: u32) -> Option<u64> {
    // SAFETY: an entry of a table in the pool: tables only point to tables there.
    let entry = unsafe { ((table + (at >> shift) % 512 * 8) as *const u64).read_volatile() };
    if entry & PRESENT == 0 || entry & LARGE != 0 { None } else { Some(entry & ADDRESS) }
}

/// Writes 512 entries for pages that follow each other, eight a turn.
///
/// # Safety
/// `table` must be a page of the pool that is not in use.
unsafe fn fill(table: u64, first: u64) {
    // SAFETY: 64 turns of 64 bytes are the page; the caller's contract.
    unsafe {
        asm!(
            "2:",
            "mov [{to}], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 8], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 16], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 24], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 32], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 40], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 48], {entry}",
            "add {entry}, {page}",
            "mov [{to} + 56], {entry}",
            "add {entry}, {page}",
            "add {to}, 64",
            "dec {turns:e}",
            "jnz 2b",
            to = inout(reg) table => _,
            entry = inout(reg) first => _,
            turns = inout(reg) 64 => _,
            page = const PAGE_SIZE,
            options(nostack)
        );
    }
}
