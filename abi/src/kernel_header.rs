//! The first page of the kernel image: what a loader needs to know of it.
//!
//! The kernel is two programs (nucleus and runtime) merged into one ELF by the image builder, which
//! fills this page from their program headers. It lies at [`NUCLEUS_BASE`](crate::layout::NUCLEUS_BASE),
//! so that the VMM finds it in the file and the nucleus in memory.

/// First field of a header: `"SENTKERN"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SENTKERN");

/// Most segments of a kernel image.
pub const MAX_SEGMENTS: usize = 12;

/// One loadable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Segment {
    /// First address (virtual and physical), page-aligned.
    pub base: u64,
    /// Length in memory, bytes, whole pages.
    pub len: u64,
    /// A [`RegionKind`](crate::region::RegionKind).
    pub kind: u32,
    /// Bits of [`access`](crate::region::access).
    pub access: u32,
}

/// The header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct KernelHeader {
    /// [`MAGIC`].
    pub magic: u64,
    /// [`ABI_VERSION`](crate::ABI_VERSION) the kernel was built with.
    pub abi_version: u32,
    /// Entries of `segments` in use.
    pub segment_count: u32,
    /// Where the runtime starts, in ring 3.
    pub runtime_entry: u64,
    /// Address of the [`PanicRecord`](crate::panic_record::PanicRecord).
    pub panic_record: u64,
    /// Address of the page with the [`RegionTable`](crate::region::RegionTable).
    pub region_table: u64,
    /// Entry by the Linux 64-bit boot protocol; also the ELF entry point.
    pub linux64_entry: u64,
    /// Entry by PVH, in 32-bit protected mode; also in the ELF note.
    pub pvh_entry: u64,
    /// The segments, ascending, not overlapping.
    pub segments: [Segment; MAX_SEGMENTS],
}

impl Segment {
    /// No segment.
    pub const NONE: Self = Self { base: 0, len: 0, kind: 0, access: 0 };
}

impl KernelHeader {
    /// Reads a header from the first bytes of the image; `None` if they are too few.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        use crate::bytes::{read_u32, read_u64};
        let mut segments = [Segment::NONE; MAX_SEGMENTS];
        for (index, segment) in segments.iter_mut().enumerate() {
            let at = SEGMENTS_AT + index * size_of::<Segment>();
            *segment = Segment {
                base: read_u64(bytes, at)?,
                len: read_u64(bytes, at + 8)?,
                kind: read_u32(bytes, at + 16)?,
                access: read_u32(bytes, at + 20)?,
            };
        }
        Some(Self {
            magic: read_u64(bytes, 0)?,
            abi_version: read_u32(bytes, 8)?,
            segment_count: read_u32(bytes, 12)?,
            runtime_entry: read_u64(bytes, 16)?,
            panic_record: read_u64(bytes, 24)?,
            region_table: read_u64(bytes, 32)?,
            linux64_entry: read_u64(bytes, 40)?,
            pvh_entry: read_u64(bytes, 48)?,
            segments,
        })
    }

    /// Writes the header over the first bytes of the image; `None` if they are too few.
    #[must_use]
    pub fn write(&self, bytes: &mut [u8]) -> Option<()> {
        use crate::bytes::{write_u32, write_u64};
        write_u64(bytes, 0, self.magic)?;
        write_u32(bytes, 8, self.abi_version)?;
        write_u32(bytes, 12, self.segment_count)?;
        write_u64(bytes, 16, self.runtime_entry)?;
        write_u64(bytes, 24, self.panic_record)?;
        write_u64(bytes, 32, self.region_table)?;
        write_u64(bytes, 40, self.linux64_entry)?;
        write_u64(bytes, 48, self.pvh_entry)?;
        for (index, segment) in self.segments.iter().enumerate() {
            let at = SEGMENTS_AT + index * size_of::<Segment>();
            write_u64(bytes, at, segment.base)?;
            write_u64(bytes, at + 8, segment.len)?;
            write_u32(bytes, at + 16, segment.kind)?;
            write_u32(bytes, at + 20, segment.access)?;
        }
        Some(())
    }

    /// The segments in use.
    pub fn segments(&self) -> impl Iterator<Item = &Segment> {
        self.segments.iter().take(self.segment_count as usize)
    }
}

const SEGMENTS_AT: usize = 56;
const _: () = assert!(core::mem::offset_of!(KernelHeader, segments) == SEGMENTS_AT);
const _: () = assert!(size_of::<Segment>() == 24);
const _: () = assert!(size_of::<KernelHeader>() == SEGMENTS_AT + 24 * MAX_SEGMENTS);

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let mut header = KernelHeader {
            magic: MAGIC,
            abi_version: crate::ABI_VERSION,
            segment_count: 1,
            runtime_entry: 0x20_0000,
            panic_record: 0x10_9000,
            region_table: 0x10_8000,
            linux64_entry: 0x10_2000,
            pvh_entry: 0x10_2040,
            segments: [Segment::NONE; MAX_SEGMENTS],
        };
        header.segments[0] = Segment { base: 0x10_0000, len: 0x1000, kind: 2, access: 0 };
        let mut page = [0; 4096];
        header.write(&mut page).unwrap();
        assert_eq!(KernelHeader::parse(&page), Some(header));
        assert_eq!(KernelHeader::parse(&page[..300]), None);
    }
}
