//! The interrupts' way into the runtime: the nucleus interrupts whatever runs in ring 3 and continues here.
//!
//! The entry saves the whole state of the interrupted code in one piece, as [`Interrupted`], and lets the
//! [`scheduler`](crate::scheduler) look at it. Either that leaves for good, and the state was copied to be gone on
//! with later ([`crate::thread`]), or it returns, and the interrupted code goes on by `iretq`.
//!
//! An interrupt may come at any instruction of this program, so what is called from here touches atomics
//! and the gate alone, and its own thread's state if that was in its compiled code. While the entry's stack is in use,
//! the nucleus keeps further interrupts from it: they may have been the timer's, and the handler may be about to return
//! to compiled code, which looks at no notes, so it has the timer look again.

use crate::{clock, gate, scheduler};
use core::arch::naked_asm;
use sentient_abi::gate::UpcallFrame;

const STACK_LEN: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

static mut STACK: Stack = Stack([0; STACK_LEN]);

/// Registers of interrupted code, as the entry pushes them: the last one lowest.
#[derive(Clone, Copy)]
#[repr(C, align(16))]
pub struct Interrupted {
    /// x87 and SSE, as `fxsave64` writes them.
    pub floating: [u8; 512],
    /// r15 to r8, rdi, rsi, rbp, rbx, rdx, rcx, rax.
    pub registers: [u64; 15],
    /// What `iretq` takes.
    pub frame: UpcallFrame,
}

const _: () = assert!(size_of::<Interrupted>() == 512 + 15 * 8 + 40);

impl Interrupted {
    /// Nothing.
    pub const NONE: Self = Self {
        floating: [0; 512],
        registers: [0; 15],
        frame: UpcallFrame { rip: 0, cs: 0, rflags: 0, rsp: 0, ss: 0 },
    };

    /// rbp, by which compiled code finds its callers.
    pub fn frame_pointer(&self) -> u64 {
        let [.., rbp, _, _, _, _] = self.registers;
        rbp
    }
}

/// Tells the nucleus where to.
pub fn start() {
    let top = (&raw mut STACK) as u64 + STACK_LEN as u64;
    let accepted = gate::set_upcall(entry as *const () as u64, top, clock::timer_ticks(clock::RETRY_NS));
    debug_assert!(accepted, "the nucleus refuses the runtime's own memory");
}

/// Entered with an [`UpcallFrame`] on top of the stack, 8 bytes off a 16-byte boundary, all other registers
/// as the interrupted code has them.
#[unsafe(naked)]
unsafe extern "C" fn entry() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push rbx",
        "push rbp",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 512",
        "fxsave64 [rsp]",
        "cld",
        "mov rdi, rsp",
        "call {handler}",
        "jmp {resume}",
        handler = sym handler,
        resume = sym resume,
    )
}

/// Goes on with an [`Interrupted`] that the stack pointer points to. The stack may be any memory: nothing is
/// written to it.
#[unsafe(naked)]
pub unsafe extern "C" fn resume() -> ! {
    naked_asm!(
        "fxrstor64 [rsp]",
        "add rsp, 512",
        "pop r15",
        "pop r14",
        "pop r13",
        "pop r12",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rbp",
        "pop rbx",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
    )
}

extern "C" fn handler(state: &Interrupted) {
    scheduler::on_interrupt(state);
}
