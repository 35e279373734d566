//! Snapshots of a running machine: taking them and going back to them, as far as the machine is concerned.
//!
//! [`capture`] stops the guest for as long as it takes to copy the pages written since the last look and the
//! state of vCPU and devices. [`rollback`] stops it for as long as it takes to put back the pages that
//! differ. [`region`] and [`kernel`] put a part of it back: a container, or all but the containers. What pages are called, where they are kept and who may read them is the business of
//! `sentient-snapshot`.

pub mod capture;
pub mod dirty;
pub mod kernel;
pub mod page;
pub mod region;
pub mod regions;
pub mod rollback;

pub use capture::Capture;
pub use page::{MemoryReader, MemoryWriter, PageBytes, PageContents, PageSource};
