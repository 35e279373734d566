//! Connections to the outside, and listening: what WASI 0.2 has of sockets and preview 1 has not.
//!
//! These are no functions of preview 1, and none of them waits: a call that was begun is a descriptor, which can be polled to
//! read from, and is ended when its answer is there. A connection is a descriptor from then on as one that was accepted.
//!
//! Where a container may connect to is said by names or addresses ([`Destinations`]). Programs look a name up and connect to
//! an address of it, so which addresses were given for which names is kept: a connection to such an address asks for the
//! name, of which whoever makes it knows by then what it stands for.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::format;
use alloc::string::{String, ToString};
use alloc::vec::Vec;
use core::net::{IpAddr, SocketAddr};

use sentient_abi::network::calls::{Answer, Call, Request, Status};
use sentient_abi::network::{Destinations, is_name};

use crate::descriptor::{Descriptor, Object};
use crate::errno::Errno;
use crate::host::{Connection, Host, Readiness, StreamError};
use crate::permissions::Denied;
use crate::rights;
use crate::wasi::Wasi;

/// Most addresses of which it is known which name they were given for; the oldest go first.
const MAX_NAMES: usize = 64;

/// A call that was begun.
#[derive(Debug)]
pub(crate) struct Calling {
    pub(crate) connection: Connection,
    /// The name that is looked up, if it is about one.
    name: Option<Box<str>>,
}

/// What a container has to do with the world outside.
#[derive(Debug, Default)]
pub(crate) struct Outward {
    /// Where it may connect to, as lines of text.
    pub(crate) destinations: String,
    /// Ports that it may listen on.
    pub(crate) ports: Vec<u16>,
    pub(crate) names: VecDeque<(IpAddr, Box<str>)>,
}

/// What a name stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// It is an address itself.
    Known(IpAddr),
    /// That was asked: a descriptor, for [`Wasi::looked_up`].
    Asked(u32),
}

impl Outward {
    fn destinations(&self) -> Destinations<'_> {
        Destinations::parse(self.destinations.as_bytes()).unwrap_or_default()
    }

    /// What is asked for to connect to an address; or what would have to be allowed.
    fn host_for(&self, to: SocketAddr) -> Result<String, String> {
        let (address, port) = (to.ip(), to.port());
        let allowed = self.destinations();
        if allowed.allow_address(address, port) {
            return Ok(address.to_string());
        }
        let mut names = self.names.iter().rev().filter(|(known, _)| *known == address).map(|(_, name)| name);
        match names.clone().find(|name| allowed.allow_address_of(name, address, port)) {
            Some(name) => Ok(String::from(&**name)),
            None => Err(names.next().map_or_else(|| to.to_string(), |name| format!("{name}:{port}"))),
        }
    }

    fn remember(&mut self, name: &str, addresses: &[IpAddr]) {
        self.names.retain(|(_, known)| **known != *name);
        self.names.extend(addresses.iter().map(|address| (*address, Box::from(name))));
        let too_many = self.names.len().saturating_sub(MAX_NAMES);
        self.names.drain(..too_many);
    }
}

fn errno(status: Status) -> Errno {
    match status {
        Status::Done => Errno::Success,
        Status::Denied => Errno::Acces,
        Status::NoSuchName => Errno::Noent,
        Status::NoResolver => Errno::Netdown,
        Status::Refused => Errno::Connrefused,
        Status::Unreachable => Errno::Hostunreach,
        Status::TimedOut => Errno::Timedout,
        Status::NoRoom => Errno::Nobufs,
        Status::Failed => Errno::Io,
    }
}

fn connected(object: Object) -> Descriptor {
    Descriptor { object, rights_base: rights::CONNECTED, rights_inheriting: 0, flags: 0, read_only: false }
}

impl Wasi {
    fn begin(
        &mut self,
        host: &mut (impl Host + ?Sized),
        call: &Call<'_>,
        name: Option<Box<str>>,
    ) -> Result<u32, Errno> {
        let fd = self.descriptors.vacancy()?;
        let connection = host.call(call)?;
        self.descriptors.fill(fd, connected(Object::Calling(Calling { connection, name })))?;
        Ok(fd)
    }

    /// The answer to a call that was begun: `EAGAIN` while there is none. If it is not that there is what was asked for, the
    /// descriptor is closed.
    fn end(
        &mut self,
        host: &mut (impl Host + ?Sized),
        fd: u32,
    ) -> Result<(Connection, Option<Box<str>>, Answer), Errno> {
        let Object::Calling(Calling { connection, name }) = &mut self.descriptors.get_mut(fd)?.object else {
            return Err(Errno::Badf);
        };
        let (connection, answer) = (*connection, host.answer(*connection));
        let failed = match answer {
            Ok(answer) if answer.status == Status::Done => return Ok((connection, name.take(), answer)),
            Ok(answer) => errno(answer.status),
            Err(StreamError::WouldBlock | StreamError::TooFast(_)) => return Err(Errno::Again),
            Err(StreamError::Closed | StreamError::Reset) => Errno::Connreset,
        };
        self.descriptors.remove(fd)?;
        host.close(connection);
        Err(failed)
    }

    /// Begins to connect to an address; gives a descriptor, for [`connected`](Self::connected).
    ///
    /// # Errors
    /// `EACCES` if it may not, which the host is told; `EMFILE`; those of [`Host::call`].
    pub fn connect(&mut self, host: &mut (impl Host + ?Sized), to: SocketAddr) -> Result<u32, Errno> {
        match self.outward.host_for(to) {
            Ok(name) => {
                let call = Call { request: Request::Connect, port: to.port(), host: &name };
                self.begin(host, &call, None)
            }
            Err(wanted) => {
                host.denied(Denied::Connect(wanted));
                Err(Errno::Acces)
            }
        }
    }

    /// Whether a connection is there that was begun.
    ///
    /// # Errors
    /// `EAGAIN` while it is not known; with any other one there is none, and the descriptor is closed.
    pub fn connected(&mut self, host: &mut (impl Host + ?Sized), fd: u32) -> Result<(), Errno> {
        let (connection, ..) = self.end(host, fd)?;
        self.descriptors.fill(fd, connected(Object::Connected(connection)))
    }

    /// Begins to look a name up.
    ///
    /// # Errors
    /// `EINVAL` for what is no name; else as [`connect`](Self::connect).
    pub fn look_up(&mut self, host: &mut (impl Host + ?Sized), name: &str) -> Result<Lookup, Errno> {
        let bare = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(name);
        if let Ok(address) = bare.parse() {
            return Ok(Lookup::Known(address));
        }
        // The root's dot says that it is whole, which it is anyway.
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        if !is_name(&name) {
            return Err(Errno::Inval);
        }
        if !self.outward.destinations().allow_name(&name) {
            host.denied(Denied::Connect(format!("{name}:*")));
            return Err(Errno::Acces);
        }
        let call = Call { request: Request::Resolve, port: 0, host: &name };
        self.begin(host, &call, Some(Box::from(&*name))).map(Lookup::Asked)
    }

    /// The addresses of a name that was asked for. The descriptor is closed.
    ///
    /// # Errors
    /// `EAGAIN` while they are not known, in which case it is not; `ENOENT` if there are none.
    pub fn looked_up(&mut self, host: &mut (impl Host + ?Sized), fd: u32) -> Result<Vec<IpAddr>, Errno> {
        let (connection, name, answer) = self.end(host, fd)?;
        self.descriptors.remove(fd)?;
        host.close(connection);
        self.outward.remember(&name.unwrap_or_default(), answer.addresses());
        Ok(answer.addresses().to_vec())
    }

    /// A descriptor of a socket that listens on a port.
    ///
    /// # Errors
    /// `EACCES` if it was not given the port, which the host is told; `EMFILE`.
    pub fn listen(&mut self, host: &mut (impl Host + ?Sized), port: u16) -> Result<u32, Errno> {
        if !self.outward.ports.contains(&port) {
            host.denied(Denied::Listen(port));
            return Err(Errno::Acces);
        }
        let fd = self.descriptors.vacancy()?;
        self.descriptors.fill(fd, Descriptor::listener(port))?;
        Ok(fd)
    }

    /// The two ends of a connection, as far as the host says: this one's and the other one's.
    ///
    /// # Errors
    /// `ENOTCONN` for what is none.
    pub fn ends(&self, host: &mut (impl Host + ?Sized), fd: u32) -> Result<(SocketAddr, SocketAddr), Errno> {
        match self.descriptors.get(fd)?.object {
            Object::Connected(connection) => host.ends(connection).ok_or(Errno::Notconn),
            _ => Err(Errno::Notconn),
        }
    }

    /// Whether a connection takes something now, and how many bytes.
    ///
    /// # Errors
    /// `ENOTCONN` for what is none.
    pub fn room(&self, host: &mut (impl Host + ?Sized), fd: u32) -> Result<Readiness, Errno> {
        match self.descriptors.get(fd)?.object {
            Object::Connected(connection) => Ok(host.send_ready(connection)),
            _ => Err(Errno::Notconn),
        }
    }
}
