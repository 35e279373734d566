//! KVM: the virtual machine, its vCPU, and nothing else.
//!
//! All ioctls are made here. The order in [`vm::EmptyVm::with`] is measured, not free: memory slots come before
//! the interrupt controllers, because on software KVM the first slot added after them costs milliseconds.

pub mod cpuid;
pub mod registers;
mod slots;
pub mod state;
pub mod step;
pub mod vcpu;
pub mod vm;

use std::io;

/// The device.
pub const DEVICE: &str = "/dev/kvm";

/// Why KVM cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KvmError {
    /// There is no `/dev/kvm`.
    #[error(
        "there is no {DEVICE}: this host has no KVM. Load the module (`modprobe kvm_intel` or `kvm_amd`), turn virtualisation on in the firmware, or, in a virtual machine, turn nested virtualisation on; `sentctl doctor` tells more"
    )]
    Absent,
    /// It cannot be opened.
    #[error(
        "{DEVICE} may not be opened by this user: add it to the group that owns it (`sudo usermod -aG kvm $USER`, then log in again); `sentctl doctor` tells more"
    )]
    Forbidden,
    /// It cannot be opened for another reason.
    #[error("{DEVICE} cannot be opened: {0}")]
    Unusable(io::Error),
    /// It is not the stable API.
    #[error("KVM has API version {found}, this program needs 12")]
    ApiVersion {
        /// What it says.
        found: i32,
    },
    /// A call fails.
    #[error("KVM refuses {call}: {source}")]
    Call {
        /// The call.
        call: &'static str,
        /// The error.
        source: io::Error,
    },
}

impl KvmError {
    pub(crate) fn call(call: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> Self {
        move |error| Self::Call { call, source: error.into() }
    }
}

/// Opens `/dev/kvm`.
///
/// # Errors
/// See [`KvmError`].
pub fn open() -> Result<kvm_ioctls::Kvm, KvmError> {
    let kvm = kvm_ioctls::Kvm::new().map_err(|error| match error.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => KvmError::Absent,
        libc::EACCES | libc::EPERM => KvmError::Forbidden,
        _ => KvmError::Unusable(error.into()),
    })?;
    match kvm.get_api_version() {
        12 => Ok(kvm),
        found => Err(KvmError::ApiVersion { found }),
    }
}
