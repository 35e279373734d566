//! What every device can do, and in which order its owner asks for it.

use std::fmt::Display;

/// The stages in a device's life. The machine (the VMM's thread that owns all devices) is the only
/// caller, in this order:
///
/// ```text
///   new ── [restore] ── start ──┬── pause ── save ──┬── resume ──┬── halt
///                               │         restore ──┘            │
///                               └──── reset (by the machine) ────┘
/// ```
///
/// * [`start`](Self::start) once, before the vCPUs first run;
/// * [`pause`](Self::pause) after all vCPUs have left the guest, [`resume`](Self::resume) before any of
///   them enters it again;
/// * [`save`](Self::save) and [`restore`](Self::restore) only while not yet started or paused;
/// * [`reset`](Self::reset) when the machine reboots, with the vCPUs outside the guest. A driver that
///   resets its own device does so through the device's registers;
/// * [`halt`](Self::halt) once, at the end; afterwards only dropping is useful.
///
/// After `start` and `resume` the owner of a virtio device calls its
/// [`work`](crate::virtio::mmio::MmioTransport::work) until it is done.
///
/// None of the stages waits or fails: a device has no work in flight between two calls, it only has
/// work left undone, which is part of its state.
pub trait Lifecycle {
    /// All that distinguishes this device from a new one of the same configuration: serialisable,
    /// carrying its own version, free of host resources.
    type State;

    /// Lets the device work.
    fn start(&mut self) {}

    /// Stops it: from the return of this call it touches neither guest memory nor its backend.
    fn pause(&mut self) {}

    /// Lets it work again: what was asked of it before the pause is not lost, an interrupt the guest may
    /// have missed is raised again.
    fn resume(&mut self) {}

    /// Puts it into the state of a new device. Backends stay connected.
    fn reset(&mut self);

    /// Stops it for good.
    fn halt(&mut self) {}

    /// The state of a paused device.
    fn save(&self) -> Self::State;

    /// Takes on a saved state. The device is as it was when this fails.
    ///
    /// # Errors
    ///
    /// [`RestoreError`] when the state is of another version, or is none that this device can have.
    fn restore(&mut self, state: &Self::State) -> Result<(), RestoreError>;
}

/// Why a saved state was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError {
    /// The state was written by a build with another layout of it.
    #[error(
        "{device}: the saved state has version {found} and this build reads version {supported}; \
         restore it with the build that saved it"
    )]
    Version {
        /// The device that was to be restored.
        device: &'static str,
        /// Version in the state.
        found: u32,
        /// Version of this build.
        supported: u32,
    },
    /// A field holds what no saved device of this configuration can have.
    #[error(
        "{device}: the saved state has {what} = {found}, but {expected}; \
         it is damaged or belongs to a machine of another configuration"
    )]
    Value {
        /// The device that was to be restored.
        device: &'static str,
        /// The field.
        what: &'static str,
        /// What it holds.
        found: String,
        /// What it may hold.
        expected: String,
    },
}

impl RestoreError {
    /// `Ok` for the supported version.
    pub(crate) fn check_version(device: &'static str, found: u32, supported: u32) -> Result<(), Self> {
        if found == supported { Ok(()) } else { Err(Self::Version { device, found, supported }) }
    }

    /// A refused field.
    pub(crate) fn value(
        device: &'static str,
        what: &'static str,
        found: impl Display,
        expected: impl Display,
    ) -> Self {
        Self::Value { device, what, found: found.to_string(), expected: expected.to_string() }
    }
}
