//! `sock_accept`, `sock_recv`, `sock_send`, `sock_shutdown`.
//!
//! Preview 1 can make no socket: a container is given those that listen on its ports, and accepts connections from
//! them. WASI 0.2 can (`outward`). `ENOTSOCK` for what is open and no socket.

use crate::calls::read_write::{hand_over, refused, take_in};
use crate::descriptor::{Descriptor, Object};
use crate::errno::Errno;
use crate::flags::{self, FD_NONBLOCK};
use crate::host::{Connection, Host};
use crate::memory::{self, scatter};
use crate::outcome::{Outcome, Stop, Wait};
use crate::rights;
use crate::wasi::{Pending, PendingReceive, Wasi};

/// `$riflags`: what is received stays there.
const RECEIVE_PEEK: u32 = 1 << 0;
/// `$riflags`: all buffers are to be filled.
const RECEIVE_WAITALL: u32 = 1 << 1;

/// `$sdflags`: receive no more.
const SHUT_RECEIVING: u32 = 1 << 0;
/// `$sdflags`: send no more.
const SHUT_SENDING: u32 = 1 << 1;

/// The connection, for calls that need one: `ENOTCONN` for a socket that listens.
fn connection(descriptor: &Descriptor, rights: u64) -> Result<Connection, Errno> {
    match descriptor.object {
        Object::Connected(connection) => descriptor.require(rights).map(|()| connection),
        Object::Listener(_) | Object::Calling(_) => Err(Errno::Notconn),
        _ => Err(Errno::Notsock),
    }
}

/// How far buffers were filled.
struct Filled {
    filled: u32,
    /// What is to be waited for until there is more.
    wait: Option<Wait>,
}

/// Fills buffers, of which the first `filled` bytes have come already, with all that has come by now.
fn fill(
    host: &mut (impl Host + ?Sized),
    mem: &mut [u8],
    (iovs, iovs_len): (u32, u32),
    from: Connection,
    filled: u32,
) -> Result<Filled, Stop> {
    let mut passed = usize::try_from(filled).unwrap_or(usize::MAX);
    let mut wait = None;
    let filled = scatter(mem, iovs, iovs_len, |buf| {
        let mut came = passed.min(buf.len());
        passed -= came;
        while let Some(rest) = buf.get_mut(came..).filter(|rest| !rest.is_empty()) {
            let received = host.receive(from, rest, false);
            match received.or_else(|error| refused(error, Ok(0), 0, Wait::SOCKETS)) {
                Ok(0) => break,
                Ok(count) => came = came.saturating_add(count),
                Err(Stop::Block(until)) => {
                    wait = Some(until);
                    break;
                }
                // Whoever cut it has sent what came before.
                Err(_) if came > 0 => break,
                Err(stop) => return Err(stop),
            }
        }
        Ok(came)
    })?;
    Ok(Filled { filled, wait })
}

impl Wasi {
    /// `sock_accept` (`accept4`): the next connection to a socket that listens, as a descriptor of its own.
    ///
    /// Blocks while there is none, or is `EAGAIN` in non-blocking mode. The one flag is non-blocking mode of the new
    /// descriptor. `EINVAL` for a connected socket and for other flags, `EMFILE` at the limit, in which case the
    /// connection waits.
    pub fn sock_accept(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        flags: u32,
        opened_fd: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let listener = wasi.descriptors.get(fd)?;
            let port = match listener.object {
                Object::Listener(port) => port,
                Object::Connected(_) | Object::Calling(_) => return Err(Errno::Inval.into()),
                _ => return Err(Errno::Notsock.into()),
            };
            listener.require(rights::SOCK_ACCEPT)?;
            let new_flags = flags::fd_flags(flags)?;
            if new_flags & !FD_NONBLOCK != 0 {
                return Err(Errno::Inval.into());
            }
            let (own_flags, rights_base) = (listener.flags, listener.rights_inheriting & rights::CONNECTED);
            memory::check(mem, opened_fd, 4)?;
            let new = wasi.descriptors.vacancy()?;
            let accepted = match host.accept(port) {
                Ok(accepted) => accepted,
                Err(error) => {
                    let gone = Err(Errno::Connaborted.into());
                    return refused(error, gone, own_flags, Wait::SOCKETS).map(drop);
                }
            };
            wasi.descriptors.fill(
                new,
                Descriptor {
                    object: Object::Connected(accepted),
                    rights_base,
                    rights_inheriting: 0,
                    flags: new_flags,
                    read_only: false,
                },
            )?;
            Ok(memory::put_u32(mem, opened_fd, new)?)
        })
    }

    /// `sock_recv` (`recvmsg`): fills buffers with what has come; 0 is the end. Blocks while nothing has, or is
    /// `EAGAIN` in non-blocking mode.
    ///
    /// With the peek flag, what fits into the first buffer is received and stays there. With the one that waits for all,
    /// it blocks until the buffers are full or the end has come; not together with peeking, or in non-blocking mode, where
    /// that flag means nothing. `EINVAL` for unknown flags. `ECONNRESET` if the connection was cut, and nothing came before.
    pub fn sock_recv(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        ri_data: u32,
        ri_data_len: u32,
        ri_flags: u32,
        ro_datalen: u32,
        ro_flags: u32,
    ) -> Outcome {
        let parameters = [fd, ri_data, ri_data_len];
        let filled = match self.pending.take() {
            Some(Pending::Receive(pending)) if pending.parameters == parameters => pending.filled,
            _ => 0,
        };
        let mut waiting = None;
        let outcome = self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            let from = connection(descriptor, rights::FD_READ)?;
            if ri_flags & !(RECEIVE_PEEK | RECEIVE_WAITALL) != 0 {
                return Err(Errno::Inval.into());
            }
            memory::check(mem, ro_datalen, 4)?;
            memory::check(mem, ro_flags, 2)?;
            let peek = ri_flags & RECEIVE_PEEK != 0;
            let count = if ri_flags & RECEIVE_WAITALL != 0 && !peek && descriptor.flags & FD_NONBLOCK == 0 {
                let all = fill(host, mem, (ri_data, ri_data_len), from, filled)?;
                if let Some(wait) = all.wait {
                    waiting = Some(PendingReceive { parameters, filled: all.filled });
                    return Err(Stop::Block(wait));
                }
                all.filled
            } else {
                let mut peeked = false;
                take_in(mem, (ri_data, ri_data_len), (descriptor.flags, Wait::SOCKETS), |buf| {
                    // What stays there would come again for the next buffer.
                    if core::mem::replace(&mut peeked, peek) { Ok(0) } else { host.receive(from, buf, peek) }
                })?
            };
            memory::put_u32(mem, ro_datalen, count)?;
            // Nothing of a stream is ever cut off.
            Ok(memory::put(mem, ro_flags, &0_u16.to_le_bytes())?)
        });
        self.pending = waiting.map(Pending::Receive);
        outcome
    }

    /// `sock_send` (`sendmsg`): hands buffers to a connection. Blocks while it takes nothing, or is `EAGAIN` in
    /// non-blocking mode. No flags are defined: `EINVAL` for any. `EPIPE` when nothing can be sent any more,
    /// `ECONNRESET` if the connection was cut.
    pub fn sock_send(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        fd: u32,
        si_data: u32,
        si_data_len: u32,
        si_flags: u32,
        so_datalen: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let descriptor = wasi.descriptors.get(fd)?;
            let to = connection(descriptor, rights::FD_WRITE)?;
            if si_flags != 0 {
                return Err(Errno::Inval.into());
            }
            memory::check(mem, so_datalen, 4)?;
            let waiting = (descriptor.flags, Wait::SOCKETS);
            let count = hand_over(mem, (si_data, si_data_len), waiting, |bytes| host.send(to, bytes))?;
            Ok(memory::put_u32(mem, so_datalen, count)?)
        })
    }

    /// `sock_shutdown` (`shutdown`): ends one or both directions of a connection. `EINVAL` for neither, or other flags.
    pub fn sock_shutdown(
        &mut self,
        host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        how: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let connected = connection(wasi.descriptors.get(fd)?, rights::SOCK_SHUTDOWN)?;
            if how == 0 || how & !(SHUT_RECEIVING | SHUT_SENDING) != 0 {
                return Err(Errno::Inval.into());
            }
            host.shut_down(connected, how & SHUT_RECEIVING != 0, how & SHUT_SENDING != 0);
            Ok(())
        })
    }
}
