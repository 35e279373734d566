//! What the fields of a record may hold.

use std::fmt::Display;

use borsh::BorshDeserialize;

use super::{FORMAT, Record, UNOWNED};
use crate::page::PAGE_SIZE;
use crate::store::MAX_STATE;
use crate::tree::region_root;

/// Most bytes of a message.
pub const MAX_MESSAGE: usize = 4096;
/// Most regions of the guest's table.
pub const MAX_OWNED: usize = 128;
/// Most ranges between them.
pub const MAX_UNOWNED: usize = 128;
/// Most bytes of a region's name.
pub const MAX_REGION_NAME: usize = 16;
/// Most containers.
pub const MAX_CONTAINERS: usize = 64;
/// Most bytes of a container's name.
pub const MAX_CONTAINER_NAME: usize = 128;
/// Most output positions: three streams for each container.
pub const MAX_OUTPUTS: usize = 192;
/// Most bytes of guest memory: 1 TiB. Bounds the work that a lying record can cause.
pub const MAX_RAM: u64 = 1 << 40;
/// Most bytes of a record. All fields at their longest have about 40 KiB.
pub const MAX_RECORD: usize = 64 << 10;

/// Why a record or its envelope was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a build with another layout.
    #[error(
        "the snapshot record has format {found} and this build reads {FORMAT}; use a build that reads format {found}"
    )]
    Version {
        /// The format found.
        found: u32,
    },
    /// Bytes that are no record.
    #[error("the snapshot record {problem}; it is damaged or cut short: take another copy")]
    Encoding {
        /// What is wrong with them.
        problem: String,
    },
    /// A field that holds what it may not.
    #[error(
        "the snapshot record has {field} = {value}, but {expected}; it is damaged, or not made by this program"
    )]
    Field {
        /// The field.
        field: String,
        /// What it holds.
        value: String,
        /// What it may hold.
        expected: String,
    },
    /// The id is not that of the record.
    #[error("the snapshot is called {claimed} and its record is {found}; it was changed: take another copy")]
    Id {
        /// The id in the envelope.
        claimed: super::SnapshotId,
        /// The id of the bytes.
        found: super::SnapshotId,
    },
    /// The signature is not that of the key.
    #[error("the signature of snapshot {id} is not of the key {key}; it was changed: take another copy")]
    Signature {
        /// The snapshot.
        id: super::SnapshotId,
        /// The public key in the envelope.
        key: String,
    },
    /// The signature is good, and its key is nobody we know.
    #[error(
        "snapshot {id} is signed by the key {key}, which is not trusted; add --trust {key} if it should be"
    )]
    Untrusted {
        /// The snapshot.
        id: super::SnapshotId,
        /// The public key in the envelope.
        key: String,
    },
}

fn field(name: impl Display, value: impl Display, expected: impl Display) -> RecordError {
    RecordError::Field { field: name.to_string(), value: value.to_string(), expected: expected.to_string() }
}

fn at_most(name: impl Display, value: u64, most: u64) -> Result<(), RecordError> {
    if value <= most { Ok(()) } else { Err(field(name, value, format_args!("at most {most} is allowed"))) }
}

impl Record {
    /// The record of these bytes, all of which belong to it.
    ///
    /// # Errors
    ///
    /// [`RecordError::Version`] first, then [`RecordError::Encoding`], then [`RecordError::Field`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let encoding = |problem: String| RecordError::Encoding { problem };
        let Some((format, _)) = bytes.split_first_chunk() else {
            return Err(encoding(format!("has {} bytes", bytes.len())));
        };
        let found = u32::from_le_bytes(*format);
        if found != FORMAT {
            return Err(RecordError::Version { found });
        }
        if bytes.len() > MAX_RECORD {
            return Err(encoding(format!("has {} bytes, more than {MAX_RECORD}", bytes.len())));
        }
        let record =
            Self::try_from_slice(bytes).map_err(|error| encoding(format!("does not decode: {error}")))?;
        if record.encode() != bytes {
            return Err(encoding("is not in its one canonical form".to_owned()));
        }
        record.check()?;
        Ok(record)
    }

    /// `Ok` if every field holds what it may.
    ///
    /// # Errors
    ///
    /// [`RecordError::Field`] by the first that does not.
    pub fn check(&self) -> Result<(), RecordError> {
        if self.format != FORMAT {
            return Err(RecordError::Version { found: self.format });
        }
        at_most("message length", self.message.len() as u64, MAX_MESSAGE as u64)?;
        at_most("ram", self.ram, MAX_RAM)?;
        at_most("state length", self.state_len, MAX_STATE as u64)?;
        self.check_regions()?;
        at_most("dirty pages", self.dirty_pages, self.ram / PAGE_SIZE as u64)?;
        at_most("used pages", self.used_pages, self.ram / PAGE_SIZE as u64)?;
        self.check_containers()
    }

    fn check_regions(&self) -> Result<(), RecordError> {
        let unowned = self.regions.iter().filter(|region| region.kind == UNOWNED).count();
        at_most("number of regions", (self.regions.len() - unowned) as u64, MAX_OWNED as u64)?;
        at_most("number of unowned ranges", unowned as u64, MAX_UNOWNED as u64)?;
        let mut end = 0;
        let mut sum = 0u64;
        for (at, region) in self.regions.iter().enumerate() {
            at_most(
                format_args!("region {at} name length"),
                region.name.len() as u64,
                MAX_REGION_NAME as u64,
            )?;
            if region.base % PAGE_SIZE as u64 != 0 {
                return Err(field(format_args!("region {at} base"), region.base, "it must be page-aligned"));
            }
            if region.base < end {
                let expected = format_args!("the region before it ends at {end}");
                return Err(field(format_args!("region {at} base"), region.base, expected));
            }
            let pages = format_args!("region {at} pages").to_string();
            if region.pages == 0 {
                return Err(field(pages, 0, "a region has at least one"));
            }
            at_most(&pages, region.pages, MAX_RAM / PAGE_SIZE as u64)?;
            let len = region.pages * PAGE_SIZE as u64;
            let Some(after) = region.base.checked_add(len) else {
                return Err(field(pages, region.pages, "the region must end below 2^64"));
            };
            end = after;
            sum += len;
            let root = region_root(region.kind, region.owner, region.base, region.pages, region.tree_root);
            if region.region_root != root {
                let expected = format_args!("its fields give {root}");
                return Err(field(format_args!("region {at} root"), region.region_root, expected));
            }
        }
        if sum != self.ram {
            return Err(field("ram", self.ram, format_args!("the regions have {sum} bytes")));
        }
        Ok(())
    }

    fn check_containers(&self) -> Result<(), RecordError> {
        at_most("number of containers", self.containers.len() as u64, MAX_CONTAINERS as u64)?;
        for (at, container) in self.containers.iter().enumerate() {
            let len = container.name.len() as u64;
            at_most(format_args!("container {at} name length"), len, MAX_CONTAINER_NAME as u64)?;
            if !self.regions.iter().any(|region| region.base == container.base && region.kind != UNOWNED) {
                let name = format_args!("container {at} base").to_string();
                return Err(field(name, container.base, "no region begins there"));
            }
        }
        if let Some([one, two]) = self.containers.array_windows().find(|[one, two]| one.index >= two.index) {
            let expected = format_args!("the one before it is {}", one.index);
            return Err(field("container index", two.index, expected));
        }
        at_most("number of output positions", self.outputs.len() as u64, MAX_OUTPUTS as u64)?;
        if let Some(output) = self.outputs.iter().find(|output| output.stream > 2) {
            return Err(field("output stream", output.stream, "there are streams 0 to 2"));
        }
        let key = |output: &super::OutputPosition| (output.container, output.stream);
        if let Some([one, two]) = self.outputs.array_windows().find(|[one, two]| key(one) >= key(two)) {
            let expected = format_args!("the one before it is {:?}", key(one));
            return Err(field("output position", format_args!("{:?}", key(two)), expected));
        }
        Ok(())
    }
}
