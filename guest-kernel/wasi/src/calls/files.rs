//! What is done to an open file besides moving its bytes: offset, size, attributes, space.
//!
//! `fd_seek`, `fd_tell`, `fd_advise`, `fd_allocate`, `fd_sync`, `fd_datasync`, `fd_filestat_get`,
//! `fd_filestat_set_size`, `fd_filestat_set_times`.

use crate::descriptor::Object;
use crate::errno::Errno;
use crate::flags;
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::Need;
use crate::record::FileStat;
use crate::rights;
use crate::wasi::Wasi;

use super::descriptors::filetype;
use sentient_abi::volumes::Wanted;

/// `$advice`: `noreuse`, the last.
const ADVICE_MAX: u32 = 5;

impl Wasi {
    /// `fd_seek` (`lseek`): moves the offset by a signed number of bytes from the start, from where
    /// it is or from the end, also beyond the end. `EINVAL` before the start, `EOVERFLOW` beyond
    /// 2^63 - 1, `ESPIPE` for a stream.
    pub fn fd_seek(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        offset: u64,
        whence: u32,
        newoffset: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let delta = offset.cast_signed();
            let descriptor = wasi.descriptors.get(fd)?;
            let position = descriptor.position()?;
            // "Implies fd_tell": staying where one is needs only that right.
            let telling = whence == 1 && delta == 0 && descriptor.require(rights::FD_TELL).is_ok();
            if !telling {
                descriptor.require(rights::FD_SEEK)?;
            }
            let base = match whence {
                0 => 0,
                1 => position,
                2 => match &descriptor.object {
                    Object::Volume(node) => node.stat(host)?.size,
                    _ => wasi.fs.size(descriptor.file(0, Errno::Spipe)?.0)?,
                },
                _ => return Err(Errno::Inval.into()),
            };
            let end = i128::from(base).saturating_add(i128::from(delta));
            let end = u64::try_from(end).map_err(|_| Errno::Inval)?;
            if i64::try_from(end).is_err() {
                return Err(Errno::Overflow.into());
            }
            memory::put_u64(mem, newoffset, end)?;
            wasi.descriptors.get_mut(fd)?.set_position(end);
            Ok(())
        })
    }

    /// `fd_tell`: the offset. `ESPIPE` for a stream.
    pub fn fd_tell(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        newoffset: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            let position = descriptor.position()?;
            if descriptor.require(rights::FD_SEEK).is_err() {
                descriptor.require(rights::FD_TELL)?;
            }
            Ok(memory::put_u64(mem, newoffset, position)?)
        })
    }

    /// `fd_advise` (`posix_fadvise`): checked and heeded by doing nothing; all of it is in memory.
    /// `ESPIPE` for a stream.
    pub fn fd_advise(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        offset: u64,
        len: u64,
        advice: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            descriptor.position()?;
            descriptor.require(rights::FD_ADVISE)?;
            if advice > ADVICE_MAX || offset.checked_add(len).is_none() {
                return Err(Errno::Inval.into());
            }
            Ok(())
        })
    }

    /// `fd_allocate` (`posix_fallocate`): sets space aside, and makes the file reach the range's
    /// end. `EINVAL` for an empty range, `ENOSPC`, `EFBIG` beyond 1 TiB, `ESPIPE` for a stream.
    pub fn fd_allocate(
        &mut self,
        host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        offset: u64,
        len: u64,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            if let Object::Volume(node) = &descriptor.object {
                let node = node.file()?;
                descriptor.require(rights::FD_ALLOCATE)?;
                descriptor.writable()?;
                return Ok(wasi.volume_do(host, node, |handle| Wanted::Allocate(handle, offset, len))?);
            }
            let (inode, _) = descriptor.file(rights::FD_ALLOCATE, Errno::Spipe)?;
            descriptor.writable()?;
            if len == 0 {
                return Err(Errno::Inval.into());
            }
            Ok(wasi.fs.allocate(inode, offset, len, wasi.now(host))?)
        })
    }

    /// `fd_sync`: a file of the host's reaches its disk. For others nothing is left to do, for memory is all the storage
    /// there is.
    pub fn fd_sync(&mut self, host: &mut (impl Host + ?Sized), _mem: &mut [u8], fd: u32) -> Outcome {
        self.answer(|wasi| Ok(wasi.sync(host, fd, rights::FD_SYNC)?))
    }

    /// `fd_datasync`: as [`Wasi::fd_sync`].
    pub fn fd_datasync(&mut self, host: &mut (impl Host + ?Sized), _mem: &mut [u8], fd: u32) -> Outcome {
        self.answer(|wasi| Ok(wasi.sync(host, fd, rights::FD_DATASYNC)?))
    }

    fn sync(&self, host: &mut (impl Host + ?Sized), fd: u32, rights: u64) -> Result<(), Errno> {
        let descriptor = self.descriptors.get(fd)?;
        descriptor.require(rights)?;
        match &descriptor.object {
            Object::Volume(node) if node.number != 0 => self.volume_do(host, node, Wanted::Sync),
            _ => Ok(()),
        }
    }

    /// `fd_filestat_get` (`fstat`): the attributes of an open file, directory or stream.
    pub fn fd_filestat_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        stat: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            descriptor.require(rights::FD_FILESTAT_GET)?;
            let record = match descriptor.object {
                Object::File { inode, .. } | Object::Directory { inode, .. } => wasi.fs.stat(inode)?,
                Object::Volume(ref node) => wasi.volume_record(node, &node.stat(host)?),
                Object::Stdin
                | Object::Output(_)
                | Object::Listener(_)
                | Object::Connected(_)
                | Object::Calling(_) => FileStat {
                    dev: 0,
                    ino: u64::from(fd),
                    filetype: filetype(host, &descriptor.object),
                    nlink: 1,
                    size: 0,
                    atim: 0,
                    mtim: 0,
                    ctim: 0,
                },
            };
            Ok(memory::put(mem, stat, &record.encode())?)
        })
    }

    /// `fd_filestat_set_size` (`ftruncate`): cuts a file or lengthens it with zeros that take no
    /// space. `EFBIG` beyond 1 TiB, `EINVAL` for a stream.
    pub fn fd_filestat_set_size(
        &mut self,
        host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        size: u64,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            if let Object::Volume(node) = &descriptor.object {
                let node = node.file()?;
                descriptor.require(rights::FD_FILESTAT_SET_SIZE)?;
                descriptor.writable()?;
                return Ok(wasi.volume_do(host, node, |handle| Wanted::Resize(handle, size))?);
            }
            let (inode, _) = descriptor.file(rights::FD_FILESTAT_SET_SIZE, Errno::Inval)?;
            descriptor.writable()?;
            Ok(wasi.fs.resize(inode, size, wasi.now(host))?)
        })
    }

    /// `fd_filestat_set_times` (`futimens`): sets the times of an open file or directory. `EINVAL`
    /// for a time that is to be both given and now, and for a stream.
    pub fn fd_filestat_set_times(
        &mut self,
        host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        atim: u64,
        mtim: u64,
        fst_flags: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            if let Object::Volume(node) = &descriptor.object {
                descriptor.require(rights::FD_FILESTAT_SET_TIMES)?;
                descriptor.writable()?;
                let times = flags::new_times(fst_flags, atim, mtim, wasi.now(host))?;
                return Ok(wasi.volume_set_times(host, node, times)?);
            }
            let inode = descriptor.inode().ok_or(Errno::Inval)?;
            descriptor.require(rights::FD_FILESTAT_SET_TIMES)?;
            descriptor.writable()?;
            if let Object::Directory { inode, .. } = descriptor.object {
                wasi.may_at(host, inode, Need::Write)?;
            }
            let now = wasi.now(host);
            let times = flags::new_times(fst_flags, atim, mtim, now)?;
            Ok(wasi.fs.set_times(inode, times, now)?)
        })
    }
}
