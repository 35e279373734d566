//! Threads: what the scheduler has on the processor by turns. Each runs one container, on a stack in the
//! container's own region.
//!
//! A thread stops in one of two ways. It asks for it, in a host function: then its stack pointer is all there
//! is to keep, everything else lies on its stack. Or an interrupt finds it in its compiled code: then all its
//! registers are kept in [`Interrupted`]. In the runtime's own code it is never stopped by an interrupt, so
//! that nobody else ever runs while a lock is held or the heap is half changed.
//!
//! The scheduler runs on the runtime's own stack, and every switch is from it or to it.

use crate::arena::Arena;
use crate::container::Container;
use crate::heap;
use crate::platform::{self, ThreadWords};
use crate::scheduler;
use crate::upcall::{self, Interrupted};
use alloc::boxed::Box;
use core::arch::naked_asm;
use core::cell::{Cell, UnsafeCell};
use core::ops::Range;
use core::sync::atomic::AtomicU64;
use sentient_abi::boot_module::container_flags;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::{FULL_WEIGHT, Status};
use sentient_wasi::{Files, Wait};

/// What a thread is up to.
#[derive(Clone, Copy)]
pub enum State {
    /// It could run.
    Ready,
    /// It waits.
    Waiting(Wait),
    /// It is over, and never runs again.
    Ended(ContainerEnd),
    /// It has trapped, and is kept until the host puts it back, which makes it another state, or kills it.
    Held,
}

/// How a thread goes on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    /// It has not begun.
    Fresh,
    /// In a host function, by itself.
    InHost,
    /// In its compiled code, by an interrupt.
    InCode,
}

/// One thread. Only the scheduler and the thread itself touch it, never both at a time.
pub struct Thread {
    /// Index of its container.
    pub index: u32,
    /// Where its compiled code lies.
    pub code: Range<usize>,
    /// The container's region, with the stack in it.
    pub region: Range<usize>,
    /// What it is up to.
    pub state: Cell<State>,
    /// Where it stopped.
    pub stopped: Cell<Stopped>,
    /// CPU time it may use, in nanoseconds; 0 for any.
    pub limit_ns: u64,
    /// CPU time used, without the turn it may be having, in nanoseconds.
    pub used_ns: Cell<u64>,
    /// Its place in the order of turns: CPU time used, by its weight, but for what it slept through.
    pub virtual_ns: Cell<u64>,
    /// Its part of the processor where others want it too, from 1 to [`FULL_WEIGHT`].
    pub weight: u32,
    /// The host does not want it to run.
    pub paused: Cell<bool>,
    /// What had [happened](crate::network::changes) to its container's sockets when it began to wait.
    pub sockets_seen: Cell<u64>,
    /// It is to be [held](State::Held) if it traps.
    pub holds: bool,
    /// Functions of the runtime's that it has called.
    pub calls: Cell<u64>,
    /// It is amid a call that asks the host about a volume: nobody else is to touch what the container has.
    pub asks_host: Cell<bool>,
    /// The container whose files its container has.
    pub files_of: Option<u32>,
    /// What its container has.
    arena: &'static Arena,
    /// Most bytes of linear memory there may be.
    memory_limit: u64,
    /// It is to end with this at its next host function.
    pub doomed: Cell<Option<ContainerEnd>>,
    /// Its container is over, and only its last words are not.
    pub is_over: Cell<bool>,
    container: UnsafeCell<Container>,
    stack_pointer: Cell<u64>,
    interrupted: UnsafeCell<Interrupted>,
    words: Cell<ThreadWords>,
}

/// Stack pointer of the scheduler while a thread runs.
static SCHEDULER: AtomicU64 = AtomicU64::new(0);

impl Thread {
    /// A thread that runs `container`. It lies in that one's region, too.
    pub fn new(container: Container) -> Box<Self> {
        let arena = container.arena;
        let make = || Box::new(Self::of(container));
        let thread = heap::within(arena, make);
        // What `switch` pops: six registers, the first the thread's address, and where to return to.
        // Two words more put `begin` on a 16-byte boundary.
        let first = [&raw const *thread as u64, 0, 0, 0, 0, 0, begin as *const () as u64, 0, 0];
        let at = thread.region.end - size_of_val(&first);
        // SAFETY: the top of the stack, at the end of the container's own region, which is mapped, writable
        // and not in use.
        unsafe { (at as *mut [u64; 9]).write(first) }
        thread.stack_pointer.set(at as u64);
        thread
    }

    fn of(container: Container) -> Self {
        Self {
            index: container.index,
            code: container.image.code(),
            region: container.region.clone(),
            state: Cell::new(State::Ready),
            stopped: Cell::new(Stopped::Fresh),
            limit_ns: container.config.cpu_limit_ns,
            weight: container.config.cpu_weight,
            paused: Cell::new(false),
            sockets_seen: Cell::new(0),
            holds: container.config.flags & container_flags::HOLD != 0,
            calls: Cell::new(0),
            asks_host: Cell::new(false),
            files_of: container.files_of,
            arena: container.arena,
            memory_limit: container.config.memory_limit,
            used_ns: Cell::new(0),
            virtual_ns: Cell::new(0),
            doomed: Cell::new(None),
            is_over: Cell::new(false),
            container: UnsafeCell::new(container),
            stack_pointer: Cell::new(0),
            interrupted: UnsafeCell::new(Interrupted::NONE),
            words: Cell::new(ThreadWords::default()),
        }
    }

    /// CPU time it may use, if that is limited now.
    pub fn limit(&self) -> Option<u64> {
        (self.limit_ns > 0 && self.doomed.get().is_none() && !self.is_over.get()).then_some(self.limit_ns)
    }

    /// Whether it may run when it can. One that is to end may, in any case.
    pub fn may_run(&self) -> bool {
        !self.paused.get() || self.doomed.get().is_some()
    }

    /// It has had the processor for so long.
    pub fn has_run(&self, ns: u64) {
        self.used_ns.set(self.used_ns.get().saturating_add(ns));
        // The configuration has no weight of 0.
        let weighted = ns.saturating_mul(u64::from(FULL_WEIGHT)).checked_div(u64::from(self.weight));
        self.virtual_ns.set(self.virtual_ns.get().saturating_add(weighted.unwrap_or(ns)));
    }

    /// What it takes.
    pub fn status(&self) -> Status {
        Status {
            paused: self.paused.get(),
            weight: self.weight,
            used_ns: self.used_ns.get(),
            memory: self.arena.used(),
            memory_limit: self.memory_limit,
            calls: self.calls.get(),
        }
    }

    /// Its region, if its container is all there and nowhere else.
    ///
    /// # Errors
    /// Why it is not, for people.
    pub fn whole_region(&self) -> Result<Range<usize>, &'static str> {
        if self.arena.is_whole() {
            return Ok(self.region.clone());
        }
        Err(if self.arena.has_borrowed() {
            "it has had more memory than its own"
        } else {
            "it is amid something: try again"
        })
    }

    /// Keeps it from here on, for the host to put back or to kill.
    pub fn hold(&self) {
        self.state.set(State::Held);
        self.arena.rests(true);
    }

    /// Lets the thread run until it stops. Called by the scheduler, on its own stack.
    pub fn run(&self) {
        self.arena.rests(false);
        let mine = platform::exchange(self.words.get());
        // What it allocates is its container's.
        let allocating = heap::enter(Some(self.arena));
        // SAFETY: the thread has stopped as `stopped` says, and its stack is as it left it. It comes back
        // here by `stop` or `leave`, both of which go to the stack pointer that is saved here.
        unsafe {
            match self.stopped.get() {
                Stopped::InCode => resume(SCHEDULER.as_ptr(), self.interrupted.get()),
                Stopped::Fresh | Stopped::InHost => switch(SCHEDULER.as_ptr(), self.stack_pointer.get()),
            }
        }
        heap::enter(allocating);
        self.words.set(platform::exchange(mine));
        // Whoever has asked the host for something would ask again where that is not known, and have it done twice.
        let is_amid = self.doomed.get().is_some() || self.asks_host.get();
        self.arena.rests(!is_amid && !matches!(self.state.get(), State::Ended(_)));
    }

    /// It is to end in this way, at its next host function at the latest.
    pub fn doom(&self, end: ContainerEnd) {
        self.arena.rests(false);
        self.doomed.set(Some(end));
    }

    /// The running thread stops by itself, and goes on here.
    pub fn stop(&self) {
        self.stopped.set(Stopped::InHost);
        // SAFETY: called on this thread's stack; the scheduler waits in `run`.
        unsafe { switch(self.stack_pointer.as_ptr(), *SCHEDULER.as_ptr()) }
    }

    /// The running thread was interrupted in its compiled code: keeps its state and goes to the scheduler.
    ///
    /// # Safety
    /// `state` must be of this thread, in its compiled code: nothing of the runtime is in the middle of
    /// anything.
    pub unsafe fn leave(&self, state: &Interrupted) -> ! {
        self.stopped.set(Stopped::InCode);
        // SAFETY: the scheduler waits in `run` and has no reference to the state; its stack pointer was
        // saved there. What lies on the upcall's stack is not needed any more.
        unsafe {
            self.interrupted.get().write(*state);
            abandon(*SCHEDULER.as_ptr())
        }
    }

    /// The state of a thread that was stopped in its code.
    pub fn interrupted(&self) -> Option<&Interrupted> {
        // SAFETY: only written while the thread runs, when nobody else does.
        (self.stopped.get() == Stopped::InCode).then(|| unsafe { &*self.interrupted.get() })
    }

    /// Does something with its container's files, while it is stopped.
    pub fn with_files<T>(&mut self, work: impl FnOnce(Files<'_>) -> T) -> T {
        let arena = self.arena;
        heap::within(arena, || work(self.container.get_mut().state().wasi.files()))
    }

    /// The container, from its scheduler.
    ///
    /// # Safety
    /// The thread must not go on while the reference lives, unless it has ended.
    pub unsafe fn container(&self) -> &Container {
        // SAFETY: the caller's contract.
        unsafe { &*self.container.get() }
    }
}

/// First code of a thread: `r15` has its address.
#[unsafe(naked)]
unsafe extern "C" fn begin() {
    naked_asm!("xor ebp, ebp", "mov rdi, r15", "call {main}", "ud2", main = sym main)
}

extern "C" fn main(thread: &Thread) -> ! {
    // SAFETY: only the thread itself uses its container until it has ended.
    let end = unsafe { (*thread.container.get()).run() };
    thread.state.set(State::Ended(end));
    loop {
        scheduler::stop(thread);
    }
}

/// The body of a function (`*mut u64`, where to): saves what a call must keep on the stack and the stack pointer
/// where the first argument says, takes the second one as the stack pointer, and goes on at `$target`.
/// [`restore`] is the way back.
macro_rules! save_and_go_on_at {
    ($target:path) => {
        naked_asm!(
            "push rbp",
            "push rbx",
            "push r12",
            "push r13",
            "push r14",
            "push r15",
            "mov [rdi], rsp",
            "mov rsp, rsi",
            "jmp {target}",
            target = sym $target,
        )
    };
}

/// Goes on where another stack pointer was saved.
#[unsafe(naked)]
unsafe extern "C" fn switch(save: *mut u64, to: u64) {
    save_and_go_on_at!(restore)
}

/// As [`switch`], to a state that an interrupt has left.
#[unsafe(naked)]
unsafe extern "C" fn resume(save: *mut u64, state: *mut Interrupted) {
    save_and_go_on_at!(upcall::resume)
}

/// Goes on where a stack pointer was saved, and saves nothing.
#[unsafe(naked)]
unsafe extern "C" fn abandon(to: u64) -> ! {
    naked_asm!("mov rsp, rdi", "jmp {restore}", restore = sym restore)
}

#[unsafe(naked)]
unsafe extern "C" fn restore() {
    naked_asm!("pop r15", "pop r14", "pop r13", "pop r12", "pop rbx", "pop rbp", "ret")
}
