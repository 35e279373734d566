//! The machine as the runtime finds it: boot module, facts, regions.

use core::ptr::NonNull;
use sentient_abi::boot_module::{BootModule, Entry, EntryKind, ModuleError};
use sentient_abi::machine_info::MachineInfo;
use sentient_abi::region::{Region, RegionKind, RegionTable};

/// What the nucleus handed over.
pub struct Machine {
    module: Result<BootModule<'static>, ModuleError>,
    /// The VMM's facts; `None` under a foreign loader.
    pub info: Option<MachineInfo>,
    /// Whether the VMM's sentinel device is there; RAM is zero then, too.
    pub under_sentinel: bool,
    regions: NonNull<RegionTable>,
}

impl Machine {
    /// Takes over what the nucleus passes.
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
        Self { module, info, under_sentinel, regions }
    }

    /// The boot module.
    pub fn module(&self) -> Result<BootModule<'static>, ModuleError> {
        self.module
    }

    /// An entry of the boot module with its bytes.
    pub fn entry(&self, kind: EntryKind, index: u32) -> Option<(Entry, &'static [u8])> {
        let module = self.module.ok()?;
        let entry = module.find(kind, index)?;
        Some((entry, module.data(&entry)?))
    }

    /// The region of a kind.
    pub fn region(&self, kind: RegionKind) -> Option<Region> {
        // SAFETY: `adopt`'s contract; the borrow ends with the statement.
        unsafe { self.regions.as_ref() }.find(kind).copied()
    }

    /// Takes `len` bytes from the end of the memory no container owns, as container `owner`'s region.
    /// `None` if there is not that much, or no slot in the table.
    pub fn assign(&mut self, owner: u32, len: u64) -> Option<Region> {
        // SAFETY: `adopt`'s contract, and `self` is borrowed mutably: no other reference.
        let table = unsafe { self.regions.as_mut() };
        let index = table
            .iter()
            .position(|region| region.kind == RegionKind::Unassigned as u32 && region.len >= len)?;
        let free = *table.regions.get(index)?;
        let base = free.end()? - len;
        table.push(RegionKind::Container, base, len, free.access)?;
        let slot = table.count as usize - 1;
        let region = table.regions.get_mut(slot)?;
        region.owner = owner;
        let assigned = *region;
        table.regions.get_mut(index)?.len -= len;
        Some(assigned)
    }
}
