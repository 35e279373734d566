//! A machine: built from its configuration or from a snapshot, run to its end.
//!
//! Two threads. The one that calls [`Machine::run`] has the event loop: queues, standard input, the time
//! limit, requests to stop. The other runs the vCPU and answers its register accesses.

mod build;
pub mod crash;
mod event_loop;
pub mod gate;
mod input_room;
pub mod placement;
pub mod resident;
pub mod shared;
mod start;
pub mod state;
pub mod vcpu_thread;
mod watch;

use crate::bus::Bus;
use crate::ended::Ended;
use crate::error::MachineError;
use crate::handover::device_base;
use crate::host::{self, Residency};
use crate::kvm::{self, vm::Vm};
use crate::lifecycle::{State, Step};
use crate::memory::GuestMemory;
use crate::memory::image::Image;
use crate::network::{NetDevice, Network};
use crate::snapshots::MemoryReader;
use crate::streams::Input;
use crate::time::{Clock, WallClock};
use crate::volumes::{Mounting, VolumeDevice};
use event_loop::EventLoop;
use kvm_ioctls::VcpuFd;
use resident::ResidentHandle;
use sentient_devices::Lifecycle;
use sentient_devices::virtio::mmio::registers::NOTIFY_OFFSET;
use sentient_images::KernelImage;
use shared::{Console, Events, RngDevice, lock};
pub use start::{Early, Start};
use state::Places;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
pub use vcpu_thread::{Door, NotRunning, Stopped};
use vcpu_thread::{Maker, Parts, VcpuThread};

/// When a machine got where.
#[derive(Clone, Copy, Debug)]
pub struct Stages {
    /// [`Machine::new`] was called.
    pub started: Instant,
    /// KVM's objects exist, and guest memory is filled.
    pub created: Instant,
    /// The vCPU is about to enter the guest for the first time.
    pub entered: Option<Instant>,
    /// The runtime was ready.
    pub ready: Option<Instant>,
    /// The first byte of standard output was written.
    pub first_byte: Option<Instant>,
    /// It was over.
    pub ended: Option<Instant>,
}

/// What became of a machine.
#[derive(Clone, Debug)]
pub struct Report {
    /// How it ended.
    pub ended: Ended,
    /// When it got where.
    pub stages: Stages,
    /// How often the guest has said that it is alive.
    pub heartbeats: u64,
    /// What the process had resident at the end, without guest RAM.
    pub residency: Residency,
    /// How much of guest RAM was, in KiB.
    pub guest_ram_kib: u64,
}

/// Stops a running machine from another thread.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Events>);

impl StopHandle {
    /// Ends the machine as `ended` says.
    pub fn stop(&self, ended: Ended) {
        self.0.stop(ended);
    }

    /// The same, from a job that has the guest stopped: it does not go on for another instruction.
    pub fn stop_here(&self, ended: Ended) {
        self.0.set_stopping();
        self.0.stop(ended);
    }
}

/// Tells when the guest is ready.
#[derive(Clone, Debug)]
pub struct Readiness(Arc<Events>);

impl Readiness {
    /// Waits until it is, for so long at most; whether it is.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        while self.0.ready_at().is_none() {
            if Instant::now() >= deadline || self.0.has_vcpu_left() {
                return false;
            }
            std::thread::sleep(Duration::from_micros(200));
        }
        true
    }
}

/// A machine that has not run yet.
pub struct Machine {
    // Fields drop in this order: the vCPU before the virtual machine, that before its memory.
    maker: Maker,
    vcpu: VcpuFd,
    bus: Bus,
    vm: Arc<Vm>,
    memory: GuestMemory,
    image: Option<Image>,
    state: State,
    places: Places,
    clock: Clock,
    console: Arc<Mutex<Console>>,
    rng: Arc<Mutex<RngDevice>>,
    net: Arc<Mutex<NetDevice>>,
    network: Network,
    volumes: Arc<Mutex<VolumeDevice>>,
    mounting: Mounting,
    events: Arc<Events>,
    stdin: Option<Input>,
    timeout: Option<Duration>,
    /// The kernel it boots.
    kernel: Option<KernelImage>,
    stages: Stages,
}

impl Machine {
    /// A handle to load containers by, if it is resident.
    #[must_use]
    pub fn resident_handle(&self) -> ResidentHandle {
        ResidentHandle { events: Arc::clone(&self.events), vm: Arc::downgrade(&self.vm) }
    }

    /// Its network, to publish ports by.
    #[must_use]
    pub fn network(&self) -> Network {
        self.network.clone()
    }

    /// Its volumes, to give containers some.
    #[must_use]
    pub fn mounting(&self) -> Mounting {
        self.mounting.clone()
    }

    /// Tells when the guest is ready.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        Readiness(Arc::clone(&self.events))
    }

    /// A handle to stop it by.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.events))
    }

    /// Reads its memory.
    #[must_use]
    pub fn memory_reader(&self) -> MemoryReader {
        MemoryReader(Arc::downgrade(&self.memory))
    }

    /// Lets its guest's wall clock follow this clock instead of the host's.
    pub fn follow_wall_clock(&mut self, wall: WallClock) {
        self.clock.follow(wall);
    }

    /// Runs it to its end.
    ///
    /// # Errors
    /// [`MachineError`] if the host cannot go on. Whatever the guest does is not an error but the
    /// report's [`Ended`].
    pub fn run(self) -> Result<Report, MachineError> {
        self.start()?.wait()
    }

    /// Starts it: the guest runs from here on, its devices once somebody [waits](Running::wait).
    ///
    /// # Errors
    /// [`MachineError`] if KVM or the host refuses, [`MachineError::KernelImage`] for a kernel that was not checked
    /// before and is damaged.
    pub fn start(self) -> Result<Running, MachineError> {
        let Self {
            maker,
            vcpu,
            bus,
            vm,
            memory,
            image,
            state,
            places,
            clock,
            console,
            rng,
            net,
            network,
            volumes,
            mounting,
            events,
            stdin,
            timeout,
            kernel,
            mut stages,
        } = self;
        let state = state.after(Step::Start).map_err(|error| MachineError::Io {
            what: "starting the machine",
            source: io::Error::other(error),
        })?;
        lock(&console).start();
        lock(&rng).start();
        lock(&net).start();
        lock(&volumes).start();
        network.start(Arc::clone(&vm), net, Arc::clone(&events))?;
        mounting.start(Arc::clone(&vm), volumes, Arc::clone(&events))?;
        let doorbell = |position: u64, queue: u32| vm.doorbell(device_base(position) + NOTIFY_OFFSET, queue);
        let doorbells = event_loop::Doorbells {
            receive: doorbell(0, 0)?,
            transmit: doorbell(0, 1)?,
            rng: doorbell(1, 0)?,
        };
        let event_loop =
            EventLoop::new(Arc::clone(&console), rng, doorbells, Arc::clone(&events), stdin, timeout)?;
        stages.entered = Some(Instant::now());
        let (news, ram) = (Arc::clone(&events), Arc::clone(&memory));
        let parts = Parts { vcpu, vm, bus, events: news, memory: ram, image, places, clock };
        let thread = maker.run(parts).map_err(MachineError::io("starting the vCPU"))?;
        // A restored device may have work of which nobody will tell.
        events.nudge();
        // While the guest starts, there is time. What it says is passed on from `Running::wait` on.
        if let Some(kernel) = kernel {
            if let Err(damaged) = kernel.check_digest() {
                // What it has done by then is of no interest.
                let _ = thread.stop();
                return Err(damaged.into());
            }
            if let Some(elf) = kernel.embedded_elf() {
                crate::memory::forget_embedded(elf);
            }
        }
        Ok(Running { thread, event_loop, state, console, network, mounting, events, memory, stages })
    }

    /// Counts the instructions the guest executes in ring 0 from its entry until it is ready, instead of
    /// running it.
    ///
    /// # Errors
    /// [`MachineError::Kvm`] if KVM cannot single-step here.
    pub fn count_boot_instructions(mut self) -> Result<u64, MachineError> {
        let events = Arc::clone(&self.events);
        Ok(kvm::step::count_ring0(&mut self.vcpu, &mut self.bus, || events.ready_at().is_some())?)
    }
}

/// A machine whose guest runs.
pub struct Running {
    // Fields drop in this order: the thread with vCPU and virtual machine before the memory.
    thread: VcpuThread,
    event_loop: EventLoop,
    state: State,
    console: Arc<Mutex<Console>>,
    network: Network,
    mounting: Mounting,
    events: Arc<Events>,
    memory: GuestMemory,
    stages: Stages,
}

impl Running {
    /// The way to the guest's state while it stands still.
    #[must_use]
    pub fn door(&self) -> Arc<Door> {
        self.thread.door()
    }

    /// Works for its devices until it ends.
    ///
    /// # Errors
    /// [`MachineError`] if the host cannot go on.
    pub fn wait(self) -> Result<Report, MachineError> {
        let Self { thread, mut event_loop, state, console, network, mounting, events, memory, mut stages } =
            self;
        let decided = event_loop.run(&thread);
        network.stop();
        mounting.stop();
        let left = thread.stop().map_err(|error| match error {
            Some(error) => MachineError::Kvm(error),
            None => MachineError::Thread("vcpu0"),
        })?;
        // The guest has sent all its output before it says that it ended; take what is left of it.
        event_loop.drain();
        let _ = state.after(Step::Halt);
        lock(&console).halt();
        stages.ready = events.ready_at();
        stages.first_byte = lock(&console).device().backend().sink().first_byte_at();
        stages.ended = Some(Instant::now());
        let with_ram = host::residency();
        drop((memory, event_loop, console));
        let residency = host::residency();
        let guest_ram_kib = with_ram.anonymous_kib.saturating_sub(residency.anonymous_kib);
        let ended = match (decided?, left) {
            (Some(ended), _) | (None, Some(ended)) => ended,
            (None, None) => Ended::UnexpectedExit("the vCPU's thread ended without a reason".into()),
        };
        Ok(Report { ended, stages, heartbeats: events.heartbeats(), residency, guest_ram_kib })
    }
}
