//! What the guest finds in memory when it starts: the kernel, the boot module, the region table, the
//! page tables, and the structure of the boot protocol.

use crate::config::{BootProtocol, ContainerRun, MachineConfig};
use crate::error::MachineError;
use crate::kvm::{cpuid, registers::Entry};
use crate::machine::state::Places;
use crate::medium;
use crate::memory::{self, GuestMemory};
use linux_loader::loader::{Elf, KernelLoader};
use sentient_abi::boot_module::{
    EncodedContainer, EntryKind, ModuleBuilder, RESIDENT, TABLES_PREPARED, ZERO,
};
use sentient_abi::layout::{self, LayoutError, queues, ram_ranges};
use sentient_abi::machine_info::{Device, DeviceKind, MAX_DEVICES, MachineInfo};
use sentient_abi::paging::TableMemory;
use sentient_abi::region::{RegionKind, RegionTable};
use sentient_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};
use sentient_boot::{linux64, pvh};
use sentient_devices::virtio::mmio::state::QueueLayout;
use sentient_images::KernelImage;
use std::io::Cursor;
use std::ops::Range;
use vm_memory::{Bytes, GuestAddress};

/// Address of `boot_params`, below 1 MiB, where nothing else is.
const BOOT_PARAMS: u64 = 0x7000;
/// Address of `hvm_start_info`, its module list and memory map.
const START_INFO: u64 = 0x6000;

/// Interrupts of the devices: pins of the I/O APIC, from 16 up, because KVM routes the lower ones to the
/// legacy controller as well, and that is wired to the processor after a reset.
pub const CONSOLE_GSI: u32 = 16;
/// See [`CONSOLE_GSI`].
pub const RNG_GSI: u32 = 17;
/// See [`CONSOLE_GSI`].
pub const NET_GSI: u32 = 18;

/// See [`CONSOLE_GSI`].
pub const VOLUMES_GSI: u32 = 19;

/// Virtio devices of a machine, in the order of their register pages.
pub const DEVICES: [(DeviceKind, u32); 4] = [
    (DeviceKind::Console, CONSOLE_GSI),
    (DeviceKind::Rng, RNG_GSI),
    (DeviceKind::Net, NET_GSI),
    (DeviceKind::Volumes, VOLUMES_GSI),
];

/// Position of the network device in [`DEVICES`].
pub const NET: u64 = 2;

/// Position of the volumes' device in [`DEVICES`].
pub const VOLUMES: u64 = 3;

/// Register page of the device with this position in [`DEVICES`].
#[must_use]
pub const fn device_base(position: u64) -> u64 {
    layout::VIRTIO_MMIO + position * sentient_abi::PAGE_SIZE
}

/// Bytes of its heap that the runtime uses until a small container runs.
const HEAP_AT_START: u64 = 64 << 10;

/// Ticks of the local APIC timer per second at divisor 1: KVM's is fixed.
const LAPIC_TIMER_HZ: u64 = 1_000_000_000;

/// What the vCPU and the devices need to know of it.
#[derive(Debug)]
pub struct Prepared {
    /// How the vCPU starts.
    pub entry: Entry,
    /// Where the guest has what the host looks at.
    pub places: Places,
    /// Start of the region that holds the devices' queues.
    pub device_buffers: u64,
    /// The region table, which lies in the kernel.
    table: Vec<u8>,
}

impl Prepared {
    /// A queue of the region of device buffers.
    #[must_use]
    pub fn queue(&self, number: u64) -> QueueLayout {
        let page = self.device_buffers + number * queues::STRIDE;
        QueueLayout {
            size: queues::SIZE,
            descriptor_table: page,
            driver_ring: page + queues::DRIVER_AREA,
            device_ring: page + queues::DEVICE_AREA,
        }
    }
}

/// Writes all of it but the kernel, what lies in it, and the time page, which comes last.
///
/// # Errors
/// [`MachineError`] if it does not fit or the kernel cannot be loaded.
pub fn prepare(config: &MachineConfig, memory: &GuestMemory) -> Result<Prepared, MachineError> {
    let header = config.kernel.header();

    let info = machine_info(config).encode();
    let memory_limit = config.container.as_ref().map_or(0, |container| container.spec.memory_limit);
    let container = config.container.as_ref().map(encoded).transpose()?;
    // PVH starts without paging: the nucleus then builds its tables itself, as under any other loader.
    let tables_prepared = config.protocol == BootProtocol::Linux64;
    let flag = |is_set: bool, flag: u32| if is_set { flag } else { 0 };
    let mut builder = ModuleBuilder::new(
        flag(tables_prepared, TABLES_PREPARED)
            | flag(config.resident, RESIDENT)
            | flag(config.zero.is_some(), ZERO),
    );
    builder.push(EntryKind::Machine, 0, &info).ok_or(MachineError::ArgumentsTooLong)?;
    let digests = match &config.zero {
        Some(_) => medium::digests(&config.kernel)?,
        None => Vec::new(),
    };
    if let Some(faults) = &config.zero {
        builder.push(EntryKind::Faults, 0, faults.as_bytes()).ok_or(MachineError::ArgumentsTooLong)?;
    }
    medium::push_digests(&mut builder, &digests)?;
    if let (Some(encoded), Some(ContainerRun { image, .. })) = (&container, &config.container) {
        builder
            .push_container(0, encoded, &image.bytes, image.exec.clone())
            .ok_or(MachineError::ArgumentsTooLong)?;
    }
    let module_len = builder.len();
    let too_small = |error| MachineError::Layout {
        ram: config.ram,
        needed: module_len.saturating_add(memory_limit).saturating_add(layout::MIN_RAM),
        error,
    };
    let module_base = layout::boot_module_base(config.ram, module_len)
        .ok_or_else(|| too_small(LayoutError::TooLittleRam))?;

    let mut table = RegionTable::new();
    layout::plan(header, &ram_ranges(config.ram), module_base, module_len, &mut table).map_err(too_small)?;
    // The guest would find out, too; here there is a message that names the way out.
    let largest =
        table.iter().filter(|region| region.kind == RegionKind::Unassigned as u32).map(|region| region.len);
    if largest.max().unwrap_or(0) < memory_limit {
        return Err(too_small(LayoutError::TooLittleRam));
    }
    let code = builder.code_ranges();
    let (module_header, pieces) = builder.finish();
    memory::populate(memory, module_base, module_len);
    // What every guest touches first. KVM, without nested paging, brings in a page's neighbours with it if the
    // host has them: a fault for eight.
    if let Some(heap) = table.find(RegionKind::Heap) {
        memory::populate(memory, heap.base, HEAP_AT_START);
    }
    write(memory, module_base, &module_header)?;
    for piece in &pieces {
        write(memory, module_base + piece.offset, piece.bytes)?;
    }
    let page_tables = build_page_tables(&table, code, memory).map_err(too_small)?;
    let entry = match config.protocol {
        BootProtocol::Linux64 => {
            write_boot_params(config.ram, module_base, module_len, memory)?;
            Entry::Linux64 { rip: header.linux64_entry, page_tables, boot_params: BOOT_PARAMS }
        }
        BootProtocol::Pvh => {
            write_start_info(config.ram, module_base, module_len, memory)?;
            Entry::Pvh { eip: header.pvh_entry, start_info: START_INFO }
        }
    };
    let base = |kind| table.find(kind).map_or(0, |region| region.base);
    let places = Places {
        panic_record: header.panic_record,
        region_table: header.region_table,
        time_page: base(RegionKind::Time),
    };
    let table = encode_table(&table);
    Ok(Prepared { entry, places, device_buffers: base(RegionKind::DeviceBuffers), table })
}

/// Writes what lies in the kernel itself, once that is loaded.
///
/// # Errors
/// [`MachineError::Kernel`] if the kernel says it is outside of RAM.
pub fn complete(prepared: &Prepared, memory: &GuestMemory) -> Result<(), MachineError> {
    write(memory, prepared.places.region_table, &prepared.table)
}

/// Loads the kernel: the one part that needs nothing of KVM, so that it can go on beside the rest.
///
/// # Errors
/// [`MachineError::Kernel`] if it is no ELF file that fits.
pub fn load_kernel(kernel: &KernelImage, memory: &GuestMemory) -> Result<(), MachineError> {
    for segment in kernel.header().segments() {
        if segment.base.is_multiple_of(LARGE_PAGE_SIZE) && segment.len.is_multiple_of(LARGE_PAGE_SIZE) {
            memory::prefer_large_pages(memory, segment.base, segment.len);
        } else {
            memory::populate(memory, segment.base, segment.len);
        }
    }
    let mut file = Cursor::new(kernel.elf());
    Elf::load(&**memory, None, &mut file, None).map_err(|error| MachineError::Kernel(error.to_string()))?;
    Ok(())
}

fn encoded(container: &ContainerRun) -> Result<EncodedContainer<'_>, MachineError> {
    container.spec.encode().ok_or(MachineError::ArgumentsTooLong)
}

/// A boot module of one container: for other loaders than ours.
///
/// # Errors
/// [`MachineError::ArgumentsTooLong`].
pub fn container_module(container: &ContainerRun) -> Result<Vec<u8>, MachineError> {
    let encoded = encoded(container)?;
    let image = &container.image;
    let mut builder = ModuleBuilder::new(0);
    let pushed = builder.push_container(0, &encoded, &image.bytes, image.exec.clone());
    pushed.and_then(|()| builder.into_bytes()).ok_or(MachineError::ArgumentsTooLong)
}

/// A boot module of one container, for a machine that runs, and has the image or is given it as one of its own.
///
/// # Errors
/// [`MachineError::ArgumentsTooLong`].
pub fn container_without_image(container: &ContainerRun) -> Result<Vec<u8>, MachineError> {
    let (encoded, digest) = (encoded(container)?, container.image.digest());
    let mut builder = ModuleBuilder::new(0);
    let pushed = builder.push_container_of(&encoded, &digest);
    pushed.and_then(|()| builder.into_bytes()).ok_or(MachineError::ArgumentsTooLong)
}

/// A boot module of a container's image.
///
/// # Errors
/// [`MachineError::ArgumentsTooLong`] if the image is longer than memory can be.
pub fn image_module(container: &ContainerRun) -> Result<Vec<u8>, MachineError> {
    let image = &container.image;
    let mut builder = ModuleBuilder::new(0);
    let pushed = builder.push_image(0, &image.bytes, image.exec.clone());
    pushed.and_then(|()| builder.into_bytes()).ok_or(MachineError::ArgumentsTooLong)
}

fn machine_info(config: &MachineConfig) -> MachineInfo {
    let mut devices = [None; MAX_DEVICES];
    for (position, (slot, (kind, gsi))) in devices.iter_mut().zip(DEVICES).enumerate() {
        *slot = Some(Device { kind, gsi, base: device_base(position as u64), adopted: true });
    }
    MachineInfo {
        lapic_timer_hz: LAPIC_TIMER_HZ,
        cpu_features: cpuid::host_features(),
        heartbeat_ns: config.heartbeat.map_or(0, |every| u64::try_from(every.as_nanos()).unwrap_or(u64::MAX)),
        devices,
    }
}

/// Entries of a page table.
const ENTRIES: usize = PAGE_SIZE as usize / size_of::<u64>();

/// Tables of a small machine.
const USUAL_TABLES: usize = 12;

/// Page tables in a copy of the pool, written to guest memory in one piece.
struct Pool {
    base: u64,
    /// Up to the last table that is used.
    entries: Vec<u64>,
}

impl TableMemory for &mut Pool {
    fn read(&self, gpa: u64) -> u64 {
        self.entries.get(self.index(gpa)).copied().unwrap_or(0)
    }

    fn write(&mut self, gpa: u64, entry: u64) {
        let index = self.index(gpa);
        if index >= self.entries.len() {
            self.entries.resize((index + 1).next_multiple_of(ENTRIES), 0);
        }
        if let Some(slot) = self.entries.get_mut(index) {
            *slot = entry;
        }
    }
}

impl Pool {
    fn index(&self, gpa: u64) -> usize {
        usize::try_from((gpa - self.base) / 8).unwrap_or(usize::MAX)
    }
}

fn build_page_tables(
    table: &RegionTable,
    code: impl Iterator<Item = Range<u64>>,
    memory: &GuestMemory,
) -> Result<u64, LayoutError> {
    let region = table.find(RegionKind::PageTables).ok_or(LayoutError::TooLittleRam)?;
    let mut pool = Pool { base: region.base, entries: Vec::with_capacity(USUAL_TABLES * ENTRIES) };
    let root = layout::build_page_tables(table, code, DEVICES.len() as u64, std::iter::empty(), &mut pool)?;
    // Only the tables in use: the rest of the pool is zero, as guest memory is.
    memory::populate(memory, region.base, pool.entries.len() as u64 * size_of::<u64>() as u64);
    for (number, table) in pool.entries.chunks(ENTRIES).enumerate() {
        let mut bytes = [0; PAGE_SIZE as usize];
        for (to, entry) in bytes.chunks_exact_mut(size_of::<u64>()).zip(table) {
            to.copy_from_slice(&entry.to_le_bytes());
        }
        let at = region.base + number as u64 * PAGE_SIZE;
        memory.write_slice(&bytes, GuestAddress(at)).map_err(|_| LayoutError::TooLittleRam)?;
    }
    Ok(root)
}

fn encode_table(table: &RegionTable) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(size_of::<RegionTable>());
    bytes.extend_from_slice(&table.magic.to_le_bytes());
    bytes.extend_from_slice(&table.abi_version.to_le_bytes());
    bytes.extend_from_slice(&table.count.to_le_bytes());
    for region in &table.regions {
        bytes.extend_from_slice(&region.name);
        bytes.extend_from_slice(&region.base.to_le_bytes());
        bytes.extend_from_slice(&region.len.to_le_bytes());
        for word in [region.kind, region.access, region.owner, region.reserved] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }
    bytes
}

fn write_boot_params(
    ram: u64,
    module_base: u64,
    module_len: u64,
    memory: &GuestMemory,
) -> Result<(), MachineError> {
    let word = |offset: u64, value: u64| write(memory, BOOT_PARAMS + offset, &(value as u32).to_le_bytes());
    word(linux64::HEADER, linux64::HEADER_MAGIC.into())?;
    word(linux64::RAMDISK_IMAGE, module_base)?;
    word(linux64::EXT_RAMDISK_IMAGE, module_base >> 32)?;
    word(linux64::RAMDISK_SIZE, module_len)?;
    word(linux64::EXT_RAMDISK_SIZE, module_len >> 32)?;
    let mut count = 0u8;
    for range in ram_ranges(ram).into_iter().filter(|range| range.len > 0) {
        let entry = BOOT_PARAMS + linux64::E820_TABLE + u64::from(count) * linux64::E820_LEN;
        write(memory, entry, &range.base.to_le_bytes())?;
        write(memory, entry + 8, &range.len.to_le_bytes())?;
        write(memory, entry + 16, &linux64::E820_RAM.to_le_bytes())?;
        count += 1;
    }
    write(memory, BOOT_PARAMS + linux64::E820_ENTRIES, &[count])
}

fn write_start_info(
    ram: u64,
    module_base: u64,
    module_len: u64,
    memory: &GuestMemory,
) -> Result<(), MachineError> {
    let modules = START_INFO + pvh::START_INFO_LEN;
    let map = modules + pvh::MODULE_LEN;
    write(memory, modules, &module_base.to_le_bytes())?;
    write(memory, modules + 8, &module_len.to_le_bytes())?;
    let mut count = 0u32;
    for range in ram_ranges(ram).into_iter().filter(|range| range.len > 0) {
        let entry = map + u64::from(count) * pvh::MEMMAP_LEN;
        write(memory, entry, &range.base.to_le_bytes())?;
        write(memory, entry + 8, &range.len.to_le_bytes())?;
        write(memory, entry + 16, &pvh::MEMMAP_RAM.to_le_bytes())?;
        count += 1;
    }
    write(memory, START_INFO, &pvh::START_MAGIC.to_le_bytes())?;
    write(memory, START_INFO + 4, &1u32.to_le_bytes())?;
    write(memory, START_INFO + 12, &1u32.to_le_bytes())?;
    write(memory, START_INFO + 16, &modules.to_le_bytes())?;
    write(memory, START_INFO + 40, &map.to_le_bytes())?;
    write(memory, START_INFO + 48, &count.to_le_bytes())
}

fn write(memory: &GuestMemory, gpa: u64, bytes: &[u8]) -> Result<(), MachineError> {
    memory.write_slice(bytes, GuestAddress(gpa)).map_err(|error| {
        MachineError::Kernel(format!("{} bytes at {gpa:#x} are outside of RAM: {error}", bytes.len()))
    })
}
