//! The vCPU's registers at the kernel's entry points.

use super::KvmError;
use kvm_bindings::{kvm_dtable, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

const CR0_PE: u64 = 1;
const CR0_MP: u64 = 1 << 1;
const CR0_NE: u64 = 1 << 5;
const CR0_WP: u64 = 1 << 16;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const CR4_OSFXSR: u64 = 1 << 9;
const CR4_OSXMMEXCPT: u64 = 1 << 10;
const EFER_SCE: u64 = 1;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;
const EFER_NXE: u64 = 1 << 11;

/// How the vCPU starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Long mode over the page tables at `page_tables`, `rsi` holding `boot_params`.
    Linux64 {
        /// First instruction.
        rip: u64,
        /// Root of the page tables.
        page_tables: u64,
        /// Address of `boot_params`.
        boot_params: u64,
    },
    /// 32-bit protected mode without paging, `ebx` holding `start_info`.
    Pvh {
        /// First instruction.
        eip: u64,
        /// Address of `hvm_start_info`.
        start_info: u64,
    },
}

/// Sets them.
///
/// # Errors
/// [`KvmError::Call`].
pub fn set(vcpu: &VcpuFd, entry: Entry) -> Result<(), KvmError> {
    let mut special = vcpu.get_sregs().map_err(KvmError::call("KVM_GET_SREGS"))?;
    let mut regs = kvm_regs { rflags: 2, ..Default::default() };
    special.idt = kvm_dtable::default();
    special.gdt = kvm_dtable::default();
    match entry {
        Entry::Linux64 { rip, page_tables, boot_params } => {
            // Selectors as Documentation/arch/x86/boot.rst has them: __BOOT_CS and __BOOT_DS.
            special.cs = segment(0x10, Kind::Code64);
            set_data(&mut special, segment(0x18, Kind::Data));
            special.cr0 = CR0_PE | CR0_MP | CR0_NE | CR0_WP | CR0_PG;
            special.cr3 = page_tables;
            special.cr4 = CR4_PAE | CR4_OSFXSR | CR4_OSXMMEXCPT;
            special.efer = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE;
            regs.rip = rip;
            regs.rsi = boot_params;
        }
        Entry::Pvh { eip, start_info } => {
            special.cs = segment(0x08, Kind::Code32);
            set_data(&mut special, segment(0x10, Kind::Data));
            special.cr0 = CR0_PE | CR0_NE;
            special.cr3 = 0;
            special.cr4 = 0;
            special.efer = 0;
            regs.rip = eip;
            regs.rbx = start_info;
        }
    }
    special.tr = kvm_segment { type_: 11, present: 1, limit: 0x67, s: 0, ..Default::default() };
    vcpu.set_sregs(&special).map_err(KvmError::call("KVM_SET_SREGS"))?;
    vcpu.set_regs(&regs).map_err(KvmError::call("KVM_SET_REGS"))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Code64,
    Code32,
    Data,
}

fn segment(selector: u16, kind: Kind) -> kvm_segment {
    kvm_segment {
        base: 0,
        limit: u32::MAX,
        selector,
        // Accessed; readable code or writable data (Intel SDM volume 3, 3.4.5.1).
        type_: if kind == Kind::Data { 3 } else { 11 },
        present: 1,
        dpl: 0,
        db: u8::from(kind != Kind::Code64),
        s: 1,
        l: u8::from(kind == Kind::Code64),
        g: 1,
        avl: 0,
        unusable: 0,
        padding: 0,
    }
}

fn set_data(special: &mut kvm_bindings::kvm_sregs, data: kvm_segment) {
    special.ds = data;
    special.es = data;
    special.ss = data;
    special.fs = data;
    special.gs = data;
}
