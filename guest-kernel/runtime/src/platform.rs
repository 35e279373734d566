//! What wasmtime asks of its platform.

use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicPtr, Ordering};
use wasmtime::CustomCodeMemory;

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

/// Code that whoever made the page tables has mapped executable and not writable already.
pub struct MappedCode {
    executable: Range<usize>,
}

impl MappedCode {
    /// Code in this range of addresses.
    pub fn new(executable: Range<usize>) -> Arc<Self> {
        Arc::new(Self { executable })
    }
}

impl CustomCodeMemory for MappedCode {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, code: *const u8, len: usize) -> wasmtime::Result<()> {
        let start = code as usize;
        if start < self.executable.start || start.saturating_add(len) > self.executable.end {
            wasmtime::bail!(
                "the image has its code at {start:#x} (+{len:#x}), but the boot module says {:#x?}",
                self.executable
            );
        }
        Ok(())
    }

    fn unpublish_executable(&self, _code: *const u8, _len: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}
