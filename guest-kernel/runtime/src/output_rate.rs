//! How fast a container may write: so many bytes a second, of which a second's worth may come at once.

/// Nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;

/// Least bytes that are waited for: not one at a time.
const LEAST: u64 = 1024;

/// What may be written, and what has been.
#[derive(Debug)]
pub struct Rate {
    /// Bytes a second; not zero.
    rate: u64,
    /// Bytes that may be written now.
    allowed: u64,
    /// Monotonic time up to which bytes were allowed.
    since: u64,
}

impl Rate {
    /// So many bytes a second.
    pub fn new(rate: u64) -> Self {
        Self { rate, allowed: rate, since: 0 }
    }

    /// Bytes that may be written now.
    ///
    /// # Errors
    /// The time from which on there are some.
    pub fn room(&mut self, now: u64) -> Result<usize, u64> {
        let passed = now.saturating_sub(self.since);
        let more = u128::from(passed) * u128::from(self.rate) / u128::from(SECOND);
        if more > 0 {
            // What is not a whole byte yet goes on counting.
            let used = more * u128::from(SECOND) / u128::from(self.rate);
            self.since = self.since.saturating_add(u64::try_from(used).unwrap_or(passed));
            let more = u64::try_from(more).unwrap_or(u64::MAX);
            self.allowed = self.allowed.saturating_add(more).min(self.rate);
        }
        if self.allowed > 0 {
            return Ok(usize::try_from(self.allowed).unwrap_or(usize::MAX));
        }
        let wanted = LEAST.min(self.rate);
        let wait = u128::from(wanted) * u128::from(SECOND) / u128::from(self.rate);
        Err(now.saturating_add(u64::try_from(wait).unwrap_or(u64::MAX)))
    }

    /// Notes what was written.
    pub fn take(&mut self, bytes: usize) {
        self.allowed = self.allowed.saturating_sub(bytes as u64);
    }
}
