//! Who has which sockets, and what has become of them.

mod calls;
mod digest;

use crate::clock;
use alloc::collections::VecDeque;
use alloc::vec;
use alloc::vec::Vec;
use core::net::SocketAddr;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::network::{TIME_WAIT_MS, container_address};
use sentient_wasi::{Connection, Readiness, StreamError};
use smoltcp::iface::{SocketHandle, SocketSet};
use smoltcp::socket::tcp::{RecvError, Socket, SocketBuffer, State};
use smoltcp::wire::{IpAddress, IpListenEndpoint, Ipv4Address};

/// Bytes of each of a socket's buffers, for what comes and for what leaves.
pub const BUFFER: usize = 16 << 10;

/// Most connections of one port that were not accepted yet.
const BACKLOG: usize = 64;
/// Sockets there can be, however little memory there is.
const LEAST_SOCKETS: usize = 8;

/// How long a closed connection may take to tell the other side all it has to, in nanoseconds.
const LINGER_NS: u64 = 10_000_000_000;
/// How long one of which all was told stays, in nanoseconds.
const TIME_WAIT_NS: u64 = TIME_WAIT_MS * 1_000_000;

/// A port of a container.
#[derive(Hash)]
struct Listener {
    container: u32,
    port: u16,
    /// Connections that were not accepted yet, the oldest first; some are not complete.
    waiting: VecDeque<SocketHandle>,
}

/// A connection of a container.
#[derive(Hash)]
struct Connected {
    name: u64,
    container: u32,
    socket: SocketHandle,
    /// What is to be asked for as soon as it is there.
    question: Option<Vec<u8>>,
    /// The container receives no more.
    deaf: bool,
    /// What was last seen of it, by us or by the container: what differs from this, the other side has done.
    seen: Look,
}

/// A socket that its container has closed, and by when it has to be done.
#[derive(Hash)]
struct Leaving {
    container: u32,
    socket: SocketHandle,
    until: u64,
}

/// What a container can see of a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Look {
    state: State,
    received: usize,
    sending: usize,
}

impl Listener {
    fn is(&self, container: u32, port: u16) -> bool {
        self.container == container && self.port == port
    }
}

impl Connected {
    fn is(&self, container: u32, Connection(name): Connection) -> bool {
        self.container == container && self.name == name
    }
}

impl Look {
    fn of(socket: &Socket<'_>) -> Self {
        Self { state: socket.state(), received: socket.recv_queue(), sending: socket.send_queue() }
    }
}

/// All sockets.
pub struct Table {
    listeners: Vec<Listener>,
    connections: Vec<Connected>,
    leaving: Vec<Leaving>,
    /// The name of the next connection.
    named: u64,
    /// Calls to the gateway that there were.
    called: u16,
    /// Most sockets at a time.
    most: usize,
    /// Containers have addresses of their own.
    own_addresses: bool,
    changes: [u64; MAX_CONTAINERS as usize],
}

/// A socket of which nothing is known yet.
fn new_socket() -> Socket<'static> {
    let mut socket = Socket::new(SocketBuffer::new(vec![0; BUFFER]), SocketBuffer::new(vec![0; BUFFER]));
    socket.set_nagle_enabled(false);
    socket
}

/// Whether a connection is complete, and was not lost since.
fn is_complete(socket: &Socket<'_>) -> bool {
    matches!(socket.state(), State::Established | State::CloseWait)
}

/// Whether nothing is left of a connection. One that is to be reset still has its address.
fn is_over(socket: &Socket<'_>) -> bool {
    socket.state() == State::Closed && socket.remote_endpoint().is_none()
}

impl Table {
    /// No sockets, and room for so many bytes of them. Own ports are counted from `first_port` on: in another life they are
    /// others. Without `own_addresses`, containers share the machine's.
    pub fn new(bytes: u64, first_port: u16, own_addresses: bool) -> Self {
        let most = usize::try_from(bytes).unwrap_or(usize::MAX) / (2 * BUFFER);
        Self {
            listeners: Vec::new(),
            connections: Vec::new(),
            leaving: Vec::new(),
            named: 0,
            called: first_port,
            most: most.max(LEAST_SOCKETS),
            own_addresses,
            changes: [0; MAX_CONTAINERS as usize],
        }
    }

    /// A container listens on a port.
    pub fn listen(&mut self, container: u32, port: u16) {
        self.listeners.push(Listener { container, port, waiting: VecDeque::new() });
    }

    /// The container that listens at an address on a port, or that has the address.
    pub fn container_at(&self, address: [u8; 4], port: u16) -> Option<u32> {
        if self.own_addresses {
            return (0..MAX_CONTAINERS).find(|container| container_address(*container) == address);
        }
        let listener = self.listeners.iter().find(|listener| listener.port == port);
        listener.map(|listener| listener.container)
    }

    /// See [`changes`](super::changes).
    pub fn changes(&self, container: u32) -> u64 {
        self.changes.get(container as usize).copied().unwrap_or(0)
    }

    fn changed(&mut self, container: u32) {
        if let Some(changes) = self.changes.get_mut(container as usize) {
            *changes = changes.wrapping_add(1);
        }
    }

    /// Whether there can be another socket of a container. One does not keep all others from having any.
    fn has_room(&self, container: u32) -> bool {
        let own = self.connections.iter().filter(|connected| connected.container == container).count()
            + self.leaving.iter().filter(|leaving| leaving.container == container).count();
        let all = self.connections.len() + self.leaving.len();
        let waiting: usize = self.listeners.iter().map(|listener| listener.waiting.len()).sum();
        all + waiting < self.most && own + waiting < self.most - self.most / 4
    }

    /// Somebody calls on a port: if there is a listener, there is a socket now to answer. `false` if there is no room
    /// for one: the call has to wait.
    pub fn expect(&mut self, sockets: &mut SocketSet<'static>, container: u32, port: u16) -> bool {
        let has_room = self.has_room(container);
        let Some(listener) = self.listeners.iter_mut().find(|listener| listener.is(container, port)) else {
            return true;
        };
        if !has_room || listener.waiting.len() >= BACKLOG {
            return false;
        }
        let mut socket = new_socket();
        let own = IpAddress::Ipv4(Ipv4Address::from(container_address(container)));
        let addr = self.own_addresses.then_some(own);
        if socket.listen(IpListenEndpoint { addr, port }).is_ok() {
            listener.waiting.push_back(sockets.add(socket));
        }
        true
    }

    /// The next complete connection to a port.
    pub fn accept(
        &mut self,
        sockets: &SocketSet<'static>,
        container: u32,
        port: u16,
    ) -> Result<Connection, StreamError> {
        let listener = self.listeners.iter_mut().find(|listener| listener.is(container, port));
        let waiting = &mut listener.ok_or(StreamError::Closed)?.waiting;
        let complete = waiting.iter().position(|handle| is_complete(sockets.get(*handle)));
        let socket = complete.and_then(|at| waiting.remove(at)).ok_or(StreamError::WouldBlock)?;
        Ok(self.connect(sockets, container, socket, None))
    }

    /// A container has a connection, or will have one.
    fn connect(
        &mut self,
        sockets: &SocketSet<'static>,
        container: u32,
        socket: SocketHandle,
        question: Option<Vec<u8>>,
    ) -> Connection {
        let name = self.named;
        self.named += 1;
        let seen = Look::of(sockets.get(socket));
        self.connections.push(Connected { name, container, socket, question, deaf: false, seen });
        Connection(name)
    }

    /// See [`ends`](super::ends).
    pub fn ends(
        &self,
        sockets: &SocketSet<'static>,
        container: u32,
        connection: Connection,
    ) -> Option<(SocketAddr, SocketAddr)> {
        let socket: &Socket<'_> = sockets.get(self.find(container, connection)?.socket);
        Some((socket.local_endpoint()?.into(), socket.remote_endpoint()?.into()))
    }

    /// How many complete connections there are to accept.
    pub fn accept_ready(&self, sockets: &SocketSet<'static>, container: u32, port: u16) -> Readiness {
        let Some(listener) = self.listeners.iter().find(|listener| listener.is(container, port)) else {
            return Readiness::Closed;
        };
        match listener.waiting.iter().filter(|handle| is_complete(sockets.get(**handle))).count() {
            0 => Readiness::NotReady,
            count => Readiness::Ready(count as u64),
        }
    }

    fn find(&self, container: u32, connection: Connection) -> Option<&Connected> {
        self.connections.iter().find(|connected| connected.is(container, connection))
    }

    fn find_mut(&mut self, container: u32, connection: Connection) -> Option<&mut Connected> {
        self.connections.iter_mut().find(|connected| connected.is(container, connection))
    }

    pub fn receive(
        &mut self,
        sockets: &mut SocketSet<'static>,
        container: u32,
        from: Connection,
        buffer: &mut [u8],
        peek: bool,
    ) -> Result<usize, StreamError> {
        let connected = self.find_mut(container, from).ok_or(StreamError::Reset)?;
        if connected.deaf {
            return Ok(0);
        }
        let socket: &mut Socket<'_> = sockets.get_mut(connected.socket);
        let received = if peek { socket.peek_slice(buffer) } else { socket.recv_slice(buffer) };
        connected.seen = Look::of(socket);
        match received {
            Ok(0) => Err(StreamError::WouldBlock),
            Ok(count) => Ok(count),
            Err(RecvError::Finished) => Ok(0),
            Err(RecvError::InvalidState) => Err(StreamError::Reset),
        }
    }

    pub fn receive_ready(&self, sockets: &SocketSet<'static>, container: u32, from: Connection) -> Readiness {
        let Some(Connected { socket, deaf: false, .. }) = self.find(container, from) else {
            return Readiness::Closed;
        };
        let socket: &Socket<'_> = sockets.get(*socket);
        match socket.recv_queue() {
            0 if socket.may_recv() => Readiness::NotReady,
            0 => Readiness::Closed,
            count => Readiness::Ready(count as u64),
        }
    }

    pub fn send(
        &mut self,
        sockets: &mut SocketSet<'static>,
        container: u32,
        to: Connection,
        bytes: &[u8],
    ) -> Result<usize, StreamError> {
        let connected = self.find_mut(container, to).ok_or(StreamError::Reset)?;
        let socket: &mut Socket<'_> = sockets.get_mut(connected.socket);
        if !socket.may_send() {
            let was_cut = socket.state() == State::Closed;
            return Err(if was_cut { StreamError::Reset } else { StreamError::Closed });
        }
        let sent = socket.send_slice(bytes);
        connected.seen = Look::of(socket);
        match sent {
            Ok(0) => Err(StreamError::WouldBlock),
            Ok(count) => Ok(count),
            Err(_) => Err(StreamError::Closed),
        }
    }

    pub fn send_ready(&self, sockets: &SocketSet<'static>, container: u32, to: Connection) -> Readiness {
        let Some(Connected { socket, .. }) = self.find(container, to) else {
            return Readiness::Closed;
        };
        let socket: &Socket<'_> = sockets.get(*socket);
        match socket.send_capacity() - socket.send_queue() {
            _ if !socket.may_send() => Readiness::Closed,
            0 => Readiness::NotReady,
            room => Readiness::Ready(room as u64),
        }
    }

    pub fn shut_down(
        &mut self,
        sockets: &mut SocketSet<'static>,
        container: u32,
        connection: Connection,
        receiving: bool,
        sending: bool,
    ) {
        let Some(connected) = self.find_mut(container, connection) else { return };
        connected.deaf |= receiving;
        if sending {
            sockets.get_mut::<Socket<'_>>(connected.socket).close();
        }
    }

    pub fn close(&mut self, sockets: &mut SocketSet<'static>, container: u32, connection: Connection) {
        let found = self.connections.iter().position(|connected| connected.is(container, connection));
        let Some(at) = found else { return };
        let socket = self.connections.swap_remove(at).socket;
        sockets.get_mut::<Socket<'_>>(socket).close();
        let until = clock::monotonic_ns().saturating_add(LINGER_NS);
        self.leaving.push(Leaving { container, socket, until });
    }

    /// A container is gone. Its sockets reset what they are part of, and are gone after that.
    pub fn forget(&mut self, container: u32, sockets: &mut SocketSet<'static>) {
        let mut gone = Vec::new();
        self.listeners.retain_mut(|listener| {
            let stays = listener.container != container;
            if !stays {
                gone.extend(listener.waiting.drain(..));
            }
            stays
        });
        self.connections.retain(|connected| {
            let stays = connected.container != container;
            if !stays {
                gone.push(connected.socket);
            }
            stays
        });
        for leaving in self.leaving.iter().filter(|leaving| leaving.container == container) {
            sockets.get_mut::<Socket<'_>>(leaving.socket).abort();
        }
        for socket in gone {
            sockets.get_mut::<Socket<'_>>(socket).abort();
            self.leaving.push(Leaving { container, socket, until: clock::NEVER });
        }
    }

    /// Resets the connections of a container, and what waits at its ports. It still listens.
    pub fn cut(&mut self, container: u32, sockets: &mut SocketSet<'static>) {
        let own = self.listeners.iter_mut().filter(|listener| listener.container == container);
        let mut gone: Vec<SocketHandle> = own.flat_map(|listener| listener.waiting.drain(..)).collect();
        self.connections.retain(|connected| {
            let stays = connected.container != container;
            if !stays {
                gone.push(connected.socket);
            }
            stays
        });
        for socket in gone {
            sockets.get_mut::<Socket<'_>>(socket).abort();
            self.leaving.push(Leaving { container, socket, until: clock::NEVER });
        }
        self.changed(container);
    }

    /// Cuts all connections without a word: in life number `life` of the machine, nobody is at their other ends. Containers
    /// may know names, and have seen changes, that this has not: what it counts begins anew, above all that was.
    pub fn cut_all(&mut self, sockets: &mut SocketSet<'static>, life: u64) {
        let waiting = self.listeners.iter_mut().flat_map(|listener| listener.waiting.drain(..));
        let connected = self.connections.drain(..).map(|connected| connected.socket);
        let leaving = self.leaving.drain(..).map(|leaving| leaving.socket);
        for socket in waiting.chain(connected).chain(leaving) {
            sockets.remove(socket);
        }
        self.named = self.named.max(clock::first_number(life));
        for changes in &mut self.changes {
            *changes = changes.wrapping_add(1).max(clock::first_number(life));
        }
    }

    /// Takes away what nobody has any use for; whether there was any.
    pub fn tidy(&mut self, sockets: &mut SocketSet<'static>) -> bool {
        let mut tidied = false;
        for listener in &mut self.listeners {
            listener.waiting.retain(|handle| {
                let socket = sockets.get_mut::<Socket<'_>>(*handle);
                // A call that came to nothing: one that was cut short leaves a socket that listens again.
                let lost = is_over(socket) || socket.is_listening();
                if lost {
                    sockets.remove(*handle);
                    tidied = true;
                }
                !lost
            });
        }
        let now = clock::monotonic_ns();
        self.leaving.retain_mut(|leaving| {
            let socket = sockets.get_mut::<Socket<'_>>(leaving.socket);
            // What the other side still says is heard, and not listened to: it would wait for ever to say it.
            while socket.recv(|bytes| (bytes.len(), bytes.len())).is_ok_and(|count| count > 0) {}
            let is_done = socket.state() == State::TimeWait;
            if is_done {
                leaving.until = leaving.until.min(now.saturating_add(TIME_WAIT_NS));
            } else if now >= leaving.until {
                socket.abort();
            }
            let over = is_over(socket) || (is_done && now >= leaving.until);
            if over {
                sockets.remove(leaving.socket);
                tidied = true;
            }
            !over
        });
        tidied
    }

    /// When a closed connection has had all the time it gets.
    pub fn due(&self) -> u64 {
        self.leaving.iter().map(|leaving| leaving.until).min().unwrap_or(clock::NEVER)
    }

    /// Sees what has become of all sockets since the last look.
    pub fn notice(&mut self, sockets: &SocketSet<'static>) {
        let mut changed = 0_u64;
        for connected in &mut self.connections {
            let look = Look::of(sockets.get(connected.socket));
            if look != connected.seen {
                connected.seen = look;
                changed |= 1 << connected.container;
            }
        }
        for listener in &self.listeners {
            if listener.waiting.iter().any(|handle| is_complete(sockets.get(*handle))) {
                changed |= 1 << listener.container;
            }
        }
        for container in (0..MAX_CONTAINERS).filter(|container| changed & (1 << container) != 0) {
            self.changed(container);
        }
    }
}

const _: () = assert!(MAX_CONTAINERS <= u64::BITS);
