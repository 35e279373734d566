//! A container's own region, and what lies in it.
//!
//! ```text
//! the Arena itself, with the header that the host looks for
//! configuration and files, as the host has sent them
//! linear memory, as far as its limit goes
//! heap: all that is allocated for the container (its thread, store, tables, WASI state, its files)
//! gap
//! stack of its thread
//! ```
//!
//! Nothing of it lies elsewhere but standard input that it has not read, and nothing else lies in it: a container that
//! is [at rest](Arena::rests) can be put back by putting back its region.

use crate::heap::{self, Heap};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use core::ops::Range;
use core::sync::atomic::{
    AtomicU32, AtomicU64, AtomicUsize,
    Ordering::{Relaxed, Release},
};
use sentient_abi::container_header::{AT_REST, ContainerHeader, LOST, MAGIC, RUNS, STATE};
use sentient_abi::region::Region;
use sentient_abi::{PAGE_SIZE, page_align_up};
use sentient_engine::CONTAINER_STACK;
use talc::{ErrOnOom, Span, Talc};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType};

/// Bytes of a thread's stack: compiled code and host functions, and what runs before the first of them.
pub const STACK_LEN: u64 = CONTAINER_STACK as u64 + (128 << 10);

/// Bytes of the heap besides what files may take.
const HEAP_LEN: u64 = 128 << 10;

/// The part of its memory limit that a container's files may take, in addition to it, where nothing else is said: of
/// what that has over [`SMALL`].
const FILES_SHARE: u64 = 4;

/// Memory of a small container, of which there are many, in bytes.
const SMALL: u64 = 2 << 20;

/// Least bytes that a container's files may take, if it was not said that they are fewer.
pub const MIN_FILES: u64 = 64 << 10;

/// Bytes of the gap below the stack. It stands in for a guard page: compiled code checks its stack before every
/// frame, and host functions have [`STACK_LEN`] minus the compiled code's share to themselves.
const GAP: u64 = PAGE_SIZE;

const _: () = assert!(size_of::<Arena>() as u64 <= PAGE_SIZE);

/// What is to have room in a region.
#[derive(Clone, Copy)]
pub struct Needs {
    /// Bytes of configuration and files at its start.
    pub given: u64,
    /// Most bytes of linear memory.
    pub memory: u64,
    /// Bytes for files; `None` for the usual.
    pub files: Option<u64>,
    /// For its [header](sentient_abi::container_header).
    pub life: u64,
}

impl Needs {
    /// Bytes for files.
    pub fn file_bytes(&self) -> u64 {
        self.files.unwrap_or((self.memory.saturating_sub(SMALL) / FILES_SHARE).max(MIN_FILES))
    }

    /// Where in its region what the host sends lies.
    pub const GIVEN: u64 = PAGE_SIZE;

    /// Bytes of the region; `None` if that is no number.
    pub fn region_len(&self) -> Option<u64> {
        let heap = HEAP_LEN.checked_add(page_align_up(self.file_bytes())?)?;
        let below = page_align_up(self.given)?.checked_add(page_align_up(self.memory)?)?.checked_add(heap)?;
        below.checked_add(Self::GIVEN + GAP + STACK_LEN)
    }
}

/// One container's. It lies at the start of the region that it describes.
#[repr(C)]
pub struct Arena {
    header: Header,
    /// What is allocated for the container.
    pub heap: Heap,
    /// Where that lies.
    span: Range<usize>,
    /// Linear memory that was not handed out.
    free_start: AtomicUsize,
    free_end: usize,
    memory_limit: usize,
    /// Nothing was ever written to it.
    zeroed: bool,
    /// Bytes of all linear memories.
    used: AtomicU64,
}

/// A [`ContainerHeader`], of which all but the first two fields change.
#[repr(C)]
struct Header {
    magic: u64,
    life: u64,
    state: AtomicU32,
    borrowed: AtomicU32,
    input: AtomicU64,
    runs: AtomicU64,
}

const _: () = assert!(size_of::<Header>() == size_of::<ContainerHeader>());
const _: () = assert!(core::mem::offset_of!(Header, state) == STATE);
const _: () = assert!(core::mem::offset_of!(Header, runs) == RUNS);

impl Arena {
    /// Makes the arena of a container in its region, and [makes it known](heap::add).
    ///
    /// # Safety
    /// The region must be mapped and writable, be as long as the needs say, and nothing may be in use in it but
    /// what is given. The arena must not be used any more when the region is given back.
    pub unsafe fn new(container: u32, region: &Region, needs: &Needs, zeroed: bool) -> &'static Self {
        let end = region.base + region.len - STACK_LEN - GAP;
        let memory = region.base + Needs::GIVEN + page_align_up(needs.given).unwrap_or(0);
        let heap = memory + page_align_up(needs.memory).unwrap_or(0);
        let place = region.base as *mut Self;
        let arena = Self {
            header: Header {
                magic: MAGIC,
                life: needs.life,
                state: AtomicU32::new(0),
                borrowed: AtomicU32::new(0),
                input: AtomicU64::new(0),
                runs: AtomicU64::new(0),
            },
            heap: Talc::new(ErrOnOom).lock(),
            span: heap as usize..end as usize,
            free_start: AtomicUsize::new(memory as usize),
            free_end: heap as usize,
            memory_limit: usize::try_from(needs.memory).unwrap_or(usize::MAX),
            zeroed,
            used: AtomicU64::new(0),
        };
        // SAFETY: a page of the region that is its own, and the caller's contract.
        let arena: &'static Self = unsafe {
            place.write(arena);
            &*place
        };
        let span = Span::new(heap as *mut u8, end as *mut u8);
        // SAFETY: the caller's contract: nothing else lies there.
        let _ = unsafe { arena.heap.lock().claim(span) };
        heap::add(container, arena);
        arena
    }

    /// Says whether what lies in the region is all of the container now: it was begun, is not being run, and is not to
    /// end.
    pub fn rests(&self, rests: bool) {
        self.header.state.store(if rests { AT_REST } else { 0 }, Relaxed);
        if !rests {
            // In this order, for who looks from outside.
            self.header.runs.fetch_add(1, Release);
        }
    }

    /// Whether all of the container lies in its region, and it was begun, and does not run.
    pub fn is_whole(&self) -> bool {
        self.header.state.load(Relaxed) == AT_REST && self.header.borrowed.load(Relaxed) == 0
    }

    /// Whether it was given memory of the runtime's.
    pub fn has_borrowed(&self) -> bool {
        self.header.borrowed.load(Relaxed) > 0
    }

    /// Whether the VMM has said that what lies in the region is of no use.
    pub fn is_lost(&self) -> bool {
        self.header.state.load(Relaxed) == LOST
    }

    /// It is given memory of the runtime's.
    pub fn borrows(&self) {
        self.header.borrowed.fetch_add(1, Relaxed);
    }

    /// Standard input has come for it, or it has read some.
    pub fn input_moved(&self) {
        self.header.input.fetch_add(1, Relaxed);
    }

    /// Whether an address lies in its heap.
    pub fn holds(&self, address: usize) -> bool {
        self.span.contains(&address)
    }

    /// Bytes of linear memory that are in use.
    pub fn used(&self) -> u64 {
        self.used.load(Relaxed)
    }

    fn take(&self, len: usize) -> Option<usize> {
        let base = self.free_start.load(Relaxed);
        let end = base.checked_add(len).filter(|end| *end <= self.free_end)?;
        self.free_start.store(end, Relaxed);
        Some(base)
    }
}

/// Gives instances the memory of the container that they are of: the one that is [allocated for](heap::current).
pub struct OwnMemory;

impl OwnMemory {
    /// One for an engine.
    pub fn new() -> Arc<Self> {
        Arc::new(Self)
    }
}

// SAFETY: a memory is a range of the region that is handed out once, mapped for the container's life, and
// zero below its size (see `grow_to`). There are no guard pages because the engine's settings ask for
// none: all accesses are checked by code.
unsafe impl MemoryCreator for OwnMemory {
    fn new_memory(
        &self,
        _ty: MemoryType,
        minimum: usize,
        maximum: Option<usize>,
        _reserved: Option<usize>,
        _guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        let Some(arena) = heap::current() else {
            return Err("a memory is made for no container".into());
        };
        let limit = arena.memory_limit;
        let capacity = maximum.unwrap_or(limit).min(limit) & !(PAGE_SIZE as usize - 1);
        if minimum > capacity {
            return Err(alloc::format!(
                "the module starts with {minimum} bytes of memory; the limit is {limit}: raise it with --memory"
            ));
        }
        let Some(base) = arena.take(capacity) else {
            return Err(alloc::format!("no {capacity} bytes left in the container's region"));
        };
        let mut memory = Memory { base, size: 0, capacity, arena };
        memory.grow_to(minimum).map_err(|error| alloc::format!("{error}"))?;
        Ok(Box::new(memory))
    }
}

struct Memory {
    base: usize,
    size: usize,
    capacity: usize,
    arena: &'static Arena,
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
        if !self.arena.zeroed && new_size > self.size {
            // SAFETY: within the range handed out to this memory.
            unsafe { core::ptr::write_bytes((self.base + self.size) as *mut u8, 0, new_size - self.size) }
        }
        self.arena.used.fetch_add(new_size.saturating_sub(self.size) as u64, Relaxed);
        self.size = new_size;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.base as *mut u8
    }
}
