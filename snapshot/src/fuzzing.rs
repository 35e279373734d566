//! Entry points for fuzzing: functions of any bytes, that touch nothing but memory.
//!
//! A target is one line around such a function. What they return is for a corpus to show that it gets far.

use crate::record::{SignedRecord, Trust};
use crate::store::object::{self, Encoding};
use crate::stream::{self, spool::InMemory};
use crate::{PAGE_SIZE, Page};

/// A signed record from anybody, whose key is trusted as far as the bytes themselves go. One that decodes
/// encodes to the same bytes.
#[must_use]
pub fn record(bytes: &[u8]) -> bool {
    let trust = SignedRecord::claimed_key(bytes).map(Trust::only).unwrap_or_default();
    SignedRecord::decode(bytes, &trust).is_ok_and(|record| record.encode() == bytes)
}

/// A stream from anybody. `trust` is whose signatures count: the corpus' maker's.
#[must_use]
pub fn stream(bytes: &[u8], trust: &Trust) -> bool {
    stream::read(bytes, trust, &mut InMemory::default()).is_ok()
}

/// A compressed page.
#[must_use]
pub fn compressed_page(bytes: &[u8]) -> bool {
    let mut page: Page = [0; PAGE_SIZE];
    object::decode_into(Encoding::Lz4, bytes, &mut page).is_ok()
}
