//! What components hold handles of, and how long a descriptor of preview 1 stays open for it.

use super::scratch::Scratch;
use crate::container::State;
use alloc::collections::BTreeMap;
use sentient_wasi::{Errno, Stream, Wasi};
use wasmtime::component::{Resource, ResourceTable};

/// Most resources of a container at once: streams, things to wait for, listings. Descriptors have a limit of their own,
/// which is lower.
const MAX_RESOURCES: usize = 2048;

/// Most resources that a container may have of its own kinds, together with ours: entries of tables in its heap.
pub const MAX_HANDLES: usize = 16 << 10;

/// Why an operation failed.
pub struct Failed(pub Errno);

/// What can be waited for.
#[derive(Clone, Copy)]
pub enum Pollable {
    /// It is there.
    Ready,
    /// The monotonic clock shows this.
    At(u64),
    /// The monotonic clock will have shown this after a duration: that takes no permission to read it.
    After(u64),
    /// Something can be read from a descriptor.
    Read(u32),
    /// Something can be written to a descriptor.
    Write(u32),
    /// What a TCP socket has to be waited for: by its resource's number.
    Socket(u32),
}

/// An open file or directory: a descriptor.
#[derive(Clone, Copy)]
pub struct Open(pub u32);

/// Where bytes come from.
#[derive(Clone, Copy)]
pub enum Input {
    /// Standard input.
    Stdin,
    /// A file, from an offset on.
    File(Open, u64),
    /// A connection.
    Socket(Open),
}

/// Where bytes go.
#[derive(Clone, Copy)]
pub enum Output {
    /// A standard stream.
    Standard(Stream),
    /// A file, from an offset on.
    File(Open, u64),
    /// A file's end.
    End(Open),
    /// A connection.
    Socket(Open),
}

/// That a standard stream is a terminal.
pub struct Terminal;

/// The network: there is one.
pub struct Network;

/// The resources of a container.
pub struct Resources {
    pub table: ResourceTable,
    /// How many resources a descriptor is open for. Those that the program began with are not closed.
    users: BTreeMap<u32, u32>,
    /// The first number of a descriptor that the program has opened itself.
    first: u32,
}

impl Resources {
    /// None yet.
    pub fn new(wasi: &Wasi) -> Self {
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let first = u32::try_from(wasi.usage().descriptors).unwrap_or(u32::MAX);
        Self { table, users: BTreeMap::new(), first }
    }

    /// A descriptor was closed by what used it.
    pub fn forget(&mut self, open: Open) {
        self.users.remove(&open.0);
    }

    /// The numbers of descriptors that may be preopened directories.
    pub fn preopened(&self) -> core::ops::Range<u32> {
        3..self.first
    }
}

impl State {
    /// One more resource uses a descriptor.
    pub(super) fn share(&mut self, open: Open) -> Open {
        let users = self.resources.users.entry(open.0).or_insert(0);
        *users = users.saturating_add(1);
        open
    }

    /// A resource that used a descriptor is gone; the last one closes it.
    pub(super) fn release(&mut self, open: Open) -> wasmtime::Result<()> {
        let Some(users) = self.resources.users.get_mut(&open.0) else { return Ok(()) };
        *users = users.saturating_sub(1);
        if *users > 0 {
            return Ok(());
        }
        self.resources.users.remove(&open.0);
        if open.0 >= self.resources.first {
            // There is nobody who could be told.
            let _ =
                self.call(&mut Scratch::new(), |wasi, host, memory| wasi.fd_close(host, memory, open.0))?;
        }
        Ok(())
    }

    /// Gives the program a handle of something.
    pub(super) fn give<T: Send + 'static>(&mut self, what: T) -> wasmtime::Result<Resource<T>> {
        Ok(self.resources.table.push(what)?)
    }

    /// What a handle is of.
    pub(super) fn held<T: Copy + 'static>(&self, handle: &Resource<T>) -> wasmtime::Result<T> {
        Ok(*self.resources.table.get(handle)?)
    }

    /// What a handle was of that the program gives back.
    pub(super) fn taken<T: 'static>(&mut self, handle: Resource<T>) -> wasmtime::Result<T> {
        Ok(self.resources.table.delete(handle)?)
    }
}
