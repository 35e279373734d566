//! Moving bytes: `fd_read`, `fd_pread`, `fd_write`, `fd_pwrite`.
//!
//! Buffers are used in order and in place; the call ends at the first that is not moved whole. At
//! most 1,024 buffers and as many bytes as the memory has are moved at once: beyond, the count is
//! short.

use super::volumes::appends;
use crate::descriptor::Object;
use crate::errno::Errno;
use crate::flags::{FD_APPEND, FD_NONBLOCK};
use crate::fs::{FileSystem, InodeId};
use crate::host::{Host, StreamError};
use crate::memory::{self, gather, scatter};
use crate::outcome::{Outcome, Stop, Wait};
use crate::permissions::FileTimes;
use crate::rights;
use crate::wasi::Wasi;

/// What a stream that moved nothing means for the call.
pub(super) fn refused(
    error: StreamError,
    closed: Result<usize, Stop>,
    flags: u16,
    wait: Wait,
) -> Result<usize, Stop> {
    match error {
        StreamError::Closed => closed,
        StreamError::Reset => Err(Errno::Connreset.into()),
        _ if flags & FD_NONBLOCK != 0 => Err(Errno::Again.into()),
        StreamError::WouldBlock => Err(Stop::Block(wait)),
        StreamError::TooFast(until) => Err(Stop::Block(Wait { until_ns: Some(until), ..Wait::YIELD })),
    }
}

/// Hands buffers to what takes them, and otherwise waits as `wait` says.
pub(super) fn hand_over(
    mem: &[u8],
    (iovs, iovs_len): (u32, u32),
    (flags, wait): (u16, Wait),
    mut take: impl FnMut(&[u8]) -> Result<usize, StreamError>,
) -> Result<u32, Stop> {
    gather(mem, iovs, iovs_len, |bytes| {
        let error = match take(bytes) {
            Ok(0) => StreamError::WouldBlock,
            Ok(taken) => return Ok(taken),
            Err(error) => error,
        };
        refused(error, Err(Errno::Pipe.into()), flags, wait)
    })
}

/// Fills buffers from what gives bytes, and otherwise waits as `wait` says.
pub(super) fn take_in(
    mem: &mut [u8],
    (iovs, iovs_len): (u32, u32),
    (flags, wait): (u16, Wait),
    mut give: impl FnMut(&mut [u8]) -> Result<usize, StreamError>,
) -> Result<u32, Stop> {
    scatter(mem, iovs, iovs_len, |buf| give(buf).or_else(|error| refused(error, Ok(0), flags, wait)))
}

fn read_file(
    (fs, times): (&mut FileSystem, FileTimes),
    host: &mut (impl Host + ?Sized),
    mem: &mut [u8],
    (iovs, iovs_len): (u32, u32),
    inode: InodeId,
    from: u64,
) -> Result<u32, Stop> {
    let mut at = from;
    let read = scatter(mem, iovs, iovs_len, |buf| {
        let count = fs.read(inode, at, buf)?;
        at = at.saturating_add(u64::try_from(count).unwrap_or_default());
        Ok(count)
    })?;
    if read > 0 {
        fs.accessed(inode, || times.now(host))?;
    }
    Ok(read)
}

fn write_file(
    (fs, times): (&mut FileSystem, FileTimes),
    host: &mut (impl Host + ?Sized),
    mem: &[u8],
    (iovs, iovs_len): (u32, u32),
    inode: InodeId,
    from: u64,
) -> Result<u32, Stop> {
    let now = times.now(host);
    let mut at = from;
    gather(mem, iovs, iovs_len, |bytes| {
        let count = fs.write(inode, at, bytes, now)?;
        at = at.saturating_add(u64::try_from(count).unwrap_or_default());
        Ok(count)
    })
}

impl Wasi {
    /// `fd_read` (`readv`): fills buffers from standard input or from a file's offset on, which
    /// moves.
    ///
    /// 0 is the end of file. Standard input that has nothing blocks, or is `EAGAIN` in non-blocking
    /// mode. `EBADF` for an output stream, `EISDIR` for a directory.
    pub fn fd_read(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        nread: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let times = wasi.file_times();
            let descriptor = wasi.descriptors.get_mut(fd)?;
            let flags = descriptor.flags;
            memory::check(mem, nread, 4)?;
            let count = match &descriptor.object {
                Object::Stdin => {
                    descriptor.require(rights::FD_READ)?;
                    take_in(mem, (iovs, iovs_len), (flags, Wait::STDIN), |buf| host.read(buf))?
                }
                Object::Output(_) => return Err(Errno::Badf.into()),
                Object::Connected(connection) => {
                    let connection = *connection;
                    descriptor.require(rights::FD_READ)?;
                    take_in(mem, (iovs, iovs_len), (flags, Wait::SOCKETS), |buf| {
                        host.receive(connection, buf, false)
                    })?
                }
                Object::Listener(_) | Object::Calling(_) => return Err(Errno::Notconn.into()),
                Object::Volume(node) => {
                    let at = node.file()?.position;
                    descriptor.require(rights::FD_READ)?;
                    let count = node.read(host, mem, (iovs, iovs_len), at)?;
                    descriptor.advance(at, count);
                    count
                }
                Object::File { .. } | Object::Directory { .. } => {
                    let (inode, at) = descriptor.file(rights::FD_READ, Errno::Badf)?;
                    let count = read_file((&mut wasi.fs, times), host, mem, (iovs, iovs_len), inode, at)?;
                    descriptor.advance(at, count);
                    count
                }
            };
            Ok(memory::put_u32(mem, nread, count)?)
        })
    }

    /// `fd_pread` (`preadv`): fills buffers from `offset` on; the descriptor's own offset stays.
    /// `ESPIPE` for a stream.
    pub fn fd_pread(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        nread: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            if let Object::Volume(node) = &descriptor.object {
                let node = node.file()?;
                descriptor.require(rights::FD_READ | rights::FD_SEEK)?;
                memory::check(mem, nread, 4)?;
                let count = node.read(host, mem, (iovs, iovs_len), offset)?;
                return Ok(memory::put_u32(mem, nread, count)?);
            }
            let (inode, _) = descriptor.file(rights::FD_READ | rights::FD_SEEK, Errno::Spipe)?;
            memory::check(mem, nread, 4)?;
            let times = wasi.file_times();
            let count = read_file((&mut wasi.fs, times), host, mem, (iovs, iovs_len), inode, offset)?;
            Ok(memory::put_u32(mem, nread, count)?)
        })
    }

    /// `fd_write` (`writev`): hands buffers to an output stream, or writes them at a file's offset,
    /// which moves; in append mode, at the file's end.
    ///
    /// A stream that takes nothing blocks, or is `EAGAIN` in non-blocking mode, or `EPIPE` if its
    /// reader is gone. A file that finds no space is `ENOSPC`, beyond 1 TiB `EFBIG`. `EBADF` for
    /// standard input, `EISDIR` for a directory.
    pub fn fd_write(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        nwritten: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let times = wasi.file_times();
            let descriptor = wasi.descriptors.get_mut(fd)?;
            memory::check(mem, nwritten, 4)?;
            let count = match descriptor.object {
                Object::Volume(ref node) => {
                    let node = node.file()?;
                    descriptor.require(rights::FD_WRITE)?;
                    descriptor.writable()?;
                    let (at, append) = (node.position, appends(descriptor));
                    let (count, end) = node.write(host, mem, (iovs, iovs_len), at, append)?;
                    descriptor.set_position(end);
                    count
                }
                Object::Output(stream) => {
                    descriptor.require(rights::FD_WRITE)?;
                    let wait = Wait::for_output(stream);
                    hand_over(mem, (iovs, iovs_len), (descriptor.flags, wait), |bytes| {
                        host.write(stream, bytes)
                    })?
                }
                Object::Connected(connection) => {
                    descriptor.require(rights::FD_WRITE)?;
                    hand_over(mem, (iovs, iovs_len), (descriptor.flags, Wait::SOCKETS), |bytes| {
                        host.send(connection, bytes)
                    })?
                }
                Object::Stdin => return Err(Errno::Badf.into()),
                Object::Listener(_) | Object::Calling(_) => return Err(Errno::Notconn.into()),
                Object::File { .. } | Object::Directory { .. } => {
                    let (inode, position) = descriptor.file(rights::FD_WRITE, Errno::Badf)?;
                    descriptor.writable()?;
                    let append = descriptor.flags & FD_APPEND != 0;
                    let at = if append { wasi.fs.size(inode)? } else { position };
                    let count = write_file((&mut wasi.fs, times), host, mem, (iovs, iovs_len), inode, at)?;
                    descriptor.advance(at, count);
                    count
                }
            };
            Ok(memory::put_u32(mem, nwritten, count)?)
        })
    }

    /// `fd_pwrite` (`pwritev`): writes buffers at `offset`, also in append mode (POSIX; Linux
    /// appends); the descriptor's own offset stays. `ESPIPE` for a stream.
    pub fn fd_pwrite(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        iovs: u32,
        iovs_len: u32,
        offset: u64,
        nwritten: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            if let Object::Volume(node) = &descriptor.object {
                let node = node.file()?;
                descriptor.require(rights::FD_WRITE | rights::FD_SEEK)?;
                descriptor.writable()?;
                memory::check(mem, nwritten, 4)?;
                let (count, _) = node.write(host, mem, (iovs, iovs_len), offset, false)?;
                return Ok(memory::put_u32(mem, nwritten, count)?);
            }
            let (inode, _) = descriptor.file(rights::FD_WRITE | rights::FD_SEEK, Errno::Spipe)?;
            descriptor.writable()?;
            memory::check(mem, nwritten, 4)?;
            let times = wasi.file_times();
            let count = write_file((&mut wasi.fs, times), host, mem, (iovs, iovs_len), inode, offset)?;
            Ok(memory::put_u32(mem, nwritten, count)?)
        })
    }
}
