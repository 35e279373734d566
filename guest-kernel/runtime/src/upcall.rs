//! The timer's way into the runtime: the nucleus interrupts whatever runs in ring 3 and continues here.
//!
//! The entry saves everything it may change, calls [`cpu_limit::on_timer`], and goes back with `iretq`.
//! An interrupt may come at any instruction of this program, so what is called from here touches atomics
//! and the gate alone.

use crate::cpu_limit;
use crate::gate;
use core::arch::naked_asm;
use sentient_abi::gate::UpcallFrame;

const STACK_LEN: usize = 16 << 10;

#[repr(C, align(16))]
struct Stack([u8; STACK_LEN]);

static mut STACK: Stack = Stack([0; STACK_LEN]);

/// Tells the nucleus where to.
pub fn start() {
    let top = (&raw mut STACK) as u64 + STACK_LEN as u64;
    let accepted = gate::set_upcall(entry as *const () as u64, top);
    debug_assert!(accepted, "the nucleus refuses the runtime's own memory");
}

/// Entered with an [`UpcallFrame`] on top of the stack, all other registers as the interrupted code has
/// them.
#[unsafe(naked)]
unsafe extern "C" fn entry() {
    naked_asm!(
        "push rax",
        "push rcx",
        "push rdx",
        "push rsi",
        "push rdi",
        "push r8",
        "push r9",
        "push r10",
        "push r11",
        "push rbx",
        "mov rbx, rsp",
        "lea rdi, [rsp + 80]", // the frame
        "mov rsi, rbp",
        "sub rsp, 512",
        "and rsp, -16",
        "fxsave64 [rsp]",
        "cld",
        "call {handler}",
        "fxrstor64 [rsp]",
        "mov rsp, rbx",
        "pop rbx",
        "pop r11",
        "pop r10",
        "pop r9",
        "pop r8",
        "pop rdi",
        "pop rsi",
        "pop rdx",
        "pop rcx",
        "pop rax",
        "iretq",
        handler = sym handler,
    )
}

extern "C" fn handler(frame: &UpcallFrame, frame_pointer: u64) {
    cpu_limit::on_timer(frame.rip, frame_pointer);
}
