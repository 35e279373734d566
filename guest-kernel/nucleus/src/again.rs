//! A panic is not the end of a machine that has no VMM to heal it: ring 3 begins again, from what it was when the machine booted.
//!
//! What ring 3 begins with is in memory still: its code and constants, which nobody can have written, and the boot module. Its
//! variables and the region table are kept in a region that only ring 0 can write; all other memory is taken as it comes by a runtime
//! that starts. So nothing but those two is put back, devices are made ready anew, and ring 3 is entered as at boot.

use crate::alone::Alone;
use crate::devices::{self, Candidates};
use crate::header::{kernel_header, region_table};
use crate::{apic, clocks, end, interrupts, runtime};
use core::cell::OnceCell;
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::RamRange;
use sentient_abi::panic_record::PanicRecord;
use sentient_abi::region::{RegionKind, RegionTable, access};

/// How often a machine begins again before it stands still.
const MOST: u32 = 3;

/// Bytes of the region table, on pages.
const TABLE_LEN: u64 = (size_of::<RegionTable>() as u64).next_multiple_of(PAGE_SIZE);

/// What is kept.
struct Kept {
    /// Ring 3's variables, and where the copies are.
    data: RamRange,
    copy: u64,
    module: RamRange,
    candidates: Candidates,
}

static KEPT: Alone<OnceCell<Kept>> = Alone::new(OnceCell::new());

/// How often it has begun again.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// Ring 3's variables.
fn variables() -> Option<RamRange> {
    let data = kernel_header().segments().find(|segment| segment.kind == RegionKind::RuntimeData as u32)?;
    Some(RamRange { base: data.base, len: data.len })
}

/// Takes memory for what is kept from the largest region that nobody has, before it is mapped. Without any, nothing is kept.
pub fn reserve(table: &mut RegionTable) {
    let Some(needed) = variables().map(|data| data.len + TABLE_LEN) else { return };
    let free = table.regions.iter_mut().filter(|region| region.kind == RegionKind::Unassigned as u32);
    let Some(largest) = free.max_by_key(|region| region.len).filter(|region| region.len > 2 * needed) else {
        return;
    };
    largest.len -= needed;
    let base = largest.base + largest.len;
    // Of no container: that is why it has no owner's number.
    let _ = table.push(RegionKind::Checkpoint, base, needed, access::WRITE);
    if let Some(region) = table.regions.get_mut(table.count as usize - 1) {
        region.owner = u32::MAX;
    }
}

/// Keeps what ring 3 begins with. Called when memory is mapped, and before it begins.
pub fn keep(module: RamRange, candidates: Candidates) {
    let place = runtime::regions().find(RegionKind::Checkpoint).map(|region| (region.base, region.len));
    let Some(data) = variables() else { return };
    let Some((copy, _)) = place.filter(|(_, len)| *len == data.len + TABLE_LEN) else { return };
    // SAFETY: ring 3's variables and the region table are mapped, and so is the region, which is as long as both and nobody's but
    // this module's.
    unsafe {
        core::ptr::copy_nonoverlapping(data.base as *const u8, copy as *mut u8, data.len as usize);
        let table = (copy + data.len) as *mut u8;
        core::ptr::copy_nonoverlapping(region_table().cast::<u8>(), table, size_of::<RegionTable>());
    }
    // It is set once.
    let _ = KEPT.set(Kept { data, copy, module, candidates });
}

/// The region table as ring 3 was given it, if it is kept.
pub fn first_table() -> Option<&'static RegionTable> {
    let Kept { data, copy, .. } = KEPT.get()?;
    // SAFETY: `keep` has put the table there, on a page's boundary, and nobody writes to it any more.
    Some(unsafe { &*((copy + data.len) as *const RegionTable) })
}

/// Begins again after a panic; returns if nothing is kept, or it has begun too often.
pub fn begin(record: &mut PanicRecord) {
    let Some(kept) = KEPT.get() else { return };
    let count = COUNT.load(Relaxed);
    if count >= MOST {
        return;
    }
    COUNT.store(count + 1, Relaxed);
    end::remember(record);
    apic::end_of_interrupt();
    let Kept { data, copy, module, candidates } = kept;
    // SAFETY: as in `keep`, the other way: ring 3 does not run, and begins anew with what is put there.
    unsafe {
        core::ptr::copy_nonoverlapping(*copy as *const u8, data.base as *mut u8, data.len as usize);
        let table = (copy + data.len) as *const u8;
        core::ptr::copy_nonoverlapping(table, region_table().cast::<u8>(), size_of::<RegionTable>());
    }
    clocks::enter();
    quiet();
    start_devices(candidates);
    runtime::enter(*module)
}

/// Nothing that was wanted of interrupts is wanted any more.
fn quiet() {
    interrupts::forget();
    apic::set_timer(0);
}

/// Makes devices ready for drivers that begin anew, as at boot.
pub fn restart_devices() {
    quiet();
    if let Some(kept) = KEPT.get() {
        start_devices(&kept.candidates);
    }
}

/// How often it has begun again.
pub fn count() -> u32 {
    COUNT.load(Relaxed)
}

/// Makes devices ready, with queues that are zero.
pub fn start_devices(candidates: &Candidates) {
    let Some(buffers) = runtime::regions().find(RegionKind::DeviceBuffers) else { return };
    // What a device still writes to its old queues, it has written before it is reset.
    devices::reset(candidates);
    // SAFETY: the region is mapped, and no device and no driver uses it now.
    unsafe { core::ptr::write_bytes(buffers.base as *mut u8, 0, buffers.len as usize) }
    devices::adopt(candidates, buffers.base);
}
