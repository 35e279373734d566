//! The event loop: everything that is not the vCPU.

use super::resident::Pending;
use super::shared::{Console, Events, RngDevice, lock};
use super::vcpu_thread::VcpuThread;
use super::watch::Watch;
use crate::ended::Ended;
use crate::error::MachineError;
use crate::streams::Input;
use event_manager::{
    EventManager, EventOps, EventSet, Events as Readiness, MutEventSubscriber, SubscriberOps,
};
use sentient_devices::virtio::console::{RECEIVE_QUEUE, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::rng::REQUEST_QUEUE;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::EventFd;

const RECEIVE: u32 = 0;
const TRANSMIT: u32 = 1;
const RNG: u32 = 2;
const NEWS: u32 = 3;
const STDIN: u32 = 4;
const OUTPUT: u32 = 5;

/// How often a quiet machine is looked at: has its vCPU halted for good?
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

/// How often one that is busy is: is its clock right?
const BUSY_LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// Bytes of standard input read at once.
const INPUT_CHUNK: usize = 64 << 10;

/// Event descriptors of the queues' notification registers.
pub struct Doorbells {
    /// Console, to the guest.
    pub receive: EventFd,
    /// Console, from the guest.
    pub transmit: EventFd,
    /// Entropy.
    pub rng: EventFd,
}

/// The loop.
pub struct EventLoop {
    manager: EventManager<Arc<Mutex<Work>>>,
    work: Arc<Mutex<Work>>,
    deadline: Option<Instant>,
}

/// What the loop works on.
struct Work {
    console: Arc<Mutex<Console>>,
    rng: Arc<Mutex<RngDevice>>,
    doorbells: Doorbells,
    events: Arc<Events>,
    /// Standard input of the one container.
    stdin: Option<Input>,
    stdin_ended: bool,
    /// Standard input is being watched.
    watching_stdin: bool,
    /// The output being watched because it would have blocked.
    watching_output: Option<RawFd>,
    input_buffer: Vec<u8>,
    /// Containers to load, and their input.
    pending: Pending,
    /// A fault of the guest's that was found here.
    fault: Option<Ended>,
    failure: Option<event_manager::Error>,
}

impl EventLoop {
    /// A loop over these; nothing happens before [`run`](Self::run).
    ///
    /// # Errors
    /// [`MachineError::Io`] if epoll cannot be set up.
    pub fn new(
        console: Arc<Mutex<Console>>,
        rng: Arc<Mutex<RngDevice>>,
        doorbells: Doorbells,
        events: Arc<Events>,
        stdin: Option<Input>,
        timeout: Option<Duration>,
    ) -> Result<Self, MachineError> {
        let mut manager = EventManager::new().map_err(|error| failed(&error))?;
        let work = Arc::new(Mutex::new(Work {
            console,
            rng,
            doorbells,
            events,
            stdin,
            stdin_ended: false,
            watching_stdin: false,
            watching_output: None,
            input_buffer: Vec::new(),
            pending: Pending::default(),
            fault: None,
            failure: None,
        }));
        manager.add_subscriber(Arc::clone(&work));
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Ok(Self { manager, work, deadline })
    }

    /// Works until the machine is to end: as decided here, or (`None`) as the vCPU's thread says.
    ///
    /// # Errors
    /// [`MachineError::Io`] if epoll fails.
    pub fn run(&mut self, thread: &VcpuThread) -> Result<Option<Ended>, MachineError> {
        let mut looked = Instant::now();
        let mut watched = Instant::now();
        let (mut watch, mut is_told) = (None, false);
        loop {
            // Once: where there can be no watch, that is said once.
            if !is_told && lock(&self.work).events.has_rescuer() {
                (watch, is_told) = (thread.watch(), true);
            }
            let (between, _) = watch.as_ref().map_or((LOOK_INTERVAL, false), Watch::next);
            let mut patience = between;
            if let Some(deadline) = self.deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Ok(Some(Ended::Timeout));
                }
                patience = patience.min(left);
            }
            let millis = i32::try_from(patience.as_micros().div_ceil(1000)).unwrap_or(i32::MAX);
            let handled = match self.manager.run_with_timeout(millis) {
                Ok(handled) => handled,
                Err(event_manager::Error::Epoll(error)) if error.errno() == libc::EINTR => continue,
                Err(error) => return Err(failed(&error)),
            };
            let mut work = lock(&self.work);
            if let Some(error) = work.failure.take() {
                return Err(failed(&error));
            }
            if let Some(ended) = work.decide() {
                return Ok(Some(ended));
            }
            if let Some(fault) = work.events.take_report().or_else(|| work.fault.take()) {
                if !work.events.has_rescuer() {
                    return Ok(Some(fault));
                }
                work.events.accuse(fault);
                thread.kick();
            }
            if work.events.has_vcpu_left() {
                // What it was told to end by may have come since that was looked at.
                return Ok(work.events.take_stop());
            }
            if watched.elapsed() >= between
                && let Some(watch) = &mut watch
            {
                watched = Instant::now();
                if let Some(fault) = watch.look(&work.events) {
                    work.fault.get_or_insert(fault);
                    work.events.nudge();
                }
                if let (_, true) = watch.next() {
                    thread.kick();
                }
            }
            let is_quiet = handled == 0 && looked.elapsed() >= LOOK_INTERVAL;
            if is_quiet || looked.elapsed() >= BUSY_LOOK_INTERVAL {
                looked = Instant::now();
                thread.kick();
            }
        }
    }

    /// Writes what the guest has sent and was not written yet, as far as that goes without waiting.
    pub fn drain(&self) {
        let work = lock(&self.work);
        let mut console = lock(&work.console);
        while matches!(console.notify(TRANSMIT_QUEUE), Ok(Progress::Again)) {}
    }
}

fn failed(error: &event_manager::Error) -> MachineError {
    MachineError::Io { what: "waiting for events", source: io::Error::other(error.to_string()) }
}

impl Work {
    fn decide(&self) -> Option<Ended> {
        if let Some(ended) = self.events.take_stop() {
            return Some(ended);
        }
        if lock(&self.console).device().backend().sink().is_stdout_closed() {
            return Some(Ended::BrokenPipe);
        }
        None
    }

    fn settle(&mut self, outcome: Result<Progress, DeviceError>) {
        match outcome {
            Ok(Progress::Done) => {}
            // Comes back as news, behind whatever else is waiting.
            Ok(Progress::Again) => self.events.nudge(),
            Err(error) => {
                if let Some(ended) = end_by(&error) {
                    self.fault.get_or_insert(ended);
                }
            }
        }
    }

    fn notify_console(&mut self, queue: u16) {
        let outcome = lock(&self.console).notify(queue);
        self.settle(outcome);
    }

    fn work_again(&mut self) {
        let console = lock(&self.console).work();
        self.settle(console);
        let rng = lock(&self.rng).work();
        self.settle(rng);
    }

    /// Brings standard input to the guest as far as it is welcome, and watches it if there is none now.
    fn feed_stdin(&mut self, ops: &mut EventOps<'_>, readable: bool) {
        let always_ready = self.stdin.as_ref().is_some_and(Input::is_always_ready);
        let mut readable = readable || always_ready;
        while !self.stdin_ended {
            let Some(stdin) = &mut self.stdin else { return };
            let room = lock(&self.console).device().backend().stdin_room(0).min(INPUT_CHUNK);
            if room == 0 || !readable {
                self.watch_stdin(ops, room > 0);
                return;
            }
            self.input_buffer.resize(INPUT_CHUNK, 0);
            let Some(buffer) = self.input_buffer.get_mut(..room) else { return };
            let Some(len) = stdin.read(buffer) else {
                readable = false;
                continue;
            };
            let mut console = lock(&self.console);
            if len == 0 {
                self.stdin_ended = true;
                console.device_mut().backend_mut().end_stdin(0);
            } else if let Some(bytes) = self.input_buffer.get(..len) {
                // All of it: there was room for as much.
                let _ = console.device_mut().backend_mut().offer_stdin(0, bytes);
            }
            let outcome = console.backend_readable();
            drop(console);
            self.settle(outcome);
            // A pipe is asked again before the next read, which might block.
            readable = always_ready;
        }
        self.watch_stdin(ops, false);
    }

    /// Brings what was asked of a resident machine to the guest, as far as there is room.
    fn feed_containers(&mut self) {
        self.pending.take(&self.events);
        while self.pending.feed(&self.console, &self.events) {
            let outcome = lock(&self.console).backend_readable();
            self.settle(outcome);
        }
    }

    fn watch_stdin(&mut self, ops: &mut EventOps<'_>, wanted: bool) {
        let Some(stdin) = self.stdin.as_ref().filter(|stdin| !stdin.is_always_ready()) else { return };
        if wanted == self.watching_stdin {
            return;
        }
        let watch = Readiness::with_data(stdin, STDIN, EventSet::IN);
        let done = if wanted { ops.add(watch) } else { ops.remove(watch) };
        self.watching_stdin = wanted;
        self.note(done);
    }

    /// Watches the output that would have blocked.
    fn watch_output(&mut self, ops: &mut EventOps<'_>) {
        let blocked = lock(&self.console).device_mut().backend_mut().sink_mut().take_blocked();
        if let Some(fd) = blocked
            && self.watching_output.is_none()
        {
            self.watching_output = Some(fd);
            let done = ops.add(Readiness::with_data_raw(fd, OUTPUT, EventSet::OUT));
            self.note(done);
        }
    }

    fn output_is_writable(&mut self, ops: &mut EventOps<'_>) {
        if let Some(fd) = self.watching_output.take() {
            let done = ops.remove(Readiness::with_data_raw(fd, OUTPUT, EventSet::OUT));
            self.note(done);
        }
        let outcome = lock(&self.console).backend_writable();
        self.settle(outcome);
    }

    fn note(&mut self, done: Result<(), event_manager::Error>) {
        if let Err(error) = done {
            self.failure.get_or_insert(error);
        }
    }
}

/// How a device's error ends the machine, if it does.
pub(super) fn end_by(error: &DeviceError) -> Option<Ended> {
    if let DeviceError::Interrupt(_) = error {
        tracing::warn!(%error, "an interrupt was lost");
        return None;
    }
    Some(Ended::DeviceViolation(error_chain(error)))
}

/// An error with its causes: the first says where, the last says what.
fn error_chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

impl MutEventSubscriber for Work {
    fn init(&mut self, ops: &mut EventOps<'_>) {
        let sources: [(&dyn AsRawFd, u32); 4] = [
            (&self.doorbells.receive, RECEIVE),
            (&self.doorbells.transmit, TRANSMIT),
            (&self.doorbells.rng, RNG),
            (&self.events.descriptor, NEWS),
        ];
        let watches =
            sources.map(|(source, data)| Readiness::with_data_raw(source.as_raw_fd(), data, EventSet::IN));
        for watch in watches {
            let done = ops.add(watch);
            self.note(done);
        }
    }

    fn process(&mut self, event: Readiness, ops: &mut EventOps<'_>) {
        let mut stdin_readable = false;
        // Reading an event descriptor only empties it; that it was readable is all there is to know.
        match event.data() {
            RECEIVE => {
                let _ = self.doorbells.receive.read();
                self.notify_console(RECEIVE_QUEUE);
            }
            TRANSMIT => {
                let _ = self.doorbells.transmit.read();
                self.notify_console(TRANSMIT_QUEUE);
            }
            RNG => {
                let _ = self.doorbells.rng.read();
                let outcome = lock(&self.rng).notify(REQUEST_QUEUE);
                self.settle(outcome);
            }
            NEWS => {
                let _ = self.events.descriptor.read();
                self.work_again();
            }
            STDIN => stdin_readable = true,
            OUTPUT => self.output_is_writable(ops),
            _ => {}
        }
        self.feed_stdin(ops, stdin_readable);
        self.feed_containers();
        self.watch_output(ops);
    }
}
