//! How a machine ended.

use sentient_abi::exit::{self, ContainerEnd};
use sentient_abi::panic_record::{MESSAGE_LEN, PanicRecord, RECORD_LEN, Reason};
use std::fmt;
use std::time::Duration;

/// How a machine ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ended {
    /// Its container did.
    Container(ContainerEnd),
    /// The guest kernel panicked.
    Panic(PanicReport),
    /// The guest halted with interrupts off: nothing can wake it.
    Halt {
        /// Where.
        rip: u64,
    },
    /// The guest does not answer.
    Hang {
        /// How much of the processor it has had meanwhile: none, if it has lost what would wake it.
        busy: Duration,
    },
    /// The vCPU triple-faulted.
    TripleFault {
        /// Where, as far as KVM still knows.
        rip: u64,
    },
    /// KVM could not go on with the guest.
    KvmInternal {
        /// KVM's suberror: 1 is an instruction it could not emulate (Linux `KVM_INTERNAL_ERROR_...`).
        suberror: u32,
        /// Where.
        rip: u64,
    },
    /// A page that nobody writes is not what it was.
    Corrupted {
        /// The region.
        region: String,
        /// The page: its address.
        page: u64,
    },
    /// KVM left the guest for a reason this VMM does not serve.
    UnexpectedExit(String),
    /// A thread of the machine's process that works for a device has panicked: a bug of this program's.
    Thread(&'static str),
    /// The guest broke the protocol of a device.
    DeviceViolation(String),
    /// The time was up.
    Timeout,
    /// SIGINT: Ctrl-C.
    Interrupted,
    /// SIGTERM or SIGHUP.
    Terminated,
    /// The reader of standard output has closed it.
    BrokenPipe,
}

/// What a guest's panic record says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PanicReport {
    /// Why.
    pub reason: Reason,
    /// Exception vector.
    pub vector: u32,
    /// Error code of the exception, or the ABI version of a refused boot module.
    pub code: u64,
    /// Where.
    pub rip: u64,
    /// Code segment: its low two bits are the ring.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Address of a page fault.
    pub cr2: u64,
    /// The guest's own words; control characters are replaced.
    pub message: String,
}

impl PanicReport {
    /// Reads a record out of bytes copied from guest memory. The `reason` comes from the panic port: the
    /// record itself may be anything.
    #[must_use]
    pub fn parse(reason: Reason, record: &[u8; RECORD_LEN]) -> Self {
        use sentient_abi::bytes::{read_u32, read_u64};
        use std::mem::offset_of;
        let word = |at: usize| read_u64(record, at).unwrap_or(0);
        let len = usize::try_from(word(offset_of!(PanicRecord, message_len)))
            .unwrap_or(MESSAGE_LEN)
            .min(MESSAGE_LEN);
        let start = offset_of!(PanicRecord, message);
        let message = String::from_utf8_lossy(record.get(start..start + len).unwrap_or(&[]));
        let printable = message.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c });
        Self {
            reason,
            vector: read_u32(record, offset_of!(PanicRecord, vector)).unwrap_or(0),
            code: word(offset_of!(PanicRecord, code)),
            rip: word(offset_of!(PanicRecord, rip)),
            cs: word(offset_of!(PanicRecord, cs)),
            rflags: word(offset_of!(PanicRecord, rflags)),
            rsp: word(offset_of!(PanicRecord, rsp)),
            cr2: word(offset_of!(PanicRecord, cr2)),
            message: printable.collect(),
        }
    }
}

impl Ended {
    /// The process exit code (docs/exit-codes.md).
    #[must_use]
    pub const fn process_code(&self) -> u8 {
        match self {
            Self::Container(end) => end.process_code(),
            Self::Panic(_) | Self::Corrupted { .. } => exit::GUEST_PANIC,
            Self::Halt { .. } | Self::Hang { .. } => exit::GUEST_HALT,
            Self::TripleFault { .. } => exit::TRIPLE_FAULT,
            Self::KvmInternal { .. } | Self::UnexpectedExit(_) | Self::Thread(_) => exit::KVM_INTERNAL,
            Self::DeviceViolation(_) => exit::DEVICE_VIOLATION,
            Self::Timeout => exit::TIMEOUT,
            Self::Interrupted => exit::INTERRUPTED,
            Self::Terminated => exit::TERMINATED,
            Self::BrokenPipe => exit::BROKEN_PIPE,
        }
    }

    /// Whether it is a fault of the guest's: nobody wanted it, and a guest that is put back may go on.
    #[must_use]
    pub const fn is_fault(&self) -> bool {
        match self {
            Self::Panic(_)
            | Self::Halt { .. }
            | Self::Corrupted { .. }
            | Self::Hang { .. }
            | Self::TripleFault { .. }
            | Self::KvmInternal { .. }
            | Self::UnexpectedExit(_)
            | Self::Thread(_)
            | Self::DeviceViolation(_) => true,
            Self::Container(_) | Self::Timeout | Self::Interrupted | Self::Terminated | Self::BrokenPipe => {
                false
            }
        }
    }

    /// A word for programs (`--json`).
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Container(ContainerEnd::Exited(_)) => "exited",
            Self::Container(ContainerEnd::Trapped) => "trapped",
            Self::Container(ContainerEnd::CpuLimit) => "cpu-limit",
            Self::Container(ContainerEnd::Unstartable) => "unstartable",
            Self::Container(ContainerEnd::BadBootModule) => "bad-boot-module",
            Self::Container(ContainerEnd::Killed) => "killed",
            Self::Container(ContainerEnd::Lost) => "lost",
            Self::Panic(_) => "guest-panic",
            Self::Halt { .. } => "guest-halt",
            Self::Hang { .. } => "guest-hang",
            Self::Corrupted { .. } => "corrupted-memory",
            Self::TripleFault { .. } => "triple-fault",
            Self::KvmInternal { .. } => "kvm-internal-error",
            Self::UnexpectedExit(_) => "unexpected-exit",
            Self::Thread(_) => "thread-panic",
            Self::DeviceViolation(_) => "device-violation",
            Self::Timeout => "timeout",
            Self::Interrupted => "interrupted",
            Self::Terminated => "terminated",
            Self::BrokenPipe => "broken-pipe",
        }
    }
}

impl fmt::Display for Ended {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Container(ContainerEnd::Exited(code)) => write!(f, "the container exited with {code}"),
            Self::Container(ContainerEnd::Trapped) => f.write_str("the container trapped"),
            Self::Container(ContainerEnd::CpuLimit) => {
                f.write_str("the container reached its CPU time limit")
            }
            Self::Container(ContainerEnd::Unstartable) => f.write_str("the container could not be started"),
            Self::Container(ContainerEnd::BadBootModule) => {
                f.write_str("the guest found nothing to run in its boot module")
            }
            Self::Container(ContainerEnd::Killed) => f.write_str("the container was killed"),
            Self::Container(ContainerEnd::Lost) => {
                f.write_str("the container was lost when the kernel was put back")
            }
            Self::Panic(report) => write!(f, "the guest kernel panicked: {report}"),
            Self::Halt { rip } => {
                write!(
                    f,
                    "the guest halted for good, with interrupts off, at {rip:#x}, without saying how its container ended"
                )
            }
            Self::Hang { busy } => {
                write!(f, "the guest does not answer, and has computed for {busy:.1?} meanwhile")
            }
            Self::Corrupted { region, page } => {
                write!(f, "the page {page:#x} of {region}, which nobody writes, is not what it was")
            }
            Self::TripleFault { rip } => {
                write!(f, "the guest triple-faulted at {rip:#x}: an exception that it could not handle")
            }
            Self::KvmInternal { suberror, rip } => {
                let what = if *suberror == 1 { "could not emulate an instruction" } else { "failed" };
                write!(f, "KVM {what} at {rip:#x} (internal error, suberror {suberror})")
            }
            Self::UnexpectedExit(what) => {
                write!(f, "KVM left the guest in a way this VMM does not know: {what}")
            }
            Self::Thread(thread) => {
                write!(
                    f,
                    "the machine's {thread} thread has panicked; please report it, with the machine's log"
                )
            }
            Self::DeviceViolation(what) => write!(f, "the guest misused a device: {what}"),
            Self::Timeout => f.write_str("the time was up (--timeout)"),
            Self::Interrupted => f.write_str("interrupted"),
            Self::Terminated => f.write_str("terminated"),
            Self::BrokenPipe => f.write_str("standard output was closed by its reader"),
        }
    }
}

impl fmt::Display for PanicReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.reason {
            Reason::Runtime => f.write_str(&self.message),
            Reason::Nucleus => write!(f, "a panic in ring 0 at {}:{}", self.message, self.code),
            Reason::ExceptionInNucleus | Reason::ExceptionInRuntime => {
                let ring = if self.reason == Reason::ExceptionInNucleus { "ring 0" } else { "the runtime" };
                write!(
                    f,
                    "exception {} (error code {:#x}) in {ring} at {:#x}:{:#x}, flags {:#x}, stack {:#x}",
                    self.vector, self.code, self.cs, self.rip, self.rflags, self.rsp
                )?;
                if self.vector == PAGE_FAULT {
                    write!(f, ", on access to {:#x}", self.cr2)?;
                }
                Ok(())
            }
            Reason::BootModule if self.code != 0 => write!(
                f,
                "its boot module speaks ABI version {}, the kernel another: use the kernel that came with this program",
                self.code
            ),
            Reason::BootModule => f.write_str("its boot module is missing or damaged"),
            Reason::Memory => f.write_str("its memory map leaves no room for its regions"),
            Reason::Disk => f.write_str("a checkpoint on its disk could not be read twice"),
        }
    }
}

const PAGE_FAULT: u32 = 14;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_nonsense_is_reported_and_not_believed() {
        let report = PanicReport::parse(Reason::Runtime, &[0xff; RECORD_LEN]);
        assert_eq!(report.message.chars().count(), MESSAGE_LEN);
        assert!(report.message.chars().all(|c| c == '\u{fffd}'));
    }

    #[test]
    fn a_message_cannot_control_the_terminal() {
        let mut record = [0; RECORD_LEN];
        let start = std::mem::offset_of!(PanicRecord, message);
        record[start..start + 5].copy_from_slice(b"a\x1b[2J");
        record[start - 8] = 5;
        assert_eq!(PanicReport::parse(Reason::Runtime, &record).message, "a\u{fffd}[2J");
    }
}
