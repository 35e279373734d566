//! The registers of a processor that was stopped.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Registers of a guest's processor.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[expect(missing_docs, reason = "the fields are the registers of their names")]
pub struct Registers {
    pub rax: u64,
    pub rbx: u64,
    pub rcx: u64,
    pub rdx: u64,
    pub rsi: u64,
    pub rdi: u64,
    pub rbp: u64,
    pub rsp: u64,
    pub r8: u64,
    pub r9: u64,
    pub r10: u64,
    pub r11: u64,
    pub r12: u64,
    pub r13: u64,
    pub r14: u64,
    pub r15: u64,
    pub rip: u64,
    pub rflags: u64,
    /// Selector; its low two bits are the ring.
    pub cs: u64,
    /// Selector.
    pub ss: u64,
    pub cr0: u64,
    /// Address of the last page fault.
    pub cr2: u64,
    pub cr3: u64,
    pub cr4: u64,
}

impl Registers {
    /// All of them with their names, in the order in which they are shown: three in a row.
    #[must_use]
    pub const fn named(&self) -> [(&'static str, u64); 24] {
        [
            ("RIP", self.rip),
            ("RSP", self.rsp),
            ("RFLAGS", self.rflags),
            ("RAX", self.rax),
            ("RBX", self.rbx),
            ("RCX", self.rcx),
            ("RDX", self.rdx),
            ("RSI", self.rsi),
            ("RDI", self.rdi),
            ("RBP", self.rbp),
            ("R8", self.r8),
            ("R9", self.r9),
            ("R10", self.r10),
            ("R11", self.r11),
            ("R12", self.r12),
            ("R13", self.r13),
            ("R14", self.r14),
            ("R15", self.r15),
            ("CR0", self.cr0),
            ("CR2", self.cr2),
            ("CR3", self.cr3),
            ("CR4", self.cr4),
            ("CS", self.cs),
            ("SS", self.ss),
        ]
    }
}
