//! The runtime's side of the WASI layer (`sentient-wasi`): clocks, random numbers, streams, connections, volumes.

use crate::console::{self, InputState};
use crate::output_rate::Rate;
use crate::{clock, network, random, report, scheduler, volumes};
use alloc::vec::Vec;
use core::net::SocketAddr;
use sentient_abi::boot_module::container_flags;
use sentient_abi::network::calls::{Answer, Call};
use sentient_abi::permissions::Permissions;
use sentient_abi::stdio::FrameKind;
use sentient_abi::volumes::Request;
use sentient_wasi::{Clock, Connection, Denied, Errno, Host, Readiness, Stream, StreamError};

/// The runtime's side of the WASI layer.
pub struct Streams {
    /// The container's index: frames carry it.
    pub container: u32,
    /// Bits of `container_flags`.
    flags: u32,
    /// How fast it may write.
    rate: Option<Rate>,
    /// What was refused and told; `None` if it is not to be told.
    told: Option<Vec<Denied>>,
}

/// Most refusals that are told of one container, each other than the others.
const MAX_TOLD: usize = 64;

impl Streams {
    /// The streams of a container.
    pub fn new(container: u32, flags: u32, permissions: Option<&Permissions<'_>>) -> Self {
        let rate = permissions.map(|permissions| permissions.output_rate).filter(|rate| *rate > 0);
        let explains = flags & container_flags::EXPLAIN != 0;
        Self { container, flags, rate: rate.map(Rate::new), told: explains.then(Vec::new) }
    }

    fn is_terminal(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }
}

impl Host for Streams {
    fn clock_ns(&mut self, clock: Clock) -> u64 {
        match clock {
            Clock::Realtime => clock::wall_ns(),
            Clock::Monotonic => clock::monotonic_ns(),
            Clock::ProcessCpu | Clock::ThreadCpu => scheduler::used_ns(),
        }
    }

    fn clock_resolution_ns(&mut self, _clock: Clock) -> u64 {
        1
    }

    fn random(&mut self, buffer: &mut [u8]) {
        random::fill(buffer);
    }

    fn write(&mut self, stream: Stream, bytes: &[u8]) -> Result<usize, StreamError> {
        let kind = match stream {
            Stream::Stdout => FrameKind::Stdout,
            Stream::Stderr => FrameKind::Stderr,
        };
        let allowed = match &mut self.rate {
            Some(rate) => rate.room(clock::monotonic_ns()).map_err(StreamError::TooFast)?,
            None => bytes.len(),
        };
        let bytes = bytes.get(..allowed).unwrap_or(bytes);
        match console::write(kind, self.container, bytes) {
            0 => Err(StreamError::WouldBlock),
            taken => {
                if let Some(rate) = &mut self.rate {
                    rate.take(taken);
                }
                Ok(taken)
            }
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, StreamError> {
        match console::input_state(self.container) {
            InputState::Ready(_) => Ok(console::read(self.container, buffer)),
            InputState::Empty => Err(StreamError::WouldBlock),
            InputState::Ended => Ok(0),
        }
    }

    fn stdin_ready(&mut self) -> Readiness {
        match console::input_state(self.container) {
            InputState::Ready(bytes) => Readiness::Ready(bytes as u64),
            InputState::Empty => Readiness::NotReady,
            InputState::Ended => Readiness::Closed,
        }
    }

    fn output_ready(&mut self, _stream: Stream) -> Readiness {
        if let Some(Err(until)) = self.rate.as_mut().map(|rate| rate.room(clock::monotonic_ns())) {
            return Readiness::NotBefore(until);
        }
        match console::output_room() {
            0 => Readiness::NotReady,
            room => Readiness::Ready(room as u64),
        }
    }

    fn accept(&mut self, port: u16) -> Result<Connection, StreamError> {
        network::accept(self.container, port)
    }

    fn accept_ready(&mut self, port: u16) -> Readiness {
        network::accept_ready(self.container, port)
    }

    fn receive(&mut self, from: Connection, buffer: &mut [u8], peek: bool) -> Result<usize, StreamError> {
        network::receive(self.container, from, buffer, peek)
    }

    fn receive_ready(&mut self, from: Connection) -> Readiness {
        network::receive_ready(self.container, from)
    }

    fn send(&mut self, to: Connection, bytes: &[u8]) -> Result<usize, StreamError> {
        network::send(self.container, to, bytes)
    }

    fn send_ready(&mut self, to: Connection) -> Readiness {
        network::send_ready(self.container, to)
    }

    fn shut_down(&mut self, connection: Connection, receiving: bool, sending: bool) {
        network::shut_down(self.container, connection, receiving, sending);
    }

    fn close(&mut self, connection: Connection) {
        network::close(self.container, connection);
    }

    fn call(&mut self, call: &Call<'_>) -> Result<Connection, Errno> {
        network::call(self.container, call)
    }

    fn answer(&mut self, call: Connection) -> Result<Answer, StreamError> {
        network::answer(self.container, call)
    }

    fn answer_ready(&mut self, call: Connection) -> Readiness {
        network::answer_ready(self.container, call)
    }

    fn ends(&mut self, connection: Connection) -> Option<(SocketAddr, SocketAddr)> {
        network::ends(self.container, connection)
    }

    fn volume(&mut self, question: &Request<'_>) -> Result<Vec<u8>, Errno> {
        volumes::ask(self.container, question)
    }

    fn new_handle(&mut self) -> u64 {
        volumes::new_handle()
    }

    fn explains(&self) -> bool {
        self.told.is_some()
    }

    fn denied(&mut self, denied: Denied) {
        if let Some(told) = &mut self.told
            && told.len() < MAX_TOLD
            && !told.contains(&denied)
        {
            report::denied(self.container, &denied);
            told.push(denied);
        }
    }

    fn stdin_is_terminal(&mut self) -> bool {
        self.is_terminal(container_flags::STDIN_TERMINAL)
    }

    fn output_is_terminal(&mut self, stream: Stream) -> bool {
        self.is_terminal(match stream {
            Stream::Stdout => container_flags::STDOUT_TERMINAL,
            Stream::Stderr => container_flags::STDERR_TERMINAL,
        })
    }
}
