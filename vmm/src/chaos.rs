//! Faults to order: what a guest must be recovered from, done to it from outside.
//!
//! Not in release builds, unless the feature `chaos` is asked for. What is written to the guest's memory is noted as what a
//! device writes, so that whoever puts the guest back finds it.

use crate::error::MachineError;
use crate::kvm::KvmError;
use crate::machine::Stopped;
use crate::snapshots::kernel::is_of;
use crate::snapshots::regions;
use kvm_bindings::{KVM_MP_STATE_RUNNABLE, kvm_mp_state, kvm_sregs};
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::{Region, RegionKind, access};
use sentient_devices::Lifecycle;
use sentient_devices::virtio::rng::Entropy;
use serde::{Deserialize, Serialize};
use vm_memory::{Bytes, GuestAddress};

/// Nothing is mapped there.
const NOWHERE: u64 = 0x6660_0000_0000;

/// Vectors below this are exceptions (Intel SDM, volume 3, 6.15).
const EXCEPTIONS: usize = 32;

/// `ud2`; `hlt`; `xorps`, which ring 0 cannot execute here; a jump to itself; a store of `rax` to where `rdi` points.
const UD2: &[u8] = &[0x0f, 0x0b];
const HLT: &[u8] = &[0xf4];
const XORPS: &[u8] = &[0x0f, 0x57, 0xc0];
const JMP_SELF: &[u8] = &[0xeb, 0xfe];
const STORE: &[u8] = &[0x48, 0x89, 0x07];

/// Bytes of a descriptor of an interrupt's handler, and of a table of all of them (Intel SDM, volume 3, 6.14.1).
const HANDLER: usize = 16;
const HANDLERS: usize = 256 * HANDLER;

/// Bytes of code in which something is looked for.
const MOST_TEXT: usize = 16 << 20;

/// The flag that lets interrupts come (Intel SDM, volume 1, 3.4.3).
const INTERRUPTS: u64 = 1 << 9;

/// Where the task state has the top of the first interrupt stack (9.7), which the nucleus gives to NMIs: there are none.
const FIRST_STACK: u64 = 36;

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
    /// A wild write to the nucleus' code, constants, variables or stacks: changed bytes, and where the guest's page tables allow no
    /// write, one of the processor's that they do not allow.
    Nucleus,
    /// Changed bytes in the code or the constants of either, as no write of the guest's could change them.
    Code,
    /// A wild write to the runtime's code, constants, variables or stack.
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
        Chaos::Exception if sregs(stopped)?.cs.dpl == 0 => handlers(stopped, UD2),
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
        Chaos::Halt => handlers(stopped, HLT),
        Chaos::Loop => handlers(stopped, JMP_SELF),
        Chaos::Instruction => handlers(stopped, XORPS),
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
        _ => wild_write(stopped, chaos.regions(), chaos == Chaos::Code, seed),
    }
}

fn sregs(stopped: &Stopped<'_>) -> Result<kvm_sregs, MachineError> {
    Ok(stopped.vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?)
}

/// Has all interrupts begin where these bytes lie in the kernel's code, by a table of handlers that is another one.
fn handlers(stopped: &Stopped<'_>, bytes: &[u8]) -> Result<String, MachineError> {
    let place = find(stopped, &[RegionKind::NucleusText, RegionKind::RuntimeText], bytes)?;
    let mut sregs = sregs(stopped)?;
    let mut table = [0; HANDLERS];
    read(stopped, sregs.idt.base, &mut table)?;
    let [a, b, c, d, e, f, g, h] = place.to_le_bytes();
    for handler in table.as_chunks_mut::<HANDLER>().0.iter_mut().skip(EXCEPTIONS) {
        let [low, high, _, _, _, _, rest @ ..] = handler;
        [*low, *high] = [a, b];
        if let Some(middle) = rest.get_mut(..6) {
            middle.copy_from_slice(&[c, d, e, f, g, h]);
        }
    }
    let mut top = [0; 8];
    read(stopped, sregs.tr.base.wrapping_add(FIRST_STACK), &mut top)?;
    sregs.idt.base = u64::from_le_bytes(top).wrapping_sub(HANDLERS as u64);
    write(stopped, sregs.idt.base, &table)?;
    stopped.vcpu.set_sregs(&sregs).map_err(KvmError::call("KVM_SET_SREGS"))?;
    Ok(format!("handlers at {place:#x}, which is {bytes:x?}"))
}

/// Has the guest's processor itself write there, with the rights that it has just now.
fn store(stopped: &Stopped<'_>, at: u64) -> Result<String, MachineError> {
    let mut regs = stopped.vcpu.get_regs().map_err(KvmError::call("KVM_GET_REGS"))?;
    let text = match sregs(stopped)?.cs.dpl {
        0 => {
            // It sleeps. All else that the nucleus does, it does without interrupts.
            regs.rflags &= !INTERRUPTS;
            let awake = kvm_mp_state { mp_state: KVM_MP_STATE_RUNNABLE };
            stopped.vcpu.set_mp_state(awake).map_err(KvmError::call("KVM_SET_MP_STATE"))?;
            RegionKind::NucleusText
        }
        _ => RegionKind::RuntimeText,
    };
    (regs.rip, regs.rdi) = (find(stopped, &[text], STORE)?, at);
    stopped.vcpu.set_regs(&regs).map_err(KvmError::call("KVM_SET_REGS"))?;
    Ok(format!("a store of {:#x} to {at:#x}", regs.rax))
}

/// Where these bytes lie first in regions of these kinds, in the order of the kinds.
fn find(stopped: &Stopped<'_>, kinds: &[RegionKind], bytes: &[u8]) -> Result<u64, MachineError> {
    let all = regions::read(stopped.memory, stopped.places.region_table)?;
    for kind in kinds {
        for region in all.iter().filter(|region| is_of(region, &[*kind])) {
            let mut text = vec![0; usize::try_from(region.len).unwrap_or(0).min(MOST_TEXT)];
            read(stopped, region.base, &mut text)?;
            if let Some(at) = text.windows(bytes.len()).position(|window| window == bytes) {
                return Ok(region.base.saturating_add(at as u64));
            }
        }
    }
    Err(nothing())
}

fn nothing() -> MachineError {
    MachineError::Io { what: "finding what to change", source: std::io::ErrorKind::NotFound.into() }
}

/// Changes bytes of a page of regions of these kinds; from `outside` also where the guest itself could not.
fn wild_write(
    stopped: &Stopped<'_>,
    kinds: &[RegionKind],
    outside: bool,
    seed: u64,
) -> Result<String, MachineError> {
    let all = regions::read(stopped.memory, stopped.places.region_table)?;
    let wanted: Vec<&Region> = all.iter().filter(|region| is_of(region, kinds)).collect();
    let pages: u64 = wanted.iter().map(|region| region.len / PAGE_SIZE).sum();
    let (mut page, mut region) = (0, None);
    // One that is in use, if that is easily found.
    for attempt in 0..ATTEMPTS {
        let number =
            seed.wrapping_add(attempt.wrapping_mul(STRIDE)).checked_rem(pages).ok_or_else(nothing)?;
        let (at, of) = page_of(&wanted, number).ok_or_else(nothing)?;
        (page, region) = (at, Some(of));
        let mut bytes = [0; PAGE_SIZE as usize];
        if read(stopped, page, &mut bytes).is_ok() && bytes.iter().any(|byte| *byte != 0) {
            break;
        }
    }
    let region = region.ok_or_else(nothing)?;
    if !outside && region.access & access::WRITE == 0 {
        let stored = store(stopped, page.saturating_add(seed % PAGE_SIZE))?;
        return Ok(format!("{stored}, of {}", region.name()));
    }
    let mut noise = [0; 4 * WILD_BYTES];
    crate::machine::shared::HostEntropy
        .fill(&mut noise)
        .map_err(MachineError::io("drawing random numbers"))?;
    let mut said = format!("{WILD_BYTES} bytes of the page {page:#x} of {}:", region.name());
    for bytes in noise.as_chunks::<4>().0 {
        let [low, high, value, _] = *bytes;
        let offset = u64::from(u16::from_le_bytes([low, high])) % PAGE_SIZE;
        write(stopped, page.saturating_add(offset), &[value])?;
        said.push_str(&format!(" {offset:03x}={value:02x}"));
    }
    Ok(said)
}

/// The address of a page, by its number among those of these regions, and the one that it is of.
fn page_of<'a>(regions: &[&'a Region], mut number: u64) -> Option<(u64, &'a Region)> {
    for region in regions {
        let own = region.len / PAGE_SIZE;
        if number < own {
            return Some((region.base.saturating_add(number.saturating_mul(PAGE_SIZE)), region));
        }
        number -= own;
    }
    None
}

fn read(stopped: &Stopped<'_>, at: u64, bytes: &mut [u8]) -> Result<(), MachineError> {
    let read = stopped.memory.read_slice(bytes, GuestAddress(at));
    read.map_err(|error| MachineError::io("reading guest memory")(std::io::Error::other(error)))
}

fn write(stopped: &Stopped<'_>, at: u64, bytes: &[u8]) -> Result<(), MachineError> {
    let written = stopped.memory.write_slice(bytes, GuestAddress(at));
    written.map_err(|error| MachineError::io("writing guest memory")(std::io::Error::other(error)))
}
