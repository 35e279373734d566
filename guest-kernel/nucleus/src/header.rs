//! The kernel header: the first page of the image. The image builder fills it in.

use sentient_abi::ABI_VERSION;
use sentient_abi::kernel_header::{KernelHeader, MAGIC, MAX_SEGMENTS, Segment};
use sentient_abi::region::RegionTable;

#[unsafe(no_mangle)]
#[unsafe(link_section = ".header")]
static KERNEL_HEADER: KernelHeader = KernelHeader {
    magic: MAGIC,
    abi_version: ABI_VERSION,
    segment_count: 0,
    runtime_entry: 0,
    panic_record: 0,
    region_table: 0,
    linux64_entry: 0,
    pvh_entry: 0,
    segments: [Segment::NONE; MAX_SEGMENTS],
};

/// The page of the region table: written by the VMM or by [`tables`](crate::tables), then by the runtime.
#[repr(C, align(4096))]
struct SharedPage(core::mem::MaybeUninit<RegionTable>);

#[unsafe(no_mangle)]
#[unsafe(link_section = ".shared")]
static mut REGION_TABLE: SharedPage = SharedPage(core::mem::MaybeUninit::uninit());

/// The header as the image builder left it.
pub fn kernel_header() -> &'static KernelHeader {
    // The builder has changed the static behind the compiler's back: it must not know the contents.
    let header = core::hint::black_box(&raw const KERNEL_HEADER);
    // SAFETY: an initialised static that is never written once the kernel is loaded.
    unsafe { &*header }
}

/// Where the region table lies.
pub fn region_table() -> *mut RegionTable {
    (&raw mut REGION_TABLE).cast()
}
