//! What a container may do beyond computing: files, clocks, random numbers.
//!
//! Without [`Permissions`] everything is allowed. With them, what they do not name is refused with `ENOTCAPABLE`, and
//! the host is [told](crate::Host::denied), so that it can say which rule would allow it.
//!
//! A rule about files holds for an inode and for all that lies below it, up to the next rule: whatever path led there,
//! and wherever it is moved to. Walking through a directory needs nothing. What a descriptor may do is settled when it
//! is opened.

use alloc::string::String;
use alloc::vec::Vec;

use crate::errno::Errno;
use crate::fs::{InodeId, Target};
use crate::host::{Clock, Host};
use crate::wasi::Wasi;

/// What may be done with files; each allows what those before it do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum FileAccess {
    /// Nothing.
    None,
    /// Open to read, list, and look at attributes.
    Read,
    /// Change, make, move and remove.
    Write,
}

/// What a container may do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Permissions {
    /// What holds for files and directories, and for all that is below them. A path at which there is nothing becomes a
    /// directory.
    pub files: Vec<(Vec<u8>, FileAccess)>,
    /// How finely the real-time clock may be read, in nanoseconds; files' times are as coarse. `None`: not at all, and
    /// files have the time the container was made at.
    pub wall_clock_ns: Option<u64>,
    /// How finely the other clocks may be read, in nanoseconds. Waiting for a time from now needs no clock.
    pub monotonic_clock_ns: Option<u64>,
    /// Whether it may have random numbers.
    pub random: bool,
}

/// A call that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Denied {
    /// For this access to a path, from `/` on.
    File(Vec<u8>, FileAccess),
    /// For reading a clock.
    Clock(Clock),
    /// For random numbers.
    Random,
    /// For connecting to a host and a port, as a destination is written.
    Connect(String),
    /// For listening on a port.
    Listen(u16),
}

/// Permissions, with what they stand for in a file system.
#[derive(Debug)]
pub(crate) struct Confinement {
    /// Inodes of rules. They are held open: what is removed keeps its number.
    pub(crate) rules: Vec<(InodeId, FileAccess)>,
    pub(crate) wall_clock_ns: Option<u64>,
    pub(crate) monotonic_clock_ns: Option<u64>,
    pub(crate) random: bool,
    /// The time of files where there is no other.
    pub(crate) made_ns: u64,
}

/// What a call is going to do at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Look at what is there.
    Read,
    /// Change what is there, or make something where nothing is.
    Write,
    /// Make, move or remove the name itself.
    Name,
}

impl Wasi {
    /// What may be done at the end of a path.
    pub(crate) fn access(&self, target: &Target) -> Result<FileAccess, Errno> {
        match target {
            Target::Directory(inode) => self.access_at(*inode),
            Target::Entry(entry) => match entry.inode.and_then(|inode| self.rule(inode)) {
                Some(access) => Ok(access),
                None => self.access_at(entry.parent),
            },
        }
    }

    fn rule(&self, inode: InodeId) -> Option<FileAccess> {
        let confinement = self.confinement.as_ref()?;
        confinement.rules.iter().find(|(ruled, _)| *ruled == inode).map(|(_, access)| *access)
    }

    /// What may be done in a directory: the nearest rule above says.
    fn access_at(&self, directory: InodeId) -> Result<FileAccess, Errno> {
        if self.confinement.is_none() {
            return Ok(FileAccess::Write);
        }
        let mut here = directory;
        loop {
            if let Some(access) = self.rule(here) {
                return Ok(access);
            }
            let parent = self.fs.parent(here)?;
            if parent == here {
                return Ok(FileAccess::None);
            }
            here = parent;
        }
    }

    /// Whether a call may do this at the end of a path; `ENOTCAPABLE`.
    pub(crate) fn may(
        &self,
        host: &mut (impl Host + ?Sized),
        target: &Target,
        need: Need,
    ) -> Result<(), Errno> {
        let given = match (need, target) {
            (Need::Name, Target::Entry(entry)) => self.access(target)?.min(self.access_at(entry.parent)?),
            _ => self.access(target)?,
        };
        let needed = if need == Need::Read { FileAccess::Read } else { FileAccess::Write };
        if given >= needed {
            return Ok(());
        }
        if host.explains() {
            host.denied(Denied::File(self.fs.path_to(target)?, needed));
        }
        Err(Errno::Notcapable)
    }

    /// The same for an open directory itself.
    pub(crate) fn may_at(
        &self,
        host: &mut (impl Host + ?Sized),
        directory: InodeId,
        need: Need,
    ) -> Result<(), Errno> {
        self.may(host, &Target::Directory(directory), need)
    }

    /// How finely a clock may be read, in nanoseconds, 1 if that is left to the clock; `ENOTCAPABLE` if it may not.
    pub(crate) fn clock(&self, host: &mut (impl Host + ?Sized), clock: Clock) -> Result<u64, Errno> {
        let Some(confinement) = &self.confinement else { return Ok(1) };
        let allowed = match clock {
            Clock::Realtime => confinement.wall_clock_ns,
            Clock::Monotonic | Clock::ProcessCpu | Clock::ThreadCpu => confinement.monotonic_clock_ns,
        };
        match allowed {
            Some(resolution) => Ok(resolution.max(1)),
            None => {
                host.denied(Denied::Clock(clock));
                Err(Errno::Notcapable)
            }
        }
    }

    /// Whether it may have random numbers; `ENOTCAPABLE`.
    pub(crate) fn may_have_random(&self, host: &mut (impl Host + ?Sized)) -> Result<(), Errno> {
        if self.confinement.as_ref().is_none_or(|confinement| confinement.random) {
            return Ok(());
        }
        host.denied(Denied::Random);
        Err(Errno::Notcapable)
    }

    /// How files get their times.
    pub(crate) fn file_times(&self) -> FileTimes {
        match &self.confinement {
            None => FileTimes::Every(1),
            Some(Confinement { wall_clock_ns: Some(resolution), .. }) => FileTimes::Every(*resolution),
            Some(Confinement { made_ns, .. }) => FileTimes::Always(*made_ns),
        }
    }

    /// The time that files get now.
    pub(crate) fn now(&self, host: &mut (impl Host + ?Sized)) -> u64 {
        self.file_times().now(host)
    }
}

/// How files get their times: no finer than the real-time clock may be read.
#[derive(Clone, Copy, Debug)]
pub(crate) enum FileTimes {
    /// By the real-time clock, in steps of so many nanoseconds.
    Every(u64),
    /// This one.
    Always(u64),
}

impl FileTimes {
    /// A file's time, as the container may know it.
    pub(crate) fn shown(self, ns: u64) -> u64 {
        match self {
            Self::Every(resolution) => rounded_down(ns, resolution),
            Self::Always(ns) => ns,
        }
    }

    /// The time now.
    pub(crate) fn now(self, host: &mut (impl Host + ?Sized)) -> u64 {
        match self {
            Self::Every(resolution) => rounded_down(host.clock_ns(Clock::Realtime), resolution),
            Self::Always(ns) => ns,
        }
    }
}

/// The last time before `ns` that a clock of this resolution shows.
pub(crate) fn rounded_down(ns: u64, resolution: u64) -> u64 {
    ns.saturating_sub(ns.checked_rem(resolution).unwrap_or(0))
}

/// The first time from `ns` on that a clock of this resolution shows.
pub(crate) fn rounded_up(ns: u64, resolution: u64) -> u64 {
    ns.checked_next_multiple_of(resolution.max(1)).unwrap_or(u64::MAX)
}
