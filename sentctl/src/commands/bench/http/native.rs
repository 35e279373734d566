//! A server run natively: by wasmtime in this process, as it comes, with the same WASI layer as in the guest, on the
//! host's own sockets.

use crate::errors::CommandError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sentient_wasi::{Builder, Clock, Connection, Host, Outcome, Readiness, Stream, StreamError, Wait, Wasi};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use wasmtime::{Caller, Engine, Extern, Linker, Module, Store};

/// The module name that programs import from.
const MODULE: &str = "wasi_snapshot_preview1";

/// How often a server that nobody asks looks whether it is to end.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// The server, on a thread of its own.
pub struct Native {
    address: SocketAddr,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Native {
    /// Starts a program that listens on one port.
    pub fn start(wasm: &'static [u8]) -> Result<Self, CommandError> {
        let io = |error| CommandError::io("starting a server natively")(error);
        let failed = |error: wasmtime::Error| CommandError::Bench(format!("wasmtime: {error:#}"));
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(io)?;
        listener.set_nonblocking(true).map_err(io)?;
        let address = listener.local_addr().map_err(io)?;
        let engine = Engine::default();
        let module = Module::new(&engine, wasm).map_err(failed)?;
        let mut linker = Linker::new(&engine);
        define(&mut linker).map_err(failed)?;
        let wasi = Builder::new().arg("web").listener(80).build();
        let wasi = wasi.map_err(|error| CommandError::Bench(error.to_string()))?;
        let over = Arc::new(AtomicBool::new(false));
        let connections = BTreeMap::new();
        let sockets = Sockets { listener, called: true, connections, named: 0, over: Arc::clone(&over) };
        let mut store = Store::new(&engine, (wasi, sockets));
        let instance = linker.instantiate(&mut store, &module).map_err(failed)?;
        let run = instance.get_typed_func::<(), ()>(&mut store, "_start").map_err(failed)?;
        // It ends by a trap, when it is told to.
        let serve = move || drop(run.call(&mut store, ()));
        let thread = std::thread::Builder::new().name("native".into()).spawn(serve).map_err(io)?;
        Ok(Self { address, over, thread: Some(thread) })
    }

    /// Where it is found.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Native {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // One that has panicked has said so.
            let _ = thread.join();
        }
    }
}

type State = (Wasi, Sockets);

/// Defines what a module may import.
fn define(linker: &mut Linker<State>) -> wasmtime::Result<()> {
    macro_rules! define {
        ($($function:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => {
            $(linker.func_wrap(
                MODULE,
                stringify!($function),
                |mut caller: Caller<'_, State> $(, $parameter: $type)*| {
                    loop {
                        let Some(Extern::Memory(memory)) = caller.get_export("memory") else {
                            wasmtime::bail!("it exports no memory");
                        };
                        let (bytes, (wasi, sockets)) = memory.data_and_store_mut(&mut caller);
                        match wasi.$function(sockets, bytes $(, $parameter)*) {
                            Outcome::Done(errno) => return Ok(<$result>::from(errno)),
                            Outcome::Block(wait) => sockets.wait(wait)?,
                            Outcome::Exit(code) => wasmtime::bail!("it has ended with {code}"),
                        }
                    }
                },
            )?;)*
        };
    }
    sentient_wasi::for_each_function!(define);
    Ok(())
}

/// The host's sockets. What one is ready for is known from the last wait, until it turns out to be otherwise.
struct Sockets {
    listener: TcpListener,
    /// Somebody may want to be let in.
    called: bool,
    connections: BTreeMap<u64, Open>,
    named: u64,
    over: Arc<AtomicBool>,
}

struct Open {
    stream: TcpStream,
    readable: bool,
    writable: bool,
}

impl Sockets {
    fn wait(&mut self, wait: Wait) -> wasmtime::Result<()> {
        if self.over.load(Ordering::Relaxed) || !wait.sockets {
            wasmtime::bail!("it is to end");
        }
        let mut polled = vec![PollFd::new(&self.listener, PollFlags::IN)];
        for Open { stream, writable, .. } in self.connections.values() {
            let room = if *writable { PollFlags::empty() } else { PollFlags::OUT };
            polled.push(PollFd::new(stream, PollFlags::IN | room));
        }
        poll(&mut polled, Some(&LOOK)).map_err(|error| wasmtime::Error::new(io::Error::from(error)))?;
        let mut found = polled.into_iter().map(|one| one.revents()).collect::<Vec<_>>().into_iter();
        self.called = found.next().is_some_and(|events| !events.is_empty());
        for (open, events) in self.connections.values_mut().zip(found) {
            open.readable |= events.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
            open.writable |= events.intersects(PollFlags::OUT | PollFlags::ERR);
        }
        Ok(())
    }

    fn open(&mut self, Connection(name): Connection) -> Result<&mut Open, StreamError> {
        self.connections.get_mut(&name).ok_or(StreamError::Reset)
    }
}

fn refused(error: &io::Error) -> StreamError {
    match error.kind() {
        ErrorKind::WouldBlock | ErrorKind::Interrupted => StreamError::WouldBlock,
        ErrorKind::BrokenPipe => StreamError::Closed,
        _ => StreamError::Reset,
    }
}

fn readiness(ready: bool) -> Readiness {
    if ready { Readiness::Ready(1) } else { Readiness::NotReady }
}

impl Host for Sockets {
    fn clock_ns(&mut self, _: Clock) -> u64 {
        0
    }

    fn clock_resolution_ns(&mut self, _: Clock) -> u64 {
        1
    }

    fn random(&mut self, buf: &mut [u8]) {
        // The example servers draw none.
        buf.fill(0);
    }

    fn write(&mut self, _: Stream, bytes: &[u8]) -> Result<usize, StreamError> {
        Ok(bytes.len())
    }

    fn read(&mut self, _: &mut [u8]) -> Result<usize, StreamError> {
        Ok(0)
    }

    fn stdin_ready(&mut self) -> Readiness {
        Readiness::Closed
    }

    fn output_ready(&mut self, _: Stream) -> Readiness {
        Readiness::Ready(1)
    }

    fn accept(&mut self, _: u16) -> Result<Connection, StreamError> {
        let accepted = self.listener.accept().and_then(|(stream, _)| {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(stream)
        });
        let stream = accepted.map_err(|error| {
            self.called = false;
            refused(&error)
        })?;
        let name = self.named;
        self.named += 1;
        self.connections.insert(name, Open { stream, readable: true, writable: true });
        Ok(Connection(name))
    }

    fn accept_ready(&mut self, _: u16) -> Readiness {
        readiness(self.called)
    }

    fn receive(&mut self, from: Connection, buf: &mut [u8], peek: bool) -> Result<usize, StreamError> {
        let open = self.open(from)?;
        let received = if peek { open.stream.peek(buf) } else { open.stream.read(buf) };
        let received = received.map_err(|error| refused(&error));
        open.readable = received != Err(StreamError::WouldBlock);
        received
    }

    fn receive_ready(&mut self, from: Connection) -> Readiness {
        self.open(from).map_or(Readiness::Closed, |open| readiness(open.readable))
    }

    fn send(&mut self, to: Connection, bytes: &[u8]) -> Result<usize, StreamError> {
        let open = self.open(to)?;
        let sent = open.stream.write(bytes).map_err(|error| refused(&error));
        open.writable = sent != Err(StreamError::WouldBlock);
        sent
    }

    fn send_ready(&mut self, to: Connection) -> Readiness {
        self.open(to).map_or(Readiness::Closed, |open| readiness(open.writable))
    }

    fn shut_down(&mut self, connection: Connection, receiving: bool, sending: bool) {
        let how = match (receiving, sending) {
            (true, true) => Shutdown::Both,
            (true, false) => Shutdown::Read,
            _ => Shutdown::Write,
        };
        if let Ok(open) = self.open(connection) {
            // One that is gone is shut.
            let _ = open.stream.shutdown(how);
        }
    }

    fn close(&mut self, Connection(name): Connection) {
        self.connections.remove(&name);
    }

    fn stdin_is_terminal(&mut self) -> bool {
        false
    }

    fn output_is_terminal(&mut self, _: Stream) -> bool {
        false
    }
}
