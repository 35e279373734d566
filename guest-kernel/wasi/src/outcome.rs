//! How a call ends: with an error number, by waiting, or with the whole program.

use crate::errno::Errno;
use crate::host::Stream;

/// What the runtime does after a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a blocked call is made again, an exit does not return to the module"]
pub enum Outcome {
    /// Return this to the module.
    Done(Errno),
    /// Wait for any of these, then make the same call with the same arguments again. Nothing the
    /// module can see has changed yet.
    Block(Wait),
    /// End the program with this code; do not return to the module.
    Exit(u32),
}

/// What to wait for: the first of these is enough, and waking too early does no harm.
///
/// With nothing set ([`Wait::YIELD`]) the wait is over as soon as the other containers have had a
/// turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wait {
    /// Standard input has bytes or is closed.
    pub stdin: bool,
    /// Standard output takes bytes or is closed.
    pub stdout: bool,
    /// Standard error takes bytes or is closed.
    pub stderr: bool,
    /// Something has happened to the container's sockets since the call was made.
    pub sockets: bool,
    /// The host has answered a question about a volume. No call says so: it is for whoever implements
    /// [`Host::volume`](crate::Host::volume).
    pub volume: bool,
    /// [`Clock::Monotonic`](crate::Clock::Monotonic) has reached this many nanoseconds.
    pub until_ns: Option<u64>,
}

impl Wait {
    /// Give the others a turn (`sched_yield`).
    pub const YIELD: Self =
        Self { stdin: false, stdout: false, stderr: false, sockets: false, volume: false, until_ns: None };
    /// Wait for standard input.
    pub const STDIN: Self = Self { stdin: true, ..Self::YIELD };

    /// Wait for a socket.
    pub const SOCKETS: Self = Self { sockets: true, ..Self::YIELD };

    /// Waits until a stream takes bytes.
    #[must_use]
    pub const fn for_output(stream: Stream) -> Self {
        match stream {
            Stream::Stdout => Self { stdout: true, ..Self::YIELD },
            Stream::Stderr => Self { stderr: true, ..Self::YIELD },
        }
    }

    /// Waits for what either waits for.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            stdin: self.stdin | other.stdin,
            stdout: self.stdout | other.stdout,
            stderr: self.stderr | other.stderr,
            sockets: self.sockets | other.sockets,
            volume: self.volume | other.volume,
            until_ns: match (self.until_ns, other.until_ns) {
                (Some(one), Some(two)) => Some(one.min(two)),
                (one, two) => one.or(two),
            },
        }
    }
}

/// Why the inside of a call gave up; [`Outcome`] without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    Errno(Errno),
    Block(Wait),
    Exit(u32),
}

impl From<Errno> for Stop {
    fn from(errno: Errno) -> Self {
        Self::Errno(errno)
    }
}

impl From<Result<(), Stop>> for Outcome {
    fn from(result: Result<(), Stop>) -> Self {
        match result {
            Ok(()) => Self::Done(Errno::Success),
            Err(Stop::Errno(errno)) => Self::Done(errno),
            Err(Stop::Block(wait)) => Self::Block(wait),
            Err(Stop::Exit(code)) => Self::Exit(code),
        }
    }
}
