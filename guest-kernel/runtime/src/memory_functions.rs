//! The memory functions the compiler calls, for ring 3: SSE for short copies, string instructions for
//! long ones (fast since "enhanced REP MOVSB"; Intel optimisation manual, 3.7.6).

use core::arch::naked_asm;

/// `memcpy` of the C library.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcpy(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 2f",
        "cmp rdx, 256",
        "ja 4f",
        // 16 to 256 bytes: forwards in blocks of 16, the last one from the end.
        "movups xmm1, [rsi + rdx - 16]",
        "lea rcx, [rdi + rdx - 16]",
        "3:",
        "cmp rdi, rcx",
        "jae 5f",
        "movups xmm0, [rsi]",
        "movups [rdi], xmm0",
        "add rsi, 16",
        "add rdi, 16",
        "jmp 3b",
        "5:",
        "movups [rcx], xmm1",
        "ret",
        // Under 16: by halves that overlap.
        "2:",
        "cmp edx, 8",
        "jb 6f",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        "6:",
        "cmp edx, 4",
        "jb 7f",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        "7:",
        "test edx, edx",
        "jz 8f",
        "movzx ecx, byte ptr [rsi]",
        "movzx r8d, byte ptr [rsi + rdx - 1]",
        "mov r9d, edx",
        "shr r9d",
        "movzx r10d, byte ptr [rsi + r9]",
        "mov [rdi], cl",
        "mov [rdi + r9], r10b",
        "mov [rdi + rdx - 1], r8b",
        "8:",
        "ret",
        "4:",
        "mov rcx, rdx",
        "rep movsb",
        "ret"
    )
}

/// `memmove` of the C library.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memmove(to: *mut u8, from: *const u8, len: usize) -> *mut u8 {
    naked_asm!(
        // Forwards is right unless the target starts inside the source.
        "mov r8, rdi",
        "sub r8, rsi",
        "cmp r8, rdx",
        "jae {memcpy}",
        "mov rax, rdi",
        // Backwards in blocks of 16, then bytes.
        "2:",
        "cmp rdx, 16",
        "jb 3f",
        "movups xmm0, [rsi + rdx - 16]",
        "movups [rdi + rdx - 16], xmm0",
        "sub rdx, 16",
        "jmp 2b",
        "3:",
        "test rdx, rdx",
        "jz 4f",
        "movzx ecx, byte ptr [rsi + rdx - 1]",
        "mov [rdi + rdx - 1], cl",
        "dec rdx",
        "jmp 3b",
        "4:",
        "ret",
        memcpy = sym memcpy
    )
}

/// `memset` of the C library.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memset(to: *mut u8, value: i32, len: usize) -> *mut u8 {
    naked_asm!(
        "mov r8, rdi",
        "movzx eax, sil",
        "cmp rdx, 16",
        "jb 2f",
        "cmp rdx, 256",
        "ja 4f",
        "movd xmm0, eax",
        "punpcklbw xmm0, xmm0",
        "pshuflw xmm0, xmm0, 0",
        "punpcklqdq xmm0, xmm0",
        "lea rcx, [rdi + rdx - 16]",
        "3:",
        "cmp rdi, rcx",
        "jae 5f",
        "movups [rdi], xmm0",
        "add rdi, 16",
        "jmp 3b",
        "5:",
        "movups [rcx], xmm0",
        "mov rax, r8",
        "ret",
        "2:",
        "test edx, edx",
        "jz 6f",
        "mov [rdi], al",
        "inc rdi",
        "dec edx",
        "jmp 2b",
        "6:",
        "mov rax, r8",
        "ret",
        "4:",
        "mov rcx, rdx",
        "rep stosb",
        "mov rax, r8",
        "ret"
    )
}

/// `memcmp` of the C library.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn memcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    naked_asm!(
        "2:",
        "cmp rdx, 8",
        "jb 3f",
        "mov rax, [rdi]",
        "mov rcx, [rsi]",
        "cmp rax, rcx",
        "jne 5f",
        "add rdi, 8",
        "add rsi, 8",
        "sub rdx, 8",
        "jmp 2b",
        // Eight bytes differ: the first in memory order decides.
        "5:",
        "bswap rax",
        "bswap rcx",
        "cmp rax, rcx",
        "sbb eax, eax",
        "or eax, 1",
        "ret",
        "3:",
        "test edx, edx",
        "jz 4f",
        "movzx eax, byte ptr [rdi]",
        "movzx ecx, byte ptr [rsi]",
        "sub eax, ecx",
        "jne 6f",
        "inc rdi",
        "inc rsi",
        "dec edx",
        "jmp 3b",
        "4:",
        "xor eax, eax",
        "6:",
        "ret"
    )
}

/// `bcmp` of the C library: LLVM calls it where only equality matters.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn bcmp(a: *const u8, b: *const u8, len: usize) -> i32 {
    naked_asm!("jmp {memcmp}", memcmp = sym memcmp)
}

/// `strlen` of the C library.
#[unsafe(no_mangle)]
#[unsafe(naked)]
unsafe extern "C" fn strlen(text: *const u8) -> usize {
    naked_asm!("xor eax, eax", "2:", "cmp byte ptr [rdi + rax], 0", "je 3f", "inc rax", "jmp 2b", "3:", "ret")
}

/// Named by the precompiled standard libraries; a program that aborts on panic never calls it.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() {}

/// As above.
#[unsafe(no_mangle)]
extern "C" fn _Unwind_Resume() -> ! {
    crate::gate::panic(b"unwinding in a program that aborts on panic")
}
