//! What a dying guest leaves in memory for the VMM to read.
//!
//! The record lies in the nucleus' data, at the address the [kernel header](crate::kernel_header) gives.
//! The nucleus fills it without formatting anything, then writes the reason to the sentinel's panic
//! port. A VMM treats it as guest memory: untrusted, to be read once.

/// Why the guest gave up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Reason {
    /// The runtime panicked; `message` holds its text.
    Runtime = 1,
    /// The nucleus panicked; `message` holds file and position.
    Nucleus = 2,
    /// A processor exception in ring 0.
    ExceptionInNucleus = 3,
    /// A processor exception in the runtime.
    ExceptionInRuntime = 4,
    /// The boot module is absent, damaged, or of another ABI version; `code` holds the version found.
    BootModule = 5,
    /// The memory map leaves no room for the kernel's regions.
    Memory = 6,
    /// A checkpoint on a disk was read once, and not a second time: what was to go on from it is lost; `code` holds its number.
    Disk = 7,
}

impl Reason {
    /// The reason of a value written to the sentinel's panic port.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        match value {
            1 => Some(Self::Runtime),
            2 => Some(Self::Nucleus),
            3 => Some(Self::ExceptionInNucleus),
            4 => Some(Self::ExceptionInRuntime),
            5 => Some(Self::BootModule),
            6 => Some(Self::Memory),
            7 => Some(Self::Disk),
            _ => None,
        }
    }
}

/// Longest message, in bytes; a longer one is cut.
pub const MESSAGE_LEN: usize = 1024;

/// The general-purpose registers, in the order the nucleus saves them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
#[expect(missing_docs, reason = "the fields are the registers of their names")]
pub struct Registers {
    pub r15: u64,
    pub r14: u64,
    pub r13: u64,
    pub r12: u64,
    pub r11: u64,
    pub r10: u64,
    pub r9: u64,
    pub r8: u64,
    pub rbp: u64,
    pub rdi: u64,
    pub rsi: u64,
    pub rdx: u64,
    pub rcx: u64,
    pub rbx: u64,
    pub rax: u64,
}

/// The record.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct PanicRecord {
    /// A [`Reason`], or 0 while there is nothing to tell.
    pub reason: u32,
    /// Exception vector, where the reason is an exception.
    pub vector: u32,
    /// Its error code, or the ABI version found in a refused boot module.
    pub code: u64,
    /// Instruction pointer.
    pub rip: u64,
    /// Code segment selector: its low two bits are the ring.
    pub cs: u64,
    /// Flags.
    pub rflags: u64,
    /// Stack pointer.
    pub rsp: u64,
    /// Stack segment selector.
    pub ss: u64,
    /// Faulting address of a page fault.
    pub cr2: u64,
    /// The rest of the registers.
    pub registers: Registers,
    /// Bytes of `message` in use, at most [`MESSAGE_LEN`].
    pub message_len: u64,
    /// UTF-8, unless the guest is worse off than it knows.
    pub message: [u8; MESSAGE_LEN],
}

/// Bytes of a [`PanicRecord`].
pub const RECORD_LEN: usize = 8 + 7 * 8 + 15 * 8 + 8 + MESSAGE_LEN;

const _: () = assert!(size_of::<Registers>() == 15 * 8);
const _: () = assert!(size_of::<PanicRecord>() == RECORD_LEN);
const _: () = assert!(core::mem::offset_of!(PanicRecord, registers) == 64);
const _: () = assert!(core::mem::offset_of!(PanicRecord, message) == 192);
