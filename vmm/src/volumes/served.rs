//! The volumes' device, and the thread that works for it: which there is from the first volume on.

use super::Volumes;
use crate::error::MachineError;
use crate::handover::{VOLUMES, device_base};
use crate::kvm::vm::Vm;
use crate::machine::shared::{Events, lock};
use crate::memory::GuestMemory;
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::mmio::MmioTransport;
use sentient_devices::virtio::mmio::registers::NOTIFY_OFFSET;
use sentient_devices::virtio::volumes::{Folders, REQUEST_QUEUE, Volumes as Model};
use std::io;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The device with the folders behind it.
pub type VolumeDevice = MmioTransport<Model<Served>, GuestMemory>;

/// What an event is about.
const WAKE: u64 = 0;
const QUESTION: u64 = 1;

/// What the worker and those who tell it something share.
#[derive(Debug)]
struct Shared {
    /// Not behind the device's lock: who holds a machine still has that, and gives containers that return their folders.
    volumes: Mutex<Volumes>,
    wake: EventFd,
    stopping: AtomicBool,
}

impl Shared {
    fn wake(&self) {
        // The counter cannot overflow in practice, and who is awake needs no waking.
        let _ = self.wake.write(1);
    }
}

/// Volumes, for their device.
#[derive(Debug)]
pub struct Served(Arc<Shared>);

impl Folders for Served {
    fn serve(&mut self, request: &[u8]) -> (u32, Vec<u8>) {
        match lock(&self.0.volumes).serve(request) {
            Ok(answer) => (0, answer),
            Err(errno) => (errno.into(), Vec::new()),
        }
    }

    fn forget(&mut self) {
        lock(&self.0.volumes).forget();
    }

    fn resumed(&mut self) {
        self.0.wake();
    }
}

/// What makes a worker.
struct Parts {
    vm: Arc<Vm>,
    device: Arc<Mutex<VolumeDevice>>,
    events: Arc<Events>,
    /// What tells of the guest's questions, from the first worker on.
    doorbell: Option<EventFd>,
}

#[derive(Default)]
struct State {
    /// The guest is to be answered.
    wanted: bool,
    worker: Option<JoinHandle<()>>,
    /// It has panicked.
    panicked: Arc<AtomicBool>,
    /// `None` before the machine runs, and when it has ended.
    parts: Option<Parts>,
}

/// The volumes of a machine, for all who give containers some.
#[derive(Clone)]
pub struct Mounting {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

impl Mounting {
    /// Without volumes, and what is to be behind their device.
    ///
    /// # Errors
    /// The error of eventfd.
    pub fn new() -> Result<(Self, Served), MachineError> {
        let wake = EventFd::new(EFD_NONBLOCK).map_err(MachineError::io("making an event descriptor"))?;
        let (volumes, stopping) = (Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { volumes, wake, stopping });
        let served = Served(Arc::clone(&shared));
        Ok((Self { shared, state: Arc::default() }, served))
    }

    /// The machine runs from here on.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no worker for what there is already.
    pub(crate) fn start(
        &self,
        vm: Arc<Vm>,
        device: Arc<Mutex<VolumeDevice>>,
        events: Arc<Events>,
    ) -> Result<(), MachineError> {
        let mut state = lock(&self.state);
        state.parts = Some(Parts { vm, device, events, doorbell: None });
        self.employ(&mut state).map_err(MachineError::io("starting the volumes' thread"))
    }

    /// Makes a folder of the host volume `number`, in place of what was it before. Nothing is asked of it before it is
    /// [served](Self::serve).
    ///
    /// # Errors
    /// The error of opening the folder.
    pub fn add(&self, number: u32, folder: &Path, read_only: bool) -> io::Result<()> {
        lock(&self.shared.volumes).add(number, folder, read_only)
    }

    /// From here on the guest is answered: about volumes that there are not, that there are none. A machine that goes on
    /// from a snapshot may have asked already, so all of them are to be there before.
    ///
    /// # Errors
    /// The error of starting a thread.
    pub fn serve(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.wanted = true;
        self.employ(&mut state)
    }

    /// Volume `number` is none any more.
    pub fn remove(&self, number: u32) {
        lock(&self.shared.volumes).remove(number);
    }

    /// Has calls go wrong.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    pub fn disturb(&self, disorder: super::Disorder) {
        lock(&self.shared.volumes).disorder = disorder;
    }

    /// Sees to it that there is a worker, if the machine runs and there is something for it to do.
    fn employ(&self, state: &mut State) -> io::Result<()> {
        let Some(parts) = state.parts.as_mut().filter(|_| state.worker.is_none() && state.wanted) else {
            return Ok(());
        };
        let Parts { vm, device, events, doorbell } = parts;
        let doorbell = match doorbell {
            Some(doorbell) => doorbell.try_clone()?,
            None => {
                let place = device_base(VOLUMES) + NOTIFY_OFFSET;
                let made = vm.doorbell(place, REQUEST_QUEUE.into()).map_err(io::Error::other)?;
                doorbell.insert(made).try_clone()?
            }
        };
        let epoll = Epoll::new()?;
        for (event, data) in [(&self.shared.wake, WAKE), (&doorbell, QUESTION)] {
            epoll.ctl(ControlOperation::Add, event.as_raw_fd(), EpollEvent::new(EventSet::IN, data))?;
        }
        let (device, events) = (Arc::clone(device), Arc::clone(events));
        let told = Arc::clone(&events);
        let worker = Worker { epoll, device, shared: Arc::clone(&self.shared), events, doorbell };
        let panicked = Arc::clone(&state.panicked);
        let run = move || told.unless_it_panics("volumes", &panicked, || worker.run());
        state.worker = Some(std::thread::Builder::new().name("volumes".into()).spawn(run)?);
        Ok(())
    }

    /// Has another worker do what one has left that has panicked.
    ///
    /// # Errors
    /// That of starting it.
    pub fn revive(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if !state.panicked.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(worker) = state.worker.take() {
            // It has ended, or is about to.
            let _ = worker.join();
        }
        self.employ(&mut state)
    }

    /// The machine has ended.
    pub(crate) fn stop(&self) {
        let worker = {
            let mut state = lock(&self.state);
            state.parts = None;
            state.worker.take()
        };
        if let Some(worker) = worker {
            self.shared.stopping.store(true, Ordering::SeqCst);
            self.shared.wake();
            // A worker that has panicked leaves nothing behind.
            let _ = worker.join();
        }
    }
}

/// The thread's own.
struct Worker {
    epoll: Epoll,
    device: Arc<Mutex<VolumeDevice>>,
    shared: Arc<Shared>,
    events: Arc<Events>,
    doorbell: EventFd,
}

impl Worker {
    /// Works until it is told to stop.
    fn run(self) {
        // What the guest has asked before there was a worker.
        self.shared.wake();
        let mut events = [EpollEvent::default(); 2];
        while !self.shared.stopping.load(Ordering::SeqCst) {
            let count = match self.epoll.wait(-1, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    tracing::error!(%error, "the machine's volumes have stopped");
                    return;
                }
            };
            for event in events.iter().take(count) {
                // Reading an event descriptor only empties it; that it was readable is all there is to know.
                let outcome = if event.data() == QUESTION {
                    let _ = self.doorbell.read();
                    lock(&self.device).notify(REQUEST_QUEUE)
                } else {
                    let _ = self.shared.wake.read();
                    lock(&self.device).work()
                };
                self.settle(outcome);
            }
        }
    }

    fn settle(&self, outcome: Result<Progress, DeviceError>) {
        match outcome {
            Ok(Progress::Done) => {}
            Ok(Progress::Again) => self.shared.wake(),
            // The device has told its driver that it cannot go on. If nobody sees to that, the machine does, without volumes.
            Err(error) => {
                tracing::warn!(%error, "the machine's volumes");
                self.events.report(&error);
            }
        }
    }
}
