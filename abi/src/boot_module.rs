//! The boot module: everything the kernel is handed at boot, as one file.
//!
//! Our VMM writes it into guest memory; QEMU and GRUB load it like an initial RAM disk. It starts with a
//! header page that lists entries: facts about the machine, containers to run, and compiled images.
//! Images start on a page, and the pages of their code are stated, so that whoever makes the page tables
//! can map the code executable and all else not.

use crate::bytes::{read_u32, read_u64};
use crate::image_files::ImageFiles;
use crate::network::Destinations;
use crate::permissions::Permissions;
use crate::stdio::WEIGHTS;
use crate::{ABI_VERSION, PAGE_SIZE, network};

/// First field of a module: `"SENTBOOT"`.
pub const MAGIC: u64 = u64::from_le_bytes(*b"SENTBOOT");

/// Most entries of a module.
pub const MAX_ENTRIES: usize = 100;

/// Bit of the header's flags: the page tables in force and the region table are final. Only the VMM may
/// set it; the nucleus believes it only when the sentinel device answers.
pub const TABLES_PREPARED: u32 = 1;

/// Bit of the header's flags: the machine goes on when nothing runs in it, and takes containers over the
/// console ([`stdio`](crate::stdio)). It needs no container in its module.
pub const RESIDENT: u32 = 2;

/// Bit of the header's flags: no containers are run. A console of a few commands is on the streams of container 0, or on the
/// serial port.
pub const ZERO: u32 = 4;

/// Bit of the header's flags: when no container runs any more, the machine goes on with that console.
pub const STAYS: u32 = 8;

/// What the console's machine exits with when it is to be booted as usual.
pub const REBOOT: u32 = 3;

const HEADER_LEN: usize = 32;
const ENTRY_LEN: usize = 40;
const _: () = assert!((HEADER_LEN + MAX_ENTRIES * ENTRY_LEN) as u64 <= PAGE_SIZE);

/// What an entry holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EntryKind {
    /// An encoded [`MachineInfo`](crate::machine_info::MachineInfo).
    Machine = 1,
    /// An encoded [`ContainerConfig`].
    Container = 2,
    /// A compiled image (`.cwasm`); the entry's `exec` range is its code.
    Image = 3,
    /// Encoded [`Permissions`] of the container of this number.
    Permissions = 4,
    /// [`ImageFiles`] of the container of this number.
    Files = 5,
    /// The digest of the container's image, instead of an image: 32 bytes.
    ImageDigest = 6,
    /// [Ports](crate::network::ports) that the container of this number listens on.
    Ports = 7,
    /// [Folders of the host](crate::mounts::mounts) that the container of this number is given.
    Mounts = 8,
    /// [Where](crate::network::Destinations) the container of this number may connect to.
    Destinations = 9,
    /// What is known of the machine's faults: text for people.
    Faults = 10,
    /// The BLAKE3 digest of what the kernel has in its region of this kind: 32 bytes.
    Digest = 11,
    /// The BLAKE3 digest that the image of the container of this number must have: 32 bytes.
    ImageHash = 12,
    /// What the container of this number is called, where there are several.
    Name = 13,
    /// A contract's text.
    Contract = 14,
    /// Who answers for all of it: see [`measure`](crate::measure).
    Seal = 15,
    /// How often the container of this number is to be kept as it is, on a machine without a VMM of ours: nanoseconds, 8 bytes.
    Checkpoints = 16,
    /// How often everything is to be kept on a disk, on such a machine: nanoseconds, 8 bytes.
    Keep = 17,
}

/// One entry. Offsets are from the start of the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// What it holds.
    pub kind: EntryKind,
    /// Its number among its kind.
    pub index: u32,
    /// Where it starts; page-aligned for an image.
    pub offset: u64,
    /// Its length in bytes.
    pub len: u64,
    /// Where an image's code starts, page-aligned; zero otherwise.
    pub exec_offset: u64,
    /// Length of an image's code in bytes.
    pub exec_len: u64,
}

/// Why a module is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ModuleError {
    /// It does not start with [`MAGIC`].
    NotABootModule,
    /// It is of another ABI version: this one.
    Version(u32),
    /// It, an entry or a field ends too early or lies outside.
    Truncated,
    /// An entry has an unknown kind or an unaligned image.
    BadEntry,
}

/// The header's flags, with nothing checked but that this is a module of our version: all the nucleus needs
/// to know when the VMM has prepared the rest.
///
/// # Errors
/// See [`ModuleError`].
pub fn flags(bytes: &[u8]) -> Result<u32, ModuleError> {
    if read_u64(bytes, 0) != Some(MAGIC) {
        return Err(ModuleError::NotABootModule);
    }
    match read_u32(bytes, 8).ok_or(ModuleError::Truncated)? {
        ABI_VERSION => read_u32(bytes, 12).ok_or(ModuleError::Truncated),
        other => Err(ModuleError::Version(other)),
    }
}

/// A checked view of a module.
#[derive(Clone, Copy, Debug)]
pub struct BootModule<'a> {
    bytes: &'a [u8],
    flags: u32,
    count: usize,
}

impl<'a> BootModule<'a> {
    /// Checks the header and every entry's bounds.
    ///
    /// # Errors
    /// See [`ModuleError`].
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ModuleError> {
        let flags = flags(bytes)?;
        let total = read_u64(bytes, 16).ok_or(ModuleError::Truncated)?;
        let count = read_u32(bytes, 24).ok_or(ModuleError::Truncated)? as usize;
        let total = usize::try_from(total).map_err(|_| ModuleError::Truncated)?;
        let bytes = bytes.get(..total).ok_or(ModuleError::Truncated)?;
        if count > MAX_ENTRIES {
            return Err(ModuleError::BadEntry);
        }
        let module = Self { bytes, flags, count };
        for index in 0..count {
            let entry = module.entry(index).ok_or(ModuleError::BadEntry)?;
            module.data(&entry).ok_or(ModuleError::Truncated)?;
            if entry.kind == EntryKind::Image {
                let within = entry.exec_offset >= entry.offset
                    && entry.exec_offset - entry.offset <= entry.len
                    && entry.exec_len <= entry.len - (entry.exec_offset - entry.offset);
                let aligned = entry.offset % PAGE_SIZE == 0 && entry.exec_offset % PAGE_SIZE == 0;
                if !within || !aligned {
                    return Err(ModuleError::BadEntry);
                }
            }
        }
        Ok(module)
    }

    /// Bits such as [`TABLES_PREPARED`].
    #[must_use]
    pub fn flags(&self) -> u32 {
        self.flags
    }

    /// The entries.
    pub fn entries(&self) -> impl Iterator<Item = Entry> + use<'a> {
        let module = *self;
        (0..self.count).filter_map(move |index| module.entry(index))
    }

    /// The entry of a kind and number.
    #[must_use]
    pub fn find(&self, kind: EntryKind, index: u32) -> Option<Entry> {
        self.entries().find(|entry| entry.kind == kind && entry.index == index)
    }

    /// What there is of a container.
    ///
    /// # Errors
    /// What is missing, or cannot be read.
    pub fn container(&self, index: u32) -> Result<Container<'a>, &'static str> {
        let find = |kind| {
            let entry = self.find(kind, index)?;
            Some((entry, self.data(&entry)?))
        };
        let config = find(EntryKind::Container).and_then(|(_, bytes)| ContainerConfig::parse(bytes));
        let config = config.ok_or("it has no configuration")?;
        let digest = |(_, bytes): (_, &[u8])| <[u8; 32]>::try_from(bytes).ok().map(Image::Elsewhere);
        let image = match find(EntryKind::Image) {
            Some((entry, bytes)) => Image::Here(entry, bytes),
            None => find(EntryKind::ImageDigest).and_then(digest).ok_or("it has no image")?,
        };
        // Permissions that cannot be read are not those of a container that may do everything.
        let permissions = find(EntryKind::Permissions).map(|(_, bytes)| Permissions::parse(bytes));
        let permissions = permissions.map(|read| read.ok_or("its permissions cannot be read")).transpose()?;
        let files = find(EntryKind::Files).map(|(_, bytes)| ImageFiles::parse(bytes));
        let files = files.map(|read| read.ok_or("its files cannot be read")).transpose()?;
        let ports = find(EntryKind::Ports).map_or(&[][..], |(_, bytes)| bytes);
        if network::ports(ports).is_none() {
            return Err("its ports cannot be read");
        }
        let mounts = find(EntryKind::Mounts).map_or(&[][..], |(_, bytes)| bytes);
        if crate::mounts::mounts(mounts).is_none() {
            return Err("its folders of the host cannot be read");
        }
        let destinations = find(EntryKind::Destinations).map_or(&[][..], |(_, bytes)| bytes);
        let destinations =
            Destinations::parse(destinations).ok_or("where it may connect to cannot be read")?;
        Ok(Container { config, permissions, files, ports, mounts, destinations, image })
    }

    /// Where the images' code lies: whole pages, as offsets from the start of the module.
    pub fn code_ranges(&self) -> impl Iterator<Item = core::ops::Range<u64>> + use<'a> {
        let code = self.entries().filter(|entry| entry.kind == EntryKind::Image && entry.exec_len > 0);
        // Within the module, so that rounding up cannot wrap.
        code.map(|entry| entry.exec_offset..(entry.exec_offset + entry.exec_len).next_multiple_of(PAGE_SIZE))
    }

    /// An entry's bytes.
    #[must_use]
    pub fn data(&self, entry: &Entry) -> Option<&'a [u8]> {
        let start = usize::try_from(entry.offset).ok()?;
        let len = usize::try_from(entry.len).ok()?;
        self.bytes.get(start..start.checked_add(len)?)
    }

    fn entry(&self, index: usize) -> Option<Entry> {
        let at = HEADER_LEN + index * ENTRY_LEN;
        let kind = match read_u32(self.bytes, at)? {
            1 => EntryKind::Machine,
            2 => EntryKind::Container,
            3 => EntryKind::Image,
            4 => EntryKind::Permissions,
            5 => EntryKind::Files,
            6 => EntryKind::ImageDigest,
            7 => EntryKind::Ports,
            8 => EntryKind::Mounts,
            9 => EntryKind::Destinations,
            10 => EntryKind::Faults,
            11 => EntryKind::Digest,
            12 => EntryKind::ImageHash,
            13 => EntryKind::Name,
            14 => EntryKind::Contract,
            15 => EntryKind::Seal,
            16 => EntryKind::Checkpoints,
            17 => EntryKind::Keep,
            _ => return None,
        };
        Some(Entry {
            kind,
            index: read_u32(self.bytes, at + 4)?,
            offset: read_u64(self.bytes, at + 8)?,
            len: read_u64(self.bytes, at + 16)?,
            exec_offset: read_u64(self.bytes, at + 24)?,
            exec_len: read_u64(self.bytes, at + 32)?,
        })
    }
}

/// A container of a module.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Container<'a> {
    /// How it is to be run.
    pub config: ContainerConfig<'a>,
    /// What it may do; `None` for everything.
    pub permissions: Option<Permissions<'a>>,
    /// The files it starts with.
    pub files: Option<ImageFiles<'a>>,
    /// The [ports](network::ports) it listens on, checked.
    pub ports: &'a [u8],
    /// The folders of the host that it is [given](crate::mounts::mounts), checked.
    pub mounts: &'a [u8],
    /// Where it may connect to.
    pub destinations: Destinations<'a>,
    /// Its image.
    pub image: Image<'a>,
}

/// A container's image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Image<'a> {
    /// In the same module: its entry, and its bytes.
    Here(Entry, &'a [u8]),
    /// Loaded into the machine as one of its own: its digest.
    Elsewhere([u8; 32]),
}

/// How one container is to be run. Strings are bytes: WASI has no encoding for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ContainerConfig<'a> {
    /// Bits such as [`STDIN_TERMINAL`](container_flags::STDIN_TERMINAL).
    pub flags: u32,
    /// Most linear memory, in bytes.
    pub memory_limit: u64,
    /// Most CPU time, in nanoseconds; 0 for no limit.
    pub cpu_limit_ns: u64,
    /// Its part of the processor where others want it too, one of [`WEIGHTS`].
    pub cpu_weight: u32,
    /// The exported function that runs; empty for `_start`.
    pub entry: &'a str,
    arg_count: u32,
    env_count: u32,
    strings: &'a [u8],
}

/// Bits of [`ContainerConfig::flags`].
pub mod container_flags {
    /// Standard input is a terminal.
    pub const STDIN_TERMINAL: u32 = 1;
    /// Standard output is a terminal.
    pub const STDOUT_TERMINAL: u32 = 2;
    /// Standard error is a terminal.
    pub const STDERR_TERMINAL: u32 = 4;
    /// Instead of `_start`, call the exported function named by argument 1, as many times as argument 2
    /// says, with the numbers that follow; print results and nanoseconds of each call.
    pub const INVOKE: u32 = 8;
    /// What it is refused is told on its standard error, with the rule that would allow it.
    pub const EXPLAIN: u32 = 16;
    /// If it traps, it is kept as it is until the host says what becomes of it: resident machines only.
    pub const HOLD: u32 = 32;
}

impl<'a> ContainerConfig<'a> {
    /// Reads a configuration and checks every string's bounds.
    #[must_use]
    pub fn parse(bytes: &'a [u8]) -> Option<Self> {
        let (entry, strings) = bytes.get(40..)?.split_at_checked(read_u32(bytes, 4)? as usize)?;
        let config = Self {
            flags: read_u32(bytes, 0)?,
            memory_limit: read_u64(bytes, 8)?,
            cpu_limit_ns: read_u64(bytes, 16)?,
            arg_count: read_u32(bytes, 24)?,
            env_count: read_u32(bytes, 28)?,
            cpu_weight: read_u32(bytes, 32).filter(|weight| WEIGHTS.contains(weight))?,
            entry: core::str::from_utf8(entry).ok()?,
            strings,
        };
        let wanted = (config.arg_count as usize).checked_add(config.env_count as usize)?;
        // Each string takes four bytes at least: no walk over counts that cannot be true.
        if wanted > config.strings.len() / 4 || config.strings().count() != wanted {
            return None;
        }
        Some(config)
    }

    /// The arguments, the program's name first.
    pub fn args(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.strings().take(self.arg_count as usize)
    }

    /// The environment: `NAME=value`.
    pub fn env(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        self.strings().skip(self.arg_count as usize)
    }

    fn strings(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut rest = self.strings;
        let total = (self.arg_count as usize).saturating_add(self.env_count as usize);
        (0..total).map_while(move |_| {
            let len = read_u32(rest, 0)? as usize;
            let string = rest.get(4..4usize.checked_add(len)?)?;
            rest = rest.get(4 + len..)?;
            Some(string)
        })
    }
}

#[cfg(feature = "alloc")]
mod build;

#[cfg(feature = "alloc")]
pub use build::{ContainerSpec, EncodedContainer, ModuleBuilder, Piece};

#[cfg(all(test, feature = "alloc"))]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::permissions::PermissionsSpec;
    use alloc::vec;
    use alloc::vec::Vec;

    fn assemble(builder: ModuleBuilder<'_>) -> Vec<u8> {
        builder.into_bytes().unwrap()
    }

    fn spec() -> ContainerSpec {
        ContainerSpec {
            flags: container_flags::STDIN_TERMINAL,
            entry: "main".into(),
            memory_limit: 1 << 20,
            cpu_limit_ns: 5,
            cpu_weight: Some(20),
            args: vec![b"prog".to_vec(), b"".to_vec(), b"--x=\xff".to_vec()],
            env: vec![b"A=b".to_vec()],
            permissions: Some(PermissionsSpec { open_files: 9, ..PermissionsSpec::default() }),
            files: b"\x01\0\0\0\x02\0\0\0\0\0\0\0fhi".to_vec(),
            ports: vec![80, 443],
            mounts: b"\x02\0\0\0\x01\0\0\0\x05\0\0\0/data".to_vec(),
            destinations: "example.com:80".into(),
        }
    }

    fn encoded() -> Vec<u8> {
        spec().encode().unwrap().config
    }

    #[test]
    fn a_module_is_read_as_it_was_built() {
        let (spec, image) = (spec(), vec![9; 10_000]);
        let container = spec.encode().unwrap();
        let mut builder = ModuleBuilder::new(TABLES_PREPARED);
        builder.push_container(0, &container, &image, 4096..8192).unwrap();
        let bytes = assemble(builder);
        let module = BootModule::parse(&bytes).unwrap();
        assert_eq!(module.flags(), TABLES_PREPARED);
        let read = module.container(0).unwrap();
        let found = match read.image {
            Image::Here(entry, bytes) => Some((entry.exec_offset - entry.offset, entry.exec_len, bytes)),
            Image::Elsewhere(_) => None,
        };
        assert_eq!(found, Some((4096, 4096, &image[..])));
        let config = read.config;
        assert_eq!(config.args().collect::<Vec<_>>(), [&b"prog"[..], b"", b"--x=\xff"]);
        assert_eq!(config.env().collect::<Vec<_>>(), [&b"A=b"[..]]);
        assert_eq!((config.memory_limit, config.entry, config.cpu_weight), (1 << 20, "main", 20));
        assert_eq!(read.permissions.unwrap().open_files, 9);
        assert_eq!(read.files.unwrap().iter().collect::<Vec<_>>(), [(&b"f"[..], &b"hi"[..])]);
        assert_eq!(network::ports(read.ports).unwrap().collect::<Vec<_>>(), [80, 443]);
        let mounts = crate::mounts::mounts(read.mounts).unwrap().map(|mount| (mount.volume, mount.path));
        assert_eq!(mounts.collect::<Vec<_>>(), [(2, &b"/data"[..])]);
        assert_eq!(read.destinations.as_text(), "example.com:80");
        assert!(module.container(1).is_err());
    }

    #[test]
    fn a_container_may_name_its_image_instead_of_having_it() {
        let (spec, digest) = (spec(), [7; 32]);
        let container = spec.encode().unwrap();
        let mut builder = ModuleBuilder::new(0);
        builder.push_container_of(&container, &digest).unwrap();
        let bytes = assemble(builder);
        let read = BootModule::parse(&bytes).unwrap().container(0).unwrap();
        assert_eq!(read.image, Image::Elsewhere(digest));
        // What is no digest is no image.
        let mut builder = ModuleBuilder::new(0);
        builder.push(EntryKind::Container, 0, &container.config).unwrap();
        builder.push(EntryKind::ImageDigest, 0, &[7; 31]).unwrap();
        let bytes = assemble(builder);
        assert_eq!(BootModule::parse(&bytes).unwrap().container(0), Err("it has no image"));
    }

    #[test]
    fn a_container_without_permissions_has_none_and_one_with_unreadable_ones_is_refused() {
        let image = vec![9; 4096];
        let with = |spec: ContainerSpec, spoil: bool| {
            let mut container = spec.encode().unwrap();
            if let Some(permissions) = container.permissions.as_mut().filter(|_| spoil) {
                permissions.truncate(10);
            }
            let mut builder = ModuleBuilder::new(0);
            builder.push_container(0, &container, &image, 0..4096).unwrap();
            let bytes = assemble(builder);
            BootModule::parse(&bytes).unwrap().container(0).map(|container| container.permissions.is_some())
        };
        assert_eq!(with(spec(), false), Ok(true));
        assert_eq!(with(ContainerSpec { permissions: None, ..spec() }, false), Ok(false));
        assert_eq!(with(spec(), true), Err("its permissions cannot be read"));
        assert_eq!(with(ContainerSpec { ports: vec![0], ..spec() }, false), Err("its ports cannot be read"));
        let nowhere = with(ContainerSpec { destinations: "nowhere".into(), ..spec() }, false);
        assert_eq!(nowhere, Err("where it may connect to cannot be read"));
    }

    #[test]
    fn a_module_cut_anywhere_is_refused_and_never_panics() {
        let config = encoded();
        let mut builder = ModuleBuilder::new(0);
        builder.push(EntryKind::Container, 0, &config).unwrap();
        let bytes = assemble(builder);
        for len in 0..bytes.len() {
            assert!(BootModule::parse(&bytes[..len]).is_err(), "accepted {len} of {} bytes", bytes.len());
        }
        for len in 0..config.len() {
            assert!(ContainerConfig::parse(&config[..len]).is_none());
        }
    }

    #[test]
    fn another_version_is_named() {
        let mut builder = ModuleBuilder::new(0);
        builder.push(EntryKind::Container, 0, b"").unwrap();
        let mut bytes = assemble(builder);
        bytes[8] = 77;
        assert_eq!(BootModule::parse(&bytes).unwrap_err(), ModuleError::Version(77));
    }

    #[test]
    fn no_flipped_bit_makes_the_parser_panic_or_leave_the_module() {
        let (spec, image) = (spec(), vec![1; 5000]);
        let container = spec.encode().unwrap();
        let mut builder = ModuleBuilder::new(0);
        builder.push_container(0, &container, &image, 4096..5000).unwrap();
        let bytes = assemble(builder);
        let used = HEADER_LEN + 4 * ENTRY_LEN;
        for bit in 0..used * 8 {
            let mut bad = bytes.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(module) = BootModule::parse(&bad) {
                for entry in module.entries() {
                    let data = module.data(&entry).unwrap();
                    let _ = (ContainerConfig::parse(data), Permissions::parse(data), ImageFiles::parse(data));
                }
                let _ = module.container(0);
            }
        }
    }
}
