//! How much standard input of containers may wait until the guest takes it.

use super::shared::lock;
use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Most bytes that wait for one container: whoever has more waits with it.
const MOST: usize = 256 << 10;

/// Bytes that wait, by container.
#[derive(Debug, Default)]
pub(super) struct InputRoom {
    waiting: Mutex<BTreeMap<u32, usize>>,
    changed: Condvar,
}

impl InputRoom {
    /// Waits until there is room for some of `len` bytes, and takes it; 0 if there is none within `patience`.
    pub(super) fn take(&self, container: u32, len: usize, patience: Duration) -> usize {
        let deadline = Instant::now() + patience;
        let mut waiting = lock(&self.waiting);
        loop {
            let held = waiting.entry(container).or_default();
            let taken = len.min(MOST.saturating_sub(*held));
            *held += taken;
            let left = deadline.saturating_duration_since(Instant::now());
            if taken > 0 || left.is_zero() {
                return taken;
            }
            waiting = self.changed.wait_timeout(waiting, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Gives room back: so many bytes do not wait any more.
    pub(super) fn give_back(&self, container: u32, len: usize) {
        if let Some(held) = lock(&self.waiting).get_mut(&container) {
            *held = held.saturating_sub(len);
        }
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_taken_waited_for_and_given_back() {
        let room = InputRoom::default();
        let now = Duration::ZERO;
        assert_eq!(room.take(1, MOST - 1, now), MOST - 1);
        assert_eq!(room.take(1, 10, now), 1, "as much as there is");
        assert_eq!(room.take(1, 10, Duration::from_millis(5)), 0);
        assert_eq!(room.take(2, 10, now), 10, "others have their own");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| room.take(1, 10, Duration::from_secs(60)));
            room.give_back(1, 4);
            assert_eq!(waiting.join().ok(), Some(4));
        });
    }
}
