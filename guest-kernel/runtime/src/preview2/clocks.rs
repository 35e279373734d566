//! `wasi:clocks`.

use super::resources::Pollable;
use super::scratch::Scratch;
use super::wasi::clocks::wall_clock::Datetime;
use super::wasi::clocks::{monotonic_clock, wall_clock};
use crate::container::State;
use crate::host::Streams;
use sentient_wasi::{Clock, Host, Outcome, Wasi};
use wasmtime::component::Resource;

/// `$clockid`s of preview 1.
const REALTIME: u32 = 0;
pub const MONOTONIC: u32 = 1;

const NS_PER_SECOND: u64 = 1_000_000_000;

/// A time or duration in nanoseconds.
pub fn datetime(ns: u64) -> Datetime {
    Datetime { seconds: ns / NS_PER_SECOND, nanoseconds: (ns % NS_PER_SECOND) as u32 }
}

/// The nanoseconds of a time; the last one there is for one beyond.
pub fn nanoseconds(time: Datetime) -> u64 {
    time.seconds.saturating_mul(NS_PER_SECOND).saturating_add(u64::from(time.nanoseconds))
}

impl State {
    /// What a clock shows.
    fn now(&mut self, clock: u32) -> wasmtime::Result<u64> {
        self.time(|wasi, host, memory, time| wasi.clock_time_get(host, memory, clock, 0, time))
    }

    fn resolution_of(&mut self, clock: u32) -> wasmtime::Result<u64> {
        self.time(|wasi, host, memory, time| wasi.clock_res_get(host, memory, clock, time))
    }

    /// What a call says of a clock. One that cannot fail traps where the clock is not allowed.
    fn time(
        &mut self,
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], u32) -> Outcome,
    ) -> wasmtime::Result<u64> {
        let mut scratch = Scratch::new();
        let time = scratch.room(8);
        self.call(&mut scratch, |wasi, host, memory| function(wasi, host, memory, time.at))?
            .map_err(|errno| wasmtime::format_err!("the time is refused: {errno:?}"))?;
        Ok(scratch.u64(time.at))
    }
}

impl monotonic_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<u64> {
        self.now(MONOTONIC)
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        self.resolution_of(MONOTONIC)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<Pollable>> {
        self.give(Pollable::At(when))
    }

    fn subscribe_duration(&mut self, when: u64) -> wasmtime::Result<Resource<Pollable>> {
        let now = self.streams.clock_ns(Clock::Monotonic);
        self.give(Pollable::After(now.saturating_add(when)))
    }
}

impl wall_clock::Host for State {
    fn now(&mut self) -> wasmtime::Result<Datetime> {
        self.now(REALTIME).map(datetime)
    }

    fn resolution(&mut self) -> wasmtime::Result<Datetime> {
        self.resolution_of(REALTIME).map(datetime)
    }
}
