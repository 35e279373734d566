//! Who has the processor. docs/decisions/0009 has the reasons and what a switch costs.
//!
//! [`Scheduler::run`] is a loop on the runtime's own stack: it takes what the host sends, sees whose wait is
//! over, and lets the thread run that is furthest behind, until that stops. Threads are ordered by the CPU
//! time they have used, divided by their weights; what a thread sleeps through is not saved up for it beyond one
//! slice. One that the host has paused is left out.
//!
//! Interrupts come while a thread runs, by the upcall. In its compiled code they stop it at once; anywhere
//! else they set [`ASKED`], and the thread stops when its host function returns. In case that takes too long,
//! or the code is entered in another way, the timer looks again after a millisecond.
//!
//! The timer is armed for whatever comes first: the end of a slice (if another thread could run), a CPU time
//! limit, a deadline another thread waits for, the heartbeat. A thread that runs alone meets no interrupt.

use crate::calls::Stop;
use crate::console::{self, InputState};
use crate::container::Container;
use crate::control::Control;
use crate::machine::Machine;
use crate::report;
use crate::shell::Shell;
use crate::thread::{State, Stopped, Thread};
use crate::upcall::Interrupted;
use crate::{clock, gate, heap, heartbeat, network, volumes};
use alloc::boxed::Box;
use alloc::vec::Vec;
use core::cell::Cell;
use core::ops::Range;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU64, Ordering::Relaxed};
use sentient_abi::container_files::Failure;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::region::RegionKind;
use sentient_abi::stdio::{FrameKind, Status};
use sentient_wasi::{Errno, Files, Wait};

/// Longest turn of a thread while another could run, in nanoseconds.
pub const SLICE_NS: u64 = 5_000_000;
/// Shortest turn the timer ends because of a CPU time limit, in nanoseconds.
const SHORTEST_NS: u64 = 100_000;

/// An interrupt has come since the scheduler last looked around.
static ASKED: AtomicBool = AtomicBool::new(false);
/// The thread that has the processor; null while the scheduler has.
static RUNNING: AtomicPtr<Thread> = AtomicPtr::new(core::ptr::null_mut());
/// Monotonic time its turn began.
static SINCE: AtomicU64 = AtomicU64::new(0);

fn running() -> Option<&'static Thread> {
    // SAFETY: set by `take_turn` to a thread that the scheduler keeps while it runs, and reset before it goes
    // on itself.
    unsafe { RUNNING.load(Relaxed).as_ref() }
}

/// An interrupt has come in ring 3. Called from the upcall: see there for what may be done here.
pub fn on_interrupt(state: &Interrupted) {
    ASKED.store(true, Relaxed);
    clock::forget_timer();
    let Some(thread) = running() else { return };
    if thread.code.contains(&(state.frame.rip as usize)) {
        RUNNING.store(core::ptr::null_mut(), Relaxed);
        // SAFETY: the state is the running thread's, in its compiled code.
        unsafe { thread.leave(state) }
    }
    clock::wake_by(clock::monotonic_ns().saturating_add(clock::RETRY_NS));
}

/// The running thread gives the processor back, and goes on here.
pub fn stop(thread: &Thread) {
    RUNNING.store(core::ptr::null_mut(), Relaxed);
    thread.stop();
}

/// The running thread waits.
///
/// # Errors
/// [`Stop::Doomed`] if it is not to go on.
pub fn wait(wait: Wait) -> Result<(), Stop> {
    if let Some(thread) = running() {
        if wait.sockets {
            thread.sockets_seen.set(network::changes(thread.index));
        }
        thread.state.set(State::Waiting(wait));
        stop(thread);
    }
    check()
}

/// The running thread has called a host function, and is about to leave it: gives the processor back if somebody has asked.
pub fn give_way() {
    let Some(thread) = running() else { return };
    thread.calls.set(thread.calls.get().wrapping_add(1));
    if ASKED.load(Relaxed) {
        stop(thread);
    }
}

/// Whether the running thread is to go on.
///
/// # Errors
/// [`Stop::Doomed`] if not.
pub fn check() -> Result<(), Stop> {
    match running().and_then(|thread| thread.doomed.get()) {
        Some(end) => Err(Stop::Doomed(end)),
        None => Ok(()),
    }
}

/// The running thread asks the host for something, or has its answer.
pub fn asks_host(asks: bool) {
    if let Some(thread) = running() {
        thread.asks_host.set(asks);
    }
}

/// The running thread's container is over, and what is left is to say so: that takes what time it takes, unless
/// it is killed.
pub fn last_words() {
    if let Some(thread) = running() {
        if thread.doomed.get() == Some(ContainerEnd::CpuLimit) {
            thread.doomed.set(None);
        }
        thread.is_over.set(true);
    }
}

/// CPU time the running thread has used, in nanoseconds.
pub fn used_ns() -> u64 {
    let turn = clock::monotonic_ns().saturating_sub(SINCE.load(Relaxed));
    running().map_or(0, |thread| thread.used_ns.get().saturating_add(turn))
}

/// Whether a thread runs: what waits may then let others run meanwhile.
pub fn is_in_thread() -> bool {
    running().is_some()
}

/// All threads.
pub struct Scheduler {
    /// Where containers live.
    pub machine: Machine,
    #[expect(clippy::vec_box, reason = "a thread's address is on its stack: it does not move")]
    threads: Vec<Box<Thread>>,
    /// Where the thread that is furthest behind was, when it last got its turn: newcomers start there.
    turn: Cell<u64>,
    /// The time page by which waits for a time were last looked at.
    time_page: Cell<u64>,
    /// The machine's life that all this is of.
    life: u64,
    upcall: bool,
    /// Containers that have ended and had files of others, and of whom: what they had open is to be closed.
    left: Vec<(u32, u32)>,
}

impl Scheduler {
    /// A scheduler without threads.
    pub fn new(machine: Machine) -> Self {
        Self {
            machine,
            threads: Vec::new(),
            turn: Cell::new(0),
            time_page: Cell::new(clock::page_number()),
            life: clock::life(),
            upcall: false,
            left: Vec::new(),
        }
    }

    /// Adds a thread for a container.
    pub fn add(&mut self, container: Container) {
        let thread = Thread::new(container);
        if thread.limit_ns > 0 || heartbeat::is_wanted() {
            self.want_upcalls();
        }
        thread.virtual_ns.set(self.turn.get());
        self.threads.push(thread);
    }

    /// Has interrupts stop threads. Late, because the nucleus checks the addresses, instruction by
    /// instruction.
    pub fn want_upcalls(&mut self) {
        if !self.upcall {
            crate::upcall::start();
            self.upcall = true;
        }
    }

    /// The machine was booted since: the nucleus knows nothing of what was asked of it before.
    pub fn begin_again(&mut self) {
        if core::mem::take(&mut self.upcall) {
            self.want_upcalls();
        }
        ASKED.store(true, Relaxed);
    }

    /// The containers that run.
    pub fn indexes(&self) -> impl Iterator<Item = u32> {
        self.threads.iter().map(|thread| thread.index)
    }

    /// Whether a container runs.
    pub fn has(&self, index: u32) -> bool {
        self.thread(index).is_some()
    }

    /// A container's region.
    pub fn region(&self, index: u32) -> Option<Range<usize>> {
        self.thread(index).map(|thread| thread.region.clone())
    }

    /// A container's region, if the container is all there and nowhere else.
    ///
    /// # Errors
    /// Why it is not, for people.
    pub fn at_rest(&self, index: u32) -> Result<Range<usize>, &'static str> {
        self.thread(index).ok_or("it has ended")?.whole_region()
    }

    /// A container is what it was before: it has not saved up time since.
    pub fn came_back(&self, index: u32) {
        if let Some(thread) = self.thread(index) {
            self.catch_up(thread);
        }
    }

    /// Ends a container's thread; `false` if there is none.
    pub fn kill(&mut self, index: u32) -> bool {
        self.thread(index).map(|thread| doom(thread, ContainerEnd::Killed)).is_some()
    }

    fn thread(&self, index: u32) -> Option<&Thread> {
        self.threads.iter().map(Box::as_ref).find(|thread| thread.index == index)
    }

    /// Keeps a container's thread from running, or lets it run again.
    pub fn pause(&self, index: u32, paused: bool) {
        if let Some(thread) = self.thread(index) {
            thread.paused.set(paused);
            self.catch_up(thread);
        }
    }

    /// What a container takes.
    pub fn status(&self, index: u32) -> Option<Status> {
        self.thread(index).map(Thread::status)
    }

    /// Does something with the files of a container. What that allocates for good is the container's.
    ///
    /// # Errors
    /// [`Failure::Gone`] if its thread is not there or has ended, [`Failure::Busy`] if it is amid something with files.
    pub fn with_files<T>(
        &mut self,
        index: u32,
        work: impl FnOnce(Files<'_>) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let thread = self.threads.iter_mut().find(|thread| thread.index == index).ok_or(Failure::Gone)?;
        match thread.state.get() {
            State::Ended(_) | State::Held => Err(Failure::Gone),
            // A call of its own has its files until the host has answered.
            _ if thread.asks_host.get() => Err(Failure::Busy),
            _ => thread.with_files(work),
        }
    }

    /// Answers what containers ask about the files of others, and closes what those had open that are gone.
    fn serve_files(&mut self) {
        volumes::serve(|asker, about, request| {
            let answer =
                self.with_files(about, |mut files| Ok(files.serve(asker, &request.wanted, clock::wall_ns())));
            match answer {
                Ok(answer) => Some(answer),
                Err(Failure::Busy) => None,
                Err(_) => Some(Err(Errno::Nodev)),
            }
        });
        let mut left = core::mem::take(&mut self.left);
        left.retain(|(asker, about)| {
            let closed = self.with_files(*about, |mut files| {
                files.forget(*asker);
                Ok(())
            });
            closed == Err(Failure::Busy)
        });
        self.left = left;
    }

    /// A thread that did not want the processor for a while has saved up one slice at most.
    fn catch_up(&self, thread: &Thread) {
        let earliest = self.turn.get().saturating_sub(SLICE_NS);
        thread.virtual_ns.set(thread.virtual_ns.get().max(earliest));
    }

    /// Runs the threads there are to their ends, and gives how the last one ended. With `control`, it takes
    /// containers from the host, and never ends; with a `shell`, people look after them.
    pub fn run(&mut self, mut control: Option<Control>, mut shell: Option<&mut Shell>) -> ContainerEnd {
        let mut last = ContainerEnd::BadBootModule;
        loop {
            if ASKED.swap(false, Relaxed) {
                clock::forget_timer();
            }
            heartbeat::beat_if_due();
            if let Some(control) = &mut control {
                control.receive(self);
                control.begin_life(self);
            }
            if let Some(shell) = &mut shell {
                shell.poll(self);
                self.heal_trapped(shell);
            }
            network::pump();
            volumes::pump();
            self.serve_files();
            if control.is_some() {
                self.hold_trapped();
            }
            if let Some(end) = self.reap(control.as_mut()) {
                last = end;
            }
            console::send_queued();
            if control.is_none() && self.threads.is_empty() {
                return last;
            }
            let watched = shell.as_ref().map_or(clock::NEVER, |shell| shell.due());
            let deadline = self.wake().min(network::due_at()).min(watched);
            network::seal();
            match self.next() {
                Some((thread, others)) => self.take_turn(thread, others, deadline),
                None => self.idle(deadline),
            }
        }
    }

    /// In another life of the machine, the VMM may have put the kernel back and kept its containers. Gives those that it has
    /// not kept: nothing of them is here any more.
    pub fn begin_life(&mut self) -> Vec<u32> {
        let life = clock::life();
        if life == self.life {
            return Vec::new();
        }
        self.life = life;
        volumes::begin_life(life);
        let lost: Vec<u32> = heap::lost().collect();
        for index in &lost {
            let Some(region) = self.machine.owned(RegionKind::Container, *index) else { continue };
            let region = region.base as usize..(region.base + region.len) as usize;
            // A thread is known by where it lies. What is there may be anything: nobody looks, and nothing is dropped.
            let lying = self.threads.iter().position(|thread| region.contains(&(&raw const **thread).addr()));
            if let Some(at) = lying {
                core::mem::forget(self.threads.swap_remove(at));
            }
        }
        for index in &lost {
            self.leave(*index, None);
        }
        // Who has been told may be another one by now.
        for thread in self.threads.iter().filter(|thread| matches!(thread.state.get(), State::Held)) {
            console::queue(FrameKind::Trapped, thread.index, 0, &[]);
        }
        lost
    }

    /// Keeps containers that have trapped, if they are to be, and tells the host.
    fn hold_trapped(&self) {
        for thread in &self.threads {
            let trapped = matches!(thread.state.get(), State::Ended(ContainerEnd::Trapped));
            // One that was doomed meanwhile is past holding: somebody has asked for its end.
            if trapped && thread.holds && thread.doomed.get().is_none() {
                thread.hold();
                console::queue(FrameKind::Trapped, thread.index, 0, &[]);
            }
        }
    }

    /// Puts containers that have trapped back, if they can be.
    fn heal_trapped(&mut self, shell: &mut Shell) {
        let has_trapped = |thread: &&Thread| {
            matches!(thread.state.get(), State::Ended(ContainerEnd::Trapped)) && thread.doomed.get().is_none()
        };
        let threads = self.threads.iter().map(Box::as_ref);
        let trapped: Vec<u32> = threads.filter(has_trapped).map(|thread| thread.index).collect();
        for container in trapped {
            shell.heal(self, container);
        }
    }

    /// A container is over, which may have had the files of another one.
    fn leave(&mut self, index: u32, files_of: Option<u32>) {
        for other in self.threads.iter().filter(|other| other.files_of == Some(index)) {
            doom(other, ContainerEnd::Killed);
        }
        self.left.extend(files_of.map(|of| (index, of)));
    }

    /// Wakes threads whose wait is over; gives the next deadline of those that go on waiting.
    fn wake(&self) -> u64 {
        // By a new time page the wall clock has gone on, or was set, and the monotonic one has not: who waits for
        // a time looks again how far off it is.
        let page = clock::page_number();
        let clocks_set = self.time_page.replace(page) != page;
        let now = clock::monotonic_ns();
        let mut deadline = clock::NEVER;
        for thread in &self.threads {
            let State::Waiting(wait) = thread.state.get() else { continue };
            // A paused one stays as it is: what it waits for is looked at when it may run again.
            if !thread.may_run() {
                continue;
            }
            let looks_again = thread.doomed.get().is_some() || (clocks_set && wait.until_ns.is_some());
            if looks_again || is_over(thread, wait, now) {
                let turn = if wait == Wait::YIELD { self.latest_turn() } else { 0 };
                self.catch_up(thread);
                thread.virtual_ns.set(thread.virtual_ns.get().max(turn));
                thread.state.set(State::Ready);
            } else {
                deadline = deadline.min(wait.until_ns.unwrap_or(clock::NEVER));
            }
        }
        deadline
    }

    fn ready(&self) -> impl Iterator<Item = &Thread> {
        let ready = |thread: &&Thread| matches!(thread.state.get(), State::Ready) && thread.may_run();
        self.threads.iter().map(Box::as_ref).filter(ready)
    }

    fn latest_turn(&self) -> u64 {
        self.ready().map(|thread| thread.virtual_ns.get()).max().unwrap_or(0).saturating_add(1)
    }

    /// The thread whose turn it is, and whether another could run.
    fn next(&self) -> Option<(&Thread, bool)> {
        let thread = self.ready().min_by_key(|thread| thread.virtual_ns.get())?;
        Some((thread, self.ready().nth(1).is_some()))
    }

    fn take_turn(&self, thread: &Thread, others: bool, deadline: u64) {
        let now = clock::monotonic_ns();
        // Never so little that the interrupt comes before the thread does: it would not get there at all.
        let left = match thread.limit() {
            Some(limit) => now.saturating_add(limit.saturating_sub(thread.used_ns.get()).max(SHORTEST_NS)),
            None => clock::NEVER,
        };
        self.turn.set(self.turn.get().max(thread.virtual_ns.get()));
        // One that is to end must not go on alone for ever.
        let slice =
            if others || thread.doomed.get().is_some() { now.saturating_add(SLICE_NS) } else { clock::NEVER };
        clock::wake_by(deadline.min(left).min(slice).min(heartbeat::due_at()));
        if (self.is_anyone_stuck() && !console::want_room()) || network::watch() || volumes::has_news() {
            return;
        }
        SINCE.store(now, Relaxed);
        RUNNING.store((&raw const *thread).cast_mut(), Relaxed);
        // What came until here is looked at first; what comes from here on finds a thread running.
        if ASKED.load(Relaxed) {
            RUNNING.store(core::ptr::null_mut(), Relaxed);
            return;
        }
        thread.run();
        let turn = clock::monotonic_ns().saturating_sub(now);
        thread.has_run(turn);
        let used = thread.used_ns.get();
        if let Some(end) = thread.doomed.get() {
            doom(thread, end);
        } else if thread.limit().is_some_and(|limit| used >= limit) {
            doom(thread, ContainerEnd::CpuLimit);
        }
    }

    fn is_anyone_stuck(&self) -> bool {
        console::has_queued()
            || self.threads.iter().any(
                |thread| matches!(thread.state.get(), State::Waiting(wait) if wait.stdout || wait.stderr),
            )
    }

    /// Sleeps until something has come, or `deadline`.
    fn idle(&self, deadline: u64) {
        console::prepare_sleep();
        // What the device has given back just now, it does not tell of again.
        console::send_queued();
        let now = clock::monotonic_ns();
        let is_over = self
            .threads
            .iter()
            .any(|thread| matches!(thread.state.get(), State::Waiting(wait) if is_over(thread, wait, now)));
        if !is_over && !console::has_news() && !network::watch() && !volumes::has_news() {
            clock::wake_by(deadline.min(heartbeat::due_at()));
            gate::idle();
            clock::forget_timer();
        }
        console::end_sleep();
    }

    /// Takes away the threads that are over; gives how the last of them ended.
    fn reap(&mut self, mut control: Option<&mut Control>) -> Option<ContainerEnd> {
        let mut last = None;
        while let Some(at) =
            self.threads.iter().position(|thread| matches!(thread.state.get(), State::Ended(_)))
        {
            let thread = self.threads.swap_remove(at);
            let State::Ended(end) = thread.state.get() else { continue };
            if end == ContainerEnd::CpuLimit {
                report::tell_limit(&thread);
            }
            last = Some(end);
            self.leave(thread.index, thread.files_of);
            match &mut control {
                Some(control) => {
                    let index = thread.index;
                    // Before its memory is anybody else's. If it was left in its code, frames on its stack
                    // still refer to what is dropped here; they never run again.
                    drop(thread);
                    control.ended(&mut self.machine, index, end);
                }
                // The machine ends: nothing to give back.
                None => core::mem::forget(thread),
            }
        }
        last
    }
}

/// Ends a thread: at once if it is in its compiled code, which is then left for good, or at the end of the
/// host function it is in.
fn doom(thread: &Thread, end: ContainerEnd) {
    match thread.state.get() {
        State::Ended(_) => return,
        State::Held => {
            thread.doom(ContainerEnd::Trapped);
            thread.state.set(State::Ended(ContainerEnd::Trapped));
            return;
        }
        State::Ready | State::Waiting(_) => {}
    }
    thread.doom(end);
    if thread.stopped.get() != Stopped::InHost {
        thread.state.set(State::Ended(end));
    }
}

fn is_over(thread: &Thread, wait: Wait, now: u64) -> bool {
    wait == Wait::YIELD
        || (wait.stdin && !matches!(console::input_state(thread.index), InputState::Empty))
        || (wait.volume && volumes::is_settled(thread.index))
        || (wait.sockets && network::changes(thread.index) != thread.sockets_seen.get())
        || ((wait.stdout || wait.stderr) && console::output_room() > 0)
        || wait.until_ns.is_some_and(|deadline| now >= deadline)
}
