//! The state of one container's WASI layer, and the frame around every call.

use crate::calls::outward::Outward;
use crate::calls::poll::PendingPoll;
use crate::calls::strings::Strings;
use crate::descriptor::Descriptors;
use crate::fs::FileSystem;
use crate::outcome::{Outcome, Stop};
use crate::permissions::Confinement;
use crate::served::Opened;

/// The WASI layer of one container. Made by a [`Builder`](crate::Builder).
///
/// Its methods are the functions of `wasi_snapshot_preview1`, in `calls/` by subject. All of them
/// take the host, the module's whole linear memory and the wasm parameters; see the crate's page.
#[derive(Debug)]
pub struct Wasi {
    pub(crate) args: Strings,
    pub(crate) env: Strings,
    pub(crate) descriptors: Descriptors,
    pub(crate) fs: FileSystem,
    /// What other containers have open of it.
    pub(crate) opened: Opened,
    /// Whom it may connect to, and whom it knows.
    pub(crate) outward: Outward,
    pub(crate) pending: Option<Pending>,
    /// `None` if everything is allowed.
    pub(crate) confinement: Option<Confinement>,
}

/// What a call that blocks needs to know when it is made again.
#[derive(Debug)]
pub(crate) enum Pending {
    /// `sched_yield` has given the others their turn.
    Yield,
    /// `poll_oneoff` has read its subscriptions and fixed its deadlines.
    Poll(PendingPoll),
    /// `sock_recv` waits until its buffers are full.
    Receive(PendingReceive),
}

/// How far a call has got that fills all its buffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PendingReceive {
    /// What it was called with: descriptor, list of buffers and its length.
    pub parameters: [u32; 3],
    /// Bytes that lie in the buffers.
    pub filled: u32,
}

/// What a container holds at the moment, for whoever watches it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// Open descriptors, the standard streams and preopened directories among them.
    pub descriptors: usize,
    /// Files, directories and symbolic links, the root among them.
    pub inodes: u32,
    /// Bytes of [`Limits::file_bytes`](crate::Limits::file_bytes) in use.
    pub file_bytes: u64,
}

impl Wasi {
    /// What the container holds at the moment.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage {
            descriptors: self.descriptors.open(),
            inodes: self.fs.inodes_used(),
            file_bytes: self.fs.bytes_used(),
        }
    }

    /// Forgets a call that was answered with [`Outcome::Block`] and will not be made again, for
    /// instance because a signal ended it. Any call other than the blocked one has the same effect.
    pub fn cancel(&mut self) {
        self.pending = None;
    }

    /// Runs the inside of a call that never waits for the same call made before.
    pub(crate) fn answer(&mut self, call: impl FnOnce(&mut Self) -> Result<(), Stop>) -> Outcome {
        self.pending = None;
        Outcome::from(call(self))
    }
}
