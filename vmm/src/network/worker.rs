//! The thread that works for the network: it waits for the guest and for the host's programs.

use super::gateway::Gateway;
use super::names::Names;
use super::{Command, NetDevice, Shared};
use crate::machine::shared::{Events, lock};
use sentient_abi::network::calls::Status;
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::net::{RECEIVE_QUEUE, TRANSMIT_QUEUE};
use std::collections::BTreeMap;
use std::io;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use vmm_sys_util::epoll::{ControlOperation, Epoll, EpollEvent, EventSet};
use vmm_sys_util::eventfd::EventFd;

/// What an event is about: one of these, or a listener by its name, or a connection by its own.
const WAKE: u64 = 0;
const RECEIVE: u64 = 1;
const TRANSMIT: u64 = 2;
const LISTENERS: u64 = 1 << 62;
const CONNECTIONS: u64 = 1 << 63;

/// What both sides of a connection are watched for.
const SIDES: EventSet = EventSet::from_bits_truncate(
    EventSet::IN.bits()
        | EventSet::OUT.bits()
        | EventSet::READ_HANG_UP.bits()
        | EventSet::EDGE_TRIGGERED.bits(),
);

/// Events taken at once.
const EVENTS: usize = 64;

/// The thread's own.
pub(super) struct Worker {
    epoll: Epoll,
    device: Arc<Mutex<NetDevice>>,
    shared: Arc<Shared>,
    events: Arc<Events>,
    /// The device's, in the order of its queues.
    doorbells: [EventFd; 2],
    gateway: Gateway,
    names: Names,
    listeners: BTreeMap<u64, Listener>,
    /// The name of the next listener.
    named: u64,
}

struct Listener {
    socket: TcpListener,
    container: u32,
    port: u16,
    /// Somebody may want to be let in.
    wanted: bool,
}

impl Worker {
    /// A worker that waits for nothing yet but the guest, and for what it is told.
    pub fn new(
        device: Arc<Mutex<NetDevice>>,
        shared: Arc<Shared>,
        events: Arc<Events>,
        doorbells: [EventFd; 2],
        seed: u64,
    ) -> io::Result<Self> {
        let gateway = Gateway::new(lock(&device).device_mut().cable_mut(), seed);
        let (listeners, names) = (BTreeMap::new(), Names::new(Arc::clone(&shared)));
        let epoll = Epoll::new()?;
        let worker =
            Self { epoll, device, shared, events, doorbells, gateway, names, listeners, named: LISTENERS };
        let [receive, transmit] = &worker.doorbells;
        for (event, data) in [(&worker.shared.wake, WAKE), (receive, RECEIVE), (transmit, TRANSMIT)] {
            worker.watch(event.as_raw_fd(), EventSet::IN, data)?;
        }
        Ok(worker)
    }

    fn watch(&self, what: RawFd, for_what: EventSet, data: u64) -> io::Result<()> {
        self.epoll.ctl(ControlOperation::Add, what, EpollEvent::new(for_what, data))
    }

    /// Works until it is told to stop.
    pub fn run(mut self) {
        // What the guest has sent before there was a worker.
        self.shared.wake();
        let mut events = [EpollEvent::default(); EVENTS];
        loop {
            let patience = self.gateway.patience().map_or(-1, |patience| {
                i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX)
            });
            let count = match self.epoll.wait(patience, &mut events) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => 0,
                Err(error) => {
                    tracing::error!(%error, "the machine's network has stopped");
                    return;
                }
            };
            for event in events.iter().take(count) {
                match event.data() {
                    WAKE => {
                        let _ = self.shared.wake.read();
                        if !self.obey() {
                            return;
                        }
                        // After a pause, or because there was too much for one call.
                        let outcome = lock(&self.device).work();
                        self.settle(outcome);
                    }
                    RECEIVE => self.notified(RECEIVE_QUEUE),
                    TRANSMIT => self.notified(TRANSMIT_QUEUE),
                    name if name & CONNECTIONS != 0 => self.gateway.changed(name & !CONNECTIONS),
                    name => {
                        if let Some(listener) = self.listeners.get_mut(&name) {
                            listener.wanted = true;
                        }
                    }
                }
            }
            // Who is let in from here on is let in to the machine as it is now.
            if lock(&self.device).device_mut().cable_mut().take_unplugged() {
                self.gateway.forget();
            }
            self.accept();
            self.work();
        }
    }

    fn notified(&mut self, queue: u16) {
        if let Some(doorbell) = self.doorbells.get(usize::from(queue)) {
            let _ = doorbell.read();
        }
        let outcome = lock(&self.device).notify(queue);
        self.settle(outcome);
    }

    /// Does what was asked for; `false` if that is to stop.
    fn obey(&mut self) -> bool {
        let commands = std::mem::take(&mut *lock(&self.shared.commands));
        for command in commands {
            match command {
                Command::Listen { socket, container, port } => {
                    self.named = self.named.wrapping_add(1);
                    let edges = EventSet::IN | EventSet::EDGE_TRIGGERED;
                    if let Err(error) = self.watch(socket.as_raw_fd(), edges, self.named) {
                        tracing::error!(%error, port, "nobody can be let in to a published port");
                    }
                    let listener = Listener { socket, container, port, wanted: true };
                    self.listeners.insert(self.named, listener);
                }
                Command::Close { container } => {
                    self.listeners.retain(|_, listener| listener.container != container);
                    self.gateway.allow(container, String::new());
                    self.gateway.disconnect(container);
                }
                Command::Disconnect { container } => self.gateway.disconnect(container),
                Command::Allow { container, destinations } => self.gateway.allow(container, destinations),
                Command::Found { caller, found } => self.gateway.found(caller, found),
                Command::Stop => return false,
                #[cfg(any(debug_assertions, feature = "chaos"))]
                Command::Die => std::panic::resume_unwind(Box::new("told to")),
            }
        }
        true
    }

    /// Lets in who wants to be, as far as there is room.
    fn accept(&mut self) {
        let Self { epoll, gateway, listeners, .. } = self;
        for listener in listeners.values_mut().filter(|listener| listener.wanted) {
            while gateway.has_room() {
                let stream = match listener.socket.accept() {
                    Ok((stream, _)) => stream,
                    Err(error) => {
                        // Whoever came first may be gone again; without descriptors, all others wait.
                        listener.wanted = error.kind() != io::ErrorKind::WouldBlock;
                        break;
                    }
                };
                let name = CONNECTIONS | gateway.next_name();
                let ready =
                    stream.set_nonblocking(true).and_then(|()| stream.set_nodelay(true)).and_then(|()| {
                        epoll.ctl(ControlOperation::Add, stream.as_raw_fd(), EpollEvent::new(SIDES, name))
                    });
                match ready {
                    Ok(()) => gateway.connect(stream, listener.container, listener.port),
                    Err(error) => tracing::warn!(%error, "a connection was not carried on"),
                }
            }
        }
    }

    /// Moves all there is to move.
    fn work(&mut self) {
        let mut device = lock(&self.device);
        self.gateway.work(device.device_mut().cable_mut());
        let outcome = device.notify(RECEIVE_QUEUE);
        drop(device);
        self.settle(outcome);
        self.reach_out();
    }

    /// Watches connections to the outside that were begun, and looks up the names of others.
    fn reach_out(&mut self) {
        for name in self.gateway.take_unwatched() {
            let Some(descriptor) = self.gateway.descriptor(name) else { continue };
            if let Err(error) = self.watch(descriptor.as_raw_fd(), SIDES, CONNECTIONS | name) {
                // It comes to its end when its time is over.
                tracing::warn!(%error, "a connection to the outside is not watched");
            }
        }
        for (caller, name) in self.gateway.take_names() {
            if let Err(error) = self.names.ask(caller, name) {
                tracing::warn!(%error, "names of hosts cannot be looked up");
                self.gateway.found(caller, Err(Status::NoResolver));
                self.shared.wake();
            }
        }
    }

    fn settle(&self, outcome: Result<Progress, DeviceError>) {
        match outcome {
            Ok(Progress::Done) => {}
            // Comes back behind whatever else is waiting.
            Ok(Progress::Again) => self.shared.wake(),
            // The device has told its driver that it cannot go on. If nobody sees to that, the machine does, without a network.
            Err(error) => {
                tracing::warn!(%error, "the machine's network");
                self.events.report(&error);
            }
        }
    }
}
