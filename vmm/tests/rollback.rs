//! A running machine is copied and put back in place: what it does next is what it did before.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{CODE, PANIC_RECORD, alone, config, kernel_with_ring3, null_streams};
use sentient_abi::PAGE_SIZE;
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::paging::{ADDRESS, PRESENT};
use sentient_abi::region::{Region, RegionKind};
use sentient_images::{CompiledImage, KernelImage, compile};
use sentient_vmm::host::{self, Virtualisation};
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::machine::{Door, StopHandle};
use sentient_vmm::snapshots::capture::{self, Capture, Extent};
use sentient_vmm::snapshots::page::{PageBuffer, PageBytes};
use sentient_vmm::snapshots::{PageContents, PageSource, rollback};
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig};
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// A machine that runs a program, and the reading end of its output.
struct Bench {
    door: Arc<Door>,
    stop: StopHandle,
    thread: JoinHandle<Ended>,
    output: File,
    text: String,
}

fn program(name: &str) -> CompiledImage {
    let path = format!("{}/../resources/containers/{name}/{name}.wasm", env!("CARGO_MANIFEST_DIR"));
    compile::compile(&std::fs::read(path).unwrap()).unwrap()
}

fn start(name: &str, flags: u32, args: &[&str]) -> Bench {
    let (read, write) = pipe();
    let null = File::options().read(true).write(true).open("/dev/null").unwrap();
    let streams = Streams {
        stdin: Input::new(null).unwrap(),
        stdout: Output::new(write).unwrap(),
        stderr: Output::new(File::from(rustix::io::dup(io::stderr()).unwrap())).unwrap(),
    };
    let words = std::iter::once(name).chain(args.iter().copied()).map(|word| word.as_bytes().to_vec());
    let spec = ContainerSpec { memory_limit: 16 << 20, flags, args: words.collect(), ..Default::default() };
    let config = MachineConfig {
        ram: 64 << 20,
        kernel: KernelImage::embedded().unwrap(),
        protocol: BootProtocol::Linux64,
        container: Some(ContainerRun { spec, image: program(name) }),
        resident: false,
        zero: None,
        snapshots: true,
        heartbeat: None,
        timeout: Some(Duration::from_secs(60)),
    };
    let machine = Machine::new(&config, streams).expect("this test needs KVM");
    let stop = machine.stop_handle();
    let running = machine.start().unwrap();
    let door = running.door();
    let thread = std::thread::spawn(move || running.wait().unwrap().ended);
    Bench { door, stop, thread, output: read, text: String::new() }
}

fn pipe() -> (File, File) {
    let (read, write) = rustix::pipe::pipe().unwrap();
    (File::from(read), File::from(write))
}

/// All of a machine at one instant, in memory.
struct Whole {
    pages: HashMap<u64, Box<PageBytes>>,
    state: Vec<u8>,
}

impl PageSource for Whole {
    fn pages(&mut self, numbers: &[u64]) -> io::Result<Vec<PageContents<'_>>> {
        Ok(numbers
            .iter()
            .map(|number| self.pages.get(number).map_or(PageContents::Zero, |page| PageContents::Bytes(page)))
            .collect())
    }
}

impl Bench {
    /// Reads until the output ends with a line that says `line`.
    fn read_to(&mut self, line: &str) {
        let mut byte = [0];
        let mut last = String::new();
        loop {
            self.output.read_exact(&mut byte).unwrap();
            self.text.push(char::from(byte[0]));
            if byte[0] != b'\n' {
                last.push(char::from(byte[0]));
            } else if last == line {
                return;
            } else {
                last.clear();
            }
        }
    }

    fn capture(&self, extent: Extent) -> Capture {
        self.door
            .stopped(move |machine| capture::take(machine, extent, PageBuffer::with_room(4096)).unwrap())
            .unwrap()
    }

    fn whole(&self) -> Whole {
        let capture = self.capture(Extent::Everything);
        let pages = capture.pages().map(|(number, page)| (number, Box::new(*page))).collect();
        Whole { pages, state: capture.state.clone() }
    }

    fn back_to(&self, mut whole: Whole, differing: Vec<u64>) -> (Whole, rollback::Done) {
        self.door
            .stopped(move |machine| {
                let state = MachineState::decode(&whole.state).unwrap();
                let done = rollback::back_to(machine, &state, &differing, 0..0, &mut whole).unwrap();
                (whole, done)
            })
            .unwrap()
    }

    fn end(self) -> Ended {
        self.stop.stop(Ended::Terminated);
        drop(self.output);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_counter_goes_on_from_where_the_snapshot_was_taken() {
    let _alone = alone();
    let mut bench = start("counter", 0, &["--interval-ms", "2"]);
    bench.read_to("20");
    let whole = bench.whole();
    bench.read_to("60");
    let (whole, done) = bench.back_to(whole, Vec::new());
    assert!(done.pages > 0 && done.pages < 500, "{done:?}");
    assert!(!done.translations);
    bench.read_to("25");
    let numbers: Vec<u64> = bench.text.lines().map(|line| line.parse().unwrap()).collect();
    let jumps: Vec<_> = numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1).collect();
    // Once back, to where the snapshot was taken: 20 had been read by then, and hardly more was written.
    assert_eq!(jumps.len(), 1, "{numbers:?}");
    assert!((21..=25).contains(&jumps[0][1]) && jumps[0][0] >= 60, "{jumps:?}");
    // And once more, to the same snapshot.
    bench.read_to("50");
    let (_, done) = bench.back_to(whole, Vec::new());
    assert!(done.pages > 0, "{done:?}");
    bench.read_to("24");
    assert_eq!(bench.end(), Ended::Terminated);
}

#[test]
fn a_computation_with_floats_comes_to_the_same_with_rollbacks_under_it() {
    let _alone = alone();
    let start = || start("kernels", container_flags::INVOKE, &["nbody", "0", "3000000"]);
    let reference = {
        let mut bench = start();
        bench.output.read_to_string(&mut bench.text).unwrap();
        assert_eq!(bench.thread.join().unwrap(), Ended::Container(ContainerEnd::Exited(0)));
        bench.text
    };
    let mut bench = start();
    std::thread::sleep(Duration::from_millis(20));
    let mut whole = bench.whole();
    let mut pauses = Vec::new();
    for round in 0..1000 {
        std::thread::sleep(Duration::from_micros(300));
        let (again, done) = bench.back_to(whole, Vec::new());
        whole = again;
        pauses.push(done.pause);
        if round % 100 == 99 {
            std::thread::sleep(Duration::from_millis(2));
            whole = bench.whole();
        }
    }
    pauses.sort_unstable();
    eprintln!("rollback pause: median {:?}, worst {:?}", pauses[500], pauses[999]);
    bench.output.read_to_string(&mut bench.text).unwrap();
    assert_eq!(bench.thread.join().unwrap(), Ended::Container(ContainerEnd::Exited(0)));
    assert_eq!(bench.text, reference);
}

/// Where the guest of the next tests reads; and the page its page tables are turned to.
const FIRST: u64 = CODE + 8 * PAGE_SIZE;
const SECOND: u64 = CODE + 9 * PAGE_SIZE;

/// A guest whose ring 3 copies the word at [`FIRST`] into its panic record, for ever. Its machine, stopped before its
/// page tables are put back changed: what it reads then.
fn reads_after_its_tables_were_changed(told: bool) -> (u64, rollback::Done) {
    let mut code = vec![0; 10 * PAGE_SIZE as usize];
    let mut put = |page: u64, offset: usize, bytes: &[u8]| {
        let at = usize::try_from(page * PAGE_SIZE).unwrap() + offset;
        code[at..at + bytes.len()].copy_from_slice(bytes);
    };
    let low = |address: u64| u32::try_from(address).unwrap().to_le_bytes();
    let (user, tables) = (CODE + 6 * PAGE_SIZE, CODE + 7 * PAGE_SIZE);
    // Ring 0: a stack, a descriptor table, and off to ring 3, where KVM runs it natively.
    let stack = low(PANIC_RECORD + PAGE_SIZE - 16);
    let enter = [
        &[0x48, 0xc7, 0xc4][..],
        &stack, // mov rsp, stack
        &[0x0f, 0x01, 0x14, 0x25],
        &low(tables + 0x100), // lgdt
        &[0x6a, 0x23, 0x68],
        &stack, // push ss; push rsp
        &[0x6a, 0x02, 0x6a, 0x2b, 0x68],
        &low(user),    // push rflags; push cs; push rip
        &[0x48, 0xcf], // iretq
    ]
    .concat();
    put(0, 0, &enter);
    // Ring 3: mov rax, [FIRST]; mov [PANIC_RECORD], rax; and again.
    let again = [
        &[0x48, 0x8b, 0x04, 0x25][..],
        &low(FIRST),
        &[0x48, 0x89, 0x04, 0x25],
        &low(PANIC_RECORD),
        &[0xeb, 0xee],
    ]
    .concat();
    put(6, 0, &again);
    // Slots 4 and 5: data and 64-bit code of ring 3 (Intel SDM volume 3, 3.4.5).
    put(7, 4 * 8, &0x00cf_f300_0000_ffff_u64.to_le_bytes());
    put(7, 5 * 8, &0x00af_fb00_0000_ffff_u64.to_le_bytes());
    put(7, 0x100, &47u16.to_le_bytes());
    put(7, 0x102, &tables.to_le_bytes());
    put(8, 0, &[1]);
    put(9, 0, &[2]);
    let mut config = config(kernel_with_ring3(&code));
    config.snapshots = true;
    let machine = Machine::new(&config, null_streams()).expect("this test needs KVM");
    let stop = machine.stop_handle();
    let running = machine.start().unwrap();
    let door = running.door();
    let thread = std::thread::spawn(move || running.wait().unwrap().ended);
    let word = || {
        door.stopped(|machine| machine.memory.read_obj::<u64>(GuestAddress(PANIC_RECORD)).unwrap()).unwrap()
    };
    while word() != 1 {
        std::thread::sleep(Duration::from_millis(1));
    }
    let done = door
        .stopped(move |machine| {
            let capture = capture::take(machine, Extent::Everything, PageBuffer::default()).unwrap();
            let state = MachineState::decode(&capture.state).unwrap();
            let is_tables = |region: &&Region| region.kind == RegionKind::PageTables as u32;
            let region = capture.regions.iter().find(is_tables).unwrap();
            let tables = region.base / PAGE_SIZE..(region.base + region.len) / PAGE_SIZE;
            let mut pages: HashMap<_, _> =
                capture.pages().map(|(number, page)| (number, Box::new(*page))).collect();
            let mut turned = None;
            for number in tables.clone() {
                let Some(page) = pages.get_mut(&number) else { continue };
                for entry in page.chunks_exact_mut(8) {
                    let value = u64::from_le_bytes(entry.try_into().unwrap());
                    if value & ADDRESS == FIRST && value & PRESENT != 0 {
                        entry.copy_from_slice(&(value - FIRST + SECOND).to_le_bytes());
                        turned = Some(number);
                    }
                }
            }
            let mut whole = Whole { pages, state: Vec::new() };
            let tables = if told { tables } else { 0..0 };
            rollback::back_to(machine, &state, &[turned.unwrap()], tables, &mut whole).unwrap()
        })
        .unwrap();
    let deadline = Instant::now() + Duration::from_millis(200);
    while word() == 1 && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    let read = word();
    stop.stop(Ended::Terminated);
    assert_eq!(thread.join().unwrap(), Ended::Terminated);
    (read, done)
}

#[test]
fn page_tables_that_were_put_back_count_at_once() {
    let _alone = alone();
    let (read, done) = reads_after_its_tables_were_changed(true);
    assert!(done.translations);
    assert_eq!(read, 2, "the guest goes on with its old translation");
}

#[test]
fn without_being_told_a_kvm_without_nested_paging_goes_on_with_old_translations() {
    let _alone = alone();
    if host::facts().virtualisation == Virtualisation::Hardware {
        return;
    }
    // If this fails, KVM here has learned it, and `forget_translations` is not needed any more.
    let (read, done) = reads_after_its_tables_were_changed(false);
    assert!(!done.translations);
    assert_eq!(read, 1);
}

#[test]
fn what_only_devices_have_written_is_part_of_a_capture_though_kvm_does_not_know_it() {
    let _alone = alone();
    let mut bench = start("counter", 0, &["--interval-ms", "2"]);
    bench.read_to("5");
    bench.capture(Extent::Everything);
    bench.read_to("9");
    let (by_guest, capture) = bench
        .door
        .stopped(|machine| {
            // Looking at KVM's log empties it; the devices' part of the capture is then all there is.
            let mut by_guest = Vec::new();
            for (slot, region) in machine.memory.iter().enumerate() {
                by_guest.extend(machine.vm.take_dirty_log(slot, region).unwrap());
            }
            (by_guest, capture::take(machine, Extent::Changed, PageBuffer::default()).unwrap())
        })
        .unwrap();
    let in_log = |number: &u64| by_guest[usize::try_from(number / 64).unwrap()] >> (number % 64) & 1 == 1;
    // The entropy device's queue, for one: the device writes there when it has worked, and the guest, which
    // asks for no entropy, does not.
    let by_devices_alone: Vec<&u64> = capture.numbers.iter().filter(|number| !in_log(number)).collect();
    assert!(!by_devices_alone.is_empty(), "a capture by KVM's log alone would have been the same");
    bench.end();
}
