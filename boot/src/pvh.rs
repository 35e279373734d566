//! PVH direct boot (Xen's `xen/include/public/arch-x86/hvm/start_info.h`): 32-bit protected mode without
//! paging, `ebx` holding the address of `hvm_start_info`.

use crate::acpi::Root;
use crate::{PhysicalMemory, Ram, RamRange};

/// First word of `hvm_start_info`.
pub const START_MAGIC: u32 = 0x336e_c578;
/// `type` of the ELF note (name `"Xen"`) that holds the entry point: XEN_ELFNOTE_PHYS32_ENTRY.
pub const NOTE_PHYS32_ENTRY: u32 = 18;
/// `type` of usable RAM in the memory map.
pub const MEMMAP_RAM: u32 = 1;

/// Bytes of `hvm_start_info`, version 1.
pub const START_INFO_LEN: u64 = 56;
/// Bytes of `hvm_modlist_entry`.
pub const MODULE_LEN: u64 = 32;
/// Bytes of `hvm_memmap_table_entry`.
pub const MEMMAP_LEN: u64 = 24;

/// Most memory map entries read.
const MAX_ENTRIES: u32 = 128;

/// The boot module (the first of the list) by `hvm_start_info` at `info`; `None` if there is none, or this is no
/// such structure.
#[must_use]
pub fn module(memory: &impl PhysicalMemory, info: u64) -> Option<RamRange> {
    if memory.read_u32(info)? != START_MAGIC || memory.read_u32(info + 12)? == 0 {
        return None;
    }
    let modules = memory.read_u64(info + 16)?;
    Some(RamRange { base: memory.read_u64(modules)?, len: memory.read_u64(modules.checked_add(8)?)? })
}

/// ACPI's tables by `hvm_start_info` at `info`; `None` if it says nothing of them.
#[must_use]
pub fn acpi(memory: &impl PhysicalMemory, info: u64) -> Option<Root> {
    if memory.read_u32(info)? != START_MAGIC {
        return None;
    }
    let pointer = memory.read_u64(info.checked_add(32)?)?;
    (pointer != 0).then(|| Root::by_pointer(memory, pointer))?
}

/// Where the command line is, by `hvm_start_info` at `info`.
#[must_use]
pub fn command_line(memory: &impl PhysicalMemory, info: u64) -> Option<u64> {
    if memory.read_u32(info)? != START_MAGIC {
        return None;
    }
    memory.read_u64(info.checked_add(24)?).filter(|at| *at != 0)
}

/// The RAM by `hvm_start_info` at `info`; `None` if this is no such structure.
#[must_use]
pub fn ram(memory: &impl PhysicalMemory, info: u64) -> Option<Ram> {
    if memory.read_u32(info)? != START_MAGIC {
        return None;
    }
    let mut ram = Ram::none();
    // The first version has no memory map.
    if memory.read_u32(info + 4)? >= 1 {
        let map = memory.read_u64(info + 40)?;
        let entries = memory.read_u32(info + 48)?.min(MAX_ENTRIES);
        for index in 0..entries {
            let entry = map.checked_add(u64::from(index) * MEMMAP_LEN)?;
            let range =
                RamRange { base: memory.read_u64(entry)?, len: memory.read_u64(entry.checked_add(8)?)? };
            if memory.read_u32(entry.checked_add(16)?)? == MEMMAP_RAM {
                ram.push(range);
            }
        }
    }
    Some(ram)
}
