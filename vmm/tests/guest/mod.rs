//! Guests of a few bytes: a kernel image around machine code, and a machine that runs it.

#![allow(dead_code, reason = "each test file uses its part of this")]

use rustix::fs::{MemfdFlags, memfd_create};
use sentient_abi::boot_module::ContainerSpec;
use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::region::{RegionKind, TABLE_LEN, access};
use sentient_abi::{ABI_VERSION, PAGE_SIZE};
use sentient_images::{CompiledImage, KernelError, KernelImage};
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig, MachineError};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Seek};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const HEADER: u64 = 0x10_0000;
/// Where the code starts; what follows it in memory follows it in the slice it was given as.
pub const CODE: u64 = 0x10_1000;
/// Bytes of code and data that fit.
pub const CODE_LEN: u64 = 16 * PAGE_SIZE;
const REGION_TABLE: u64 = CODE + CODE_LEN;
pub const PANIC_RECORD: u64 = REGION_TABLE + TABLE_LEN;
const END: u64 = PANIC_RECORD + PAGE_SIZE;

/// `cli; hlt`, for ever.
pub const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfc];
/// A jump to itself.
pub const LOOP: [u8; 2] = [0xeb, 0xfe];

/// The tests compare this process' threads and descriptors before and after: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Held while a machine exists, so that there is no other one.
pub fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A kernel whose entry is `code` and whose panic record is filled with `record`.
pub fn kernel(code: &[u8], record: u8) -> KernelImage {
    image(ABI_VERSION, code, record, 0).unwrap()
}

/// The same, with code and panic record open to ring 3 as well.
pub fn kernel_with_ring3(code: &[u8]) -> KernelImage {
    image(ABI_VERSION, code, 0, access::USER).unwrap()
}

/// A kernel that says it was built for another version.
pub fn kernel_of_version(version: u32) -> Result<KernelImage, KernelError> {
    image(version, &HALT, 0, 0)
}

fn image(abi_version: u32, code: &[u8], record: u8, also: u32) -> Result<KernelImage, KernelError> {
    let mut segments = [Segment::NONE; MAX_SEGMENTS];
    let parts = [
        (HEADER, RegionKind::NucleusConstants, 0),
        (CODE, RegionKind::NucleusText, access::EXECUTE | also),
        (REGION_TABLE, RegionKind::RegionTable, access::WRITE | access::USER),
        (PANIC_RECORD, RegionKind::NucleusData, access::WRITE | also),
    ];
    for (slot, (base, kind, access)) in segments.iter_mut().zip(parts) {
        let len = match base {
            CODE => CODE_LEN,
            REGION_TABLE => TABLE_LEN,
            _ => PAGE_SIZE,
        };
        *slot = Segment { base, len, kind: kind as u32, access };
    }
    let header = KernelHeader {
        magic: MAGIC,
        abi_version,
        segment_count: 4,
        runtime_entry: CODE,
        panic_record: PANIC_RECORD,
        region_table: REGION_TABLE,
        linux64_entry: CODE,
        pvh_entry: CODE,
        segments,
    };
    let len = usize::try_from(END - HEADER).unwrap();
    let mut memory = vec![0; len];
    header.write(&mut memory).unwrap();
    let at = |address: u64| usize::try_from(address - HEADER).unwrap();
    memory[at(CODE)..at(CODE) + code.len()].copy_from_slice(code);
    memory[at(PANIC_RECORD)..].fill(record);

    let mut file = elf_header(len as u64);
    file.resize(4096, 0);
    file.extend_from_slice(&memory);
    let digest = blake3::hash(&file);
    file.extend_from_slice(b"SENTIENT-BLAKE3\0");
    file.extend_from_slice(digest.as_bytes());
    KernelImage::from_bytes(file)
}

/// An ELF header and one program header that loads the second page of the file at `HEADER`.
fn elf_header(len: u64) -> Vec<u8> {
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    for half in [2u16, 62] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    file.extend_from_slice(&1u32.to_le_bytes());
    for word in [CODE, 64, 0] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 1, 0, 0, 0] {
        file.extend_from_slice(&half.to_le_bytes());
    }
    for word in [1u32, 7] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    for word in [4096, HEADER, HEADER, len, len, 4096u64] {
        file.extend_from_slice(&word.to_le_bytes());
    }
    file
}

/// A small machine for a kernel of ours, with nothing to run and time enough.
pub fn config(kernel: KernelImage) -> MachineConfig {
    MachineConfig {
        ram: 64 << 20,
        kernel,
        protocol: BootProtocol::Linux64,
        container: Some(ContainerRun {
            spec: ContainerSpec::default(),
            image: CompiledImage { bytes: vec![0; 4096], exec: 0..0, memory_minimum: 0 },
        }),
        resident: false,
        zero: None,
        snapshots: false,
        heartbeat: None,
        timeout: Some(Duration::from_secs(20)),
    }
}

/// Standard streams that lead nowhere.
pub fn null_streams() -> Streams {
    let null = || File::options().read(true).write(true).open("/dev/null").unwrap();
    Streams {
        stdin: Input::new(null()).unwrap(),
        stdout: Output::new(null()).unwrap(),
        stderr: Output::new(null()).unwrap(),
    }
}

fn names_in(folder: &str) -> BTreeSet<String> {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Open descriptors, and threads of machines. KVM's own worker ends with the virtual machine, later.
pub fn belongings() -> (usize, usize) {
    let tasks = names_in("/proc/self/task");
    let vcpus = tasks.iter().filter(|task| {
        let name = std::fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default();
        name.starts_with("vcpu")
    });
    (names_in("/proc/self/fd").len(), vcpus.count())
}

/// Runs a guest to its end, and checks that nothing of the machine is left.
pub fn run(config: &MachineConfig) -> Ended {
    let _alone = alone();
    run_alone(config, null_streams)
}

/// [`run`], and what was written to standard output.
pub fn run_and_read(config: &MachineConfig) -> (Ended, Vec<u8>) {
    let _alone = alone();
    let mut file = File::from(memfd_create("stdout", MemfdFlags::CLOEXEC).unwrap());
    let ended = run_alone(config, || {
        let stdout = Output::new(file.try_clone().unwrap()).unwrap();
        Streams { stdout, ..null_streams() }
    });
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    (ended, bytes)
}

fn run_alone(config: &MachineConfig, streams: impl FnOnce() -> Streams) -> Ended {
    let before = belongings();
    let ended = match Machine::new(config, streams()) {
        Ok(machine) => machine.run().expect("the host goes on").ended,
        Err(MachineError::Kvm(error)) => panic!("this test needs KVM: {error}"),
        Err(error) => panic!("the machine cannot be built: {error}"),
    };
    assert_eq!(belongings(), before, "descriptors and vCPU threads after {ended:?}");
    ended
}

/// Runs a guest of this code to its end.
pub fn run_code(code: &[u8]) -> Ended {
    run(&config(kernel(code, 0)))
}

/// Writes `value` to `port` as a 32-bit word, then halts.
pub fn out(port: u16, value: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend_from_slice(&port.to_le_bytes());
    code.push(0xb8);
    code.extend_from_slice(&value.to_le_bytes());
    code.push(0xef);
    code.extend_from_slice(&HALT);
    code
}
