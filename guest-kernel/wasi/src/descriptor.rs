//! The descriptor table: what each small number of the module stands for.

use alloc::boxed::Box;
use alloc::vec::Vec;

use crate::calls::outward::Calling;
use crate::calls::volumes::VolumeNode;
use crate::errno::Errno;
use crate::fs::InodeId;
use crate::host::{Connection, Stream};
use crate::rights;

/// What a descriptor stands for.
#[derive(Debug)]
pub(crate) enum Object {
    Stdin,
    Output(Stream),
    /// An open file; `position` is where the next read or write goes, in bytes.
    File {
        inode: InodeId,
        position: u64,
    },
    /// An open directory; with the name the module knows it by, if it was opened beforehand.
    Directory {
        inode: InodeId,
        preopened: Option<Box<[u8]>>,
    },
    /// A socket that listens on this port.
    Listener(u16),
    /// A connected socket.
    Connected(Connection),
    /// A call to the outside that was begun.
    Calling(Calling),
    /// A file or directory of the host's, in a folder that the container was given.
    Volume(Box<VolumeNode>),
}

/// One open descriptor. It holds an open count on its inode.
#[derive(Debug)]
pub(crate) struct Descriptor {
    pub(crate) object: Object,
    pub(crate) rights_base: u64,
    pub(crate) rights_inheriting: u64,
    /// `$fdflags`.
    pub(crate) flags: u16,
    /// Opened through a read-only preopen: changes are `EROFS`.
    pub(crate) read_only: bool,
}

impl Descriptor {
    /// A socket that listens on a port.
    pub(crate) const fn listener(port: u16) -> Self {
        Self {
            object: Object::Listener(port),
            rights_base: rights::LISTENER,
            rights_inheriting: rights::CONNECTED,
            flags: 0,
            read_only: false,
        }
    }

    /// `ENOTCAPABLE` unless the descriptor has all of `rights`.
    pub(crate) fn require(&self, rights: u64) -> Result<(), Errno> {
        if self.rights_base & rights == rights { Ok(()) } else { Err(Errno::Notcapable) }
    }

    /// `EROFS` if nothing may be changed through this descriptor.
    pub(crate) fn writable(&self) -> Result<(), Errno> {
        if self.read_only { Err(Errno::Rofs) } else { Ok(()) }
    }

    /// The file, for calls that need one: `EISDIR` for a directory, `stream` for a standard stream.
    pub(crate) fn file(&self, rights: u64, stream: Errno) -> Result<(InodeId, u64), Errno> {
        match self.object {
            Object::File { inode, position } => self.require(rights).map(|()| (inode, position)),
            Object::Directory { .. } => Err(Errno::Isdir),
            // Whoever can do something with it has looked for it before.
            Object::Volume(_) => Err(Errno::Notsup),
            Object::Stdin
            | Object::Output(_)
            | Object::Listener(_)
            | Object::Connected(_)
            | Object::Calling(_) => Err(stream),
        }
    }

    /// A file's offset, in bytes: `EISDIR` for a directory, `ESPIPE` for what has none.
    pub(crate) fn position(&self) -> Result<u64, Errno> {
        match &self.object {
            Object::Volume(node) => node.file().map(|node| node.position),
            _ => self.file(0, Errno::Spipe).map(|(_, position)| position),
        }
    }

    /// Sets a file's offset, in bytes.
    pub(crate) fn set_position(&mut self, to: u64) {
        match &mut self.object {
            Object::File { position, .. } => *position = to,
            Object::Volume(node) => node.position = to,
            _ => {}
        }
    }

    /// Moves a file's offset to `count` bytes after `at`; moving no bytes leaves it alone.
    pub(crate) fn advance(&mut self, at: u64, count: u32) {
        if count > 0 {
            self.set_position(at.saturating_add(u64::from(count)));
        }
    }

    /// The directory, for calls that need one; else `ENOTDIR`.
    pub(crate) fn directory(&self, rights: u64) -> Result<InodeId, Errno> {
        match self.object {
            Object::Directory { inode, .. } => self.require(rights).map(|()| inode),
            Object::File { .. }
            | Object::Stdin
            | Object::Output(_)
            | Object::Listener(_)
            | Object::Connected(_)
            | Object::Calling(_) => Err(Errno::Notdir),
            Object::Volume(_) => Err(Errno::Xdev),
        }
    }

    /// The inode, unless this is a standard stream or a socket.
    pub(crate) fn inode(&self) -> Option<InodeId> {
        match self.object {
            Object::File { inode, .. } | Object::Directory { inode, .. } => Some(inode),
            Object::Stdin
            | Object::Output(_)
            | Object::Listener(_)
            | Object::Connected(_)
            | Object::Calling(_)
            | Object::Volume(_) => None,
        }
    }
}

/// The open descriptors of one container.
#[derive(Debug)]
pub(crate) struct Descriptors {
    slots: Vec<Option<Descriptor>>,
    max: usize,
}

impl Descriptors {
    pub(crate) fn new(max: u32) -> Self {
        Self { slots: Vec::new(), max: usize::try_from(max).unwrap_or(usize::MAX) }
    }

    fn index(fd: u32) -> Result<usize, Errno> {
        usize::try_from(fd).map_err(|_| Errno::Badf)
    }

    pub(crate) fn get(&self, fd: u32) -> Result<&Descriptor, Errno> {
        self.slots.get(Self::index(fd)?).and_then(Option::as_ref).ok_or(Errno::Badf)
    }

    pub(crate) fn get_mut(&mut self, fd: u32) -> Result<&mut Descriptor, Errno> {
        self.slots.get_mut(Self::index(fd)?).and_then(Option::as_mut).ok_or(Errno::Badf)
    }

    /// How many are open.
    pub(crate) fn open(&self) -> usize {
        self.slots.iter().flatten().count()
    }

    /// The lowest free number, with memory for it set aside: [`Descriptors::fill`] cannot fail
    /// after it. `EMFILE` at the limit.
    pub(crate) fn vacancy(&mut self) -> Result<u32, Errno> {
        let index = match self.slots.iter().position(Option::is_none) {
            Some(index) => index,
            None if self.slots.len() >= self.max => return Err(Errno::Mfile),
            None => {
                self.slots.try_reserve(1).map_err(|_| Errno::Nomem)?;
                self.slots.push(None);
                self.slots.len().saturating_sub(1)
            }
        };
        u32::try_from(index).map_err(|_| Errno::Mfile)
    }

    /// Puts a descriptor where [`Descriptors::vacancy`] found a place.
    pub(crate) fn fill(&mut self, fd: u32, descriptor: Descriptor) -> Result<(), Errno> {
        let slot = self.slots.get_mut(Self::index(fd)?).ok_or(Errno::Badf)?;
        *slot = Some(descriptor);
        Ok(())
    }

    /// Frees a number and hands out what it stood for.
    pub(crate) fn remove(&mut self, fd: u32) -> Result<Descriptor, Errno> {
        self.slots.get_mut(Self::index(fd)?).and_then(Option::take).ok_or(Errno::Badf)
    }

    /// Moves `from` to `to`, both open; hands out what `to` stood for before, if they differ.
    pub(crate) fn renumber(&mut self, from: u32, to: u32) -> Result<Option<Descriptor>, Errno> {
        self.get(from)?;
        self.get(to)?;
        if from == to {
            return Ok(None);
        }
        let moved = self.remove(from)?;
        Ok(Some(core::mem::replace(self.get_mut(to)?, moved)))
    }
}
