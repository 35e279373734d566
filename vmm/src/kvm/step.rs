//! Counting the guest's instructions in ring 0, one step at a time.

use super::KvmError;
use super::vcpu::{Flow, Ports};
use kvm_bindings::{KVM_GUESTDBG_ENABLE, KVM_GUESTDBG_SINGLESTEP, kvm_guest_debug};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::io;

/// Steps after which counting is given up: a guest that is this slow has gone astray.
const MOST_STEPS: u64 = 20_000_000;

/// Runs the guest step by step until `done` says so, and counts the instructions it executes in ring 0.
///
/// # Errors
/// [`KvmError::Call`] if KVM has no single-stepping, or the guest ends before `done`.
pub fn count_ring0(
    vcpu: &mut VcpuFd,
    ports: &mut impl Ports,
    done: impl Fn() -> bool,
) -> Result<u64, KvmError> {
    let control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP;
    let debug = kvm_guest_debug { control, ..Default::default() };
    vcpu.set_guest_debug(&debug).map_err(KvmError::call("KVM_SET_GUEST_DEBUG"))?;
    let mut counted = 0;
    let mut in_ring0 = true;
    for _ in 0..MOST_STEPS {
        match vcpu.run() {
            Ok(VcpuExit::Debug(_)) => {
                counted += u64::from(in_ring0);
                let special = vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?;
                in_ring0 = special.cs.selector & 3 == 0;
            }
            Ok(VcpuExit::IoOut(port, data)) => {
                if ports.write_port(port, data) == Flow::Break {
                    return Err(astray("the guest ended"));
                }
            }
            Ok(VcpuExit::IoIn(port, data)) => ports.read_port(port, data),
            Ok(VcpuExit::MmioWrite(address, data)) => {
                ports.write_address(address, data);
            }
            Ok(VcpuExit::MmioRead(address, data)) => ports.read_address(address, data),
            Ok(other) => return Err(astray(&format!("{other:?}"))),
            Err(error) if matches!(error.errno(), libc::EINTR | libc::EAGAIN) => {}
            Err(error) => return Err(KvmError::call("KVM_RUN")(error)),
        }
        if done() {
            return Ok(counted);
        }
    }
    Err(astray("it took too many steps"))
}

fn astray(what: &str) -> KvmError {
    KvmError::Call { call: "KVM_RUN, step by step", source: io::Error::other(what.to_owned()) }
}
