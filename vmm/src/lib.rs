//! The machine: one KVM virtual machine with one vCPU that boots the SentientOS kernel and runs what the
//! boot module holds.
//!
//! `sentctl` builds a [`MachineConfig`], makes a [`Machine`] of it and runs it to its [`Ended`]. Inside:
//!
//! * [`kvm`]: the only place that speaks to `/dev/kvm`; and, with [`memory`], the only one with `unsafe`;
//! * [`memory`]: guest RAM;
//! * [`handover`]: the kernel, the boot module, region table and page tables, written into RAM;
//! * [`medium`]: the boot modules of machines that are not ours;
//! * [`time`]: what time it is, as the guest is told;
//! * [`bus`]: which device answers a port or an address;
//! * [`snapshots`]: copying a running machine, and putting it back;
//! * [`network`]: containers' ports on the host;
//! * [`streams`]: the process' standard streams as containers' streams;
//! * [`volumes`]: folders of the host, for containers;
//! * [`lifecycle`]: the machine's states and the legal steps between them;
//! * [`machine`]: the threads and the event loop that tie them together.
//!
//! Invariants:
//!
//! 1. Whatever the guest does ends the machine at worst, with an [`Ended`] that says what it did. It
//!    never panics the host, and never blocks it: a guest that does not answer is left behind.
//! 2. When [`Machine::run`] returns, its threads have ended and everything it has opened is closed; what
//!    it was given (standard streams, signals) is as it was.
//! 3. Guest memory is read once per decision, and lengths in it are checked before they are used.

pub mod bus;
#[cfg(any(debug_assertions, feature = "chaos"))]
pub mod chaos;
pub mod config;
pub mod ended;
pub mod error;
pub mod handover;
pub mod host;
pub mod kvm;
pub mod lifecycle;
pub mod machine;
pub mod medium;
pub mod memory;
pub mod network;
pub mod snapshots;
pub mod streams;
pub mod time;
pub mod volumes;

pub use config::{BootProtocol, ContainerRun, MachineConfig};
pub use ended::Ended;
pub use error::MachineError;
pub use machine::{Machine, Report, Stages};
