//! The virtual machine: memory slots, interrupt controllers, event descriptors.

#![expect(unsafe_code, reason = "KVM is given the addresses of guest memory")]

use super::KvmError;
use super::slots::{self, Slot};
use crate::memory::{GuestMemory, RamRegion};
use kvm_bindings::{KVM_MEM_LOG_DIRTY_PAGES, kvm_irqchip, kvm_userspace_memory_region};
use kvm_ioctls::{IoEventAddress, Kvm, VcpuFd, VmFd};
use sentient_abi::PAGE_SIZE;
use sentient_devices::Interrupt;
use std::io;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vm_memory::{Address, GuestMemoryBackend, GuestMemoryRegion};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// All addresses: of a guest that is given all of its memory at once.
pub const ALL: Range<u64> = 0..u64::MAX;

/// Three pages that Intel processors without "unrestricted guest" need below 4 GiB, outside of RAM.
const TSS_ADDRESS: usize = 0xfffb_d000;

/// A virtual machine with its memory.
#[derive(Debug)]
pub struct Vm {
    fd: VmFd,
    /// Kept alive for as long as KVM has its addresses: dropped after `fd`.
    memory: GuestMemory,
    flags: u32,
    /// All of the memory.
    slots: Mutex<Vec<Slot>>,
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

    /// Gives it guest memory and in-kernel interrupt controllers: of the memory, the ranges of addresses `in_use` for
    /// now.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn with(self, memory: GuestMemory, log: DirtyLog, in_use: &[Range<u64>]) -> Result<Vm, KvmError> {
        let Self(fd) = self;
        let flags = if log == DirtyLog::On { KVM_MEM_LOG_DIRTY_PAGES } else { 0 };
        let (slots, first) = slots::plan(&memory, in_use);
        let vm = Vm { fd, memory, flags, slots: Mutex::new(slots) };
        vm.give(&mut vm.slots(), first)?;
        vm.fd.set_tss_address(TSS_ADDRESS).map_err(KvmError::call("KVM_SET_TSS_ADDR"))?;
        vm.fd.create_irq_chip().map_err(KvmError::call("KVM_CREATE_IRQCHIP"))?;
        Ok(vm)
    }
}

impl Vm {
    /// Gives the guest what it has not got of its memory; whether that was anything. The first time, this waits for
    /// some milliseconds: see [`kvm`](super).
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn give_all(&self) -> Result<bool, KvmError> {
        let mut slots = self.slots();
        let all = slots.len();
        self.give(&mut slots, all)
    }

    /// Gives the first `count` slots, as far as they are not given; whether any were not.
    fn give(&self, slots: &mut [Slot], count: usize) -> Result<bool, KvmError> {
        let mut any = false;
        for (number, slot) in slots.iter_mut().enumerate().take(count).filter(|(_, slot)| !slot.given) {
            self.set_slot(number, slot, slot.len())?;
            slot.given = true;
            any = true;
        }
        Ok(any)
    }

    /// The pages of a piece of RAM, by its position, that the guest, or KVM for it, has written since the last call: a
    /// bit for each, the lowest first.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn take_dirty_log(&self, ram: usize, region: &RamRegion) -> Result<Vec<u64>, KvmError> {
        let slots = self.slots();
        let mut log = vec![0; (region.len() / PAGE_SIZE).div_ceil(64) as usize];
        for (number, slot) in slots.iter().enumerate().filter(|(_, slot)| slot.ram == ram && slot.given) {
            let written = self.fd.get_dirty_log(number as u32, slot.len() as usize);
            let written = written.map_err(KvmError::call("KVM_GET_DIRTY_LOG"))?;
            if slot.len() == region.len() {
                return Ok(written);
            }
            // Parts begin at large pages, and so at whole words.
            let first = (slot.part.start / PAGE_SIZE / 64) as usize;
            for (word, written) in log.iter_mut().skip(first).zip(written) {
                *word = written;
            }
        }
        Ok(log)
    }

    /// Makes KVM forget all translations it has derived from guest page tables, by taking some memory away
    /// and giving it back: on a KVM without nested paging nothing else does, and the guest would go on with
    /// the old ones where the host has written page tables. Whichever slot goes, KVM forgets those of all
    /// (`KVM_X86_QUIRK_SLOT_ZAP_ALL`, Documentation/virt/kvm/api.rst in Linux); the smallest costs least. Costs 0.1 ms,
    /// and a fault for each page the guest then uses. No vCPU may be in the guest.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn forget_translations(&self) -> Result<(), KvmError> {
        let slots = self.slots();
        let given = slots.iter().enumerate().filter(|(_, slot)| slot.given);
        let Some((number, slot)) = given.min_by_key(|(_, slot)| slot.len()) else { return Ok(()) };
        self.set_slot(number, slot, 0)?;
        self.set_slot(number, slot, slot.len())
    }

    fn slots(&self) -> MutexGuard<'_, Vec<Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a slot to the first `len` bytes of its part; 0 deletes it.
    fn set_slot(&self, number: usize, slot: &Slot, len: u64) -> Result<(), KvmError> {
        let Some(region) = self.memory.iter().nth(slot.ram) else { return Ok(()) };
        let description = kvm_userspace_memory_region {
            slot: number as u32,
            guest_phys_addr: region.start_addr().raw_value() + slot.part.start,
            memory_size: len,
            userspace_addr: region.as_ptr() as u64 + slot.part.start,
            flags: self.flags,
        };
        // SAFETY: the range is a part of a mapping of ours that `self` keeps for as long as the virtual machine exists,
        // and slots do not overlap because parts do not.
        unsafe { self.fd.set_user_memory_region(description) }
            .map_err(KvmError::call("KVM_SET_USER_MEMORY_REGION"))
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

/// An interrupt line: a write to its event descriptor is one edge.
#[derive(Debug)]
pub struct IrqFd(EventFd);

impl Interrupt for IrqFd {
    fn raise(&self) -> io::Result<()> {
        self.0.write(1)
    }
}
