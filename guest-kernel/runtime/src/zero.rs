//! The zero mode: the kernel alone, with a console of a few commands, for when nothing else works.
//!
//! The console is on the streams of container 0, which there is not; on machines without a VMM of ours it is on the serial port.
//! Nothing is run and nothing is loaded but what is needed for this: what it says of the machine, it has looked at just now.

use crate::console::{self, InputState};
use crate::machine::Machine;
use crate::{clock, gate};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::{self, Write};
use sentient_abi::boot_module::EntryKind;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::{Region, RegionKind, access};
use sentient_abi::stdio::FrameKind;

/// The container whose streams these are.
const CONSOLE: u32 = 0;

/// Longest line that is taken, in bytes; what is beyond it is left out.
const MAX_LINE: usize = 256;

/// How often the serial port is asked for what has come, in nanoseconds.
const ASK_NS: u64 = 10_000_000;

const BACKSPACE: u8 = 8;
const DELETE: u8 = 127;

const HELP: &str = "\
help      this
regions   what the machine's memory is used for
mem       how much of it there is
log       what is known of the machine's faults
verify    whether the kernel is what it should be
reboot    boot as usual
off       end the machine
";

/// Where it writes.
struct Out {
    /// The other end shows nothing of what it sends.
    is_serial: bool,
}

impl Out {
    fn bytes(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let taken = console::write(FrameKind::Stdout, CONSOLE, bytes);
            bytes = bytes.get(taken..).unwrap_or(&[]);
            if taken == 0 {
                console::flush();
            }
        }
    }
}

impl Write for Out {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.bytes(text.as_bytes());
        Ok(())
    }
}

/// The next byte that was typed; `None` at the end of all.
fn typed(out: &Out) -> Option<u8> {
    if out.is_serial {
        loop {
            if let Some(byte) = console::terminal::typed() {
                return Some(byte);
            }
            clock::wake_by(clock::monotonic_ns().saturating_add(ASK_NS));
            gate::idle();
            clock::forget_timer();
        }
    }
    loop {
        match console::input_state(CONSOLE) {
            InputState::Ready(_) => {
                let mut byte = [0];
                if console::read(CONSOLE, &mut byte) == 1 {
                    return byte.first().copied();
                }
            }
            InputState::Ended => return None,
            InputState::Empty => {
                console::prepare_sleep();
                // What has come until now was taken by that, and nobody tells of it again.
                let is_empty = matches!(console::input_state(CONSOLE), InputState::Empty);
                if is_empty && !console::has_news() {
                    gate::idle();
                }
                console::end_sleep();
            }
        }
    }
}

/// The next line; `None` at the end of all.
fn line(out: &mut Out) -> Option<String> {
    let mut line = Vec::new();
    loop {
        let Some(byte) = typed(out) else {
            return (!line.is_empty()).then(|| String::from_utf8_lossy(&line).into_owned());
        };
        match byte {
            b'\r' | b'\n' => {
                if out.is_serial {
                    out.bytes(b"\n");
                }
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            BACKSPACE | DELETE if line.pop().is_some() && out.is_serial => out.bytes(b"\x08 \x08"),
            byte if line.len() < MAX_LINE && !byte.is_ascii_control() => {
                line.push(byte);
                if out.is_serial {
                    out.bytes(&[byte]);
                }
            }
            _ => {}
        }
    }
}

/// Reads commands until one ends the machine, in which `has_run` containers or nothing.
pub fn run(machine: &Machine, has_run: bool) -> ! {
    let mut out = Out { is_serial: !console::is_present() };
    // Whoever is not there any more reads nothing: the machine ends with its console.
    let _ = match has_run {
        false => writeln!(out, "SentientOS zero mode: no containers are run. `help` lists the commands."),
        true => writeln!(out, "No container runs any more. `help` lists the commands."),
    };
    loop {
        let _ = write!(out, "zero> ");
        let Some(line) = line(&mut out) else { end(0) };
        let _ = match line.trim() {
            "" => Ok(()),
            "help" | "?" => out.write_str(HELP),
            "regions" => regions(&mut out, machine),
            "mem" => memory(&mut out, machine),
            "log" => log(&mut out, machine),
            "verify" => verify(&mut out, machine),
            "reboot" => {
                console::flush();
                gate::reset()
            }
            "off" | "exit" => end(0),
            other => writeln!(out, "there is no command `{other}`; `help` lists them"),
        };
    }
}

fn end(code: u32) -> ! {
    console::flush();
    gate::exit(ContainerEnd::Exited(code))
}

fn name(region: &Region) -> &str {
    let len = region.name.iter().position(|byte| *byte == 0).unwrap_or(region.name.len());
    region.name.get(..len).and_then(|name| core::str::from_utf8(name).ok()).unwrap_or("?")
}

fn regions(out: &mut Out, machine: &Machine) -> fmt::Result {
    writeln!(out, "{:18}  {:18}  {:9}  ACCESS", "FROM", "TO", "KIB")?;
    let mut all: Vec<&Region> = machine.regions().filter(|region| region.len > 0).collect();
    all.sort_unstable_by_key(|region| region.base);
    all.iter().try_for_each(|region| {
        let right = |bit: u32, letter: char| if region.access & bit != 0 { letter } else { '-' };
        let rights = [right(access::USER, 'u'), right(access::WRITE, 'w'), right(access::EXECUTE, 'x')];
        let (base, end) = (region.base, region.base.saturating_add(region.len));
        write!(out, "{base:#018x}  {end:#018x}  {:<9}  ", region.len >> 10)?;
        rights.iter().try_for_each(|right| out.write_char(*right))?;
        writeln!(out, "  {}", name(region))
    })
}

fn memory(out: &mut Out, machine: &Machine) -> fmt::Result {
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

fn log(out: &mut Out, machine: &Machine) -> fmt::Result {
    let text = machine.entries(EntryKind::Faults).next().map(|(_, text)| String::from_utf8_lossy(text));
    match text.as_deref() {
        None | Some("") => writeln!(out, "no fault of this machine is known"),
        Some(text) => writeln!(out, "{}", text.trim_end()),
    }
}

fn verify(out: &mut Out, machine: &Machine) -> fmt::Result {
    let mut known = 0;
    for (entry, expected) in machine.entries(EntryKind::Digest) {
        let Some(region) = machine.regions().find(|region| region.kind == entry.index) else { continue };
        if region.access & access::USER == 0 {
            continue;
        }
        known += 1;
        // SAFETY: a region of the table that ring 3 may read, mapped for the machine's life; nobody writes to it meanwhile, as
        // this is all that runs.
        let bytes = unsafe { core::slice::from_raw_parts(region.base as *const u8, region.len as usize) };
        let found = blake3::hash(bytes);
        let verdict = if found.as_bytes() == expected { "as it should be" } else { "DAMAGED" };
        writeln!(out, "{:18}  {}  {verdict}", name(region), found.to_hex())?;
    }
    if known == 0 {
        writeln!(out, "nobody has said what it should be")?;
    }
    Ok(())
}
