//! Commands of the machine's own console, with which people look after it: in zero mode, and beside programs where there is no VMM.

use crate::machine::Machine;
use crate::{clock, gate, measured};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use sentient_abi::boot_module::EntryKind;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::panic_record::PanicRecord;
use sentient_abi::region::{Region, RegionKind, access};

/// Help on them.
pub const HELP: &str = "\
help      this
regions   what the machine's memory is used for
mem       how much of it there is
devices   what was found on PCI
log       what is known of the machine's faults
verify    whether the kernel is what it should be
reboot    boot as usual
off       end the machine
";

/// What a command wants done that is not its own to do.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// Nothing.
    GoOn,
    /// The machine is to be booted anew.
    Reboot,
    /// It is to end.
    Off,
    /// There is no such command.
    Unknown,
}

/// Does what a line says, and writes what is to be said.
pub fn run(out: &mut dyn Write, machine: &Machine, line: &str) -> Then {
    // Whoever is not there any more reads nothing.
    let _ = match line {
        "" => Ok(()),
        "help" | "?" => out.write_str(HELP),
        "regions" => regions(out, machine),
        "mem" => memory(out, machine),
        "devices" => devices(out, machine),
        "log" => log(out, machine),
        "verify" => verify(out, machine),
        "reboot" => return Then::Reboot,
        "off" | "exit" => return Then::Off,
        _ => return Then::Unknown,
    };
    Then::GoOn
}

fn devices(out: &mut dyn Write, machine: &Machine) -> fmt::Result {
    let mut known = 0;
    for found in crate::devices::all_found().filter(|_| machine.info.is_none()) {
        known += 1;
        let what = match found.kind {
            kind if kind == DeviceKind::Net as u32 => "virtio, network",
            kind if kind == DeviceKind::E1000e as u32 => "e1000e, network",
            kind if kind == DeviceKind::Rng as u32 => "virtio, random numbers",
            kind if kind == DeviceKind::Console as u32 => "virtio, console",
            kind if kind == DeviceKind::Block as u32 => "virtio, block device",
            kind if kind == DeviceKind::Nvme as u32 => "NVMe, block device",
            kind if kind == DeviceKind::Ahci as u32 => "AHCI, block devices",
            _ => "device",
        };
        let (bus, device, function) = (found.place >> 8, found.place >> 3 & 31, found.place & 7);
        writeln!(out, "{bus:02x}:{device:02x}.{function}  {what}")?;
    }
    if known == 0 {
        writeln!(out, "no device was found that there is a driver for")?;
    }
    Ok(())
}

fn regions(out: &mut dyn Write, machine: &Machine) -> fmt::Result {
    writeln!(out, "{:18}  {:18}  {:9}  ACCESS", "FROM", "TO", "KIB")?;
    let mut all: Vec<&Region> = machine.regions().filter(|region| region.len > 0).collect();
    all.sort_unstable_by_key(|region| region.base);
    all.iter().try_for_each(|region| {
        let right = |bit: u32, letter: char| if region.access & bit != 0 { letter } else { '-' };
        let rights = [right(access::USER, 'u'), right(access::WRITE, 'w'), right(access::EXECUTE, 'x')];
        let (base, end) = (region.base, region.base.saturating_add(region.len));
        write!(out, "{base:#018x}  {end:#018x}  {:<9}  ", region.len >> 10)?;
        rights.iter().try_for_each(|right| out.write_char(*right))?;
        writeln!(out, "  {}", region.name())
    })
}

fn memory(out: &mut dyn Write, machine: &Machine) -> fmt::Result {
    let sum = |is_it: &dyn Fn(&Region) -> bool| -> u64 {
        machine.regions().filter(|region| is_it(region)).map(|region| region.len >> 10).sum()
    };
    let free = sum(&|region| region.kind == RegionKind::Unassigned as u32);
    writeln!(out, "all   {} KiB", sum(&|_| true))?;
    writeln!(out, "free  {free} KiB")?;
    writeln!(out, "heap  {} KiB", sum(&|region| region.kind == RegionKind::Heap as u32))?;
    let ms = clock::monotonic_ns() / 1_000_000;
    writeln!(out, "up    {}.{:03} s", ms / 1000, ms % 1000)
}

fn log(out: &mut dyn Write, machine: &Machine) -> fmt::Result {
    if let Some(record) = gate::last_panic() {
        let len = usize::try_from(record.message_len).unwrap_or(usize::MAX).min(record.message.len());
        let message = String::from_utf8_lossy(record.message.get(..len).unwrap_or(&[]));
        let PanicRecord { reason, vector, code, rip, cr2, .. } = record;
        writeln!(out, "panics of the kernel since it booted: {}; the last one:", gate::facts().panics)?;
        return writeln!(
            out,
            "reason {reason}, vector {vector}, code {code:#x}, rip {rip:#x}, cr2 {cr2:#x} {message}"
        );
    }
    let text = machine.entries(EntryKind::Faults).next().map(|(_, text)| String::from_utf8_lossy(text));
    match text.as_deref() {
        None | Some("") => writeln!(out, "no fault of this machine is known"),
        Some(text) => writeln!(out, "{}", text.trim_end()),
    }
}

fn verify(out: &mut dyn Write, machine: &Machine) -> fmt::Result {
    let mut known = 0;
    for (entry, expected) in machine.entries(EntryKind::Digest) {
        let Some(region) = machine.regions().find(|region| region.kind == entry.index) else { continue };
        let Some(found) = measured::of_region(region) else { continue };
        known += 1;
        let verdict = if found == expected { "as it should be" } else { "DAMAGED" };
        writeln!(out, "{:18}  {}  {verdict}", region.name(), blake3::Hash::from_bytes(found).to_hex())?;
    }
    if known == 0 {
        writeln!(out, "nobody has said what it should be")?;
    }
    Ok(())
}
