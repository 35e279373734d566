//! The thread that runs the vCPU. It has made it, with all else that is KVM's, before it knew for what.

use super::event_loop::end_by;
use super::placement::{Place, go_to};
use super::resident::Command;
use super::shared::{Console, Events, RngDevice, lock};
use super::start::receive_soon;
use super::state::Places;
use super::watch::Watch;
use crate::bus::Bus;
use crate::ended::{Ended, PanicReport};
use crate::error::MachineError;
use crate::kvm::vcpu::{self, Kicker, Left};
use crate::kvm::vm::{DirtyLog, EmptyVm, Vm};
use crate::kvm::{self, KvmError, cpuid};
use crate::memory::GuestMemory;
use crate::memory::image::Image;
use crate::network::NetDevice;
use crate::time::Clock;
use crate::volumes::VolumeDevice;
use kvm_ioctls::VcpuFd;
use rustix::time::{ClockId, clock_gettime};
use sentient_abi::panic_record::{RECORD_LEN, Reason};
use sentient_devices::Lifecycle;
use sentient_devices::sentinel::{Sentinel, Signal};
use sentient_devices::serial::Serial;
use sentient_devices::virtio::console::TRANSMIT_QUEUE;
use sentient_devices::virtio::device::Progress;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;
use vm_memory::{Bytes, GuestAddress};

/// Jobs that may wait for the vCPU's thread; whoever has one more waits with it.
const JOBS: usize = 16;

/// How often a guest that stands still after a fault is looked at: is the machine to end?
const STILL: Duration = Duration::from_millis(5);

/// How a thread ends: how the guest ended, if it did.
type End = Result<Option<Ended>, KvmError>;

/// KVM's part of a machine.
#[derive(Debug)]
pub struct Made {
    /// The virtual machine with its memory.
    pub vm: Vm,
    /// Its vCPU.
    pub vcpu: VcpuFd,
    /// Rate of the vCPU's time-stamp counter, in kHz.
    pub tsc_khz: u32,
}

/// The thread while it makes KVM's objects, and until it is told what to run. Dropping it ends it.
#[derive(Debug)]
pub struct Maker {
    /// `None` when it is being dropped, or became a [`VcpuThread`].
    thread: Option<Making>,
}

#[derive(Debug)]
struct Making {
    handle: JoinHandle<End>,
    size: Sender<Size>,
    made: Receiver<Result<Made, KvmError>>,
    task: Sender<Task>,
}

/// What it makes the second half of them for.
#[derive(Debug)]
struct Size {
    memory: GuestMemory,
    log: DirtyLog,
    /// Ranges of addresses.
    in_use: Vec<Range<u64>>,
}

/// What it runs from then on.
struct Task {
    parts: Parts,
    door: Arc<Door>,
    jobs: Receiver<Job>,
}

/// The running thread.
pub struct VcpuThread {
    handle: JoinHandle<End>,
    events: Arc<Events>,
    door: Arc<Door>,
}

/// Tells the event loop that the thread ends, however it does.
struct Leaving(Arc<Events>);

impl Drop for Leaving {
    fn drop(&mut self) {
        self.0.vcpu_left();
    }
}

/// What the thread works with.
pub struct Parts {
    /// The vCPU.
    pub vcpu: VcpuFd,
    /// Its virtual machine.
    pub vm: Arc<Vm>,
    /// The devices it reaches.
    pub bus: Bus,
    /// News for the event loop.
    pub events: Arc<Events>,
    /// Guest memory, for the panic record.
    pub memory: GuestMemory,
    /// What lies under it.
    pub image: Option<Image>,
    /// Where the guest has what the host looks at.
    pub places: Places,
    /// The guest's clocks.
    pub clock: Clock,
}

/// The machine at rest: its vCPU is outside of the guest, its devices touch nothing.
pub struct Stopped<'a> {
    /// The vCPU; its last access to a device is completed.
    pub vcpu: &'a VcpuFd,
    /// Its virtual machine.
    pub vm: &'a Vm,
    /// Guest memory.
    pub memory: &'a GuestMemory,
    /// The image that it began with, if there is one.
    pub image: Option<&'a Image>,
    /// Where things are in it.
    pub places: Places,
    /// The guest's clocks.
    pub clock: &'a mut Clock,
    /// The sentinel device.
    pub sentinel: &'a mut Sentinel,
    /// COM1.
    pub serial: &'a mut Serial,
    /// The console, kept from the event loop.
    pub console: MutexGuard<'a, Console>,
    /// The same, for when the guest goes on.
    pub(super) shared_console: &'a Arc<Mutex<Console>>,
    /// The entropy device, kept from the event loop.
    pub rng: MutexGuard<'a, RngDevice>,
    /// The network device.
    pub net: MutexGuard<'a, NetDevice>,
    /// The volumes' device: what was asked of it is answered.
    pub volumes: MutexGuard<'a, VolumeDevice>,
}

impl<'a> Stopped<'a> {
    /// Of these parts. The devices are kept from others for as long as this exists.
    pub(super) fn new(
        vcpu: &'a VcpuFd,
        vm: &'a Vm,
        (memory, image): (&'a GuestMemory, Option<&'a Image>),
        places: Places,
        clock: &'a mut Clock,
        bus: &'a mut Bus,
    ) -> Self {
        let Bus { sentinel, serial, console, rng, net, volumes, .. } = bus;
        let shared_console = &*console;
        let (console, rng, net, volumes) = (lock(console), lock(rng), lock(net), lock(volumes));
        Self {
            vcpu,
            vm,
            memory,
            image,
            places,
            clock,
            sentinel,
            serial,
            console,
            shared_console,
            rng,
            net,
            volumes,
        }
    }
}

/// Work to do while the guest stands still; whether it can go on after it.
type Work = Box<dyn FnOnce(&mut Stopped<'_>) -> bool + Send>;

/// When work is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum When {
    /// At once.
    Now,
    /// Not before the guest says that no container is being run, or it is told not to wait for that any more.
    AtRest,
    /// After a fault.
    Failed,
}

/// Work, and when it is to be done.
struct Job {
    work: Work,
    when: When,
}

/// The way to the vCPU's thread from others: it is called out of the guest, does a job, and goes back.
pub struct Door {
    jobs: SyncSender<Job>,
    kicker: Kicker,
    events: Arc<Events>,
    /// Whoever waits for the guest to be at rest waits no longer.
    impatient: AtomicBool,
}

/// There is no guest to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRunning {
    /// The vCPU has ended.
    #[error("the machine is not running any more")]
    Ended,
    /// It stands still after a fault.
    #[error("the machine has failed, and is being recovered; try again")]
    Failed,
}

impl Door {
    /// Stops the guest for as long as `work` takes, and gives what it gives.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub fn stopped<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Stopped<'_>) -> R + Send + 'static,
    ) -> Result<R, NotRunning> {
        let result = self.send(When::Now, |stopped| (true, work(stopped)))?;
        self.kicker.kick();
        // The sender is dropped unused if the guest fails or the thread ends first.
        result.recv().map_err(|_| self.why_not())
    }

    /// After a [fault](Self::tell_faults): does `work`, which says whether the guest can go on after it.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub fn rescue<R: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Stopped<'_>) -> (bool, R) + Send + 'static,
    ) -> Result<R, NotRunning> {
        let events = Arc::clone(&self.events);
        let rescue = move |stopped: &mut Stopped<'_>| {
            let (can_go_on, done) = work(stopped);
            if can_go_on {
                // Before anybody gives the devices anything, or hears of it and asks: that would be of the life before.
                events.go_on();
            }
            (can_go_on, done)
        };
        let result = self.send(When::Failed, rescue)?;
        self.kicker.kick();
        result.recv().map_err(|_| self.why_not())
    }

    /// Has faults of the guest's told, which would have ended the machine: from here on the guest stands still after each, until
    /// it is [rescued](Self::rescue) or the machine is ended. Nobody else gets an answer meanwhile. `tell` does not wait.
    pub fn tell_faults(&self, tell: impl Fn(Ended) + Send + 'static) {
        self.events.tell_faults(tell);
    }

    /// A guest that has had this much of the processor, and has not answered meanwhile, hangs.
    pub fn set_hang_after(&self, processor_time: Duration) {
        self.events.set_hang_after(processor_time);
    }

    /// Has the guest stand still because of a fault that it has not noticed itself.
    pub fn accuse(&self, fault: Ended) {
        self.events.accuse(fault);
        self.kicker.kick();
    }

    fn why_not(&self) -> NotRunning {
        if self.events.has_vcpu_left() { NotRunning::Ended } else { NotRunning::Failed }
    }

    /// The same, once the guest has come to where no container is being run, so that each of them is all in its region.
    /// A guest that does not get there within `patience` is stopped where it is, and without any it is not asked.
    ///
    /// # Errors
    /// [`NotRunning`].
    pub fn stopped_at_rest<R: Send + 'static>(
        &self,
        patience: Duration,
        work: impl FnOnce(&mut Stopped<'_>) -> R + Send + 'static,
    ) -> Result<R, NotRunning> {
        if patience.is_zero() {
            return self.stopped(work);
        }
        let result = self.send(When::AtRest, |stopped| (true, work(stopped)))?;
        self.kicker.kick();
        match result.recv_timeout(patience) {
            Ok(done) => return Ok(done),
            Err(RecvTimeoutError::Disconnected) => return Err(self.why_not()),
            Err(RecvTimeoutError::Timeout) => {}
        }
        self.impatient.store(true, Ordering::SeqCst);
        self.kicker.kick();
        result.recv().map_err(|_| self.why_not())
    }

    fn send<R: Send + 'static>(
        &self,
        when: When,
        work: impl FnOnce(&mut Stopped<'_>) -> (bool, R) + Send + 'static,
    ) -> Result<Receiver<R>, NotRunning> {
        let (answer, result) = mpsc::sync_channel(1);
        let work = Box::new(move |stopped: &mut Stopped<'_>| {
            let (can_go_on, done) = work(stopped);
            // Nobody waits for it any more: no harm.
            let _ = answer.send(done);
            can_go_on
        });
        self.jobs.send(Job { work, when }).map_err(|_| NotRunning::Ended)?;
        Ok(result)
    }
}

impl Maker {
    /// Starts the thread, on the other processor: it opens KVM and makes an empty virtual machine.
    ///
    /// # Errors
    /// The error of the thread's creation.
    pub fn start() -> io::Result<Self> {
        Self::start_after(|| go_to(Place::Kvm))
    }

    /// Starts it where Linux puts it.
    ///
    /// # Errors
    /// The error of the thread's creation.
    pub fn start_here() -> io::Result<Self> {
        Self::start_after(|| ())
    }

    fn start_after(first: fn()) -> io::Result<Self> {
        let (size, sized) = mpsc::channel();
        let (tell, made) = mpsc::channel();
        let (task, tasks) = mpsc::channel();
        let handle = std::thread::Builder::new().name("vcpu0".into()).spawn(move || {
            first();
            if tell.send(make(&sized)).is_err() {
                return Ok(None);
            }
            match receive_soon(&tasks) {
                Ok(Task { parts, door, jobs }) => parts.run(&door, &jobs),
                Err(_) => Ok(None),
            }
        })?;
        Ok(Self { thread: Some(Making { handle, size, made, task }) })
    }

    /// Has it go on with this memory, of which the guest has these ranges of addresses in use.
    pub fn with(&self, memory: GuestMemory, log: DirtyLog, in_use: Vec<Range<u64>>) {
        if let Some(thread) = &self.thread {
            // If nobody takes it, KVM has refused something: `made` says what.
            let _ = thread.size.send(Size { memory, log, in_use });
        }
    }

    /// Waits for what it has made.
    ///
    /// # Errors
    /// [`MachineError::Kvm`].
    pub fn made(&self) -> Result<Made, MachineError> {
        let made = self.thread.as_ref().and_then(|thread| receive_soon(&thread.made).ok());
        Ok(made.ok_or(MachineError::Thread("vcpu0"))??)
    }

    /// Runs the vCPU.
    ///
    /// # Errors
    /// The error of a system call; of kind `NotConnected` if the thread has ended, which only a panic does.
    pub fn run(mut self, parts: Parts) -> io::Result<VcpuThread> {
        vcpu::prepare_kicks()?;
        let events = Arc::clone(&parts.events);
        let (sender, jobs) = mpsc::sync_channel(JOBS);
        let kicker = Kicker::of(&parts.vcpu)?;
        let impatient = AtomicBool::new(false);
        let door = Arc::new(Door { jobs: sender, kicker, events: Arc::clone(&events), impatient });
        let task = Task { parts, door: Arc::clone(&door), jobs };
        let gone = || io::Error::from(io::ErrorKind::NotConnected);
        let thread = self.thread.take().ok_or_else(gone)?;
        thread.task.send(task).map_err(|_| gone())?;
        Ok(VcpuThread { handle: thread.handle, events, door })
    }
}

impl Drop for Maker {
    fn drop(&mut self) {
        if let Some(Making { handle, size, task, .. }) = self.thread.take() {
            drop((size, task));
            // Nothing of it is left when this returns; how it ended, nobody asked.
            let _ = handle.join();
        }
    }
}

/// Makes KVM's objects, in the order that costs least: see [`kvm`]. What needs no memory comes before the wait for
/// it.
fn make(size: &Receiver<Size>) -> Result<Made, KvmError> {
    let kvm = kvm::open()?;
    let vm = EmptyVm::new(&kvm)?;
    let cpuid = cpuid::for_guests(&kvm)?;
    let given_up = |_| KvmError::Unusable(io::Error::other("the machine was given up"));
    let Size { memory, log, in_use } = receive_soon(size).map_err(given_up)?;
    let vm = vm.with(memory, log, &in_use)?;
    let mut vcpu = vm.create_vcpu()?;
    cpuid::set(&vcpu, &cpuid)?;
    let tsc_khz = vcpu.get_tsc_khz().map_err(KvmError::call("KVM_GET_TSC_KHZ"))?;
    vcpu::run_nothing(&mut vcpu)?;
    Ok(Made { vm, vcpu, tsc_khz })
}

impl VcpuThread {
    /// The way to it.
    pub fn door(&self) -> Arc<Door> {
        Arc::clone(&self.door)
    }

    /// What watches for a guest that hangs; nothing where Linux does not say how long a thread had the processor.
    pub fn watch(&self) -> Option<Watch> {
        let watch = Watch::over(&self.door.kicker);
        watch.inspect_err(|error| tracing::warn!(%error, "nobody watches for a guest that hangs")).ok()
    }

    /// Kicks the vCPU out of the guest, so that the thread looks around: it may have halted for good.
    pub fn kick(&self) {
        self.door.kicker.kick();
    }

    /// Ends the thread and gives how the guest ended, if it did.
    ///
    /// # Errors
    /// What KVM refused; `None` if the thread panicked.
    pub fn stop(self) -> Result<Option<Ended>, Option<KvmError>> {
        self.events.set_stopping();
        self.kick();
        self.handle.join().map_err(|_| None)?.map_err(Some)
    }
}

/// How much of the processor this thread has had.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

impl Parts {
    fn run(mut self, door: &Door, jobs: &Receiver<Job>) -> End {
        // Also when the thread panics: the event loop must not wait for it.
        let _leaving = Leaving(Arc::clone(&self.events));
        door.kicker.adopt_thread();
        let mut waiting = Vec::new();
        loop {
            // First: whoever asks for something from now on kicks again.
            door.kicker.release();
            if self.events.is_stopping() {
                return Ok(None);
            }
            self.work(door, jobs, &mut waiting);
            if self.events.is_stopping() {
                // A job wants the machine to end as it left it.
                return Ok(None);
            }
            if self.events.takes_sample() {
                self.events.sampled(vcpu::ring(&self.vcpu) == 0);
            }
            let ended = match self.events.take_accusation() {
                Some(fault) => fault,
                None => {
                    self.keep_time();
                    match self.enter()? {
                        None => continue,
                        Some(ended) => ended,
                    }
                }
            };
            if !ended.is_fault() || !self.stand_still(jobs, &mut waiting, &ended) {
                return Ok(Some(ended));
            }
        }
    }

    /// Runs the guest until there is something to do; gives how it has ended, if that is so.
    fn enter(&mut self) -> Result<Option<Ended>, KvmError> {
        let left = vcpu::run(&mut self.vcpu, &mut self.bus)?;
        let rip = vcpu::rip(&self.vcpu);
        Ok(Some(match left {
            Left::Kicked if vcpu::is_halted_for_good(&self.vcpu) => Ended::Halt { rip },
            Left::Kicked => return Ok(None),
            Left::Device => self.ended(),
            Left::Shutdown => Ended::TripleFault { rip },
            // It may be about memory that it was not given yet.
            Left::InternalError(_) if self.vm.give_all()? => return Ok(None),
            Left::InternalError(suberror) => Ended::KvmInternal { suberror, rip },
            Left::EntryFailed(reason) => {
                Ended::UnexpectedExit(format!("entry failed with reason {reason:#x}"))
            }
            Left::Unknown(what) => Ended::UnexpectedExit(what),
        }))
    }

    /// Waits until the guest, which cannot go on, is made able to; `false` if it never is. Whoever else wants something of
    /// it is told that it has failed, by dropping what was to be done.
    fn stand_still(&mut self, jobs: &Receiver<Job>, waiting: &mut Vec<Work>, fault: &Ended) -> bool {
        waiting.clear();
        if !self.events.fail(fault) {
            return false;
        }
        while !self.events.is_stopping() {
            match jobs.recv_timeout(STILL) {
                Ok(Job { work, when: When::Failed }) => {
                    if self.do_work(work, true) {
                        return true;
                    }
                }
                Ok(_) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// The guest's wall clock follows the host's.
    fn keep_time(&mut self) {
        match self.clock.keep_right(&self.vcpu, &self.memory, self.places.time_page) {
            // It may sleep until a time of the wall clock that is here by now.
            Ok(true) => {
                if let Err(error) = lock(&self.bus.console).wake_driver() {
                    tracing::warn!(%error, "the guest was not told of another wall clock");
                }
            }
            Ok(false) => {}
            Err(error) => {
                tracing::warn!(%error, "the guest's wall clock could not be compared with the host's")
            }
        }
    }

    /// Does what others want done while the guest stands still. What waits for the guest to be at rest is put aside until
    /// it is.
    fn work(&mut self, door: &Door, jobs: &Receiver<Job>, waiting: &mut Vec<Work>) {
        // Before looking at jobs: one that came after it was not what the guest went to rest for.
        let at_rest = self.events.was_at_rest();
        let impatient = door.impatient.swap(false, Ordering::SeqCst);
        let (mut due, mut has_new) = (Vec::new(), false);
        for Job { work, when } in jobs.try_iter() {
            // What is for a failed guest comes too late for one that is not.
            match when {
                When::Now => due.push(work),
                When::AtRest => {
                    waiting.push(work);
                    has_new = true;
                }
                When::Failed => {}
            }
        }
        // One that sleeps is where it would come to: it waits for an interrupt there, and runs nothing.
        if at_rest || impatient || (has_new && vcpu::sleeps(&self.vcpu)) {
            due.append(waiting);
        } else if has_new {
            self.events.command(Command::Rest);
        }
        for work in due {
            self.do_work(work, false);
        }
    }

    /// Does something while the guest stands still, which has `failed` or has not; gives whether it can go on.
    fn do_work(&mut self, work: Work, failed: bool) -> bool {
        let Self { vcpu, vm, bus, memory, image, places, clock, events, .. } = self;
        events.stand();
        let (began, generation) = (thread_time(), clock.generation());
        let mut stopped = Stopped::new(vcpu, vm, (memory, image.as_ref()), *places, clock, bus);
        // What the guest has handed over by now was written before this instant. The file or pipe behind
        // it may be full: the rest is then written after it.
        let handed_over = loop {
            match stopped.console.notify(TRANSMIT_QUEUE) {
                Ok(Progress::Again) => {}
                done => break done,
            }
        };
        if let Some(fault) = handed_over.err().and_then(|error| end_by(&error)).filter(|_| !failed) {
            events.accuse(fault);
        }
        stopped.console.pause();
        stopped.rng.pause();
        stopped.net.pause();
        stopped.volumes.pause();
        let can_go_on = work(&mut stopped);
        stopped.console.resume();
        stopped.rng.resume();
        stopped.net.resume();
        stopped.volumes.resume();
        drop(stopped);
        events.stood(thread_time().saturating_sub(began), clock.generation() != generation);
        // The devices have work of which nobody will tell: see `Lifecycle::resume`.
        events.nudge();
        can_go_on
    }

    fn ended(&self) -> Ended {
        match self.events.take_end() {
            Some(Signal::Ended(end)) => Ended::Container(end),
            Some(Signal::Panicked(reason)) => Ended::Panic(self.panic_report(reason)),
            Some(Signal::Violation { port, value }) => {
                Ended::DeviceViolation(format!("it wrote {value:#x} to the sentinel's port {port:#x}"))
            }
            // `Flow::Break` comes with one of the above.
            Some(Signal::Ready | Signal::Heartbeat | Signal::AtRest) | None => {
                Ended::UnexpectedExit("a device".into())
            }
        }
    }

    fn panic_report(&self, reason: Reason) -> PanicReport {
        let mut record = [0; RECORD_LEN];
        // A record outside of RAM reads as an empty one.
        let _ = self.memory.read_slice(&mut record, GuestAddress(self.places.panic_record));
        PanicReport::parse(reason, &record)
    }
}
