//! WASI preview 1: the functions of `sentient-wasi`, given to wasmtime.
//!
//! Only what a module imports is defined: defining all 46 would cost more than starting the container.

use crate::console::{self, InputState};
use crate::container::State;
use crate::output_rate::Rate;
use crate::{clock, network, random, report, scheduler, volumes};
use alloc::vec::Vec;
use sentient_abi::boot_module::container_flags;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::permissions::{Permissions, permission_flags};
use sentient_abi::stdio::FrameKind;
use sentient_abi::volumes::Request;
use sentient_wasi::{
    Clock, Connection, Denied, Errno, Host, Outcome, Readiness, Stream, StreamError, Wait, Wasi,
};
use wasmtime::{Caller, Extern, Linker};

/// The module name that programs import from.
const MODULE: &str = "wasi_snapshot_preview1";

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
        let explains = permissions.is_some_and(|given| given.flags & permission_flags::EXPLAIN != 0);
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

/// Why a host function stops the container; found again in the error wasmtime returns.
#[derive(Debug)]
pub enum Stop {
    /// `proc_exit`.
    Exit(u32),
    /// The scheduler has ended the container, in this way.
    Doomed(ContainerEnd),
}

impl core::fmt::Display for Stop {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::Exit(code) => write!(f, "exited with {code}"),
            Self::Doomed(ContainerEnd::CpuLimit) => f.write_str("the CPU time limit is reached"),
            Self::Doomed(_) => f.write_str("killed"),
        }
    }
}

impl core::error::Error for Stop {}

/// Makes one call of the layer on the module's memory.
fn call(
    caller: &mut Caller<'_, State>,
    function: impl FnOnce(&mut Wasi, &mut Streams, &mut [u8]) -> Outcome,
) -> Result<Outcome, wasmtime::Error> {
    scheduler::check()?;
    let memory = match caller.data().memory {
        Some(memory) => memory,
        None => {
            let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                wasmtime::bail!("the module calls WASI but exports no memory named `memory`");
            };
            caller.data_mut().memory = Some(memory);
            memory
        }
    };
    let (bytes, state) = memory.data_and_store_mut(caller);
    Ok(function(&mut state.wasi, &mut state.streams, bytes))
}

fn finish<R: From<Errno>>(outcome: Outcome) -> Result<Result<R, Wait>, wasmtime::Error> {
    match outcome {
        Outcome::Done(errno) => Ok(Ok(R::from(errno))),
        Outcome::Block(wait) => Ok(Err(wait)),
        Outcome::Exit(code) => Err(wasmtime::Error::new(Stop::Exit(code))),
    }
}

/// Defines the function a module imports; `false` if there is none of that name.
///
/// # Errors
/// wasmtime's, if it cannot allocate.
pub fn define(linker: &mut Linker<State>, module: &str, name: &str) -> Result<bool, wasmtime::Error> {
    if module != MODULE {
        return Ok(false);
    }
    macro_rules! define {
        ($($function:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => {
            match name {
                $(stringify!($function) => {
                    let draws = matches!(stringify!($function).as_bytes(), b"random_get");
                    linker.func_wrap(MODULE, name, move |mut caller: Caller<'_, State> $(, $parameter: $type)*| {
                        let mut life = if draws { clock::page_number() } else { 0 };
                        loop {
                            let outcome = call(&mut caller, |wasi, streams, memory| {
                                wasi.$function(streams, memory $(, $parameter)*)
                            })?;
                            match finish::<$result>(outcome)? {
                                Ok(result) => {
                                    scheduler::give_way();
                                    // A snapshot may have been taken just now: numbers that the program has not seen
                                    // are drawn anew in each life that goes on from it.
                                    if draws && clock::page_number() != life {
                                        life = clock::page_number();
                                        continue;
                                    }
                                    return Ok::<$result, wasmtime::Error>(result);
                                }
                                // The thread waits, and the call is made again.
                                Err(wait) => scheduler::wait(wait)?,
                            }
                        }
                    })?;
                    true
                })*
                _ => false,
            }
        };
    }
    Ok(sentient_wasi::for_each_function!(define))
}
