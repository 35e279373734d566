//! The guest's wall clock is the host's, also when that is set: here, a host's whose clock the tests set.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::{alone, null_streams};
use sentient_abi::PAGE_SIZE;
use sentient_abi::boot_module::ContainerSpec;
use sentient_abi::time_page::{LEN, TimePage};
use sentient_images::{KernelImage, compile};
use sentient_vmm::machine::{Door, StopHandle};
use sentient_vmm::snapshots::capture::{self, Extent};
use sentient_vmm::snapshots::page::PageBuffer;
use sentient_vmm::streams::{Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use vm_memory::{Bytes, GuestAddress};

/// How far the host's clock was set, in nanoseconds.
static SET: AtomicI64 = AtomicI64::new(0);

const HOUR_NS: i64 = 3_600_000_000_000;

/// Most that a wall clock may be off, in nanoseconds.
const MOST_OFF: u64 = 10_000_000;

/// How long it may take until the guest follows: twice the longest interval at which it is looked at, and more.
const PATIENCE: Duration = Duration::from_secs(10);

fn host_wall_ns() -> u64 {
    let real = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64;
    real.saturating_add_signed(SET.load(Ordering::SeqCst))
}

/// A machine with a witness, which says what time it is.
struct Witnessed {
    door: Arc<Door>,
    stop: StopHandle,
    thread: Option<JoinHandle<Ended>>,
    output: BufReader<File>,
    _alone: MutexGuard<'static, ()>,
}

/// A line of the witness, and the host's clock when it was read.
struct Line {
    wall_ns: u64,
    monotonic_ns: u64,
    host_ns: u64,
}

impl Witnessed {
    fn start(args: &[&str]) -> Self {
        let alone = alone();
        SET.store(0, Ordering::SeqCst);
        let (read, write) = rustix::pipe::pipe().unwrap();
        let streams = Streams { stdout: Output::new(File::from(write)).unwrap(), ..null_streams() };
        let wasm = concat!(env!("CARGO_MANIFEST_DIR"), "/../resources/containers/witness/witness.wasm");
        let image = compile::compile(&std::fs::read(wasm).unwrap()).unwrap();
        let words = std::iter::once("witness").chain(args.iter().copied());
        let args = words.map(|word| word.as_bytes().to_vec()).collect();
        let spec = ContainerSpec { memory_limit: 16 << 20, args, ..Default::default() };
        let config = MachineConfig {
            ram: 64 << 20,
            kernel: KernelImage::embedded().unwrap(),
            protocol: BootProtocol::Linux64,
            container: Some(ContainerRun { spec, image }),
            resident: false,
            zero: None,
            snapshots: true,
            heartbeat: None,
            timeout: Some(Duration::from_secs(60)),
        };
        let mut machine = Machine::new(&config, streams).expect("this test needs KVM");
        machine.follow_wall_clock(host_wall_ns);
        let stop = machine.stop_handle();
        let running = machine.start().unwrap();
        let door = running.door();
        let thread = Some(std::thread::spawn(move || running.wait().unwrap().ended));
        Self { door, stop, thread, output: BufReader::new(File::from(read)), _alone: alone }
    }

    fn line(&mut self) -> Line {
        let mut line = String::new();
        self.output.read_line(&mut line).unwrap();
        let host_ns = host_wall_ns();
        let fields: Vec<&str> = line.split(' ').collect();
        Line { wall_ns: fields[2].parse().unwrap(), monotonic_ns: fields[3].parse().unwrap(), host_ns }
    }

    /// Reads until the guest's clock is the host's; how long that took.
    fn until_right(&mut self) -> Duration {
        let started = Instant::now();
        let mut before: Option<Line> = None;
        loop {
            let line = self.line();
            if let Some(before) = before {
                assert!(line.monotonic_ns > before.monotonic_ns, "the monotonic clock goes on");
                assert!(line.monotonic_ns - before.monotonic_ns < 1_000_000_000, "and does not leap");
            }
            if line.wall_ns.abs_diff(line.host_ns) < MOST_OFF {
                return started.elapsed();
            }
            assert!(started.elapsed() < PATIENCE, "{} and {}", line.wall_ns, line.host_ns);
            before = Some(line);
        }
    }

    fn page(&self) -> TimePage {
        let read = self.door.stopped(|machine| {
            let mut bytes = [0; LEN];
            machine.memory.read_slice(&mut bytes, GuestAddress(machine.places.time_page)).unwrap();
            TimePage::parse(&bytes).unwrap()
        });
        read.unwrap()
    }

    /// Whether the time page is among the pages written since the last time.
    fn is_page_written(&self) -> bool {
        let taken = self.door.stopped(|machine| {
            let taken = capture::take(machine, Extent::Changed, PageBuffer::default()).unwrap();
            taken.numbers.contains(&(machine.places.time_page / PAGE_SIZE))
        });
        taken.unwrap()
    }
}

impl Drop for Witnessed {
    fn drop(&mut self) {
        self.stop.stop(Ended::Terminated);
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            assert_eq!(ended.unwrap().unwrap(), Ended::Terminated);
        }
    }
}

#[test]
fn a_guest_that_runs_follows_a_clock_that_is_set_forth_and_back() {
    let mut machine = Witnessed::start(&["5", "0"]);
    assert!(machine.until_right() < Duration::from_secs(1));
    let first = machine.page();
    machine.is_page_written();
    for set in [HOUR_NS, -HOUR_NS, 30_000_000] {
        SET.store(set, Ordering::SeqCst);
        println!("{:?} after the clock was set by {set} ns", machine.until_right());
        assert!(machine.is_page_written(), "a snapshot would have it");
    }
    let last = machine.page();
    let same =
        |page: TimePage| (page.generation, page.generation_id, page.seed, page.tsc_at, page.monotonic_ns);
    assert_eq!(same(last), same(first), "this is the same life, and its monotonic clock the same");
    assert!(last.sequence > first.sequence && last.sequence.is_multiple_of(2));
}

#[test]
fn a_clock_that_is_right_writes_nothing() {
    let machine = Witnessed::start(&["5", "0"]);
    let first = machine.page();
    machine.is_page_written();
    SET.store(200_000, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(machine.page(), first);
    assert!(!machine.is_page_written());
}

#[test]
fn a_container_that_sleeps_until_a_time_of_the_wall_clock_is_woken_when_the_clock_is_set_past_it() {
    let mut machine = Witnessed::start(&["3600000", "0", "16", "wall"]);
    let asleep = machine.line();
    std::thread::sleep(Duration::from_millis(200));
    let started = Instant::now();
    SET.store(HOUR_NS, Ordering::SeqCst);
    let woken = machine.line();
    println!("woken after {:?}", started.elapsed());
    // By itself the guest looks every 4.3 seconds: further its timer does not reach here.
    assert!(started.elapsed() < Duration::from_millis(3500), "{:?}", started.elapsed());
    assert!(woken.wall_ns - asleep.wall_ns >= HOUR_NS as u64);
    assert!(woken.monotonic_ns - asleep.monotonic_ns < PATIENCE.as_nanos() as u64);
}
