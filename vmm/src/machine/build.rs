//! Building machines: from a configuration, or from a snapshot.

use super::shared::{Console, Events, HostEntropy, RngDevice, lock};
use super::start::Start;
use super::state::{MachineState, Places};
use super::vcpu_thread::{Made, Maker};
use super::{Machine, Stages, Stopped};
use crate::bus::{Bus, LateRam};
use crate::config::MachineConfig;
use crate::error::MachineError;
use crate::handover;
use crate::kvm::registers;
use crate::kvm::vm::{DirtyLog, IrqFd};
use crate::lifecycle::State;
use crate::memory::GuestMemory;
use crate::network::{NetDevice, Network};
use crate::snapshots::{MemoryWriter, dirty};
use crate::streams::{ContainerSink, HostStreams, SerialOutput, Streams};
use crate::time::Clock;
use crate::volumes::{Mounting, VolumeDevice};
use sentient_abi::layout::queues;
use sentient_devices::sentinel::Sentinel;
use sentient_devices::serial::{COM1_IRQ, Serial};
use sentient_devices::virtio::console::Console as ConsoleModel;
use sentient_devices::virtio::net::Net;
use sentient_devices::virtio::rng::Rng;
use sentient_devices::virtio::stdio_mux::StdioMux;
use sentient_devices::virtio::volumes::Volumes;
use std::sync::{Arc, Mutex};
use std::time::Instant;

/// Features the VMM and the guest agree on for devices that are set up without a handshake.
const ADOPTED_FEATURES: u64 = 1 << 32;

/// Where containers' output goes.
struct Outlets {
    streams: Streams,
    /// Of a resident machine, whose containers have no streams of the process.
    sink: Option<Box<dyn ContainerSink>>,
}

impl Machine {
    /// Builds a machine whose container uses `streams`.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn new(config: &MachineConfig, streams: Streams) -> Result<Self, MachineError> {
        Self::on(begin(config)?, config, streams)
    }

    /// The same, over what was begun before `config` was complete, with the same RAM.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn on(start: Start, config: &MachineConfig, streams: Streams) -> Result<Self, MachineError> {
        Self::booting(start, config, Outlets { streams, sink: None })
    }

    /// Builds a resident machine, whose containers write to `sink`; of `streams` only standard error is used,
    /// for the kernel's log. `config` need not say that it is resident.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn resident(
        config: &MachineConfig,
        streams: Streams,
        sink: Box<dyn ContainerSink>,
    ) -> Result<Self, MachineError> {
        Self::resident_on(begin(config)?, config, streams, sink)
    }

    /// The same, over what was begun before, with the same RAM.
    ///
    /// # Errors
    /// See [`MachineError`].
    pub fn resident_on(
        start: Start,
        config: &MachineConfig,
        streams: Streams,
        sink: Box<dyn ContainerSink>,
    ) -> Result<Self, MachineError> {
        let config = MachineConfig { resident: true, ..config.clone() };
        Self::booting(start, &config, Outlets { streams, sink: Some(sink) })
    }

    /// Builds a resident machine that goes on from a snapshot. `fill` writes the snapshot's
    /// pages; all others are zero.
    ///
    /// # Errors
    /// See [`MachineError`], and what `fill` returns.
    pub fn restored<E: From<MachineError>>(
        start: Start,
        state: &MachineState,
        streams: Streams,
        sink: Box<dyn ContainerSink>,
        fill: impl FnOnce(&MemoryWriter<'_>) -> Result<(), E>,
    ) -> Result<Self, E> {
        let started = Instant::now();
        let memory = Arc::clone(&start.memory);
        let writer = MemoryWriter::new(&memory);
        fill(&writer)?;
        let image = writer.into_image();
        let (made, maker) = start.finish()?;
        let clock = Clock::stopped(made.tsc_khz);
        let outlets = Outlets { streams, sink: Some(sink) };
        let mut machine = Self::assemble((made, maker), memory, state.places, clock, outlets, started)?;
        machine.image = image;
        // The host knows what these pages hold: they are the snapshot's.
        dirty::forget_device_writes(&machine.memory);
        state.write(&mut machine.at_rest()).map_err(MachineError::from)?;
        machine.events.ready();
        machine.stages.created = Instant::now();
        Ok(machine)
    }

    fn booting(start: Start, config: &MachineConfig, outlets: Outlets) -> Result<Self, MachineError> {
        let started = Instant::now();
        let memory = Arc::clone(&start.memory);
        if start.ram != config.ram {
            return Err(MachineError::RamSize(config.ram));
        }
        let prepared = handover::prepare(config, &memory);
        let prepared = prepared.and_then(|prepared| {
            start.loaded(&config.kernel)?;
            handover::complete(&prepared, &memory)?;
            Ok(prepared)
        });
        let prepared = prepared.map_err(|error| match config.kernel.check_digest() {
            // Whatever does not work with a damaged kernel, does not because of that.
            Err(damaged) => MachineError::KernelImage(damaged),
            Ok(()) => error,
        })?;
        let (made, maker) = start.finish()?;
        registers::set(&made.vcpu, prepared.entry)?;
        let clock = Clock::start(&made.vcpu, made.tsc_khz, &memory, prepared.places.time_page)?;
        let mut machine = Self::assemble((made, maker), memory, prepared.places, clock, outlets, started)?;
        machine.timeout = config.timeout;
        machine.kernel = Some(config.kernel.clone());
        lock(&machine.console).adopt(
            ADOPTED_FEATURES,
            &[prepared.queue(queues::CONSOLE_RECEIVE), prepared.queue(queues::CONSOLE_TRANSMIT)],
        )?;
        lock(&machine.rng).adopt(ADOPTED_FEATURES, &[prepared.queue(queues::RNG)])?;
        lock(&machine.net).adopt(
            ADOPTED_FEATURES,
            &[prepared.queue(queues::NET_RECEIVE), prepared.queue(queues::NET_TRANSMIT)],
        )?;
        lock(&machine.volumes).adopt(ADOPTED_FEATURES, &[prepared.queue(queues::VOLUMES)])?;
        machine.stages.created = Instant::now();
        Ok(machine)
    }

    /// The machine with its devices, as after power-on.
    fn assemble(
        (made, maker): (Made, Maker),
        memory: GuestMemory,
        places: Places,
        clock: Clock,
        outlets: Outlets,
        started: Instant,
    ) -> Result<Self, MachineError> {
        let Made { vm, vcpu, .. } = made;
        let vm = Arc::new(vm);
        let events = Arc::new(Events::new().map_err(MachineError::io("making an event descriptor"))?);
        let Outlets { streams: Streams { stdin, stdout, stderr }, sink } = outlets;
        let serial_output =
            SerialOutput::beside(&stderr).map_err(MachineError::io("duplicating standard error"))?;
        let resident = sink.is_some();
        let host = HostStreams::new(stdout, stderr).with_containers(sink);
        let mux = if resident { StdioMux::resident(host) } else { StdioMux::new(host, 1) };
        let interrupt = |gsi| vm.interrupt(gsi).map(Arc::new);
        let console_interrupt: Arc<IrqFd> = interrupt(handover::CONSOLE_GSI)?;
        let rng_interrupt: Arc<IrqFd> = interrupt(handover::RNG_GSI)?;
        let net_interrupt: Arc<IrqFd> = interrupt(handover::NET_GSI)?;
        let volumes_interrupt: Arc<IrqFd> = interrupt(handover::VOLUMES_GSI)?;
        let serial_interrupt: Arc<IrqFd> = interrupt(COM1_IRQ)?;
        let console = Console::new(ConsoleModel::new(mux), Arc::clone(&memory), console_interrupt);
        let rng = RngDevice::new(Rng::new(HostEntropy), Arc::clone(&memory), rng_interrupt);
        let (network, link) = Network::new()?;
        let net = NetDevice::new(Net::new(link), Arc::clone(&memory), net_interrupt);
        let (console, rng) = (Arc::new(Mutex::new(console)), Arc::new(Mutex::new(rng)));
        let net = Arc::new(Mutex::new(net));
        let (mounting, served) = Mounting::new()?;
        let volumes = VolumeDevice::new(Volumes::new(served), Arc::clone(&memory), volumes_interrupt);
        let volumes = Arc::new(Mutex::new(volumes));
        let bus = Bus {
            sentinel: Sentinel::new(),
            serial: Serial::new(serial_interrupt, Box::new(serial_output)),
            console: Arc::clone(&console),
            rng: Arc::clone(&rng),
            net: Arc::clone(&net),
            volumes: Arc::clone(&volumes),
            events: Arc::clone(&events),
            ram: LateRam { vm: Arc::clone(&vm), memory: Arc::clone(&memory) },
        };
        Ok(Self {
            maker,
            vcpu,
            bus,
            vm,
            memory,
            image: None,
            state: State::Built,
            places,
            clock,
            console,
            rng,
            net,
            network,
            volumes,
            mounting,
            events,
            stdin: (!resident).then_some(stdin),
            timeout: None,
            kernel: None,
            stages: Stages {
                started,
                created: started,
                entered: None,
                ready: None,
                first_byte: None,
                ended: None,
            },
        })
    }

    fn at_rest(&mut self) -> Stopped<'_> {
        let memory = (&self.memory, self.image.as_ref());
        Stopped::new(&self.vcpu, &self.vm, memory, self.places, &mut self.clock, &mut self.bus)
    }
}

fn begin(config: &MachineConfig) -> Result<Start, MachineError> {
    Start::begin(config.ram, if config.snapshots { DirtyLog::On } else { DirtyLog::Off })
}
