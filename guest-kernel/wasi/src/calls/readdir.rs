//! `fd_readdir`: the entries of a directory, from a cookie on.

use crate::errno::Errno;
use crate::host::Host;
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::Need;
use crate::record::DirEnt;
use crate::rights;
use crate::wasi::Wasi;

/// The part of the caller's buffer that is still free.
pub(super) struct Room<'a> {
    buf: &'a mut [u8],
    used: usize,
}

impl Room<'_> {
    /// Puts as many of the bytes as fit; whether all did.
    fn put(&mut self, bytes: &[u8]) -> bool {
        let free = self.buf.get_mut(self.used..).unwrap_or_default();
        let fits = bytes.len().min(free.len());
        let (to, _) = free.split_at_mut(fits);
        let (from, _) = bytes.split_at(fits);
        to.copy_from_slice(from);
        self.used = self.used.saturating_add(fits);
        fits == bytes.len()
    }

    /// Puts as much of an entry as fits; whether all did.
    pub(super) fn entry(&mut self, head: &DirEnt, name: &[u8]) -> bool {
        self.put(&head.encode()) && self.put(name)
    }

    /// Bytes that are free.
    pub(super) fn free(&self) -> usize {
        self.buf.len().saturating_sub(self.used)
    }
}

impl Wasi {
    /// `fd_readdir`: `.` and `..` first, the rest in the order in which they were made. The last
    /// entry may be cut off by the buffer's end; a count below the buffer's length means there are
    /// no more.
    ///
    /// Cookie 0 starts; an entry's `d_next` goes on after it, and stays good whatever is added or
    /// removed meanwhile.
    pub fn fd_readdir(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        buf: u32,
        buf_len: u32,
        cookie: u64,
        bufused: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            if let Some(node) = wasi.volume(fd) {
                wasi.descriptors.get(fd)?.require(rights::FD_READDIR)?;
                memory::check(mem, bufused, 4)?;
                let mut room = Room { buf: memory::bytes_mut(mem, buf, buf_len)?, used: 0 };
                wasi.volume_readdir(host, node, &mut room, cookie)?;
                let used = u32::try_from(room.used).map_err(|_| Errno::Overflow)?;
                return Ok(memory::put_u32(mem, bufused, used)?);
            }
            let (_, directory) = wasi.base(fd, rights::FD_READDIR)?;
            wasi.may_at(host, directory, Need::Read)?;
            memory::check(mem, bufused, 4)?;
            let mut room = Room { buf: memory::bytes_mut(mem, buf, buf_len)?, used: 0 };
            for entry in wasi.fs.list(directory, cookie)? {
                let head = DirEnt {
                    next: entry.next,
                    ino: entry.inode.number(),
                    name_len: u32::try_from(entry.name.len()).map_err(|_| Errno::Overflow)?,
                    filetype: wasi.fs.filetype(entry.inode)?,
                };
                if !room.entry(&head, entry.name) {
                    break;
                }
            }
            let used = u32::try_from(room.used).map_err(|_| Errno::Overflow)?;
            let times = wasi.file_times();
            wasi.fs.accessed(directory, || times.now(host))?;
            Ok(memory::put_u32(mem, bufused, used)?)
        })
    }
}
