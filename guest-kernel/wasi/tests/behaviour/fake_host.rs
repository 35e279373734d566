//! A host that can be told what to do, and remembers what was asked of it.

use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddr};

use sentient_abi::network::calls::{Answer, Call, Request};
use sentient_abi::volumes;
use sentient_wasi::{Clock, Connection, Denied, Errno, Host, Readiness, Stream, StreamError};

/// A connection, as its other end sees it.
#[derive(Default)]
pub struct Peer {
    /// What the container has not received yet.
    pub coming: VecDeque<u8>,
    /// Nothing more comes.
    pub ended: bool,
    /// The connection was cut.
    pub reset: bool,
    pub sent: Vec<u8>,
    /// Bytes it still takes.
    pub room: usize,
    /// Directions the container has shut: receiving, sending.
    pub shut: (bool, bool),
    /// What was asked for, if it is a call: what, the host, the port.
    pub call: Option<(Request, String, u16)>,
    /// The answer to that, until it is taken.
    pub answer: Option<Answer>,
}

/// What answers questions about volumes.
pub type Answers = Box<dyn FnMut(&volumes::Request<'_>) -> Result<Vec<u8>, Errno>>;

pub struct FakeHost {
    pub volumes: Option<Answers>,
    /// Handles that were given out.
    pub handles: u64,
    pub realtime: u64,
    pub monotonic: u64,
    pub resolution: u64,
    pub stdin: VecDeque<u8>,
    pub stdin_closed: bool,
    pub out: Vec<u8>,
    pub err: Vec<u8>,
    /// Bytes standard output and error still take.
    pub room: usize,
    pub closed: bool,
    pub terminal: bool,
    /// Where the slices handed to `write` began, and their lengths.
    pub slices: Vec<(usize, usize)>,
    pub clock_calls: u32,
    pub denied: Vec<Denied>,
    /// Until when output may not go on.
    pub throttled: Option<u64>,
    /// Connections that were not accepted yet, with their ports.
    pub arrived: VecDeque<(u16, u64)>,
    /// How many there have been.
    pub connected: u64,
    /// Those that the container has not closed.
    pub peers: BTreeMap<u64, Peer>,
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
            volumes: None,
            handles: 0,
            realtime: 1_700_000_000_000_000_000,
            monotonic: 5_000,
            resolution: 100,
            stdin: VecDeque::new(),
            stdin_closed: false,
            out: Vec::new(),
            err: Vec::new(),
            room: usize::MAX,
            closed: false,
            terminal: false,
            slices: Vec::new(),
            clock_calls: 0,
            denied: Vec::new(),
            throttled: None,
            arrived: VecDeque::new(),
            connected: 0,
            peers: BTreeMap::new(),
        }
    }
}

impl FakeHost {
    /// Somebody connects to a port, and sends something.
    pub fn connect(&mut self, port: u16, bytes: &[u8]) -> u64 {
        self.connected += 1;
        let name = self.connected;
        self.arrived.push_back((port, name));
        self.peers.insert(
            name,
            Peer { coming: bytes.iter().copied().collect(), room: usize::MAX, ..Peer::default() },
        );
        name
    }

    fn peer(&mut self, Connection(name): Connection) -> Result<&mut Peer, StreamError> {
        self.peers.get_mut(&name).filter(|peer| !peer.reset).ok_or(StreamError::Reset)
    }
}

impl Host for FakeHost {
    fn clock_ns(&mut self, clock: Clock) -> u64 {
        self.clock_calls += 1;
        match clock {
            Clock::Realtime => self.realtime,
            Clock::Monotonic => self.monotonic,
            Clock::ProcessCpu => 77,
            Clock::ThreadCpu => 78,
        }
    }

    fn clock_resolution_ns(&mut self, _: Clock) -> u64 {
        self.resolution
    }

    fn random(&mut self, buf: &mut [u8]) {
        buf.fill(0xa5);
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<usize, StreamError> {
        assert!(!bytes.is_empty(), "the contract of Host::write");
        self.slices.push((bytes.as_ptr() as usize, bytes.len()));
        if self.closed {
            return Err(StreamError::Closed);
        }
        if let Some(until) = self.throttled {
            return Err(StreamError::TooFast(until));
        }
        if self.room == 0 {
            return Err(StreamError::WouldBlock);
        }
        let taken = bytes.len().min(self.room);
        self.room -= taken;
        match stream {
            Stream::Stdout => self.out.extend_from_slice(&bytes[..taken]),
            Stream::Stderr => self.err.extend_from_slice(&bytes[..taken]),
        }
        Ok(taken)
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<usize, StreamError> {
        assert!(!buf.is_empty(), "the contract of Host::read");
        if self.stdin.is_empty() {
            return if self.stdin_closed { Ok(0) } else { Err(StreamError::WouldBlock) };
        }
        let count = buf.len().min(self.stdin.len());
        for (to, from) in buf.iter_mut().zip(self.stdin.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }

    fn stdin_ready(&mut self) -> Readiness {
        match (self.stdin.len(), self.stdin_closed) {
            (0, true) => Readiness::Closed,
            (0, false) => Readiness::NotReady,
            (count, _) => Readiness::Ready(count as u64),
        }
    }

    fn output_ready(&mut self, _: Stream) -> Readiness {
        if let Some(until) = self.throttled {
            return Readiness::NotBefore(until);
        }
        match (self.closed, self.room) {
            (true, _) => Readiness::Closed,
            (false, 0) => Readiness::NotReady,
            (false, room) => Readiness::Ready(room as u64),
        }
    }

    fn accept(&mut self, port: u16) -> Result<Connection, StreamError> {
        let at = self.arrived.iter().position(|(to, _)| *to == port).ok_or(StreamError::WouldBlock)?;
        Ok(Connection(self.arrived.remove(at).map_or(0, |(_, name)| name)))
    }

    fn accept_ready(&mut self, port: u16) -> Readiness {
        match self.arrived.iter().filter(|(to, _)| *to == port).count() {
            0 => Readiness::NotReady,
            count => Readiness::Ready(count as u64),
        }
    }

    fn receive(&mut self, from: Connection, buf: &mut [u8], peek: bool) -> Result<usize, StreamError> {
        assert!(!buf.is_empty(), "the contract of Host::receive");
        let peer = self.peer(from)?;
        if peer.coming.is_empty() {
            return if peer.ended || peer.shut.0 { Ok(0) } else { Err(StreamError::WouldBlock) };
        }
        let count = buf.len().min(peer.coming.len());
        for (to, from) in buf.iter_mut().zip(&peer.coming) {
            *to = *from;
        }
        if !peek {
            peer.coming.drain(..count);
        }
        Ok(count)
    }

    fn receive_ready(&mut self, from: Connection) -> Readiness {
        match self.peer(from) {
            Ok(peer) if !peer.coming.is_empty() => Readiness::Ready(peer.coming.len() as u64),
            Ok(peer) if !peer.ended => Readiness::NotReady,
            _ => Readiness::Closed,
        }
    }

    fn send(&mut self, to: Connection, bytes: &[u8]) -> Result<usize, StreamError> {
        assert!(!bytes.is_empty(), "the contract of Host::send");
        let peer = self.peer(to)?;
        if peer.shut.1 {
            return Err(StreamError::Closed);
        }
        let taken = bytes.len().min(peer.room);
        peer.room -= taken;
        peer.sent.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn send_ready(&mut self, to: Connection) -> Readiness {
        match self.peer(to) {
            Ok(Peer { room: 0, .. }) => Readiness::NotReady,
            Ok(peer) => Readiness::Ready(peer.room as u64),
            Err(_) => Readiness::Closed,
        }
    }

    fn shut_down(&mut self, connection: Connection, receiving: bool, sending: bool) {
        if let Ok(peer) = self.peer(connection) {
            peer.shut.0 |= receiving;
            peer.shut.1 |= sending;
        }
    }

    fn close(&mut self, Connection(name): Connection) {
        assert!(self.peers.remove(&name).is_some(), "a connection is closed once");
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Connection, Errno> {
        let name = self.connect(0, b"");
        self.arrived.pop_back();
        let peer = self.peers.get_mut(&name).ok_or(Errno::Nobufs)?;
        peer.call = Some((call.request, call.host.to_owned(), call.port));
        Ok(Connection(name))
    }

    fn answer(&mut self, call: Connection) -> Result<Answer, StreamError> {
        self.peer(call)?.answer.take().ok_or(StreamError::WouldBlock)
    }

    fn answer_ready(&mut self, call: Connection) -> Readiness {
        match self.peer(call) {
            Ok(Peer { answer: None, .. }) => Readiness::NotReady,
            Ok(_) => Readiness::Ready(1),
            Err(_) => Readiness::Closed,
        }
    }

    fn ends(&mut self, connection: Connection) -> Option<(SocketAddr, SocketAddr)> {
        self.peer(connection).ok()?;
        let end = |port| SocketAddr::new(Ipv4Addr::new(10, 0, 0, 1).into(), port);
        Some((end(1), end(2)))
    }

    fn volume(&mut self, question: &volumes::Request<'_>) -> Result<Vec<u8>, Errno> {
        self.volumes.as_mut().ok_or(Errno::Nodev)?(question)
    }

    fn new_handle(&mut self) -> u64 {
        self.handles += 1;
        self.handles
    }

    fn explains(&self) -> bool {
        true
    }

    fn denied(&mut self, denied: Denied) {
        self.denied.push(denied);
    }

    fn stdin_is_terminal(&mut self) -> bool {
        self.terminal
    }

    fn output_is_terminal(&mut self, _: Stream) -> bool {
        self.terminal
    }
}
