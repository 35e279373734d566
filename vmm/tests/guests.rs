//! Guests that misbehave, each a few bytes of machine code in a kernel image of its own: whatever they do,
//! the machine ends with a reason, and nothing of it is left behind.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

use sentient_abi::exit::ContainerEnd;
use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::panic_record::Reason;
use sentient_abi::region::{RegionKind, access};
use sentient_abi::{ABI_VERSION, PAGE_SIZE};
use sentient_images::{CompiledImage, KernelImage};
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig, MachineError};
use std::collections::BTreeSet;
use std::fs::File;
use std::sync::Mutex;
use std::time::Duration;

const HEADER: u64 = 0x10_0000;
const CODE: u64 = 0x10_1000;
const REGION_TABLE: u64 = 0x10_2000;
const PANIC_RECORD: u64 = 0x10_3000;
const END: u64 = 0x10_4000;

/// `cli; hlt`, for ever.
const HALT: [u8; 4] = [0xfa, 0xf4, 0xeb, 0xfc];

/// The tests compare this process' threads and descriptors before and after: one at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// A kernel whose entry is `code` and whose panic record is filled with `record`.
fn kernel(code: &[u8], record: u8) -> KernelImage {
    let mut segments = [Segment::NONE; MAX_SEGMENTS];
    let parts = [
        (HEADER, RegionKind::NucleusConstants, 0),
        (CODE, RegionKind::NucleusText, access::EXECUTE),
        (REGION_TABLE, RegionKind::RegionTable, access::WRITE | access::USER),
        (PANIC_RECORD, RegionKind::NucleusData, access::WRITE),
    ];
    for (slot, (base, kind, access)) in segments.iter_mut().zip(parts) {
        *slot = Segment { base, len: PAGE_SIZE, kind: kind as u32, access };
    }
    let header = KernelHeader {
        magic: MAGIC,
        abi_version: ABI_VERSION,
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
    KernelImage::from_bytes(file).unwrap()
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

fn config(kernel: KernelImage) -> MachineConfig {
    MachineConfig {
        ram: 64 << 20,
        kernel,
        protocol: BootProtocol::Linux64,
        container: ContainerRun {
            spec: sentient_abi::boot_module::ContainerSpec::default(),
            image: CompiledImage { bytes: vec![0; 4096], exec: 0..0, memory_minimum: 0 },
        },
        heartbeat: None,
        timeout: Some(Duration::from_secs(20)),
    }
}

fn null_streams() -> Streams {
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
fn belongings() -> (usize, usize) {
    let tasks = names_in("/proc/self/task");
    let vcpus = tasks.iter().filter(|task| {
        let name = std::fs::read_to_string(format!("/proc/self/task/{task}/comm")).unwrap_or_default();
        name.starts_with("vcpu")
    });
    (names_in("/proc/self/fd").len(), vcpus.count())
}

/// Runs a guest to its end, and checks that nothing of the machine is left.
fn run(config: &MachineConfig) -> Ended {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let before = belongings();
    let ended = match Machine::new(config, null_streams()) {
        Ok(machine) => machine.run().expect("the host goes on").ended,
        Err(MachineError::Kvm(error)) => panic!("this test needs KVM: {error}"),
        Err(error) => panic!("the machine cannot be built: {error}"),
    };
    assert_eq!(belongings(), before, "descriptors and vCPU threads after {ended:?}");
    ended
}

fn run_code(code: &[u8]) -> Ended {
    run(&config(kernel(code, 0)))
}

/// Writes `value` to `port` as a 32-bit word, then halts.
fn out(port: u16, value: u32) -> Vec<u8> {
    let mut code = vec![0x66, 0xba];
    code.extend_from_slice(&port.to_le_bytes());
    code.push(0xb8);
    code.extend_from_slice(&value.to_le_bytes());
    code.push(0xef);
    code.extend_from_slice(&HALT);
    code
}

#[test]
fn a_guest_that_halts_with_interrupts_off_is_noticed() {
    let ended = run_code(&HALT);
    assert!(matches!(ended, Ended::Halt { rip } if (CODE..CODE + 16).contains(&rip)), "{ended:?}");
}

#[test]
fn an_exception_without_a_handler_is_a_triple_fault() {
    let ended = run_code(&[0x0f, 0x0b]);
    assert!(matches!(ended, Ended::TripleFault { .. }), "{ended:?}");
}

#[test]
fn a_guest_that_loops_for_ever_ends_when_its_time_is_up() {
    let mut config = config(kernel(&[0xeb, 0xfe], 0));
    config.timeout = Some(Duration::from_millis(300));
    assert_eq!(run(&config), Ended::Timeout);
}

#[test]
fn a_guest_that_loops_for_ever_can_be_stopped_from_another_thread() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let config = config(kernel(&[0xeb, 0xfe], 0));
    let machine = Machine::new(&config, null_streams()).expect("this test needs KVM");
    let handle = machine.stop_handle();
    let stopper = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(100));
        handle.stop(Ended::Terminated);
    });
    assert_eq!(machine.run().unwrap().ended, Ended::Terminated);
    stopper.join().unwrap();
}

#[test]
fn the_word_on_the_exit_port_is_how_the_container_ended() {
    for end in
        [ContainerEnd::Exited(0), ContainerEnd::Exited(42), ContainerEnd::Trapped, ContainerEnd::CpuLimit]
    {
        assert_eq!(run_code(&out(0x5e8, end.encode())), Ended::Container(end));
    }
}

#[test]
fn nonsense_on_the_sentinels_ports_ends_the_machine_and_says_what_it_was() {
    for (port, value) in [(0x5e8, 0xdead_beef), (0x5e4, 77), (0x5ec, 0), (0x5e0, 1)] {
        let ended = run_code(&out(port, value));
        let told = matches!(&ended, Ended::DeviceViolation(what) if what.contains(&format!("{port:#x}")));
        assert!(told, "{value:#x} to port {port:#x}: {ended:?}");
    }
}

#[test]
fn a_panic_record_full_of_ones_is_reported_without_harm() {
    let ended = run(&config(kernel(&out(0x5ec, Reason::Runtime as u32), 0xff)));
    let Ended::Panic(report) = &ended else { panic!("{ended:?}") };
    assert_eq!(report.reason, Reason::Runtime);
    assert_eq!(report.rip, u64::MAX);
    assert_eq!(ended.process_code(), sentient_abi::exit::GUEST_PANIC);
}

#[test]
fn an_sse_instruction_in_ring_0_either_works_or_is_an_internal_error_of_kvm() {
    // xorps xmm0, xmm0
    let mut code = vec![0x0f, 0x57, 0xc0];
    code.extend_from_slice(&out(0x5e8, ContainerEnd::Exited(7).encode()));
    let ended = run_code(&code);
    let expected = matches!(ended, Ended::Container(ContainerEnd::Exited(7)) | Ended::KvmInternal { .. });
    assert!(expected, "{ended:?}");
}

#[test]
fn accesses_to_ports_and_addresses_where_nothing_is_do_no_harm() {
    let mut code = Vec::new();
    for port in [0x60u16, 0x3f8, 0x5df, 0x5f0, 0xffff] {
        code.extend_from_slice(&[0x66, 0xba]);
        code.extend_from_slice(&port.to_le_bytes());
        // in and out of one, two and four bytes
        code.extend_from_slice(&[0xec, 0x66, 0xed, 0xed, 0xee, 0x66, 0xef, 0xef]);
    }
    // Registers of the console and beyond: mov edi, 0xd0000000; then reads and writes at some offsets.
    code.extend_from_slice(&[0xbf, 0, 0, 0, 0xd0]);
    for offset in [0u8, 0x10, 0x50, 0x64, 0x70] {
        code.extend_from_slice(&[
            0x8b, 0x47, offset, 0x8a, 0x47, offset, 0x88, 0x47, offset, 0x89, 0x47, offset,
        ]);
    }
    code.extend_from_slice(&out(0x5e8, ContainerEnd::Exited(3).encode()));
    assert_eq!(run_code(&code), Ended::Container(ContainerEnd::Exited(3)));
}

#[test]
fn the_same_configuration_can_be_run_again_and_again() {
    let config = config(kernel(&out(0x5e8, ContainerEnd::Exited(1).encode()), 0));
    for _ in 0..20 {
        assert_eq!(run(&config), Ended::Container(ContainerEnd::Exited(1)));
    }
}

#[test]
fn a_machine_too_small_for_its_kernel_is_refused_with_the_way_out() {
    let _alone = ALONE.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let mut config = config(kernel(&HALT, 0));
    config.ram = 24 << 20;
    config.container.image.bytes = vec![0; 23 << 20];
    let refused = Machine::new(&config, null_streams()).err().expect("it must be refused").to_string();
    assert!(refused.contains("--machine-memory"), "{refused}");
}
