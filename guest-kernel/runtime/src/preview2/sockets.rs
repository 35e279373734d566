//! `wasi:sockets`, but for its sockets: names, addresses, errors. There is one network, which everybody has.

use super::resources::{Network, Open, Pollable};
use super::wasi::sockets::network::{
    self, ErrorCode, IpAddress, IpAddressFamily, IpSocketAddress, Ipv4SocketAddress, Ipv6SocketAddress,
};
use super::wasi::sockets::{instance_network, ip_name_lookup};
use crate::container::State;
use alloc::string::String;
use alloc::vec;
use alloc::vec::IntoIter;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sentient_wasi::{Errno, Lookup};
use wasmtime::component::Resource;

/// What a function of these interfaces gives.
pub type Answer<T> = wasmtime::Result<Result<T, ErrorCode>>;

/// An error of a socket's.
pub fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::Acces | Errno::Notcapable | Errno::Perm => ErrorCode::AccessDenied,
        Errno::Again => ErrorCode::WouldBlock,
        Errno::Connaborted => ErrorCode::ConnectionAborted,
        Errno::Connrefused => ErrorCode::ConnectionRefused,
        Errno::Connreset | Errno::Pipe => ErrorCode::ConnectionReset,
        Errno::Hostunreach | Errno::Netunreach => ErrorCode::RemoteUnreachable,
        Errno::Inval => ErrorCode::InvalidArgument,
        Errno::Mfile | Errno::Nobufs => ErrorCode::NewSocketLimit,
        Errno::Netdown => ErrorCode::TemporaryResolverFailure,
        Errno::Noent => ErrorCode::NameUnresolvable,
        Errno::Nomem => ErrorCode::OutOfMemory,
        Errno::Notconn => ErrorCode::InvalidState,
        Errno::Notsup => ErrorCode::NotSupported,
        Errno::Timedout => ErrorCode::Timeout,
        _ => ErrorCode::Unknown,
    }
}

/// An address as programs have it.
pub fn of_wit(address: IpSocketAddress) -> SocketAddr {
    match address {
        IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address: (a, b, c, d) }) => {
            SocketAddr::new(Ipv4Addr::new(a, b, c, d).into(), port)
        }
        IpSocketAddress::Ipv6(Ipv6SocketAddress { port, address: (a, b, c, d, e, f, g, h), .. }) => {
            SocketAddr::new(Ipv6Addr::new(a, b, c, d, e, f, g, h).into(), port)
        }
    }
}

fn ip(address: IpAddr) -> IpAddress {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, d] = v4.octets();
            IpAddress::Ipv4((a, b, c, d))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, d, e, f, g, h] = v6.segments();
            IpAddress::Ipv6((a, b, c, d, e, f, g, h))
        }
    }
}

/// An address for programs.
pub fn to_wit(address: SocketAddr) -> IpSocketAddress {
    let port = address.port();
    match ip(address.ip()) {
        IpAddress::Ipv4(address) => IpSocketAddress::Ipv4(Ipv4SocketAddress { port, address }),
        IpAddress::Ipv6(address) => {
            IpSocketAddress::Ipv6(Ipv6SocketAddress { port, flow_info: 0, address, scope_id: 0 })
        }
    }
}

/// The kind of addresses that one is of.
pub fn family(is_v6: bool) -> IpAddressFamily {
    if is_v6 { IpAddressFamily::Ipv6 } else { IpAddressFamily::Ipv4 }
}

/// The addresses of a name.
pub enum Addresses {
    /// They were asked for.
    Asked(Open),
    /// Those that were not taken yet.
    Known(IntoIter<IpAddr>),
    /// There are none.
    Failed(Errno),
}

impl network::Host for State {}

impl network::HostNetwork for State {
    fn drop(&mut self, network: Resource<Network>) -> wasmtime::Result<()> {
        self.taken(network).map(drop)
    }
}

impl instance_network::Host for State {
    fn instance_network(&mut self) -> wasmtime::Result<Resource<Network>> {
        self.give(Network)
    }
}

impl State {
    /// Asks for what becomes known of a name.
    fn look_again(&mut self, stream: &Resource<Addresses>) -> wasmtime::Result<&mut Addresses> {
        if let Addresses::Asked(open) = *self.resources.table.get(stream)? {
            let known = match self.wasi.looked_up(&mut self.streams, open.0) {
                Err(Errno::Again) => None,
                Ok(addresses) => Some(Addresses::Known(addresses.into_iter())),
                Err(errno) => Some(Addresses::Failed(errno)),
            };
            if let Some(known) = known {
                self.resources.forget(open);
                *self.resources.table.get_mut(stream)? = known;
            }
        }
        Ok(self.resources.table.get_mut(stream)?)
    }
}

impl ip_name_lookup::Host for State {
    fn resolve_addresses(
        &mut self,
        _network: Resource<Network>,
        name: String,
    ) -> Answer<Resource<Addresses>> {
        let addresses = match self.wasi.look_up(&mut self.streams, &name) {
            Ok(Lookup::Known(address)) => Addresses::Known(vec![address].into_iter()),
            Ok(Lookup::Asked(fd)) => Addresses::Asked(self.share(Open(fd))),
            Err(errno) => return Ok(Err(code(errno))),
        };
        self.give(addresses).map(Ok)
    }
}

impl ip_name_lookup::HostResolveAddressStream for State {
    fn resolve_next_address(&mut self, stream: Resource<Addresses>) -> Answer<Option<IpAddress>> {
        Ok(match self.look_again(&stream)? {
            Addresses::Asked(_) => Err(ErrorCode::WouldBlock),
            Addresses::Known(addresses) => Ok(addresses.next().map(ip)),
            Addresses::Failed(errno) => Err(code(*errno)),
        })
    }

    fn subscribe(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = match self.look_again(&stream)? {
            Addresses::Asked(open) => Pollable::Read(open.0),
            Addresses::Known(_) | Addresses::Failed(_) => Pollable::Ready,
        };
        self.give(pollable)
    }

    fn drop(&mut self, stream: Resource<Addresses>) -> wasmtime::Result<()> {
        match self.taken(stream)? {
            Addresses::Asked(open) => self.release(open),
            Addresses::Known(_) | Addresses::Failed(_) => Ok(()),
        }
    }
}
