//! The protocols by which loaders enter the kernel, as one.

use crate::acpi::Root;
use crate::{PhysicalMemory, Ram, RamRange, linux64, multiboot2, pvh};
use sentient_abi::screen::ScreenInfo;

/// A protocol, with the address of what it hands over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Handover {
    /// See [`pvh`].
    Pvh(u64),
    /// See [`linux64`].
    Linux64(u64),
    /// See [`multiboot2`].
    Multiboot2(u64),
}

impl Handover {
    /// By the number that the entry point passes, and the address.
    #[must_use]
    pub fn new(protocol: u64, info: u64) -> Option<Self> {
        match protocol {
            crate::PROTOCOL_PVH => Some(Self::Pvh(info)),
            crate::PROTOCOL_LINUX64 => Some(Self::Linux64(info)),
            crate::PROTOCOL_MULTIBOOT2 => Some(Self::Multiboot2(info)),
            _ => None,
        }
    }

    /// Where the boot module is.
    #[must_use]
    pub fn module(self, memory: &impl PhysicalMemory) -> Option<RamRange> {
        match self {
            Self::Pvh(info) => pvh::module(memory, info),
            Self::Linux64(info) => linux64::module(memory, info),
            Self::Multiboot2(info) => multiboot2::module(memory, info),
        }
    }

    /// Usable RAM.
    #[must_use]
    pub fn ram(self, memory: &impl PhysicalMemory) -> Option<Ram> {
        match self {
            Self::Pvh(info) => pvh::ram(memory, info),
            Self::Linux64(info) => linux64::ram(memory, info),
            Self::Multiboot2(info) => multiboot2::ram(memory, info),
        }
    }

    /// ACPI's tables, if it says where they are.
    #[must_use]
    pub fn acpi(self, memory: &impl PhysicalMemory) -> Option<Root> {
        match self {
            Self::Pvh(info) => pvh::acpi(memory, info),
            Self::Linux64(_) => None,
            Self::Multiboot2(info) => multiboot2::acpi(memory, info),
        }
    }

    /// The screen, if it has set one up.
    #[must_use]
    pub fn screen(self, memory: &impl PhysicalMemory) -> Option<ScreenInfo> {
        match self {
            Self::Multiboot2(info) => multiboot2::screen(memory, info),
            Self::Pvh(_) | Self::Linux64(_) => None,
        }
    }

    /// The kernel's command line; empty if there is none.
    #[must_use]
    pub fn command_line(self, memory: &impl PhysicalMemory) -> CommandLine {
        let at = match self {
            Self::Pvh(info) => pvh::command_line(memory, info),
            Self::Linux64(info) => linux64::command_line(memory, info),
            Self::Multiboot2(info) => multiboot2::command_line(memory, info),
        };
        at.map_or(CommandLine::EMPTY, |at| CommandLine::read(memory, at))
    }
}

/// Most bytes of a command line; what is beyond them is left out.
pub const COMMAND_LINE: usize = 256;

/// The kernel's command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CommandLine {
    bytes: [u8; COMMAND_LINE],
    len: usize,
}

impl CommandLine {
    /// None.
    pub const EMPTY: Self = Self { bytes: [0; COMMAND_LINE], len: 0 };

    /// The text at `at`, to its zero.
    fn read(memory: &impl PhysicalMemory, at: u64) -> Self {
        let mut line = Self::EMPTY;
        for (byte, at) in line.bytes.iter_mut().zip(at..) {
            // A word that leaves memory has the last bytes in it: firmware's texts do not lie there.
            match memory.read_u32(at).map(|word| word as u8) {
                None | Some(0) => break,
                Some(found) => *byte = found,
            }
            line.len += 1;
        }
        line
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}
