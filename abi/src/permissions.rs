//! What a container may do: an entry of its boot module. A container without one may do everything.
//!
//! Layout, little-endian: flags (4 bytes), open files (4), bytes of files (8), bytes of output a second (8), resolution
//! of the wall clock and of the others in nanoseconds (8 each), number of rules (4), then the rules: access (4), length
//! of the path (4), the path.

use crate::bytes::{read_u32, read_u64};

/// Bytes before the rules.
const HEADER_LEN: usize = 44;
/// Least bytes of a rule.
const RULE_LEN: usize = 8;

/// Bits of [`Permissions::flags`].
pub mod permission_flags {
    /// It may have random numbers.
    pub const RANDOM: u32 = 1;
}

/// What may be done with a file or directory, and with all that is below it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FileAccess {
    /// Nothing.
    None = 0,
    /// Read.
    Read = 1,
    /// Read and change.
    Write = 2,
}

/// A checked view of a container's permissions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permissions<'a> {
    /// Bits such as [`RANDOM`](permission_flags::RANDOM).
    pub flags: u32,
    /// Most open files; 0 for the usual number.
    pub open_files: u32,
    /// Most bytes of its files; 0 for as much as there is.
    pub file_bytes: u64,
    /// Most bytes of output a second; 0 for no limit.
    pub output_rate: u64,
    /// How finely it may read the time of day, in nanoseconds; 0 for not at all.
    pub wall_clock_ns: u64,
    /// How finely it may read other clocks, in nanoseconds; 0 for not at all.
    pub monotonic_clock_ns: u64,
    count: u32,
    rules: &'a [u8],
}

impl<'a> Permissions<'a> {
    /// Reads permissions and checks every rule.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let this = Self {
            flags: read_u32(bytes, 0)?,
            open_files: read_u32(bytes, 4)?,
            file_bytes: read_u64(bytes, 8)?,
            output_rate: read_u64(bytes, 16)?,
            wall_clock_ns: read_u64(bytes, 24)?,
            monotonic_clock_ns: read_u64(bytes, 32)?,
            count: read_u32(bytes, 40)?,
            rules: bytes.get(HEADER_LEN..)?,
        };
        let count = this.count as usize;
        let possible = count <= this.rules.len() / RULE_LEN && this.rules().count() == count;
        possible.then_some(this)
    }

    /// The rules about files: paths from `/` on.
    pub fn rules(&self) -> impl Iterator<Item = (FileAccess, &'a [u8])> + use<'a> {
        let mut rest = self.rules;
        (0..self.count).map_while(move |_| {
            let access = match read_u32(rest, 0)? {
                0 => FileAccess::None,
                1 => FileAccess::Read,
                2 => FileAccess::Write,
                _ => return None,
            };
            let end = RULE_LEN.checked_add(read_u32(rest, 4)? as usize)?;
            let path = rest.get(RULE_LEN..end)?;
            rest = rest.get(end..)?;
            Some((access, path))
        })
    }
}

/// Permissions to be encoded; see [`Permissions`] for the fields.
#[cfg(feature = "alloc")]
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `Permissions`")]
pub struct PermissionsSpec {
    pub flags: u32,
    pub open_files: u32,
    pub file_bytes: u64,
    pub output_rate: u64,
    pub wall_clock_ns: u64,
    pub monotonic_clock_ns: u64,
    pub rules: alloc::vec::Vec<(FileAccess, alloc::vec::Vec<u8>)>,
}

#[cfg(feature = "alloc")]
impl PermissionsSpec {
    /// The permissions as bytes; `None` for more rules, or longer ones, than 32 bits can count.
    #[must_use]
    pub fn encode(&self) -> Option<alloc::vec::Vec<u8>> {
        let mut bytes = alloc::vec::Vec::new();
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&self.open_files.to_le_bytes());
        for word in [self.file_bytes, self.output_rate, self.wall_clock_ns, self.monotonic_clock_ns] {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        bytes.extend_from_slice(&u32::try_from(self.rules.len()).ok()?.to_le_bytes());
        for (access, path) in &self.rules {
            bytes.extend_from_slice(&(*access as u32).to_le_bytes());
            bytes.extend_from_slice(&u32::try_from(path.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(path);
        }
        Some(bytes)
    }
}

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use alloc::vec;
    use alloc::vec::Vec;

    fn spec() -> PermissionsSpec {
        PermissionsSpec {
            flags: permission_flags::RANDOM,
            open_files: 7,
            file_bytes: 1 << 20,
            output_rate: 1000,
            wall_clock_ns: 1_000_000,
            monotonic_clock_ns: 0,
            rules: vec![(FileAccess::Read, b"/".to_vec()), (FileAccess::Write, b"/tmp".to_vec())],
        }
    }

    #[test]
    fn permissions_are_read_as_they_were_written() {
        let bytes = spec().encode().unwrap();
        let read = Permissions::parse(&bytes).unwrap();
        assert_eq!((read.flags, read.open_files, read.file_bytes), (1, 7, 1 << 20));
        assert_eq!((read.output_rate, read.wall_clock_ns, read.monotonic_clock_ns), (1000, 1_000_000, 0));
        let rules: Vec<_> = read.rules().collect();
        assert_eq!(rules, [(FileAccess::Read, &b"/"[..]), (FileAccess::Write, b"/tmp")]);
        let none = PermissionsSpec::default().encode().unwrap();
        assert_eq!(Permissions::parse(&none).unwrap().rules().count(), 0);
    }

    #[test]
    fn what_is_cut_short_or_lies_is_refused() {
        let bytes = spec().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Permissions::parse(&bytes[..len]).is_none(), "{len}");
        }
        for (at, value) in [(40, u32::MAX), (40, 3), (44, 3), (48, u32::MAX)] {
            let mut bad = bytes.clone();
            bad[at..at + 4].copy_from_slice(&value.to_le_bytes());
            assert!(Permissions::parse(&bad).is_none(), "{value} at {at}");
        }
    }
}
