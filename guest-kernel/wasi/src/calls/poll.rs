//! `poll_oneoff`: waiting for clocks and streams.
//!
//! The first call reads the subscriptions and turns every timeout into a deadline. While it is
//! answered with [`Outcome::Block`] these stay in [`Wasi`], and the call made again looks only at
//! clocks and streams: however often it is woken, a relative timeout is counted once.

use alloc::vec::Vec;

use crate::calls::outward::Calling;
use crate::descriptor::Object;
use crate::errno::Errno;
use crate::host::{Clock, Host, Readiness};
use crate::memory;
use crate::outcome::{Outcome, Stop, Wait};
use crate::permissions::rounded_up;
use crate::record::Event;
use crate::rights;
use crate::wasi::{Pending, Wasi};

/// Subscriptions in one call; more are `EINVAL`. Bounds the time of a call and the memory it takes.
const SUBSCRIPTIONS_MAX: u32 = 4096;

/// `$subscription` in bytes.
const SUBSCRIPTION_BYTES: u32 = 48;

/// `$subclockflags`: the timeout is a time of the clock, not a time from now.
const ABSTIME: u16 = 1;

/// When a clock subscription is over.
#[derive(Clone, Copy, Debug)]
enum Deadline {
    /// At this time of the monotonic clock, which also counts what is relative to the real-time
    /// clock: setting that clock shall not move such a wait (POSIX, `clock_nanosleep`).
    Monotonic(u64),
    /// At this time of the real-time clock, wherever it jumps.
    Realtime(u64),
}

#[derive(Clone, Copy, Debug)]
enum Interest {
    Clock(Result<Deadline, Errno>),
    Read(u32),
    Write(u32),
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    userdata: u64,
    interest: Interest,
}

impl Subscription {
    /// Reads `$subscription`: userdata at 0, the tag at 8; for a clock its id at 16, timeout at 24,
    /// precision at 32 (not needed), flags at 40; for others the descriptor at 16.
    fn read(
        wasi: &Wasi,
        mem: &[u8],
        at: u32,
        clocks: &mut Clocks<'_, impl Host + ?Sized>,
    ) -> Result<Self, Errno> {
        let raw: [u8; SUBSCRIPTION_BYTES as usize] = memory::array(mem, at)?;
        let word = memory::array(&raw, 16).map(u32::from_le_bytes)?;
        let interest = match memory::array(&raw, 8)? {
            [0] => {
                let timeout = memory::array(&raw, 24).map(u64::from_le_bytes)?;
                let flags = memory::array(&raw, 40).map(u16::from_le_bytes)?;
                Interest::Clock(deadline(wasi, word, timeout, flags, clocks))
            }
            [1] => Interest::Read(word),
            [2] => Interest::Write(word),
            _ => return Err(Errno::Inval),
        };
        Ok(Self { userdata: memory::array(&raw, 0).map(u64::from_le_bytes)?, interest })
    }

    fn event(&self) -> Event {
        let kind = match self.interest {
            Interest::Clock(_) => 0,
            Interest::Read(_) => 1,
            Interest::Write(_) => 2,
        };
        Event { userdata: self.userdata, errno: 0, kind, nbytes: 0, hangup: false }
    }
}

/// The deadline of a clock subscription. Processor time does not pass while the program waits, so
/// its clocks are `ENOTSUP`. A time of a clock takes the permission to read it, and comes when the clock shows it; a
/// time from now takes none.
fn deadline(
    wasi: &Wasi,
    id: u32,
    timeout: u64,
    flags: u16,
    clocks: &mut Clocks<'_, impl Host + ?Sized>,
) -> Result<Deadline, Errno> {
    if flags & !ABSTIME != 0 {
        return Err(Errno::Inval);
    }
    match (Clock::from_id(id).ok_or(Errno::Inval)?, flags & ABSTIME != 0) {
        (Clock::ProcessCpu | Clock::ThreadCpu, _) => Err(Errno::Notsup),
        (Clock::Realtime, true) => {
            let resolution = wasi.clock(clocks.host, Clock::Realtime)?;
            Ok(Deadline::Realtime(rounded_up(timeout, resolution)))
        }
        (Clock::Monotonic, true) => {
            let resolution = wasi.clock(clocks.host, Clock::Monotonic)?;
            Ok(Deadline::Monotonic(rounded_up(timeout, resolution)))
        }
        (Clock::Realtime | Clock::Monotonic, false) => {
            Ok(Deadline::Monotonic(clocks.monotonic().saturating_add(timeout)))
        }
    }
}

/// The clocks as one call sees them: each asked at most once.
struct Clocks<'h, H: ?Sized> {
    host: &'h mut H,
    monotonic: Option<u64>,
    realtime: Option<u64>,
}

impl<'h, H: Host + ?Sized> Clocks<'h, H> {
    fn new(host: &'h mut H) -> Self {
        Self { host, monotonic: None, realtime: None }
    }

    fn monotonic(&mut self) -> u64 {
        *self.monotonic.get_or_insert_with(|| self.host.clock_ns(Clock::Monotonic))
    }

    fn realtime(&mut self) -> u64 {
        *self.realtime.get_or_insert_with(|| self.host.clock_ns(Clock::Realtime))
    }

    /// Nothing if the deadline has passed, else the time of the monotonic clock to wait for.
    fn pending(&mut self, deadline: Deadline) -> Option<u64> {
        let (end, now) = match deadline {
            Deadline::Monotonic(end) => (end, self.monotonic()),
            Deadline::Realtime(end) => (end, self.realtime()),
        };
        let left = end.checked_sub(now).filter(|left| *left > 0)?;
        Some(self.monotonic().saturating_add(left))
    }
}

/// A `poll_oneoff` that is under way.
#[derive(Debug)]
pub(crate) struct PendingPoll {
    /// The parameters of the call, by which it is known when it is made again.
    parameters: [u32; 4],
    subscriptions: Vec<Subscription>,
}

impl PendingPoll {
    /// Takes the parameters in, and fixes the deadlines.
    fn read(
        wasi: &Wasi,
        host: &mut (impl Host + ?Sized),
        mem: &[u8],
        parameters: [u32; 4],
    ) -> Result<Self, Errno> {
        let [input, output, count, nevents] = parameters;
        if count == 0 || count > SUBSCRIPTIONS_MAX {
            return Err(Errno::Inval);
        }
        memory::check(mem, input, count.saturating_mul(SUBSCRIPTION_BYTES))?;
        memory::check(mem, output, count.saturating_mul(Event::BYTES))?;
        memory::check(mem, nevents, 4)?;
        let mut subscriptions = Vec::new();
        let length = usize::try_from(count).map_err(|_| Errno::Inval)?;
        subscriptions.try_reserve_exact(length).map_err(|_| Errno::Nomem)?;
        let mut clocks = Clocks::new(host);
        let mut at = input;
        for _ in 0..count {
            subscriptions.push(Subscription::read(wasi, mem, at, &mut clocks)?);
            at = at.saturating_add(SUBSCRIPTION_BYTES);
        }
        Ok(Self { parameters, subscriptions })
    }
}

impl Wasi {
    /// `poll_oneoff`: an event for each subscription that is due or can be served now; blocks while
    /// there is none.
    ///
    /// What is wrong with one subscription (a descriptor that is not open, a right that is missing,
    /// a clock that cannot be waited for) is an event with that error. `EINVAL` for no
    /// subscription, for more than 4,096 and for an unknown event type.
    pub fn poll_oneoff(
        &mut self,
        host: &mut (impl Host + ?Sized),
        mem: &mut [u8],
        subscriptions: u32,
        events: u32,
        nsubscriptions: u32,
        nevents: u32,
    ) -> Outcome {
        let parameters = [subscriptions, events, nsubscriptions, nevents];
        let poll = match self.pending.take() {
            Some(Pending::Poll(poll)) if poll.parameters == parameters => poll,
            _ => match PendingPoll::read(self, host, mem, parameters) {
                Ok(poll) => poll,
                Err(errno) => return Outcome::Done(errno),
            },
        };
        let outcome = Outcome::from(self.look(host, mem, &poll));
        if let Outcome::Block(_) = outcome {
            self.pending = Some(Pending::Poll(poll));
        }
        outcome
    }

    /// Looks once at all subscriptions.
    fn look(&self, host: &mut (impl Host + ?Sized), mem: &mut [u8], poll: &PendingPoll) -> Result<(), Stop> {
        let [_, output, _, nevents] = poll.parameters;
        let mut clocks = Clocks::new(host);
        let mut wait = Wait::YIELD;
        let mut at = output;
        let mut found = 0_u32;
        for subscription in &poll.subscriptions {
            let event = subscription.event();
            let state = match subscription.interest {
                Interest::Clock(Err(errno)) => Err(Stop::Errno(errno)),
                Interest::Clock(Ok(deadline)) => match clocks.pending(deadline) {
                    None => Ok(event),
                    Some(until) => Err(Stop::Block(Wait { until_ns: Some(until), ..Wait::YIELD })),
                },
                Interest::Read(fd) => self.readable(clocks.host, fd, event),
                Interest::Write(fd) => self.writable(clocks.host, fd, event),
            };
            let event = match state {
                Ok(event) => event,
                Err(Stop::Errno(errno)) => Event { errno: errno as u16, ..event },
                Err(Stop::Block(more)) => {
                    wait = wait.or(more);
                    continue;
                }
                Err(exit @ Stop::Exit(_)) => return Err(exit),
            };
            memory::put(mem, at, &event.encode())?;
            at = at.saturating_add(Event::BYTES);
            found = found.saturating_add(1);
        }
        if found == 0 {
            return Err(Stop::Block(wait));
        }
        Ok(memory::put_u32(mem, nevents, found)?)
    }

    /// The event of a descriptor to read from: a file is always ready, with what is left of it.
    fn readable(&self, host: &mut (impl Host + ?Sized), fd: u32, event: Event) -> Result<Event, Stop> {
        let descriptor = self.descriptors.get(fd)?;
        match descriptor.object {
            Object::Output(_) => Err(Errno::Badf.into()),
            Object::Listener(port) => {
                descriptor.require(rights::SOCK_ACCEPT | rights::POLL_FD_READWRITE)?;
                ready(host.accept_ready(port), event, Wait::SOCKETS)
            }
            Object::Connected(connection) => {
                descriptor.require(rights::FD_READ | rights::POLL_FD_READWRITE)?;
                ready(host.receive_ready(connection), event, Wait::SOCKETS)
            }
            Object::Calling(Calling { connection, .. }) => {
                ready(host.answer_ready(connection), event, Wait::SOCKETS)
            }
            Object::Stdin => {
                descriptor.require(rights::FD_READ | rights::POLL_FD_READWRITE)?;
                ready(host.stdin_ready(), event, Wait::STDIN)
            }
            Object::Volume(ref node) => {
                descriptor.require(rights::FD_READ | rights::POLL_FD_READWRITE)?;
                let node = node.file()?;
                Ok(Event { nbytes: node.stat(host)?.size.saturating_sub(node.position), ..event })
            }
            Object::File { .. } | Object::Directory { .. } => {
                let rights = rights::FD_READ | rights::POLL_FD_READWRITE;
                let (inode, position) = descriptor.file(rights, Errno::Badf)?;
                Ok(Event { nbytes: self.fs.size(inode)?.saturating_sub(position), ..event })
            }
        }
    }

    /// The event of a descriptor to write to: a file is always ready, with what is left of the
    /// space.
    fn writable(&self, host: &mut (impl Host + ?Sized), fd: u32, event: Event) -> Result<Event, Stop> {
        let descriptor = self.descriptors.get(fd)?;
        match descriptor.object {
            Object::Stdin | Object::Listener(_) | Object::Calling(_) => Err(Errno::Badf.into()),
            Object::Connected(connection) => {
                descriptor.require(rights::FD_WRITE | rights::POLL_FD_READWRITE)?;
                ready(host.send_ready(connection), event, Wait::SOCKETS)
            }
            Object::Output(stream) => {
                descriptor.require(rights::FD_WRITE | rights::POLL_FD_READWRITE)?;
                ready(host.output_ready(stream), event, Wait::for_output(stream))
            }
            Object::Volume(ref node) => {
                descriptor.require(rights::FD_WRITE | rights::POLL_FD_READWRITE)?;
                node.file().map(|_| event).map_err(Into::into)
            }
            Object::File { .. } | Object::Directory { .. } => {
                descriptor.file(rights::FD_WRITE | rights::POLL_FD_READWRITE, Errno::Badf)?;
                Ok(Event { nbytes: self.fs.bytes_free(), ..event })
            }
        }
    }
}

fn ready(readiness: Readiness, event: Event, wait: Wait) -> Result<Event, Stop> {
    match readiness {
        Readiness::NotReady => Err(Stop::Block(wait)),
        Readiness::NotBefore(until) => Err(Stop::Block(Wait { until_ns: Some(until), ..Wait::YIELD })),
        Readiness::Ready(nbytes) => Ok(Event { nbytes, ..event }),
        Readiness::Closed => Ok(Event { hangup: true, ..event }),
    }
}
