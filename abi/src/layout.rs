//! Where things lie in guest memory.
//!
//! Virtual addresses are physical addresses: the guest has one address space, regions are page ranges of
//! it, and a device's view of a buffer is the runtime's own pointer.
//!
//! ```text
//! 0                first page: never mapped, so that a null pointer faults
//! to 640 KiB       what the loader hands over
//! 1 MiB            nucleus (kernel header, text, constants, data), then the region table's pages
//! 2 MiB            runtime (text up to the next 2 MiB mark, constants, data)
//!                  guard page, runtime stack
//!                  time page
//!                  page tables, with spare ones for mappings that change
//! next 2 MiB mark  device buffers, heap, then memory for containers
//! top of low RAM   boot module
//! 3.25 GiB         virtio-mmio register pages
//! 4 GiB            more memory for containers, on large machines
//! ```

use crate::kernel_header::{KernelHeader, Segment};
use crate::paging::{Mapper, PagingError, TableMemory, tables_needed};
use crate::region::{Region, RegionKind, RegionTable, access};
use crate::{LARGE_PAGE_SIZE, PAGE_SIZE};
use core::ops::Range;

/// End of the memory in which a loader leaves its structures; above it a PC has its video memory.
pub const LOADER_DATA_END: u64 = 0xa_0000;
/// Where the kernel image starts.
pub const NUCLEUS_BASE: u64 = 0x10_0000;
/// Where the runtime starts.
pub const RUNTIME_BASE: u64 = 0x20_0000;
/// Bytes of the runtime's stack, which containers' frames share in the first instance.
pub const RUNTIME_STACK_LEN: u64 = 512 << 10;
/// Page tables kept back at the end of their region, for [`Protect`](crate::gate::Call::Protect): each
/// splits one large page, so they are enough for 128 MiB of images.
pub const SPARE_TABLES: u64 = 64;
/// Bytes of the region of rings and buffers shared with devices.
pub const DEVICE_BUFFERS_LEN: u64 = LARGE_PAGE_SIZE;
/// The gap below 4 GiB that holds device registers starts here; RAM goes on at [`HIGH_RAM`].
pub const DEVICE_HOLE: u64 = 0xd000_0000;
/// RAM beyond the gap.
pub const HIGH_RAM: u64 = 1 << 32;
/// Register page of the first virtio-mmio device; the next ones follow, one page each.
pub const VIRTIO_MMIO: u64 = DEVICE_HOLE;
/// The I/O APIC's registers.
pub const IO_APIC: u64 = 0xfec0_0000;
/// The local APIC's registers, where there is no x2APIC.
pub const LOCAL_APIC: u64 = 0xfee0_0000;

/// End of the addresses that page tables of four levels map in the lower half.
pub const HIGHEST: u64 = 1 << 47;

/// Least RAM of a machine, in bytes.
pub const MIN_RAM: u64 = 24 << 20;
/// Most RAM of a machine, in bytes.
pub const MAX_RAM: u64 = 256 << 30;

/// Most bytes of the kernel's heap, whatever the RAM.
pub const MAX_HEAP_LEN: u64 = 256 << 20;

/// The virtqueues of devices that the VMM has set up ("adopted") before the guest starts.
pub mod queues {
    use super::PAGE_SIZE;

    /// Descriptors of every queue.
    pub const SIZE: u16 = 64;
    /// Bytes between queues within the region of device buffers: one page holds descriptors (1 KiB), the
    /// driver area (134 bytes, at 1 KiB) and the device area (518 bytes, at 2 KiB).
    pub const STRIDE: u64 = PAGE_SIZE;
    /// Offset of the driver area ("available ring") within a queue's page.
    pub const DRIVER_AREA: u64 = 1024;
    /// Offset of the device area ("used ring") within a queue's page.
    pub const DEVICE_AREA: u64 = 2048;
    /// Number of the queue by which the console sends to the guest.
    pub const CONSOLE_RECEIVE: u64 = 0;
    /// Number of the queue by which the guest sends to the console.
    pub const CONSOLE_TRANSMIT: u64 = 1;
    /// Number of the entropy device's queue.
    pub const RNG: u64 = 2;
    /// Number of the queue by which the network's frames come to the guest.
    pub const NET_RECEIVE: u64 = 3;
    /// Number of the queue by which the guest sends frames.
    pub const NET_TRANSMIT: u64 = 4;
    /// Number of the queue by which the guest asks for what is in folders of the host.
    pub const VOLUMES: u64 = 5;
    /// The page behind the queues: where the entropy device's answer goes.
    pub const ENTROPY: u64 = 6;
    /// Pages of all that; other buffers start behind them.
    pub const COUNT: u64 = 7;
    const _: () = assert!(SIZE as u64 * 16 <= DRIVER_AREA);
    const _: () = assert!(DRIVER_AREA + 6 + 2 * SIZE as u64 <= DEVICE_AREA);
    const _: () = assert!(DEVICE_AREA + 6 + 8 * SIZE as u64 <= STRIDE);
}

/// A range of RAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RamRange {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub len: u64,
}

/// Why no layout fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayoutError {
    /// The kernel header is not one, or of another ABI version (this one).
    KernelHeader(u32),
    /// There is no RAM at 1 MiB, or too little of it for the kernel and the boot module.
    TooLittleRam,
    /// The boot module lies where the kernel does, or on the first page.
    ModulePlace,
    /// More regions than a table holds.
    TooManyRegions,
    /// The page tables cannot be built.
    Paging(PagingError),
}

impl From<PagingError> for LayoutError {
    fn from(error: PagingError) -> Self {
        Self::Paging(error)
    }
}

/// RAM ranges of a machine with `ram` bytes, as the VMM lays them out: up to the device gap, then above.
#[must_use]
pub const fn ram_ranges(ram: u64) -> [RamRange; 2] {
    let low = if ram < DEVICE_HOLE { ram } else { DEVICE_HOLE };
    [RamRange { base: 0, len: low }, RamRange { base: HIGH_RAM, len: ram - low }]
}

/// Where the VMM puts a boot module of `len` bytes: at the top of low RAM, on a page.
#[must_use]
pub const fn boot_module_base(ram: u64, len: u64) -> Option<u64> {
    match ram_ranges(ram)[0].len.checked_sub(len) {
        Some(base) => Some(base & !(PAGE_SIZE - 1)),
        None => None,
    }
}

/// Fills `table` for a kernel, its RAM and its boot module (`module_base`, `module_len`).
///
/// # Errors
/// See [`LayoutError`].
pub fn plan(
    header: &KernelHeader,
    ram: &[RamRange],
    module_base: u64,
    module_len: u64,
    table: &mut RegionTable,
) -> Result<(), LayoutError> {
    if header.magic != crate::kernel_header::MAGIC || header.abi_version != crate::ABI_VERSION {
        return Err(LayoutError::KernelHeader(header.abi_version));
    }
    let module_end =
        crate::page_align_up(module_base.saturating_add(module_len)).ok_or(LayoutError::TooLittleRam)?;
    // A loader may have put the module among what it hands over: on a machine with UEFI, GRUB does.
    let low_module = module_base < LOADER_DATA_END;
    let (below, above) =
        if low_module { (module_base, module_end) } else { (LOADER_DATA_END, LOADER_DATA_END) };
    for (base, end) in [(PAGE_SIZE, below), (above, LOADER_DATA_END)] {
        if end > base {
            push(table, RegionKind::LoaderData, base, end - base, 0)?;
        }
    }
    let mut kernel_end = RUNTIME_BASE;
    for Segment { base, len, kind, access } in header.segments() {
        let kind = RegionKind::from_u32(*kind).ok_or(LayoutError::KernelHeader(header.abi_version))?;
        push(table, kind, *base, *len, *access)?;
        let end = base.checked_add(*len).ok_or(LayoutError::TooLittleRam)?;
        kernel_end = if end > kernel_end { end } else { kernel_end };
    }
    let top = ram.iter().map(|range| range.base.saturating_add(range.len)).max().unwrap_or(0);
    let holds_kernel =
        |range: &RamRange| range.base <= NUCLEUS_BASE && range.base.saturating_add(range.len) >= kernel_end;
    // From here on every address lies below this bound, and no sum of a few of them can wrap.
    if !ram.iter().any(holds_kernel) || top > HIGHEST || module_end > HIGHEST {
        return Err(LayoutError::TooLittleRam);
    }
    // Between two segments it may lie: on a machine with a BIOS, GRUB has it there.
    let hits = |segment: &Segment| module_base < segment.base + segment.len && module_end > segment.base;
    if module_base < PAGE_SIZE || header.segments().any(hits) {
        return Err(LayoutError::ModulePlace);
    }
    let module = module_base..module_end;
    let place = |from, len, align| place(ram, &module, from, len, align).ok_or(LayoutError::TooLittleRam);

    let module_bytes = module_end.checked_sub(module_base).ok_or(LayoutError::TooLittleRam)?;
    // Below the heap everything is mapped by small pages, except the tables' own large ones; a handful
    // of ranges besides: the module and its code, device registers.
    let small = kernel_end + RUNTIME_STACK_LEN + 2 * PAGE_SIZE + (4 << 20);
    let built = tables_needed(if top > HIGH_RAM { top } else { HIGH_RAM }, small + module_bytes, 40);
    let pool = (built + SPARE_TABLES) * PAGE_SIZE;
    // The guard page stays out of every region: it is never mapped.
    let guard = place(kernel_end, PAGE_SIZE + RUNTIME_STACK_LEN + PAGE_SIZE + pool, PAGE_SIZE)?;
    let stack = guard + PAGE_SIZE;
    let time = stack + RUNTIME_STACK_LEN;
    let tables = time + PAGE_SIZE;
    // The nucleus relies on this order: stack, time page, page tables.
    push(table, RegionKind::RuntimeStack, stack, RUNTIME_STACK_LEN, access::WRITE | access::USER)?;
    push(table, RegionKind::Time, time, PAGE_SIZE, access::USER)?;
    push(table, RegionKind::PageTables, tables, pool, access::WRITE)?;

    let buffers = place(tables + pool, DEVICE_BUFFERS_LEN, LARGE_PAGE_SIZE)?;
    push(table, RegionKind::DeviceBuffers, buffers, DEVICE_BUFFERS_LEN, access::WRITE | access::USER)?;
    // What lies below is too little to be worth a region, and the nucleus changes no rights there.
    let rest = buffers + DEVICE_BUFFERS_LEN;
    let largest = ram.iter().flat_map(|range| pieces(range, rest, &module)).map(|(_, len)| len).max();
    let largest = largest.filter(|len| *len >= 2 * LARGE_PAGE_SIZE).ok_or(LayoutError::TooLittleRam)?;
    let heap_len = heap_len(largest);
    let heap = place(rest, heap_len, LARGE_PAGE_SIZE)?;
    push(table, RegionKind::Heap, heap, heap_len, access::WRITE | access::USER)?;
    for (base, len) in ram.iter().flat_map(|range| pieces(range, rest, &module)) {
        // The heap lies at the start of a piece.
        let taken = if base == heap { heap_len } else { 0 };
        // What a loader tells twice is there once.
        let overlaps = |region: &Region| region.base < base + len && base + taken < region.base + region.len;
        if len > taken && !table.iter().any(overlaps) {
            let all = access::WRITE | access::USER;
            push(table, RegionKind::Unassigned, base + taken, len - taken, all)?;
        }
    }
    push(table, RegionKind::BootModule, module_base, module_bytes, access::USER)
}

/// The lowest place from `from` on, a multiple of `align`, where `len` bytes are RAM and not the boot module's.
fn place(ram: &[RamRange], module: &Range<u64>, from: u64, len: u64, align: u64) -> Option<u64> {
    let within = |range: &RamRange| {
        let mut base = range.base.max(from).next_multiple_of(align);
        if base < module.end && base + len > module.start {
            base = module.end.next_multiple_of(align);
        }
        (base + len <= range.base.saturating_add(range.len)).then_some(base)
    };
    ram.iter().filter_map(within).min()
}

/// What of a range of RAM lies above `from` and is not the boot module's: on large pages, base and length.
fn pieces(range: &RamRange, from: u64, module: &Range<u64>) -> impl Iterator<Item = (u64, u64)> + use<> {
    let (start, end) = (range.base.max(from), range.base.saturating_add(range.len));
    let below = start..end.min(module.start);
    let above = start.max(module.end)..end;
    [below, above].into_iter().filter_map(|piece| {
        let base = piece.start.next_multiple_of(LARGE_PAGE_SIZE);
        let end = piece.end & !(LARGE_PAGE_SIZE - 1);
        Some((base, end.checked_sub(base).filter(|len| *len > 0)?))
    })
}

/// The heap takes an eighth of what is free, 2 MiB at least and [`MAX_HEAP_LEN`] at most, on large pages.
const fn heap_len(free: u64) -> u64 {
    let eighth = (free / 8) & !(LARGE_PAGE_SIZE - 1);
    if eighth < LARGE_PAGE_SIZE {
        LARGE_PAGE_SIZE
    } else if eighth > MAX_HEAP_LEN {
        MAX_HEAP_LEN
    } else {
        eighth
    }
}

fn push(
    table: &mut RegionTable,
    kind: RegionKind,
    base: u64,
    len: u64,
    allowed: u32,
) -> Result<(), LayoutError> {
    table.push(kind, base, len, allowed).ok_or(LayoutError::TooManyRegions)
}

/// Builds the page tables for a planned table: every region with its own rights, device registers, and
/// within the boot module `code` (ascending ranges of whole pages, from its start) executable; and `registers`, with bits of
/// [`access`]. Gives the root's address, for CR3.
///
/// # Errors
/// See [`LayoutError`].
pub fn build_page_tables<M: TableMemory>(
    table: &RegionTable,
    code: impl Iterator<Item = Range<u64>>,
    virtio_devices: u64,
    registers: impl Iterator<Item = (RamRange, u32)>,
    memory: M,
) -> Result<u64, LayoutError> {
    let pool = table.find(RegionKind::PageTables).ok_or(LayoutError::TooLittleRam)?;
    let built = pool.len.checked_sub(SPARE_TABLES * PAGE_SIZE).ok_or(LayoutError::TooLittleRam)?;
    let mut mapper = Mapper::new(memory, pool.base, built)?;
    for region in table.iter().filter(|region| region.kind != RegionKind::BootModule as u32) {
        mapper.map(region.base, region.len, region.access)?;
    }
    if let Some(module) = table.find(RegionKind::BootModule) {
        map_module(&mut mapper, module.base, module.len, code)?;
    }
    if virtio_devices > 0 {
        let all = access::WRITE | access::USER | access::DEVICE;
        mapper.map(VIRTIO_MMIO, virtio_devices * PAGE_SIZE, all)?;
    }
    for (RamRange { base, len }, allowed) in registers {
        mapper.map(base, len, allowed | access::DEVICE)?;
    }
    mapper.map(IO_APIC, PAGE_SIZE, access::WRITE | access::DEVICE)?;
    mapper.map(LOCAL_APIC, PAGE_SIZE, access::WRITE | access::DEVICE)?;
    Ok(mapper.root())
}

fn map_module<M: TableMemory>(
    mapper: &mut Mapper<M>,
    base: u64,
    len: u64,
    code: impl Iterator<Item = Range<u64>>,
) -> Result<(), LayoutError> {
    let mut done = 0;
    for Range { start, end } in code {
        // A range that does not ascend would map a page twice.
        let plain = start.checked_sub(done).ok_or(PagingError::AlreadyMapped)?;
        mapper.map(base + done, plain, access::USER)?;
        mapper.map(base + start, end.saturating_sub(start), access::USER | access::EXECUTE)?;
        done = end;
    }
    let rest = len.checked_sub(done).ok_or(PagingError::BadRange)?;
    mapper.map(base + done, rest, access::USER)?;
    Ok(())
}

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    extern crate std;
    use super::*;
    use crate::boot_module::{BootModule, ModuleBuilder};
    use crate::kernel_header::{MAGIC, MAX_SEGMENTS};
    use alloc::vec::Vec;
    use std::collections::HashMap;

    struct Memory(HashMap<u64, u64>);
    impl TableMemory for &mut Memory {
        fn read(&self, gpa: u64) -> u64 {
            self.0.get(&gpa).copied().unwrap_or(0)
        }
        fn write(&mut self, gpa: u64, entry: u64) {
            self.0.insert(gpa, entry);
        }
    }

    fn header() -> KernelHeader {
        let mut segments = [Segment::NONE; MAX_SEGMENTS];
        let parts = [
            (0x10_0000, 0x1000, RegionKind::NucleusConstants, 0),
            (0x10_1000, 0x3000, RegionKind::NucleusText, access::EXECUTE),
            (0x10_4000, 0x8000, RegionKind::NucleusData, access::WRITE),
            (0x10_c000, 0x1000, RegionKind::RegionTable, access::WRITE | access::USER),
            (0x20_0000, 0x9_0000, RegionKind::RuntimeText, access::EXECUTE | access::USER),
            (0x29_0000, 0x3_0000, RegionKind::RuntimeConstants, access::USER),
            (0x2c_0000, 0x1_0000, RegionKind::RuntimeData, access::WRITE | access::USER),
        ];
        for (slot, (base, len, kind, access)) in segments.iter_mut().zip(parts) {
            *slot = Segment { base, len, kind: kind as u32, access };
        }
        KernelHeader {
            magic: MAGIC,
            abi_version: crate::ABI_VERSION,
            segment_count: 7,
            runtime_entry: RUNTIME_BASE,
            panic_record: 0x10_5000,
            region_table: 0x10_c000,
            linux64_entry: 0x10_2000,
            pvh_entry: 0x10_2010,
            segments,
        }
    }

    fn module() -> Vec<u8> {
        let image = alloc::vec![0; 20_000];
        let mut builder = ModuleBuilder::new(0);
        builder.push_image(0, &image, 4096..12_288).unwrap();
        builder.into_bytes().unwrap()
    }

    #[test]
    fn machines_of_every_size_get_disjoint_regions_and_tables_that_fit() {
        let bytes = module();
        let module = BootModule::parse(&bytes).unwrap();
        for mib in [24, 32, 127, 128, 129, 1024, 3328, 4096, 65_536, 262_144] {
            let ram = mib << 20;
            let len = bytes.len() as u64;
            let base = boot_module_base(ram, len).unwrap();
            let mut table = RegionTable::new();
            plan(&header(), &ram_ranges(ram), base, len, &mut table).unwrap();
            let mut ranges: Vec<_> =
                table.iter().map(|region| (region.base, region.end().unwrap())).collect();
            ranges.sort_unstable();
            for pair in ranges.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "{mib} MiB: {pair:x?} overlap");
            }
            let mut memory = Memory(HashMap::new());
            build_page_tables(&table, module.code_ranges(), 2, core::iter::empty(), &mut memory).unwrap();
            let pool = table.find(RegionKind::PageTables).unwrap();
            let spare = pool.base + pool.len - SPARE_TABLES * PAGE_SIZE;
            assert!(memory.0.keys().all(|entry| *entry < spare), "{mib} MiB: a spare table is in use");
        }
    }

    /// What a machine with UEFI leaves: holes, the module where it likes, memory in pieces.
    #[test]
    fn memory_with_holes_is_used_around_them() {
        let bytes = module();
        let module = BootModule::parse(&bytes).unwrap();
        let len = bytes.len() as u64;
        let range = |base: u64, end: u64| RamRange { base, len: end - base };
        let firmware = [
            range(0x10_0000, 0x80_0000),
            range(0, 0xa_0000),
            range(0x80_8000, 0x81_0000),
            range(0x90_0000, 0x7d1_4000),
            range(0x7e0_0000, 0x7f0_0000),
            range(1 << 32, (1 << 32) + (2 << 20)),
        ];
        // Right behind the kernel, within what is then the heap, below a hole, at the very end of memory.
        for base in [
            PAGE_SIZE,
            0x5_0000,
            0x11_0000,
            0x2d_0000,
            0x2d_1000,
            0x90_0000,
            0xc0_0000,
            0x7c0_0000,
            0x7d1_4000 - 0x1_0000,
        ] {
            let mut table = RegionTable::new();
            plan(&header(), &firmware, base, len, &mut table).unwrap();
            let mut ranges: Vec<_> =
                table.iter().map(|region| (region.base, region.end().unwrap())).collect();
            ranges.sort_unstable();
            for pair in ranges.windows(2) {
                assert!(pair[0].1 <= pair[1].0, "{base:#x}: {pair:x?} overlap");
            }
            for region in table.iter() {
                let within = |range: &RamRange| {
                    range.base <= region.base && region.end().unwrap() <= range.base + range.len
                };
                assert!(firmware.iter().any(within), "{base:#x}: {region:x?} is no memory");
            }
            let free: u64 = table
                .iter()
                .filter(|region| region.kind == RegionKind::Unassigned as u32)
                .map(|region| region.len)
                .sum();
            assert!(free > 90 << 20, "{base:#x}: only {free:#x} bytes are free");
            let mut memory = Memory(HashMap::new());
            let screen = (RamRange { base: 0x80_0000_0000, len: 0x7e_9000 }, access::WRITE | access::USER);
            build_page_tables(&table, module.code_ranges(), 0, [screen].into_iter(), &mut memory).unwrap();
        }
        // No loader puts the module there.
        for base in [0, 0xf_f000, 0x2c_f000] {
            let mut table = RegionTable::new();
            assert_eq!(plan(&header(), &firmware, base, len, &mut table), Err(LayoutError::ModulePlace));
        }
        // The kernel itself is where it is.
        let mut table = RegionTable::new();
        let hole = [range(0x10_0000, 0x28_0000), range(0x29_0000, 0x800_0000)];
        assert_eq!(plan(&header(), &hole, 0x500_0000, len, &mut table), Err(LayoutError::TooLittleRam));
    }

    #[test]
    fn too_little_memory_is_an_error() {
        let mut table = RegionTable::new();
        let ram = 4 << 20;
        let refused = plan(&header(), &ram_ranges(ram), 3 << 20, 4096, &mut table);
        assert_eq!(refused, Err(LayoutError::TooLittleRam));
    }

    #[test]
    fn a_kernel_of_another_version_is_refused() {
        let mut other = header();
        other.abi_version = crate::ABI_VERSION + 1;
        let mut table = RegionTable::new();
        let refused = plan(&other, &ram_ranges(128 << 20), 100 << 20, 4096, &mut table);
        assert_eq!(refused, Err(LayoutError::KernelHeader(crate::ABI_VERSION + 1)));
    }
}
