//! Making a container's [`Wasi`]: arguments, environment, limits, and the files it starts with.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::fmt;

use sentient_abi::network::Destinations;

use crate::calls::outward::Outward;
use crate::calls::strings::Strings;
use crate::calls::volumes::VolumeNode;
use crate::descriptor::{Descriptor, Descriptors, Object};
use crate::errno::Errno;
use crate::fs::{Entry, FileSystem, InodeId, Last, Target};
use crate::host::Stream;
use crate::permissions::{Confinement, Permissions};
use crate::rights;
use crate::served::Opened;
use crate::wasi::Wasi;

/// Bytes of all arguments, or of the whole environment, with their zero bytes (Linux's `ARG_MAX` is
/// 2 MiB for both together).
const STRING_BYTES_MAX: usize = 1 << 20;

/// What one container may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Open descriptors, the three streams and the preopens among them (`EMFILE`). 256 by default.
    pub descriptors: u32,
    /// Bytes of its file system (`ENOSPC`): contents in steps of a power of two from 512 bytes to
    /// 64 KiB, names, links, and about 256 bytes for each inode. 64 MiB by default. Set it below
    /// the memory there is: then a full file system is an error number and never a failed
    /// allocation.
    pub file_bytes: u64,
    /// Files, directories and symbolic links (`ENOSPC`). 16,384 by default.
    pub inodes: u32,
    /// Bytes of a path (`ENAMETOOLONG`). 4,096 by default, as Linux's `PATH_MAX`.
    pub path_bytes: usize,
    /// Bytes of one name in a path (`ENAMETOOLONG`). 255 by default, as Linux's `NAME_MAX`.
    pub name_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { descriptors: 256, file_bytes: 64 << 20, inodes: 16_384, path_bytes: 4096, name_bytes: 255 }
    }
}

/// What a preopened directory lets the module do.
///
/// A property of the way in, like that of a bind mount, and not of the files: what another preopen
/// reaches too may be changed through that one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read and change.
    ReadWrite,
    /// Read; any change is `EROFS`.
    ReadOnly,
}

/// Why a container could not be set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SetupError {
    /// An argument holds a zero byte, which ends an argument for the program.
    Argument {
        /// Its place among the arguments, from 0.
        index: usize,
    },
    /// An environment entry holds a zero byte, or its name is empty or holds `=`.
    Environment {
        /// Its place in the environment, from 0.
        index: usize,
    },
    /// The arguments or the environment are too long.
    TooLong {
        /// Their bytes.
        bytes: usize,
        /// The most there may be.
        max: usize,
    },
    /// A file, directory, link or preopen could not be made.
    Path {
        /// The path given.
        path: String,
        /// Why not.
        errno: Errno,
    },
    /// The limits leave no room for a root directory and the preopened descriptors.
    Limits(Errno),
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { index } => write!(f, "argument {index} holds a zero byte; remove it"),
            Self::Environment { index } => {
                write!(f, "environment entry {index} must be NAME=value without zero bytes")
            }
            Self::TooLong { bytes, max } => {
                write!(f, "arguments or environment of {bytes} bytes; at most {max} fit")
            }
            Self::Path { path, errno } => {
                write!(f, "cannot make `{path}` in the container: {errno:?}")
            }
            Self::Limits(errno) => write!(f, "limits too small for a root and its descriptors: {errno:?}"),
        }
    }
}

impl core::error::Error for SetupError {}

#[derive(Debug)]
enum Initial<'a> {
    Directory,
    File(&'a [u8]),
    FileOfImage(&'static [u8]),
    Symlink(Cow<'a, [u8]>),
}

/// Gathers what a container starts with. Without a preopen, descriptor 3 is `/`, writable.
///
/// Paths are those of the container's file system; a leading slash may be there or not. Directories
/// on the way to a path are made. Nothing is checked before [`Builder::build`].
#[derive(Debug, Default)]
pub struct Builder<'a> {
    args: Vec<Vec<u8>>,
    env: Vec<(Vec<u8>, Vec<u8>)>,
    limits: Limits,
    preopens: Vec<(Vec<u8>, Access)>,
    tree: Vec<(Vec<u8>, Initial<'a>)>,
    time_ns: u64,
    permissions: Option<Permissions>,
    listeners: Vec<u16>,
    volumes: Vec<(Vec<u8>, u32, Access)>,
    destinations: String,
}

impl<'a> Builder<'a> {
    /// No arguments, no environment, an empty file system, the default limits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds an argument; the first is the program's name.
    #[must_use]
    pub fn arg(mut self, arg: impl Into<Vec<u8>>) -> Self {
        self.args.push(arg.into());
        self
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, args: impl IntoIterator<Item = Vec<u8>>) -> Self {
        self.args.extend(args);
        self
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, name: impl Into<Vec<u8>>, value: impl Into<Vec<u8>>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Sets the limits.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Opens a directory beforehand, from descriptor 3 on in the order of these calls. The module
    /// knows it by this path.
    #[must_use]
    pub fn preopen(mut self, path: impl Into<Vec<u8>>, access: Access) -> Self {
        self.preopens.push((path.into(), access));
        self
    }

    /// Adds a directory.
    #[must_use]
    pub fn directory(mut self, path: impl Into<Vec<u8>>) -> Self {
        self.tree.push((path.into(), Initial::Directory));
        self
    }

    /// Adds a file. Its contents are copied once, by [`Builder::build`].
    #[must_use]
    pub fn file(mut self, path: impl Into<Vec<u8>>, contents: &'a [u8]) -> Self {
        self.tree.push((path.into(), Initial::File(contents)));
        self
    }

    /// Adds a file that stays where it is: its contents are read from there, and copied only as far as they are
    /// written to.
    #[must_use]
    pub fn file_of_image(mut self, path: impl Into<Vec<u8>>, contents: &'static [u8]) -> Self {
        self.tree.push((path.into(), Initial::FileOfImage(contents)));
        self
    }

    /// Sets what the container may do; without this call, everything.
    #[must_use]
    pub fn permissions(mut self, permissions: Permissions) -> Self {
        self.permissions = Some(permissions);
        self
    }

    /// Opens a socket that listens on a port, behind the preopened directories, in the order of these calls. The
    /// environment says where they are, in systemd's words (sd_listen_fds(3)): `LISTEN_FDS` how many, `LISTEN_FDNAMES`
    /// their ports, with a colon between them, and `LISTEN_FDS_START`, which systemd need not say, the first one's
    /// number.
    #[must_use]
    pub fn listener(mut self, port: u16) -> Self {
        self.listeners.push(port);
        self
    }

    /// Says where the container may connect to; without this call, nowhere.
    #[must_use]
    pub fn destinations(mut self, destinations: Destinations<'_>) -> Self {
        self.destinations = destinations.as_text().into();
        self
    }

    /// Gives the container a folder of the host's: volume `number`, at a path of its own. An empty directory is there in
    /// its own files. Permissions say nothing of what is in it: whoever gives it does.
    #[must_use]
    pub fn volume(mut self, path: impl Into<Vec<u8>>, number: u32, access: Access) -> Self {
        self.volumes.push((path.into(), number, access));
        self
    }

    /// Adds a symbolic link; the target must be relative.
    #[must_use]
    pub fn symlink(mut self, path: impl Into<Vec<u8>>, target: impl Into<Vec<u8>>) -> Self {
        self.tree.push((path.into(), Initial::Symlink(Cow::Owned(target.into()))));
        self
    }

    /// The time all files made by the builder have, in nanoseconds since 1970; 0 by default.
    #[must_use]
    pub fn time_ns(mut self, time_ns: u64) -> Self {
        self.time_ns = time_ns;
        self
    }

    /// Makes the container's WASI layer.
    ///
    /// # Errors
    /// [`SetupError`], with the argument or path that is at fault.
    pub fn build(mut self) -> Result<Wasi, SetupError> {
        let mut fs = FileSystem::new(&self.limits, self.time_ns).map_err(SetupError::Limits)?;
        for (path, initial) in &self.tree {
            plant(&mut fs, path, initial, self.time_ns).map_err(|errno| at(path, errno))?;
        }
        let mut descriptors = Descriptors::new(self.limits.descriptors);
        let streams = [
            (Object::Stdin, rights::STDIN),
            (Object::Output(Stream::Stdout), rights::OUTPUT),
            (Object::Output(Stream::Stderr), rights::OUTPUT),
        ];
        for (object, rights_base) in streams {
            let stream = Descriptor { object, rights_base, rights_inheriting: 0, flags: 0, read_only: false };
            add(&mut descriptors, stream).map_err(SetupError::Limits)?;
        }
        let root = [(Vec::from(*b"/"), Access::ReadWrite)];
        // A volume may take the root's place.
        let no_root = self.volumes.iter().any(|(path, ..)| relative(path).is_empty());
        let preopens = match self.preopens.is_empty() {
            true if no_root => &[],
            true => &root[..],
            false => &self.preopens[..],
        };
        for (path, access) in preopens {
            preopen(&mut fs, &mut descriptors, path, *access, self.time_ns)
                .map_err(|errno| at(path, errno))?;
        }
        for (path, number, access) in &self.volumes {
            mount(&mut fs, &mut descriptors, (path, *number), *access, self.time_ns)
                .map_err(|errno| at(path, errno))?;
        }
        listen(&self.listeners, &mut descriptors, &mut self.env).map_err(SetupError::Limits)?;
        let confine = |permissions| confinement(&mut fs, permissions, self.time_ns);
        let confinement = self.permissions.map(confine).transpose()?;
        Ok(Wasi {
            args: arguments(&self.args)?,
            env: environment(&self.env)?,
            descriptors,
            fs,
            opened: Opened::new(),
            outward: Outward { destinations: self.destinations, ports: self.listeners, ..Outward::default() },
            pending: None,
            confinement,
        })
    }
}

fn at(path: &[u8], errno: Errno) -> SetupError {
    SetupError::Path { path: String::from_utf8_lossy(path).into_owned(), errno }
}

fn arguments(args: &[Vec<u8>]) -> Result<Strings, SetupError> {
    let mut strings = Strings::default();
    for (index, arg) in args.iter().enumerate() {
        if arg.contains(&0) {
            return Err(SetupError::Argument { index });
        }
        push(&mut strings, &[arg])?;
    }
    Ok(strings)
}

fn environment(env: &[(Vec<u8>, Vec<u8>)]) -> Result<Strings, SetupError> {
    let mut strings = Strings::default();
    for (index, (name, value)) in env.iter().enumerate() {
        if name.is_empty() || name.contains(&b'=') || name.contains(&0) || value.contains(&0) {
            return Err(SetupError::Environment { index });
        }
        push(&mut strings, &[name, b"=", value])?;
    }
    Ok(strings)
}

fn push(strings: &mut Strings, parts: &[&[u8]]) -> Result<(), SetupError> {
    let bytes = strings.push(parts);
    if bytes > STRING_BYTES_MAX {
        return Err(SetupError::TooLong { bytes, max: STRING_BYTES_MAX });
    }
    Ok(())
}

/// Opens the lowest free number, and gives it.
fn add(descriptors: &mut Descriptors, descriptor: Descriptor) -> Result<u32, Errno> {
    let fd = descriptors.vacancy()?;
    descriptors.fill(fd, descriptor)?;
    Ok(fd)
}

/// Opens a directory, made if need be, for the module.
fn preopen(
    fs: &mut FileSystem,
    descriptors: &mut Descriptors,
    path: &[u8],
    access: Access,
    now: u64,
) -> Result<(), Errno> {
    let inode = directory(fs, relative(path), now)?;
    fs.open(inode)?;
    add(
        descriptors,
        Descriptor {
            object: Object::Directory { inode, preopened: Some(path.into()) },
            rights_base: rights::DIRECTORY,
            rights_inheriting: rights::DIRECTORY | rights::FILE,
            flags: 0,
            read_only: access == Access::ReadOnly,
        },
    )
    .map(drop)
}

/// Opens a volume for the module.
fn mount(
    fs: &mut FileSystem,
    descriptors: &mut Descriptors,
    (path, volume): (&[u8], u32),
    access: Access,
    now: u64,
) -> Result<(), Errno> {
    directory(fs, relative(path), now)?;
    let node = VolumeNode {
        volume,
        number: 0,
        again: 0,
        path: Box::default(),
        is_directory: true,
        position: 0,
        preopened: Some(path.into()),
    };
    let descriptor = Descriptor {
        object: Object::Volume(Box::new(node)),
        rights_base: rights::DIRECTORY,
        rights_inheriting: rights::DIRECTORY | rights::FILE,
        flags: 0,
        read_only: access == Access::ReadOnly,
    };
    add(descriptors, descriptor).map(drop)
}

/// Opens the sockets that listen, and tells of them.
fn listen(
    ports: &[u16],
    descriptors: &mut Descriptors,
    env: &mut Vec<(Vec<u8>, Vec<u8>)>,
) -> Result<(), Errno> {
    let mut names = String::new();
    for (at, port) in ports.iter().enumerate() {
        let fd = add(descriptors, Descriptor::listener(*port))?;
        if at == 0 {
            env.push((b"LISTEN_FDS".into(), ports.len().to_string().into_bytes()));
            env.push((b"LISTEN_FDS_START".into(), fd.to_string().into_bytes()));
        } else {
            names.push(':');
        }
        names.push_str(&port.to_string());
    }
    if !ports.is_empty() {
        env.push((b"LISTEN_FDNAMES".into(), names.into_bytes()));
    }
    Ok(())
}

/// Finds what rules are about, and holds it open.
fn confinement(fs: &mut FileSystem, permissions: Permissions, now: u64) -> Result<Confinement, SetupError> {
    let mut rules = Vec::with_capacity(permissions.files.len());
    for (path, access) in permissions.files {
        let inode = ruled(fs, relative(&path), now).map_err(|errno| at(&path, errno))?;
        rules.push((inode, access));
    }
    Ok(Confinement {
        rules,
        wall_clock_ns: permissions.wall_clock_ns,
        monotonic_clock_ns: permissions.monotonic_clock_ns,
        random: permissions.random,
        made_ns: now,
    })
}

fn ruled(fs: &mut FileSystem, path: &[u8], now: u64) -> Result<InodeId, Errno> {
    let found = match path {
        [] => Ok(InodeId::ROOT),
        path => fs.resolve(InodeId::ROOT, path, Last::NoFollow).and_then(|target| fs.existing(&target)),
    };
    let inode = match found {
        Err(Errno::Noent) => directory(fs, path, now)?,
        found => found?,
    };
    fs.open(inode)?;
    Ok(inode)
}

/// A container path as the file system walks it, from its root.
pub(crate) fn relative(path: &[u8]) -> &[u8] {
    let slashes = path.iter().take_while(|byte| **byte == b'/').count();
    path.get(slashes..).unwrap_or_default()
}

/// Makes one of the files the container starts with.
fn plant(fs: &mut FileSystem, path: &[u8], initial: &Initial<'_>, now: u64) -> Result<(), Errno> {
    let path = relative(path);
    let parent_len = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    match initial {
        Initial::Directory => directory(fs, path, now).map(|_| ()),
        Initial::File(contents) => {
            directory(fs, path.get(..parent_len).unwrap_or_default(), now)?;
            let inode = fs.create_file(&free_name(fs, path)?, now)?;
            // A short count is a full file system: half a file is no use to the program.
            let written = fs.write(inode, 0, contents, now)?;
            if written < contents.len() { Err(Errno::Nospc) } else { Ok(()) }
        }
        Initial::FileOfImage(contents) => {
            directory(fs, path.get(..parent_len).unwrap_or_default(), now)?;
            fs.create_file_of_image(&free_name(fs, path)?, contents, now).map(|_| ())
        }
        Initial::Symlink(target) => {
            directory(fs, path.get(..parent_len).unwrap_or_default(), now)?;
            fs.create_symlink(&free_name(fs, path)?, target, now)
        }
    }
}

fn free_name(fs: &FileSystem, path: &[u8]) -> Result<Entry, Errno> {
    fs.resolve(InodeId::ROOT, path, Last::Name)?.entry(Errno::Exist)
}

/// The directory at a path, made with all that lead to it where they are missing.
fn directory(fs: &mut FileSystem, path: &[u8], now: u64) -> Result<InodeId, Errno> {
    let ends = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(index, _)| index);
    let mut here = InodeId::ROOT;
    for end in ends.chain([path.len()]).filter(|end| *end > 0) {
        let target = fs.resolve(InodeId::ROOT, path.get(..end).unwrap_or_default(), Last::Follow)?;
        here = match target {
            Target::Entry(entry) if entry.inode.is_none() => fs.create_directory(&entry, now)?,
            target => fs.existing(&target)?,
        };
    }
    match fs.filetype(here)? {
        crate::record::FileType::Directory => Ok(here),
        _ => Err(Errno::Notdir),
    }
}
