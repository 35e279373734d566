//! A running machine is copied and put back in place: what it does next is what it did before.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod guest;

use guest::alone;
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_abi::exit::ContainerEnd;
use sentient_images::{CompiledImage, KernelImage, compile};
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
use std::time::Duration;

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
