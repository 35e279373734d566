//! Clocks and entropy: `clock_res_get`, `clock_time_get`, `random_get`.

use crate::errno::Errno;
use crate::host::{Clock, Host};
use crate::memory;
use crate::outcome::Outcome;
use crate::wasi::Wasi;

impl Wasi {
    /// `clock_res_get`: a clock's resolution in nanoseconds, never zero. `EINVAL` for an unknown
    /// clock.
    pub fn clock_res_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        id: u32,
        resolution: u32,
    ) -> Outcome {
        self.answer(|_| {
            let clock = Clock::from_id(id).ok_or(Errno::Inval)?;
            Ok(memory::put_u64(mem, resolution, host.clock_resolution_ns(clock).max(1))?)
        })
    }

    /// `clock_time_get`: a clock's time in nanoseconds, as precise as it gets whatever `precision`
    /// allows. `EINVAL` for an unknown clock.
    pub fn clock_time_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        id: u32,
        _precision: u64,
        time: u32,
    ) -> Outcome {
        self.answer(|_| {
            let clock = Clock::from_id(id).ok_or(Errno::Inval)?;
            Ok(memory::put_u64(mem, time, host.clock_ns(clock))?)
        })
    }

    /// `random_get`: random bytes fit for keys.
    pub fn random_get(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        buf: u32,
        buf_len: u32,
    ) -> Outcome {
        self.answer(|_| {
            host.random(memory::bytes_mut(mem, buf, buf_len)?);
            Ok(())
        })
    }
}
