//! The Linux 64-bit boot protocol (Documentation/arch/x86/boot.rst and zero-page.rst): long mode, identity
//! mapping, `rsi` holding the address of `boot_params`.

use crate::{PhysicalMemory, Ram, RamRange};

/// Offset of `e820_entries` (one byte).
pub const E820_ENTRIES: u64 = 0x1e8;
/// Offset of `hdr.ramdisk_image` (32 bits; `ext_ramdisk_image` holds the upper half).
pub const RAMDISK_IMAGE: u64 = 0x218;
/// Offset of `hdr.ramdisk_size` (32 bits; `ext_ramdisk_size` holds the upper half).
pub const RAMDISK_SIZE: u64 = 0x21c;
/// Offset of `ext_ramdisk_image`.
pub const EXT_RAMDISK_IMAGE: u64 = 0x0c0;
/// Offset of `ext_ramdisk_size`.
pub const EXT_RAMDISK_SIZE: u64 = 0x0c4;
/// Offset of `hdr.cmd_line_ptr` (32 bits; `ext_cmd_line_ptr` holds the upper half).
pub const COMMAND_LINE: u64 = 0x228;
/// Offset of `ext_cmd_line_ptr`.
pub const EXT_COMMAND_LINE: u64 = 0x0c8;
/// Offset of `hdr.header`, which holds [`HEADER_MAGIC`].
pub const HEADER: u64 = 0x202;
/// `"HdrS"`.
pub const HEADER_MAGIC: u32 = 0x5372_6448;
/// Offset of `e820_table`: entries of [`E820_LEN`] bytes.
pub const E820_TABLE: u64 = 0x2d0;
/// Bytes of an `e820_table` entry: base, length, type.
pub const E820_LEN: u64 = 20;
/// `type` of usable RAM.
pub const E820_RAM: u32 = 1;
/// Most entries of `e820_table`.
pub const E820_MAX: u32 = 128;

/// The boot module (the initial RAM disk) by `boot_params` at `params`; `None` if there is none, or these are
/// none.
#[must_use]
pub fn module(memory: &impl PhysicalMemory, params: u64) -> Option<RamRange> {
    if memory.read_u32(params + HEADER)? != HEADER_MAGIC {
        return None;
    }
    let wide = |low: u64, high: u64| -> Option<u64> {
        Some(u64::from(memory.read_u32(params + low)?) | u64::from(memory.read_u32(params + high)?) << 32)
    };
    let len = wide(RAMDISK_SIZE, EXT_RAMDISK_SIZE)?;
    if len == 0 {
        return None;
    }
    Some(RamRange { base: wide(RAMDISK_IMAGE, EXT_RAMDISK_IMAGE)?, len })
}

/// Where the command line is, by `boot_params` at `params`.
#[must_use]
pub fn command_line(memory: &impl PhysicalMemory, params: u64) -> Option<u64> {
    if memory.read_u32(params.checked_add(HEADER)?)? != HEADER_MAGIC {
        return None;
    }
    let low = u64::from(memory.read_u32(params.checked_add(COMMAND_LINE)?)?);
    let high = u64::from(memory.read_u32(params.checked_add(EXT_COMMAND_LINE)?)?);
    Some(low | high << 32).filter(|at| *at != 0)
}

/// The RAM by `boot_params` at `params`; `None` if these are none.
#[must_use]
pub fn ram(memory: &impl PhysicalMemory, params: u64) -> Option<Ram> {
    if memory.read_u32(params + HEADER)? != HEADER_MAGIC {
        return None;
    }
    let mut ram = Ram::none();
    let entries = (memory.read_u32(params + E820_ENTRIES)? & 0xff).min(E820_MAX);
    for index in 0..entries {
        let entry = params + E820_TABLE + u64::from(index) * E820_LEN;
        let range = RamRange { base: memory.read_u64(entry)?, len: memory.read_u64(entry + 8)? };
        if memory.read_u32(entry + 16)? == E820_RAM {
            ram.push(range);
        }
    }
    Some(ram)
}
