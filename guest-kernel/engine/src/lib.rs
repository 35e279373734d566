//! The one set of wasmtime settings.
//!
//! A compiled image only loads into an engine with the settings it was compiled with; wasmtime compares
//! them. The host's compiler, the native side of the benchmarks and the guest's runtime all start from
//! [`configure`], so they cannot drift apart.
#![no_std]

use core::num::NonZeroUsize;
use wasmtime::Config;

/// Native stack for WebAssembly frames, in bytes. Deep recursion past it is a trap, not a crash.
pub const MAX_WASM_STACK: usize = 512 << 10;

/// Native stack of a container, in bytes: WebAssembly frames and the host functions under them.
pub const CONTAINER_STACK: usize = 640 << 10;

/// Frames of a trap's backtrace.
const MAX_BACKTRACE: Option<NonZeroUsize> = NonZeroUsize::new(20);

/// The target of compiled images.
pub const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Cranelift's names of the processor features images are compiled for: x86-64-v2.
///
/// Stated, not detected: else the features of the machine that compiles leak into the image.
pub const CPU_FLAGS: [&str; 6] =
    ["has_cmpxchg16b", "has_sse3", "has_ssse3", "has_sse41", "has_sse42", "has_popcnt"];

/// Applies the settings that compiler and runtime share.
pub fn configure(config: &mut Config) {
    config
        // The guest has no signals: bounds are checked by code. docs/decisions/0005 has the cost.
        .signals_based_traps(false)
        .memory_reservation(0)
        .memory_guard_size(0)
        // A memory is reserved whole, up to its limit, in its container's region: it grows in place, so
        // compiled code may keep its base address.
        .memory_may_move(false)
        .memory_reservation_for_growth(0)
        .memory_init_cow(false)
        // CPU time is limited by the timer, which needs no check in compiled code: docs/decisions/0004.
        .epoch_interruption(false)
        .consume_fuel(false)
        .max_wasm_stack(MAX_WASM_STACK)
        .async_stack_size(CONTAINER_STACK)
        .wasm_backtrace_max_frames(MAX_BACKTRACE)
        // Nothing in the guest reads native unwind tables.
        .native_unwind_info(false)
        .wasm_memory64(false)
        .wasm_multi_memory(false);
}
