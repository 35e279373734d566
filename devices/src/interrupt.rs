//! The one way a device gets the guest's attention.

use std::io;

/// An edge-triggered interrupt line to the guest.
///
/// The VMM implements it with an irqfd, tests with a counter. Devices share it behind an `Arc`; raising
/// it is cheap, never blocks, and may come from any thread. Raising a line twice before the guest has
/// taken the first is one interrupt, as on hardware: a driver looks at all that has happened.
pub trait Interrupt: Send + Sync {
    /// Raises one edge.
    ///
    /// # Errors
    ///
    /// The error of the mechanism underneath; the guest may then miss an event, so devices pass it on.
    fn raise(&self) -> io::Result<()>;
}
