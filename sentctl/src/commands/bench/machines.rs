//! Figures of machines in this process: what KVM and the log of written pages cost, without files and sockets.

use super::kernels::KERNELS;
use super::runs::image;
use super::statistics::Series;
use crate::errors::CommandError;
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_images::{CompiledImage, KernelImage};
use sentient_vmm::kvm::KvmError;
use sentient_vmm::kvm::state::{IrqchipState, VcpuState};
use sentient_vmm::machine::{Door, NotRunning, StopHandle, Stopped};
use sentient_vmm::snapshots::capture::{self, Extent};
use sentient_vmm::snapshots::page::PageBuffer;
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Ended, Machine, MachineConfig};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Between two snapshots.
const SNAPSHOT_INTERVAL: Duration = Duration::from_millis(100);
/// Snapshots in one turn of the machine that is tracked; the other's turn is as long.
const SNAPSHOTS: u32 = 10;
/// Most rounds of two turns: each takes two seconds.
const MOST_ROUNDS: u32 = 15;

/// What is computed: it writes to a megabyte, which is 250 pages, in a few milliseconds, over and over.
const WORK: [&str; 4] = ["kernels", "sieve", "4000000000", "1000000"];

/// Pages that a capture has room for from the start.
const ROOM: usize = 1024;

/// A machine that computes, and what its calls take, in nanoseconds by its own clock.
struct Computing {
    door: Arc<Door>,
    stop: StopHandle,
    machine: Option<JoinHandle<()>>,
    calls: Arc<Mutex<Vec<f64>>>,
}

impl Computing {
    fn start(image: &CompiledImage, snapshots: bool) -> Result<Self, CommandError> {
        let opening = CommandError::io("opening /dev/null");
        let null = File::options().read(true).write(true).open("/dev/null").map_err(opening)?;
        let pipe = || -> std::io::Result<(File, Streams)> {
            let (reader, writer) = std::io::pipe()?;
            let streams = Streams {
                stdin: Input::new(null.try_clone()?)?,
                stdout: Output::new(std::os::fd::OwnedFd::from(writer).into())?,
                stderr: Output::new(null.try_clone()?)?,
            };
            Ok((std::os::fd::OwnedFd::from(reader).into(), streams))
        };
        let (reader, streams) = pipe().map_err(CommandError::io("making a pipe"))?;
        let spec = ContainerSpec {
            memory_limit: 16 << 20,
            flags: container_flags::INVOKE,
            args: WORK.iter().map(|word| word.as_bytes().to_vec()).collect(),
            ..ContainerSpec::default()
        };
        let config = MachineConfig {
            ram: 128 << 20,
            kernel: KernelImage::embedded()?,
            protocol: BootProtocol::Linux64,
            container: Some(ContainerRun { spec, image: image.clone() }),
            resident: false,
            zero: None,
            snapshots,
            heartbeat: None,
            timeout: None,
        };
        let machine = Machine::new(&config, streams)?;
        let stop = machine.stop_handle();
        let running = machine.start()?;
        let door = running.door();
        let calls = Arc::new(Mutex::new(Vec::new()));
        let heard = Arc::clone(&calls);
        // Ends with the machine, whose end of the pipe goes with it.
        std::thread::spawn(move || {
            for line in BufReader::new(reader).lines().map_while(Result::ok) {
                let ns = line.split_once(' ').and_then(|(_, ns)| ns.parse::<f64>().ok());
                heard.lock().unwrap_or_else(PoisonError::into_inner).extend(ns);
            }
        });
        // How it ends is of no interest: it is stopped, or the measurement misses its calls.
        let machine = std::thread::spawn(move || drop(running.wait()));
        Ok(Self { door, stop, machine: Some(machine), calls })
    }

    /// What its calls have taken since this was last asked. The first is left out: it was under way when the turn
    /// began.
    fn calls(&self) -> Vec<f64> {
        let mut calls = std::mem::take(&mut *self.calls.lock().unwrap_or_else(PoisonError::into_inner));
        calls.drain(..calls.len().min(1));
        calls
    }

    /// Keeps it from computing until the sender that this gives is dropped.
    fn hold(&self) -> Result<Held, CommandError> {
        let (release, released): (_, Receiver<()>) = channel();
        let (holding, held) = channel();
        let door = Arc::clone(&self.door);
        let waiting = std::thread::spawn(move || {
            door.stopped(move |_| {
                // The other side waits for it, or has gone.
                let _ = holding.send(());
                let _ = released.recv();
            })
        });
        held.recv().map_err(|_| gone(NotRunning::Ended))?;
        Ok(Held { release: Some(release), waiting: Some(waiting) })
    }

    fn stopped<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Stopped<'_>) -> R + Send + 'static,
    ) -> Result<R, CommandError> {
        self.door.stopped(work).map_err(gone)
    }
}

impl Drop for Computing {
    fn drop(&mut self) {
        self.stop.stop(Ended::Terminated);
        if let Some(machine) = self.machine.take() {
            // It has nothing to say.
            let _ = machine.join();
        }
    }
}

/// A machine that is held; it goes on when this is dropped.
struct Held {
    release: Option<std::sync::mpsc::Sender<()>>,
    waiting: Option<JoinHandle<Result<(), NotRunning>>>,
}

impl Drop for Held {
    fn drop(&mut self) {
        drop(self.release.take());
        if let Some(waiting) = self.waiting.take() {
            let _ = waiting.join();
        }
    }
}

fn gone(error: NotRunning) -> CommandError {
    CommandError::Bench(error.to_string())
}

fn mean(values: &[f64]) -> Result<f64, CommandError> {
    if values.is_empty() {
        return Err(CommandError::Bench("a machine has not computed in its turn".into()));
    }
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// Milliseconds to read and write again KVM's state of a stopped machine: its vCPU and interrupt controllers.
pub fn kvm_state(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let machine = Computing::start(&image(KERNELS)?, false)?;
    let (mut reads, mut writes, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..repeats.max(1) {
        // It computes in between, as a machine does.
        std::thread::sleep(Duration::from_millis(5));
        let once = machine.stopped(|machine| -> Result<_, KvmError> {
            let started = Instant::now();
            let (vcpu, irqchip) = (VcpuState::read(machine.vcpu)?, IrqchipState::read(machine.vm)?);
            let read = started.elapsed();
            irqchip.write(machine.vm)?;
            vcpu.write(machine.vcpu)?;
            Ok((read, started.elapsed()))
        })?;
        let (read, whole) = once.map_err(|error| CommandError::Bench(error.to_string()))?;
        reads.push(read.as_secs_f64() * 1e3);
        writes.push((whole - read).as_secs_f64() * 1e3);
        both.push(whole.as_secs_f64() * 1e3);
    }
    let mut details = Map::new();
    details.insert("read_ms".into(), json!(Series::new(reads).median()));
    details.insert("write_ms".into(), json!(Series::new(writes).median()));
    Ok((Series::new(both), details))
}

/// How much longer a computation takes on a machine whose written pages are tracked and copied every 100 ms than on
/// one where they are not, as a part of what it takes there. The two take turns, so that both see the same weather.
pub fn dirty_tracking_cost(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let image = image(KERNELS)?;
    let (tracked, plain) = (Computing::start(&image, true)?, Computing::start(&image, false)?);
    let (mut costs, mut pages, mut pauses) = (Vec::new(), Vec::new(), Vec::new());
    let (mut tracked_ms, mut plain_ms) = (Vec::new(), Vec::new());
    let mut buffer = PageBuffer::with_room(ROOM);
    let mut extent = Extent::Everything;
    for round in 0..=repeats.clamp(1, MOST_ROUNDS) {
        let other = plain.hold()?;
        let _ = tracked.calls();
        for _ in 0..SNAPSHOTS {
            std::thread::sleep(SNAPSHOT_INTERVAL);
            let room = std::mem::take(&mut buffer);
            let taken = tracked.stopped(move |machine| capture::take(machine, extent, room))??;
            // The first one is of everything, and not part of a round that counts.
            extent = Extent::Changed;
            pages.push(taken.numbers.len() as f64);
            pauses.push(taken.pause.as_secs_f64() * 1e3);
            buffer = taken.buffer;
        }
        let with = mean(&tracked.calls())?;
        drop(other);
        let other = tracked.hold()?;
        let _ = plain.calls();
        std::thread::sleep(SNAPSHOT_INTERVAL * SNAPSHOTS);
        let without = mean(&plain.calls())?;
        drop(other);
        if round > 0 {
            costs.push(with / without - 1.0);
            tracked_ms.push(with / 1e6);
            plain_ms.push(without / 1e6);
        }
    }
    let mut details = Map::new();
    details.insert("tracked_call_ms".into(), json!(Series::new(tracked_ms).median()));
    details.insert("untracked_call_ms".into(), json!(Series::new(plain_ms).median()));
    details.insert("pages_a_snapshot".into(), json!(Series::new(pages).median()));
    details.insert("pause_ms".into(), json!(Series::new(pauses).median()));
    Ok((Series::new(costs), details))
}
