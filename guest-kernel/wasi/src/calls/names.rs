//! Making, moving and removing names: `path_create_directory`, `path_remove_directory`,
//! `path_unlink_file`, `path_rename`, `path_link`, `path_symlink`.

use crate::errno::Errno;
use crate::flags;
use crate::fs::{Entry, InodeId, Last};
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::Need;
use crate::rights;
use crate::wasi::Wasi;
use sentient_abi::volumes::{Wanted, flags as how};

use super::paths::Path;

impl Wasi {
    /// The name at the end of a path, to be made, moved or removed; `dots` if the path ends in `.` or `..`,
    /// `ENOTCAPABLE` if the container may not do that there.
    fn name(
        &self,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        start: InodeId,
        path: Path,
        dots: Errno,
    ) -> Result<Entry, Errno> {
        let target = self.walk(mem, start, path, Last::Name)?;
        self.may(host, &target, Need::Name)?;
        target.entry(dots)
    }

    /// `path_create_directory` (`mkdirat`). `EEXIST` whatever is there, be it a link that leads
    /// nowhere.
    pub fn path_create_directory(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if wasi.volume(fd).is_some() {
                let of = (fd, rights::PATH_CREATE_DIRECTORY);
                return Ok(wasi.volume_change(host, mem, of, (path, path_len), Wanted::MakeDirectory)?);
            }
            let start = wasi.changeable(fd, rights::PATH_CREATE_DIRECTORY)?;
            let entry = wasi.name(host, mem, start, (path, path_len), Errno::Exist)?;
            wasi.fs.create_directory(&entry, wasi.now(host))?;
            Ok(())
        })
    }

    /// `path_remove_directory` (`unlinkat` with `AT_REMOVEDIR`). `ENOTEMPTY`; `ENOTDIR` for
    /// anything else, a link to a directory too; `EINVAL` for a path that ends in `.` or `..`.
    pub fn path_remove_directory(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if wasi.volume(fd).is_some() {
                let of = (fd, rights::PATH_REMOVE_DIRECTORY);
                return Ok(wasi.volume_change(host, mem, of, (path, path_len), Wanted::RemoveDirectory)?);
            }
            let start = wasi.changeable(fd, rights::PATH_REMOVE_DIRECTORY)?;
            let entry = wasi.name(host, mem, start, (path, path_len), Errno::Inval)?;
            Ok(wasi.fs.remove_directory(&entry, wasi.now(host))?)
        })
    }

    /// `path_unlink_file` (`unlinkat`): an open file lives on without its name. `EISDIR` for a
    /// directory.
    pub fn path_unlink_file(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        path: u32,
        path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if wasi.volume(fd).is_some() {
                let of = (fd, rights::PATH_UNLINK_FILE);
                return Ok(wasi.volume_change(host, mem, of, (path, path_len), Wanted::Unlink)?);
            }
            let start = wasi.changeable(fd, rights::PATH_UNLINK_FILE)?;
            let entry = wasi.name(host, mem, start, (path, path_len), Errno::Isdir)?;
            Ok(wasi.fs.unlink(&entry, wasi.now(host))?)
        })
    }

    /// `path_rename` (`renameat`): a file over a file, a directory over an empty one; nothing
    /// happens if both names are the same file. `EINVAL` for a directory into itself and for a path
    /// that ends in `.` or `..`; `EISDIR`, `ENOTDIR`, `ENOTEMPTY` as POSIX has them.
    pub fn path_rename(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if wasi.volume(fd).is_some() || wasi.volume(new_fd).is_some() {
                let old = (fd, rights::PATH_RENAME_SOURCE, (old_path, old_path_len));
                let new = (new_fd, rights::PATH_RENAME_TARGET, (new_path, new_path_len));
                return Ok(wasi.volume_to_volume(host, mem, old, new, Wanted::Rename)?);
            }
            let from = wasi.changeable(fd, rights::PATH_RENAME_SOURCE)?;
            let to = wasi.changeable(new_fd, rights::PATH_RENAME_TARGET)?;
            let old = wasi.name(host, mem, from, (old_path, old_path_len), Errno::Inval)?;
            let new = wasi.name(host, mem, to, (new_path, new_path_len), Errno::Inval)?;
            Ok(wasi.fs.rename(&old, &new, wasi.now(host))?)
        })
    }

    /// `path_link` (`linkat`): one more name for a file, or for a symbolic link unless it is
    /// followed. `EPERM` for a directory, `EXDEV` out of a read-only preopen into a writable one.
    pub fn path_link(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        old_fd: u32,
        old_flags: u32,
        old_path: u32,
        old_path_len: u32,
        new_fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if wasi.volume(old_fd).is_some() || wasi.volume(new_fd).is_some() {
                let old = (old_fd, rights::PATH_LINK_SOURCE, (old_path, old_path_len));
                let new = (new_fd, rights::PATH_LINK_TARGET, (new_path, new_path_len));
                let how = if flags::lookup_follow(old_flags)? { how::FOLLOW } else { 0 };
                return Ok(
                    wasi.volume_to_volume(host, mem, old, new, |old, new| Wanted::Name(old, how, new))?
                );
            }
            let (source, from) = wasi.base(old_fd, rights::PATH_LINK_SOURCE)?;
            let to = wasi.changeable(new_fd, rights::PATH_LINK_TARGET)?;
            source.writable().map_err(|_| Errno::Xdev)?;
            let last = Last::from_follow(flags::lookup_follow(old_flags)?);
            let target = wasi.walk(mem, from, (old_path, old_path_len), last)?;
            // With its new name it can be changed by whoever may change that.
            wasi.may(host, &target, Need::Write)?;
            let inode = wasi.fs.existing(&target)?;
            let entry = wasi.name(host, mem, to, (new_path, new_path_len), Errno::Exist)?;
            Ok(wasi.fs.link(&entry, inode, wasi.now(host))?)
        })
    }

    /// `path_symlink` (`symlinkat`): a link that leads to `old_path`, there or not. `EPERM` for an
    /// absolute one, which nothing could follow.
    pub fn path_symlink(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        old_path: u32,
        old_path_len: u32,
        fd: u32,
        new_path: u32,
        new_path_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let target = memory::bytes(mem, old_path, old_path_len)?;
            if wasi.volume(fd).is_some() {
                return Ok(wasi.volume_symlink(host, mem, target, (fd, (new_path, new_path_len)))?);
            }
            let start = wasi.changeable(fd, rights::PATH_SYMLINK)?;
            let entry = wasi.name(host, mem, start, (new_path, new_path_len), Errno::Exist)?;
            Ok(wasi.fs.create_symlink(&entry, target, wasi.now(host))?)
        })
    }
}
