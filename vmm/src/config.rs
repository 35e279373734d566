//! What a machine is to be.

use sentient_abi::boot_module::ContainerSpec;
use sentient_images::{CompiledImage, KernelImage};
use std::time::Duration;

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum BootProtocol {
    /// The Linux 64-bit protocol: long mode, and page tables that are final. The fastest.
    #[default]
    Linux64,
    /// PVH: 32-bit protected mode, as other VMMs do it.
    Pvh,
}

/// A container to run.
#[derive(Clone, Debug)]
pub struct ContainerRun {
    /// Arguments, environment, limits. Its image number is the machine's business.
    pub spec: ContainerSpec,
    /// Its image.
    pub image: CompiledImage,
}

/// A machine to build.
#[derive(Clone, Debug)]
pub struct MachineConfig {
    /// RAM in bytes, whole MiB.
    pub ram: u64,
    /// The kernel.
    pub kernel: KernelImage,
    /// How it is entered.
    pub protocol: BootProtocol,
    /// What it runs; a resident machine needs nothing.
    pub container: Option<ContainerRun>,
    /// It goes on when nothing runs in it, and takes containers while it runs.
    pub resident: bool,
    /// It runs no containers, and has a console instead; what that is to tell of the machine's faults.
    pub zero: Option<String>,
    /// Whether it can be snapshot: KVM then notes which pages the guest writes.
    pub snapshots: bool,
    /// How often the guest is to say that it is alive; `None` for never, which costs it nothing.
    pub heartbeat: Option<Duration>,
    /// How long it may take in all; `None` for as long as it likes.
    pub timeout: Option<Duration>,
}
