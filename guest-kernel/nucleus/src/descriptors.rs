//! Segments, the task state, and the first instructions of 64-bit code.

use core::arch::{asm, global_asm};
use sentient_abi::gate::selector::{
    NUCLEUS_CODE, NUCLEUS_DATA, RUNTIME_CODE, RUNTIME_DATA, SLOTS, TASK_STATE,
};

/// Bytes of the nucleus' stack.
const STACK_LEN: usize = 16 << 10;
/// Bytes of each of the stacks of NMI, #DF and #MC, which only ever run the panic path.
const FAULT_STACK_LEN: usize = 4 << 10;

/// Flat 64-bit segments (Intel SDM volume 3, 3.4.5), at the selectors of the gate's module; the slot of
/// 32-bit code in ring 3 is empty, and the last two are the task state's.
static mut SEGMENTS: [u64; SLOTS] = {
    let mut slots = [0; SLOTS];
    slots[NUCLEUS_CODE as usize / 8] = 0x00af_9b00_0000_ffff;
    slots[NUCLEUS_DATA as usize / 8] = 0x00cf_9300_0000_ffff;
    slots[RUNTIME_DATA as usize / 8] = 0x00cf_f300_0000_ffff;
    slots[RUNTIME_CODE as usize / 8] = 0x00af_fb00_0000_ffff;
    slots
};

/// The task state segment (Intel SDM volume 3, 9.7): stacks, and no I/O permission bitmap, so that ring 3
/// has no ports.
#[repr(C, packed(4))]
struct TaskState {
    reserved0: u32,
    ring_stacks: [u64; 3],
    reserved1: u64,
    interrupt_stacks: [u64; 7],
    reserved2: u64,
    reserved3: u16,
    io_map_offset: u16,
}

const TASK_STATE_LEN: usize = size_of::<TaskState>();
const _: () = assert!(TASK_STATE_LEN == 104);

static mut TASK: TaskState = TaskState {
    reserved0: 0,
    ring_stacks: [0; 3],
    reserved1: 0,
    interrupt_stacks: [0; 7],
    reserved2: 0,
    reserved3: 0,
    io_map_offset: TASK_STATE_LEN as u16,
};

#[repr(C, align(16))]
struct Stacks {
    nmi: [u8; FAULT_STACK_LEN],
    double_fault: [u8; FAULT_STACK_LEN],
    machine_check: [u8; FAULT_STACK_LEN],
}

static mut FAULT_STACKS: Stacks = Stacks {
    nmi: [0; FAULT_STACK_LEN],
    double_fault: [0; FAULT_STACK_LEN],
    machine_check: [0; FAULT_STACK_LEN],
};

unsafe extern "C" {
    static nucleus_stack_top: u8;
}

#[repr(C, packed)]
struct TablePointer {
    limit: u16,
    base: u64,
}

/// Top of the stack that gates and interrupts of ring 3 start on.
pub fn stack_top() -> u64 {
    (&raw const nucleus_stack_top) as u64
}

/// Loads segments, task state and interrupt descriptors. Called once, first of all.
pub fn load() {
    let task = (&raw const TASK) as u64;
    let limit = TASK_STATE_LEN as u64 - 1;
    let descriptor = limit | (task & 0x00ff_ffff) << 16 | 0x89 << 40 | (task >> 24 & 0xff) << 56;
    let stacks = &raw const FAULT_STACKS;
    // SAFETY: single-threaded with interrupts off, and nothing else refers to these statics. The stacks
    // are handed to the processor, which alone uses them from here on.
    unsafe {
        let top = |stack: *const [u8; FAULT_STACK_LEN]| stack.add(1) as u64;
        TASK.ring_stacks = [stack_top(), 0, 0];
        TASK.interrupt_stacks[0] = top(&raw const (*stacks).nmi);
        TASK.interrupt_stacks[1] = top(&raw const (*stacks).double_fault);
        TASK.interrupt_stacks[2] = top(&raw const (*stacks).machine_check);
        SEGMENTS[TASK_STATE as usize / 8] = descriptor;
        SEGMENTS[TASK_STATE as usize / 8 + 1] = task >> 32;
    }
    let segments = TablePointer { limit: SLOTS as u16 * 8 - 1, base: (&raw const SEGMENTS) as u64 };
    let vectors = TablePointer { limit: 256 * 16 - 1, base: (&raw const crate::vectors::TABLE) as u64 };
    // SAFETY: the tables live for ever, describe flat segments and existing handlers; the far return
    // reloads the code segment and goes on at the next line.
    unsafe {
        asm!(
            "lgdt [{segments}]",
            "push {code}",
            "lea {scratch}, [rip + 2f]",
            "push {scratch}",
            "retfq",
            "2:",
            "mov ds, {data:e}",
            "mov es, {data:e}",
            "mov ss, {data:e}",
            "lidt [{vectors}]",
            "ltr {task:x}",
            segments = in(reg) &raw const segments,
            vectors = in(reg) &raw const vectors,
            scratch = out(reg) _,
            code = const NUCLEUS_CODE,
            data = in(reg) NUCLEUS_DATA as u32,
            task = in(reg) TASK_STATE,
        );
    }
}

global_asm!(
    r#"
.pushsection .text.boot, "ax", @progbits
.global nucleus_start
nucleus_start:
    lea rsp, [rip + nucleus_stack_top]
    xor ebp, ebp
    call nucleus_main
    ud2
.popsection

.pushsection .bss.stack, "aw", @nobits
    .balign 16
    .skip {stack_len}
.global nucleus_stack_top
nucleus_stack_top:
.popsection
"#,
    stack_len = const STACK_LEN,
);
