//! A machine that stays, its containers, and what they have said.

#![allow(dead_code, reason = "each test file uses its part of this")]

use crate::guest::{alone, null_streams};
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_abi::container_files::{Failure, Request, Wanted};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::{Region, RegionKind};
use sentient_abi::stdio::Status;
use sentient_devices::virtio::stdio_mux::{ContainerEvent, Stream, Written};
use sentient_images::{ImageCache, KernelImage};
use sentient_vmm::kvm::vm::{ALL, DirtyLog};
use sentient_vmm::machine::resident::ResidentHandle;
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::machine::vcpu_thread::Stopped;
use sentient_vmm::machine::{Door, Early, Report, StopHandle};
use sentient_vmm::memory::image::Image;
use sentient_vmm::snapshots::{MemoryWriter, regions};
use sentient_vmm::streams::ContainerSink;
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig, MachineError};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, MutexGuard};
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
pub struct Resident {
    pub handle: ResidentHandle,
    /// To the machine while it stands still.
    pub door: Arc<Door>,
    stop: StopHandle,
    said: Receiver<Said>,
    thread: Option<JoinHandle<Report>>,
    pub output: BTreeMap<u32, Vec<u8>>,
    pub errors: BTreeMap<u32, Vec<u8>>,
    pub ends: BTreeMap<u32, ContainerEvent>,
    pub statuses: BTreeMap<u32, Status>,
    answers: BTreeMap<u32, Result<Vec<u8>, Failure>>,
    _alone: MutexGuard<'static, ()>,
}

impl Resident {
    pub fn start(ram: u64) -> Self {
        Self::by(BootProtocol::Linux64, ram)
    }

    /// A machine whose kernel is entered in this way.
    pub fn by(protocol: BootProtocol, ram: u64) -> Self {
        let alone = alone();
        let config = MachineConfig {
            ram,
            kernel: KernelImage::embedded().unwrap(),
            protocol,
            container: None,
            resident: true,
            zero: None,
            snapshots: true,
            heartbeat: None,
            timeout: None,
        };
        let (sender, said) = channel();
        let machine = Machine::resident(&config, null_streams(), Box::new(Ear(sender))).unwrap();
        Self::run(machine, said, alone)
    }

    /// A machine that goes on from a state, over memory that others have, too.
    pub fn over(image: Image, state: &[u8], ram: u64) -> Self {
        Self::over_in_use(image, state, ram, vec![ALL])
    }

    /// The same, given only these ranges of addresses at first.
    pub fn over_in_use(image: Image, state: &[u8], ram: u64, in_use: Vec<Range<u64>>) -> Self {
        let alone = alone();
        let (sender, said) = channel();
        let state = MachineState::decode(state).unwrap();
        let start = Early::begin().unwrap().with_in_use(ram, DirtyLog::On, in_use).unwrap();
        let lay = |memory: &MemoryWriter<'_>| {
            memory.lay(image).unwrap();
            Ok::<_, MachineError>(())
        };
        let machine = Machine::restored(start, &state, null_streams(), Box::new(Ear(sender)), lay).unwrap();
        Self::run(machine, said, alone)
    }

    fn run(machine: Machine, said: Receiver<Said>, alone: MutexGuard<'static, ()>) -> Self {
        let (handle, stop) = (machine.resident_handle(), machine.stop_handle());
        let running = machine.start().unwrap();
        let door = running.door();
        let thread = std::thread::spawn(move || running.wait().unwrap());
        Self {
            handle,
            door,
            stop,
            said,
            thread: Some(thread),
            output: BTreeMap::new(),
            errors: BTreeMap::new(),
            ends: BTreeMap::new(),
            statuses: BTreeMap::new(),
            answers: BTreeMap::new(),
            _alone: alone,
        }
    }

    pub fn load(&mut self, container: u32, run: &ContainerRun) {
        self.output.remove(&container);
        self.errors.remove(&container);
        self.ends.remove(&container);
        self.handle.load_image(run).unwrap();
        self.handle.load(container, run).unwrap();
    }

    /// Listens until `done`, and fails after [`PATIENCE`].
    pub fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
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

    pub fn listen(&mut self, time: Duration) {
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
            Said::Event(container, ContainerEvent::Status(status)) => {
                self.statuses.insert(container, status);
            }
            Said::Event(_, ContainerEvent::Files { number, answer }) => {
                self.answers.insert(number, answer);
            }
            Said::Event(container, event) => {
                self.ends.insert(container, event);
            }
        }
    }

    /// What the guest says of containers, asked now.
    pub fn ask(&mut self, containers: &[u32]) -> Vec<Status> {
        self.statuses.clear();
        containers.iter().for_each(|container| self.handle.ask(*container));
        self.until("an answer", |resident| resident.statuses.len() == containers.len());
        containers.iter().map(|container| self.statuses[container]).collect()
    }

    /// Does something with a container's files.
    pub fn file(&mut self, container: u32, path: &str, wanted: Wanted<'_>) -> Result<Vec<u8>, Failure> {
        let number = self.answers.keys().last().map_or(0, |last| last + 1);
        let request = Request { wanted, path: path.as_bytes() };
        self.handle.ask_files(container, number, &request).unwrap();
        self.until("an answer about a file", |resident| resident.answers.contains_key(&number));
        self.answers[&number].clone()
    }

    /// The guest's regions of a kind.
    pub fn regions(&self, kind: RegionKind) -> Vec<Region> {
        let read = |machine: &mut Stopped<'_>| regions::read(machine.memory, machine.places.region_table);
        let all = self.door.stopped(read).unwrap().unwrap();
        all.into_iter().filter(|region| region.kind == kind as u32).collect()
    }

    /// Waits for a container's end.
    pub fn end(&mut self, container: u32) -> ContainerEvent {
        self.until("waiting for an end", |resident| resident.ends.contains_key(&container));
        self.ends[&container].clone()
    }

    pub fn out(&self, container: u32) -> String {
        String::from_utf8_lossy(self.output.get(&container).map_or(&[][..], Vec::as_slice)).into_owned()
    }

    pub fn lines(&self, container: u32) -> usize {
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

/// A program of the repository's, with arguments and 32 MiB of memory at most.
pub fn program(path: &str, args: &[&str]) -> ContainerRun {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path);
    of_wasm(&std::fs::read(path).unwrap(), args)
}

/// The same of a program's bytes.
pub fn of_wasm(wasm: &[u8], args: &[&str]) -> ContainerRun {
    let (image, _) = ImageCache::new(None).image(wasm).unwrap();
    let args = std::iter::once("program").chain(args.iter().copied()).map(|arg| arg.as_bytes().to_vec());
    let spec = ContainerSpec { memory_limit: 32 << 20, args: args.collect(), ..Default::default() };
    ContainerRun { spec, image }
}

/// The same with another limit of its memory, in bytes.
pub fn small(path: &str, memory_limit: u64) -> ContainerRun {
    let mut run = program(path, &[]);
    run.spec.memory_limit = memory_limit;
    run
}

/// A container that ends at once.
pub fn hello() -> ContainerRun {
    program("resources/containers/hello/hello.wasm", &[])
}

/// A container that calls a kernel over and over, for a millisecond or so each, and says so each time.
pub fn busy() -> ContainerRun {
    let mut run = program("resources/containers/kernels/kernels.wasm", &["fib", "1000000", "25"]);
    run.spec.flags |= container_flags::INVOKE;
    run
}

/// A container that computes for ever, in silence.
pub fn looping() -> ContainerRun {
    let mut run = program("resources/containers/kernels/kernels.wasm", &["nbody", "0", "2000000000"]);
    run.spec.flags |= container_flags::INVOKE;
    run
}

/// A program's good end.
pub const EXITED: ContainerEvent = ContainerEvent::Ended(ContainerEnd::Exited(0));
