//! What the threads of a machine share.

use super::event_loop::end_by;
use super::input_room::InputRoom;
use super::resident::Command;
use crate::ended::Ended;
use crate::memory::GuestMemory;
use crate::streams::HostStreams;
use sentient_devices::sentinel::Signal;
use sentient_devices::virtio::console;
use sentient_devices::virtio::device::DeviceError;
use sentient_devices::virtio::mmio::MmioTransport;
use sentient_devices::virtio::rng::{Entropy, Rng};
use sentient_devices::virtio::stdio_mux::StdioMux;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The console with containers' streams behind it.
pub type Console = MmioTransport<console::Console<StdioMux<HostStreams>>, GuestMemory>;
/// The entropy device.
pub type RngDevice = MmioTransport<Rng<HostEntropy>, GuestMemory>;

/// How much of the processor a guest may have before it has to have answered, where nobody says otherwise.
const HANG_AFTER_NS: u64 = 200_000_000;

/// The host's random numbers.
#[derive(Debug)]
pub struct HostEntropy;

impl Entropy for HostEntropy {
    fn fill(&mut self, mut bytes: &mut [u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let filled = rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty())?;
            bytes = bytes.split_at_mut(filled).1;
        }
        Ok(())
    }
}

/// Who is told of faults.
struct Rescuer(Box<dyn Fn(Ended) + Send>);

impl std::fmt::Debug for Rescuer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Rescuer")
    }
}

/// News for the event loop, from the vCPU thread and from whoever stops the machine.
#[derive(Debug)]
pub struct Events {
    /// Readable when there is news.
    pub descriptor: EventFd,
    signal: Mutex<Option<Signal>>,
    stop: Mutex<Option<Ended>>,
    stopping: AtomicBool,
    vcpu_left: AtomicBool,
    ready: OnceLock<Instant>,
    heartbeats: AtomicU64,
    at_rest: AtomicBool,
    /// How often the guest has come to rest.
    rests: AtomicU64,
    /// The vCPU's thread does something while the guest stands still.
    standing: AtomicBool,
    /// How much of the processor it has had for that, in nanoseconds.
    stood: AtomicU64,
    /// How often the guest was at another point of its life after that.
    moves: AtomicU64,
    /// How much of the processor a guest may have before it has to have answered, in nanoseconds.
    hang_after: AtomicU64,
    /// The vCPU's thread is to say in which ring the guest is, and how often it has found it in ring 0 and elsewhere.
    sample: AtomicBool,
    samples: [AtomicU64; 2],
    /// In which life of the guest's what was asked.
    commands: Mutex<Vec<(u64, Command)>>,
    /// Who is told of faults, if somebody is.
    rescuer: Mutex<Option<Rescuer>>,
    /// A fault of the guest's that was not found on the vCPU's thread.
    accused: Mutex<Option<Ended>>,
    /// The same, on its way to who calls that thread out of the guest.
    reported: Mutex<Option<Ended>>,
    /// The guest stands still after a fault.
    failed: AtomicBool,
    /// How often it has gone on after one.
    lives: AtomicU64,
    /// For standard input.
    pub(super) input: InputRoom,
}

impl Events {
    /// No news.
    ///
    /// # Errors
    /// The error of eventfd.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            descriptor: EventFd::new(EFD_NONBLOCK)?,
            signal: Mutex::new(None),
            stop: Mutex::new(None),
            stopping: AtomicBool::new(false),
            vcpu_left: AtomicBool::new(false),
            ready: OnceLock::new(),
            heartbeats: AtomicU64::new(0),
            at_rest: AtomicBool::new(false),
            rests: AtomicU64::new(0),
            standing: AtomicBool::new(false),
            stood: AtomicU64::new(0),
            moves: AtomicU64::new(0),
            hang_after: AtomicU64::new(HANG_AFTER_NS),
            sample: AtomicBool::new(false),
            samples: Default::default(),
            commands: Mutex::new(Vec::new()),
            rescuer: Mutex::new(None),
            accused: Mutex::new(None),
            reported: Mutex::new(None),
            failed: AtomicBool::new(false),
            lives: AtomicU64::new(0),
            input: InputRoom::default(),
        })
    }

    /// Wakes the event loop.
    pub fn nudge(&self) {
        // The counter cannot overflow in practice, and a loop that is awake needs no waking.
        let _ = self.descriptor.write(1);
    }

    /// Somebody asks something of a resident machine.
    pub(super) fn command(&self, command: Command) {
        lock(&self.commands).push((self.lives(), command));
        self.nudge();
    }

    /// What was asked since the last time.
    pub(super) fn take_commands(&self) -> Vec<(u64, Command)> {
        std::mem::take(&mut *lock(&self.commands))
    }

    /// The guest is ready.
    pub fn ready(&self) {
        let _ = self.ready.set(Instant::now());
    }

    /// When the guest was ready.
    pub fn ready_at(&self) -> Option<Instant> {
        self.ready.get().copied()
    }

    /// The guest is alive.
    pub fn heartbeat(&self) {
        self.heartbeats.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has said so.
    pub fn heartbeats(&self) -> u64 {
        self.heartbeats.load(Ordering::Relaxed)
    }

    /// The guest is where no container is being run.
    pub fn is_at_rest(&self) {
        self.at_rest.store(true, Ordering::SeqCst);
        self.rests.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it has been there.
    pub fn rests(&self) -> u64 {
        self.rests.load(Ordering::SeqCst)
    }

    /// Whether it has said that it is since the last time this was asked: it has not gone on if the vCPU was not let.
    pub fn was_at_rest(&self) -> bool {
        self.at_rest.swap(false, Ordering::SeqCst)
    }

    /// The vCPU's thread begins to do something while the guest stands still.
    pub fn stand(&self) {
        self.standing.store(true, Ordering::SeqCst);
    }

    /// It has done it, with this much of the processor; whether the guest is at another point of its life after that.
    pub fn stood(&self, processor_time: Duration, has_moved: bool) {
        let ns = u64::try_from(processor_time.as_nanos()).unwrap_or(u64::MAX);
        self.stood.fetch_add(ns, Ordering::SeqCst);
        self.moves.fetch_add(has_moved.into(), Ordering::SeqCst);
        self.standing.store(false, Ordering::SeqCst);
    }

    /// How much of the processor the vCPU's thread has had while the guest stood still, and how often that was at another point
    /// of its life after it; nothing while it stands still.
    pub fn standstills(&self) -> Option<(Duration, u64)> {
        let stood = Duration::from_nanos(self.stood.load(Ordering::SeqCst));
        let moves = self.moves.load(Ordering::SeqCst);
        (!self.standing.load(Ordering::SeqCst)).then_some((stood, moves))
    }

    /// A guest that has had this much of the processor, and has not answered meanwhile, hangs.
    pub fn set_hang_after(&self, processor_time: Duration) {
        let ns = u64::try_from(processor_time.as_nanos()).unwrap_or(u64::MAX);
        self.hang_after.store(ns, Ordering::Relaxed);
    }

    /// How much that is.
    pub fn hang_after(&self) -> Duration {
        Duration::from_nanos(self.hang_after.load(Ordering::Relaxed))
    }

    /// Has the vCPU's thread look in which ring the guest is, once it is called out of it.
    pub fn want_sample(&self) {
        self.sample.store(true, Ordering::SeqCst);
    }

    /// Whether it is to look.
    pub fn takes_sample(&self) -> bool {
        self.sample.swap(false, Ordering::SeqCst)
    }

    /// It has looked.
    pub fn sampled(&self, is_ring_0: bool) {
        let [ring_0, elsewhere] = &self.samples;
        if is_ring_0 { ring_0 } else { elsewhere }.fetch_add(1, Ordering::SeqCst);
    }

    /// How often it has found the guest in ring 0, and elsewhere.
    pub fn samples(&self) -> [u64; 2] {
        self.samples.each_ref().map(|count| count.load(Ordering::SeqCst))
    }

    /// The guest has said how it ended.
    pub fn end(&self, signal: Signal) {
        *lock(&self.signal) = Some(signal);
    }

    /// What the guest has said of its end.
    pub fn take_end(&self) -> Option<Signal> {
        lock(&self.signal).take()
    }

    /// Has somebody told of faults, who sees to it that the guest can go on, or that the machine ends.
    pub fn tell_faults(&self, rescuer: impl Fn(Ended) + Send + 'static) {
        *lock(&self.rescuer) = Some(Rescuer(Box::new(rescuer)));
    }

    /// Whether a fault is told to somebody.
    pub fn has_rescuer(&self) -> bool {
        lock(&self.rescuer).is_some()
    }

    /// The guest stands still after a fault; whether that is told to somebody.
    pub fn fail(&self, fault: &Ended) -> bool {
        // Before anybody hears of it.
        self.failed.store(true, Ordering::SeqCst);
        let rescuer = lock(&self.rescuer);
        if let Some(Rescuer(tell)) = rescuer.as_ref() {
            tell(fault.clone());
        }
        rescuer.is_some()
    }

    /// It has been made able to go on.
    pub fn go_on(&self) {
        // Whoever else has something against it means the life that is over.
        lock(&self.accused).take();
        lock(&self.reported).take();
        self.lives.fetch_add(1, Ordering::SeqCst);
        self.failed.store(false, Ordering::SeqCst);
    }

    /// Whether it stands still after a fault.
    pub fn has_failed(&self) -> bool {
        self.failed.load(Ordering::SeqCst)
    }

    /// How often it has gone on after a fault.
    pub fn lives(&self) -> u64 {
        self.lives.load(Ordering::SeqCst)
    }

    /// Somebody else than the vCPU's thread has found a fault of the guest's; the first one counts. That thread has to be
    /// called out of the guest.
    pub fn accuse(&self, fault: Ended) {
        lock(&self.accused).get_or_insert(fault);
    }

    /// A device's own thread has found that the guest misuses it. Where nobody sees to faults, the machine goes on without it.
    pub fn report(&self, error: &DeviceError) {
        let Some(fault) = end_by(error).filter(|_| self.has_rescuer()) else { return };
        lock(&self.reported).get_or_insert(fault);
        self.nudge();
    }

    /// Does the work of a device's own thread; one that panics is noted, and told as a fault, so that whoever sees to it sees to the
    /// thread, too.
    pub fn unless_it_panics(&self, thread: &'static str, panicked: &AtomicBool, work: impl FnOnce()) {
        // What it leaves behind are the device's registers, which the guest's recovery sets anew.
        if std::panic::catch_unwind(AssertUnwindSafe(work)).is_err() {
            tracing::error!(thread, "a thread of the machine's has panicked");
            // Before anybody hears of it.
            panicked.store(true, Ordering::SeqCst);
            lock(&self.reported).get_or_insert(Ended::Thread(thread));
            self.nudge();
        }
    }

    /// What was reported.
    pub fn take_report(&self) -> Option<Ended> {
        lock(&self.reported).take()
    }

    /// What was found.
    pub fn take_accusation(&self) -> Option<Ended> {
        lock(&self.accused).take()
    }

    /// Somebody wants the machine to end this way; the first one counts.
    pub fn stop(&self, ended: Ended) {
        lock(&self.stop).get_or_insert(ended);
        self.nudge();
    }

    /// How somebody wants the machine to end.
    pub fn take_stop(&self) -> Option<Ended> {
        lock(&self.stop).take()
    }

    /// The vCPU thread is about to end.
    pub fn vcpu_left(&self) {
        self.vcpu_left.store(true, Ordering::SeqCst);
        self.nudge();
    }

    /// Whether the vCPU thread has ended, or is about to.
    pub fn has_vcpu_left(&self) -> bool {
        self.vcpu_left.load(Ordering::SeqCst)
    }

    /// Tells the vCPU thread not to enter the guest again.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::SeqCst);
    }

    /// Whether the vCPU thread is to stop.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }
}

/// Takes a lock whose holder may have panicked: what it guards is replaced whole, never half.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
