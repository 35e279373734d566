//! The virtual machine: memory slots, interrupt controllers, event descriptors.

#![expect(unsafe_code, reason = "KVM is given the addresses of guest memory")]

use super::KvmError;
use crate::memory::GuestMemory;
use kvm_bindings::kvm_userspace_memory_region;
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use sentient_devices::Interrupt;
use std::io;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion, GuestRegionMmap};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Three pages that Intel processors without "unrestricted guest" need below 4 GiB, outside of RAM.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine with its memory.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Kept alive for as long as KVM has its addresses: dropped after `fd`.
    _memory: GuestMemory,
}

impl Vm {
    /// Makes a virtual machine over guest memory, with in-kernel interrupt controllers.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn new(kvm: &Kvm, memory: GuestMemory) -> Result<Self, KvmError> {
        let fd = kvm.create_vm().map_err(KvmError::call("KVM_CREATE_VM"))?;
        for (slot, region) in memory.iter().enumerate() {
            set_slot(&fd, slot, region)?;
        }
        fd.set_tss_address(TSS_ADDRESS).map_err(KvmError::call("KVM_SET_TSS_ADDR"))?;
        fd.create_irq_chip().map_err(KvmError::call("KVM_CREATE_IRQCHIP"))?;
        Ok(Self { fd, _memory: memory })
    }

    /// Makes the vCPU.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn create_vcpu(&self) -> Result<VcpuFd, KvmError> {
        self.fd.create_vcpu(0).map_err(KvmError::call("KVM_CREATE_VCPU"))
    }

    /// An interrupt line to a pin of the I/O APIC, edge-triggered.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn interrupt(&self, gsi: u32) -> Result<IrqFd, KvmError> {
        let event =
            EventFd::new(EFD_NONBLOCK).map_err(|source| KvmError::Call { call: "eventfd", source })?;
        self.fd.register_irqfd(&event, gsi).map_err(KvmError::call("KVM_IRQFD"))?;
        Ok(IrqFd(event))
    }

    /// An event descriptor that counts the guest's writes of `value` to a 32-bit register at `address`.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn doorbell(&self, address: u64, value: u32) -> Result<EventFd, KvmError> {
        let event =
            EventFd::new(EFD_NONBLOCK).map_err(|source| KvmError::Call { call: "eventfd", source })?;
        let at = IoEventAddress::Mmio(address);
        self.fd.register_ioevent(&event, &at, value).map_err(KvmError::call("KVM_IOEVENTFD"))?;
        Ok(event)
    }
}

fn set_slot(fd: &VmFd, slot: usize, region: &GuestRegionMmap) -> Result<(), KvmError> {
    let host = region.as_ptr() as u64;
    let description = kvm_userspace_memory_region {
        slot: slot as u32,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: region.len(),
        userspace_addr: host,
        flags: 0,
    };
    // SAFETY: the range is a mapping of ours that `Vm` keeps for as long as the virtual machine exists,
    // and slots do not overlap because regions do not.
    unsafe { fd.set_user_memory_region(description) }.map_err(KvmError::call("KVM_SET_USER_MEMORY_REGION"))
}

/// An interrupt line: a write to its event descriptor is one edge.
#[derive(Debug)]
pub struct IrqFd(EventFd);

impl Interrupt for IrqFd {
    fn raise(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
