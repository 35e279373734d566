//! All that KVM keeps of a stopped machine, and putting it back.
//!
//! What is in here and in guest memory and in the devices is a machine: a snapshot holds no more. The
//! time-stamp counter is left out on purpose: guests take their time from the time page, which is written
//! anew whenever a machine goes on from a snapshot, and a counter that runs on is what hosts without TSC
//! offsetting give in any case.

use super::KvmError;
use super::vm::Vm;
use kvm_bindings::{
    KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, Msrs, kvm_debugregs, kvm_irqchip,
    kvm_lapic_state, kvm_mp_state, kvm_msr_entry, kvm_regs, kvm_sregs, kvm_vcpu_events, kvm_xcrs, kvm_xsave,
};
use kvm_ioctls::VcpuFd;
use serde::de::{Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use std::io;

/// Model-specific registers of the guest (Intel SDM volume 4, table 2-2), beyond those that KVM_GET_SREGS
/// has (EFER, APIC_BASE). A host without one of them does without: a guest of ours uses only the first
/// group, and those every host has.
const MSRS: [u32; 14] = [
    0xc000_0081, // STAR
    0xc000_0082, // LSTAR
    0xc000_0083, // CSTAR
    0xc000_0084, // FMASK
    0xc000_0100, // FS_BASE
    0xc000_0101, // GS_BASE
    0xc000_0102, // KERNEL_GS_BASE
    0x174,       // SYSENTER_CS
    0x175,       // SYSENTER_ESP
    0x176,       // SYSENTER_EIP
    0x277,       // PAT
    0xc000_0103, // TSC_AUX
    0x1a0,       // MISC_ENABLE
    0x2ff,       // MTRR_DEF_TYPE
];

/// A vCPU outside of the guest.
#[derive(Debug, Serialize, Deserialize)]
pub struct VcpuState {
    regs: kvm_regs,
    sregs: kvm_sregs,
    xsave: Box<kvm_xsave>,
    xcrs: Option<kvm_xcrs>,
    debug: kvm_debugregs,
    lapic: Box<kvm_lapic_state>,
    #[serde(deserialize_with = "few_msrs")]
    msrs: Vec<kvm_msr_entry>,
    mp: kvm_mp_state,
    events: kvm_vcpu_events,
}

/// A register in a state that no state of ours has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForeignRegister {
    /// None that a snapshot keeps: it may be one that reaches beyond the guest.
    #[error("the machine's state sets register {0:#x}, which no snapshot keeps; use another snapshot")]
    Unknown(u32),
    /// Set twice.
    #[error("the machine's state sets register {0:#x} twice; use another snapshot")]
    Twice(u32),
}

impl VcpuState {
    /// `Ok` if it sets only what [`read`](Self::read) reads. A state may come from a stranger.
    ///
    /// # Errors
    /// [`ForeignRegister`] by the first other one.
    pub fn check(&self) -> Result<(), ForeignRegister> {
        for (at, msr) in self.msrs.iter().enumerate() {
            if !MSRS.contains(&msr.index) {
                return Err(ForeignRegister::Unknown(msr.index));
            }
            if self.msrs.iter().take(at).any(|before| before.index == msr.index) {
                return Err(ForeignRegister::Twice(msr.index));
            }
        }
        Ok(())
    }

    /// Reads it. The vCPU must have completed its last exit: see [`vcpu::run`](super::vcpu::run).
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn read(vcpu: &VcpuFd) -> Result<Self, KvmError> {
        Ok(Self {
            // First: reading it makes KVM settle what is pending in the interrupt controller.
            mp: vcpu.get_mp_state().map_err(KvmError::call("KVM_GET_MP_STATE"))?,
            regs: vcpu.get_regs().map_err(KvmError::call("KVM_GET_REGS"))?,
            sregs: vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?,
            xsave: Box::new(vcpu.get_xsave().map_err(KvmError::call("KVM_GET_XSAVE"))?),
            // A host without XSAVE has none, and says so by an error.
            xcrs: vcpu.get_xcrs().ok().filter(|xcrs| xcrs.nr_xcrs > 0),
            debug: vcpu.get_debug_regs().map_err(KvmError::call("KVM_GET_DEBUGREGS"))?,
            lapic: Box::new(vcpu.get_lapic().map_err(KvmError::call("KVM_GET_LAPIC"))?),
            msrs: read_msrs(vcpu)?,
            events: vcpu.get_vcpu_events().map_err(KvmError::call("KVM_GET_VCPU_EVENTS"))?,
        })
    }

    /// Puts it back. The order matters: the special registers hold the APIC's mode, which the state of the
    /// APIC and its registers among the MSRs depend on; events come last because others reset them.
    ///
    /// # Errors
    /// [`KvmError::Call`]; the vCPU is then in no defined state.
    pub fn write(&self, vcpu: &VcpuFd) -> Result<(), KvmError> {
        vcpu.set_mp_state(self.mp).map_err(KvmError::call("KVM_SET_MP_STATE"))?;
        vcpu.set_sregs(&self.sregs).map_err(KvmError::call("KVM_SET_SREGS"))?;
        vcpu.set_regs(&self.regs).map_err(KvmError::call("KVM_SET_REGS"))?;
        super::vcpu::set_xsave(vcpu, &self.xsave)?;
        if let Some(xcrs) = &self.xcrs {
            vcpu.set_xcrs(xcrs).map_err(KvmError::call("KVM_SET_XCRS"))?;
        }
        vcpu.set_debug_regs(&self.debug).map_err(KvmError::call("KVM_SET_DEBUGREGS"))?;
        write_msrs(vcpu, &self.msrs)?;
        vcpu.set_lapic(&self.lapic).map_err(KvmError::call("KVM_SET_LAPIC"))?;
        vcpu.set_vcpu_events(&self.events).map_err(KvmError::call("KVM_SET_VCPU_EVENTS"))
    }

    /// The instruction pointer, for messages.
    #[must_use]
    pub fn rip(&self) -> u64 {
        self.regs.rip
    }
}

/// Reads the registers of [`MSRS`] that this host has.
fn read_msrs(vcpu: &VcpuFd) -> Result<Vec<kvm_msr_entry>, KvmError> {
    let mut wanted: Vec<kvm_msr_entry> =
        MSRS.iter().map(|index| kvm_msr_entry { index: *index, ..Default::default() }).collect();
    loop {
        let mut table = msr_table(&wanted)?;
        let done = vcpu.get_msrs(&mut table).map_err(KvmError::call("KVM_GET_MSRS"))?;
        if done >= wanted.len() {
            return Ok(table.as_slice().to_vec());
        }
        // KVM stops at the first register it does not have.
        let missing = wanted.remove(done);
        tracing::debug!(msr = format!("{:#x}", missing.index), "KVM has no such register here");
    }
}

/// `values` are those of a state: at most as many as [`MSRS`].
fn write_msrs(vcpu: &VcpuFd, values: &[kvm_msr_entry]) -> Result<(), KvmError> {
    let mut left = values;
    while !left.is_empty() {
        let done = vcpu.set_msrs(&msr_table(left)?).map_err(KvmError::call("KVM_SET_MSRS"))?;
        // KVM stops at the first register it does not have.
        let Some((refused, rest)) = left.get(done..).and_then(<[kvm_msr_entry]>::split_first) else { break };
        if refused.data != 0 {
            // Written by a host that has it, on one that has not: the guest would find another processor.
            let what = format!("register {:#x} cannot be set to {:#x} here", refused.index, refused.data);
            return Err(KvmError::Call { call: "KVM_SET_MSRS", source: io::Error::other(what) });
        }
        left = rest;
    }
    Ok(())
}

/// Reads as many registers as there are in [`MSRS`] at most: a list of any length is refused where it becomes
/// longer.
fn few_msrs<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<kvm_msr_entry>, D::Error> {
    struct Few;

    impl<'de> Visitor<'de> for Few {
        type Value = Vec<kvm_msr_entry>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "at most {} registers", MSRS.len())
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Self::Value, A::Error> {
            let mut msrs = Vec::with_capacity(MSRS.len());
            while let Some(msr) = sequence.next_element()? {
                if msrs.len() == MSRS.len() {
                    return Err(A::Error::invalid_length(msrs.len() + 1, &self));
                }
                msrs.push(msr);
            }
            Ok(msrs)
        }
    }

    deserializer.deserialize_seq(Few)
}

fn msr_table(entries: &[kvm_msr_entry]) -> Result<Msrs, KvmError> {
    Msrs::from_entries(entries).map_err(|_| KvmError::Call {
        call: "KVM_GET_MSRS",
        source: io::Error::other("the list of registers is too long"),
    })
}

/// The interrupt controllers shared by all vCPUs.
#[derive(Serialize, Deserialize)]
pub struct IrqchipState([kvm_irqchip; 3]);

impl IrqchipState {
    /// Reads them.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn read(vm: &Vm) -> Result<Self, KvmError> {
        Ok(Self([
            vm.irqchip(KVM_IRQCHIP_PIC_MASTER)?,
            vm.irqchip(KVM_IRQCHIP_PIC_SLAVE)?,
            vm.irqchip(KVM_IRQCHIP_IOAPIC)?,
        ]))
    }

    /// Puts them back.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn write(&self, vm: &Vm) -> Result<(), KvmError> {
        self.0.iter().try_for_each(|chip| vm.set_irqchip(chip))
    }
}

impl std::fmt::Debug for IrqchipState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("IrqchipState")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn with(indexes: &[u32]) -> VcpuState {
        let msr = |index: &u32| kvm_msr_entry { index: *index, data: 7, ..Default::default() };
        VcpuState {
            regs: kvm_regs::default(),
            sregs: kvm_sregs::default(),
            xsave: Box::default(),
            xcrs: None,
            debug: kvm_debugregs::default(),
            lapic: Box::default(),
            msrs: indexes.iter().map(msr).collect(),
            mp: kvm_mp_state::default(),
            events: kvm_vcpu_events::default(),
        }
    }

    fn decoded(indexes: &[u32]) -> postcard::Result<VcpuState> {
        postcard::from_bytes(&postcard::to_stdvec(&with(indexes)).unwrap())
    }

    #[test]
    fn a_state_sets_only_registers_that_snapshots_keep_and_each_once() {
        assert_eq!(decoded(&MSRS).unwrap().check(), Ok(()));
        assert_eq!(decoded(&[]).unwrap().check(), Ok(()));
        // MSR_KVM_WALL_CLOCK_NEW: KVM would write to an address that the state names.
        let clock = 0x4b56_4d00;
        assert_eq!(decoded(&[0x174, clock]).unwrap().check(), Err(ForeignRegister::Unknown(clock)));
        assert_eq!(decoded(&[0x174, 0x175, 0x174]).unwrap().check(), Err(ForeignRegister::Twice(0x174)));
    }

    #[test]
    fn a_list_of_more_registers_than_there_are_is_not_read_to_its_end() {
        for len in [MSRS.len() + 1, 256, 1 << 20] {
            assert!(decoded(&vec![0x174; len]).is_err(), "{len} registers");
        }
    }
}
