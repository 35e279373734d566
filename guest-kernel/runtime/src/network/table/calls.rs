//! Calls to the gateway: connections to the outside, and addresses of names.
//!
//! A call is a connection whose socket is not the container's yet: what it asks for is sent when the gateway has taken it,
//! and what comes first is the answer. The container drives that by asking for the answer; whatever happens to the socket
//! wakes it.

use super::{Connected, Look, Table, new_socket};
use alloc::vec::Vec;
use sentient_abi::network::calls::{Answer, CALLS_PORT, MAX_ANSWER};
use sentient_abi::network::{GATEWAY, container_address};
use sentient_wasi::{Connection, Readiness, StreamError};
use smoltcp::iface::{Context, SocketSet};
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::Duration;
use smoltcp::wire::{IpAddress, Ipv4Address};

/// How long the gateway may take to answer a call: longer than it gives the host that is called.
const PATIENCE: Duration = Duration::from_secs(60);

/// The first of containers' own ports for calls, and how many there are (RFC 6335, 6: dynamic ones).
const FIRST_PORT: u16 = 49152;
const PORTS: u16 = 1 << 14;

impl Table {
    /// Begins a connection to the gateway, which is going to be asked this. `None` if there is no room for it.
    pub fn call(
        &mut self,
        sockets: &mut SocketSet<'static>,
        context: &mut Context,
        container: u32,
        question: Vec<u8>,
    ) -> Option<Connection> {
        if !self.has_room(container) {
            return None;
        }
        let own = IpAddress::Ipv4(Ipv4Address::from(container_address(container)));
        let port = self.free_port(sockets, own);
        let mut socket = new_socket();
        socket.set_timeout(Some(PATIENCE));
        let gateway = (IpAddress::Ipv4(Ipv4Address::from(GATEWAY)), CALLS_PORT);
        socket.connect(context, gateway, (own, port)).ok()?;
        let socket = sockets.add(socket);
        Some(self.connect(sockets, container, socket, Some(question)))
    }

    /// A port that no connection of an address has.
    fn free_port(&mut self, sockets: &SocketSet<'static>, address: IpAddress) -> u16 {
        loop {
            let port = FIRST_PORT + self.called % PORTS;
            self.called = self.called.wrapping_add(1);
            let is_taken = sockets.iter().any(|(_, socket)| {
                let smoltcp::socket::Socket::Tcp(socket) = socket else { return false };
                socket.local_endpoint().is_some_and(|end| end.addr == address && end.port == port)
            });
            // There are more of them than sockets.
            if !is_taken {
                return port;
            }
        }
    }

    /// Sends what is to be asked for, once that is possible, and takes the answer, once it is there.
    pub fn answer(
        &mut self,
        sockets: &mut SocketSet<'static>,
        container: u32,
        call: Connection,
    ) -> Result<Answer, StreamError> {
        let connected = self.find_mut(container, call).ok_or(StreamError::Reset)?;
        let socket: &mut Socket<'_> = sockets.get_mut(connected.socket);
        if let Some(question) = connected.question.take_if(|_| socket.may_send()) {
            // It fits into a buffer that nothing was put into before.
            let _ = socket.send_slice(&question);
        }
        connected.seen = Look::of(socket);
        let mut buffer = [0; MAX_ANSWER];
        let count = socket.peek_slice(&mut buffer).unwrap_or(0);
        let read = Answer::read(buffer.get(..count).unwrap_or_default());
        let Some((answer, len)) = read.map_err(|_| StreamError::Reset)? else {
            // Before it is there, it cannot be received from.
            let will_come =
                socket.may_recv() || matches!(socket.state(), State::SynSent | State::SynReceived);
            return Err(if will_come { StreamError::WouldBlock } else { StreamError::Reset });
        };
        let _ = socket.recv(|bytes| (len.min(bytes.len()), ()));
        // From here on both sides may be silent for as long as they like.
        socket.set_timeout(None);
        connected.seen = Look::of(socket);
        Ok(answer)
    }

    /// See [`answer_ready`](super::answer_ready): also if there is something to do for an answer to come.
    pub fn answer_ready(&self, sockets: &SocketSet<'static>, container: u32, call: Connection) -> Readiness {
        let Some(Connected { socket, question, .. }) = self.find(container, call) else {
            return Readiness::Closed;
        };
        let socket: &Socket<'_> = sockets.get(*socket);
        let is_coming = match socket.state() {
            State::SynSent | State::SynReceived => true,
            _ => question.is_none() && socket.may_recv() && socket.recv_queue() == 0,
        };
        if is_coming { Readiness::NotReady } else { Readiness::Ready(1) }
    }
}
