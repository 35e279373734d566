//! What a loader hands the kernel.

use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::layout;
use sentient_abi::region::{RegionKind, RegionTable, access};
use sentient_abi::{ABI_VERSION, PAGE_SIZE};
use sentient_boot::pci::{self, Configuration, Function};
use sentient_boot::registers::Registers;
use sentient_boot::virtio_pci::Transport;
use sentient_boot::{MAX_RAM_RANGES, PhysicalMemory, acpi, linux64, multiboot2, pvh};
use std::cell::{Cell, RefCell};

/// Memory from address 0 on.
struct Memory<'a>(&'a [u8]);

impl PhysicalMemory for Memory<'_> {
    fn read_u32(&self, gpa: u64) -> Option<u32> {
        let at = usize::try_from(gpa).ok()?;
        Some(u32::from_le_bytes(self.0.get(at..at.checked_add(4)?)?.try_into().ok()?))
    }
}

/// All protocols' structures, at the start of memory: read or refused, within bounds. What they say is planned for.
pub fn loader(data: &[u8]) {
    let memory = Memory(data);
    for root in [pvh::acpi(&memory, 0), multiboot2::acpi(&memory, 0), acpi::Root::by_pointer(&memory, 0)] {
        std::hint::black_box(root.map(|root| (acpi::power(&memory, root), acpi::processors(&memory, root))));
    }
    let screen = multiboot2::screen(&memory, 0);
    assert!(screen.is_none_or(|screen| screen.bytes().is_some()));
    let found = [
        (pvh::module(&memory, 0), pvh::ram(&memory, 0)),
        (linux64::module(&memory, 0), linux64::ram(&memory, 0)),
        (multiboot2::module(&memory, 0), multiboot2::ram(&memory, 0)),
    ];
    for (module, ram) in found {
        let Some(ram) = ram else { continue };
        assert!(ram.ranges().len() <= MAX_RAM_RANGES);
        let Some(module) = module else { continue };
        let mut table = RegionTable::new();
        if layout::plan(&kernel(), ram.ranges(), module.base, module.len, &mut table).is_ok() {
            check(&table);
        }
    }
}

/// A kernel of one segment.
fn kernel() -> KernelHeader {
    let mut segments = [Segment::NONE; MAX_SEGMENTS];
    let (base, len) = (layout::NUCLEUS_BASE, 0x10_0000);
    segments[0] = Segment { base, len, kind: RegionKind::NucleusText as u32, access: 0 };
    let (abi_version, segment_count) = (ABI_VERSION, 1);
    KernelHeader {
        magic: MAGIC,
        abi_version,
        segment_count,
        runtime_entry: 0,
        panic_record: 0,
        region_table: 0,
        linux64_entry: 0,
        pvh_entry: 0,
        segments,
    }
}

/// No two regions have anything of each other.
fn check(table: &RegionTable) {
    let mut ranges: Vec<_> = table.iter().map(|region| (region.base, region.base + region.len)).collect();
    ranges.sort_unstable();
    assert!(ranges.windows(2).all(|pair| pair[0].1 <= pair[1].0), "{ranges:x?}");
}

/// Where a device's queues are said to be.
const BUFFERS: u64 = 0x80_0000;

/// Two functions, one on each of two buses, and what their registers, and memory that they share with drivers, say: what comes next.
pub struct Bus<'a> {
    space: &'a [u8],
    said: &'a [u8],
    asked: Cell<usize>,
    /// Where drivers may write.
    allowed: RefCell<Vec<layout::RamRange>>,
}

impl Configuration for Bus<'_> {
    fn read(&self, Function { bus, device, function }: Function, register: u8) -> u32 {
        let at = match (bus, device, function) {
            (0, 0, 0) => 0,
            (1, 0, 0) => 128,
            _ => return u32::MAX,
        };
        let word = self.space.get(at + usize::from(register) % 128..).and_then(|rest| rest.first_chunk());
        word.map_or(0, |word| u32::from_le_bytes(*word))
    }

    fn write(&self, _: Function, _: u8, _: u32) {}
}

impl<'a> Bus<'a> {
    pub fn new(space: &'a [u8], said: &'a [u8]) -> Self {
        Self { space, said, asked: Cell::new(0), allowed: RefCell::default() }
    }

    /// Drivers may write there from now on, and where they could before.
    pub fn allow(&self, ranges: impl IntoIterator<Item = layout::RamRange>) {
        self.allowed.borrow_mut().extend(ranges);
    }

    fn next(&self) -> u8 {
        let asked = self.asked.replace(self.asked.get() + 1);
        self.said.get(asked).copied().unwrap_or(0)
    }

    fn check(&self, address: u64) {
        let is_within = |range: &layout::RamRange| (range.base..range.base + range.len).contains(&address);
        assert!(self.allowed.borrow().iter().any(is_within), "{address:#x} is written to");
    }
}

impl Registers for Bus<'_> {
    const PATIENCE: u32 = 64;

    fn read8(&self, _: u64) -> u8 {
        self.next()
    }
    fn read16(&self, _: u64) -> u16 {
        u16::from_le_bytes([self.next(), self.next()])
    }
    fn read32(&self, address: u64) -> u32 {
        u32::from(self.read16(address)) | u32::from(self.read16(address)) << 16
    }
    fn write8(&self, address: u64, _: u8) {
        self.check(address);
    }
    fn write16(&self, address: u64, _: u16) {
        self.check(address);
    }
    fn write32(&self, address: u64, _: u32) {
        self.check(address);
    }
}

/// What is found is made ready or left alone; ring 3 has no register but those that queues are notified by.
pub fn pci(data: &[u8]) {
    let (space, said) = data.split_at(data.len().min(SPACE_LEN));
    let bus = Bus::new(space, said);
    let mut found = Vec::new();
    pci::each(&bus, &mut |function, id| found.extend(Transport::find(&bus, function, id)));
    for transport in found {
        let mapped: Vec<_> = transport.registers().into_iter().flatten().collect();
        assert!(mapped.iter().all(|(range, _)| range.base % PAGE_SIZE == 0 && range.len % PAGE_SIZE == 0));
        bus.allow(mapped.iter().map(|(range, _)| *range));
        let message = Some((0xfee0_0000, 0x60));
        let Some((ready, _)) = transport.adopt(&bus, &bus, BUFFERS, message) else { continue };
        assert!(ready.queue_len.is_power_of_two() && ready.queue_len <= layout::queues::SIZE);
        let is_notified_by = |doorbell: &u64| {
            let within = |(range, allowed): &(layout::RamRange, u32)| {
                allowed & access::USER != 0 && (range.base..range.base + range.len - 1).contains(doorbell)
            };
            *doorbell == 0 || mapped.iter().any(within)
        };
        assert!(ready.doorbells.iter().all(is_notified_by), "{ready:x?} {mapped:x?}");
    }
}

/// Bytes of configuration space: of both functions.
pub const SPACE_LEN: usize = 256;

/// Configuration space with a virtio device of QEMU's in it, of this number.
pub fn virtio_space(number: u32) -> Vec<u8> {
    let mut bytes = vec![0; SPACE_LEN];
    let words: [(u64, u32); 19] = [
        (0, 0x1040_1af4 + (number << 16)),
        (4, 0x10_0000),
        (0x14, 0xfebd_0000),
        (0x20, 0xc),
        (0x24, 0x38),
        (0x34, 0x40),
        (0x40, 0x8002_5011),
        (0x44, 1),
        (0x50, 0x0110_6009),
        (0x54, 4),
        (0x5c, 0x1000),
        (0x60, 0x0214_7009),
        (0x64, 4),
        (0x68, 0x3000),
        (0x6c, 0x1000),
        // Its last word is the next one's first: the registers of both queues are one.
        (0x70, 0x0410_0009),
        (0x74, 4),
        (0x78, 0x2000),
        (0x7c, 0x1000),
    ];
    for (at, word) in words {
        put(&mut bytes, at, &word.to_le_bytes());
    }
    bytes
}

/// A network device, with registers that say that all is well.
pub fn functions() -> Vec<Vec<u8>> {
    let mut bytes = virtio_space(1);
    bytes.resize(2 * SPACE_LEN, 0);
    // The status after the reset, what is offered, the status again, and what queues say.
    let said = [0u8, 0x20, 0, 0, 0, 1, 0, 0, 0, 8, 0, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    put(&mut bytes, SPACE_LEN as u64, &said);
    vec![bytes]
}

pub fn handovers() -> Vec<Vec<u8>> {
    vec![start_info(), boot_params(), information()]
}

/// Multiboot2's information with a module and two ranges of memory.
fn information() -> Vec<u8> {
    let words = [
        104u32, 0, 3, 16, 0x700_0000, 0x701_0000, 6, 64, 24, 0, 0, 0, 0x800_0000, 0, 1, 0, 0, 1, 0x800_0000,
        0, 1, 0, 0, 8,
    ];
    words.into_iter().flat_map(u32::to_le_bytes).collect()
}

/// `hvm_start_info`, then a module and two ranges of memory.
fn start_info() -> Vec<u8> {
    let (modules, map) = (pvh::START_INFO_LEN, pvh::START_INFO_LEN + pvh::MODULE_LEN);
    let mut bytes = vec![0; (map + 2 * pvh::MEMMAP_LEN) as usize];
    put(&mut bytes, 0, &pvh::START_MAGIC.to_le_bytes());
    put(&mut bytes, 4, &1u32.to_le_bytes());
    put(&mut bytes, 12, &1u32.to_le_bytes());
    put(&mut bytes, 16, &modules.to_le_bytes());
    put(&mut bytes, 40, &map.to_le_bytes());
    put(&mut bytes, 48, &2u32.to_le_bytes());
    put(&mut bytes, modules, &0x700_0000u64.to_le_bytes());
    put(&mut bytes, modules + 8, &0x1_0000u64.to_le_bytes());
    for (index, base) in [0, 1u64 << 32].into_iter().enumerate() {
        let entry = map + index as u64 * pvh::MEMMAP_LEN;
        put(&mut bytes, entry, &base.to_le_bytes());
        put(&mut bytes, entry + 8, &0x800_0000u64.to_le_bytes());
        put(&mut bytes, entry + 16, &pvh::MEMMAP_RAM.to_le_bytes());
    }
    bytes
}

/// `boot_params` with an initial RAM disk and two ranges of memory.
fn boot_params() -> Vec<u8> {
    let mut bytes = vec![0; 4096];
    put(&mut bytes, linux64::HEADER, &linux64::HEADER_MAGIC.to_le_bytes());
    put(&mut bytes, linux64::RAMDISK_IMAGE, &0x700_0000u32.to_le_bytes());
    put(&mut bytes, linux64::RAMDISK_SIZE, &0x1_0000u32.to_le_bytes());
    put(&mut bytes, linux64::E820_ENTRIES, &[2]);
    for (index, base) in [0, 1u64 << 32].into_iter().enumerate() {
        let entry = linux64::E820_TABLE + index as u64 * linux64::E820_LEN;
        put(&mut bytes, entry, &base.to_le_bytes());
        put(&mut bytes, entry + 8, &0x800_0000u64.to_le_bytes());
        put(&mut bytes, entry + 16, &linux64::E820_RAM.to_le_bytes());
    }
    bytes
}

pub fn put(bytes: &mut [u8], at: u64, value: &[u8]) {
    for (to, from) in bytes.iter_mut().skip(at as usize).zip(value) {
        *to = *from;
    }
}
