//! One connection, between a program of the host's and a container.

use rustix::net::sockopt::set_socket_linger;
use sentient_abi::network::TIME_WAIT_MS;
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use std::io::{self, Read, Write};
use std::net::TcpStream;

/// How long a connection of which both sides have seen the end stays.
pub(super) const TIME_WAIT: Duration = Duration::from_millis(TIME_WAIT_MS);

/// One connection.
#[derive(Debug)]
pub(super) struct Connection {
    pub stream: TcpStream,
    pub handle: SocketHandle,
    pub container: u32,
    /// The gateway's own port.
    pub port: u16,
    /// The host's side may have something to read, or room to write: nobody has said otherwise since it was tried.
    pub readable: bool,
    pub writable: bool,
    /// The host's side sends no more.
    host_ended: bool,
    /// The guest sends no more.
    guest_ended: bool,
    /// When there is nothing left to wait for, once that is known.
    pub done: Option<Instant>,
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
    /// One of which nothing is known yet.
    pub fn new(stream: TcpStream, handle: SocketHandle, container: u32, port: u16) -> Self {
        Self {
            stream,
            handle,
            container,
            port,
            readable: true,
            writable: true,
            host_ended: false,
            guest_ended: false,
            done: None,
        }
    }

    /// Moves what the host's side has sent into the socket; whether that changed anything.
    pub fn fill(&mut self, socket: &mut Socket<'_>) -> bool {
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
    pub fn drain(&mut self, socket: &mut Socket<'_>) -> bool {
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
    pub fn outcome(&mut self, socket: &Socket<'_>, now: Instant) -> Option<bool> {
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

/// Lets the host's side see that its connection was cut.
pub(super) fn reset(stream: &TcpStream) {
    // What cannot be reset ends in another way when it is dropped.
    let _ = set_socket_linger(stream, Some(std::time::Duration::ZERO));
}
