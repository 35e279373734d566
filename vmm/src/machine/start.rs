//! What a machine needs before anything else, made on threads of their own: KVM's objects, and the kernel in
//! its memory.
//!
//! KVM waits for other processors a few times while it makes a virtual machine. None of that needs the program
//! or the snapshot that the machine goes on with, and the first half of it not even the machine's size, so it goes
//! on beside finding out about them. Loading the kernel fills what KVM's waiting leaves.
//!
//! Both threads are made at the very beginning, and begin by [going to their processor](go_to) and waiting.

use super::placement::{Place, go_to};
use super::vcpu_thread::{Made, Maker};
use crate::error::MachineError;
use crate::handover;
use crate::kvm::vm::{ALL, DirtyLog};
use crate::memory::{self, GuestMemory};
use sentient_images::KernelImage;
use std::ops::Range;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

/// For so long a thread of a start stays awake for what another one makes: longer than that takes.
const MOMENT: Duration = Duration::from_millis(2);

/// A machine of which nothing is known yet. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Early {
    maker: Maker,
    loader: Option<Loader>,
}

/// The start of a machine. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Start {
    pub(super) ram: u64,
    pub(super) memory: GuestMemory,
    maker: Maker,
    loader: Option<Loader>,
    /// The loader is at work.
    loading: bool,
}

/// What comes within a moment from another thread of a start. Who sleeps for it is woken where the other one runs, and
/// goes on when that one sleeps: half a millisecond later, of which there are few. So this stays awake for a while, and
/// lets others run.
pub(super) fn receive_soon<T>(from: &Receiver<T>) -> Result<T, RecvError> {
    let deadline = Instant::now() + MOMENT;
    loop {
        match from.try_recv() {
            Ok(received) => return Ok(received),
            Err(TryRecvError::Disconnected) => return Err(RecvError),
            Err(TryRecvError::Empty) if Instant::now() < deadline => std::thread::yield_now(),
            Err(TryRecvError::Empty) => return from.recv(),
        }
    }
}

/// A thread that loads a kernel. Nobody waits for its end: it has nothing to do any more when it has loaded, or when
/// there is nothing to load.
#[derive(Debug)]
struct Loader {
    work: Sender<(KernelImage, GuestMemory)>,
    loaded: Receiver<Result<(), MachineError>>,
}

impl Loader {
    fn start() -> Result<Self, MachineError> {
        let (work, working) = channel::<(KernelImage, GuestMemory)>();
        let (tell, loaded) = channel();
        let load = move || {
            go_to(Place::Beside);
            if let Ok((kernel, memory)) = receive_soon(&working) {
                let result = handover::load_kernel(&kernel, &memory);
                drop(memory);
                // Nobody asks if the machine was given up.
                let _ = tell.send(result);
            }
        };
        let thread = std::thread::Builder::new().name("kernel".into()).spawn(load);
        thread.map_err(MachineError::io("starting the thread that loads the kernel"))?;
        Ok(Self { work, loaded })
    }
}

impl Early {
    /// Begins a machine. What KVM refuses is an error of the machine that is built on this.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no thread.
    pub fn begin() -> Result<Self, MachineError> {
        let early = Self { maker: Self::maker()?, loader: None };
        go_to(Place::Beside);
        Ok(early)
    }

    /// The same, for who does nothing but wait meanwhile: KVM's objects are made on this processor.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_here() -> Result<Self, MachineError> {
        let maker = Maker::start_here().map_err(MachineError::io("starting the vCPU's thread"))?;
        Ok(Self { maker, loader: None })
    }

    /// The same, of a machine for which [`Start::load`] is going to be called.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_to_boot() -> Result<Self, MachineError> {
        let early = Self { maker: Self::maker()?, loader: Some(Loader::start()?) };
        go_to(Place::Beside);
        Ok(early)
    }

    fn maker() -> Result<Maker, MachineError> {
        Maker::start().map_err(MachineError::io("starting the vCPU's thread"))
    }

    /// Goes on with a machine of `ram` bytes.
    ///
    /// # Errors
    /// [`MachineError::RamSize`] and [`MachineError::Memory`].
    pub fn with(self, ram: u64, log: DirtyLog) -> Result<Start, MachineError> {
        self.with_in_use(ram, log, vec![ALL])
    }

    /// The same, of a guest that has these ranges of addresses in use as it stands. All other memory it is given by
    /// [`give_all_memory`](super::resident::ResidentHandle::give_all_memory), or when it comes to use it.
    ///
    /// # Errors
    /// As [`with`](Self::with).
    pub fn with_in_use(
        self,
        ram: u64,
        log: DirtyLog,
        in_use: Vec<Range<u64>>,
    ) -> Result<Start, MachineError> {
        let Self { maker, loader } = self;
        let memory = memory::allocate(ram)?;
        maker.with(Arc::clone(&memory), log, in_use);
        Ok(Start { ram, memory, maker, loader, loading: false })
    }
}

impl Start {
    /// Begins a machine of `ram` bytes.
    ///
    /// # Errors
    /// As [`Early::begin`] and [`Early::with`].
    pub fn begin(ram: u64, log: DirtyLog) -> Result<Self, MachineError> {
        Early::begin()?.with(ram, log)
    }

    /// Has the kernel loaded that the machine is going to be built with.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no thread.
    pub fn load(&mut self, kernel: &KernelImage) -> Result<(), MachineError> {
        let loader = self.loader.take().map_or_else(Loader::start, Ok)?;
        // If it has ended, `loaded` finds out.
        let _ = loader.work.send((kernel.clone(), Arc::clone(&self.memory)));
        self.loader = Some(loader);
        self.loading = true;
        Ok(())
    }

    /// Waits until the kernel is in memory; puts it there, if that has not been begun.
    ///
    /// # Errors
    /// [`MachineError::Kernel`].
    pub(super) fn loaded(&self, kernel: &KernelImage) -> Result<(), MachineError> {
        match &self.loader {
            Some(loader) if self.loading => {
                receive_soon(&loader.loaded).map_err(|_| MachineError::Thread("kernel"))?
            }
            _ => handover::load_kernel(kernel, &self.memory),
        }
    }

    /// Waits until KVM has made all, and gives the thread that is going to run it.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub(super) fn finish(self) -> Result<(Made, Maker), MachineError> {
        let made = self.maker.made()?;
        Ok((made, self.maker))
    }
}
