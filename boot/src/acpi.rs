//! How a PC is switched off and reset, by its ACPI tables (ACPI specification 6.5).
//!
//! Of all that these tables say, six fields of one (FADT, 5.2.9), one package of another (`\_S5`, 7.4.2.6), and how many
//! processors a third one lists (MADT, 5.2.12) are wanted here:
//! docs/decisions/0037 says why that is read by hand. Nothing is interpreted: of the package, the constants it is made of in all
//! known firmware are looked for.

use crate::PhysicalMemory;

/// `"FACP"`: the FADT's signature.
const FADT: u32 = u32::from_le_bytes(*b"FACP");
/// `"APIC"`: the MADT's; its header, and most bytes of it that are read.
const MADT: u32 = u32::from_le_bytes(*b"APIC");
const MADT_HEADER_LEN: u64 = 44;
const MAX_MADT: u32 = 1 << 16;
/// Structures in it: processors.
const LOCAL_APIC: u32 = 0;
const LOCAL_X2APIC: u32 = 9;
/// `"_S5_"`: the name of the package.
const S5: u32 = u32::from_le_bytes(*b"_S5_");

/// Bytes of a table's header; what a root table lists comes behind it.
const HEADER_LEN: u64 = 36;
/// Most tables, and most bytes of the one with the package, that are looked through.
const MAX_TABLES: u64 = 64;
const MAX_DSDT: u32 = 1 << 20;

/// The flag of the FADT by which there is a reset register.
const RESET_SUPPORTED: u32 = 1 << 10;
/// The space of a register that is a port.
const IO_SPACE: u32 = 1;

/// Codes of AML (20.2): a package, a byte, the constants 0 and 1.
const PACKAGE: u32 = 0x12;
const BYTE: u32 = 0x0a;

/// The table that lists all others: where it is, and the length of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Root {
    address: u64,
    entry_len: u64,
}

impl Root {
    /// By the root pointer structure at `at` (5.2.5.3).
    #[must_use]
    pub fn by_pointer(memory: &impl PhysicalMemory, at: u64) -> Option<Self> {
        let revision = memory.read_u32(at.checked_add(12)?)? >> 24;
        let extended = if revision >= 2 { memory.read_u64(at.checked_add(24)?)? } else { 0 };
        let found = match extended {
            0 => Self { address: u64::from(memory.read_u32(at.checked_add(16)?)?), entry_len: 4 },
            address => Self { address, entry_len: 8 },
        };
        (found.address != 0).then_some(found)
    }

    fn table(&self, memory: &impl PhysicalMemory, wanted: u32) -> Option<u64> {
        let len = u64::from(memory.read_u32(self.address.checked_add(4)?)?).checked_sub(HEADER_LEN)?;
        for index in 0..(len / self.entry_len).min(MAX_TABLES) {
            let at = self.address.checked_add(HEADER_LEN + index * self.entry_len)?;
            let table = if self.entry_len == 8 { memory.read_u64(at)? } else { memory.read_u32(at)?.into() };
            if memory.read_u32(table) == Some(wanted) {
                return Some(table);
            }
        }
        None
    }
}

/// A byte that is written to a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PortByte {
    /// The port.
    pub port: u16,
    /// The byte.
    pub value: u8,
}

/// How a machine is switched off: the registers that control its sleep, and the type of sleep that is off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Off {
    /// The ports of the registers; the second one may be 0.
    pub ports: [u16; 2],
    /// What is written to the field of the type in either.
    pub types: [u8; 2],
    /// What has ACPI turned on first, if it is not on.
    pub enable: Option<PortByte>,
}

/// What of it there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Power {
    /// How it is switched off.
    pub off: Option<Off>,
    /// How it is reset.
    pub reset: Option<PortByte>,
}

/// What the tables say.
#[must_use]
pub fn power(memory: &impl PhysicalMemory, root: Root) -> Power {
    let Some(fadt) = root.table(memory, FADT) else { return Power::default() };
    Power { off: off(memory, fadt), reset: reset(memory, fadt) }
}

/// Processors that can be used, by the MADT (5.2.12): those with a local APIC or an x2APIC that are enabled. 0 without one.
#[must_use]
pub fn processors(memory: &impl PhysicalMemory, root: Root) -> u32 {
    root.table(memory, MADT).and_then(|madt| count_processors(memory, madt)).unwrap_or(0)
}

fn count_processors(memory: &impl PhysicalMemory, madt: u64) -> Option<u32> {
    let len = memory.read_u32(madt.checked_add(4)?)?.min(MAX_MADT);
    let end = madt.checked_add(u64::from(len))?;
    let mut at = madt.checked_add(MADT_HEADER_LEN)?;
    let mut count = 0;
    while at + 8 <= end {
        let head = memory.read_u32(at)?;
        let (kind, len) = (head & 0xff, head >> 8 & 0xff);
        // Where the flags are (5.2.12.2, 5.2.12.12).
        let flags = match kind {
            LOCAL_APIC => memory.read_u32(at + 4)?,
            LOCAL_X2APIC => memory.read_u32(at + 8)?,
            _ => 0,
        };
        count += flags & 1;
        if len < 2 {
            break;
        }
        at += u64::from(len);
    }
    Some(count)
}

fn port(value: u32) -> Option<u16> {
    u16::try_from(value).ok()
}

fn reset(memory: &impl PhysicalMemory, fadt: u64) -> Option<PortByte> {
    let word = |at: u64| memory.read_u32(fadt.checked_add(at)?);
    let is_there = word(4)? >= 129 && word(112)? & RESET_SUPPORTED != 0;
    if !is_there || word(116)? & 0xff != IO_SPACE || word(124)? != 0 {
        return None;
    }
    Some(PortByte { port: port(word(120)?).filter(|port| *port != 0)?, value: word(128)? as u8 })
}

fn off(memory: &impl PhysicalMemory, fadt: u64) -> Option<Off> {
    let word = |at: u64| memory.read_u32(fadt.checked_add(at)?);
    let ports = [port(word(64)?).filter(|port| *port != 0)?, port(word(68)?)?];
    let long = word(4)? >= 148;
    let dsdt = match memory.read_u64(fadt.checked_add(140)?).filter(|_| long) {
        Some(extended @ 1..) => extended,
        _ => u64::from(word(40)?),
    };
    let enable = PortByte { port: port(word(48)?)?, value: word(52)? as u8 };
    let enable = Some(enable).filter(|enable| enable.port != 0 && enable.value != 0);
    Some(Off { ports, types: sleep_types(memory, dsdt)?, enable })
}

/// The first two elements of the package.
fn sleep_types(memory: &impl PhysicalMemory, dsdt: u64) -> Option<[u8; 2]> {
    let len = memory.read_u32(dsdt.checked_add(4)?)?.min(MAX_DSDT);
    let end = dsdt.checked_add(u64::from(len))?;
    let byte = |at: u64| memory.read_u32(at).map(|word| word & 0xff);
    let mut at = dsdt.checked_add(HEADER_LEN)?;
    while at + 12 <= end {
        // The name, and what it names.
        if memory.read_u32(at)? != S5 || byte(at + 4)? != PACKAGE {
            at += 1;
            continue;
        }
        // The package's length (20.2.4), its count of elements, and these.
        let mut next = at + 5;
        next += u64::from(byte(next)? >> 6) + 2;
        let mut types = [0; 2];
        for value in &mut types {
            match byte(next)? {
                BYTE => {
                    *value = byte(next + 1)? as u8;
                    next += 2;
                }
                constant @ (0 | 1) => {
                    *value = constant as u8;
                    next += 1;
                }
                _ => return None,
            }
        }
        return Some(types);
    }
    None
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    /// Memory from an address on.
    struct Memory(Vec<u8>);
    const AT: u64 = 0x1000;

    impl PhysicalMemory for Memory {
        fn read_u32(&self, gpa: u64) -> Option<u32> {
            let at = usize::try_from(gpa.checked_sub(AT)?).ok()?;
            Some(u32::from_le_bytes(self.0.get(at..at.checked_add(4)?)?.try_into().ok()?))
        }
    }

    fn put(memory: &mut Memory, at: u64, bytes: &[u8]) {
        let at = (at - AT) as usize;
        memory.0[at..at + bytes.len()].copy_from_slice(bytes);
    }

    /// A root pointer at its start, then the root table, the FADT and the DSDT, as QEMU has them, with this package.
    fn tables(package: &[u8]) -> Memory {
        let mut memory = Memory(vec![0; 0x1000]);
        let (rsdt, fadt, dsdt) = (AT + 0x100, AT + 0x200, AT + 0x400);
        put(&mut memory, AT, b"RSD PTR ");
        put(&mut memory, AT + 16, &(rsdt as u32).to_le_bytes());
        put(&mut memory, rsdt, b"RSDT");
        put(&mut memory, rsdt + 4, &44u32.to_le_bytes());
        put(&mut memory, rsdt + 36, &(dsdt as u32).to_le_bytes());
        put(&mut memory, rsdt + 40, &(fadt as u32).to_le_bytes());
        put(&mut memory, fadt, b"FACP");
        put(&mut memory, fadt + 4, &244u32.to_le_bytes());
        put(&mut memory, fadt + 40, &(dsdt as u32).to_le_bytes());
        put(&mut memory, fadt + 48, &0xb2u32.to_le_bytes());
        put(&mut memory, fadt + 52, &[2]);
        put(&mut memory, fadt + 64, &0x604u32.to_le_bytes());
        put(&mut memory, fadt + 112, &RESET_SUPPORTED.to_le_bytes());
        put(&mut memory, fadt + 116, &[1, 8, 0, 0]);
        put(&mut memory, fadt + 120, &0xcf9u32.to_le_bytes());
        put(&mut memory, fadt + 128, &[15]);
        put(&mut memory, dsdt, b"DSDT");
        put(&mut memory, dsdt + 4, &0x100u32.to_le_bytes());
        put(&mut memory, dsdt + 80, &[b"\x08_S5_", package].concat());
        memory
    }

    fn found(memory: &Memory) -> Power {
        Root::by_pointer(memory, AT).map(|root| power(memory, root)).unwrap_or_default()
    }

    #[test]
    fn how_a_machine_is_switched_off_and_reset_is_found() {
        let off =
            |types| Some(Off { ports: [0x604, 0], types, enable: Some(PortByte { port: 0xb2, value: 2 }) });
        let reset = Some(PortByte { port: 0xcf9, value: 15 });
        // Four zeros; bytes; a length of two bytes.
        for (package, types) in [
            (&[0x12, 6, 4, 0, 0, 0, 0][..], [0, 0]),
            (&[0x12, 8, 4, 0x0a, 5, 0x0a, 7, 0, 0], [5, 7]),
            (&[0x12, 0x46, 0, 4, 1, 0x0a, 5, 0, 0], [1, 5]),
        ] {
            assert_eq!(found(&tables(package)), Power { off: off(types), reset });
        }
    }

    #[test]
    fn processors_that_can_be_used_are_counted() {
        let mut memory = tables(&[0x12, 6, 4, 0, 0, 0, 0]);
        let madt = AT + 0x300;
        put(&mut memory, AT + 0x100 + 4, &48u32.to_le_bytes());
        put(&mut memory, AT + 0x100 + 44, &(madt as u32).to_le_bytes());
        put(&mut memory, madt, b"APIC");
        // One that is enabled, one that is not, an I/O APIC, one with an x2APIC.
        let structures: [&[u8]; 4] = [
            &[0, 8, 0, 0, 1, 0, 0, 0],
            &[0, 8, 1, 1, 0, 0, 0, 0],
            &[1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0],
            &[9, 16, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0],
        ];
        put(&mut memory, madt + 44, &structures.concat());
        put(&mut memory, madt + 4, &(44u32 + 44).to_le_bytes());
        let count = |memory: &Memory| Root::by_pointer(memory, AT).map(|root| processors(memory, root));
        assert_eq!(count(&memory), Some(2));
        put(&mut memory, madt + 45, &[0]);
        assert_eq!(count(&memory), Some(1), "a structure without a length is the last one");
        assert_eq!(count(&tables(&[])), Some(0));
    }

    #[test]
    fn what_is_missing_or_makes_no_sense_is_none() {
        assert_eq!(found(&tables(&[0x12, 6, 4, 0x0c, 0, 0, 0])).off, None, "no constant that is known");
        assert_eq!(found(&tables(&[0x11, 6, 4, 0, 0, 0, 0])).off, None, "no package");
        let mut memory = tables(&[0x12, 6, 4, 0, 0, 0, 0]);
        put(&mut memory, AT + 0x200 + 116, &[0]);
        assert_eq!(found(&memory).reset, None, "a register in memory");
        put(&mut memory, AT + 0x100 + 4, &[0xff, 0xff, 0xff, 0xff]);
        put(&mut memory, AT + 0x100 + 40, &[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(found(&memory), Power::default());
        let whole = tables(&[0x12, 6, 4, 0, 0, 0, 0]);
        for len in 0..whole.0.len() {
            let _ = found(&Memory(whole.0[..len].to_vec()));
        }
    }
}
