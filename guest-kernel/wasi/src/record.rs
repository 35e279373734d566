//! The structures calls hand back, laid out byte for byte as `typenames.witx` lays them out.

/// A structure of `N` bytes under construction, zero wherever nothing is put (so padding leaks
/// nothing).
struct Record<const N: usize>([u8; N]);

impl<const N: usize> Record<N> {
    const fn new() -> Self {
        Self([0; N])
    }

    /// Puts a field; offsets are constants of this file, checked by the tests.
    fn field(mut self, offset: usize, value: &[u8]) -> Self {
        for (to, from) in self.0.iter_mut().skip(offset).zip(value) {
            *to = *from;
        }
        self
    }
}

/// `$filetype`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum FileType {
    Unknown = 0,
    CharacterDevice = 2,
    Directory = 3,
    RegularFile = 4,
    SocketStream = 6,
    SymbolicLink = 7,
}

/// `$fdstat`: what a descriptor is and may do.
pub(crate) struct FdStat {
    pub(crate) filetype: FileType,
    pub(crate) flags: u16,
    pub(crate) rights_base: u64,
    pub(crate) rights_inheriting: u64,
}

impl FdStat {
    pub(crate) const BYTES: u32 = 24;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES as usize] {
        Record::new()
            .field(0, &[self.filetype as u8])
            .field(2, &self.flags.to_le_bytes())
            .field(8, &self.rights_base.to_le_bytes())
            .field(16, &self.rights_inheriting.to_le_bytes())
            .0
    }
}

/// `$filestat`: what a file is. Times in nanoseconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FileStat {
    pub(crate) dev: u64,
    pub(crate) ino: u64,
    pub(crate) filetype: FileType,
    pub(crate) nlink: u64,
    pub(crate) size: u64,
    pub(crate) atim: u64,
    pub(crate) mtim: u64,
    pub(crate) ctim: u64,
}

impl FileStat {
    pub(crate) const BYTES: u32 = 64;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES as usize] {
        Record::new()
            .field(0, &self.dev.to_le_bytes())
            .field(8, &self.ino.to_le_bytes())
            .field(16, &[self.filetype as u8])
            .field(24, &self.nlink.to_le_bytes())
            .field(32, &self.size.to_le_bytes())
            .field(40, &self.atim.to_le_bytes())
            .field(48, &self.mtim.to_le_bytes())
            .field(56, &self.ctim.to_le_bytes())
            .0
    }
}

/// `$dirent`: the head of a directory entry; the name follows it.
pub(crate) struct DirEnt {
    pub(crate) next: u64,
    pub(crate) ino: u64,
    pub(crate) name_len: u32,
    pub(crate) filetype: FileType,
}

impl DirEnt {
    pub(crate) const BYTES: u32 = 24;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES as usize] {
        Record::new()
            .field(0, &self.next.to_le_bytes())
            .field(8, &self.ino.to_le_bytes())
            .field(16, &self.name_len.to_le_bytes())
            .field(20, &[self.filetype as u8])
            .0
    }
}

/// `$prestat` of a directory: the tag, 0, and the length of its name in bytes.
pub(crate) struct PreStat {
    pub(crate) name_len: u32,
}

impl PreStat {
    pub(crate) const BYTES: u32 = 8;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES as usize] {
        Record::new().field(4, &self.name_len.to_le_bytes()).0
    }
}

/// `$event`: one thing `poll_oneoff` found.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event {
    pub(crate) userdata: u64,
    pub(crate) errno: u16,
    pub(crate) kind: u8,
    pub(crate) nbytes: u64,
    pub(crate) hangup: bool,
}

impl Event {
    pub(crate) const BYTES: u32 = 32;

    pub(crate) fn encode(&self) -> [u8; Self::BYTES as usize] {
        Record::new()
            .field(0, &self.userdata.to_le_bytes())
            .field(8, &self.errno.to_le_bytes())
            .field(10, &[self.kind])
            .field(16, &self.nbytes.to_le_bytes())
            .field(24, &u16::from(self.hangup).to_le_bytes())
            .0
    }
}
