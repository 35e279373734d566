//! Running the vCPU, and what its exits mean.

#![expect(unsafe_code, reason = "a signal handler and KVM's shared run structure")]

use super::KvmError;
use kvm_bindings::{KVM_MP_STATE_HALTED, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN};
use kvm_ioctls::{VcpuExit, VcpuFd};
use std::io;
use std::sync::Once;
use vmm_sys_util::signal::{SIGRTMIN, register_signal_handler};

/// What answers the guest's accesses.
pub trait Ports {
    /// A read from a port.
    fn read_port(&mut self, port: u16, data: &mut [u8]);
    /// A write to a port; `Break` ends the run.
    fn write_port(&mut self, port: u16, data: &[u8]) -> Flow;
    /// A read from an address without RAM.
    fn read_address(&mut self, address: u64, data: &mut [u8]);
    /// A write to an address without RAM.
    fn write_address(&mut self, address: u64, data: &[u8]) -> Flow;
}

/// Whether the guest goes on after an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It does.
    Continue,
    /// The device has ended the machine.
    Break,
}

/// Why the vCPU left the guest for good, or until it is resumed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Left {
    /// A device said so.
    Device,
    /// It was kicked out.
    Kicked,
    /// Triple fault, or a reset.
    Shutdown,
    /// KVM cannot go on: its suberror.
    InternalError(u32),
    /// KVM could not enter: its reason.
    EntryFailed(u64),
    /// Something else.
    Unknown(String),
}

/// Runs the guest until it leaves for good or is kicked.
///
/// # Errors
/// [`KvmError::Call`] if KVM_RUN fails.
pub fn run(vcpu: &mut VcpuFd, ports: &mut impl Ports) -> Result<Left, KvmError> {
    loop {
        let flow = match vcpu.run() {
            Ok(VcpuExit::IoOut(port, data)) => ports.write_port(port, data),
            Ok(VcpuExit::IoIn(port, data)) => {
                ports.read_port(port, data);
                Flow::Continue
            }
            Ok(VcpuExit::MmioWrite(address, data)) => ports.write_address(address, data),
            Ok(VcpuExit::MmioRead(address, data)) => {
                ports.read_address(address, data);
                Flow::Continue
            }
            Ok(VcpuExit::Intr) => return Ok(Left::Kicked),
            Ok(VcpuExit::Shutdown) => return Ok(Left::Shutdown),
            Ok(VcpuExit::SystemEvent(KVM_SYSTEM_EVENT_RESET | KVM_SYSTEM_EVENT_SHUTDOWN, _)) => {
                return Ok(Left::Shutdown);
            }
            Ok(VcpuExit::InternalError) => return Ok(Left::InternalError(internal_suberror(vcpu))),
            Ok(VcpuExit::FailEntry(reason, _)) => return Ok(Left::EntryFailed(reason)),
            Ok(other) => return Ok(Left::Unknown(format!("{other:?}"))),
            Err(error) if error.errno() == libc::EINTR => return Ok(Left::Kicked),
            Err(error) if error.errno() == libc::EAGAIN => Flow::Continue,
            Err(error) => return Err(KvmError::call("KVM_RUN")(error)),
        };
        if flow == Flow::Break {
            return Ok(Left::Device);
        }
    }
}

fn internal_suberror(vcpu: &mut VcpuFd) -> u32 {
    let run = vcpu.get_kvm_run();
    // SAFETY: after KVM_EXIT_INTERNAL_ERROR this member of the union is the valid one; it is plain data.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

/// The instruction pointer, for messages; 0 if KVM does not give it.
#[must_use]
pub fn rip(vcpu: &VcpuFd) -> u64 {
    vcpu.get_regs().map_or(0, |regs| regs.rip)
}

/// Whether the vCPU has halted with interrupts off, so that nothing can wake it.
#[must_use]
pub fn is_halted_for_good(vcpu: &VcpuFd) -> bool {
    /// RFLAGS.IF.
    const INTERRUPTS: u64 = 1 << 9;
    let halted = vcpu.get_mp_state().is_ok_and(|state| state.mp_state == KVM_MP_STATE_HALTED);
    halted && vcpu.get_regs().is_ok_and(|regs| regs.rflags & INTERRUPTS == 0)
}

/// Makes the kick signal harmless: it only interrupts KVM_RUN. Once for the process.
///
/// # Errors
/// The error of sigaction.
pub fn prepare_kicks() -> io::Result<()> {
    extern "C" fn nothing(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}
    static ONCE: Once = Once::new();
    let mut result = Ok(());
    ONCE.call_once(|| {
        result = register_signal_handler(kick_signal(), nothing)
            .map_err(|error| io::Error::from_raw_os_error(error.errno()))
    });
    result
}

/// The signal that kicks a vCPU thread out of the guest.
#[must_use]
pub fn kick_signal() -> libc::c_int {
    SIGRTMIN()
}
