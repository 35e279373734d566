//! Faults to order: what a guest must be recovered from, done to it from outside.
//!
//! Not in release builds, unless the feature `chaos` is asked for. What is written to the guest's memory is noted as what a
//! device writes, so that whoever puts the guest back finds it.

use crate::error::MachineError;
use crate::kvm::KvmError;
use crate::machine::Stopped;
use crate::snapshots::regions;
use kvm_bindings::kvm_sregs;
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::{Region, RegionKind};
use sentient_devices::Lifecycle;
use sentient_devices::virtio::rng::Entropy;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

/// Nothing is mapped there.
const NOWHERE: u64 = 0x6660_0000_0000;

/// Vectors below this are exceptions (Intel SDM, volume 3, 6.15).
const EXCEPTIONS: u64 = 32;

/// `ud2`; `cli` and `hlt`, again and again; `xorps`, which ring 0 cannot execute here.
const UD2: &[u8] = &[0x0f, 0x0b];
const CLI_HLT: &[u8] = &[0xfa, 0xf4, 0xeb, 0xfc];
const XORPS: &[u8] = &[0x0f, 0x57, 0xc0];
/// A jump to itself.
const JMP_SELF: &[u8] = &[0xeb, 0xfe];

/// The local APIC's register of the timer's initial count.
const TIMER_COUNT: usize = 0x380;

/// Its registers of interrupts that are requested and were not delivered.
const PENDING: [usize; 8] = [0x200, 0x210, 0x220, 0x230, 0x240, 0x250, 0x260, 0x270];

/// Bytes of a page that a wild write changes.
const WILD_BYTES: usize = 16;

/// Pages that are looked at for one in use, and how far they lie from each other: far, and not by a power of two.
const ATTEMPTS: u64 = 256;
const STRIDE: u64 = 37;

/// A kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Chaos {
    /// An exception: at once if its runtime or a container runs, and in the nucleus at the next interrupt if it idles.
    Exception,
    /// There are no handlers of exceptions and interrupts: the processor gives up at the next one.
    TripleFault,
    /// It halts with interrupts off, at the next interrupt.
    Halt,
    /// It loops with interrupts off, at the next interrupt.
    Loop,
    /// An instruction that KVM cannot go on with, at the next interrupt.
    Instruction,
    /// The stack pointer points to nowhere.
    Stack,
    /// All devices raise their interrupts, of which none has anything to tell.
    InterruptDoubled,
    /// What is pending never comes, and the timer that was armed never fires.
    InterruptLost,
    /// Changed bytes in the nucleus' code, constants, variables or stacks.
    Nucleus,
    /// Changed bytes in the code or the constants of either.
    Code,
    /// Changed bytes in the runtime's code, constants, variables or stack.
    Runtime,
    /// Changed bytes in the runtime's heap.
    Heap,
    /// Changed entries of page tables.
    PageTables,
    /// Changed bytes in the rings and buffers of devices.
    Devices,
    /// Changed bytes in a container.
    Container,
}

impl Chaos {
    fn regions(self) -> &'static [RegionKind] {
        use RegionKind as Kind;
        match self {
            Self::Exception
            | Self::TripleFault
            | Self::Halt
            | Self::Loop
            | Self::Instruction
            | Self::Stack
            | Self::InterruptDoubled
            | Self::InterruptLost => &[],
            Self::Code => &[Kind::NucleusText, Kind::RuntimeText, Kind::RuntimeConstants],
            Self::Nucleus => &[Kind::NucleusText, Kind::NucleusConstants, Kind::NucleusData],
            Self::Runtime => {
                &[Kind::RuntimeText, Kind::RuntimeConstants, Kind::RuntimeData, Kind::RuntimeStack]
            }
            Self::Heap => &[Kind::Heap],
            Self::PageTables => &[Kind::PageTables],
            Self::Devices => &[Kind::DeviceBuffers],
            Self::Container => &[Kind::Container],
        }
    }
}

/// Does it; gives what it was, for people. `seed` chooses where.
///
/// # Errors
/// KVM's, or that of guest memory; a region that there is not.
pub fn inflict(stopped: &mut Stopped<'_>, chaos: Chaos, seed: u64) -> Result<String, MachineError> {
    match chaos {
        Chaos::Exception if sregs(stopped)?.cs.dpl == 0 => instruction(stopped, UD2),
        Chaos::Exception => {
            let mut regs = stopped.vcpu.get_regs().map_err(KvmError::call("KVM_GET_REGS"))?;
            regs.rip = NOWHERE;
            stopped.vcpu.set_regs(&regs).map_err(KvmError::call("KVM_SET_REGS"))?;
            Ok(format!("a jump to {NOWHERE:#x}"))
        }
        Chaos::TripleFault => {
            let mut sregs = sregs(stopped)?;
            sregs.idt.limit = 0;
            stopped.vcpu.set_sregs(&sregs).map_err(KvmError::call("KVM_SET_SREGS"))?;
            Ok("no handlers".into())
        }
        Chaos::Halt => instruction(stopped, CLI_HLT),
        Chaos::Loop => instruction(stopped, JMP_SELF),
        Chaos::Instruction => instruction(stopped, XORPS),
        Chaos::InterruptDoubled => {
            // They are paused, and raise nothing then.
            stopped.console.resume();
            stopped.rng.resume();
            stopped.net.resume();
            stopped.volumes.resume();
            let woken = stopped.console.wake_driver().and_then(|()| stopped.rng.wake_driver());
            let woken =
                woken.and_then(|()| stopped.net.wake_driver()).and_then(|()| stopped.volumes.wake_driver());
            let raising = MachineError::io("raising an interrupt");
            woken.map_err(|error| raising(std::io::Error::other(error)))?;
            Ok("an interrupt of each device".into())
        }
        Chaos::Stack => {
            let mut regs = stopped.vcpu.get_regs().map_err(KvmError::call("KVM_GET_REGS"))?;
            regs.rsp = NOWHERE;
            stopped.vcpu.set_regs(&regs).map_err(KvmError::call("KVM_SET_REGS"))?;
            Ok(format!("a stack at {NOWHERE:#x}"))
        }
        Chaos::InterruptLost => {
            let mut lapic = stopped.vcpu.get_lapic().map_err(KvmError::call("KVM_GET_LAPIC"))?;
            // Its initial count: writing 0 stops it (Intel SDM, volume 3, 12.5.4).
            if let Some(count) = lapic.regs.get_mut(TIMER_COUNT..TIMER_COUNT + 4) {
                count.fill(0);
            }
            // What is requested: 32 bits of vectors in each of eight registers (12.8.4).
            for register in PENDING {
                if let Some(bits) = lapic.regs.get_mut(register..register + 4) {
                    bits.fill(0);
                }
            }
            stopped.vcpu.set_lapic(&lapic).map_err(KvmError::call("KVM_SET_LAPIC"))?;
            Ok("nothing is pending, and the timer is stopped".into())
        }
        _ => wild_write(stopped, chaos.regions(), seed),
    }
}

fn sregs(stopped: &Stopped<'_>) -> Result<kvm_sregs, MachineError> {
    Ok(stopped.vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?)
}

/// Has the guest execute these bytes in ring 0, at its next interrupt.
fn instruction(stopped: &Stopped<'_>, bytes: &[u8]) -> Result<String, MachineError> {
    let sregs = sregs(stopped)?;
    let mut handlers = Vec::new();
    for number in EXCEPTIONS..256 {
        let mut gate = [0; 16];
        let at = sregs.idt.base + number * 16;
        if stopped.memory.read_slice(&mut gate, GuestAddress(at)).is_err() {
            break;
        }
        let [a, b, _, _, _, kind, c, d, e, f, g, h, ..] = gate;
        let handler = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        if kind & 0x80 != 0 && !handlers.contains(&handler) {
            handlers.push(handler);
        }
    }
    for handler in &handlers {
        write(stopped, *handler, bytes)?;
    }
    Ok(format!("{} handlers are {bytes:x?}", handlers.len()))
}

fn wild_write(stopped: &Stopped<'_>, kinds: &[RegionKind], seed: u64) -> Result<String, MachineError> {
    let all = regions::read(stopped.memory, stopped.places.region_table)?;
    let is_wanted = |region: &&Region| kinds.iter().any(|kind| region.kind == *kind as u32);
    let wanted: Vec<&Region> = all.iter().filter(is_wanted).collect();
    let pages: u64 = wanted.iter().map(|region| region.len / PAGE_SIZE).sum();
    let nothing =
        || MachineError::Io { what: "finding what to change", source: std::io::ErrorKind::NotFound.into() };
    let (mut page, mut region) = (0, "");
    // One that is in use, if that is easily found.
    for attempt in 0..ATTEMPTS {
        let number =
            seed.wrapping_add(attempt.wrapping_mul(STRIDE)).checked_rem(pages).ok_or_else(nothing)?;
        (page, region) = page_of(&wanted, number).ok_or_else(nothing)?;
        let mut bytes = [0; PAGE_SIZE as usize];
        let read = stopped.memory.read_slice(&mut bytes, GuestAddress(page));
        if read.is_ok() && bytes.iter().any(|byte| *byte != 0) {
            break;
        }
    }
    let mut noise = [0; 4 * WILD_BYTES];
    crate::machine::shared::HostEntropy
        .fill(&mut noise)
        .map_err(MachineError::io("drawing random numbers"))?;
    let mut said = format!("{WILD_BYTES} bytes of the page {page:#x} of {region}:");
    for bytes in noise.as_chunks::<4>().0 {
        let [low, high, value, _] = *bytes;
        let offset = u64::from(u16::from_le_bytes([low, high])) % PAGE_SIZE;
        write(stopped, page + offset, &[value])?;
        said.push_str(&format!(" {offset:03x}={value:02x}"));
    }
    Ok(said)
}

/// The address of a page, by its number among those of these regions, and the name of the one that it is of.
fn page_of<'a>(regions: &[&'a Region], mut number: u64) -> Option<(u64, &'a str)> {
    for region in regions {
        let own = region.len / PAGE_SIZE;
        if number < own {
            return Some((region.base + number * PAGE_SIZE, region.name()));
        }
        number -= own;
    }
    None
}

fn write(stopped: &Stopped<'_>, at: u64, bytes: &[u8]) -> Result<(), MachineError> {
    let written = stopped.memory.write_slice(bytes, GuestAddress(at));
    written.map_err(|error| MachineError::io("writing guest memory")(std::io::Error::other(error)))
}
