//! The way into ring 3.

use crate::header::{kernel_header, region_table};
use crate::{end, protect};
use core::arch::asm;
use sentient_abi::gate::selector::{RUNTIME_CODE, RUNTIME_DATA};
use sentient_abi::layout::RamRange;
use sentient_abi::panic_record::Reason;
use sentient_abi::region::{RegionKind, RegionTable, access};

/// Interrupts on, and the bit that is always set.
const FLAGS: u64 = 1 << 9 | 1 << 1;

/// Starts the runtime on its stack, with the boot module's range, the region table's address, and whether
/// the VMM's sentinel device is there.
pub fn enter(module: RamRange) -> ! {
    let regions = regions().regions.as_slice();
    let stack = regions.iter().position(|region| region.kind == RegionKind::RuntimeStack as u32);
    // As `layout::plan` puts them: stack, time page, page tables.
    let Some([stack, _, tables]) = stack.and_then(|at| regions.get(at..)?.first_chunk()) else {
        end::refuse(Reason::Memory, 2)
    };
    if tables.kind != RegionKind::PageTables as u32 {
        end::refuse(Reason::Memory, 3)
    }
    // Noted before ring 3 runs, which may write the table.
    protect::set_pool(tables.base + tables.len);
    let given = [module.base, module.len, region_table() as u64, u64::from(end::under_sentinel())];
    go_on(kernel_header().runtime_entry, stack.base + stack.len, given)
}

/// Has ring 3 go on at `entry` with this stack pointer, and these arguments; with all other registers as they happen to be.
pub fn go_on(entry: u64, stack_pointer: u64, given: [u64; 4]) -> ! {
    let [first, second, third, fourth] = given;
    // SAFETY: ring 3 reaches nothing but what is mapped for it, wherever it goes on; nothing of this stack is used again: gates and
    // interrupts start at its top.
    unsafe {
        asm!(
            "push {data}",
            "push {stack}",
            "push {flags}",
            "push {code}",
            "push {entry}",
            "iretq",
            data = in(reg) u64::from(RUNTIME_DATA),
            stack = in(reg) stack_pointer,
            flags = in(reg) FLAGS,
            code = in(reg) u64::from(RUNTIME_CODE),
            entry = in(reg) entry,
            in("rdi") first,
            in("rsi") second,
            in("rdx") third,
            in("rcx") fourth,
            options(noreturn)
        )
    }
}

/// The region table. The runtime may write its page: what is read here may be nonsense, and is only used
/// to narrow what ring 3 may name.
pub fn regions() -> &'static RegionTable {
    // SAFETY: the page is always mapped, any bytes are a table of integers, and ring 3 does not run while
    // the nucleus does (one processor, interrupts off).
    unsafe { &*region_table() }
}

/// Whether ring 3 may read (and write, if asked) all of a range.
pub fn may_use(base: u64, len: u64, write: bool) -> bool {
    let Some(end) = base.checked_add(len) else { return false };
    let wanted = access::USER | if write { access::WRITE } else { 0 };
    kernel_header().segments().any(|segment| {
        segment.access & wanted == wanted && base >= segment.base && end <= segment.base + segment.len
    }) || regions().iter().any(|region| {
        // Only regions above the kernel count: the table's own word is not taken for the nucleus.
        region.access & wanted == wanted
            && region.base >= sentient_abi::layout::RUNTIME_BASE
            && region.kind != RegionKind::PageTables as u32
            && base >= region.base
            && region.end().is_some_and(|region_end| end <= region_end)
    })
}
