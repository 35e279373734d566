//! Attributes by path, and what calls with paths share: `path_filestat_get`,
//! `path_filestat_set_times`, `path_readlink`.

use crate::descriptor::Descriptor;
use crate::errno::Errno;
use crate::flags;
use crate::fs::{InodeId, Last, Target};
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::Need;
use crate::record::FileStat;
use crate::rights;
use crate::wasi::Wasi;

/// A path parameter: pointer and length.
pub(crate) type Path = (u32, u32);

impl Wasi {
    /// The open directory a path starts from, if it has the rights.
    pub(crate) fn base(&self, fd: u32, rights: u64) -> Result<(&Descriptor, InodeId), Errno> {
        let descriptor = self.descriptors.get(fd)?;
        Ok((descriptor, descriptor.directory(rights)?))
    }

    /// As [`Wasi::base`], for a call that changes something: `EROFS` in a read-only preopen.
    pub(crate) fn changeable(&self, fd: u32, rights: u64) -> Result<InodeId, Errno> {
        let (descriptor, inode) = self.base(fd, rights)?;
        descriptor.writable()?;
        Ok(inode)
    }

    /// Walks a path parameter.
    pub(crate) fn walk(
        &self,
        mem: &[u8],
        start: InodeId,
        (path, path_len): Path,
        last: Last,
    ) -> Result<Target, Errno> {
        self.fs.resolve(start, memory::bytes(mem, path, path_len)?, last)
    }

    /// `path_filestat_get` (`fstatat`): the attributes of what a path names.
    pub fn path_filestat_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        flags: u32,
        path: u32,
        path_len: u32,
        stat: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let follow = flags::lookup_follow(flags)?;
            if wasi.volume(fd).is_some() {
                return Ok(wasi.volume_filestat_get(host, mem, (fd, (path, path_len)), follow, stat)?);
            }
            let (_, start) = wasi.base(fd, rights::PATH_FILESTAT_GET)?;
            let last = Last::from_follow(follow);
            memory::check(mem, stat, FileStat::BYTES)?;
            let target = wasi.walk(mem, start, (path, path_len), last)?;
            wasi.may(host, &target, Need::Read)?;
            let record = wasi.fs.stat(wasi.fs.existing(&target)?)?;
            Ok(memory::put(mem, stat, &record.encode())?)
        })
    }

    /// `path_filestat_set_times` (`utimensat`): sets the times of what a path names. `EINVAL` for a
    /// time that is to be both given and now.
    pub fn path_filestat_set_times(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        flags: u32,
        path: u32,
        path_len: u32,
        atim: u64,
        mtim: u64,
        fst_flags: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let follow = flags::lookup_follow(flags)?;
            let now = wasi.now(host);
            if wasi.volume(fd).is_some() {
                let times = flags::new_times(fst_flags, atim, mtim, now)?;
                let path = (fd, (path, path_len));
                return Ok(wasi.volume_filestat_set_times(host, mem, path, follow, times)?);
            }
            let start = wasi.changeable(fd, rights::PATH_FILESTAT_SET_TIMES)?;
            let last = Last::from_follow(follow);
            let times = flags::new_times(fst_flags, atim, mtim, now)?;
            let target = wasi.walk(mem, start, (path, path_len), last)?;
            wasi.may(host, &target, Need::Write)?;
            let inode = wasi.fs.existing(&target)?;
            Ok(wasi.fs.set_times(inode, times, now)?)
        })
    }

    /// `path_readlink` (`readlinkat`): where a symbolic link leads, without a zero byte, cut to the
    /// buffer. `EINVAL` if it is no link.
    pub fn path_readlink(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        path: u32,
        path_len: u32,
        buf: u32,
        buf_len: u32,
        bufused: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            memory::check(mem, bufused, 4)?;
            if wasi.volume(fd).is_some() {
                let target = wasi.volume_readlink(host, mem, fd, (path, path_len))?;
                return Ok(put_cut(mem, (buf, buf_len), &target, bufused)?);
            }
            let (_, start) = wasi.base(fd, rights::PATH_READLINK)?;
            let target = wasi.walk(mem, start, (path, path_len), Last::NoFollow)?;
            wasi.may(host, &target, Need::Read)?;
            let link = wasi.fs.link_target(wasi.fs.existing(&target)?)?;
            Ok(put_cut(mem, (buf, buf_len), link, bufused)?)
        })
    }
}

/// Puts bytes into a buffer, as many as fit, and how many that were behind them.
fn put_cut(mem: &mut [u8], (buf, buf_len): (u32, u32), bytes: &[u8], used_at: u32) -> Result<(), Errno> {
    let room = memory::bytes_mut(mem, buf, buf_len)?;
    let mut used = 0;
    for (to, from) in room.iter_mut().zip(bytes) {
        *to = *from;
        used += 1;
    }
    memory::put_u32(mem, used_at, used)
}
