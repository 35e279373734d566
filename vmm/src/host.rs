//! What the host can do: for `sentctl doctor`, and for messages.

use crate::kvm::{self, KvmError, cpuid};
use kvm_ioctls::Cap;
use sentient_abi::machine_info::cpu;

/// How KVM runs guests here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Virtualisation {
    /// By the processor's virtualisation (VMX or SVM).
    Hardware,
    /// By emulating ring 0: a nested cloud without VMX or SVM.
    Software,
}

/// Facts about the host.
#[derive(Debug)]
pub struct HostFacts {
    /// Whether `/dev/kvm` can be used.
    pub kvm: Result<(), KvmError>,
    /// How, if it can.
    pub virtualisation: Virtualisation,
    /// Extensions this program needs, and whether KVM has them.
    pub capabilities: Vec<(&'static str, bool)>,
    /// Whether the processor has what compiled images use.
    pub x86_64_v2: bool,
    /// The processor's name.
    pub processor: String,
}

const NEEDED: [(&str, Cap); 7] = [
    ("KVM_CAP_USER_MEMORY", Cap::UserMemory),
    ("KVM_CAP_IRQCHIP", Cap::Irqchip),
    ("KVM_CAP_IRQFD", Cap::Irqfd),
    ("KVM_CAP_IOEVENTFD", Cap::Ioeventfd),
    ("KVM_CAP_SET_TSS_ADDR", Cap::SetTssAddr),
    ("KVM_CAP_GET_TSC_KHZ", Cap::GetTscKhz),
    ("KVM_CAP_MP_STATE", Cap::MpState),
];

/// Looks at the host.
#[must_use]
pub fn facts() -> HostFacts {
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim().to_owned())
            .unwrap_or_default()
    };
    let flags = field("flags");
    let virtualised = flags.split_ascii_whitespace().any(|flag| flag == "vmx" || flag == "svm");
    let opened = kvm::open();
    let capabilities = match &opened {
        Ok(kvm) => NEEDED.iter().map(|(name, cap)| (*name, kvm.check_extension(*cap))).collect(),
        Err(_) => Vec::new(),
    };
    HostFacts {
        kvm: opened.map(drop),
        virtualisation: if virtualised { Virtualisation::Hardware } else { Virtualisation::Software },
        capabilities,
        x86_64_v2: cpuid::host_features() & cpu::X86_64_V2 != 0,
        processor: field("model name"),
    }
}

/// What this process has resident, in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residency {
    /// Its own memory: heap, stacks, data. Guest RAM is among it while there is some.
    pub anonymous_kib: u64,
    /// Mapped files: mostly its program, shared with every other process that runs it.
    pub file_kib: u64,
}

/// Reads it; zeros if /proc does not say.
#[must_use]
pub fn residency() -> Residency {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok()).unwrap_or(0)
    };
    Residency { anonymous_kib: field("RssAnon:"), file_kib: field("RssFile:") }
}
