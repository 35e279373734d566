//! Running the vCPU, and what its exits mean.

#![expect(unsafe_code, reason = "a signal handler and KVM's shared run structure")]

use super::KvmError;
use kvm_bindings::{
    KVM_MP_STATE_HALTED, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, Msrs, kvm_msr_entry, kvm_run,
    kvm_xsave,
};
use kvm_ioctls::{VcpuExit, VcpuFd};
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use rustix::process::{Pid, getpid};
use rustix::thread::gettid;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Once, OnceLock};
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
    /// It completes the access and comes out, as if it had been kicked.
    Leave,
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

/// Runs the guest until it leaves for good or is kicked. A vCPU that was kicked has completed its last
/// access to a device: its state is whole.
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
        match flow {
            Flow::Continue => {}
            // The next KVM_RUN completes the access and does not enter; whoever runs the vCPU then takes this back.
            Flow::Leave => vcpu.set_kvm_immediate_exit(1),
            Flow::Break => return Ok(Left::Device),
        }
    }
}

/// Runs a new vCPU without entering the guest. The first KVM_RUN of a virtual machine starts a thread of the
/// host's kernel, which takes 0.3 ms that the guest need not wait for.
///
/// # Errors
/// [`KvmError::Call`] if KVM_RUN fails.
pub fn run_nothing(vcpu: &mut VcpuFd) -> Result<(), KvmError> {
    vcpu.set_kvm_immediate_exit(1);
    let left = vcpu.run().map(drop);
    vcpu.set_kvm_immediate_exit(0);
    match left {
        Err(error) if error.errno() != libc::EINTR => Err(KvmError::call("KVM_RUN")(error)),
        _ => Ok(()),
    }
}

fn internal_suberror(vcpu: &mut VcpuFd) -> u32 {
    let run = vcpu.get_kvm_run();
    // SAFETY: after KVM_EXIT_INTERNAL_ERROR this member of the union is the valid one; it is plain data.
    unsafe { run.__bindgen_anon_1.internal.suberror }
}

/// The time-stamp counter as ring 3 of the guest would read it now: measured, on hardware and on software KVM
/// (see `sentient_abi::time_page`). What was once written to the register says nothing about it.
///
/// # Errors
/// [`KvmError::Call`] if KVM_GET_MSRS fails or does not know the register.
pub fn time_stamp(vcpu: &VcpuFd) -> Result<u64, KvmError> {
    /// IA32_TIME_STAMP_COUNTER (Intel SDM volume 4, table 2-2).
    const TIME_STAMP_COUNTER: u32 = 0x10;
    let failed =
        || KvmError::Call { call: "KVM_GET_MSRS", source: io::Error::other("no time-stamp counter") };
    let entry = kvm_msr_entry { index: TIME_STAMP_COUNTER, ..Default::default() };
    let mut registers = Msrs::from_entries(&[entry]).map_err(|_| failed())?;
    let read = vcpu.get_msrs(&mut registers).map_err(KvmError::call("KVM_GET_MSRS"))?;
    let first = registers.as_slice().first().filter(|_| read == 1);
    first.map(|register| register.data).ok_or_else(failed)
}

/// The privilege level that the guest was in: its ring.
pub fn ring(vcpu: &VcpuFd) -> u8 {
    // What cannot be asked is taken for the kernel's.
    vcpu.get_sregs().map_or(0, |sregs| sregs.cs.dpl)
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
    sleeps(vcpu) && vcpu.get_regs().is_ok_and(|regs| regs.rflags & INTERRUPTS == 0)
}

/// Whether a vCPU that was called out of the guest waits for an interrupt there.
pub fn sleeps(vcpu: &VcpuFd) -> bool {
    vcpu.get_mp_state().is_ok_and(|state| state.mp_state == KVM_MP_STATE_HALTED)
}

/// Calls a vCPU out of the guest, from any thread. A signal alone is not enough: one that comes just before
/// KVM_RUN is lost. So KVM is told not to enter the guest as well, until [`release`](Self::release).
#[derive(Debug)]
pub struct Kicker {
    /// A mapping of its own of the page that KVM shares with the process: it outlives the vCPU's.
    shared: NonNull<kvm_run>,
    thread: OnceLock<Pid>,
}

// SAFETY: of the page only one byte is accessed, and only atomically; KVM reads it.
unsafe impl Send for Kicker {}
// SAFETY: as above.
unsafe impl Sync for Kicker {}

impl Kicker {
    /// For this vCPU.
    ///
    /// # Errors
    /// The error of mmap.
    pub fn of(vcpu: &VcpuFd) -> io::Result<Self> {
        let protection = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: the descriptor is open while `vcpu` is borrowed; a new mapping at an address of the
        // kernel's choice disturbs no other.
        let page = unsafe {
            let fd = BorrowedFd::borrow_raw(vcpu.as_raw_fd());
            mmap(std::ptr::null_mut(), size_of::<kvm_run>(), protection, MapFlags::SHARED, fd, 0)
        }?;
        let shared = NonNull::new(page.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { shared, thread: OnceLock::new() })
    }

    /// The calling thread is the one that runs the vCPU. Kicks before this only hold it back.
    pub fn adopt_thread(&self) {
        let _ = self.thread.set(gettid());
    }

    /// The number of the thread that runs the vCPU, once it does.
    pub fn thread(&self) -> Option<i32> {
        self.thread.get().map(|thread| thread.as_raw_nonzero().get())
    }

    /// Makes the vCPU leave the guest, and keeps it outside.
    pub fn kick(&self) {
        self.immediate_exit().store(1, Ordering::SeqCst);
        if let Some(thread) = self.thread.get() {
            let (process, thread) = (getpid().as_raw_nonzero().get(), thread.as_raw_nonzero().get());
            // SAFETY: a system call on numbers. If the thread has ended and another one of this process has
            // its number now, that one runs a handler that does nothing.
            unsafe { libc::syscall(libc::SYS_tgkill, process, thread, kick_signal()) };
        }
    }

    /// Lets it enter again. The thread that runs it calls this, then looks what is wanted of it.
    pub fn release(&self) {
        self.immediate_exit().store(0, Ordering::SeqCst);
    }

    fn immediate_exit(&self) -> &AtomicU8 {
        // SAFETY: the field is a byte of a page that stays mapped for as long as `self` is; bytes need no
        // alignment; everybody else who writes it in this process does so through here.
        unsafe { AtomicU8::from_ptr(&raw mut (*self.shared.as_ptr()).immediate_exit) }
    }
}

impl Drop for Kicker {
    fn drop(&mut self) {
        // SAFETY: the mapping is our own, and nothing borrows from it any more.
        let _ = unsafe { munmap(self.shared.as_ptr().cast(), size_of::<kvm_run>()) };
    }
}

/// Sets the floating-point and vector registers.
///
/// # Errors
/// [`KvmError::Call`].
pub fn set_xsave(vcpu: &VcpuFd, xsave: &kvm_xsave) -> Result<(), KvmError> {
    // SAFETY: KVM reads more than these 4096 bytes only for features that a process asks for by
    // arch_prctl(ARCH_REQ_XCOMP_GUEST_PERM), which this one never does.
    unsafe { vcpu.set_xsave(xsave) }.map_err(KvmError::call("KVM_SET_XSAVE"))
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
