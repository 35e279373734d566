//! `wasi:io/poll`, by `poll_oneoff`.

use super::clocks::MONOTONIC;
use super::resources::Pollable;
use super::scratch::{Place, Scratch};
use super::tcp::Tcp;
use super::wasi::io::poll;
use crate::container::State;
use alloc::vec::Vec;
use sentient_wasi::{Clock, Host, Stream};
use wasmtime::component::Resource;

/// Bytes of a `subscription` and of an `event` (`typenames.witx`).
const SUBSCRIPTION_LEN: usize = 48;
const EVENT_LEN: usize = 32;

/// `subclockflags`: the time is one of the clock's, and not one from now.
const ABSOLUTE: u16 = 1;

/// A `subscription` of something, to be known by a number.
fn subscription(number: u32, pollable: Pollable, now: u64) -> [u8; SUBSCRIPTION_LEN] {
    let mut bytes = [0; SUBSCRIPTION_LEN];
    let mut field = |at: usize, value: &[u8]| {
        for (to, from) in bytes.iter_mut().skip(at).zip(value) {
            *to = *from;
        }
    };
    field(0, &u64::from(number).to_le_bytes());
    let mut clock = |timeout: u64, flags: u16| {
        field(16, &MONOTONIC.to_le_bytes());
        field(24, &timeout.to_le_bytes());
        field(40, &flags.to_le_bytes());
    };
    match pollable {
        Pollable::Ready => clock(0, 0),
        Pollable::At(time) => clock(time, ABSOLUTE),
        Pollable::After(time) => clock(time.saturating_sub(now), 0),
        Pollable::Read(fd) => {
            field(8, &[1]);
            field(16, &fd.to_le_bytes());
        }
        Pollable::Write(fd) => {
            field(8, &[2]);
            field(16, &fd.to_le_bytes());
        }
        // It stands for one of the others.
        Pollable::Socket(_) => {}
    }
    bytes
}

/// The descriptor of a standard stream.
pub fn descriptor(stream: Stream) -> u32 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

impl State {
    /// Waits until something of a list is there; gives which. What cannot be waited for is there.
    pub(super) fn wait_for(&mut self, pollables: &[Pollable]) -> wasmtime::Result<Vec<u32>> {
        let now = self.streams.clock_ns(Clock::Monotonic);
        let mut scratch = Scratch::new();
        for (number, pollable) in (0..).zip(pollables) {
            let pollable = match *pollable {
                Pollable::Socket(socket) => self.held(&Resource::<Tcp>::new_borrow(socket))?.pollable(),
                pollable => pollable,
            };
            scratch.put(&subscription(number, pollable, now));
        }
        let events = scratch.room(EVENT_LEN.saturating_mul(pollables.len()));
        let found = scratch.room(4);
        let count = pollables.len() as u32;
        self.call(&mut scratch, |wasi, host, memory| {
            wasi.poll_oneoff(host, memory, 0, events.at, count, found.at)
        })?
        .map_err(|errno| wasmtime::format_err!("{count} things to wait for are refused: {errno:?}"))?;
        let found = scratch.u32(found.at);
        let all = scratch.get(Place { len: found.saturating_mul(EVENT_LEN as u32), ..events });
        Ok(all
            .chunks_exact(EVENT_LEN)
            .filter_map(|event| event.first_chunk().copied().map(u32::from_le_bytes))
            .collect())
    }

    /// Whether something is there now.
    pub(super) fn is_there(&mut self, pollable: Pollable) -> wasmtime::Result<bool> {
        Ok(self.wait_for(&[pollable, Pollable::Ready])?.contains(&0))
    }
}

impl poll::Host for State {
    fn poll(&mut self, list: Vec<Resource<Pollable>>) -> wasmtime::Result<Vec<u32>> {
        if list.is_empty() {
            wasmtime::bail!("it waits for nothing at all");
        }
        let pollables =
            list.iter().map(|pollable| self.held(pollable)).collect::<wasmtime::Result<Vec<_>>>()?;
        self.wait_for(&pollables)
    }
}

impl poll::HostPollable for State {
    fn ready(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<bool> {
        let pollable = self.held(&pollable)?;
        self.is_there(pollable)
    }

    fn block(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        let pollable = self.held(&pollable)?;
        self.wait_for(&[pollable]).map(drop)
    }

    fn drop(&mut self, pollable: Resource<Pollable>) -> wasmtime::Result<()> {
        self.taken(pollable).map(drop)
    }
}
