//! Memory as the loader left it, and the page tables where the loader is not ours (principle 3).

use crate::devices::{self, Candidates};
use crate::header::{kernel_header, region_table};
use crate::{again, end, screen};
use core::arch::asm;
use sentient_abi::PAGE_SIZE;
use sentient_abi::boot_module::BootModule;
use sentient_abi::layout::{self, IO_APIC, LOCAL_APIC, RamRange};
use sentient_abi::machine_info::MAX_DEVICES;
use sentient_abi::paging::TableMemory;
use sentient_abi::panic_record::Reason;
use sentient_abi::region::{RegionKind, RegionTable, access};
use sentient_boot::PhysicalMemory;

/// Highest address mapped by the loader or by the entry's own tables.
const BOOT_MAPPED: u64 = 4 << 30;

/// Physical memory through the identity mapping in force at boot.
pub struct Identity;

impl PhysicalMemory for Identity {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        if gpa == 0 || gpa > BOOT_MAPPED - 4 {
            return None;
        }
        // SAFETY: at boot everything below 4 GiB is mapped to itself, and any bytes are a number.
        Some(unsafe { core::ptr::read_unaligned(gpa as *const u32) })
    }
}

impl TableMemory for Identity {
    fn read(&self, gpa: u64) -> u64 {
        // SAFETY: the mapper only touches its pool, which lies below 4 GiB and belongs to no Rust object.
        unsafe { core::ptr::read_volatile(gpa as *const u64) }
    }
    fn write(&mut self, gpa: u64, entry: u64) {
        // SAFETY: as above; the pool is not in use as page tables yet.
        unsafe { core::ptr::write_volatile(gpa as *mut u64, entry) }
    }
}

/// The boot module's bytes; none if it lies where nothing is mapped.
pub fn module_bytes(range: RamRange) -> &'static [u8] {
    match range.base.checked_add(range.len) {
        // SAFETY: mapped, and written by nobody from now on: the final tables map it read-only.
        Some(end) if range.base != 0 && end <= BOOT_MAPPED => unsafe {
            core::slice::from_raw_parts(range.base as *const u8, range.len as usize)
        },
        _ => &[],
    }
}

/// Fills the region table, builds page tables and switches to them; gives the devices that are mapped now.
pub fn build(ram: &[RamRange], module_range: RamRange, screen: Option<RamRange>) -> Candidates {
    let module = match BootModule::parse(module_bytes(module_range)) {
        Ok(module) => module,
        Err(error) => end::refuse_module(error),
    };
    let target = region_table();
    // SAFETY: the page is ours until the runtime starts; the table is plain integers.
    let table = unsafe {
        target.write(RegionTable::new());
        &mut *target
    };
    let planned = layout::plan(kernel_header(), ram, module_range.base, module_range.len, table);
    if planned.is_err() {
        end::refuse(Reason::Memory, 0);
    }
    if !end::under_sentinel() {
        again::reserve(table);
    }
    // What is said to lie in memory, or where something else is, does not.
    let overlaps = |range: RamRange, base, len| {
        range.base < base + len && range.base.checked_add(range.len).is_none_or(|end| base < end)
    };
    let is_memory = |range: RamRange| table.iter().any(|region| overlaps(range, region.base, region.len));
    let screen = screen.filter(|range| !is_memory(*range));
    if screen.is_none() {
        screen::forget();
    }
    // Our own VMM by another protocol: its devices are there all the same, and no others.
    let (devices, candidates) = if end::under_sentinel() {
        (MAX_DEVICES as u64, Candidates::NONE)
    } else {
        let is_taken = |range: RamRange| {
            // What cannot be mapped is of no use.
            range.base.checked_add(range.len).is_none_or(|end| end > layout::HIGHEST)
                || is_memory(range)
                || screen.is_some_and(|screen| overlaps(range, screen.base, screen.len))
                || [IO_APIC, LOCAL_APIC].into_iter().any(|base| overlaps(range, base, PAGE_SIZE))
        };
        (0, devices::find(is_taken))
    };
    // RAM is not zero on a foreign machine; the pool of page tables must be.
    if !clear(table, RegionKind::PageTables) {
        end::refuse(Reason::Memory, 4);
    }
    let shown = screen.map(|range| (range, access::WRITE | access::USER));
    let registers = shown.into_iter().chain(candidates.registers());
    let Ok(root) = layout::build_page_tables(table, module.code_ranges(), devices, registers, Identity)
    else {
        end::refuse(Reason::Memory, 1)
    };
    // SAFETY: the tables map the nucleus' text, data and stack to themselves, so the next instruction and
    // every pointer stay valid. NXE must be on before an entry with that bit is used; WP makes
    // read-only pages read-only for ring 0 too. SSE is turned on for ring 3.
    unsafe {
        let efer = crate::ports::read_msr(0xc000_0080);
        crate::ports::write_msr(0xc000_0080, efer | 1 | 1 << 11);
        asm!(
            "mov {scratch}, cr4",
            "or {scratch}, {cr4}",
            "mov cr4, {scratch}",
            "mov {scratch}, cr0",
            "and {scratch}, {cr0_off}",
            "or {scratch}, {cr0_on}",
            "mov cr0, {scratch}",
            "mov cr3, {root}",
            scratch = out(reg) _,
            root = in(reg) root,
            cr4 = const 1 << 9 | 1 << 10,
            cr0_off = const !(1 << 2 | 1 << 3),
            cr0_on = const 1 << 1 | 1 << 5 | 1 << 16,
            options(nostack)
        );
    }
    candidates
}

/// Fills a planned region with zeros; `false` if it is not mapped yet.
fn clear(table: &RegionTable, kind: RegionKind) -> bool {
    let mapped = table.find(kind).filter(|region| region.end().is_some_and(|end| end <= BOOT_MAPPED));
    if let Some(region) = mapped {
        // SAFETY: the region is RAM that belongs to nobody yet, and mapped at boot.
        unsafe { core::ptr::write_bytes(region.base as *mut u8, 0, region.len as usize) }
    }
    mapped.is_some()
}
