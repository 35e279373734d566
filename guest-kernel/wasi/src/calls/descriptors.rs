//! Descriptors themselves: what they are, what they may do, and their numbers.
//!
//! `fd_close`, `fd_renumber`, `fd_fdstat_get`, `fd_fdstat_set_flags`, `fd_fdstat_set_rights`,
//! `fd_prestat_get`, `fd_prestat_dir_name`.

use crate::calls::outward::Calling;
use crate::descriptor::{Descriptor, Object};
use crate::errno::Errno;
use crate::flags;
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::record::{FdStat, FileType, PreStat};
use crate::rights;
use crate::wasi::Wasi;

/// A stream's file type: a terminal is a character device (`isatty` asks for it), anything else is
/// of no type that WASI names.
pub(crate) fn stream_type(is_terminal: bool) -> FileType {
    if is_terminal { FileType::CharacterDevice } else { FileType::Unknown }
}

/// What kind of thing a descriptor stands for.
pub(crate) fn filetype(host: &mut (impl Host + ?Sized), object: &Object) -> FileType {
    match *object {
        Object::Stdin => stream_type(host.stdin_is_terminal()),
        Object::Output(stream) => stream_type(host.output_is_terminal(stream)),
        Object::File { .. } => FileType::RegularFile,
        Object::Directory { .. } => FileType::Directory,
        Object::Listener(_) | Object::Connected(_) | Object::Calling(_) => FileType::SocketStream,
        Object::Volume(ref node) if node.is_directory => FileType::Directory,
        Object::Volume(_) => FileType::RegularFile,
    }
}

fn preopen_name(descriptor: &Descriptor) -> Result<&[u8], Errno> {
    match &descriptor.object {
        Object::Directory { preopened: Some(name), .. } => Ok(name),
        Object::Volume(node) => node.preopened.as_deref().ok_or(Errno::Badf),
        _ => Err(Errno::Badf),
    }
}

impl Wasi {
    /// `fd_close`: gives the number free. A file without a name goes with its last descriptor.
    /// Streams and preopens can be closed too.
    pub fn fd_close(&mut self, host: &mut (impl Host + ?Sized), _mem: &mut [u8], fd: u32) -> Outcome {
        self.answer(|wasi| {
            let closed = wasi.descriptors.remove(fd)?;
            Ok(wasi.release(host, &closed)?)
        })
    }

    fn release(&mut self, host: &mut (impl Host + ?Sized), closed: &Descriptor) -> Result<(), Errno> {
        match &closed.object {
            Object::Connected(connection) | Object::Calling(Calling { connection, .. }) => {
                host.close(*connection);
            }
            Object::Volume(node) => Self::volume_close(host, node),
            _ => {}
        }
        closed.inode().map_or(Ok(()), |inode| self.fs.close(inode))
    }

    /// `fd_renumber`: `to` stands for what `fd` stood for; `fd` is free. Both must be open.
    pub fn fd_renumber(
        &mut self,
        host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        to: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if let Some(replaced) = wasi.descriptors.renumber(fd, to)? {
                wasi.release(host, &replaced)?;
            }
            Ok(())
        })
    }

    /// `fd_fdstat_get`: file type, flags and rights.
    pub fn fd_fdstat_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        stat: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            let record = FdStat {
                filetype: filetype(host, &descriptor.object),
                flags: descriptor.flags,
                rights_base: descriptor.rights_base,
                rights_inheriting: descriptor.rights_inheriting,
            };
            Ok(memory::put(mem, stat, &record.encode())?)
        })
    }

    /// `fd_fdstat_set_flags`: sets append and non-blocking mode; the `sync` flags are kept and
    /// change nothing, for memory is all the storage there is.
    pub fn fd_fdstat_set_flags(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        flags: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get_mut(fd)?;
            descriptor.require(rights::FD_FDSTAT_SET_FLAGS)?;
            descriptor.flags = flags::fd_flags(flags)?;
            Ok(())
        })
    }

    /// `fd_fdstat_set_rights`: takes rights away. `ENOTCAPABLE` if any would be added.
    pub fn fd_fdstat_set_rights(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        rights_base: u64,
        rights_inheriting: u64,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get_mut(fd)?;
            let added =
                (rights_base & !descriptor.rights_base) | (rights_inheriting & !descriptor.rights_inheriting);
            if added != 0 {
                return Err(Errno::Notcapable.into());
            }
            descriptor.rights_base = rights_base;
            descriptor.rights_inheriting = rights_inheriting;
            Ok(())
        })
    }

    /// `fd_prestat_get`: that a descriptor was opened beforehand, and the length of its name.
    /// `EBADF` for others; by that a program knows it has seen all.
    pub fn fd_prestat_get(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        prestat: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let name = preopen_name(wasi.descriptors.get(fd)?)?;
            let name_len = u32::try_from(name.len()).map_err(|_| Errno::Overflow)?;
            Ok(memory::put(mem, prestat, &PreStat { name_len }.encode())?)
        })
    }

    /// `fd_prestat_dir_name`: the name, without a zero byte. `ENAMETOOLONG` if the buffer is
    /// shorter.
    pub fn fd_prestat_dir_name(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let name = preopen_name(wasi.descriptors.get(fd)?)?;
            if u32::try_from(name.len()).map_err(|_| Errno::Overflow)? > path_len {
                return Err(Errno::Nametoolong.into());
            }
            Ok(memory::put(mem, path, name)?)
        })
    }
}
