//! Variables of the nucleus.

use core::ops::Deref;

/// A variable that nobody shares: a [`Cell`](core::cell::Cell), or a [`OnceCell`](core::cell::OnceCell).
pub struct Alone<T>(T);

// SAFETY: there is one processor, and ring 0 is not interrupted (principle 5). What comes all the same, an NMI or an exception, never
// returns to what it has interrupted.
unsafe impl<T> Sync for Alone<T> {}

impl<T> Alone<T> {
    /// With this in it.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for Alone<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
