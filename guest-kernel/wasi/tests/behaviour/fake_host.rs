//! A host that can be told what to do, and remembers what was asked of it.

use std::collections::VecDeque;

use sentient_wasi::{Clock, Denied, Host, Readiness, Stream, StreamError};

pub struct FakeHost {
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
}

impl Default for FakeHost {
    fn default() -> Self {
        Self {
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
        }
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
