//! The thread that runs the vCPU.

use super::shared::Events;
use crate::bus::Bus;
use crate::ended::{Ended, PanicReport};
use crate::kvm::KvmError;
use crate::kvm::vcpu::{self, Left};
use crate::memory::GuestMemory;
use kvm_ioctls::VcpuFd;
use sentient_abi::panic_record::{RECORD_LEN, Reason};
use sentient_devices::sentinel::Signal;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};
use vmm_sys_util::signal::Killable;

/// Pause between kicks of a vCPU that is to leave the guest: a kick that comes while it is not in the
/// guest is lost.
const KICK_INTERVAL: Duration = Duration::from_micros(200);

/// The running thread.
pub struct VcpuThread {
    handle: JoinHandle<Result<Option<Ended>, KvmError>>,
    events: Arc<Events>,
}

/// Tells the event loop that the thread ends, however it does.
struct Leaving(Arc<Events>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.vcpu_left();
    }
}

/// What the thread works with.
pub struct Parts {
    /// The vCPU.
    pub vcpu: VcpuFd,
    /// The devices it reaches.
    pub bus: Bus,
    /// News for the event loop.
    pub events: Arc<Events>,
    /// Guest memory, for the panic record.
    pub memory: GuestMemory,
    /// Where the guest leaves its panic record.
    pub panic_record: u64,
}

impl VcpuThread {
    /// Starts it.
    ///
    /// # Errors
    /// The error of the thread's creation.
    pub fn start(parts: Parts) -> io::Result<Self> {
        vcpu::prepare_kicks()?;
        let events = Arc::clone(&parts.events);
        let handle = std::thread::Builder::new().name("vcpu0".into()).spawn(move || {
            // Also when the thread panics: the event loop must not wait for it.
            let _leaving = Leaving(Arc::clone(&parts.events));
            parts.run()
        })?;
        Ok(Self { handle, events })
    }

    /// Kicks the vCPU out of the guest, so that the thread looks around: it may have halted for good.
    pub fn kick(&self) {
        // Fails if the thread has just ended.
        let _ = self.handle.kill(vcpu::kick_signal());
    }

    /// Ends the thread and gives how the guest ended, if it did. `Err(None)` if the thread panicked.
    pub fn stop(self) -> Result<Option<Ended>, Option<KvmError>> {
        self.events.set_stopping();
        while !self.handle.is_finished() {
            self.kick();
            std::thread::sleep(KICK_INTERVAL);
        }
        self.handle.join().map_err(|_| None)?.map_err(Some)
    }
}

impl Parts {
    fn run(mut self) -> Result<Option<Ended>, KvmError> {
        loop {
            if self.events.is_stopping() {
                return Ok(None);
            }
            let left = vcpu::run(&mut self.vcpu, &mut self.bus)?;
            let rip = vcpu::rip(&self.vcpu);
            return Ok(Some(match left {
                Left::Kicked if vcpu::is_halted_for_good(&self.vcpu) => Ended::Halt { rip },
                Left::Kicked => continue,
                Left::Device => self.ended(),
                Left::Shutdown => Ended::TripleFault { rip },
                Left::InternalError(suberror) => Ended::KvmInternal { suberror, rip },
                Left::EntryFailed(reason) => {
                    Ended::UnexpectedExit(format!("entry failed with reason {reason:#x}"))
                }
                Left::Unknown(what) => Ended::UnexpectedExit(what),
            }));
        }
    }

    fn ended(&self) -> Ended {
        match self.events.take_end() {
            Some(Signal::Ended(end)) => Ended::Container(end),
            Some(Signal::Panicked(reason)) => Ended::Panic(self.panic_report(reason)),
            Some(Signal::Violation { port, value }) => {
                Ended::DeviceViolation(format!("it wrote {value:#x} to the sentinel's port {port:#x}"))
            }
            // `Flow::Break` comes with one of the above.
            Some(Signal::Ready | Signal::Heartbeat) | None => Ended::UnexpectedExit("a device".into()),
        }
    }

    fn panic_report(&self, reason: Reason) -> PanicReport {
        let mut record = [0; RECORD_LEN];
        // A record outside of RAM reads as an empty one.
        let _ = self.memory.read_slice(&mut record, GuestAddress(self.panic_record));
        PanicReport::parse(reason, &record)
    }
}
