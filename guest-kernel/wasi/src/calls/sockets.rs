//! `sock_accept`, `sock_recv`, `sock_send`, `sock_shutdown`: preview 1 can make no socket and
//! nobody hands a container one, so each says `ENOTSOCK` for an open descriptor and `EBADF` for any
//! other.

use crate::errno::Errno;
use crate::host::Host;
use crate::outcome::{Outcome, Stop};
use crate::wasi::Wasi;

impl Wasi {
    fn no_socket(&mut self, fd: u32) -> Outcome {
        self.answer(|wasi| {
            wasi.descriptors.get(fd)?;
            Err(Stop::Errno(Errno::Notsock))
        })
    }

    /// `sock_accept`: `ENOTSOCK`, or `EBADF`.
    pub fn sock_accept(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        _flags: u32,
        _opened_fd: u32,
    ) -> Outcome {
        self.no_socket(fd)
    }

    /// `sock_recv`: `ENOTSOCK`, or `EBADF`.
    pub fn sock_recv(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        _ri_data: u32,
        _ri_data_len: u32,
        _ri_flags: u32,
        _ro_datalen: u32,
        _ro_flags: u32,
    ) -> Outcome {
        self.no_socket(fd)
    }

    /// `sock_send`: `ENOTSOCK`, or `EBADF`.
    pub fn sock_send(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        _si_data: u32,
        _si_data_len: u32,
        _si_flags: u32,
        _so_datalen: u32,
    ) -> Outcome {
        self.no_socket(fd)
    }

    /// `sock_shutdown`: `ENOTSOCK`, or `EBADF`.
    pub fn sock_shutdown(
        &mut self,
        _host: &mut (impl Host + ?Sized),
        _mem: &mut [u8],
        fd: u32,
        _how: u32,
    ) -> Outcome {
        self.no_socket(fd)
    }
}
