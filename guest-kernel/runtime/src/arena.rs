//! A container's own region: its linear memory and its thread's stack lie in it, and nothing of its
//! neighbours.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use sentient_abi::region::Region;
use sentient_abi::{LARGE_PAGE_SIZE, PAGE_SIZE};
use sentient_engine::CONTAINER_STACK;
use spin::Mutex;
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Bytes of a thread's stack: compiled code and host functions, and what runs before the first of them.
pub const STACK_LEN: u64 = CONTAINER_STACK as u64 + (128 << 10);

/// Bytes of the region besides the linear memory's limit: the stack, and a gap below it.
///
/// The gap stands in for a guard page: compiled code checks its stack before every frame, and host
/// functions have [`STACK_LEN`] minus the compiled code's share to themselves.
pub const OVERHEAD: u64 = STACK_LEN + PAGE_SIZE;

/// Bytes of the region for a container with this memory limit; `None` if that is no number.
pub fn region_len(memory_limit: u64) -> Option<u64> {
    memory_limit.checked_add(OVERHEAD)?.checked_next_multiple_of(LARGE_PAGE_SIZE)
}

/// Hands out the region below the stack.
pub struct Arena {
    free: Mutex<Range<u64>>,
    memory_limit: u64,
    zeroed: bool,
    /// Bytes of all linear memories.
    used: Arc<AtomicU64>,
}

impl Arena {
    /// An arena over a region, whose end is the stack. `zeroed` says that nothing was ever written to it.
    pub fn new(region: &Region, memory_limit: u64, zeroed: bool) -> Self {
        let free = Mutex::new(region.base..region.base + region.len - OVERHEAD);
        Self { free, memory_limit, zeroed, used: Arc::default() }
    }

    /// Bytes of linear memory that are in use, now and later.
    pub fn used(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.used)
    }

    fn take(&self, len: u64) -> Option<u64> {
        let mut free = self.free.lock();
        let base = free.start;
        let end = base.checked_add(len)?;
        if end > free.end {
            return None;
        }
        free.start = end;
        Some(base)
    }
}

// SAFETY: a memory is a range of the region that is handed out once, mapped for the container's life, and
// zero below its size (see `grow_to`). There are no guard pages because the engine's settings ask for
// none: all accesses are checked by code.
unsafe impl MemoryCreator for Arena {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        _reserved: Option<usize>,
        _guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let limit = usize::try_from(self.memory_limit).unwrap_or(usize::MAX);
        let capacity = maximum.unwrap_or(limit).min(limit) & !(PAGE_SIZE as usize - 1);
        if minimum > capacity {
            return Err(alloc::format!(
                "the module starts with {minimum} bytes of memory; the limit is {limit}: raise it with --memory"
            ));
        }
        let Some(base) = self.take(capacity as u64) else {
            return Err(alloc::format!("no {capacity} bytes left in the container's region"));
        };
        let mut memory =
            Memory { base: base as usize, size: 0, capacity, zeroed: self.zeroed, used: self.used() };
        memory.grow_to(minimum).map_err(|error| alloc::format!("{error}"))?;
        Ok(Box::new(memory))
    }
}

struct Memory {
    base: usize,
    size: usize,
    capacity: usize,
    zeroed: bool,
    used: Arc<AtomicU64>,
}

// SAFETY: see `MemoryCreator` above; the base never changes and growing stays within the capacity.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.size
    }

    fn byte_capacity(&self) -> usize {
        self.capacity
    }

    fn grow_to(&mut self, new_size: usize) -> wasmtime::Result<()> {
        if new_size > self.capacity {
            wasmtime::bail!("memory cannot grow to {new_size} bytes: its limit is {}", self.capacity);
        }
        if !self.zeroed && new_size > self.size {
            // SAFETY: within the range handed out to this memory.
            unsafe { core::ptr::write_bytes((self.base + self.size) as *mut u8, 0, new_size - self.size) }
        }
        self.used.fetch_add(new_size.saturating_sub(self.size) as u64, Relaxed);
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base as *mut u8
    }
}
