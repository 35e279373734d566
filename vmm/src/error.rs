//! Why a machine could not be built, or the host could not go on with it.

use crate::kvm::KvmError;
use sentient_abi::container_files::{MAX_PATH, MAX_REQUEST};
use sentient_abi::layout::{LayoutError, MAX_RAM, MIN_RAM};
use sentient_devices::RestoreError;
use sentient_images::kernel::KernelError;
use std::io;

/// Why a machine could not be built, or the host could not go on with it.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    /// KVM is missing, forbidden, or refuses a call.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The amount of RAM is not possible.
    #[error("{0} bytes of RAM are not possible: a machine has from {min} to {max} MiB, in whole MiB", min = MIN_RAM >> 20, max = MAX_RAM >> 20)]
    RamSize(u64),
    /// The host does not give that much memory.
    #[error("{bytes} bytes of guest memory could not be set up: {source}")]
    Memory {
        /// How much.
        bytes: u64,
        /// The error of the call, or vm-memory's.
        source: io::Error,
    },
    /// The kernel, the module and the container's memory do not fit into RAM.
    #[error(
        "the machine's {ram} bytes of RAM are too few ({error:?}): {needed} bytes are needed for the kernel, the image and the container's memory; give it more with --machine-memory"
    )]
    Layout {
        /// RAM of the machine.
        ram: u64,
        /// Roughly what is needed.
        needed: u64,
        /// What did not fit.
        error: LayoutError,
    },
    /// The kernel's file is damaged.
    #[error(transparent)]
    KernelImage(#[from] KernelError),
    /// The kernel's ELF file cannot be loaded.
    #[error("the kernel image cannot be loaded: {0}")]
    Kernel(String),
    /// Arguments and environment are longer than the boot module can say.
    #[error("the program's arguments and environment are too long")]
    ArgumentsTooLong,
    /// A container's number is out of range.
    #[error("there is no container {0}: a machine has numbers below {max}", max = sentient_abi::MAX_CONTAINERS)]
    ContainerNumber(u32),
    /// What is wanted of a container's file is longer than a guest takes.
    #[error(
        "a path of {path} bytes, or {bytes} bytes about a file in all, are more than a guest takes: {MAX_PATH} and {MAX_REQUEST}"
    )]
    FileRequest {
        /// Bytes of the path.
        path: usize,
        /// Bytes of all of it.
        bytes: usize,
    },
    /// A device refuses the state it is to start in; a bug.
    #[error("a device cannot be set up: {0}")]
    Device(#[from] RestoreError),
    /// A system call of the event loop fails.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// The error.
        source: io::Error,
    },
    /// A thread of the machine has panicked; a bug.
    #[error("the thread {0} ended by a panic; please report this")]
    Thread(&'static str),
    /// The guest's region table is none: nobody knows what its memory holds.
    #[error(transparent)]
    Regions(#[from] crate::snapshots::regions::BadTable),
    /// A saved state cannot be taken on.
    #[error("{0}")]
    State(String),
}

impl MachineError {
    /// For `map_err`: an I/O error with what was being done.
    pub(crate) fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
