//! The gateway: connections of the host's programs, carried on to containers.
//!
//! It ends the host's TCP connection and has one of its own with the guest, so that neither side sees anything of the
//! other but bytes, ends and resets. Everything the guest sends goes through smoltcp, which takes it for what a
//! stranger on the network sent.

use super::cable::Link;
use rustix::net::sockopt::set_socket_linger;
use sentient_abi::network::{GATEWAY, GATEWAY_HARDWARE, PREFIX, TIME_WAIT_MS, container_address};
use smoltcp::iface::{Config, Interface, PollResult, SocketHandle, SocketSet};
use smoltcp::socket::tcp::{Socket, SocketBuffer, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::{EthernetAddress, IpAddress, IpCidr, Ipv4Address};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// Most connections at a time; more wait until there is room.
pub const MAX_CONNECTIONS: usize = 1024;

/// Bytes that may be under way each way of a connection, besides what the guest and the host's kernel hold.
const BUFFER: usize = 64 << 10;

/// How long a guest may take to answer a new connection.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a connection of which both sides have seen the end stays.
const TIME_WAIT: Duration = Duration::from_millis(TIME_WAIT_MS);

/// The first of the gateway's own ports, and how many there are (RFC 6335, 6: dynamic ones).
const FIRST_PORT: u16 = 49152;
const PORTS: u64 = 1 << 14;

/// One connection.
#[derive(Debug)]
struct Connection {
    stream: TcpStream,
    handle: SocketHandle,
    container: u32,
    port: u16,
    /// The host's side may have something to read, or room to write: nobody has said otherwise since it was tried.
    readable: bool,
    writable: bool,
    /// The host's side sends no more.
    host_ended: bool,
    /// The guest sends no more.
    guest_ended: bool,
    /// When there is nothing left to wait for, once that is known.
    done: Option<Instant>,
}

/// What came of moving some bytes.
enum Moved {
    Some,
    Blocked,
    Ended,
    Failed,
}

impl Moved {
    fn of(result: &io::Result<usize>) -> Self {
        match result {
            Ok(0) => Self::Ended,
            Ok(_) => Self::Some,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Self::Blocked,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => Self::Some,
            Err(_) => Self::Failed,
        }
    }
}

impl Connection {
    /// Moves what the host's side has sent into the socket; whether that changed anything.
    fn fill(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut changed = false;
        while self.readable && !self.host_ended && socket.can_send() {
            let moved = socket.send(|room| {
                let read = (&self.stream).read(room);
                (*read.as_ref().unwrap_or(&0), Moved::of(&read))
            });
            match moved {
                Ok(Moved::Some) => {}
                Ok(Moved::Blocked) => self.readable = false,
                Ok(Moved::Ended) => {
                    self.host_ended = true;
                    socket.close();
                }
                Ok(Moved::Failed) | Err(_) => {
                    self.host_ended = true;
                    socket.abort();
                }
            }
            changed = true;
        }
        changed
    }

    /// Moves what the guest has sent to the host's side; whether that changed anything.
    fn drain(&mut self, socket: &mut Socket<'_>) -> bool {
        let mut changed = false;
        while self.writable && !self.guest_ended && socket.can_recv() {
            let moved = socket.recv(|bytes| {
                let written = (&self.stream).write(bytes);
                (*written.as_ref().unwrap_or(&0), Moved::of(&written))
            });
            match moved {
                Ok(Moved::Some) => {}
                Ok(Moved::Blocked) => self.writable = false,
                Ok(Moved::Ended | Moved::Failed) | Err(_) => {
                    self.guest_ended = true;
                    socket.abort();
                }
            }
            changed = true;
        }
        let over =
            matches!(socket.state(), State::CloseWait | State::LastAck | State::Closing | State::TimeWait);
        if over && !self.guest_ended && !socket.can_recv() {
            self.guest_ended = true;
            // If it cannot be told, it is gone.
            let _ = self.stream.shutdown(std::net::Shutdown::Write);
            changed = true;
        }
        changed
    }

    /// Whether there is nothing left to do, and if so whether it ended as it should.
    fn outcome(&mut self, socket: &Socket<'_>, now: Instant) -> Option<bool> {
        match socket.state() {
            State::TimeWait if self.guest_ended => {
                let done = *self.done.get_or_insert(now + TIME_WAIT);
                (now >= done).then_some(true)
            }
            // A reset that was not sent yet still has its address.
            State::Closed => {
                socket.remote_endpoint().is_none().then_some(self.host_ended && self.guest_ended)
            }
            _ => None,
        }
    }
}

/// The gateway of one machine.
pub struct Gateway {
    interface: Interface,
    sockets: SocketSet<'static>,
    /// By the order of their beginnings, which is what they are called.
    connections: BTreeMap<u64, Connection>,
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
            begun: seed % PORTS,
            started: std::time::Instant::now(),
        }
    }

    fn now(&self) -> Instant {
        Instant::from_micros(i64::try_from(self.started.elapsed().as_micros()).unwrap_or(i64::MAX))
    }

    /// Whether another connection can begin.
    pub fn has_room(&self) -> bool {
        self.connections.len() < MAX_CONNECTIONS
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
        let buffer = || SocketBuffer::new(vec![0; BUFFER]);
        let mut socket = Socket::new(buffer(), buffer());
        socket.set_nagle_enabled(false);
        socket.set_timeout(Some(PATIENCE));
        let to = (IpAddress::Ipv4(Ipv4Address::from(container_address(container))), port);
        // It has a port and an address, and is not connected yet: there is nothing to refuse.
        let _ = socket.connect(self.interface.context(), to, own);
        let connection = Connection {
            stream,
            handle: self.sockets.add(socket),
            container,
            port: own,
            readable: true,
            writable: true,
            host_ended: false,
            guest_ended: false,
            done: None,
        };
        self.connections.insert(name, connection);
    }

    /// The host's side of a connection may have changed.
    pub fn changed(&mut self, name: u64) {
        // One that is over is nobody's any more.
        if let Some(connection) = self.connections.get_mut(&name) {
            connection.readable = true;
            connection.writable = true;
        }
    }

    /// Ends the connections of a container, both sides of them.
    pub fn disconnect(&mut self, container: u32) {
        for connection in self.connections.values().filter(|connection| connection.container == container) {
            self.sockets.get_mut::<Socket<'_>>(connection.handle).abort();
        }
    }

    /// Ends all connections at the host's side: the guest's are gone.
    pub fn forget(&mut self) {
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
            changed |= self.interface.poll(now, link, &mut self.sockets) == PollResult::SocketStateChanged;
            for connection in self.connections.values_mut() {
                changed |= connection.drain(self.sockets.get_mut(connection.handle));
            }
            self.end_those_that_are_over(now);
            if !changed {
                return;
            }
        }
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
        let done = self.connections.values().filter_map(|connection| connection.done).min();
        let until_done = done.map(|done| if done > now { done - now } else { Duration::ZERO });
        wait.into_iter().chain(until_done).min().map(Into::into)
    }
}

/// Lets the host's side see that its connection was cut.
fn reset(stream: &TcpStream) {
    // What cannot be reset ends in another way when it is dropped.
    let _ = set_socket_linger(stream, Some(std::time::Duration::ZERO));
}
