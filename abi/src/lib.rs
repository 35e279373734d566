//! What the host and the guest of SentientOS must agree on, and nothing else.
//!
//! The VMM, the image builder, the nucleus (ring 0) and the runtime (ring 3) all build against this
//! crate; it is the only code they share. It holds:
//!
//! * [`kernel_header`]: the first page of the kernel image, which tells a loader what it loads;
//! * [`boot_module`]: the file handed to the kernel at boot (machine facts, containers, images);
//! * [`region`]: the table of named page ranges that the whole product is said in;
//! * [`layout`]: where those regions lie for a given amount of memory, and the page tables over them;
//! * [`gate`]: the calls from the runtime to the nucleus;
//! * [`sentinel`]: the port device through which the guest says "ready", "ended" and "panicked";
//! * [`panic_record`]: what it leaves behind in the last case;
//! * [`stdio`]: the frames that carry containers' standard streams over the virtio console;
//! * `container_files` (with the feature `alloc`): what the host asks of a container's files;
//! * `volumes` (with the feature `alloc`): what the guest asks of folders of the host;
//! * [`mounts`]: folders of the host that a container is given;
//! * [`network`]: the addresses and frames of the network between containers and the host;
//! * [`found`]: devices of machines that have no VMM of ours;
//! * `measure` (with the feature of that name): what a medium boots, as one value;
//! * [`time_page`]: what the VMM tells the guest of time, and of a new life;
//! * [`exit`]: how a container ended, and the exit codes of `sentctl`.
//!
//! Invariants:
//!
//! 1. Every shared struct is `repr(C)`, free of implicit padding, and its size and offsets are asserted
//!    at compile time. All integers are little-endian.
//! 2. Any change to a layout, a number or a meaning raises [`ABI_VERSION`]. Both sides check it: the VMM
//!    before it starts the guest, the nucleus before it trusts the boot module.
//! 3. Decoding never panics and never trusts a length: bytes come from the other side.
//! 4. The crate compiles for a ring 0 without SSE: no formatting, no floating point, no allocation
//!    outside the `alloc` feature.
#![no_std]

#[cfg(feature = "alloc")]
extern crate alloc;

pub mod boot_module;
pub mod bytes;
#[cfg(feature = "alloc")]
pub mod container_files;
pub mod container_header;
#[cfg(feature = "alloc")]
mod entries;
pub mod exit;
pub mod found;
pub mod gate;
pub mod image_files;
pub mod kept;
pub mod kernel_header;
pub mod layout;
pub mod machine_info;
#[cfg(feature = "measure")]
pub mod measure;
pub mod mounts;
pub mod network;
pub mod paging;
pub mod panic_record;
pub mod permissions;
pub mod region;
pub mod screen;
pub mod sentinel;
pub mod stdio;
pub mod time_page;
#[cfg(feature = "alloc")]
pub mod volumes;

/// Version of everything in this crate. A VMM and a guest of different versions refuse each other.
pub const ABI_VERSION: u32 = 13;

/// Size of a page, in bytes: the unit of regions, dirty tracking and hashing.
pub const PAGE_SIZE: u64 = 4096;

/// Size of a large page, in bytes: one entry of a page directory.
pub const LARGE_PAGE_SIZE: u64 = 2 << 20;

/// Most containers of a machine at a time; their indexes lie below it.
pub const MAX_CONTAINERS: u32 = 64;

/// Rounds `bytes` up to whole pages; `None` if that leaves 64 bits.
#[must_use]
pub const fn page_align_up(bytes: u64) -> Option<u64> {
    match bytes.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(sum & !(PAGE_SIZE - 1)),
        None => None,
    }
}
