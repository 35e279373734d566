//! When this process started, as far back as it can be known.

use std::time::{Duration, Instant};

/// The start of the process: `main` has begun now, the kernel began before.
///
/// A parent that measures sets `SENTCTL_STARTED_NS` to its monotonic clock just before it starts us; Linux'
/// own record of a process' start is only good to 10 ms.
pub fn process_start() -> Instant {
    let now = Instant::now();
    let told = std::env::var("SENTCTL_STARTED_NS").ok().and_then(|text| text.parse::<u64>().ok());
    let Some(started) = told else { return now };
    let clock = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let clock = Duration::new(clock.tv_sec.unsigned_abs(), clock.tv_nsec.unsigned_abs() as u32);
    let since = clock.saturating_sub(Duration::from_nanos(started));
    now.checked_sub(since).unwrap_or(now)
}
