//! Whether what a guest says leaves its machine.
//!
//! A guest whose own code has been changed may say anything. Whoever wants none of that to be heard looks at the code before
//! each thing that is said: a [`Gate`]. What the guest had put into a queue before a look that finds nothing was said by code
//! that is right. What it puts there meanwhile waits for the next look.

/// Stands between a device's queues of what the guest says and whoever is told.
pub trait Gate: Send + Sync {
    /// Called before it is looked how much the guest has said.
    fn prepare(&self);

    /// Whether what it had said by then may leave. If not, it stays in the queue, and is looked at again when the device is
    /// notified or goes on after a pause. Whoever has the device waits for this, so it must not wait for the guest.
    fn opens(&self) -> bool;
}
