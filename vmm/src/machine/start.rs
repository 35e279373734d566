//! What a machine needs before anything else, made on threads of their own: KVM's objects, and the kernel in
//! its memory.
//!
//! KVM waits for other processors a few times while it makes a virtual machine. None of that needs the program
//! or the snapshot that the machine goes on with, so it goes on beside reading them.

use crate::error::MachineError;
use crate::handover;
use crate::kvm::vm::{DirtyLog, EmptyVm, Vm};
use crate::kvm::{self, KvmError, cpuid};
use crate::memory::{self, GuestMemory};
use kvm_ioctls::VcpuFd;
use sentient_images::KernelImage;
use std::sync::Arc;
use std::thread::JoinHandle;

/// The start of a machine. Whoever drops it gives it up.
#[derive(Debug)]
pub struct Start {
    pub(super) ram: u64,
    pub(super) memory: GuestMemory,
    /// Somebody else loads the kernel.
    pub(super) kernel_is_loading: bool,
    kvm: JoinHandle<Result<Made, KvmError>>,
}

/// KVM's part of a machine.
#[derive(Debug)]
pub(super) struct Made {
    pub vm: Vm,
    pub vcpu: VcpuFd,
    /// Rate of the vCPU's time-stamp counter, in kHz.
    pub tsc_khz: u32,
}

impl Start {
    /// Begins a machine of `ram` bytes. What KVM refuses is an error of the machine that is built on this.
    ///
    /// # Errors
    /// [`MachineError::RamSize`] and [`MachineError::Memory`]; [`MachineError::Io`] if there can be no thread.
    pub fn begin(ram: u64, log: DirtyLog) -> Result<Self, MachineError> {
        let memory = memory::allocate(ram)?;
        let slots = Arc::clone(&memory);
        let make = move || {
            let kvm = kvm::open()?;
            let vm = EmptyVm::new(&kvm)?.with(slots, log)?;
            let vcpu = vm.create_vcpu()?;
            cpuid::set(&kvm, &vcpu)?;
            let tsc_khz = vcpu.get_tsc_khz().map_err(KvmError::call("KVM_GET_TSC_KHZ"))?;
            Ok(Made { vm, vcpu, tsc_khz })
        };
        let kvm = std::thread::Builder::new().name("kvm".into()).spawn(make);
        let kvm = kvm.map_err(MachineError::io("starting the thread that makes the VM"))?;
        Ok(Self { ram, memory, kernel_is_loading: false, kvm })
    }

    /// Loads the kernel that `find` gives. The machine is to be built with what [`Loading::wait`] returns.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no thread.
    pub fn load<E: From<MachineError> + Send + 'static>(
        &mut self,
        find: impl FnOnce() -> Result<KernelImage, E> + Send + 'static,
    ) -> Result<Loading<E>, MachineError> {
        let memory = Arc::clone(&self.memory);
        let load = move || {
            let kernel = find()?;
            handover::load_kernel(&kernel, &memory)?;
            Ok(kernel)
        };
        let thread = std::thread::Builder::new().name("kernel".into()).spawn(load);
        self.kernel_is_loading = true;
        thread.map(Loading).map_err(MachineError::io("starting the thread that loads the kernel"))
    }

    /// Waits until KVM has made all.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub(super) fn finish(self) -> Result<Made, MachineError> {
        Ok(self.kvm.join().map_err(|_| MachineError::Thread("kvm"))??)
    }
}

/// A kernel on its way into memory.
#[derive(Debug)]
pub struct Loading<E>(JoinHandle<Result<KernelImage, E>>);

impl<E: From<MachineError>> Loading<E> {
    /// Waits until it is there.
    ///
    /// # Errors
    /// Whatever kept it from being found or loaded.
    pub fn wait(self) -> Result<KernelImage, E> {
        self.0.join().map_err(|_| MachineError::Thread("kernel"))?
    }
}
