//! `wasi:sockets/tcp` and `tcp-create-socket`.
//!
//! A socket listens on a port that the container was given, at all of its addresses, or is connected to where it may connect
//! to. It is bound to no port before it is connected: which one it then has is the runtime's choice. What is behind
//! connections to the outside is the host's TCP, whose settings are not the container's business: those that the
//! interface takes for hints are as they are, and the others cannot be changed.

use super::resources::{Input, Network, Open, Output, Pollable};
use super::scratch::Scratch;
use super::sockets::{Answer, code, family, of_wit, to_wit};
use super::wasi::sockets::network::{ErrorCode, IpAddressFamily, IpSocketAddress};
use super::wasi::sockets::tcp::{self, ShutdownType};
use super::wasi::sockets::tcp_create_socket;
use crate::container::State;
use crate::network::BUFFER;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use sentient_abi::network::container_address;
use sentient_wasi::Errno;
use wasmtime::component::Resource;

/// `tcp_keepalive_time`, `tcp_keepalive_intvl` in nanoseconds, and `tcp_keepalive_probes`, as Linux has them unless it is told
/// otherwise (tcp(7)).
const KEEP_ALIVE: (u64, u64, u32) = (7_200_000_000_000, 75_000_000_000, 9);
/// `ip_default_ttl` (ip(7)).
const HOP_LIMIT: u8 = 64;

/// A socket.
#[derive(Clone, Copy)]
pub struct Tcp {
    is_v6: bool,
    phase: Phase,
}

/// How far it has got.
#[derive(Clone, Copy)]
enum Phase {
    New,
    /// Between `start-bind` and `finish-bind`.
    Binding(SocketAddr),
    Bound(SocketAddr),
    Connecting(Open, SocketAddr),
    /// With the address of the other end.
    Connected(Open, SocketAddr),
    /// Between `start-listen` and `finish-listen`.
    Starting(Open, SocketAddr),
    Listening(Open, SocketAddr),
    /// It could not be connected.
    Failed,
}

impl Tcp {
    /// What there is to wait for: that a connection is made, or that one has come.
    pub fn pollable(self) -> Pollable {
        match self.phase {
            Phase::Connecting(open, _) | Phase::Listening(open, _) => Pollable::Read(open.0),
            _ => Pollable::Ready,
        }
    }

    fn open(self) -> Option<Open> {
        match self.phase {
            Phase::Connecting(open, _)
            | Phase::Connected(open, _)
            | Phase::Starting(open, _)
            | Phase::Listening(open, _) => Some(open),
            Phase::New | Phase::Binding(_) | Phase::Bound(_) | Phase::Failed => None,
        }
    }
}

/// A setting that is taken for a hint: any will do but none.
fn hint(value: u64) -> Result<(), ErrorCode> {
    if value == 0 { Err(ErrorCode::InvalidArgument) } else { Ok(()) }
}

impl State {
    fn step(&mut self, socket: &Resource<Tcp>, phase: Phase) -> wasmtime::Result<()> {
        self.resources.table.get_mut(socket)?.phase = phase;
        Ok(())
    }

    /// Whether a socket can be bound to an address.
    fn bindable(&self, is_v6: bool, to: SocketAddr) -> Result<(), ErrorCode> {
        let own = IpAddr::from(container_address(self.streams.container));
        match to.ip() {
            address if address.is_ipv6() != is_v6 => Err(ErrorCode::InvalidArgument),
            address if address.is_unspecified() || address == own => Ok(()),
            _ => Err(ErrorCode::AddressNotBindable),
        }
    }

    /// The streams of a connection.
    fn both_streams(&mut self, open: Open) -> wasmtime::Result<(Resource<Input>, Resource<Output>)> {
        let input = Input::Socket(self.share(open));
        let output = Output::Socket(self.share(open));
        Ok((self.give(input)?, self.give(output)?))
    }

    fn accepted(&mut self, listener: Open) -> wasmtime::Result<Result<Open, Errno>> {
        let mut scratch = Scratch::new();
        let new = scratch.room(4);
        let accepted = self
            .call(&mut scratch, |wasi, host, memory| wasi.sock_accept(host, memory, listener.0, 0, new.at))?;
        Ok(accepted.map(|()| Open(scratch.u32(new.at))))
    }
}

impl tcp_create_socket::Host for State {
    fn create_tcp_socket(&mut self, family: IpAddressFamily) -> Answer<Resource<Tcp>> {
        let is_v6 = matches!(family, IpAddressFamily::Ipv6);
        self.give(Tcp { is_v6, phase: Phase::New }).map(Ok)
    }
}

impl tcp::Host for State {}

impl tcp::HostTcpSocket for State {
    fn start_bind(
        &mut self,
        socket: Resource<Tcp>,
        _network: Resource<Network>,
        local: IpSocketAddress,
    ) -> Answer<()> {
        let (Tcp { is_v6, phase }, local) = (self.held(&socket)?, of_wit(local));
        let Phase::New = phase else { return Ok(Err(ErrorCode::InvalidState)) };
        if let Err(error) = self.bindable(is_v6, local) {
            return Ok(Err(error));
        }
        self.step(&socket, Phase::Binding(local)).map(Ok)
    }

    fn finish_bind(&mut self, socket: Resource<Tcp>) -> Answer<()> {
        match self.held(&socket)?.phase {
            Phase::Binding(local) => self.step(&socket, Phase::Bound(local)).map(Ok),
            _ => Ok(Err(ErrorCode::NotInProgress)),
        }
    }

    fn start_connect(
        &mut self,
        socket: Resource<Tcp>,
        _network: Resource<Network>,
        remote: IpSocketAddress,
    ) -> Answer<()> {
        let (Tcp { is_v6, phase }, remote) = (self.held(&socket)?, of_wit(remote));
        match phase {
            Phase::New => {}
            Phase::Bound(local) if local.port() == 0 => {}
            Phase::Bound(_) => return Ok(Err(ErrorCode::NotSupported)),
            _ => return Ok(Err(ErrorCode::InvalidState)),
        }
        let address = remote.ip();
        let is_mapped = matches!(address, IpAddr::V6(v6) if v6.to_ipv4_mapped().is_some());
        let wrong = address.is_ipv6() != is_v6 || is_mapped || address.is_unspecified() || remote.port() == 0;
        if wrong {
            return Ok(Err(ErrorCode::InvalidArgument));
        }
        match self.wasi.connect(&mut self.streams, remote) {
            Ok(fd) => {
                let open = self.share(Open(fd));
                self.step(&socket, Phase::Connecting(open, remote)).map(Ok)
            }
            Err(errno) => {
                self.step(&socket, Phase::Failed)?;
                Ok(Err(code(errno)))
            }
        }
    }

    fn finish_connect(&mut self, socket: Resource<Tcp>) -> Answer<(Resource<Input>, Resource<Output>)> {
        let Phase::Connecting(open, remote) = self.held(&socket)?.phase else {
            return Ok(Err(ErrorCode::NotInProgress));
        };
        match self.wasi.connected(&mut self.streams, open.0) {
            Ok(()) => {
                self.step(&socket, Phase::Connected(open, remote))?;
                self.both_streams(open).map(Ok)
            }
            Err(Errno::Again) => Ok(Err(ErrorCode::WouldBlock)),
            Err(errno) => {
                self.resources.forget(open);
                self.step(&socket, Phase::Failed)?;
                Ok(Err(code(errno)))
            }
        }
    }

    fn start_listen(&mut self, socket: Resource<Tcp>) -> Answer<()> {
        let Tcp { is_v6, phase } = self.held(&socket)?;
        let Phase::Bound(local) = phase else { return Ok(Err(ErrorCode::InvalidState)) };
        if is_v6 {
            return Ok(Err(ErrorCode::NotSupported));
        }
        match self.wasi.listen(&mut self.streams, local.port()) {
            Ok(fd) => {
                let open = self.share(Open(fd));
                self.step(&socket, Phase::Starting(open, local)).map(Ok)
            }
            Err(errno) => Ok(Err(code(errno))),
        }
    }

    fn finish_listen(&mut self, socket: Resource<Tcp>) -> Answer<()> {
        match self.held(&socket)?.phase {
            Phase::Starting(open, local) => self.step(&socket, Phase::Listening(open, local)).map(Ok),
            _ => Ok(Err(ErrorCode::NotInProgress)),
        }
    }

    fn accept(
        &mut self,
        socket: Resource<Tcp>,
    ) -> Answer<(Resource<Tcp>, Resource<Input>, Resource<Output>)> {
        let Tcp { is_v6, phase: Phase::Listening(listener, _) } = self.held(&socket)? else {
            return Ok(Err(ErrorCode::InvalidState));
        };
        if !self.is_there(Pollable::Read(listener.0))? {
            return Ok(Err(ErrorCode::WouldBlock));
        }
        let open = match self.accepted(listener)? {
            Ok(open) => self.share(open),
            Err(errno) => return Ok(Err(code(errno))),
        };
        let remote = self.wasi.ends(&mut self.streams, open.0).map(|(_, remote)| remote);
        let remote = remote.unwrap_or(SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0));
        let accepted = self.give(Tcp { is_v6, phase: Phase::Connected(open, remote) })?;
        let (input, output) = self.both_streams(open)?;
        Ok(Ok((accepted, input, output)))
    }

    fn local_address(&mut self, socket: Resource<Tcp>) -> Answer<IpSocketAddress> {
        let Tcp { is_v6, phase } = self.held(&socket)?;
        let local = match phase {
            Phase::Bound(local) | Phase::Starting(_, local) | Phase::Listening(_, local) => local,
            Phase::Connected(open, _) => match self.wasi.ends(&mut self.streams, open.0) {
                // Inside there is only IPv4.
                Ok((local, _)) if is_v6 => SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), local.port()),
                Ok((local, _)) => local,
                Err(errno) => return Ok(Err(code(errno))),
            },
            _ => return Ok(Err(ErrorCode::InvalidState)),
        };
        Ok(Ok(to_wit(local)))
    }

    fn remote_address(&mut self, socket: Resource<Tcp>) -> Answer<IpSocketAddress> {
        Ok(match self.held(&socket)?.phase {
            Phase::Connected(_, remote) => Ok(to_wit(remote)),
            _ => Err(ErrorCode::InvalidState),
        })
    }

    fn is_listening(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<bool> {
        Ok(matches!(self.held(&socket)?.phase, Phase::Listening(..)))
    }

    fn address_family(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<IpAddressFamily> {
        Ok(family(self.held(&socket)?.is_v6))
    }

    fn set_listen_backlog_size(&mut self, socket: Resource<Tcp>, value: u64) -> Answer<()> {
        Ok(match self.held(&socket)?.phase {
            Phase::Connecting(..) | Phase::Connected(..) => Err(ErrorCode::InvalidState),
            _ => hint(value),
        })
    }

    fn keep_alive_enabled(&mut self, _socket: Resource<Tcp>) -> Answer<bool> {
        Ok(Ok(true))
    }

    fn set_keep_alive_enabled(&mut self, _socket: Resource<Tcp>, value: bool) -> Answer<()> {
        Ok(if value { Ok(()) } else { Err(ErrorCode::NotSupported) })
    }

    fn keep_alive_idle_time(&mut self, _socket: Resource<Tcp>) -> Answer<u64> {
        Ok(Ok(KEEP_ALIVE.0))
    }

    fn set_keep_alive_idle_time(&mut self, _socket: Resource<Tcp>, value: u64) -> Answer<()> {
        Ok(hint(value))
    }

    fn keep_alive_interval(&mut self, _socket: Resource<Tcp>) -> Answer<u64> {
        Ok(Ok(KEEP_ALIVE.1))
    }

    fn set_keep_alive_interval(&mut self, _socket: Resource<Tcp>, value: u64) -> Answer<()> {
        Ok(hint(value))
    }

    fn keep_alive_count(&mut self, _socket: Resource<Tcp>) -> Answer<u32> {
        Ok(Ok(KEEP_ALIVE.2))
    }

    fn set_keep_alive_count(&mut self, _socket: Resource<Tcp>, value: u32) -> Answer<()> {
        Ok(hint(value.into()))
    }

    fn hop_limit(&mut self, _socket: Resource<Tcp>) -> Answer<u8> {
        Ok(Ok(HOP_LIMIT))
    }

    fn set_hop_limit(&mut self, _socket: Resource<Tcp>, value: u8) -> Answer<()> {
        Ok(match value {
            0 => Err(ErrorCode::InvalidArgument),
            HOP_LIMIT => Ok(()),
            _ => Err(ErrorCode::NotSupported),
        })
    }

    fn receive_buffer_size(&mut self, _socket: Resource<Tcp>) -> Answer<u64> {
        Ok(Ok(BUFFER as u64))
    }

    fn set_receive_buffer_size(&mut self, _socket: Resource<Tcp>, value: u64) -> Answer<()> {
        Ok(hint(value))
    }

    fn send_buffer_size(&mut self, _socket: Resource<Tcp>) -> Answer<u64> {
        Ok(Ok(BUFFER as u64))
    }

    fn set_send_buffer_size(&mut self, _socket: Resource<Tcp>, value: u64) -> Answer<()> {
        Ok(hint(value))
    }

    fn subscribe(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<Resource<Pollable>> {
        // Of the socket as it is when it is waited for: programs have one from its beginning on.
        Ok(self.resources.table.push_child(Pollable::Socket(socket.rep()), &socket)?)
    }

    fn shutdown(&mut self, socket: Resource<Tcp>, how: ShutdownType) -> Answer<()> {
        let Phase::Connected(open, _) = self.held(&socket)?.phase else {
            return Ok(Err(ErrorCode::InvalidState));
        };
        // `sdflags` of preview 1.
        let how = match how {
            ShutdownType::Receive => 1,
            ShutdownType::Send => 2,
            ShutdownType::Both => 3,
        };
        let shut = self
            .call(&mut Scratch::new(), |wasi, host, memory| wasi.sock_shutdown(host, memory, open.0, how))?;
        Ok(shut.map_err(code))
    }

    fn drop(&mut self, socket: Resource<Tcp>) -> wasmtime::Result<()> {
        match self.taken(socket)?.open() {
            Some(open) => self.release(open),
            None => Ok(()),
        }
    }
}
