//! What wasmtime asks of its platform.

use core::sync::atomic::{AtomicPtr, Ordering};

/// wasmtime's two words of thread-local storage, as long as a thread does not run.
#[derive(Clone, Copy)]
pub struct ThreadWords([*mut u8; 2]);

impl Default for ThreadWords {
    fn default() -> Self {
        Self([core::ptr::null_mut(); 2])
    }
}

/// Puts a thread's words in place, and gives those that were.
pub fn exchange(words: ThreadWords) -> ThreadWords {
    let mut before = ThreadWords::default();
    for ((slot, new), old) in SLOTS.iter().zip(words.0).zip(&mut before.0) {
        *old = slot.swap(new, Ordering::Relaxed);
    }
    before
}

/// The words of the thread that runs.
static SLOTS: [AtomicPtr<u8>; 2] =
    [AtomicPtr::new(core::ptr::null_mut()), AtomicPtr::new(core::ptr::null_mut())];

/// Reads a word of thread-local storage.
#[unsafe(no_mangle)]
pub extern "C" fn wasmtime_tls_get(slot: usize) -> *mut u8 {
    SLOTS.get(slot).map_or(core::ptr::null_mut(), |word| word.load(Ordering::Relaxed))
}

/// Writes a word of thread-local storage.
#[unsafe(no_mangle)]
pub extern "C" fn wasmtime_tls_set(slot: usize, value: *mut u8) {
    if let Some(word) = SLOTS.get(slot) {
        word.store(value, Ordering::Relaxed);
    }
}
