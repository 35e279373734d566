//! The CPU time limit, without a single check in compiled code.
//!
//! The one-shot timer is armed for what is left of the budget; while a container stays below it there is
//! no interrupt at all. When it fires and the limit is reached, what happens depends on where the
//! container is:
//!
//! * in its own compiled code: it is left there for good. [`guarded`] returns at once, with the addresses
//!   of the frames for a backtrace. The stack it ran on is never resumed and its memory never reused, so
//!   nothing it borrowed is freed under it;
//! * in the runtime's code on its behalf: a flag is set, and the host function it is in, or the next it
//!   calls, ends it with an ordinary trap; the timer comes back soon in case that takes too long.

use crate::{clock, heartbeat};
use core::arch::naked_asm;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// Budget in nanoseconds; 0 for no limit.
static LIMIT_NS: AtomicU64 = AtomicU64::new(0);
/// CPU time used before `RUNNING_SINCE`, in nanoseconds.
static USED_NS: AtomicU64 = AtomicU64::new(0);
/// Monotonic time the container last got the processor; `NOT_RUNNING` while it waits.
static RUNNING_SINCE: AtomicU64 = AtomicU64::new(NOT_RUNNING);
const NOT_RUNNING: u64 = u64::MAX;
/// Set once the limit is reached.
static EXCEEDED: AtomicBool = AtomicBool::new(false);

static CODE_START: AtomicUsize = AtomicUsize::new(0);
static CODE_END: AtomicUsize = AtomicUsize::new(0);
static STACK_START: AtomicUsize = AtomicUsize::new(0);
static STACK_END: AtomicUsize = AtomicUsize::new(0);

/// How soon the timer looks again when the container is in the runtime's code.
const RETRY_NS: u64 = 1_000_000;

/// Most frames of a backtrace.
pub const MAX_FRAMES: usize = 32;
static FRAMES: [AtomicU64; MAX_FRAMES] = [const { AtomicU64::new(0) }; MAX_FRAMES];

/// Sets the budget of the container with this code and region, and starts its clock.
pub fn start(limit_ns: u64, code: Range<usize>, region: Range<usize>) {
    CODE_START.store(code.start, Relaxed);
    CODE_END.store(code.end, Relaxed);
    STACK_START.store(region.start, Relaxed);
    STACK_END.store(region.end, Relaxed);
    LIMIT_NS.store(limit_ns, Relaxed);
    if limit_ns > 0 || heartbeat::is_wanted() {
        // Not before it is needed: the nucleus checks the addresses, instruction by instruction.
        crate::upcall::start();
    }
    resume();
}

/// CPU time used so far, in nanoseconds.
pub fn used_ns() -> u64 {
    let since = RUNNING_SINCE.load(Relaxed);
    let running = if since == NOT_RUNNING { 0 } else { clock::monotonic_ns().saturating_sub(since) };
    USED_NS.load(Relaxed).saturating_add(running)
}

/// The container waits: its clock stands, and the timer is free for other uses.
pub fn pause() {
    USED_NS.store(used_ns(), Relaxed);
    RUNNING_SINCE.store(NOT_RUNNING, Relaxed);
}

/// The container goes on.
pub fn resume() {
    RUNNING_SINCE.store(clock::monotonic_ns(), Relaxed);
    arm();
}

/// Arms the timer for whatever comes first: the limit, or the next heartbeat.
fn arm() {
    let limit = LIMIT_NS.load(Relaxed);
    let left = if limit > 0 { limit.saturating_sub(used_ns()) } else { u64::MAX };
    let soonest = left.min(heartbeat::due_in_ns());
    if soonest < u64::MAX {
        clock::arm_timer(soonest);
    }
}

/// Whether the limit is reached: host functions ask, and trap.
pub fn is_exceeded() -> bool {
    EXCEEDED.load(Relaxed)
}

/// The timer fired while ring 3 ran at `rip`. Called from the upcall: atomics and the gate only.
pub fn on_timer(rip: u64, frame_pointer: u64) {
    heartbeat::beat_if_due();
    if RUNNING_SINCE.load(Relaxed) == NOT_RUNNING {
        return;
    }
    let limit = LIMIT_NS.load(Relaxed);
    if limit == 0 || used_ns() < limit {
        arm();
        return;
    }
    EXCEEDED.store(true, Relaxed);
    if in_code(rip) && JUMP.load(Relaxed) != 0 {
        note_frames(rip, frame_pointer);
        // SAFETY: `guarded` is active, below on the runtime's own stack, and the code interrupted is the
        // container's: the runtime holds no lock and is in the middle of nothing.
        unsafe { leave() }
    }
    clock::arm_timer(RETRY_NS);
}

/// Addresses within the container's code, innermost frame first, when it was left.
pub fn frames() -> impl Iterator<Item = u64> {
    FRAMES.iter().map(|frame| frame.load(Relaxed)).take_while(|frame| *frame != 0)
}

fn in_code(address: u64) -> bool {
    (CODE_START.load(Relaxed)..CODE_END.load(Relaxed)).contains(&(address as usize))
}

/// Compiled code keeps frame pointers: the caller's at `[rbp]`, the return address at `[rbp + 8]`.
fn note_frames(rip: u64, mut frame_pointer: u64) {
    let mut address = rip;
    for slot in &FRAMES {
        slot.store(address, Relaxed);
        let on_stack = (STACK_START.load(Relaxed)..STACK_END.load(Relaxed).saturating_sub(16))
            .contains(&(frame_pointer as usize));
        if !on_stack || !frame_pointer.is_multiple_of(8) {
            return;
        }
        // SAFETY: checked to lie in the container's region, which is mapped.
        let (caller, back) =
            unsafe { (*(frame_pointer as *const u64), *((frame_pointer + 8) as *const u64)) };
        // Stacks grow down: a caller's frame lies above.
        if !in_code(back) || caller <= frame_pointer {
            return;
        }
        frame_pointer = caller;
        address = back;
    }
}

/// Stack pointer of the active [`guarded`]; 0 for none.
static JUMP: AtomicU64 = AtomicU64::new(0);

/// Runs `body`; `None` if the container was left in its own code.
pub fn guarded<F: FnOnce() -> T, T>(body: F) -> Option<T> {
    struct Call<F, T> {
        body: Option<F>,
        result: Option<T>,
    }
    extern "C" fn run<F: FnOnce() -> T, T>(call: &mut Call<F, T>) {
        if let Some(body) = call.body.take() {
            call.result = Some(body());
        }
    }
    let mut call = Call { body: Some(body), result: None };
    let thread_state = crate::platform::wasmtime_tls_get(0);
    // SAFETY: `enter` calls `run` with the one argument it takes. If it is left by `leave`, `body`'s
    // frames are not unwound: what they own stays allocated for ever, as if they still waited.
    unsafe { enter(JUMP.as_ptr(), run::<F, T> as *const () as u64, (&raw mut call).cast()) };
    // Over, one way or the other: the timer has nothing more to limit.
    JUMP.store(0, Relaxed);
    LIMIT_NS.store(0, Relaxed);
    if call.result.is_none() {
        crate::platform::wasmtime_tls_set(0, thread_state);
    }
    call.result
}

/// Saves what a call must keep, notes the stack pointer at `jump`, and calls `function(argument)`.
#[unsafe(naked)]
unsafe extern "C" fn enter(jump: *mut u64, function: u64, argument: *mut u8) {
    naked_asm!(
        "push rbp",
        "push rbx",
        "push r12",
        "push r13",
        "push r14",
        "push r15",
        "sub rsp, 8",
        "mov [rdi], rsp",
        "mov rdi, rdx",
        "call rsi",
        "jmp {restore}",
        restore = sym restore,
    )
}

#[unsafe(naked)]
unsafe extern "C" fn restore() {
    naked_asm!("add rsp, 8", "pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret")
}

/// Returns from the active [`enter`], from wherever this is.
#[unsafe(naked)]
unsafe extern "C" fn leave() -> ! {
    naked_asm!("mov rsp, [rip + {jump}]", "jmp {restore}", jump = sym JUMP, restore = sym restore)
}
