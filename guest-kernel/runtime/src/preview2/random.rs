//! `wasi:random`: all of it from one generator, which is fit for keys.

use super::MAX_BYTES;
use super::scratch::Scratch;
use super::wasi::random::{insecure, insecure_seed, random};
use crate::container::State;
use alloc::vec::Vec;
use sentient_wasi::Errno;

impl State {
    fn draw(&mut self, len: usize) -> wasmtime::Result<Result<Vec<u8>, Errno>> {
        let mut scratch = Scratch::new();
        let place = scratch.room(len);
        let drawn = self.call_that(true, &mut scratch, |wasi, host, memory| {
            wasi.random_get(host, memory, place.at, place.len)
        })?;
        Ok(drawn.map(|()| scratch.into_first(len)))
    }

    /// A call that cannot fail traps.
    fn must_draw(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        let Some(len) = usize::try_from(len).ok().filter(|len| *len <= MAX_BYTES) else {
            wasmtime::bail!("it asks for {len} random bytes at once; {MAX_BYTES} are the most");
        };
        self.draw(len)?.map_err(|errno| wasmtime::format_err!("random numbers are refused: {errno:?}"))
    }

    fn must_draw_u64(&mut self) -> wasmtime::Result<u64> {
        let bytes = self.must_draw(size_of::<u64>() as u64)?;
        Ok(bytes.first_chunk().copied().map_or(0, u64::from_le_bytes))
    }
}

impl random::Host for State {
    fn get_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.must_draw(len)
    }

    fn get_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.must_draw_u64()
    }
}

impl insecure::Host for State {
    fn get_insecure_random_bytes(&mut self, len: u64) -> wasmtime::Result<Vec<u8>> {
        self.must_draw(len)
    }

    fn get_insecure_random_u64(&mut self) -> wasmtime::Result<u64> {
        self.must_draw_u64()
    }
}

impl insecure_seed::Host for State {
    /// Hash tables are seeded by it. Where random numbers are not allowed it is a constant, which the interface permits.
    fn insecure_seed(&mut self) -> wasmtime::Result<(u64, u64)> {
        let bytes = self.draw(2 * size_of::<u64>())?.unwrap_or_default();
        let half = |at: usize| {
            bytes.get(at..).and_then(|rest| rest.first_chunk()).copied().map_or(0, u64::from_le_bytes)
        };
        Ok((half(0), half(size_of::<u64>())))
    }
}
