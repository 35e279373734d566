//! What CPUID tells the guest, and what the host's processor really has.

use super::KvmError;
use kvm_bindings::{CpuId, KVM_MAX_CPUID_ENTRIES};
use kvm_ioctls::{Kvm, VcpuFd};
use sentient_abi::machine_info::cpu;

/// Leaf 1, ECX: x2APIC. KVM emulates it whether or not the host has it.
const X2APIC: u32 = 1 << 21;

/// What guests are told: all that KVM supports.
///
/// # Errors
/// [`KvmError::Call`].
pub fn for_guests(kvm: &Kvm) -> Result<CpuId, KvmError> {
    let mut table =
        kvm.get_supported_cpuid(KVM_MAX_CPUID_ENTRIES).map_err(KvmError::call("KVM_GET_SUPPORTED_CPUID"))?;
    for entry in table.as_mut_slice().iter_mut().filter(|entry| entry.function == 1) {
        entry.ecx |= X2APIC;
    }
    Ok(table)
}

/// Tells a guest.
///
/// # Errors
/// [`KvmError::Call`].
pub fn set(vcpu: &VcpuFd, table: &CpuId) -> Result<(), KvmError> {
    vcpu.set_cpuid2(table).map_err(KvmError::call("KVM_SET_CPUID2"))
}

/// Features of the host's processor that compiled code may use, as bits of [`cpu`].
///
/// Asked of the processor itself: software KVM's CPUID hides them, but ring 3 has them.
#[must_use]
pub fn host_features() -> u64 {
    let v2 = std::is_x86_feature_detected!("sse3")
        && std::is_x86_feature_detected!("ssse3")
        && std::is_x86_feature_detected!("sse4.1")
        && std::is_x86_feature_detected!("sse4.2")
        && std::is_x86_feature_detected!("popcnt")
        && std::is_x86_feature_detected!("cmpxchg16b");
    if v2 { cpu::X86_64_V2 } else { 0 }
}
