//! What the crate needs from whoever runs it: clocks, entropy, the three standard streams, and connections.

use alloc::vec::Vec;
use core::net::SocketAddr;

use sentient_abi::network::calls::{Answer, Call};

use crate::errno::Errno;
use crate::permissions::Denied;

/// A clock a module may ask for (`typenames.witx`, `$clockid`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clock {
    /// Nanoseconds since 1970-01-01T00:00:00Z. May jump, for instance after a snapshot is restored.
    Realtime,
    /// Never goes back; its zero means nothing. Every [`Wait`](crate::Wait) is in this clock.
    Monotonic,
    /// Processor time used by the container.
    ProcessCpu,
    /// Processor time used by the calling thread: a container has one, so it equals `ProcessCpu`.
    ThreadCpu,
}

impl Clock {
    /// The clock with this `$clockid`, if there is one.
    pub(crate) fn from_id(id: u32) -> Option<Self> {
        match id {
            0 => Some(Self::Realtime),
            1 => Some(Self::Monotonic),
            2 => Some(Self::ProcessCpu),
            3 => Some(Self::ThreadCpu),
            _ => None,
        }
    }
}

/// A standard stream the container writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// Why a stream moved no bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StreamError {
    /// Nothing can move now; the call is answered with [`Outcome::Block`](crate::Outcome::Block),
    /// or with `EAGAIN` on a descriptor in non-blocking mode.
    WouldBlock,
    /// The same, until this time of the monotonic clock: the stream may only move so much in a time.
    TooFast(u64),
    /// The other end is gone for good: `EPIPE` for a writer, end of file for a reader.
    Closed,
    /// A connection was cut: `ECONNRESET`.
    Reset,
}

/// The host's name for a connection. None of them is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connection(pub u64);

/// What `poll_oneoff` learns of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// A read or write would block.
    NotReady,
    /// A read or write would block until this time of the monotonic clock.
    NotBefore(u64),
    /// A read or write moves something now: about this many bytes.
    Ready(u64),
    /// The other end is gone: a read or write is answered at once, with end of file or `EPIPE`.
    Closed,
}

/// The kernel's side of the layer. The guest kernel's runtime implements it, tests implement it.
///
/// Nothing here may block: whatever cannot be done now is refused, the crate answers
/// [`Outcome::Block`](crate::Outcome::Block), and the caller waits where it can run other
/// containers.
pub trait Host {
    /// The time of a clock, in nanoseconds.
    fn clock_ns(&mut self, clock: Clock) -> u64;

    /// The resolution of a clock, in nanoseconds; not zero (`clock_res_get` in the witx). A zero is
    /// reported as 1.
    fn clock_resolution_ns(&mut self, clock: Clock) -> u64;

    /// Fills `buf` with random bytes fit for keys.
    fn random(&mut self, buf: &mut [u8]);

    /// Takes bytes that the container wrote, straight out of its memory; may take fewer than
    /// offered. Never called with an empty slice. Taking none of them counts as
    /// [`StreamError::WouldBlock`].
    ///
    /// # Errors
    /// [`StreamError`]: nothing was taken.
    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<usize, StreamError>;

    /// Puts standard input straight into the container's memory; `Ok(0)` is the end of file. Never
    /// called with an empty slice.
    ///
    /// # Errors
    /// [`StreamError`]: nothing was put; [`StreamError::Closed`] means the end of file as well.
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, StreamError>;

    /// Whether [`Host::read`] would answer now, and with how many bytes.
    fn stdin_ready(&mut self) -> Readiness;

    /// Whether [`Host::write`] would take something now, and how many bytes.
    fn output_ready(&mut self, stream: Stream) -> Readiness;

    /// Takes the next connection to a port that the container listens on.
    ///
    /// # Errors
    /// [`StreamError::WouldBlock`]: there is none; [`StreamError::Closed`]: nobody listens any more.
    fn accept(&mut self, port: u16) -> Result<Connection, StreamError>;

    /// Whether [`Host::accept`] would answer now, and with how many connections.
    fn accept_ready(&mut self, port: u16) -> Readiness;

    /// Puts what has come over a connection straight into the container's memory, and leaves it there to be received
    /// again if it is only to `peek`; `Ok(0)` is the end. Never called with an empty slice.
    ///
    /// # Errors
    /// [`StreamError`]: nothing was put.
    fn receive(&mut self, from: Connection, buf: &mut [u8], peek: bool) -> Result<usize, StreamError>;

    /// Whether [`Host::receive`] would answer now, and with how many bytes.
    fn receive_ready(&mut self, from: Connection) -> Readiness;

    /// Takes bytes for a connection, straight out of the container's memory; may take fewer than offered. Never called
    /// with an empty slice.
    ///
    /// # Errors
    /// [`StreamError`]: nothing was taken.
    fn send(&mut self, to: Connection, bytes: &[u8]) -> Result<usize, StreamError>;

    /// Whether [`Host::send`] would take something now, and how many bytes.
    fn send_ready(&mut self, to: Connection) -> Readiness;

    /// Ends one or both directions of a connection: nothing more is received, or sent.
    fn shut_down(&mut self, connection: Connection, receiving: bool, sending: bool);

    /// The container has no more use for a connection. What was sent is still delivered.
    fn close(&mut self, connection: Connection);

    /// Begins a call to the outside, of whose host and port the container may be asked for: [`Host::answer`] is about it,
    /// until that has given an answer.
    ///
    /// # Errors
    /// `ENETUNREACH` without a network, `ENOBUFS` without room for another connection.
    fn call(&mut self, call: &Call<'_>) -> Result<Connection, Errno> {
        let _ = call;
        Err(Errno::Netunreach)
    }

    /// Takes the answer to a call. If there is a connection, its bytes come from here on.
    ///
    /// # Errors
    /// [`StreamError::WouldBlock`]: there is none yet; any other: there will be none.
    fn answer(&mut self, call: Connection) -> Result<Answer, StreamError> {
        let _ = call;
        Err(StreamError::Reset)
    }

    /// Whether [`Host::answer`] would give anything but [`StreamError::WouldBlock`] now.
    fn answer_ready(&mut self, call: Connection) -> Readiness {
        let _ = call;
        Readiness::Closed
    }

    /// The addresses of a connection's ends: the container's and the other one. `None` if it was cut.
    fn ends(&mut self, connection: Connection) -> Option<(SocketAddr, SocketAddr)> {
        let _ = connection;
        None
    }

    /// Asks the host for something in a folder of its own that the container was given; gives its answer, without the
    /// head. Unlike all other functions here it takes as long as the host does, which may be a disk's: whoever implements
    /// it lets other containers run meanwhile, and is not to call this one's [`Wasi`](crate::Wasi) before it is done.
    ///
    /// # Errors
    /// The number of the host's error; without volumes, [`Errno::Nodev`].
    fn volume(&mut self, question: &sentient_abi::volumes::Request<'_>) -> Result<Vec<u8>, Errno> {
        let _ = question;
        Err(Errno::Nodev)
    }

    /// A number for an open file of a volume: not 0, and none twice.
    fn new_handle(&mut self) -> u64 {
        1
    }

    /// Whether [`denied`](Self::denied) is of use to somebody: what it is told of a path takes a search.
    fn explains(&self) -> bool {
        false
    }

    /// Something was refused, for want of a permission.
    fn denied(&mut self, denied: Denied) {
        let _ = denied;
    }

    /// Whether standard input is a terminal, for `isatty`.
    fn stdin_is_terminal(&mut self) -> bool;

    /// Whether the stream is a terminal, for `isatty`.
    fn output_is_terminal(&mut self, stream: Stream) -> bool;
}
