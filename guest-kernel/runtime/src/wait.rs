//! Waiting: the processor sleeps until one of the things a container waits for has come.

use crate::console::{self, InputState};
use crate::{clock, cpu_limit, gate, heartbeat};
use core::future::Future;
use core::pin::Pin;
use core::task::{Context, Poll, Waker};
use sentient_wasi::Wait;

/// Sleeps until `wait` is over.
pub fn until(container: u32, wait: Wait) {
    if is_over(container, wait) {
        return;
    }
    cpu_limit::pause();
    loop {
        console::prepare_sleep();
        if is_over(container, wait) {
            break;
        }
        if console::has_news() {
            continue;
        }
        let left = wait.until_ns.map_or(u64::MAX, |deadline| deadline.saturating_sub(clock::monotonic_ns()));
        let soonest = left.min(heartbeat::due_in_ns());
        if soonest < u64::MAX {
            clock::arm_timer(soonest);
        }
        gate::idle();
        heartbeat::beat_if_due();
    }
    console::end_sleep();
    cpu_limit::resume();
}

fn is_over(container: u32, wait: Wait) -> bool {
    let anything = wait.stdin || wait.stdout || wait.stderr || wait.until_ns.is_some();
    !anything
        || (wait.stdin && !matches!(console::input_state(container), InputState::Empty))
        || ((wait.stdout || wait.stderr) && console::output_room() > 0)
        || wait.until_ns.is_some_and(|deadline| clock::monotonic_ns() >= deadline)
}

/// A future that is ready when `wait` is over: how a host function waits.
pub struct Waiting {
    container: u32,
    wait: Wait,
    asked: bool,
}

/// Waits without holding the processor.
pub fn for_container(container: u32, wait: Wait) -> Waiting {
    Waiting { container, wait, asked: false }
}

/// What the pending container waits for; the one task there is leaves it here for [`run`].
static PENDING: spin::Mutex<Option<(u32, Wait)>> = spin::Mutex::new(None);

impl Future for Waiting {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.asked {
            return Poll::Ready(());
        }
        self.asked = true;
        *PENDING.lock() = Some((self.container, self.wait));
        Poll::Pending
    }
}

/// Runs a future to its end, sleeping whenever it waits.
pub fn run<F: Future>(future: F) -> F::Output {
    let mut future = core::pin::pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
        let pending = PENDING.lock().take();
        if let Some((container, wait)) = pending {
            until(container, wait);
        }
    }
}
