//! The gateway: connections of the host's programs, carried on to containers, and of [containers](calls) to the outside.
//!
//! It ends the host's TCP connection and has one of its own with the guest, so that neither side sees anything of the
//! other but bytes, ends and resets. Everything the guest sends goes through smoltcp, which takes it for what a
//! stranger on the network sent.

mod calls;
mod connection;

use super::cable::Link;
use calls::Calls;
use connection::{Connection, reset};
use sentient_abi::network::{GATEWAY, GATEWAY_HARDWARE, PREFIX, container_address};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::BTreeMap;
use std::net::TcpStream;

/// Most connections at a time; more wait until there is room.
pub const MAX_CONNECTIONS: usize = 1024;

/// Bytes that may be under way each way of a connection, besides what the guest and the host's kernel hold.
const BUFFER: usize = 64 << 10;

/// How long a guest may take to answer a new connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// The first of the gateway's own ports, and how many there are (RFC 6335, 6: dynamic ones).
const FIRST_PORT: u16 = 49152;
const PORTS: u64 = 1 << 14;

/// A socket of which nothing is known yet.
fn new_socket() -> Socket<'static> {
    let buffer = || SocketBuffer::new(vec![0; BUFFER]);
    let mut socket = Socket::new(buffer(), buffer());
    socket.set_nagle_enabled(false);
    socket.set_timeout(Some(PATIENCE));
    socket
}

/// The gateway of one machine.
pub struct Gateway {
    interface: Interface,
    sockets: SocketSet<'static>,
    /// By the order of their beginnings, which is what they are called.
    connections: BTreeMap<u64, Connection>,
    calls: Calls,
    begun: u64,
    started: std::time::Instant,
}

impl Gateway {
    /// A gateway at the end of `link`. `seed` makes its ports and sequence numbers hard to guess.
    pub fn new(link: &mut Link, seed: u64) -> Self {
        let mut config = Config::new(EthernetAddress(GATEWAY_HARDWARE).into());
        config.random_seed = seed;
        let mut interface = Interface::new(config, link, Instant::ZERO);
        interface.update_ip_addrs(|addresses| {
            // The first one; there is room for it.
            let _ = addresses.push(IpCidr::new(IpAddress::Ipv4(Ipv4Address::from(GATEWAY)), PREFIX));
        });
        Self {
            interface,
            sockets: SocketSet::new(Vec::new()),
            connections: BTreeMap::new(),
            calls: Calls::default(),
            begun: seed % PORTS,
            started: std::time::Instant::now(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Whether another connection can begin.
    pub fn has_room(&self) -> bool {
        self.connections.len() + self.calls.count() < MAX_CONNECTIONS
    }

    /// What the next connection is going to be called: a small number.
    pub fn next_name(&self) -> u64 {
        self.begun
    }

    /// Carries a connection, which does not block, on to a container's port.
    pub fn connect(&mut self, stream: TcpStream, container: u32, port: u16) {
        let name = self.begun;
        let is_taken = |own: u16| self.connections.values().any(|connection| connection.port == own);
        // There are more ports than connections.
        let own = loop {
            let own = FIRST_PORT + (self.begun % PORTS) as u16;
            self.begun = self.begun.wrapping_add(1);
            if !is_taken(own) {
                break own;
            }
        };
        let mut socket = new_socket();
        let to = (IpAddress::Ipv4(Ipv4Address::from(container_address(container))), port);
        // It has a port and an address, and is not connected yet: there is nothing to refuse.
        let _ = socket.connect(self.interface.context(), to, own);
        let handle = self.sockets.add(socket);
        self.connections.insert(name, Connection::new(stream, handle, container, own));
    }

    /// The host's side of a connection may have changed.
    pub fn changed(&mut self, name: u64) {
        // One that is over is nobody's any more.
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.readable = true;
            connection.writable = true;
        }
        self.calls.changed(name);
    }

    /// Ends the connections of a container, both sides of them.
    pub fn disconnect(&mut self, container: u32) {
        for connection in self.connections.values().filter(|connection| connection.container == container) {
            self.sockets.get_mut::<Socket<'_>>(connection.handle).abort();
        }
        self.disconnect_calls(container);
    }

    /// Ends all connections at the host's side: the guest's are gone.
    pub fn forget(&mut self) {
        self.forget_calls();
        for connection in std::mem::take(&mut self.connections).into_values() {
            self.sockets.remove(connection.handle);
            reset(&connection.stream);
        }
    }

    /// Moves what can be moved, from the host's programs to the cable and back.
    pub fn work(&mut self, link: &mut Link) {
        loop {
            let now = self.now();
            let mut changed = false;
            for connection in self.connections.values_mut() {
                changed |= connection.fill(self.sockets.get_mut(connection.handle));
            }
            changed |= self.exchange(now, link);
            changed |= self.answer_calls(now);
            for connection in self.connections.values_mut() {
                changed |= connection.drain(self.sockets.get_mut(connection.handle));
            }
            self.end_those_that_are_over(now);
            if !changed {
                return;
            }
        }
    }

    /// Takes what is on the cable and puts there what is to be sent; whether that changed anything.
    fn exchange(&mut self, now: Instant, link: &mut Link) -> bool {
        let mut changed = false;
        self.interface.poll_maintenance(now);
        loop {
            match self.interface.poll_ingress_single(now, link, &mut self.sockets) {
                PollIngressSingleResult::None => break,
                PollIngressSingleResult::PacketProcessed => {}
                PollIngressSingleResult::SocketStateChanged => changed = true,
            }
            // Before the next one calls, who finds nobody there otherwise.
            self.admit_caller();
        }
        while self.interface.poll_egress(now, link, &mut self.sockets) == PollResult::SocketStateChanged {
            changed = true;
        }
        changed
    }

    fn end_those_that_are_over(&mut self, now: Instant) {
        let sockets = &mut self.sockets;
        self.connections.retain(|_, connection| {
            let socket = sockets.get_mut::<Socket<'_>>(connection.handle);
            if socket.may_send() {
                // The guest has answered, and may be silent from now on for as long as it likes.
                socket.set_timeout(None);
            }
            let Some(well) = connection.outcome(socket, now) else { return true };
            sockets.remove(connection.handle);
            if !well {
                reset(&connection.stream);
            }
            false
        });
    }

    /// How long until there is something to do although nothing has come.
    pub fn patience(&mut self) -> Option<std::time::Duration> {
        let now = self.now();
        let wait = self.interface.poll_delay(now, &self.sockets);
        let done = self.connections.values().filter_map(|connection| connection.done);
        let due = done.chain(self.calls.due()).min();
        let until_due = due.map(|due| if due > now { due - now } else { Duration::ZERO });
        wait.into_iter().chain(until_due).min().map(Into::into)
    }
}
