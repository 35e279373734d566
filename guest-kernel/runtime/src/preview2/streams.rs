//! `wasi:io/streams`.

use super::MAX_BYTES;
use super::poll::descriptor;
use super::resources::{Input, Open, Output, Pollable};
use super::scratch::{Place, Scratch};
use super::wasi::io::streams::{self, StreamError};
use crate::container::State;
use crate::host::Streams;
use alloc::vec;
use alloc::vec::Vec;
use sentient_wasi::{Errno, Host, Outcome, Readiness, Wasi};
use wasmtime::component::Resource;

/// Standard input.
const STDIN: Open = Open(0);

/// What a function of this interface gives.
type Answer<T> = wasmtime::Result<Result<T, StreamError>>;

/// As many bytes as one call moves at most.
fn at_once(len: u64) -> usize {
    usize::try_from(len).unwrap_or(MAX_BYTES).min(MAX_BYTES)
}

impl State {
    /// The next bytes of an input: none if there are none yet and the call is not to wait.
    fn next_bytes(&mut self, input: &Resource<Input>, len: u64, waits: bool) -> Answer<Vec<u8>> {
        let len = at_once(len);
        if len == 0 {
            return Ok(Ok(Vec::new()));
        }
        let read = match self.held(input)? {
            Input::Stdin => self.next_of(STDIN, len, waits)?,
            Input::Socket(open) => self.next_of(open, len, waits)?,
            Input::File(open, at) => {
                let read = self.read_at(open, len, at)?;
                if let Ok(bytes) = &read {
                    let at = at.saturating_add(bytes.len() as u64);
                    *self.resources.table.get_mut(input)? = Input::File(open, at);
                }
                Some(read)
            }
        };
        match read {
            None => Ok(Ok(Vec::new())),
            Some(Ok(bytes)) if bytes.is_empty() => Ok(Err(StreamError::Closed)),
            Some(Ok(bytes)) => Ok(Ok(bytes)),
            Some(Err(errno)) => self.stream_error(errno).map(Err),
        }
    }

    /// The next bytes of something that has no offsets; `None` if there are none yet and the call is not to wait.
    fn next_of(
        &mut self,
        Open(fd): Open,
        len: usize,
        waits: bool,
    ) -> wasmtime::Result<Option<Result<Vec<u8>, Errno>>> {
        if !waits && !self.is_there(Pollable::Read(fd))? {
            return Ok(None);
        }
        self.filled(len, |wasi, host, memory, list, count| wasi.fd_read(host, memory, fd, list, 1, count))
            .map(Some)
    }

    /// Bytes of a file; none at its end.
    pub(super) fn read_at(
        &mut self,
        Open(fd): Open,
        len: usize,
        at: u64,
    ) -> wasmtime::Result<Result<Vec<u8>, Errno>> {
        self.filled(len, |wasi, host, memory, list, count| {
            wasi.fd_pread(host, memory, fd, list, 1, at, count)
        })
    }

    /// Writes to a file, and gives how much of it.
    pub(super) fn write_at(
        &mut self,
        Open(fd): Open,
        bytes: (&mut Scratch, Place),
        at: u64,
    ) -> wasmtime::Result<Result<u32, Errno>> {
        self.moved(bytes, |wasi, host, memory, list, count| {
            wasi.fd_pwrite(host, memory, fd, list, 1, at, count)
        })
    }

    /// Writes to something that has no offsets.
    fn write_on(&mut self, fd: u32, bytes: (&mut Scratch, Place)) -> wasmtime::Result<Result<u32, Errno>> {
        self.moved(bytes, |wasi, host, memory, list, count| wasi.fd_write(host, memory, fd, list, 1, count))
    }

    /// Makes a call that fills a buffer; gives what it has put there.
    fn filled(
        &mut self,
        len: usize,
        function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], u32, u32) -> Outcome,
    ) -> wasmtime::Result<Result<Vec<u8>, Errno>> {
        let mut scratch = Scratch::new();
        let buffer = scratch.room(len);
        let count = self.moved((&mut scratch, buffer), function)?;
        Ok(count.map(|count| scratch.into_first(count as usize)))
    }

    /// Makes a call that moves the bytes of a buffer, and is given the addresses of a list of it and of where it is to put how
    /// many it has moved; gives how many.
    fn moved(
        &mut self,
        (scratch, buffer): (&mut Scratch, Place),
        mut function: impl FnMut(&mut Wasi, &mut Streams, &mut [u8], u32, u32) -> Outcome,
    ) -> wasmtime::Result<Result<u32, Errno>> {
        let (list, count) = (scratch.buffer(buffer), scratch.room(4));
        let moved =
            self.call(scratch, |wasi, host, memory| function(wasi, host, memory, list.at, count.at))?;
        Ok(moved.map(|()| scratch.u32(count.at)))
    }

    /// Writes all of it, and waits where there is no room.
    fn write_all(&mut self, output: &Resource<Output>, contents: Vec<u8>) -> Answer<()> {
        if contents.len() > MAX_BYTES {
            wasmtime::bail!("it writes {} bytes at once; {MAX_BYTES} are the most", contents.len());
        }
        let mut left = Place { at: 0, len: contents.len() as u32 };
        let mut scratch = Scratch::of(contents);
        while left.len > 0 {
            let bytes = (&mut scratch, left);
            let written = match self.held(output)? {
                Output::Standard(stream) => self.write_on(descriptor(stream), bytes)?,
                Output::Socket(open) => self.write_on(open.0, bytes)?,
                Output::File(open, at) => {
                    let written = self.write_at(open, bytes, at)?;
                    let count = written.unwrap_or(0);
                    *self.resources.table.get_mut(output)? =
                        Output::File(open, at.saturating_add(u64::from(count)));
                    written
                }
                Output::End(open) => match self.status(open)? {
                    Ok(status) => self.write_at(open, bytes, status.size)?,
                    Err(errno) => Err(errno),
                },
            };
            match written {
                Ok(count) => {
                    left.at = left.at.saturating_add(count);
                    left.len = left.len.saturating_sub(count);
                }
                Err(errno) => return self.stream_error(errno).map(Err),
            }
        }
        Ok(Ok(()))
    }

    /// How many bytes an output takes without waiting.
    fn room(&mut self, output: &Resource<Output>) -> Answer<u64> {
        let readiness = match self.held(output)? {
            Output::Standard(stream) => self.streams.output_ready(stream),
            Output::Socket(open) => match self.wasi.room(&mut self.streams, open.0) {
                Ok(readiness) => readiness,
                Err(errno) => return self.stream_error(errno).map(Err),
            },
            Output::File(..) | Output::End(_) => Readiness::Ready(MAX_BYTES as u64),
        };
        Ok(match readiness {
            Readiness::Ready(room) => Ok(room.min(MAX_BYTES as u64)),
            Readiness::NotReady | Readiness::NotBefore(_) => Ok(0),
            Readiness::Closed => Err(StreamError::Closed),
        })
    }

    fn move_bytes(
        &mut self,
        (from, to): (&Resource<Input>, &Resource<Output>),
        len: u64,
        waits: bool,
    ) -> Answer<u64> {
        let room = match self.room(to)? {
            Ok(0) if waits => MAX_BYTES as u64,
            Ok(room) => room,
            Err(error) => return Ok(Err(error)),
        };
        let bytes = match self.next_bytes(from, len.min(room), waits)? {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Err(error)),
        };
        let moved = bytes.len() as u64;
        Ok(self.write_all(to, bytes)?.map(|()| moved))
    }
}

impl streams::Host for State {}

impl streams::HostInputStream for State {
    fn read(&mut self, input: Resource<Input>, len: u64) -> Answer<Vec<u8>> {
        self.next_bytes(&input, len, false)
    }

    fn blocking_read(&mut self, input: Resource<Input>, len: u64) -> Answer<Vec<u8>> {
        self.next_bytes(&input, len, true)
    }

    fn skip(&mut self, input: Resource<Input>, len: u64) -> Answer<u64> {
        Ok(self.next_bytes(&input, len, false)?.map(|bytes| bytes.len() as u64))
    }

    fn blocking_skip(&mut self, input: Resource<Input>, len: u64) -> Answer<u64> {
        Ok(self.next_bytes(&input, len, true)?.map(|bytes| bytes.len() as u64))
    }

    fn subscribe(&mut self, input: Resource<Input>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = match self.held(&input)? {
            Input::Stdin => Pollable::Read(STDIN.0),
            Input::Socket(open) => Pollable::Read(open.0),
            Input::File(..) => Pollable::Ready,
        };
        self.give(pollable)
    }

    fn drop(&mut self, input: Resource<Input>) -> wasmtime::Result<()> {
        match self.taken(input)? {
            Input::Stdin => Ok(()),
            Input::File(open, _) | Input::Socket(open) => self.release(open),
        }
    }
}

impl streams::HostOutputStream for State {
    fn check_write(&mut self, output: Resource<Output>) -> Answer<u64> {
        self.room(&output)
    }

    fn write(&mut self, output: Resource<Output>, contents: Vec<u8>) -> Answer<()> {
        self.write_all(&output, contents)
    }

    fn blocking_write_and_flush(&mut self, output: Resource<Output>, contents: Vec<u8>) -> Answer<()> {
        self.write_all(&output, contents)
    }

    fn flush(&mut self, _output: Resource<Output>) -> Answer<()> {
        Ok(Ok(()))
    }

    fn blocking_flush(&mut self, _output: Resource<Output>) -> Answer<()> {
        Ok(Ok(()))
    }

    fn subscribe(&mut self, output: Resource<Output>) -> wasmtime::Result<Resource<Pollable>> {
        let pollable = match self.held(&output)? {
            Output::Standard(stream) => Pollable::Write(descriptor(stream)),
            Output::Socket(open) => Pollable::Write(open.0),
            Output::File(..) | Output::End(_) => Pollable::Ready,
        };
        self.give(pollable)
    }

    fn write_zeroes(&mut self, output: Resource<Output>, len: u64) -> Answer<()> {
        // One more than what is refused: the refusal has one home.
        self.write_all(&output, vec![0; usize::try_from(len).unwrap_or(usize::MAX).min(MAX_BYTES + 1)])
    }

    fn blocking_write_zeroes_and_flush(&mut self, output: Resource<Output>, len: u64) -> Answer<()> {
        self.write_zeroes(output, len)
    }

    fn splice(&mut self, output: Resource<Output>, from: Resource<Input>, len: u64) -> Answer<u64> {
        self.move_bytes((&from, &output), len, false)
    }

    fn blocking_splice(&mut self, output: Resource<Output>, from: Resource<Input>, len: u64) -> Answer<u64> {
        self.move_bytes((&from, &output), len, true)
    }

    fn drop(&mut self, output: Resource<Output>) -> wasmtime::Result<()> {
        match self.taken(output)? {
            Output::Standard(_) => Ok(()),
            Output::File(open, _) | Output::End(open) | Output::Socket(open) => self.release(open),
        }
    }
}
