//! Machines that go on: containers are loaded into them, run side by side, and end, and nothing of them is
//! left.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{alone, null_streams};
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_abi::exit::ContainerEnd;
use sentient_devices::virtio::stdio_mux::{ContainerEvent, Stream, Written};
use sentient_images::{ImageCache, KernelImage};
use sentient_vmm::machine::resident::ResidentHandle;
use sentient_vmm::machine::{Report, StopHandle};
use sentient_vmm::streams::ContainerSink;
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::MutexGuard;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How long anything may take before the test gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the machine has said.
#[derive(Debug)]
enum Said {
    Bytes(u32, Stream, Vec<u8>),
    Event(u32, ContainerEvent),
}

#[derive(Debug)]
struct Ear(Sender<Said>);

impl ContainerSink for Ear {
    fn output(&mut self, container: u32, stream: Stream, bytes: &[u8]) -> Written {
        // The test has ended if nobody hears.
        let _ = self.0.send(Said::Bytes(container, stream, bytes.to_vec()));
        Written::Accepted(bytes.len())
    }

    fn event(&mut self, container: u32, event: ContainerEvent) {
        let _ = self.0.send(Said::Event(container, event));
    }
}

/// A resident machine on a thread of its own, and what it has said so far.
struct Resident {
    handle: ResidentHandle,
    stop: StopHandle,
    said: Receiver<Said>,
    thread: Option<JoinHandle<Report>>,
    output: BTreeMap<u32, Vec<u8>>,
    errors: BTreeMap<u32, Vec<u8>>,
    ends: BTreeMap<u32, ContainerEvent>,
    _alone: MutexGuard<'static, ()>,
}

impl Resident {
    fn start(ram: u64) -> Self {
        let alone = alone();
        let config = MachineConfig {
            ram,
            kernel: KernelImage::embedded().unwrap(),
            protocol: BootProtocol::Linux64,
            container: None,
            resident: true,
            snapshots: false,
            heartbeat: None,
            timeout: None,
        };
        let (sender, said) = channel();
        let machine = Machine::resident(&config, null_streams(), Box::new(Ear(sender))).unwrap();
        let (handle, stop) = (machine.resident_handle(), machine.stop_handle());
        let thread = std::thread::spawn(move || machine.run().unwrap());
        Self {
            handle,
            stop,
            said,
            thread: Some(thread),
            output: BTreeMap::new(),
            errors: BTreeMap::new(),
            ends: BTreeMap::new(),
            _alone: alone,
        }
    }

    fn load(&mut self, container: u32, run: &ContainerRun) {
        self.output.remove(&container);
        self.errors.remove(&container);
        self.ends.remove(&container);
        self.handle.load(container, run).unwrap();
    }

    /// Listens until `done`, and fails after [`PATIENCE`].
    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done(self) {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.said.recv_timeout(left) {
                Ok(said) => self.note(said),
                Err(error) => panic!(
                    "{what}: {error}; {:?}, ends {:?}, errors {:?}",
                    self.output.keys(),
                    self.ends,
                    self.errors.values().map(|text| String::from_utf8_lossy(text)).collect::<Vec<_>>()
                ),
            }
        }
    }

    fn listen(&mut self, time: Duration) {
        let deadline = Instant::now() + time;
        while let Ok(said) = self.said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            self.note(said);
        }
    }

    fn note(&mut self, said: Said) {
        match said {
            Said::Bytes(container, Stream::Stdout, bytes) => {
                self.output.entry(container).or_default().extend(bytes);
            }
            Said::Bytes(container, _, bytes) => self.errors.entry(container).or_default().extend(bytes),
            Said::Event(_, ContainerEvent::Started) => {}
            Said::Event(container, event) => {
                self.ends.insert(container, event);
            }
        }
    }

    /// Waits for a container's end.
    fn end(&mut self, container: u32) -> ContainerEvent {
        self.until("waiting for an end", |resident| resident.ends.contains_key(&container));
        self.ends[&container].clone()
    }

    fn out(&self, container: u32) -> String {
        String::from_utf8_lossy(self.output.get(&container).map_or(&[][..], Vec::as_slice)).into_owned()
    }

    fn lines(&self, container: u32) -> usize {
        self.output.get(&container).map_or(0, |bytes| bytes.iter().filter(|byte| **byte == b'\n').count())
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.stop.stop(Ended::Terminated);
        let report = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert_eq!(report.unwrap().unwrap().ended, Ended::Terminated);
        } else if let Some(Ok(report)) = report {
            println!("the machine: {}", report.ended);
        }
    }
}

/// A program of the repository's, with arguments and 64 MiB of memory at most.
fn program(path: &str, args: &[&str]) -> ContainerRun {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    let wasm = std::fs::read(path).unwrap();
    let (image, _) = ImageCache::new(None).image(&wasm).unwrap();
    let args = std::iter::once("program").chain(args.iter().copied()).map(|arg| arg.as_bytes().to_vec());
    let spec = ContainerSpec { memory_limit: 32 << 20, args: args.collect(), ..Default::default() };
    ContainerRun { spec, image }
}

fn hello() -> ContainerRun {
    program("resources/containers/hello/hello.wasm", &[])
}

/// A container that calls a kernel over and over, for a millisecond or so each, and says so each time.
fn busy() -> ContainerRun {
    let mut run = program("resources/containers/kernels/kernels.wasm", &["fib", "1000000", "25"]);
    run.spec.flags |= container_flags::INVOKE;
    run
}

/// A container that computes for ever, in silence.
fn looping() -> ContainerRun {
    let mut run = program("resources/containers/kernels/kernels.wasm", &["nbody", "0", "2000000000"]);
    run.spec.flags |= container_flags::INVOKE;
    run
}

const EXITED: ContainerEvent = ContainerEvent::Ended(ContainerEnd::Exited(0));

#[test]
fn a_container_is_loaded_runs_and_ends_and_the_machine_goes_on() {
    let mut resident = Resident::start(128 << 20);
    for container in [0, 7, 63, 0] {
        resident.load(container, &hello());
        assert_eq!(resident.end(container), EXITED);
        assert_eq!(resident.out(container), "Hello, SentientOS!\n");
    }
}

#[test]
fn hundreds_of_containers_leave_nothing_behind() {
    let mut resident = Resident::start(128 << 20);
    let hello = hello();
    // All there is but a little: it only fits while memory is in one piece.
    let mut large = hello.clone();
    large.spec.memory_limit = 70 << 20;
    let start = Instant::now();
    for turn in 0..300 {
        resident.load(0, if turn % 100 == 99 { &large } else { &hello });
        assert_eq!(resident.end(0), EXITED, "turn {turn}");
        assert_eq!(resident.out(0), "Hello, SentientOS!\n", "turn {turn}");
    }
    println!("{:?} a container", start.elapsed() / 300);
}

#[test]
fn two_that_compute_share_fairly_and_a_third_is_answered() {
    let mut resident = Resident::start(256 << 20);
    let busy = busy();
    resident.load(0, &busy);
    resident.load(1, &busy);
    resident.load(2, &program("resources/containers/cat/cat.wasm", &[]));
    resident.until("both compute", |resident| resident.lines(0) > 10 && resident.lines(1) > 10);
    let before = (resident.lines(0), resident.lines(1));
    let mut slowest = Duration::ZERO;
    for turn in 0..20 {
        let asked = Instant::now();
        let line = format!("line {turn}\n");
        resident.handle.input(2, line.as_bytes());
        resident.until("an answer", |resident| resident.out(2).ends_with(&line));
        slowest = slowest.max(asked.elapsed());
        resident.listen(Duration::from_millis(100));
    }
    // Time that the host takes away counts for whoever had the turn: on a busy host it takes a while to even out.
    let mut calls = (0, 0);
    for _ in 0..10 {
        calls = (resident.lines(0) - before.0, resident.lines(1) - before.1);
        if calls.0.abs_diff(calls.1) * 10 <= calls.0.max(calls.1) {
            break;
        }
        resident.listen(Duration::from_secs(1));
    }
    println!("{calls:?} calls, slowest answer {slowest:?}");
    assert!(calls.0.abs_diff(calls.1) * 10 <= calls.0.max(calls.1), "{calls:?} calls");
    assert!(slowest < Duration::from_secs(1), "an answer took {slowest:?}");
    resident.handle.end_input(2);
    assert_eq!(resident.end(2), EXITED);
}

#[test]
fn one_that_loops_can_be_killed_and_others_started_meanwhile() {
    let mut resident = Resident::start(128 << 20);
    let (hello, looping) = (hello(), looping());
    for _ in 0..10 {
        resident.load(0, &looping);
        resident.load(1, &hello);
        assert_eq!(resident.end(1), EXITED);
        resident.handle.kill(0);
        assert_eq!(resident.end(0), ContainerEvent::Ended(ContainerEnd::Killed));
    }
    // One that waits ends as well.
    resident.load(3, &program("resources/containers/cat/cat.wasm", &[]));
    resident.listen(Duration::from_millis(50));
    resident.handle.kill(3);
    assert_eq!(resident.end(3), ContainerEvent::Ended(ContainerEnd::Killed));
}

#[test]
fn more_than_there_is_room_for_are_refused_and_the_others_stay() {
    let mut resident = Resident::start(512 << 20);
    let mut cat = program("resources/containers/cat/cat.wasm", &[]);
    cat.spec.memory_limit = 4 << 20;
    for container in 0..40 {
        resident.load(container, &cat);
    }
    for container in 0..40 {
        resident.handle.end_input(container);
    }
    resident.until("all have ended", |resident| resident.ends.len() == 40);
    let ran = resident.ends.values().filter(|end| **end == EXITED).count();
    assert!(ran >= 20, "{ran} ran");
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
}

#[test]
fn memory_of_another_container_is_zero_for_the_next() {
    let mut resident = Resident::start(128 << 20);
    let zeroed = program("tests/modules/zeroed.wasm", &[]);
    for turn in 0..5 {
        resident.load(turn, &zeroed);
        assert_eq!(resident.end(turn), EXITED, "turn {turn}");
    }
}

#[test]
fn what_cannot_run_is_refused_with_a_reason() {
    let mut resident = Resident::start(128 << 20);
    let refused = |resident: &mut Resident, part: &str| match resident.end(0) {
        ContainerEvent::Refused(reason) => assert!(reason.contains(part), "{reason}"),
        other => panic!("{other:?}"),
    };
    resident.handle.load_module(0, b"this is no boot module".to_vec()).unwrap();
    refused(&mut resident, "boot module");
    resident.ends.clear();
    let mut damaged = hello();
    damaged.image.bytes.iter_mut().take(64).for_each(|byte| *byte ^= 0x55);
    resident.load(0, &damaged);
    refused(&mut resident, "");
    let mut greedy = hello();
    greedy.spec.memory_limit = 1 << 40;
    resident.load(0, &greedy);
    refused(&mut resident, "memory");
    resident.load(0, &hello());
    assert_eq!(resident.end(0), EXITED);
}

#[test]
fn a_trap_ends_its_container_alone() {
    let mut resident = Resident::start(128 << 20);
    resident.load(0, &busy());
    resident.load(1, &program("resources/containers/faults/faults.wasm", &["div0"]));
    assert_eq!(resident.end(1), ContainerEvent::Ended(ContainerEnd::Trapped));
    let said = String::from_utf8_lossy(&resident.errors[&1]).into_owned();
    assert!(said.contains("integer divide by zero"), "{said}");
    let lines = resident.lines(0);
    resident.until("the other goes on", |resident| resident.lines(0) > lines + 10);
}

#[test]
fn each_container_has_its_own_cpu_limit() {
    let mut resident = Resident::start(128 << 20);
    let mut limited = looping();
    limited.spec.cpu_limit_ns = 100_000_000;
    resident.load(0, &busy());
    resident.load(1, &limited);
    assert_eq!(resident.end(1), ContainerEvent::Ended(ContainerEnd::CpuLimit));
    let said = String::from_utf8_lossy(&resident.errors[&1]).into_owned();
    assert!(said.contains("0.100 s is reached"), "{said}");
    let lines = resident.lines(0);
    resident.until("the other goes on", |resident| resident.lines(0) > lines + 10);
}

/// CPU time of this process, the guest included.
fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap()
}

#[test]
#[ignore = "a measurement: run it alone, on an idle machine, with --nocapture"]
fn what_taking_turns_costs() {
    let busy = busy();
    for containers in [1, 2, 4, 8, 1, 2, 4, 8] {
        let mut resident = Resident::start(1 << 30);
        for container in 0..containers {
            resident.load(container, &busy);
        }
        let total = |resident: &Resident| (0..containers).map(|index| resident.lines(index)).sum::<usize>();
        resident
            .until("all compute", |resident| (0..containers).all(|container| resident.lines(container) > 10));
        let (before, start) = (total(&resident), cpu_time());
        resident.listen(Duration::from_secs(3));
        let calls = u32::try_from(total(&resident) - before).unwrap();
        println!("{containers} containers: {:?} of CPU time a call", (cpu_time() - start) / calls);
    }
}
