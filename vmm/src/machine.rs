//! A machine: built from its configuration, run to its end.
//!
//! Two threads. The one that calls [`Machine::run`] has the event loop: queues, standard input, the time
//! limit, requests to stop. The other runs the vCPU and answers its register accesses.

mod event_loop;
pub mod shared;
pub mod state;
pub mod vcpu_thread;

use crate::bus::Bus;
use crate::config::MachineConfig;
use crate::ended::Ended;
use crate::error::MachineError;
use crate::handover::{self, Prepared, device_base};
use crate::host::{self, Residency};
use crate::kvm::vm::{DirtyLog, IrqFd, Vm};
use crate::kvm::{self, cpuid, registers};
use crate::lifecycle::{State, Step};
use crate::memory::{self, GuestMemory};
use crate::streams::{HostStreams, Input, SerialOutput, Streams};
use event_loop::EventLoop;
use kvm_ioctls::VcpuFd;
use sentient_abi::layout::queues;
use sentient_devices::Lifecycle;
use sentient_devices::sentinel::Sentinel;
use sentient_devices::serial::{COM1_IRQ, Serial};
use sentient_devices::virtio::console::Console as ConsoleModel;
use sentient_devices::virtio::mmio::registers::NOTIFY_OFFSET;
use sentient_devices::virtio::rng::Rng;
use sentient_devices::virtio::stdio_mux::StdioMux;
use shared::{Console, Events, HostEntropy, RngDevice, lock};
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
pub use vcpu_thread::{Door, NotRunning, Stopped};
use vcpu_thread::{Parts, VcpuThread};

/// Features the VMM and the guest agree on for devices that are set up without a handshake.
const ADOPTED_FEATURES: u64 = 1 << 32;

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
    /// What the process had resident at the end, before guest memory was given back.
    pub residency: Residency,
}

/// Stops a running machine from another thread.
#[derive(Clone, Debug)]
pub struct StopHandle(Arc<Events>);

impl StopHandle {
    /// Ends the machine as `ended` says.
    pub fn stop(&self, ended: Ended) {
        self.0.stop(ended);
    }
}

/// A machine that has not run yet.
pub struct Machine {
    // Fields drop in this order: the vCPU before the virtual machine, that before its memory.
    vcpu: VcpuFd,
    vm: Arc<Vm>,
    memory: GuestMemory,
    state: State,
    prepared: Prepared,
    console: Arc<Mutex<Console>>,
    rng: Arc<Mutex<RngDevice>>,
    events: Arc<Events>,
    stdin: Input,
    serial_output: SerialOutput,
    timeout: Option<Duration>,
    stages: Stages,
}

impl Machine {
    /// Builds a machine whose container uses `streams`.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn new(config: &MachineConfig, streams: Streams) -> Result<Self, MachineError> {
        let started = Instant::now();
        let kvm = kvm::open()?;
        let memory = memory::allocate(config.ram)?;
        let (vm, vcpu, tsc_khz) = std::thread::scope(|scope| {
            // Loading the kernel takes about as long as KVM takes to make its objects.
            let loading = scope.spawn(|| handover::load_kernel(config, &memory));
            let made = make_vcpu(&kvm, &memory, config.snapshots);
            loading.join().map_err(|_| MachineError::Thread("loading the kernel"))??;
            made
        })?;
        let prepared = handover::prepare(config, &memory, tsc_khz)?;
        registers::set(&vcpu, prepared.entry)?;

        let events = Arc::new(Events::new().map_err(MachineError::io("making an event descriptor"))?);
        let Streams { stdin, stdout, stderr } = streams;
        let serial_output =
            SerialOutput::beside(&stderr).map_err(MachineError::io("duplicating standard error"))?;
        let mux = StdioMux::new(HostStreams::new(stdout, stderr), 1);
        let interrupt = |gsi| vm.interrupt(gsi).map(Arc::new);
        let console_interrupt: Arc<IrqFd> = interrupt(handover::CONSOLE_GSI)?;
        let rng_interrupt: Arc<IrqFd> = interrupt(handover::RNG_GSI)?;
        let mut console = Console::new(ConsoleModel::new(mux), Arc::clone(&memory), console_interrupt);
        let mut rng = RngDevice::new(Rng::new(HostEntropy), Arc::clone(&memory), rng_interrupt);
        console.adopt(
            ADOPTED_FEATURES,
            &[prepared.queue(queues::CONSOLE_RECEIVE), prepared.queue(queues::CONSOLE_TRANSMIT)],
        )?;
        rng.adopt(ADOPTED_FEATURES, &[prepared.queue(queues::RNG)])?;
        let created = Instant::now();
        let stages = Stages { started, created, entered: None, ready: None, first_byte: None, ended: None };
        Ok(Self {
            vcpu,
            vm: Arc::new(vm),
            memory,
            state: State::Built,
            prepared,
            console: Arc::new(Mutex::new(console)),
            rng: Arc::new(Mutex::new(rng)),
            events,
            stdin,
            serial_output,
            timeout: config.timeout,
            stages,
        })
    }

    /// A handle to stop it by.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        StopHandle(Arc::clone(&self.events))
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
    /// [`MachineError`] if KVM or the host refuses.
    pub fn start(self) -> Result<Running, MachineError> {
        let Self {
            vcpu,
            vm,
            memory,
            state,
            prepared,
            console,
            rng,
            events,
            stdin,
            serial_output,
            timeout,
            mut stages,
        } = self;
        let state = state.after(Step::Start).map_err(|error| MachineError::Io {
            what: "starting the machine",
            source: io::Error::other(error),
        })?;
        lock(&console).start();
        lock(&rng).start();
        let doorbell = |position: u64, queue: u32| vm.doorbell(device_base(position) + NOTIFY_OFFSET, queue);
        let doorbells = event_loop::Doorbells {
            receive: doorbell(0, 0)?,
            transmit: doorbell(0, 1)?,
            rng: doorbell(1, 0)?,
        };
        let bus = new_bus(&vm, &console, &rng, &events, serial_output)?;
        let event_loop =
            EventLoop::new(Arc::clone(&console), rng, doorbells, Arc::clone(&events), stdin, timeout)?;
        stages.entered = Some(Instant::now());
        let parts = Parts {
            vcpu,
            vm,
            bus,
            events: Arc::clone(&events),
            memory: Arc::clone(&memory),
            panic_record: prepared.panic_record,
        };
        let thread = VcpuThread::start(parts).map_err(MachineError::io("starting the vCPU's thread"))?;
        Ok(Running { thread, event_loop, state, console, events, memory, stages })
    }

    /// Counts the instructions the guest executes in ring 0 from its entry until it is ready, instead of
    /// running it.
    ///
    /// # Errors
    /// [`MachineError::Kvm`] if KVM cannot single-step here.
    pub fn count_boot_instructions(mut self) -> Result<u64, MachineError> {
        let mut bus = new_bus(&self.vm, &self.console, &self.rng, &self.events, self.serial_output)?;
        let events = Arc::clone(&self.events);
        Ok(kvm::step::count_ring0(&mut self.vcpu, &mut bus, || events.ready_at().is_some())?)
    }
}

/// A machine whose guest runs.
pub struct Running {
    // Fields drop in this order: the thread with vCPU and virtual machine before the memory.
    thread: VcpuThread,
    event_loop: EventLoop,
    state: State,
    console: Arc<Mutex<Console>>,
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
        let Self { thread, mut event_loop, state, console, events, memory, mut stages } = self;
        let decided = event_loop.run(&thread);
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
        let residency = host::residency();
        drop(memory);
        let ended = match (decided?, left) {
            (Some(ended), _) | (None, Some(ended)) => ended,
            (None, None) => Ended::UnexpectedExit("the vCPU's thread ended without a reason".into()),
        };
        Ok(Report { ended, stages, heartbeats: events.heartbeats(), residency })
    }
}

/// The virtual machine, its vCPU, and the rate of the vCPU's time-stamp counter in kHz.
fn make_vcpu(
    kvm: &kvm_ioctls::Kvm,
    memory: &GuestMemory,
    snapshots: bool,
) -> Result<(Vm, VcpuFd, u32), MachineError> {
    let log = if snapshots { DirtyLog::On } else { DirtyLog::Off };
    let vm = Vm::new(kvm, Arc::clone(memory), log)?;
    let vcpu = vm.create_vcpu()?;
    cpuid::set(kvm, &vcpu)?;
    let tsc_khz = vcpu.get_tsc_khz().map_err(kvm::KvmError::call("KVM_GET_TSC_KHZ"))?;
    Ok((vm, vcpu, tsc_khz))
}

fn new_bus(
    vm: &Vm,
    console: &Arc<Mutex<Console>>,
    rng: &Arc<Mutex<RngDevice>>,
    events: &Arc<Events>,
    serial_output: SerialOutput,
) -> Result<Bus, MachineError> {
    let serial_interrupt = Arc::new(vm.interrupt(COM1_IRQ)?);
    Ok(Bus {
        sentinel: Sentinel::new(),
        serial: Serial::new(serial_interrupt, Box::new(serial_output)),
        console: Arc::clone(console),
        rng: Arc::clone(rng),
        events: Arc::clone(events),
    })
}
