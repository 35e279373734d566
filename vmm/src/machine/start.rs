//! What a machine needs before anything else, made on threads of their own: KVM's objects, and the kernel in
//! its memory.
//!
//! KVM waits for other processors a few times while it makes a virtual machine. None of that needs the program
//! or the snapshot that the machine goes on with, and the first half of it not even the machine's size, so it goes
//! on beside finding out about them.

use super::vcpu_thread::{Made, Maker};
use crate::error::MachineError;
use crate::handover;
use crate::kvm::vm::DirtyLog;
use crate::memory::{self, GuestMemory};
use sentient_images::KernelImage;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};

/// A machine of which nothing is known yet. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Early(Maker);

/// The start of a machine. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Start {
    pub(super) ram: u64,
    pub(super) memory: GuestMemory,
    /// How loading the kernel went. The thread that did it takes a while longer to end, for which nobody waits.
    kernel: Option<Receiver<Result<(), MachineError>>>,
    maker: Maker,
}

impl Early {
    /// Begins a machine. What KVM refuses is an error of the machine that is built on this.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no thread.
    pub fn begin() -> Result<Self, MachineError> {
        Maker::start().map(Self).map_err(MachineError::io("starting the vCPU's thread"))
    }

    /// Goes on with a machine of `ram` bytes.
    ///
    /// # Errors
    /// [`MachineError::RamSize`] and [`MachineError::Memory`].
    pub fn with(self, ram: u64, log: DirtyLog) -> Result<Start, MachineError> {
        let Self(maker) = self;
        let memory = memory::allocate(ram)?;
        maker.with(Arc::clone(&memory), log);
        Ok(Start { ram, memory, kernel: None, maker })
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

    /// Loads the kernel that the machine is going to be built with.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no thread.
    pub fn load(&mut self, kernel: &KernelImage) -> Result<(), MachineError> {
        let (memory, kernel) = (Arc::clone(&self.memory), kernel.clone());
        let (tell, loaded) = channel();
        let load = move || {
            // Nobody asks if the machine was given up.
            let _ = tell.send(handover::load_kernel(&kernel, &memory));
        };
        let thread = std::thread::Builder::new().name("kernel".into()).spawn(load);
        thread.map_err(MachineError::io("starting the thread that loads the kernel"))?;
        self.kernel = Some(loaded);
        Ok(())
    }

    /// Waits until the kernel is in memory; puts it there, if that has not been begun.
    ///
    /// # Errors
    /// [`MachineError::Kernel`].
    pub(super) fn loaded(&mut self, kernel: &KernelImage) -> Result<(), MachineError> {
        match self.kernel.take() {
            Some(loaded) => loaded.recv().map_err(|_| MachineError::Thread("kernel"))?,
            None => handover::load_kernel(kernel, &self.memory),
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
