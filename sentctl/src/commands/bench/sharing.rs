//! Two containers on one processor: what that costs each of them.

use super::kernels::{KERNELS, Native, WORK};
use super::runs::image;
use super::snapshots::Measured;
use super::statistics::{Series, geometric_mean};
use crate::errors::CommandError;
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_devices::virtio::stdio_mux::{ContainerEvent, Stream, Written};
use sentient_images::{CompiledImage, KernelImage};
use sentient_vmm::machine::StopHandle;
use sentient_vmm::machine::resident::ResidentHandle;
use sentient_vmm::streams::{ContainerSink, Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig};
use serde_json::{Map, json};
use std::fs::File;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const YIELDS: &[u8] = include_bytes!("../../../../resources/containers/yields/yields.wasm");

/// Calls of a kernel by each container, some ten milliseconds each, so that starting them does not count.
const CALLS: u32 = 12;
/// Rounds that alternate between guest and native.
const ROUNDS: u32 = 3;
/// How long two containers give each other the processor.
const YIELDING: Duration = Duration::from_millis(300);
/// Rounds of that.
const YIELD_ROUNDS: u32 = 7;
/// How long anything may take.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// What containers do and write, for who waits for it.
#[derive(Debug)]
struct Heard(Sender<(u32, Said)>);

#[derive(Debug)]
pub(super) enum Said {
    Output(Vec<u8>),
    Event(ContainerEvent),
}

impl ContainerSink for Heard {
    fn output(&mut self, container: u32, _: Stream, bytes: &[u8]) -> Written {
        // Who does not listen any more has heard enough.
        let _ = self.0.send((container, Said::Output(bytes.to_vec())));
        Written::Accepted(bytes.len())
    }

    fn event(&mut self, container: u32, event: ContainerEvent) {
        let _ = self.0.send((container, Said::Event(event)));
    }
}

/// A machine that takes containers.
pub(super) struct Resident {
    pub(super) guest: ResidentHandle,
    stop: StopHandle,
    heard: Receiver<(u32, Said)>,
    machine: Option<JoinHandle<()>>,
}

impl Resident {
    pub(super) fn start() -> Result<Self, CommandError> {
        let null = || File::options().read(true).write(true).open("/dev/null");
        let streams = || -> std::io::Result<Streams> {
            Ok(Streams {
                stdin: Input::new(null()?)?,
                stdout: Output::new(null()?)?,
                stderr: Output::new(null()?)?,
            })
        };
        let config = MachineConfig {
            ram: 128 << 20,
            kernel: KernelImage::embedded()?,
            protocol: BootProtocol::Linux64,
            container: None,
            resident: true,
            zero: None,
            snapshots: false,
            heartbeat: None,
            timeout: None,
        };
        let (tell, heard) = channel();
        let streams = streams().map_err(CommandError::io("opening /dev/null"))?;
        let machine = Machine::resident(&config, streams, Box::new(Heard(tell)))?;
        let (guest, stop) = (machine.resident_handle(), machine.stop_handle());
        let running = machine.start()?;
        // How it ends is of no interest: it is stopped, or the measurement misses what it says.
        let machine = std::thread::spawn(move || drop(running.wait()));
        Ok(Self { guest, stop, heard, machine: Some(machine) })
    }

    /// What is said next, and by which container.
    pub(super) fn next(&self) -> Result<(u32, Said), CommandError> {
        let silent = |_| CommandError::Bench("a container says nothing any more".into());
        self.heard.recv_timeout(PATIENCE).map_err(silent)
    }

    /// Starts a container, and waits until it runs.
    pub(super) fn begin(&self, container: u32, run: &ContainerRun) -> Result<(), CommandError> {
        self.guest.load(container, run)?;
        loop {
            match self.next()? {
                (of, Said::Event(ContainerEvent::Started)) if of == container => return Ok(()),
                (_, Said::Event(ContainerEvent::NoImage)) => {
                    self.guest.load_image(run)?;
                    self.guest.load(container, run)?;
                }
                (_, Said::Event(ContainerEvent::Refused(why))) => return Err(CommandError::Bench(why)),
                _ => {}
            }
        }
    }

    /// Waits until so many have ended.
    pub(super) fn until_ended(&self, mut count: u32) -> Result<(), CommandError> {
        while count > 0 {
            if let (_, Said::Event(ContainerEvent::Ended(_))) = self.next()? {
                count -= 1;
            }
        }
        Ok(())
    }

    /// Runs these containers side by side; gives how long they took together, and what each has written.
    fn run(&self, containers: &[ContainerRun]) -> Result<(Duration, Vec<String>), CommandError> {
        let started = Instant::now();
        for (container, run) in (0..).zip(containers) {
            self.guest.load(container, run)?;
            self.guest.end_input(container);
        }
        let mut written = vec![Vec::new(); containers.len()];
        let mut left = containers.len();
        while left > 0 {
            let (container, said) = self.next()?;
            match (said, written.get_mut(container as usize), containers.get(container as usize)) {
                (Said::Output(bytes), Some(written), _) => written.extend(bytes),
                (Said::Event(ContainerEvent::NoImage), _, Some(run)) => {
                    self.guest.load_image(run)?;
                    self.guest.load(container, run)?;
                    self.guest.end_input(container);
                }
                (Said::Event(ContainerEvent::Ended(_)), ..) => left -= 1,
                (Said::Event(ContainerEvent::Refused(why)), ..) => return Err(CommandError::Bench(why)),
                _ => {}
            }
        }
        let took = started.elapsed();
        Ok((took, written.iter().map(|bytes| String::from_utf8_lossy(bytes).into_owned()).collect()))
    }
}

impl Drop for Resident {
    fn drop(&mut self) {
        self.stop.stop(Ended::Terminated);
        if let Some(machine) = self.machine.take() {
            // It has nothing to say.
            let _ = machine.join();
        }
    }
}

pub(super) fn container(image: &CompiledImage, flags: u32, words: &[&str]) -> ContainerRun {
    let args = words.iter().map(|word| word.as_bytes().to_vec()).collect();
    let spec = ContainerSpec { memory_limit: 16 << 20, flags, args, ..ContainerSpec::default() };
    ContainerRun { spec, image: image.clone() }
}

/// Native time over guest time of as many calls, where two containers make half of them each: 1 is as fast as native.
pub fn ratio_of_two(_: u32) -> Measured {
    let (resident, image, mut native) = (Resident::start()?, image(KERNELS)?, Native::new()?);
    let calls = CALLS.to_string();
    let mut means = Vec::new();
    let mut by_kernel = vec![Vec::new(); WORK.len()];
    for round in 0..=ROUNDS {
        let mut ratios = Vec::new();
        for ((name, argument), of_kernel) in WORK.iter().zip(&mut by_kernel) {
            let argument_text = argument.to_string();
            let run = container(&image, container_flags::INVOKE, &["kernels", name, &calls, &argument_text]);
            let (guest, _) = resident.run(&[run.clone(), run])?;
            let started = Instant::now();
            native.call(name, *argument, 2 * CALLS)?;
            let ratio = started.elapsed().as_secs_f64() / guest.as_secs_f64();
            ratios.push(ratio);
            of_kernel.push(ratio);
        }
        // The first round brings the image, and memory.
        if round > 0 {
            means.push(geometric_mean(&ratios));
        }
    }
    let mut details = Map::new();
    for ((name, _), ratios) in WORK.iter().zip(by_kernel) {
        details.insert((*name).into(), json!(Series::new(ratios).median()));
    }
    Ok((Series::new(means), details))
}

/// Microseconds from one container giving the processor back to the next one having it, with the call that asks for it.
pub fn switch(_: u32) -> Measured {
    let (resident, image) = (Resident::start()?, image(YIELDS)?);
    let run = container(&image, 0, &["yields", &YIELDING.as_millis().to_string()]);
    let yields = |written: &str| -> Result<f64, CommandError> {
        let count = written.split_once(' ').and_then(|(count, _)| count.parse().ok());
        count.ok_or_else(|| CommandError::Bench(format!("a container that yields says {written:?}")))
    };
    let (mut alone, mut switches) = (Vec::new(), Vec::new());
    for _ in 0..YIELD_ROUNDS {
        for (containers, times) in [(1, &mut alone), (2, &mut switches)] {
            let (_, written) = resident.run(&vec![run.clone(); containers])?;
            let all: f64 = written.iter().map(|written| yields(written)).sum::<Result<_, _>>()?;
            times.push(YIELDING.as_secs_f64() * 1e6 / all);
        }
    }
    let mut details = Map::new();
    details.insert("back_to_itself_us".into(), json!(Series::new(alone).median()));
    Ok((Series::new(switches), details))
}
