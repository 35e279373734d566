//! The crate as the VMM sees it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

mod damage;
mod golden;
mod guest;
mod kill;
mod maps;
mod mend;
mod own_pages;
mod power;
mod record;
mod sealed;
mod sharing;
mod space;
mod stream;
mod timeline;
mod trees;
