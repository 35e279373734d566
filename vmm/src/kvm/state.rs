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
use serde::{Deserialize, Serialize};
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
    msrs: Vec<kvm_msr_entry>,
    mp: kvm_mp_state,
    events: kvm_vcpu_events,
}

impl VcpuState {
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

fn write_msrs(vcpu: &VcpuFd, values: &[kvm_msr_entry]) -> Result<(), KvmError> {
    let mut left = values.to_vec();
    loop {
        let table = msr_table(&left)?;
        let done = vcpu.set_msrs(&table).map_err(KvmError::call("KVM_SET_MSRS"))?;
        if done >= left.len() {
            return Ok(());
        }
        let refused = left.remove(done);
        left.drain(..done);
        if refused.data != 0 {
            // Written by a host that has it, on one that has not: the guest would find another processor.
            let what = format!("register {:#x} cannot be set to {:#x} here", refused.index, refused.data);
            return Err(KvmError::Call { call: "KVM_SET_MSRS", source: io::Error::other(what) });
        }
    }
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
