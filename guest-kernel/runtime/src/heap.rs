//! The runtime's heap: one region, one allocator.

use crate::machine::Machine;
use sentient_abi::region::RegionKind;
use talc::{ErrOnOom, Span, Talc, Talck};

#[global_allocator]
static HEAP: Talck<spin::Mutex<()>, ErrOnOom> = Talc::new(ErrOnOom).lock();

/// Gives the heap its region. Before this, every allocation fails.
pub fn claim(machine: &Machine) {
    if let Some(region) = machine.region(RegionKind::Heap) {
        let span = Span::from_base_size(region.base as *mut u8, region.len as usize);
        // SAFETY: the region is mapped, writable, and nothing else lies in it.
        let _ = unsafe { HEAP.lock().claim(span) };
    }
}
