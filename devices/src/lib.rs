//! The device models of a SentientOS machine.
//!
//! The VMM owns one value per device, routes the guest's port and memory accesses to it by number, and
//! gives it what it needs from the outside: an [`Interrupt`] to raise, sinks and sources for bytes,
//! guest memory as a `vm-memory` address space. Nothing here knows KVM, file descriptors, threads or
//! event loops, so every device runs, and is tested, without a virtual machine.
//!
//! * [`lifecycle`]: what every device can do: start, pause, resume, reset, halt, save, restore;
//! * [`interrupt`]: the one way a device gets the guest's attention;
//! * [`serial`]: COM1, for early boot and for guests other than ours;
//! * [`sentinel`]: the ports on which the guest says "ready", "ended" and "panicked";
//! * [`virtio`]: the virtio-mmio transport and the devices behind it ([console](virtio::console) with
//!   the [frames of containers' streams](virtio::stdio_mux), [entropy](virtio::rng),
//!   the [network](virtio::net)).
//!
//! Invariants:
//!
//! 1. The guest is hostile. Whatever it writes to registers, rings and buffers, no call here panics,
//!    and each call does a bounded amount of work: a device that has more to do says so
//!    ([`Progress::Again`](virtio::device::Progress)) instead of going on. A value in guest memory is
//!    read once per use; lengths are checked before anything is allocated.
//! 2. Save and restore are complete. A device restored from [`Lifecycle::save`] goes on as the saved
//!    one would have: no byte is lost and none comes twice, also in the middle of a blocked transfer.
//!    A saved state is untrusted too: restoring checks it, and refuses without having changed anything.
//! 3. A paused device touches neither guest memory nor its backend until it is resumed.
//! 4. Device models never wait. What would block is left in place and taken up again when the owner
//!    says that it can go on.
//! 5. No `unsafe`. Guest memory is only reached through `vm-memory`'s volatile slices, so that dirty
//!    tracking sees every write.

pub mod interrupt;
pub mod lifecycle;
pub mod sentinel;
pub mod serial;
pub mod virtio;

#[cfg(any(test, feature = "fuzzing"))]
pub mod fuzzing;

pub use interrupt::Interrupt;
pub use lifecycle::{Lifecycle, RestoreError};
