//! The 256 vectors, and the interrupt descriptor table over them.
//!
//! Every vector has a 16-byte stub at `VECTORS + 16 * vector`, an address fixed by the linker script, so
//! that the descriptor table is a constant of the image and costs no instruction at boot (principle 1).

use core::arch::global_asm;
use sentient_abi::gate::VECTOR as GATE_VECTOR;
use sentient_abi::gate::selector::NUCLEUS_CODE;

/// Where the stubs lie: at the start of the text, which the linker script puts at this address.
pub const VECTORS: u64 = 0x10_2000;

/// Interrupt stack table slots for the vectors that must not trust the current stack.
const NMI_STACK: u64 = 1;
const DOUBLE_FAULT_STACK: u64 = 2;
const MACHINE_CHECK_STACK: u64 = 3;

/// A descriptor: two words (Intel SDM volume 3, 7.14.1).
type Descriptor = [u64; 2];

const fn descriptor(vector: u64) -> Descriptor {
    let handler = VECTORS + 16 * vector;
    let stack = match vector {
        2 => NMI_STACK,
        8 => DOUBLE_FAULT_STACK,
        18 => MACHINE_CHECK_STACK,
        _ => 0,
    };
    // Present, 64-bit interrupt gate: interrupts go off (principle 5). Ring 3 may use the gate's alone.
    let kind = if vector == GATE_VECTOR as u64 { 0xee00 } else { 0x8e00 };
    let low = (handler & 0xffff)
        | (NUCLEUS_CODE as u64) << 16
        | stack << 32
        | kind << 32
        | (handler >> 16 & 0xffff) << 48;
    [low, handler >> 32]
}

const fn all() -> [Descriptor; 256] {
    let mut table = [[0; 2]; 256];
    let mut vector = 0;
    while vector < 256 {
        table[vector] = descriptor(vector as u64);
        vector += 1;
    }
    table
}

/// The interrupt descriptor table.
pub static TABLE: [Descriptor; 256] = all();

global_asm!(
    r#"
.pushsection .text.vectors, "ax", @progbits
    .balign 4096
.global vector_stubs
vector_stubs:
    .set vector, 0
    .rept 32
    .balign 16
    # 8, 10-14, 17, 21, 29 and 30 push an error code.
    .if vector == {gate}
    jmp gate_entry
    .else
    .if !((vector == 8) || (vector >= 10 && vector <= 14) || (vector == 17) || (vector == 21) || (vector == 29) || (vector == 30))
    push 0
    .endif
    push vector
    jmp exception
    .endif
    .set vector, vector + 1
    .endr
    .rept 224
    .balign 16
    push vector
    jmp interrupt
    .set vector, vector + 1
    .endr
    .balign 16

# An exception: nothing goes on after one. The registers in the order of panic_record::Registers.
exception:
    push rax
    push rbx
    push rcx
    push rdx
    push rsi
    push rdi
    push rbp
    push r8
    push r9
    push r10
    push r11
    push r12
    push r13
    push r14
    push r15
    cld
    mov rdi, rsp
    and rsp, -16
    call exception_entry
    ud2
.popsection
"#,
    gate = const GATE_VECTOR,
);
