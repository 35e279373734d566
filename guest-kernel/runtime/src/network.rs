//! Containers' sockets: TCP by smoltcp, over the network device.
//!
//! There is one network for all containers. Under our VMM each has an address of its own (`sentient_abi::network`), for which this
//! answers; on a network that is not ours the machine has one address, which [it is given](outside), and its containers share it. A socket for a connection is made when the first segment of it comes, so that a port on which nobody calls
//! takes no memory; it is the runtime's, and its container knows it by a name. In a new life of the machine all
//! connections are cut: the other side has not lived that life. Connections to the outside are asked for at the gateway
//! (`sentient_abi::network::calls`).
//!
//! Nothing here waits. [`pump`] is called by the scheduler, on its own stack; all else by threads. Both see to it that
//! what is to be sent is sent: a thread that goes on computing does not give anybody a turn to do so.
//!
//! Whenever nobody is at work here, all this is [sealed]: somebody else's stray write would have a container seem to say what
//! it never said, and so is found before anybody hears it.

mod cable;
mod e1000e;
mod outside;
mod table;

use crate::devices::Device;
use crate::machine::Machine;
use crate::{clock, heap, random};
use alloc::vec::Vec;
use cable::Cable;
use core::net::SocketAddr;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use outside::Outside;
use sentient_abi::network::calls::{Answer, Call};
use sentient_abi::network::{CONTAINERS, CONTAINERS_PREFIX, PREFIX, RUNTIME};
use sentient_abi::region::RegionKind;
use sentient_wasi::{Connection, Errno, Readiness, StreamError};
use smoltcp::iface::{Config, Interface, PollIngressSingleResult, PollResult, SocketSet};
use smoltcp::time::Instant;
use smoltcp::wire::{
    EthernetAddress, EthernetFrame, EthernetProtocol, IpCidr, IpProtocol, Ipv4Address, Ipv4Cidr, Ipv4Packet,
    TcpPacket,
};
use spin::Mutex;
pub use table::BUFFER;
use table::Table;

/// Frames taken at once, before anybody else has a turn.
const FRAMES: u32 = 64;

/// Sockets may take one part in this many of the runtime's heap.
const HEAP_SHARE: u64 = 4;

/// The network, from the first port on that a container listens on.
struct Network {
    cable: Cable,
    interface: Interface,
    sockets: SocketSet<'static>,
    table: Table,
    /// The machine's own address, on a network that is not ours.
    outside: Option<Outside>,
    /// The machine's life that connections belong to.
    generation: Option<u64>,
    /// Monotonic time at which there is something to do even if nothing comes.
    due: u64,
    /// What the [digest](Table::digest) was when it was left; `None` while somebody is at work.
    sealed: Option<u64>,
}

static NETWORK: Mutex<Option<Network>> = Mutex::new(None);
/// Whether there is one.
static UP: AtomicBool = AtomicBool::new(false);

fn now() -> Instant {
    Instant::from_micros((clock::monotonic_ns() / 1000) as i64)
}

/// Looks at the network, in the runtime's heap; `None` if there is none.
fn with<R>(work: impl FnOnce(&mut Network) -> R) -> Option<R> {
    if !UP.load(Relaxed) {
        return None;
    }
    let mut network = NETWORK.lock();
    let network = network.as_mut()?;
    heap::in_runtime(|| Some(work(network)))
}

/// Does something with the network, which is as it was left.
fn work<R>(work: impl FnOnce(&mut Network) -> R) -> Option<R> {
    with(|network| {
        network.unseal();
        work(network)
    })
}

/// From here on nothing changes until somebody is at work again.
pub fn seal() {
    with(Network::seal);
}

/// Sees to it that there is a network, if this machine has one; whether it has.
pub fn start(machine: &Machine) -> bool {
    if !UP.load(Relaxed) {
        let Some(made) = heap::in_runtime(|| Network::new(machine)) else { return false };
        made.cable.device.enable_interrupt();
        *NETWORK.lock() = Some(made);
        UP.store(true, Relaxed);
    }
    true
}

/// The machine was booted since: its device is another one, or in another state, and nobody is at the other ends of connections. Without
/// a device there is no network any more.
pub fn begin_anew(machine: &Machine) {
    let is_there = work(|network| network.begin_anew(machine)).flatten().is_some();
    UP.store(is_there, Relaxed);
}

/// Lets a container listen on a port.
///
/// # Errors
/// Why not, for people.
pub fn listen(machine: &Machine, container: u32, port: u16) -> Result<(), &'static str> {
    if !start(machine) {
        return Err("this machine has no network");
    }
    work(|network| network.table.listen(container, port));
    Ok(())
}

/// A container is gone: so are its ports and connections.
pub fn forget(container: u32) {
    work(|network| {
        network.table.forget(container, &mut network.sockets);
        network.send();
        network.tidy();
    });
}

/// A container is what it was before: its connections, of which it knows others, are cut.
pub fn cut(container: u32) {
    work(|network| {
        network.table.cut(container, &mut network.sockets);
        network.send();
        network.tidy();
    });
}

/// Takes what has come, and does what is due.
pub fn pump() {
    with(|network| {
        if network.is_of_another_life() {
            network.unseal();
            network.begin_new_life();
        }
        if network.cable.has_news() || clock::monotonic_ns() >= network.due {
            network.unseal();
            network.take();
        }
    });
}

/// Monotonic time at which [`pump`] has something to do even if nothing comes.
pub fn due_at() -> u64 {
    with(|network| network.due).unwrap_or(clock::NEVER)
}

/// Has the device interrupt when something comes; whether something has come that it will not tell of.
pub fn watch() -> bool {
    let watch = |network: &mut Network| {
        network.cable.want_interrupts(true);
        network.cable.has_news()
    };
    with(watch).unwrap_or(false)
}

/// A number that is another one whenever something has happened to a container's sockets.
pub fn changes(container: u32) -> u64 {
    with(|network| network.table.changes(container)).unwrap_or(0)
}

/// See `sentient_wasi::Host`, as for all that follow.
pub fn accept(container: u32, port: u16) -> Result<Connection, StreamError> {
    let accept = |network: &mut Network| {
        let accepted = network.table.accept(&network.sockets, container, port)?;
        // There is room for one more to wait.
        network.cable.look_again();
        Ok(accepted)
    };
    work(accept).unwrap_or(Err(StreamError::Closed))
}

pub fn accept_ready(container: u32, port: u16) -> Readiness {
    with(|network| network.table.accept_ready(&network.sockets, container, port)).unwrap_or(Readiness::Closed)
}

pub fn call(container: u32, call: &Call<'_>) -> Result<Connection, Errno> {
    let call = |network: &mut Network| {
        if network.outside.is_some() {
            // There is no gateway that could be asked.
            return Err(Errno::Netunreach);
        }
        let Network { table, sockets, interface, .. } = network;
        let question = call.encode().ok_or(Errno::Inval)?;
        let begun = table.call(sockets, interface.context(), container, question).ok_or(Errno::Nobufs)?;
        network.send();
        Ok(begun)
    };
    work(call).unwrap_or(Err(Errno::Netunreach))
}

pub fn answer(container: u32, call: Connection) -> Result<Answer, StreamError> {
    let answer = |network: &mut Network| {
        let answer = network.table.answer(&mut network.sockets, container, call);
        network.send();
        answer
    };
    work(answer).unwrap_or(Err(StreamError::Reset))
}

pub fn answer_ready(container: u32, call: Connection) -> Readiness {
    with(|network| network.table.answer_ready(&network.sockets, container, call)).unwrap_or(Readiness::Closed)
}

pub fn ends(container: u32, connection: Connection) -> Option<(SocketAddr, SocketAddr)> {
    with(|network| network.table.ends(&network.sockets, container, connection)).flatten()
}

pub fn receive(
    container: u32,
    from: Connection,
    buffer: &mut [u8],
    peek: bool,
) -> Result<usize, StreamError> {
    let receive = |network: &mut Network| {
        let received = network.table.receive(&mut network.sockets, container, from, buffer, peek);
        // There is room again, of which the other side may have to be told.
        network.send();
        received
    };
    work(receive).unwrap_or(Err(StreamError::Reset))
}

pub fn receive_ready(container: u32, from: Connection) -> Readiness {
    with(|network| network.table.receive_ready(&network.sockets, container, from))
        .unwrap_or(Readiness::Closed)
}

pub fn send(container: u32, to: Connection, bytes: &[u8]) -> Result<usize, StreamError> {
    let send = |network: &mut Network| {
        let sent = network.table.send(&mut network.sockets, container, to, bytes);
        network.send();
        sent
    };
    work(send).unwrap_or(Err(StreamError::Reset))
}

pub fn send_ready(container: u32, to: Connection) -> Readiness {
    with(|network| network.table.send_ready(&network.sockets, container, to)).unwrap_or(Readiness::Closed)
}

pub fn shut_down(container: u32, connection: Connection, receiving: bool, sending: bool) {
    work(|network| {
        network.table.shut_down(&mut network.sockets, container, connection, receiving, sending);
        network.send();
    });
}

pub fn close(container: u32, connection: Connection) {
    work(|network| {
        network.table.close(&mut network.sockets, container, connection);
        network.send();
    });
}

impl Network {
    fn new(machine: &Machine) -> Option<Self> {
        let mut cable = Cable::find(machine)?;
        let is_ours = matches!(cable.device, Device::Ours(_));
        let (interface, first_port) = interface(&mut cable);
        let heap = machine.region(RegionKind::Heap).map_or(0, |region| region.len);
        let mut network = Self {
            table: Table::new(heap / HEAP_SHARE, first_port, is_ours),
            cable,
            interface,
            sockets: SocketSet::new(Vec::new()),
            outside: None,
            generation: clock::generation().map(|(generation, _)| generation),
            due: clock::NEVER,
            sealed: None,
        };
        if is_ours {
            network.join_ours();
        } else {
            network.join_other();
        }
        Some(network)
    }

    /// A network that is not ours.
    fn join_other(&mut self) {
        if let Some(before) = self.outside.replace(Outside::new(&mut self.sockets)) {
            before.leave(&mut self.sockets);
        }
        self.send();
    }

    /// Begins with the machine's device anew; `None` if it has none.
    fn begin_anew(&mut self, machine: &Machine) -> Option<()> {
        self.table.cut_all(&mut self.sockets, 0);
        self.cable = Cable::find(machine)?;
        (self.interface, _) = interface(&mut self.cable);
        self.cable.device.enable_interrupt();
        self.join_other();
        Some(())
    }

    /// The network of our VMM.
    fn join_ours(&mut self) {
        let interface = &mut self.interface;
        let own = Ipv4Address::from(RUNTIME);
        interface.update_ip_addrs(|addresses| {
            // The first one; there is room for it.
            let _ = addresses.push(IpCidr::Ipv4(Ipv4Cidr::new(own, PREFIX)));
        });
        // What is for a container is for us: the way to their network leads here.
        interface.set_any_ip(true);
        interface.routes_mut().update(|routes| {
            let containers = Ipv4Cidr::new(Ipv4Address::from(CONTAINERS), CONTAINERS_PREFIX);
            let _ = routes.push(smoltcp::iface::Route {
                cidr: IpCidr::Ipv4(containers),
                via_router: own.into(),
                preferred_until: None,
                expires_at: None,
            });
        });
    }

    /// Takes frames, and sends what is to be sent.
    fn take(&mut self) {
        self.cable.want_interrupts(false);
        for _ in 0..FRAMES {
            // No frame is taken that was not looked at: one that comes only now comes next.
            let Some(frame) = self.cable.peek() else { break };
            if let Some((address, port)) = called(frame)
                && let Some(container) = self.table.container_at(address, port)
                && !self.table.expect(&mut self.sockets, container, port)
            {
                self.cable.hold();
                continue;
            }
            let taken = self.interface.poll_ingress_single(now(), &mut self.cable, &mut self.sockets);
            if matches!(taken, PollIngressSingleResult::None) {
                break;
            }
        }
        self.interface.poll_maintenance(now());
        if let Some(outside) = &mut self.outside {
            outside.look(&mut self.sockets, &mut self.interface);
        }
        self.send();
        self.tidy();
        self.table.notice(&self.sockets);
    }

    /// Takes away the sockets that nobody has any use for.
    fn tidy(&mut self) {
        if self.table.tidy(&mut self.sockets) {
            // There is room for whoever waits for it: they come next.
            self.cable.look_again();
        }
    }

    fn send(&mut self) {
        let now = now();
        while let PollResult::SocketStateChanged =
            self.interface.poll_egress(now, &mut self.cable, &mut self.sockets)
        {}
        self.cable.tell();
        let due = self.interface.poll_at(now, &self.sockets);
        let due = due.map_or(clock::NEVER, |at| (at.total_micros().max(0) as u64).saturating_mul(1000));
        self.due = due.min(self.table.due());
        if self.cable.is_full() {
            // Whatever is due has to wait for room, and that is told.
            self.due = clock::NEVER;
        }
    }

    /// Whether the machine's life is another one than its connections'.
    fn is_of_another_life(&self) -> bool {
        clock::generation().map(|(generation, _)| generation) != self.generation
    }

    /// Cuts all connections of the life before.
    fn begin_new_life(&mut self) {
        self.generation = clock::generation().map(|(generation, _)| generation);
        self.table.cut_all(&mut self.sockets, self.generation.unwrap_or(0));
    }

    fn seal(&mut self) {
        let Self { table, sockets, sealed, .. } = self;
        sealed.get_or_insert_with(|| table.digest(sockets));
    }

    /// Somebody is at work.
    fn unseal(&mut self) {
        if let Some(sealed) = self.sealed.take() {
            assert_eq!(self.table.digest(&self.sockets), sealed, "connections are not what they were");
        }
    }
}

/// An interface at a cable's end, and a port that nobody could have guessed.
fn interface(cable: &mut Cable) -> (Interface, u16) {
    let mut seed = [0; size_of::<u64>()];
    random::fill(&mut seed);
    let mut config = Config::new(EthernetAddress(cable.hardware).into());
    config.random_seed = u64::from_le_bytes(seed);
    let port = config.random_seed as u16;
    (Interface::new(config, cable, now()), port)
}

/// The address and the port that a frame's first segment of a connection is for, if that is what is in it.
fn called(frame: &[u8]) -> Option<([u8; 4], u16)> {
    let frame = EthernetFrame::new_checked(frame).ok()?;
    if frame.ethertype() != EthernetProtocol::Ipv4 {
        return None;
    }
    let packet = Ipv4Packet::new_checked(frame.payload()).ok()?;
    if packet.next_header() != IpProtocol::Tcp {
        return None;
    }
    let segment = TcpPacket::new_checked(packet.payload()).ok()?;
    if !segment.syn() || segment.ack() {
        return None;
    }
    Some((packet.dst_addr().octets(), segment.dst_port()))
}
