//! Output that waits until somebody has looked at the kernel's code.
//!
//! Nothing that a guest does changes its kernel's code: page tables keep it from that. A memory that fails does, or whoever
//! writes to it from outside; and from then on until that is found, containers may be told nonsense, and say some. Where that is
//! worse than output that comes somewhat later, a [`CodeGate`] stands before the devices: what the guest says leaves when the
//! code was looked at after it was said, and found right. That is output commit, as Remus has it (Cully and others, NSDI 2008),
//! with a look in place of a checkpoint.
//!
//! A look compares the code with a copy: some tenths of a millisecond. It also says of which containers it can be vouched that
//! nothing but the right code has ever been at work on them: those that have not been run since. When the code is found to be
//! another one, the others are not to go on as they are.

use super::shared::{Console, lock};
use super::vcpu_thread::Stopped;
use crate::error::MachineError;
use crate::snapshots::kernel::{CODE, is_of, pages_of, runs_at_rest};
use crate::snapshots::page::address;
use crate::snapshots::{MemoryReader, PageBytes, regions};
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::{Region, RegionKind};
use sentient_devices::virtio::console::TRANSMIT_QUEUE;
use sentient_devices::virtio::gate::Gate;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, Weak};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of a page, as a length.
const PAGE: usize = PAGE_SIZE as usize;

/// Most bytes of code that are looked at: what is longer is not our kernel's.
const MOST: u64 = 64 << 20;

/// Bytes that are compared at once: a few, so that what was read of them is still near.
const CHUNK: usize = 4 * PAGE;

/// Containers at rest, by index: which one it was, and how often it had been run.
type Runs = BTreeMap<u32, (u64, u64)>;

/// Whoever is to be told that the code is another one.
type Tell = Box<dyn Fn() + Send + Sync>;

/// The kernel's code as it is to be, and what it was last found to be.
pub struct CodeGate {
    memory: MemoryReader,
    region_table: u64,
    /// Page numbers, and what the pages hold.
    code: Vec<(u64, Vec<u8>)>,
    tell: Tell,
    is_told: AtomicBool,
    vouched: Mutex<Runs>,
}

/// A device's way to it.
struct Way {
    gate: Arc<CodeGate>,
    /// The console, unless the device is that.
    console: Option<Weak<Mutex<Console>>>,
    /// Containers as they were before it was looked how much is said.
    prepared: Mutex<Option<Runs>>,
}

impl CodeGate {
    /// Takes the code of a guest that stands still for what it is to be. `tell` is called when it is found to be another one,
    /// and does not wait.
    ///
    /// # Errors
    /// [`MachineError`] if its regions or their pages cannot be read.
    pub fn new(
        machine: &Stopped<'_>,
        memory: MemoryReader,
        tell: impl Fn() + Send + Sync + 'static,
    ) -> Result<Self, MachineError> {
        let region_table = machine.places.region_table;
        let copying = || MachineError::io("copying the kernel's code");
        let regions: Vec<Region> = regions::read(machine.memory, region_table)?
            .into_iter()
            .filter(|region| is_of(region, &CODE))
            .collect();
        let len = regions.iter().fold(0, |len: u64, region| len.saturating_add(region.len));
        if len > MOST {
            let why = format!("the guest says that it is {len} bytes, and {MOST} are the most");
            return Err(copying()(io::Error::new(io::ErrorKind::InvalidData, why)));
        }
        let copy = |region: &Region| {
            let Range { start, end } = pages_of(region);
            // No more than was allowed above, and a page.
            let mut bytes = vec![0; (end - start) as usize * PAGE];
            machine.memory.read_slice(&mut bytes, address(start)).map_err(io::Error::other)?;
            Ok((start, bytes))
        };
        let code = regions.iter().map(copy).collect::<io::Result<_>>().map_err(copying())?;
        let (tell, is_told, vouched) = (Box::new(tell), AtomicBool::new(false), Mutex::default());
        Ok(Self { memory, region_table, code, tell, is_told, vouched })
    }

    /// The numbers of the pages that are looked at, and what they are to hold.
    pub fn pages(&self) -> impl Iterator<Item = (u64, &PageBytes)> {
        self.code.iter().flat_map(|(first, bytes)| (*first..).zip(bytes.as_chunks::<PAGE>().0))
    }

    /// From here on what the guest says leaves through it.
    pub fn stand_before(self: &Arc<Self>, machine: &mut Stopped<'_>) {
        let way = |console| -> Arc<dyn Gate> {
            Arc::new(Way { gate: Arc::clone(self), console, prepared: Mutex::default() })
        };
        machine.console.set_gate(Some(way(None)));
        let console = Some(Arc::downgrade(machine.shared_console));
        machine.net.set_gate(Some(way(console.clone())));
        machine.volumes.set_gate(Some(way(console)));
    }

    /// What the guest says leaves at once, as usual.
    pub fn remove(machine: &mut Stopped<'_>) {
        machine.console.set_gate(None);
        machine.net.set_gate(None);
        machine.volumes.set_gate(None);
    }

    /// Whether the code is what it is to be.
    #[must_use]
    pub fn is_right(&self) -> bool {
        let Some(memory) = self.memory.0.upgrade() else { return false };
        let mut now = [0; CHUNK];
        let mut is_same = |from: u64, chunk: &[u8]| {
            let now = now.get_mut(..chunk.len()).unwrap_or_default();
            memory.read_slice(now, GuestAddress(from)).is_ok() && now == chunk
        };
        self.code.iter().all(|(first, bytes)| {
            let from = (address(*first).0..).step_by(CHUNK);
            from.zip(bytes.chunks(CHUNK)).all(|(from, chunk)| is_same(from, chunk))
        })
    }

    /// Looks at the code of a guest that stands still and has said all that it had to say.
    pub fn look(&self, _: &Stopped<'_>) -> bool {
        self.opens_for(Some(self.runs()))
    }

    /// Whether nothing but the right code has ever been at work on the container of this index, which lies from this page on,
    /// and is at rest.
    #[must_use]
    pub fn vouches_for(&self, index: u32, first: u64) -> bool {
        let now = self.memory.0.upgrade().and_then(|memory| runs_at_rest(&memory, first));
        now.is_some() && lock(&self.vouched).get(&index).copied() == now
    }

    /// It is vouched for nobody until the next look: the guest is at another point of its life.
    pub fn forget(&self) {
        lock(&self.vouched).clear();
    }

    fn opens_for(&self, runs: Option<Runs>) -> bool {
        let is_right = self.is_right();
        if is_right {
            self.is_told.store(false, Ordering::SeqCst);
            if let Some(runs) = runs {
                *lock(&self.vouched) = runs;
            }
        } else if !self.is_told.swap(true, Ordering::SeqCst) {
            (self.tell)();
        }
        is_right
    }

    /// The containers that are at rest; others may be run meanwhile, and end.
    fn runs(&self) -> Runs {
        let Some(memory) = self.memory.0.upgrade() else { return Runs::new() };
        // Of a guest that has no regions any more, nobody is vouched for.
        let regions = regions::read(&memory, self.region_table).unwrap_or_default();
        let containers = regions.iter().filter(|region| is_of(region, &[RegionKind::Container]));
        containers
            .filter_map(|region| Some((region.owner, runs_at_rest(&memory, pages_of(region).start)?)))
            .collect()
    }
}

impl Way {
    /// Whether all that was said on the console has been passed on: with a container that goes on as it is when the kernel is put
    /// back, what it has said must not be lost. What is said to the other devices is said again.
    fn is_console_empty(&self) -> bool {
        let Some(console) = &self.console else { return true };
        let Some(console) = console.upgrade() else { return false };
        // Whoever has it may wait for this device.
        console.try_lock().is_ok_and(|console| !console.has_untaken(TRANSMIT_QUEUE))
    }
}

impl Gate for Way {
    fn prepare(&self) {
        let runs = self.gate.runs();
        *lock(&self.prepared) = self.is_console_empty().then_some(runs);
    }

    fn opens(&self) -> bool {
        self.gate.opens_for(lock(&self.prepared).take())
    }
}
