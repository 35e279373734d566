//! The machine's network: containers' ports on the host, and their connections to the outside, without privileges.
//!
//! The guest has a network device at one end of a [cable], and a [gateway](gateway::Gateway) of ours is at the other.
//! It takes connections to published ports from the host's programs, and carries each on to its container by TCP; and it makes
//! those that containers ask for, as far as they may. A [thread of its own](worker) works for it, which there is from the first
//! published port or allowed destination on: a machine without any pays nothing.
//!
//! Where a machine is put back to a snapshot, its connections end, on both sides: what the one side knows of them, the
//! other does not any more. Ports stay published.

mod cable;
mod gateway;
mod names;
mod worker;

use crate::error::MachineError;
use crate::handover::{NET, device_base};
use crate::kvm::vm::Vm;
use crate::machine::shared::{Events, HostEntropy, lock};
use crate::memory::GuestMemory;
pub use cable::Link;
pub use gateway::Gateway;
use sentient_abi::network::MAX_PORTS;
use sentient_abi::network::calls::Status;
use sentient_devices::virtio::mmio::MmioTransport;
use sentient_devices::virtio::mmio::registers::NOTIFY_OFFSET;
use sentient_devices::virtio::net::Net;
use sentient_devices::virtio::rng::Entropy;
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};
use worker::Worker;

/// The network device with the cable behind it.
pub type NetDevice = MmioTransport<Net<Link>, GuestMemory>;

/// A port of a container, and where the host's programs find it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Published {
    /// The host's address.
    pub address: SocketAddr,
    /// The container's number.
    pub container: u32,
    /// The container's port.
    pub port: u16,
}

/// What the worker is told.
#[derive(Debug)]
enum Command {
    Listen {
        socket: TcpListener,
        container: u32,
        port: u16,
    },
    Close {
        container: u32,
    },
    Disconnect {
        container: u32,
    },
    Allow {
        container: u32,
        destinations: String,
    },
    Found {
        caller: u64,
        found: Result<Vec<IpAddr>, Status>,
    },
    Stop,
    /// Panic, to see that somebody sees to that.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    Die,
}

/// What the worker and those who tell it something share.
#[derive(Debug)]
struct Shared {
    commands: Mutex<Vec<Command>>,
    wake: EventFd,
}

impl Shared {
    fn tell(&self, command: Command) {
        lock(&self.commands).push(command);
        self.wake();
    }

    fn wake(&self) {
        // The counter cannot overflow in practice, and who is awake needs no waking.
        let _ = self.wake.write(1);
    }
}

/// What makes a worker.
struct Parts {
    vm: Arc<Vm>,
    device: Arc<Mutex<NetDevice>>,
    events: Arc<Events>,
    /// What tells of the guest's notifications, in the order of the device's queues, from the first worker on.
    doorbells: Option<[EventFd; 2]>,
}

#[derive(Default)]
struct State {
    published: Vec<Published>,
    /// Containers that may connect to somewhere, and where to.
    reaching: BTreeMap<u32, String>,
    worker: Option<JoinHandle<()>>,
    /// It has panicked.
    panicked: Arc<AtomicBool>,
    /// `None` before the machine runs, and when it has ended.
    parts: Option<Parts>,
}

/// The network of a machine, for all who publish ports.
#[derive(Clone)]
pub struct Network {
    shared: Arc<Shared>,
    state: Arc<Mutex<State>>,
}

impl Network {
    /// A network on which there is nothing, and the host's end of its cable.
    ///
    /// # Errors
    /// The error of eventfd.
    pub fn new() -> Result<(Self, Link), MachineError> {
        let wake = EventFd::new(EFD_NONBLOCK).map_err(MachineError::io("making an event descriptor"))?;
        let shared = Arc::new(Shared { commands: Mutex::default(), wake });
        let link = Link::new(Arc::clone(&shared));
        Ok((Self { shared, state: Arc::default() }, link))
    }

    /// The machine runs from here on.
    ///
    /// # Errors
    /// [`MachineError::Io`] if there can be no worker for what is published already.
    pub(crate) fn start(
        &self,
        vm: Arc<Vm>,
        device: Arc<Mutex<NetDevice>>,
        events: Arc<Events>,
    ) -> Result<(), MachineError> {
        let mut state = lock(&self.state);
        state.parts = Some(Parts { vm, device, events, doorbells: None });
        self.employ(&mut state).map_err(MachineError::io("starting the network"))
    }

    /// Publishes a container's port: connections to `address` are carried on to it. With port 0 the host chooses one.
    ///
    /// # Errors
    /// The error of the address, such as one that is in use.
    pub fn publish(&self, address: SocketAddr, container: u32, port: u16) -> io::Result<Published> {
        let mut state = lock(&self.state);
        let own = state.published.iter().filter(|published| published.container == container);
        if own.count() >= MAX_PORTS {
            let most = format!("a container has {MAX_PORTS} published ports at most");
            return Err(io::Error::new(io::ErrorKind::QuotaExceeded, most));
        }
        let socket = TcpListener::bind(address)?;
        socket.set_nonblocking(true)?;
        let published = Published { address: socket.local_addr()?, container, port };
        state.published.push(published);
        self.employ(&mut state)?;
        self.shared.tell(Command::Listen { socket, container, port });
        Ok(published)
    }

    /// Lets a container connect to destinations ([`Destinations`](sentient_abi::network::Destinations)), lines of text, and
    /// to no others.
    ///
    /// # Errors
    /// That there can be no thread for the network.
    pub fn allow(&self, container: u32, destinations: &str) -> io::Result<()> {
        let mut state = lock(&self.state);
        let had_any = state.reaching.remove(&container).is_some();
        if !destinations.is_empty() {
            state.reaching.insert(container, destinations.to_owned());
            self.employ(&mut state)?;
        } else if !had_any {
            return Ok(());
        }
        self.shared.tell(Command::Allow { container, destinations: destinations.to_owned() });
        Ok(())
    }

    /// Takes a container's ports back, and where it may connect to, and ends its connections.
    pub fn close(&self, container: u32) {
        let mut state = lock(&self.state);
        let before = state.published.len();
        state.published.retain(|published| published.container != container);
        let had_any = state.reaching.remove(&container).is_some();
        if had_any || state.published.len() != before {
            self.shared.tell(Command::Close { container });
        }
    }

    /// Ends a container's connections: it is at another point of its life.
    pub fn disconnect(&self, container: u32) {
        if lock(&self.state).worker.is_some() {
            self.shared.tell(Command::Disconnect { container });
        }
    }

    /// What is published.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        lock(&self.state).published.clone()
    }

    /// Sees to it that there is a worker, if the machine runs and there is something for it to do.
    fn employ(&self, state: &mut State) -> io::Result<()> {
        let has_work = !state.published.is_empty() || !state.reaching.is_empty();
        let Some(parts) = state.parts.as_mut().filter(|_| state.worker.is_none() && has_work) else {
            return Ok(());
        };
        let [receive, transmit] = match &parts.doorbells {
            Some(doorbells) => doorbells,
            None => {
                let place = device_base(NET) + NOTIFY_OFFSET;
                let doorbell = |queue| parts.vm.doorbell(place, queue).map_err(io::Error::other);
                let made = [doorbell(0)?, doorbell(1)?];
                parts.doorbells.insert(made)
            }
        };
        let doorbells = [receive.try_clone()?, transmit.try_clone()?];
        let mut seed = [0; size_of::<u64>()];
        HostEntropy.fill(&mut seed)?;
        let worker = Worker::new(
            Arc::clone(&parts.device),
            Arc::clone(&self.shared),
            Arc::clone(&parts.events),
            doorbells,
            u64::from_le_bytes(seed),
        )?;
        let events = Arc::clone(&parts.events);
        let panicked = Arc::clone(&state.panicked);
        let run = move || events.unless_it_panics("network", &panicked, || worker.run());
        state.worker = Some(std::thread::Builder::new().name("network".into()).spawn(run)?);
        Ok(())
    }

    /// Has another worker do what one has left that has panicked. The guest must not know of any connection.
    ///
    /// # Errors
    /// That of starting it, or of an address that is somebody else's by now.
    pub fn revive(&self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if !state.panicked.swap(false, Ordering::SeqCst) {
            return Ok(());
        }
        if let Some(worker) = state.worker.take() {
            // It has ended, or is about to.
            let _ = worker.join();
        }
        // What it was told last died with it, or is told again.
        lock(&self.shared.commands).clear();
        self.employ(&mut state)?;
        for Published { address, container, port } in &state.published {
            let socket = TcpListener::bind(address)?;
            socket.set_nonblocking(true)?;
            self.shared.tell(Command::Listen { socket, container: *container, port: *port });
        }
        for (container, destinations) in &state.reaching {
            self.shared.tell(Command::Allow { container: *container, destinations: destinations.clone() });
        }
        Ok(())
    }

    /// Has the worker panic.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    pub fn die(&self) {
        self.shared.tell(Command::Die);
    }

    /// The machine has ended.
    pub(crate) fn stop(&self) {
        let worker = {
            let mut state = lock(&self.state);
            state.published.clear();
            state.reaching.clear();
            state.parts = None;
            state.worker.take()
        };
        if let Some(worker) = worker {
            self.shared.tell(Command::Stop);
            // A worker that has panicked leaves nothing behind.
            let _ = worker.join();
        }
    }
}
