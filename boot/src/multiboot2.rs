//! Multiboot2 (specification 2.0, sections 3.3 and 3.6), as GRUB speaks it on BIOS and UEFI machines: 32-bit protected mode
//! without paging, `eax` holding [`LOADED_MAGIC`], `ebx` the address of the information: a list of tags.

use crate::acpi::Root;
use crate::{PhysicalMemory, Ram, RamRange};
use sentient_abi::screen::{self, ScreenInfo};

/// First word of the header that a loader looks for.
pub const HEADER_MAGIC: u32 = 0xe852_50d6;
/// Architecture of the entry: 32-bit protected mode.
pub const ARCHITECTURE: u32 = 0;
/// What a loader leaves in `eax`.
pub const LOADED_MAGIC: u32 = 0x36d7_6289;

/// Tags of the header: where to enter, a screen, modules on pages.
pub const HEADER_ENTRY: u16 = 3;
/// See [`HEADER_ENTRY`].
pub const HEADER_FRAMEBUFFER: u16 = 5;
/// See [`HEADER_ENTRY`].
pub const HEADER_MODULE_ALIGN: u16 = 6;

/// Tags of the information: the last one; the command line; a module; the memory map.
const END: u32 = 0;
const COMMAND_LINE: u32 = 1;
const MODULE: u32 = 3;
const MEMORY_MAP: u32 = 6;
/// The screen, and its types: pixels of three colours, and characters.
const FRAMEBUFFER: u32 = 8;
const RGB: u32 = 1;
const CHARACTERS: u32 = 2;
/// Copies of ACPI's root pointer, of the first and of later versions.
const OLD_ACPI: u32 = 14;
const NEW_ACPI: u32 = 15;

/// `type` of usable RAM in the memory map.
const AVAILABLE: u32 = 1;
/// Least bytes of an entry of the memory map.
const ENTRY_LEN: u32 = 24;

/// Most tags, and most entries of the memory map, that are read.
const MAX_TAGS: u32 = 64;
const MAX_ENTRIES: u32 = 256;
/// Longest information that is read, in bytes.
const MAX_LEN: u32 = 1 << 20;

/// A tag: its first byte, and its length with its head of eight bytes.
#[derive(Clone, Copy)]
struct Tag {
    at: u64,
    len: u32,
}

/// The first tag of a type that is at least `least` bytes long.
fn find(memory: &impl PhysicalMemory, info: u64, wanted: u32, least: u32) -> Option<Tag> {
    let total = memory.read_u32(info)?.min(MAX_LEN);
    let end = info.checked_add(u64::from(total))?;
    let mut at = info.checked_add(8)?;
    for _ in 0..MAX_TAGS {
        let (kind, len) = (memory.read_u32(at)?, memory.read_u32(at.checked_add(4)?)?);
        let next = at.checked_add(u64::from(len).checked_next_multiple_of(8)?)?;
        if kind == END || len < 8 || next > end.checked_next_multiple_of(8)? {
            return None;
        }
        if kind == wanted && len >= least {
            return Some(Tag { at, len });
        }
        at = next;
    }
    None
}

/// The boot module (the first one) by the information at `info`; `None` if there is none.
#[must_use]
pub fn module(memory: &impl PhysicalMemory, info: u64) -> Option<RamRange> {
    let Tag { at, .. } = find(memory, info, MODULE, 16)?;
    let (start, end) = (memory.read_u32(at + 8)?, memory.read_u32(at + 12)?);
    Some(RamRange { base: u64::from(start), len: u64::from(end.checked_sub(start)?) })
}

/// Where the command line is, by the information at `info`.
#[must_use]
pub fn command_line(memory: &impl PhysicalMemory, info: u64) -> Option<u64> {
    find(memory, info, COMMAND_LINE, 9)?.at.checked_add(8)
}

/// ACPI's tables by the information at `info`; `None` if it says nothing of them.
#[must_use]
pub fn acpi(memory: &impl PhysicalMemory, info: u64) -> Option<Root> {
    let tag = find(memory, info, NEW_ACPI, 44).or_else(|| find(memory, info, OLD_ACPI, 28))?;
    Root::by_pointer(memory, tag.at.checked_add(8)?)
}

/// The screen by the information at `info`; `None` if there is none, or one of a kind that nobody here knows.
#[must_use]
pub fn screen(memory: &impl PhysicalMemory, info: u64) -> Option<ScreenInfo> {
    let Tag { at, len } = find(memory, info, FRAMEBUFFER, 32)?;
    let kind = memory.read_u32(at + 28)?;
    let (bits, kind) = (kind & 0xff, kind >> 8 & 0xff);
    let format = match (kind, bits) {
        (RGB, 24 | 32) if len >= 38 => {
            let (one, other) = (memory.read_u32(at + 32)?, memory.read_u32(at + 36)?);
            let [red, red_len, green, green_len] = one.to_le_bytes();
            let [blue, blue_len, ..] = other.to_le_bytes();
            if [red_len, green_len, blue_len] != [8; 3] {
                return None;
            }
            screen::pixels((bits / 8) as u8, red, green, blue)
        }
        (CHARACTERS, 16) => screen::TEXT,
        _ => return None,
    };
    let screen = ScreenInfo {
        address: memory.read_u64(at + 8)?,
        pitch: memory.read_u32(at + 16)?,
        width: memory.read_u32(at + 20)?,
        height: memory.read_u32(at + 24)?,
        format,
    };
    screen.bytes().map(|_| screen)
}

/// The RAM by the information at `info`; `None` if it says nothing of it.
#[must_use]
pub fn ram(memory: &impl PhysicalMemory, info: u64) -> Option<Ram> {
    let Tag { at, len } = find(memory, info, MEMORY_MAP, 16)?;
    let entry_len = memory.read_u32(at + 8)?;
    if entry_len < ENTRY_LEN {
        return None;
    }
    let mut ram = Ram::none();
    for index in 0..((len - 16) / entry_len).min(MAX_ENTRIES) {
        let entry = at.checked_add(16 + u64::from(index) * u64::from(entry_len))?;
        let range = RamRange { base: memory.read_u64(entry)?, len: memory.read_u64(entry.checked_add(8)?)? };
        if memory.read_u32(entry.checked_add(16)?)? == AVAILABLE {
            ram.push(range);
        }
    }
    Some(ram)
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use crate::protocol::Handover;
    use std::vec;
    use std::vec::Vec;

    const AT: u64 = 0x9000;

    struct Memory(Vec<u8>);

    impl PhysicalMemory for Memory {
        fn read_u32(&self, gpa: u64) -> Option<u32> {
            let at = usize::try_from(gpa.checked_sub(AT)?).ok()?;
            Some(u32::from_le_bytes(self.0.get(at..at.checked_add(4)?)?.try_into().ok()?))
        }
    }

    fn words(words: &[u32]) -> Vec<u8> {
        words.iter().flat_map(|word| word.to_le_bytes()).collect()
    }

    fn information(tags: &[Vec<u8>]) -> Memory {
        let mut bytes = vec![0; 8];
        for tag in tags {
            bytes.extend(tag);
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        bytes.extend(words(&[END, 8]));
        let len = u32::try_from(bytes.len()).unwrap_or(0);
        bytes[..4].copy_from_slice(&len.to_le_bytes());
        Memory(bytes)
    }

    fn usual() -> Memory {
        let map = [
            words(&[MEMORY_MAP, 16 + 3 * 24, 24, 0]),
            words(&[0, 0, 0xa_0000, 0, 1, 0]),
            words(&[0xf_0000, 0, 0x1_0000, 0, 2, 0]),
            words(&[0, 1, 0, 2, 1, 0]),
        ];
        let name = [words(&[COMMAND_LINE, 13]), b"zero\0".to_vec()].concat();
        let pixels = words(&[FRAMEBUFFER, 38, 0xe000_0000, 0, 4096, 1024, 768, 0x0120, 0x0808_0810, 0x0800]);
        information(&[name, pixels, words(&[MODULE, 17, 0x20_0000, 0x20_3001, 0]), map.concat()])
    }

    #[test]
    fn the_first_module_and_all_usable_memory_are_found() {
        let memory = usual();
        assert_eq!(module(&memory, AT), Some(RamRange { base: 0x20_0000, len: 0x3001 }));
        let ram = ram(&memory, AT).map(|ram| ram.ranges().to_vec());
        let screen = screen(&memory, AT).map(|screen| (screen.address, screen.width, screen.colours()));
        assert_eq!(screen, Some((0xe000_0000, 1024, Some([16, 8, 0]))));
        let expected = [RamRange { base: 0, len: 0xa_0000 }, RamRange { base: 1 << 32, len: 2 << 32 }];
        assert_eq!(ram.as_deref(), Some(&expected[..]));
    }

    #[test]
    fn the_command_line_is_read_to_its_end_and_no_further_than_there_is_memory() {
        let read = |memory: &Memory| Handover::Multiboot2(AT).command_line(memory).bytes().to_vec();
        assert_eq!(read(&usual()), b"zero");
        assert_eq!(read(&information(&[])), b"");
        let mut endless = information(&[[words(&[COMMAND_LINE, 508]), vec![b'x'; 500]].concat()]);
        assert_eq!(read(&endless).len(), crate::protocol::COMMAND_LINE);
        endless.0.truncate(200);
        assert!(read(&endless).len() < 200);
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_none() {
        let nothing = information(&[]);
        assert_eq!((module(&nothing, AT), ram(&nothing, AT)), (None, None));
        let backwards = information(&[words(&[MODULE, 17, 0x3000, 0x2000, 0])]);
        assert_eq!(module(&backwards, AT), None);
        let endless = information(&[words(&[9, 0, 0, 0]), words(&[MODULE, 17, 0, 9, 0])]);
        assert_eq!(module(&endless, AT), None);
        let palette = information(&[words(&[FRAMEBUFFER, 38, 0xe000_0000, 0, 640, 640, 480, 8, 0, 0])]);
        assert_eq!(screen(&palette, AT), None);
        let thin = information(&[words(&[MEMORY_MAP, 24, 8, 0, 1, 1])]);
        assert_eq!(ram(&thin, AT), None);
        let mut cut = usual();
        for len in (0..cut.0.len()).rev() {
            cut.0.truncate(len);
            let _ = (module(&cut, AT), ram(&cut, AT), screen(&cut, AT));
        }
    }
}
