//! The machine as the runtime finds it: boot module, facts, regions.

use alloc::format;
use alloc::string::String;
use core::ops::Range;
use core::ptr::NonNull;
use sentient_abi::boot_module::{
    BootModule, Container, Entry, EntryKind, ModuleError, RESIDENT, STAYS, ZERO,
};
use sentient_abi::machine_info::MachineInfo;
use sentient_abi::region::{MAX_REGIONS, NAME_LEN, Region, RegionKind, RegionTable, access, padded_name};

/// Ranges of unassigned memory at boot: below the gap of device registers, and above it.
const RANGES: usize = 2;

/// What the nucleus handed over.
pub struct Machine {
    module: Result<BootModule<'static>, ModuleError>,
    /// The VMM's facts; `None` under a foreign loader.
    pub info: Option<MachineInfo>,
    regions: NonNull<RegionTable>,
    /// Memory nobody has had yet, as far as it is known to be zero.
    untouched: [Range<u64>; RANGES],
}

impl Machine {
    /// Takes over what the nucleus passes. Where the VMM's sentinel device is, RAM is zero.
    ///
    /// # Safety
    /// `module` and `len` must be a readable range that never changes, `regions` a region table that
    /// nobody else in ring 3 uses.
    pub unsafe fn adopt(
        module: *const u8,
        len: u64,
        regions: *mut RegionTable,
        under_sentinel: bool,
    ) -> Self {
        // SAFETY: the caller's contract.
        let bytes = unsafe { core::slice::from_raw_parts(module, len as usize) };
        let module = BootModule::parse(bytes);
        let info = module.ok().and_then(|module| {
            let entry = module.find(EntryKind::Machine, 0)?;
            MachineInfo::parse(module.data(&entry)?)
        });
        // A null table would be the nucleus' fault; a dangling one then reads as an unmapped page.
        let regions = NonNull::new(regions).unwrap_or(NonNull::dangling());
        let mut machine = Self { module, info, regions, untouched: [0..0, 0..0] };
        if under_sentinel {
            let mut untouched = [0..0, 0..0];
            let free = machine.table().iter().filter(|region| region.kind == RegionKind::Unassigned as u32);
            for (range, region) in untouched.iter_mut().zip(free) {
                *range = region.base..region.base + region.len;
            }
            machine.untouched = untouched;
        }
        machine
    }

    /// Whether it takes containers from the host, and goes on without one.
    pub fn is_resident(&self) -> bool {
        self.info.is_some() && self.module.is_ok_and(|module| module.flags() & RESIDENT != 0)
    }

    /// Whether it runs no containers, and has a [console](crate::zero) instead.
    pub fn is_zero(&self) -> bool {
        self.module.is_ok_and(|module| module.flags() & ZERO != 0)
    }

    /// Whether it has the console of zero mode when no container runs any more.
    pub fn stays(&self) -> bool {
        self.module.is_ok_and(|module| module.flags() & STAYS != 0)
    }

    /// The boot module, if it is one.
    pub fn module(&self) -> Option<BootModule<'static>> {
        self.module.ok()
    }

    /// Numbers of the boot module's containers, ascending.
    pub fn container_numbers(&self) -> impl Iterator<Item = u32> + use<> {
        let entries = self.module.ok().into_iter().flat_map(|module| module.entries());
        entries.filter(|entry| entry.kind == EntryKind::Container).map(|entry| entry.index)
    }

    /// All regions.
    pub fn regions(&self) -> impl Iterator<Item = &Region> {
        self.table().iter()
    }

    /// What the boot module has of a kind.
    pub fn entries(&self, kind: EntryKind) -> impl Iterator<Item = (Entry, &'static [u8])> {
        let module = self.module.ok();
        let entries = module
            .into_iter()
            .flat_map(|module| module.entries().filter_map(move |entry| Some((entry, module.data(&entry)?))));
        entries.filter(move |(entry, _)| entry.kind == kind)
    }

    /// An entry of the boot module.
    pub fn entry(&self, kind: EntryKind, index: u32) -> Option<Entry> {
        self.module.ok()?.find(kind, index)
    }

    /// A container of the boot module.
    ///
    /// # Errors
    /// What is missing, or cannot be read.
    pub fn container(&self, index: u32) -> Result<Container<'static>, &'static str> {
        self.module.map_err(|_| "it is damaged")?.container(index)
    }

    /// What a container of the boot module is called.
    pub fn container_name(&self, index: u32) -> String {
        let name = self.entries(EntryKind::Name).find(|(entry, _)| entry.index == index);
        name.map_or_else(|| format!("{index}"), |(_, name)| String::from_utf8_lossy(name).into_owned())
    }

    fn table(&self) -> &RegionTable {
        // SAFETY: `adopt`'s contract; changed by `&mut self` alone.
        unsafe { self.regions.as_ref() }
    }

    fn table_mut(&mut self) -> &mut RegionTable {
        // SAFETY: `adopt`'s contract, and `self` is borrowed mutably: no other reference.
        unsafe { self.regions.as_mut() }
    }

    /// The region of a kind.
    pub fn region(&self, kind: RegionKind) -> Option<Region> {
        self.table().find(kind).copied()
    }

    /// A container's region of a kind.
    pub fn owned(&self, kind: RegionKind, owner: u32) -> Option<Region> {
        self.table().iter().find(|region| region.kind == kind as u32 && region.owner == owner).copied()
    }

    /// Takes `len` bytes from the end of unassigned memory, as container `owner`'s region, and says whether
    /// they are known to be zero. `None` if there is not that much, or no slot in the table.
    pub fn assign(&mut self, owner: u32, len: u64) -> Option<(Region, bool)> {
        let index = self.unassigned(len)?;
        let base = self.table().regions.get(index)?.end()? - len;
        let name = padded_name(RegionKind::Container.name());
        let taken = self.take(index, (RegionKind::Container, name), owner, base, len)?;
        Some((taken, self.touch(base..base + len)))
    }

    /// Takes `len` bytes from the end of unassigned memory for a checkpoint of container `owner`. `None` as for
    /// [`assign`](Self::assign).
    pub fn assign_checkpoint(&mut self, owner: u32, len: u64) -> Option<Region> {
        let index = self.unassigned(len)?;
        let base = self.table().regions.get(index)?.end()? - len;
        let name = padded_name(RegionKind::Checkpoint.name());
        let taken = self.take(index, (RegionKind::Checkpoint, name), owner, base, len)?;
        self.touch(base..base + len);
        Some(taken)
    }

    /// Takes `len` bytes from the start of unassigned memory for an image of this number and name: all images lie
    /// close together, because each large page they touch takes a page table. `None` as for
    /// [`assign`](Self::assign).
    pub fn assign_image(&mut self, number: u32, len: u64, name: [u8; NAME_LEN]) -> Option<Region> {
        let index = self.unassigned(len)?;
        let base = self.table().regions.get(index)?.base;
        let taken = self.take(index, (RegionKind::Image, name), number, base, len)?;
        self.touch(base..base + len);
        Some(taken)
    }

    /// Why there is no room for `len` bytes of `what`, for people.
    pub fn no_room(&self, len: u64, what: &str) -> String {
        if self.table().count as usize >= MAX_REGIONS {
            return format!(
                "all {MAX_REGIONS} regions that a machine's memory can have are in use, one of them \
                 for each container and each image; end a container first, or use another machine"
            );
        }
        format!("the machine has no {len} bytes of memory left for {what}")
    }

    /// The lowest region of unassigned memory with `len` bytes.
    fn unassigned(&self, len: u64) -> Option<usize> {
        let fits = |(_, region): &(usize, &Region)| {
            region.kind == RegionKind::Unassigned as u32 && region.len >= len
        };
        let lowest = self.table().iter().enumerate().filter(fits).min_by_key(|(_, region)| region.base);
        lowest.map(|(index, _)| index)
    }

    /// Makes one end of the unassigned region in slot `index` a region of its own. In both for a moment,
    /// never in none: what is in no region is not looked at from outside.
    fn take(
        &mut self,
        index: usize,
        (kind, name): (RegionKind, [u8; NAME_LEN]),
        owner: u32,
        base: u64,
        len: u64,
    ) -> Option<Region> {
        let table = self.table_mut();
        let access = if kind == RegionKind::Image { access::USER } else { access::USER | access::WRITE };
        table.push(kind, base, len, access)?;
        let slot = table.count as usize - 1;
        let region = table.regions.get_mut(slot)?;
        region.owner = owner;
        region.name = name;
        let taken = *region;
        let free = table.regions.get_mut(index)?;
        if free.base == base {
            free.base += len;
        }
        free.len -= len;
        if free.len == 0 {
            table.remove(index);
        }
        Some(taken)
    }

    /// Gives a container's region of a kind back. It must be mapped for reading and writing.
    pub fn release(&mut self, kind: RegionKind, owner: u32) {
        let table = self.table_mut();
        let is_it = |region: &Region| region.kind == kind as u32 && region.owner == owner;
        let Some(index) = table.iter().position(is_it) else { return };
        let Some(region) = table.regions.get_mut(index) else { return };
        region.kind = RegionKind::Unassigned as u32;
        region.name = padded_name(RegionKind::Unassigned.name());
        region.access = access::USER | access::WRITE;
        region.owner = 0;
        let (start, end) = (region.base, region.base + region.len);
        // Neighbours become one: a machine that starts and ends containers for ever keeps its slots.
        let free = |region: &&mut Region| region.kind == RegionKind::Unassigned as u32;
        let below = table.regions.iter_mut().filter(free).find(|below| below.base + below.len == start).map(
            |below| {
                below.len += end - start;
                below.base
            },
        );
        if below.is_some() {
            table.remove(index);
        }
        let start = below.unwrap_or(start);
        let above = table.iter().position(|region| {
            region.kind == RegionKind::Unassigned as u32 && region.base == end && region.len > 0
        });
        let Some(above) = above else { return };
        let len = table.regions.get(above).map_or(0, |region| region.len);
        if let Some(all) = table.regions.iter_mut().filter(free).find(|region| region.base == start) {
            all.len += len;
            table.remove(above);
        }
    }

    /// Notes that memory is in use from now on; gives whether nobody has had any of it before.
    fn touch(&mut self, taken: Range<u64>) -> bool {
        let mut zero = false;
        for range in &mut self.untouched {
            zero |= range.start <= taken.start && taken.end <= range.end;
            if taken.start >= range.end || taken.end <= range.start {
                continue;
            }
            if taken.start <= range.start {
                range.start = taken.end.min(range.end);
            } else {
                range.end = taken.start;
            }
        }
        zero
    }
}
