//! The record of a snapshot: what it is of, and the hashes from which all of it follows.
//!
//! A record never changes. Its bytes are canonical (borsh, fields in the order below), its id is their
//! SHA3-256, and whoever made it signs the id. Nothing in a record is believed before
//! [`SignedRecord::decode`] has been through it.
//!
//! * [`Record`]: the fields;
//! * [`rules`]: what they may hold;
//! * [`envelope`]: id, key and signature around a record;
//! * [`signed`]: a record in one;
//! * [`trust`]: whose signatures count.

pub mod envelope;
pub mod rules;
pub mod signed;
pub mod trust;

use std::fmt;

use borsh::{BorshDeserialize, BorshSerialize};
use sha3::{Digest, Sha3_256};

use crate::hash::{Hash, hex, parse_hex};
pub use rules::RecordError;
pub use signed::SignedRecord;
pub use trust::Trust;

/// Version of the layout of records and of their envelopes.
pub const FORMAT: u32 = 1;

/// The kind of a range of memory that no region of the guest's table covers: that of a free slot there.
pub const UNOWNED: u32 = 0;

/// SHA3-256 of a record's bytes: what a snapshot is called.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, BorshSerialize, BorshDeserialize)]
pub struct SnapshotId(pub [u8; 32]);

impl SnapshotId {
    /// The id of 64 hexadecimal digits; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        parse_hex(text).map(Self)
    }
}

impl fmt::Display for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for SnapshotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SnapshotId({self})")
    }
}

/// A snapshot's record.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Record {
    /// [`FORMAT`].
    pub format: u32,
    /// The machine it is of.
    pub machine: [u8; 16],
    /// The snapshot before it; `None` for the machine's first.
    pub parent: Option<SnapshotId>,
    /// When it was taken, in nanoseconds since 1970 (UTC).
    pub created_unix_ns: u64,
    /// What its maker says about it; at most [`rules::MAX_MESSAGE`] bytes.
    pub message: String,
    /// Bytes of guest memory: the sum of the regions.
    pub ram: u64,
    /// Digest of the guest kernel.
    pub kernel: [u8; 32],
    /// All of guest memory, by ascending base: the guest's regions, and what lies between them.
    pub regions: Vec<RegionEntry>,
    /// Hash of the vCPUs' and devices' state.
    pub state: Hash,
    /// Its length in bytes.
    pub state_len: u64,
    /// Pages that were written since the parent.
    pub dirty_pages: u64,
    /// Pages that are not zero.
    pub used_pages: u64,
    /// Containers, by ascending index.
    pub containers: Vec<ContainerEntry>,
    /// How far each container's output had got, by ascending container and stream.
    pub outputs: Vec<OutputPosition>,
}

/// A range of guest memory.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct RegionEntry {
    /// The region's name, at most 16 bytes.
    pub name: String,
    /// What it holds, a number of the guest's table; [`UNOWNED`] between regions.
    pub kind: u32,
    /// The container it belongs to, if any does.
    pub owner: u32,
    /// What the guest may do with it, bits of the guest's table.
    pub access: u32,
    /// First guest physical address, page-aligned.
    pub base: u64,
    /// Pages.
    pub pages: u64,
    /// Root of the tree over its pages.
    pub tree_root: Hash,
    /// [`region_root`](crate::tree::region_root) of the fields above.
    pub region_root: Hash,
}

/// A container of the snapshot.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct ContainerEntry {
    /// Its name, at most 128 bytes.
    pub name: String,
    /// Its index in the guest.
    pub index: u32,
    /// Base of its region.
    pub base: u64,
}

/// How much of an output stream had been passed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct OutputPosition {
    /// The container's index.
    pub container: u32,
    /// 1 is standard output, 2 standard error.
    pub stream: u8,
    /// Bytes since the container's start.
    pub bytes: u64,
}

impl Record {
    /// The bytes that are hashed and stored.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        // Writing to memory fails only past 4 Gi elements, which `rules` are far below.
        borsh::to_vec(self).unwrap_or_default()
    }

    /// What the snapshot is called.
    #[must_use]
    pub fn id(&self) -> SnapshotId {
        SnapshotId::of(&self.encode())
    }
}

impl SnapshotId {
    /// The id of a record's bytes.
    #[must_use]
    pub fn of(record: &[u8]) -> Self {
        Self(Sha3_256::digest(record).into())
    }
}
