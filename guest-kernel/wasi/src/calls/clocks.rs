//! Clocks and entropy: `clock_res_get`, `clock_time_get`, `random_get`.

use crate::errno::Errno;
use crate::host::{Clock, Host};
use crate::memory;
use crate::outcome::Outcome;
use crate::permissions::rounded_down;
use crate::wasi::Wasi;

impl Wasi {
    /// `clock_res_get`: a clock's resolution in nanoseconds, never zero. `EINVAL` for an unknown
    /// clock, `ENOTCAPABLE` for one that the container may not read.
    pub fn clock_res_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        id: u32,
        resolution: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let clock = Clock::from_id(id).ok_or(Errno::Inval)?;
            let finest = wasi.clock(host, clock)?;
            Ok(memory::put_u64(mem, resolution, host.clock_resolution_ns(clock).max(finest))?)
        })
    }

    /// `clock_time_get`: a clock's time in nanoseconds, as precise as it gets whatever `precision`
    /// and the container's permissions allow. `EINVAL` for an unknown clock, `ENOTCAPABLE` for one that
    /// the container may not read.
    pub fn clock_time_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        id: u32,
        _precision: u64,
        time: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            let clock = Clock::from_id(id).ok_or(Errno::Inval)?;
            let resolution = wasi.clock(host, clock)?;
            Ok(memory::put_u64(mem, time, rounded_down(host.clock_ns(clock), resolution))?)
        })
    }

    /// `random_get`: random bytes fit for keys. `ENOTCAPABLE` if the container may not have them.
    pub fn random_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        buf: u32,
        buf_len: u32,
    ) -> Outcome {
        self.answer(|wasi| {
            wasi.may_have_random(host)?;
            host.random(memory::bytes_mut(mem, buf, buf_len)?);
            Ok(())
        })
    }
}
