//! Snapshots of a machine: what its memory was, kept by contents, signed, and put in order.
//!
//! The VMM is the caller. It hands over pages, regions and an opaque state, and gets back hashes, records
//! and pages; nothing here knows KVM, vCPUs, devices or guest memory as such. From the bottom up:
//!
//! * [`page`], [`hash`](mod@hash): 4096-byte pages and what stands for them;
//! * [`tree`]: a region's pages as a Merkle tree that is never changed, only copied where it differs;
//! * [`layout`], [`memory_map`]: all of guest memory as such trees, one for each region and gap;
//! * [`sealed`]: databases whose every block is checked;
//! * [`store`]: pages, tree nodes and states, each once, for all machines that share a folder;
//! * [`record`], [`keys`]: what a snapshot is, in a few KiB that somebody has signed;
//! * [`timeline`]: a machine's snapshots by ancestry and by name;
//! * [`capture`]: from dirty pages to a stored snapshot;
//! * [`own_pages`]: what each of several snapshots has for itself;
//! * [`stream`]: a snapshot as one file, to and from elsewhere;
//! * [`verify`](mod@verify): whether a stored snapshot is still what its record says.
//!
//! A snapshot is taken in this order: [`capture::Capture::commit`], [`capture::Commit::store`],
//! [`record::SignedRecord::sign`], [`timeline::Timeline::add`]. It is removed the other way round:
//! [`timeline::Timeline::remove`], then [`store::Store::remove`]. A process that dies in between leaves a
//! root in the store that no timeline claims; [`timeline::Timeline::unclaimed`] finds those.
//!
//! Invariants:
//!
//! 1. Files are untrusted input. Every object is checked against the hash by which it was asked for, and
//!    the hashes follow from a signed record, before a byte of it is returned. Lengths are checked before
//!    anything is allocated. A file that lies is an error that names the object; it is no panic.
//!    `index.redb` and `timeline.redb` are redb's to parse, which may panic over a file that was changed
//!    behind its back: so it gets no block of them that is not what it wrote there ([`sealed`]).
//! 2. A snapshot is there whole, or not at all: whatever instant a process is killed at, and wherever the
//!    disk is full.
//! 3. Every page of guest memory is in exactly one tree. Pages of zeros cost nothing.
//! 4. What a snapshot costs follows from what changed: in hashing, in space, and in comparing.
//! 5. No `unsafe`.

pub mod capture;
pub mod fuzzing;
pub mod hash;
pub mod keys;
pub mod layout;
pub mod memory_map;
pub mod own_pages;
pub mod page;
pub mod record;
pub mod sealed;
pub mod store;
pub mod stream;
pub mod timeline;
pub mod tree;
pub mod verify;

pub use hash::{Hash, PageHash};
pub use memory_map::MemoryMap;
pub use page::{PAGE_SIZE, Page};
pub use record::{Record, SignedRecord, SnapshotId, Trust};
pub use store::{Store, StoreError};
pub use timeline::{Timeline, TimelineError};
