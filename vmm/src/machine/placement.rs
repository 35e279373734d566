//! Which processor a thread of a start goes to, where there are two.
//!
//! Linux often puts a new thread behind the one that made it, on the same processor, and a woken one where it slept,
//! and leaves it there for up to a time slice although the other processor is idle: that costs more than all the rest
//! of a start. Where there are more than two, it does better by itself.
//!
//! Nor is it all the same which thread goes where. KVM waits for SRCU grace periods when it is given memory and
//! interrupt controllers, and on a small machine the kernel's worker that ends one is bound to the boot processor
//! (Linux, kernel/rcu/srcutree.c, `SRCU_SIZE_SMALL`). Where that computes for another thread, the worker waits for a
//! tick, 3 ms, or for several. So the thread that waits for KVM goes there, which leaves it to the worker, and all
//! others go to the other one.

use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

/// The processor that Linux was booted on.
const BOOT_PROCESSOR: usize = 0;

/// What a thread of a start does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// It makes KVM's objects, or begins when they are made, of which the thread that has made them keeps waiting for
    /// the others.
    Kvm,
    /// It does something beside that.
    Beside,
}

/// Takes the calling thread to its processor, of two. From there it may go anywhere again.
pub fn go_to(place: Place) {
    let Ok(all) = sched_getaffinity(None) else { return };
    if all.count() != 2 || !all.is_set(BOOT_PROCESSOR) {
        return;
    }
    let mut there = all;
    match place {
        Place::Kvm => {
            there = CpuSet::new();
            there.set(BOOT_PROCESSOR);
        }
        Place::Beside => there.unset(BOOT_PROCESSOR),
    }
    if !there.is_set(sched_getcpu()) && sched_setaffinity(None, &there).is_ok() {
        let _ = sched_setaffinity(None, &all);
    }
}
