//! Building a boot module, on the host.

use super::{ABI_VERSION, ENTRY_LEN, EntryKind, HEADER_LEN, MAGIC, MAX_ENTRIES, PAGE_SIZE};
use crate::bytes::{write_u32, write_u64};
use crate::permissions::PermissionsSpec;
use crate::stdio::FULL_WEIGHT;
use alloc::string::String;
use alloc::vec::Vec;

/// A container, to be encoded.
#[derive(Clone, Debug, Default)]
pub struct ContainerSpec {
    /// Bits of [`container_flags`](super::container_flags).
    pub flags: u32,
    /// Most linear memory, in bytes.
    pub memory_limit: u64,
    /// Most CPU time, in nanoseconds; 0 for no limit.
    pub cpu_limit_ns: u64,
    /// Its part of the processor where others want it too, in hundredths from 1 to 100, which is what it has unless it
    /// says so.
    pub cpu_weight: Option<u32>,
    /// The exported function that runs; empty for `_start`.
    pub entry: String,
    /// The arguments, the program's name first.
    pub args: Vec<Vec<u8>>,
    /// The environment: `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// What it may do; `None` for everything.
    pub permissions: Option<PermissionsSpec>,
    /// Files it starts with, [appended](crate::image_files::append) one after the other.
    pub files: Vec<u8>,
    /// Ports it listens on, at most [`MAX_PORTS`](crate::network::MAX_PORTS) different ones.
    pub ports: Vec<u16>,
    /// Folders of the host that it is given, [appended](crate::mounts::append) one after the other.
    pub mounts: Vec<u8>,
    /// Where it may connect to: [destinations](crate::network::Destinations) as lines of text.
    pub destinations: String,
}

/// A container's entries of a module but its image, as bytes.
#[derive(Clone, Debug)]
pub struct EncodedContainer<'a> {
    /// Readable by [`ContainerConfig::parse`](super::ContainerConfig::parse).
    pub config: Vec<u8>,
    /// Readable by [`Permissions::parse`](crate::permissions::Permissions::parse).
    pub permissions: Option<Vec<u8>>,
    /// Readable by [`ImageFiles::parse`](crate::image_files::ImageFiles::parse).
    pub files: &'a [u8],
    /// Readable by [`ports`](crate::network::ports).
    pub ports: Vec<u8>,
    /// Readable by [`mounts`](crate::mounts::mounts).
    pub mounts: &'a [u8],
    /// Readable by [`Destinations::parse`](crate::network::Destinations::parse).
    pub destinations: &'a [u8],
}

impl ContainerSpec {
    /// The container as bytes. `None` for more strings, or longer ones, than 32 bits can count.
    #[must_use]
    pub fn encode(&self) -> Option<EncodedContainer<'_>> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.flags.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.entry.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&self.memory_limit.to_le_bytes());
        bytes.extend_from_slice(&self.cpu_limit_ns.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.args.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&u32::try_from(self.env.len()).ok()?.to_le_bytes());
        bytes.extend_from_slice(&self.cpu_weight.unwrap_or(FULL_WEIGHT).to_le_bytes());
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(self.entry.as_bytes());
        for string in self.args.iter().chain(&self.env) {
            bytes.extend_from_slice(&u32::try_from(string.len()).ok()?.to_le_bytes());
            bytes.extend_from_slice(string);
        }
        let permissions = match &self.permissions {
            Some(permissions) => Some(permissions.encode()?),
            None => None,
        };
        let ports = self.ports.iter().flat_map(|port| port.to_le_bytes()).collect();
        Some(EncodedContainer {
            config: bytes,
            permissions,
            files: &self.files,
            ports,
            mounts: &self.mounts,
            destinations: self.destinations.as_bytes(),
        })
    }
}

/// One piece of a module's bytes: where it goes and what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Offset from the start of the module.
    pub offset: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// Lays a module out: small entries behind the header, images on pages of their own.
///
/// The module is never built as one buffer: an image may be large, and the VMM writes the pieces
/// straight into guest memory.
#[derive(Clone, Debug)]
pub struct ModuleBuilder<'a> {
    header: Vec<u8>,
    count: u32,
    end: u64,
    pieces: Vec<Piece<'a>>,
    code: Vec<core::ops::Range<u64>>,
}

impl<'a> ModuleBuilder<'a> {
    /// An empty module with the header's `flags`.
    #[must_use]
    pub fn new(flags: u32) -> Self {
        let mut header = alloc::vec![0; HEADER_LEN + MAX_ENTRIES * ENTRY_LEN];
        let _ = write_u64(&mut header, 0, MAGIC);
        let _ = write_u32(&mut header, 8, ABI_VERSION);
        let _ = write_u32(&mut header, 12, flags);
        Self { end: header.len() as u64, header, count: 0, pieces: Vec::new(), code: Vec::new() }
    }

    /// Adds an entry of bytes; `None` if the module is full.
    #[must_use]
    pub fn push(&mut self, kind: EntryKind, index: u32, bytes: &'a [u8]) -> Option<()> {
        let offset = self.end.checked_next_multiple_of(8)?;
        self.push_at(kind, index, bytes, offset, 0..0)
    }

    /// Adds a container with its compiled image, as number `index` of their kinds; `None` if the module is full.
    #[must_use]
    pub fn push_container(
        &mut self,
        index: u32,
        container: &'a EncodedContainer<'a>,
        image: &'a [u8],
        exec: core::ops::Range<u64>,
    ) -> Option<()> {
        self.push_without_image(index, container)?;
        self.push_image(index, image, exec)
    }

    /// Adds a container whose image is [loaded](crate::stdio::FrameKind::Image) as one of the machine's own; `None` if
    /// the module is full.
    #[must_use]
    pub fn push_container_of(
        &mut self,
        container: &'a EncodedContainer<'a>,
        digest: &'a [u8; 32],
    ) -> Option<()> {
        self.push_without_image(0, container)?;
        self.push(EntryKind::ImageDigest, 0, digest)
    }

    fn push_without_image(&mut self, index: u32, container: &'a EncodedContainer<'a>) -> Option<()> {
        self.push(EntryKind::Container, index, &container.config)?;
        if let Some(permissions) = &container.permissions {
            self.push(EntryKind::Permissions, index, permissions)?;
        }
        if !container.files.is_empty() {
            self.push(EntryKind::Files, index, container.files)?;
        }
        if !container.ports.is_empty() {
            self.push(EntryKind::Ports, index, &container.ports)?;
        }
        if !container.mounts.is_empty() {
            self.push(EntryKind::Mounts, index, container.mounts)?;
        }
        if !container.destinations.is_empty() {
            self.push(EntryKind::Destinations, index, container.destinations)?;
        }
        Some(())
    }

    /// The module as one buffer; `None` if it is longer than memory can be.
    #[must_use]
    pub fn into_bytes(self) -> Option<Vec<u8>> {
        let len = usize::try_from(self.len()).ok()?;
        let (mut module, pieces) = self.finish();
        module.reserve_exact(len.saturating_sub(module.len()));
        for piece in pieces {
            // Pieces follow each other, with gaps for their alignment.
            module.resize(usize::try_from(piece.offset).ok()?, 0);
            module.extend_from_slice(piece.bytes);
        }
        module.resize(len, 0);
        Some(module)
    }

    /// Adds a compiled image on pages of its own, with its code at `exec` (relative to the image,
    /// page-aligned); `None` if the module is full.
    #[must_use]
    pub fn push_image(&mut self, index: u32, bytes: &'a [u8], exec: core::ops::Range<u64>) -> Option<()> {
        let offset = self.end.checked_next_multiple_of(PAGE_SIZE)?;
        self.push_at(EntryKind::Image, index, bytes, offset, exec)
    }

    fn push_at(
        &mut self,
        kind: EntryKind,
        index: u32,
        bytes: &'a [u8],
        offset: u64,
        exec: core::ops::Range<u64>,
    ) -> Option<()> {
        let len = u64::try_from(bytes.len()).ok()?;
        let end = offset.checked_add(len)?;
        if self.count as usize >= MAX_ENTRIES {
            return None;
        }
        let at = HEADER_LEN + self.count as usize * ENTRY_LEN;
        write_u32(&mut self.header, at, kind as u32)?;
        write_u32(&mut self.header, at + 4, index)?;
        write_u64(&mut self.header, at + 8, offset)?;
        write_u64(&mut self.header, at + 16, len)?;
        if !exec.is_empty() {
            write_u64(&mut self.header, at + 24, offset.checked_add(exec.start)?)?;
            write_u64(&mut self.header, at + 32, exec.end - exec.start)?;
            let end = offset.checked_add(exec.end)?.checked_next_multiple_of(PAGE_SIZE)?;
            self.code.push(offset + exec.start..end);
        } else if kind == EntryKind::Image {
            write_u64(&mut self.header, at + 24, offset)?;
        }
        self.count += 1;
        self.end = end;
        self.pieces.push(Piece { offset, bytes });
        Some(())
    }

    /// Where the code of the images so far lies, as offsets from the start of the module.
    pub fn code_ranges(&self) -> impl Iterator<Item = core::ops::Range<u64>> + use<> {
        self.code.clone().into_iter()
    }

    /// Bytes of the module so far.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end
    }

    /// Whether nothing was added.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The finished header, and the pieces that go behind it.
    #[must_use]
    pub fn finish(mut self) -> (Vec<u8>, Vec<Piece<'a>>) {
        let _ = write_u64(&mut self.header, 16, self.end);
        let _ = write_u32(&mut self.header, 24, self.count);
        (self.header, self.pieces)
    }
}
