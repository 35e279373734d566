//! The virtual machine: memory slots, interrupt controllers, event descriptors.

#![expect(unsafe_code, reason = "KVM is given the addresses of guest memory")]

use super::KvmError;
use crate::memory::{GuestMemory, RamRegion};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_irqchip, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use sentient_devices::Interrupt;
use std::io;
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// Three pages that Intel processors without "unrestricted guest" need below 4 GiB, outside of RAM.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine with its memory.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Kept alive for as long as KVM has its addresses: dropped after `fd`.
    memory: GuestMemory,
    flags: u32,
}

/// Whether KVM notes which pages the guest writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DirtyLog {
    /// It does: the machine can be snapshot. The first write to a page after a look at the log costs a
    /// fault.
    On,
    /// It does not.
    Off,
}

/// A virtual machine without anything in it.
#[derive(Debug)]
pub struct EmptyVm(VmFd);

impl EmptyVm {
    /// Makes one.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn new(kvm: &Kvm) -> Result<Self, KvmError> {
        loop {
            // KVM gives up where it makes a thread of its own and a signal has come, whoever handles that.
            match kvm.create_vm() {
                Err(error) if error.errno() == libc::EINTR => {}
                made => return made.map(Self).map_err(KvmError::call("KVM_CREATE_VM")),
            }
        }
    }

    /// Gives it guest memory and in-kernel interrupt controllers.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn with(self, memory: GuestMemory, log: DirtyLog) -> Result<Vm, KvmError> {
        let Self(fd) = self;
        let flags = if log == DirtyLog::On { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        for (slot, region) in memory.iter().enumerate() {
            set_slot(&fd, slot, region, region.len(), flags)?;
        }
        fd.set_tss_address(TSS_ADDRESS).map_err(KvmError::call("KVM_SET_TSS_ADDR"))?;
        fd.create_irq_chip().map_err(KvmError::call("KVM_CREATE_IRQCHIP"))?;
        Ok(Vm { fd, memory, flags })
    }
}

impl Vm {
    /// The pages of a slot that the guest, or KVM for it, has written since the last call: a bit for each,
    /// the lowest first. Slots are the regions of guest memory, in order.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn take_dirty_log(&self, slot: usize, region: &RamRegion) -> Result<Vec<u64>, KvmError> {
        let len = region.len() as usize;
        self.fd.get_dirty_log(slot as u32, len).map_err(KvmError::call("KVM_GET_DIRTY_LOG"))
    }

    /// Makes KVM forget all translations it has derived from guest page tables, by taking the memory away
    /// and giving it back: on a KVM without nested paging nothing else does, and the guest would go on with
    /// the old ones where the host has written page tables. Costs 0.1 ms, and a fault for each page the
    /// guest then uses. No vCPU may be in the guest.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn forget_translations(&self) -> Result<(), KvmError> {
        for (slot, region) in self.memory.iter().enumerate() {
            set_slot(&self.fd, slot, region, 0, 0)?;
            set_slot(&self.fd, slot, region, region.len(), self.flags)?;
        }
        Ok(())
    }

    /// An interrupt controller's state, by its number (`KVM_IRQCHIP_...`).
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn irqchip(&self, chip_id: u32) -> Result<kvm_irqchip, KvmError> {
        let mut chip = kvm_irqchip { chip_id, ..Default::default() };
        self.fd.get_irqchip(&mut chip).map_err(KvmError::call("KVM_GET_IRQCHIP"))?;
        Ok(chip)
    }

    /// Sets one.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn set_irqchip(&self, chip: &kvm_irqchip) -> Result<(), KvmError> {
        self.fd.set_irqchip(chip).map_err(KvmError::call("KVM_SET_IRQCHIP"))
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

/// Sets a slot to the first `len` bytes of a region; 0 deletes it.
fn set_slot(fd: &VmFd, slot: usize, region: &RamRegion, len: u64, flags: u32) -> Result<(), KvmError> {
    let description = kvm_userspace_memory_region {
        slot: slot as u32,
        guest_phys_addr: region.start_addr().raw_value(),
        memory_size: len.min(region.len()),
        userspace_addr: region.as_ptr() as u64,
        flags,
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
