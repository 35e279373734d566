//! Containers' calls: connections to the outside, and addresses of names ([`sentient_abi::network::calls`]).
//!
//! A container may connect to the destinations it was allowed, and to nothing else: its guest has looked at that already, and
//! is not believed. Names are looked up by somebody else, who is told of them by [`Gateway::take_names`]; so that nothing here
//! waits.

use super::connection::{Connection, TIME_WAIT, reset};
use super::{Gateway, MAX_CONNECTIONS, new_socket};
use rustix::io::Errno;
use rustix::net::sockopt::set_socket_keepalive;
use rustix::net::{AddressFamily, SocketFlags, SocketType, connect, socket_with};
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::network::calls::{Answer, CALLS_PORT, Call, MAX_CALL, Request, Status};
use sentient_abi::network::{Destinations, container_address, is_name};
use smoltcp::iface::SocketHandle;
use smoltcp::socket::tcp::{Socket, State};
use smoltcp::time::{Duration, Instant};
use smoltcp::wire::IpAddress;
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};

/// Most connections to the outside of one container, those that are being made among them.
const MAX_OUTWARD: usize = 256;

/// How long a host may take to answer, at each of its addresses.
const REACH: Duration = Duration::from_secs(10);
/// Most addresses that are tried. With the time a name takes, the guest's patience is longer.
const MOST_TRIED: usize = 3;

/// How long a guest may take to hear that there is nothing for it.
const LINGER: Duration = Duration::from_secs(5);

/// What a container wants.
#[derive(Debug)]
struct Wanted {
    request: Request,
    host: String,
    port: u16,
}

/// A connection of the host's that is being made.
#[derive(Debug)]
struct Reaching {
    stream: TcpStream,
    address: SocketAddr,
    /// Where to try next.
    rest: VecDeque<SocketAddr>,
    until: Instant,
    /// Something may have come of it.
    changed: bool,
}

#[derive(Debug)]
enum Phase {
    /// Its call is not whole yet.
    Asking,
    /// What a name stands for is not known yet.
    Looking(Wanted),
    Reaching(Reaching),
    /// It was told that there is nothing for it, and has so long to hear it.
    Leaving(Instant),
}

/// Who has called.
#[derive(Debug)]
struct Caller {
    handle: SocketHandle,
    container: u32,
    phase: Phase,
}

/// All calls.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// Where each container may connect to, as lines of text.
    allowed: BTreeMap<u32, String>,
    /// Who takes the next call.
    listening: Option<SocketHandle>,
    callers: BTreeMap<u64, Caller>,
    /// Names to be looked up, for whom.
    names: Vec<(u64, String)>,
    /// Connections of the host's that are to be watched.
    unwatched: Vec<u64>,
}

/// What is to be done about a call.
enum Decision {
    Wait,
    LookUp(Wanted),
    Reach(VecDeque<SocketAddr>),
    Answer(Status, Vec<IpAddr>),
    /// It is not one.
    Abort,
    Connected,
    Gone,
}

impl Calls {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.callers.len()
    }

    /// Something may have come of a connection.
    pub fn changed(&mut self, name: u64) {
        if let Some(Caller { phase: Phase::Reaching(reaching), .. }) = self.callers.get_mut(&name) {
            reaching.changed = true;
        }
    }

    /// When there is something to do although nothing has come.
    pub fn due(&self) -> impl Iterator<Item = Instant> + use<'_> {
        self.callers.values().filter_map(|caller| match &caller.phase {
            Phase::Reaching(reaching) => Some(reaching.until),
            Phase::Leaving(until) => Some(*until),
            Phase::Asking | Phase::Looking(_) => None,
        })
    }

    fn allowed_to(&self, container: u32) -> Destinations<'_> {
        let lines = self.allowed.get(&container).map_or("", String::as_str);
        Destinations::parse(lines.as_bytes()).unwrap_or_default()
    }

    /// What is to be done about a call.
    fn decide(&self, container: u32, call: &Call<'_>) -> Decision {
        let allowed = self.allowed_to(container);
        let Call { request, port, host } = *call;
        match (request, host.parse::<IpAddr>()) {
            (Request::Connect, Ok(address)) if allowed.allow_address(address, port) => {
                Decision::Reach([SocketAddr::new(address, port)].into())
            }
            (_, Err(_)) if is_name(host) && allowed.allow_name(host) => {
                Decision::LookUp(Wanted { request, host: host.to_owned(), port })
            }
            _ => Decision::Answer(Status::Denied, Vec::new()),
        }
    }

    /// What is to be done now that it is known what a name stands for.
    fn decide_on(&self, container: u32, wanted: &Wanted, found: Result<Vec<IpAddr>, Status>) -> Decision {
        let found = match found {
            Ok(found) if found.is_empty() => Err(Status::NoSuchName),
            found => found,
        };
        match (found, wanted.request) {
            (Err(status), _) => Decision::Answer(status, Vec::new()),
            (Ok(addresses), Request::Resolve) => Decision::Answer(Status::Done, addresses),
            (Ok(addresses), Request::Connect) => {
                let Wanted { host, port, .. } = wanted;
                let allowed = self.allowed_to(container);
                let may = |address: &IpAddr| allowed.allow_address_of(host, *address, *port);
                let to: VecDeque<_> = addresses
                    .into_iter()
                    .filter(may)
                    .take(MOST_TRIED)
                    .map(|address| SocketAddr::new(address, *port))
                    .collect();
                if to.is_empty() {
                    return Decision::Answer(Status::Denied, Vec::new());
                }
                Decision::Reach(to)
            }
        }
    }
}

/// The container that has an address.
fn container_of(address: IpAddress) -> Option<u32> {
    let IpAddress::Ipv4(address) = address;
    (0..MAX_CONTAINERS).find(|container| container_address(*container) == address.octets())
}

/// Begins a connection.
fn begin(to: SocketAddr) -> io::Result<TcpStream> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    match connect(&socket, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(error) => return Err(error.into()),
    }
    // Who is silent for hours may be gone; programs are told that this is so.
    set_socket_keepalive(&socket, true)?;
    let stream = TcpStream::from(socket);
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn status(error: &io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Status::Refused,
        io::ErrorKind::TimedOut => Status::TimedOut,
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => Status::Unreachable,
        _ => match error.raw_os_error().map(Errno::from_raw_os_error) {
            // A firewall's answers, and an address of a kind this host has not.
            Some(Errno::ACCESS | Errno::PERM | Errno::ADDRNOTAVAIL | Errno::AFNOSUPPORT) => {
                Status::Unreachable
            }
            Some(Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM) => Status::NoRoom,
            _ => Status::Failed,
        },
    }
}

impl Reaching {
    /// The first of these addresses at which a connection could be begun.
    fn first(mut to: VecDeque<SocketAddr>, now: Instant, mut failed: Status) -> Result<Self, Status> {
        while let Some(address) = to.pop_front() {
            match begin(address) {
                Ok(stream) => {
                    return Ok(Self { stream, address, rest: to, until: now + REACH, changed: true });
                }
                Err(error) => failed = status(&error),
            }
        }
        Err(failed)
    }

    /// Whether it is connected, is to be waited for, or has failed.
    fn outcome(&mut self, now: Instant) -> Result<bool, Status> {
        if !std::mem::take(&mut self.changed) {
            return if now >= self.until { Err(Status::TimedOut) } else { Ok(false) };
        }
        match self.stream.take_error() {
            Ok(None) => Ok(self.stream.peer_addr().is_ok()),
            Ok(Some(error)) | Err(error) => Err(status(&error)),
        }
    }
}

impl Gateway {
    /// Says where a container may connect to from now on: destinations as lines of text, or none.
    pub fn allow(&mut self, container: u32, destinations: String) {
        if destinations.is_empty() {
            self.calls.allowed.remove(&container);
        } else {
            self.calls.allowed.insert(container, destinations);
        }
        self.listen_for_calls();
    }

    /// Names to be looked up; what is found is told to [`found`](Self::found).
    pub fn take_names(&mut self) -> Vec<(u64, String)> {
        std::mem::take(&mut self.calls.names)
    }

    /// Connections to be watched, as others are.
    pub fn take_unwatched(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.calls.unwatched)
    }

    /// The host's descriptor of a connection that is being made, or was made already.
    pub fn descriptor(&self, name: u64) -> Option<BorrowedFd<'_>> {
        let made = self.connections.get(&name).map(|connection| connection.stream.as_fd());
        made.or_else(|| match &self.calls.callers.get(&name)?.phase {
            Phase::Reaching(reaching) => Some(reaching.stream.as_fd()),
            _ => None,
        })
    }

    /// What a name stands for, or why that is not known.
    pub fn found(&mut self, name: u64, found: Result<Vec<IpAddr>, Status>) {
        // Who has asked may be gone.
        let Some(Caller { phase: Phase::Looking(wanted), container, .. }) = self.calls.callers.get(&name)
        else {
            return;
        };
        let decision = self.calls.decide_on(*container, wanted, found);
        self.carry_out(name, decision, self.now());
    }

    fn listen_for_calls(&mut self) {
        if self.calls.listening.is_some() || self.calls.allowed.is_empty() || !self.has_room() {
            return;
        }
        let mut socket = new_socket();
        // It is open nowhere yet, and the port is not 0.
        if socket.listen(CALLS_PORT).is_ok() {
            self.calls.listening = Some(self.sockets.add(socket));
        }
    }

    /// Sees whether somebody has called, and listens for the next one.
    pub(super) fn admit_caller(&mut self) {
        let Some(handle) = self.calls.listening else { return };
        let socket = self.sockets.get_mut::<Socket<'_>>(handle);
        if socket.state() == State::Listen {
            return;
        }
        self.calls.listening = None;
        let container = socket.remote_endpoint().and_then(|end| container_of(end.addr));
        let of_it = |other: u32| container == Some(other);
        let own = self.calls.callers.values().filter(|caller| of_it(caller.container)).count()
            + self.connections.values().filter(|own| of_it(own.container) && own.port == CALLS_PORT).count();
        if container.is_none() || own >= MAX_OUTWARD {
            socket.abort();
        }
        let caller = Caller { handle, container: container.unwrap_or(MAX_CONTAINERS), phase: Phase::Asking };
        self.calls.callers.insert(self.begun, caller);
        self.begun = self.begun.wrapping_add(1);
        self.listen_for_calls();
    }

    /// Does what there is to do about calls; whether there was something.
    pub(super) fn answer_calls(&mut self, now: Instant) -> bool {
        let names: Vec<u64> = self.calls.callers.keys().copied().collect();
        let mut changed = false;
        for name in names {
            loop {
                let decision = self.next_for(name, now);
                if matches!(decision, Decision::Wait) {
                    break;
                }
                changed = true;
                self.carry_out(name, decision, now);
            }
        }
        self.listen_for_calls();
        changed
    }

    fn next_for(&mut self, name: u64, now: Instant) -> Decision {
        let Self { calls, sockets, .. } = self;
        let Some(caller) = calls.callers.get_mut(&name) else { return Decision::Wait };
        let socket = sockets.get_mut::<Socket<'_>>(caller.handle);
        if socket.state() == State::Closed {
            // A reset that was not sent yet still has its address.
            let is_late = matches!(caller.phase, Phase::Leaving(until) if now >= until);
            let is_gone = is_late || socket.remote_endpoint().is_none();
            return if is_gone { Decision::Gone } else { Decision::Wait };
        }
        if socket.may_send() {
            socket.set_timeout(None);
        }
        match &mut caller.phase {
            Phase::Leaving(until) => {
                if socket.state() == State::TimeWait {
                    *until = (*until).min(now + TIME_WAIT);
                }
                match socket.state() {
                    _ if now < *until => Decision::Wait,
                    State::TimeWait => Decision::Gone,
                    _ => Decision::Abort,
                }
            }
            // Who has ended its side has no use for an answer.
            _ if matches!(socket.state(), State::CloseWait) => Decision::Abort,
            Phase::Asking => {
                let mut bytes = [0; MAX_CALL];
                let count = socket.peek_slice(&mut bytes).unwrap_or(0);
                match Call::read(bytes.get(..count).unwrap_or_default()) {
                    Ok(None) => Decision::Wait,
                    Err(_) => Decision::Abort,
                    Ok(Some((call, len))) => {
                        let _ = socket.recv(|all| (len.min(all.len()), ()));
                        let container = caller.container;
                        calls.decide(container, &call)
                    }
                }
            }
            Phase::Looking(_) => Decision::Wait,
            Phase::Reaching(reaching) => match reaching.outcome(now) {
                Ok(false) => Decision::Wait,
                Ok(true) => Decision::Connected,
                Err(failed) => match Reaching::first(std::mem::take(&mut reaching.rest), now, failed) {
                    Ok(next) => {
                        *reaching = next;
                        calls.unwatched.push(name);
                        Decision::Wait
                    }
                    Err(failed) => Decision::Answer(failed, Vec::new()),
                },
            },
        }
    }

    fn carry_out(&mut self, name: u64, decision: Decision, now: Instant) {
        let Self { calls, sockets, connections, .. } = self;
        let Some(caller) = calls.callers.get_mut(&name) else { return };
        let socket = sockets.get_mut::<Socket<'_>>(caller.handle);
        match decision {
            Decision::Wait => {}
            Decision::LookUp(wanted) => {
                calls.names.push((name, wanted.host.clone()));
                caller.phase = Phase::Looking(wanted);
            }
            Decision::Reach(to) => match Reaching::first(to, now, Status::Failed) {
                Ok(reaching) => {
                    caller.phase = Phase::Reaching(reaching);
                    calls.unwatched.push(name);
                }
                Err(failed) => leave(caller, socket, &Answer::new(failed, []), now),
            },
            Decision::Answer(status, addresses) => {
                leave(caller, socket, &Answer::new(status, addresses), now);
            }
            Decision::Abort => {
                socket.abort();
                caller.phase = Phase::Leaving(now + LINGER);
            }
            Decision::Connected => {
                let Some(Caller { handle, container, phase: Phase::Reaching(reaching) }) =
                    calls.callers.remove(&name)
                else {
                    return;
                };
                // There is room for it: nothing was sent before.
                let _ = socket.send_slice(&Answer::new(Status::Done, [reaching.address.ip()]).encode());
                connections.insert(name, Connection::new(reaching.stream, handle, container, CALLS_PORT));
            }
            Decision::Gone => {
                sockets.remove(caller.handle);
                calls.callers.remove(&name);
            }
        }
    }

    /// Ends the calls of a container.
    pub(super) fn disconnect_calls(&mut self, container: u32) {
        for caller in self.calls.callers.values_mut().filter(|caller| caller.container == container) {
            self.sockets.get_mut::<Socket<'_>>(caller.handle).abort();
        }
    }

    /// Forgets all calls: who has made them is gone.
    pub(super) fn forget_calls(&mut self) {
        let listening = self.calls.listening.take();
        let callers = std::mem::take(&mut self.calls.callers).into_values();
        for caller in callers {
            self.sockets.remove(caller.handle);
            if let Phase::Reaching(reaching) = &caller.phase {
                reset(&reaching.stream);
            }
        }
        listening.into_iter().for_each(|handle| drop(self.sockets.remove(handle)));
        self.listen_for_calls();
    }
}

/// Tells a caller what came of its call, and that this is all.
fn leave(caller: &mut Caller, socket: &mut Socket<'_>, answer: &Answer, now: Instant) {
    // There is room for it: nothing was sent before.
    let _ = socket.send_slice(&answer.encode());
    socket.close();
    caller.phase = Phase::Leaving(now + LINGER);
}

const _: () = assert!(MAX_OUTWARD < MAX_CONNECTIONS);
