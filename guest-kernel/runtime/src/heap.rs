//! Where allocations lie: in the runtime's heap, or in the heap of the container on whose behalf they are made.
//!
//! What a thread allocates, and what is made for its container, comes from the container's own [arena](crate::arena).
//! So all that a container is lies in its own region, and goes with that. What outlives a container is allocated
//! [within the runtime's heap](in_runtime), whoever runs. Memory is given back to where it came from, which its
//! address tells.
//!
//! A container whose heap is full goes on in the runtime's: a failed allocation of wasmtime's would end the machine.
//! What it can fill at will, files and linear memory, is limited to what fits into its own.

use crate::arena::Arena;
use crate::machine::Machine;
use core::alloc::{GlobalAlloc, Layout};
use core::ptr::null_mut;
use core::sync::atomic::{AtomicPtr, AtomicUsize, Ordering::Relaxed};
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::region::RegionKind;
use talc::{ErrOnOom, Span, Talc, Talck};

/// An allocator over memory that it was given.
pub type Heap = Talck<spin::Mutex<()>, ErrOnOom>;

static RUNTIME: Heap = Talc::new(ErrOnOom).lock();
static START: AtomicUsize = AtomicUsize::new(0);
static END: AtomicUsize = AtomicUsize::new(0);

/// The arena that is allocated from; null for the runtime's heap.
static CURRENT: AtomicPtr<Arena> = AtomicPtr::new(null_mut());

/// The arenas there are, by container.
static ARENAS: [AtomicPtr<Arena>; MAX_CONTAINERS as usize] =
    [const { AtomicPtr::new(null_mut()) }; MAX_CONTAINERS as usize];

/// Gives the runtime's heap its region. Before this, every allocation fails.
pub fn claim(machine: &Machine) {
    if let Some(region) = machine.region(RegionKind::Heap) {
        let span = Span::from_base_size(region.base as *mut u8, region.len as usize);
        // SAFETY: the region is mapped, writable, and nothing else lies in it.
        let _ = unsafe { RUNTIME.lock().claim(span) };
        START.store(region.base as usize, Relaxed);
        END.store((region.base + region.len) as usize, Relaxed);
    }
}

/// Makes a container's arena known: memory that came from it goes back there.
pub fn add(container: u32, arena: &'static Arena) {
    if let Some(slot) = ARENAS.get(container as usize) {
        slot.store((&raw const *arena).cast_mut(), Relaxed);
    }
}

/// Forgets a container's arena, of which nothing may be in use any more.
pub fn remove(container: u32) {
    if let Some(slot) = ARENAS.get(container as usize) {
        slot.store(null_mut(), Relaxed);
    }
}

/// A container's arena.
pub fn arena_of(container: u32) -> Option<&'static Arena> {
    let slot = ARENAS.get(container as usize)?;
    // SAFETY: null, or an arena that is there until `remove`.
    unsafe { slot.load(Relaxed).as_ref() }
}

/// Containers of which the VMM has said that what lies in their regions is of no use.
pub fn lost() -> impl Iterator<Item = u32> {
    (0..MAX_CONTAINERS).filter(|container| arena_of(*container).is_some_and(Arena::is_lost))
}

/// The arena that is allocated from.
pub fn current() -> Option<&'static Arena> {
    // SAFETY: null, or an arena that is set for as long as it is there (`within`, `enter`).
    unsafe { CURRENT.load(Relaxed).as_ref() }
}

/// From here on is allocated from this arena; `None` for the runtime's heap. Gives what was before.
pub fn enter(arena: Option<&'static Arena>) -> Option<&'static Arena> {
    let new = arena.map_or(null_mut(), |arena| (&raw const *arena).cast_mut());
    // SAFETY: as for `current`.
    unsafe { CURRENT.swap(new, Relaxed).as_ref() }
}

/// Does something for a container.
pub fn within<R>(arena: &'static Arena, work: impl FnOnce() -> R) -> R {
    let before = enter(Some(arena));
    let result = work();
    enter(before);
    result
}

/// Does something whose allocations stay when the container on whose behalf it is done is gone.
pub fn in_runtime<R>(work: impl FnOnce() -> R) -> R {
    let before = enter(None);
    let result = work();
    enter(before);
    result
}

/// Whose memory this is; `None` for the runtime's.
fn owner(pointer: *mut u8) -> Option<&'static Arena> {
    let address = pointer as usize;
    if (START.load(Relaxed)..END.load(Relaxed)).contains(&address) {
        return None;
    }
    // SAFETY: each is null, or an arena that is there until `remove`.
    let arenas = ARENAS.iter().filter_map(|slot| unsafe { slot.load(Relaxed).as_ref() });
    current().into_iter().chain(arenas).find(|arena| arena.holds(address))
}

#[global_allocator]
static HEAPS: Heaps = Heaps;

struct Heaps;

// SAFETY: each allocator below is one; memory goes back to the one whose range it lies in.
unsafe impl GlobalAlloc for Heaps {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if let Some(arena) = current() {
            // SAFETY: the caller's contract.
            let own = unsafe { arena.heap.alloc(layout) };
            if !own.is_null() {
                return own;
            }
            arena.borrows();
        }
        // SAFETY: the caller's contract.
        unsafe { RUNTIME.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        let heap = owner(pointer).map_or(&RUNTIME, |arena| &arena.heap);
        // SAFETY: the caller's contract; it came from there.
        unsafe { heap.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        let Some(arena) = owner(pointer) else {
            // SAFETY: the caller's contract; what is the runtime's stays the runtime's.
            return unsafe { RUNTIME.realloc(pointer, layout, new_size) };
        };
        // SAFETY: the caller's contract; it came from there.
        let own = unsafe { arena.heap.realloc(pointer, layout, new_size) };
        if !own.is_null() {
            return own;
        }
        arena.borrows();
        // SAFETY: the caller's contract: `new_size` is no length that wraps. Both are there for the length that is
        // copied, and the old one is not used any more.
        unsafe {
            let moved = RUNTIME.alloc(Layout::from_size_align_unchecked(new_size, layout.align()));
            if !moved.is_null() {
                moved.copy_from_nonoverlapping(pointer, layout.size().min(new_size));
                arena.heap.dealloc(pointer, layout);
            }
            moved
        }
    }
}
