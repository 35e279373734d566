//! Interrupts: acknowledged, noted for `Idle`, and handed to ring 3 if they come while it runs.
//!
//! The whole path is assembly because its length is what preemption costs on software KVM: about thirty
//! instructions. It changes no register of the interrupted code; the runtime's upcall handler saves what
//! it uses, natively.

use crate::apic::{END_OF_INTERRUPT, TIMER_INITIAL};
use core::arch::global_asm;
use core::sync::atomic::{AtomicU64, Ordering};
use sentient_abi::gate::{WOKEN_BY_DEVICE, WOKEN_BY_TIMER};

/// Vector of the local APIC's timer.
pub const TIMER_VECTOR: u8 = 0x20;
/// Vector of device interrupt 0 (a pin of the I/O APIC); the others follow.
pub const DEVICE_VECTORS: u8 = 0x30;
/// Vector of the messages of devices on PCI, behind those of the pins.
pub const MESSAGE_VECTOR: u8 = 0x60;
/// Vector of spurious interrupts, which are not acknowledged (Intel SDM volume 3, 12.9).
pub const SPURIOUS_VECTOR: u8 = 0xff;

/// Bytes below the top of the upcall stack within which an interrupted stack pointer means that an upcall
/// was interrupted.
pub const UPCALL_STACK_LEN: u64 = 16 << 10;

/// What has come since the last `Idle`: bits of the gate's `WOKEN_BY_...`.
#[unsafe(no_mangle)]
static WAKEUPS: AtomicU64 = AtomicU64::new(0);
/// Where interrupts of ring 3 continue; 0 for nowhere.
#[unsafe(no_mangle)]
static UPCALL_ENTRY: AtomicU64 = AtomicU64::new(0);
/// Top of the stack they continue on.
#[unsafe(no_mangle)]
static UPCALL_STACK: AtomicU64 = AtomicU64::new(0);
/// What the timer is set to by an interrupt of an upcall, in its ticks.
#[unsafe(no_mangle)]
static UPCALL_RETRY: AtomicU64 = AtomicU64::new(0);
/// Address of the local APIC's registers where there is no x2APIC; 0 where there is.
#[unsafe(no_mangle)]
static APIC_REGISTERS: AtomicU64 = AtomicU64::new(0);

/// Takes the wakeups noted so far.
pub fn take_wakeups() -> u64 {
    // Interrupts are off: no need for an atomic exchange.
    let noted = WAKEUPS.load(Ordering::Relaxed);
    WAKEUPS.store(0, Ordering::Relaxed);
    noted
}

/// Lets interrupts of ring 3 continue at `entry` on the stack below `stack_top`, and those that come while one does
/// come again after `retry` ticks of the timer.
pub fn set_upcall(entry: u64, stack_top: u64, retry: u32) {
    UPCALL_STACK.store(stack_top, Ordering::Relaxed);
    UPCALL_RETRY.store(u64::from(retry), Ordering::Relaxed);
    UPCALL_ENTRY.store(entry, Ordering::Relaxed);
}

/// Nothing has come, and interrupts of ring 3 continue nowhere.
pub fn forget() {
    UPCALL_ENTRY.store(0, Ordering::Relaxed);
    take_wakeups();
}

/// Reaches the local APIC by its registers in memory instead of the x2APIC's.
pub fn set_apic_registers(address: u64) {
    APIC_REGISTERS.store(address, Ordering::Relaxed);
}

unsafe extern "C" {
    fn idle();
}

/// Waits until something has come since the last time; gives what.
pub fn wait() -> u64 {
    loop {
        let noted = take_wakeups();
        if noted != 0 {
            return noted;
        }
        // SAFETY: keeps all registers, and returns with interrupts off.
        unsafe { idle() }
    }
}

global_asm!(
    r#"
.pushsection .text, "ax", @progbits
# On the stack: vector, then what the processor pushed: rip, cs, rflags, rsp, ss.
interrupt:
    push rax
    push rcx
    push rdx
    mov eax, [rsp + 24]
    cmp al, {spurious}
    je 5f

    mov rdx, [APIC_REGISTERS]
    test rdx, rdx
    jnz 1f
    xor eax, eax
    mov ecx, 0x800 + {end_of_interrupt}
    wrmsr                               # rdx is 0
    jmp 2f
1:  mov dword ptr [rdx + 16 * {end_of_interrupt}], 0
2:  mov ecx, {woken_by_device}
    mov edx, {woken_by_timer}
    cmp byte ptr [rsp + 24], {timer}
    cmove ecx, edx
    or [WAKEUPS], rcx
    test byte ptr [rsp + 40], 3         # from ring 3?
    jnz 3f
    # Ring 0 is only ever interrupted in `idle`. On software KVM that may be between `sti` and `hlt`,
    # against the architecture: then the sleep must not begin.
    mov qword ptr [rsp + 32], offset idle_over
    jmp 5f
3:  mov rcx, [UPCALL_ENTRY]
    test rcx, rcx
    jz 5f

    mov rdx, [UPCALL_STACK]
    mov rax, rdx
    sub rax, [rsp + 56]                 # how far below the top the interrupted stack is
    cmp rax, {upcall_stack_len}
    jb 4f
    # The upcall frame goes on top of its stack.
    and rdx, -16
    sub rdx, 40
    mov rax, [rsp + 32]
    mov [rdx], rax
    mov rax, [rsp + 40]
    mov [rdx + 8], rax
    mov rax, [rsp + 48]
    mov [rdx + 16], rax
    mov rax, [rsp + 56]
    mov [rdx + 24], rax
    mov rax, [rsp + 64]
    mov [rdx + 32], rax
    mov [rsp + 32], rcx                 # continue at the upcall's entry
    mov [rsp + 56], rdx
5:  pop rdx
    pop rcx
    pop rax
    add rsp, 8
    iretq

    # An upcall is running. It goes on: another one below it would never end on a machine that is held up for
    # longer than the timer takes. What came may be what it has just looked for, so the timer looks again.
4:  mov eax, dword ptr [UPCALL_RETRY]
    mov rdx, [APIC_REGISTERS]
    test rdx, rdx
    jnz 6f
    mov ecx, 0x800 + {timer_initial}
    wrmsr                               # rdx is 0
    jmp 5b
6:  mov dword ptr [rdx + 16 * {timer_initial}], eax
    jmp 5b

idle:
    sti
    hlt
idle_over:
    cli
    ret
.popsection
"#,
    spurious = const SPURIOUS_VECTOR as i8,
    end_of_interrupt = const END_OF_INTERRUPT,
    timer_initial = const TIMER_INITIAL,
    timer = const TIMER_VECTOR,
    woken_by_timer = const WOKEN_BY_TIMER,
    woken_by_device = const WOKEN_BY_DEVICE,
    upcall_stack_len = const UPCALL_STACK_LEN,
);
