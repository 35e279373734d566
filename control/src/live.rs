//! What the next snapshot of a running machine builds on, and the work on it.

use crate::cache::{PageCache, SnapshotPages};
use crate::containers::{Containers, Returning};
use crate::error::ControlError;
use crate::fork::origin::Common;
use crate::history::{History, unix_ns};
use sentient_abi::region::{Region as GuestRegion, RegionKind};
use sentient_snapshot::capture::{Capture as Hashing, Details};
use sentient_snapshot::layout::{Layout, Region};
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::page::Page;
use sentient_snapshot::record::{ContainerEntry, OutputPosition, Record, SignedRecord, SnapshotId};
use sentient_snapshot::store::Store;
use sentient_vmm::Ended;
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::machine::{Door, StopHandle, Stopped};
use sentient_vmm::snapshots::capture::{self, Capture, Extent};
use sentient_vmm::snapshots::page::PageBuffer;
use sentient_vmm::snapshots::region;
use sentient_vmm::snapshots::rollback::{self, Done};
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant as Clock};

/// Pages of room that a capture finds touched already, once the machine is up.
const ROOM: usize = 1024;

/// How long a guest may take to come to where no container is being run, so that a snapshot has all of each in its region:
/// as long as its longest host functions, on a busy host. One that takes longer is captured where it is.
pub const REST_PATIENCE: Duration = Duration::from_millis(100);

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// What the machine's memory was at the last snapshot or rollback, and what is kept of others.
#[derive(Debug, Default)]
pub struct Live {
    /// `None` if it is not known: the log of written pages was lost. The next capture is of everything.
    head: Option<MemoryMap>,
    /// The snapshot whose memory `head` is, if it is one's.
    at: Option<SnapshotId>,
    /// Digest of the kernel that runs.
    kernel: [u8; 32],
    /// Pages in memory.
    pub cache: PageCache,
    buffer: PageBuffer,
    /// What its forks have together.
    common: Option<Common>,
}

/// A snapshot that is hashed, and not stored yet.
pub struct Hashed<'a> {
    /// Its record.
    pub record: &'a Record,
    /// Its page hashes.
    pub map: &'a MemoryMap,
    /// vCPU and devices, encoded.
    pub state: &'a [u8],
    /// Pages that were copied, by ascending number.
    pub dirty: &'a [(u64, &'a Page)],
    /// Pages in memory.
    pub cache: &'a mut PageCache,
    /// What the machine's forks have together.
    pub common: &'a mut Option<Common>,
    /// All other pages.
    pub store: &'a Store,
}

/// A machine at one instant, copied.
#[derive(Debug)]
pub struct Instant {
    /// Its memory and state.
    pub capture: Capture,
    /// Its containers.
    containers: Vec<ContainerEntry>,
    /// What they had written by then: the console was held still, so that this is what the state says, too.
    outputs: Vec<OutputPosition>,
}

impl Instant {
    fn take(
        machine: &mut Stopped<'_>,
        extent: Extent,
        buffer: PageBuffer,
        containers: &Containers,
    ) -> Result<Self, ControlError> {
        let capture = capture::take(machine, extent, buffer)?;
        let entries = containers.entries(&capture.regions);
        Ok(Self { containers: entries, outputs: containers.outputs(), capture })
    }
}

/// A snapshot that is stored, and in the timeline.
#[derive(Clone, Copy, Debug)]
pub struct Committed {
    /// Its id.
    pub id: SnapshotId,
    /// Pages it has copied.
    pub dirty_pages: u64,
    /// Bytes it added to the store.
    pub stored_bytes: u64,
}

/// A rollback that did not come about.
#[derive(Debug)]
pub struct Failure {
    /// Why.
    pub error: ControlError,
    /// The machine must not go on.
    pub amid: bool,
}

/// A snapshot taken on the vCPU's thread.
#[derive(Clone, Debug)]
pub struct Kept {
    /// The snapshot.
    pub committed: Committed,
    /// Pages it has copied.
    numbers: Vec<u64>,
    /// How long copying took.
    pub pause: Duration,
}

/// A machine that was put back.
#[derive(Clone, Copy, Debug)]
pub struct PutBack {
    /// The snapshot that was taken of where it was.
    pub kept: Option<SnapshotId>,
    /// What was put back.
    pub done: Done,
    /// How long the guest stood still.
    pub pause: Duration,
    /// How much of that went into the snapshot, until it was durable.
    pub keeping: Duration,
}

/// Where a machine is to be put back to.
pub struct Target {
    /// The snapshot.
    pub id: SnapshotId,
    /// Its containers.
    pub returning: Returning,
    /// Its page hashes.
    pub map: MemoryMap,
    /// Its vCPU and devices.
    pub state: MachineState,
    /// See [`Live::differing`].
    pub differing: Vec<u64>,
}

/// Where a container is to be put back to.
pub struct RegionTarget {
    /// The snapshot's page hashes.
    pub map: MemoryMap,
    /// Its region: numbers of pages.
    pub pages: Range<u64>,
    /// Those of them that are in [`Live::differing`].
    pub differing: Vec<u64>,
    /// The container: its index, and the number of its [header](sentient_abi::container_header).
    pub container: (u32, u64),
}

impl Live {
    /// Of a machine that has just booted a kernel with this digest.
    #[must_use]
    pub fn booted(kernel: [u8; 32]) -> Self {
        Self { kernel, ..Self::default() }
    }

    /// For the vCPU's thread, which gives it back. Until then, and if it never has it, because the guest has failed or the
    /// machine has ended, nothing is known of the memory but its kernel.
    #[must_use]
    pub fn lend(&mut self) -> Self {
        let left = Self::booted(self.kernel);
        std::mem::replace(self, left)
    }

    /// Touches memory for the next capture: not before the guest runs, because it takes longer than starting it.
    pub fn warm(&mut self) {
        self.buffer = PageBuffer::with_room(ROOM);
    }

    /// Of a machine that has just been restored from a snapshot.
    #[must_use]
    pub fn restored(record: &Record, map: MemoryMap) -> Self {
        Self { head: Some(map), at: Some(record.id()), ..Self::booted(record.kernel) }
    }

    /// Stops the guest, once it is at rest or `patience` is over, and copies what has changed.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn capture(
        &mut self,
        door: &Door,
        containers: &Arc<Containers>,
        patience: Duration,
    ) -> Result<Instant, ControlError> {
        let extent = self.extent();
        let buffer = std::mem::take(&mut self.buffer);
        let containers = Arc::clone(containers);
        let taken = door
            .stopped_at_rest(patience, move |machine| Instant::take(machine, extent, buffer, &containers))?;
        self.lost_unless(taken)
    }

    /// On the vCPU's thread: takes a snapshot, which is durable when this returns.
    fn keep(
        &mut self,
        machine: &mut Stopped<'_>,
        history: &History,
        containers: &Containers,
        message: &str,
    ) -> Result<Kept, ControlError> {
        let (extent, buffer) = (self.extent(), std::mem::take(&mut self.buffer));
        let taken = Instant::take(machine, extent, buffer, containers);
        let instant = self.lost_unless(taken)?;
        let (numbers, pause) = (instant.capture.numbers.clone(), instant.capture.pause);
        Ok(Kept { committed: self.commit(history, instant, message, None)?, numbers, pause })
    }

    fn extent(&self) -> Extent {
        if self.head.is_some() { Extent::Changed } else { Extent::Everything }
    }

    /// A failure after the log of written pages was taken.
    fn lost_unless<T>(&mut self, result: Result<T, ControlError>) -> Result<T, ControlError> {
        if result.is_err() {
            self.head = None;
        }
        result
    }

    /// Hashes, stores and notes a capture. It is durable when this returns.
    ///
    /// # Errors
    /// [`ControlError`]; the snapshots are as before.
    pub fn commit(
        &mut self,
        history: &History,
        instant: Instant,
        message: &str,
        tag: Option<&str>,
    ) -> Result<Committed, ControlError> {
        self.commit_after(history, instant, message, tag, |_| ())
    }

    /// The same, with something to be done before it is stored.
    ///
    /// # Errors
    /// As [`commit`](Self::commit).
    pub fn commit_after(
        &mut self,
        history: &History,
        instant: Instant,
        message: &str,
        tag: Option<&str>,
        hashed: impl FnOnce(Hashed<'_>),
    ) -> Result<Committed, ControlError> {
        let done = self.store(history, &instant, message, tag, hashed);
        self.buffer = instant.capture.buffer;
        self.lost_unless(done)
    }

    fn store(
        &mut self,
        history: &History,
        instant: &Instant,
        message: &str,
        tag: Option<&str>,
        hashed: impl FnOnce(Hashed<'_>),
    ) -> Result<Committed, ControlError> {
        let capture = &instant.capture;
        let layout = layout(capture, history.description().ram_bytes)?;
        let dirty: Vec<(u64, &Page)> = capture.pages().collect();
        let details = Details {
            machine: history.description().id.0,
            parent: history.timeline().head()?,
            created_unix_ns: unix_ns(),
            message: message.to_owned(),
            kernel: self.kernel,
            containers: instant.containers.clone(),
            outputs: instant.outputs.clone(),
        };
        let hashing =
            Hashing { previous: self.head.as_ref(), layout: &layout, dirty: &dirty, state: &capture.state };
        let mut commit = hashing.commit(details)?;
        let judged = history.proofs().judge(history, self.head.as_ref(), commit.record(), commit.memory())?;
        hashed(Hashed {
            record: commit.record(),
            map: commit.memory(),
            state: &capture.state,
            dirty: &dirty,
            cache: &mut self.cache,
            common: &mut self.common,
            store: history.store(),
        });
        let added = commit.store(history.store())?;
        let signed = SignedRecord::sign(commit.record().clone(), history.key())?;
        history.add(&signed, tag)?;
        history.proofs().note(judged);
        let memory = commit.memory().clone();
        for (number, page) in &dirty {
            self.cache.insert(memory.page_hash(*number), page);
        }
        (self.head, self.at) = (Some(memory), Some(signed.id()));
        Ok(Committed { id: signed.id(), dirty_pages: dirty.len() as u64, stored_bytes: added.bytes })
    }

    /// What the machine's memory is, as far as it was hashed.
    #[must_use]
    pub fn head(&self) -> Option<&MemoryMap> {
        self.head.as_ref()
    }

    /// A snapshot's page hashes, if they are known without looking.
    #[must_use]
    pub fn map_of(&self, id: SnapshotId) -> Option<MemoryMap> {
        self.head.clone().filter(|_| self.at == Some(id))
    }

    /// Pages that `target` has otherwise than the machine had them when its log began; or, if that is not
    /// known, all that it uses.
    #[must_use]
    pub fn differing(&self, target: &MemoryMap) -> Vec<u64> {
        match &self.head {
            Some(head) => head.diff(target).into_iter().map(|(gpn, ..)| gpn).collect(),
            None => {
                let mut used = Vec::new();
                target.visit(0..u64::MAX, |gpn, _| used.push(gpn));
                used
            }
        }
    }

    /// On the vCPU's thread: takes a last snapshot, and ends the machine there.
    pub fn last(
        mut self,
        machine: &mut Stopped<'_>,
        history: &History,
        containers: &Containers,
        stop: &StopHandle,
    ) -> (Self, Result<Kept, ControlError>) {
        let kept = self.keep(machine, history, containers, "at the stop");
        if kept.is_ok() {
            stop.stop_here(Ended::Terminated);
        }
        (self, kept)
    }

    /// On the vCPU's thread: keeps where the machine is, if there is a message for it, and puts it back. Gives
    /// what the next one builds on, and what was done.
    pub fn roll_back(
        mut self,
        machine: &mut Stopped<'_>,
        target: Target,
        history: &History,
        containers: &Containers,
        keep: Option<String>,
    ) -> (Self, Result<PutBack, Failure>) {
        let result = self.put_back(machine, target, history, containers, keep);
        (self, result)
    }

    /// On the vCPU's thread: puts a container's region back, and nothing else.
    pub fn put_back_region(
        mut self,
        machine: &Stopped<'_>,
        target: &RegionTarget,
        history: &History,
    ) -> (Self, Result<region::Outcome, Failure>) {
        let also = if self.head.is_some() { Ok(Vec::new()) } else { capture::touched(machine) };
        let result = also.map_err(|error| Failure { error: error.into(), amid: false }).and_then(|also| {
            let RegionTarget { map, pages, differing, container } = target;
            let differing = rollback::merge(differing, &also);
            let mut source = SnapshotPages { map, cache: &mut self.cache, store: history.store() };
            region::put_back(machine, *container, pages.clone(), &differing, &mut source)
                .map_err(|failed| Failure { error: failed.error.into(), amid: failed.amid })
        });
        (self, result)
    }

    fn put_back(
        &mut self,
        machine: &mut Stopped<'_>,
        target: Target,
        history: &History,
        containers: &Containers,
        keep: Option<String>,
    ) -> Result<PutBack, Failure> {
        let started = Clock::now();
        let before = |error| Failure { error, amid: false };
        let Target { id, returning, map, state, differing } = target;
        let kept = keep.map(|message| self.keep(machine, history, containers, &message)).transpose();
        let kept = kept.map_err(before)?;
        let keeping = if kept.is_some() { started.elapsed() } else { Duration::ZERO };
        // Pages whose log has been taken already: by that snapshot, or by a capture that failed.
        let also = match (&kept, &self.head) {
            (Some(kept), _) => kept.numbers.clone(),
            (None, Some(_)) => Vec::new(),
            (None, None) => capture::touched(machine).map_err(|error| before(error.into()))?,
        };
        let differing = rollback::merge(&differing, &also);
        // Until it is done, nobody knows what the memory is.
        self.head = None;
        let mut pages = SnapshotPages { map: &map, cache: &mut self.cache, store: history.store() };
        let done = rollback::back_to(machine, &state, &differing, page_tables(&map), &mut pages)
            .map_err(|failed| Failure { error: failed.error.into(), amid: failed.amid })?;
        (self.head, self.at) = (Some(map), Some(id));
        containers.went_back(returning);
        let kept = kept.map(|kept| kept.committed.id);
        Ok(PutBack { kept, done, pause: started.elapsed(), keeping })
    }
}

/// Pages of the guest's page tables.
fn page_tables(map: &MemoryMap) -> Range<u64> {
    let kind = RegionKind::PageTables as u32;
    let found = map.regions().iter().find(|(region, _)| region.kind == kind);
    // A guest that hides them gets its translations forgotten every time.
    found.map_or(0..u64::MAX, |(region, _)| region.range())
}

/// The guest's regions, and what lies between them. The guest may have been stopped while it gave a piece of
/// its free memory to somebody: until it is done, both say they have it, and the free memory is wrong.
fn layout(capture: &Capture, ram: u64) -> Result<Layout, ControlError> {
    let free = |region: &&GuestRegion| region.kind == RegionKind::Unassigned as u32;
    let mut taken: Vec<Range<u64>> = capture
        .regions
        .iter()
        .filter(|region| !free(region))
        .filter_map(|r| Some(r.base..r.end()?))
        .collect();
    taken.sort_unstable_by_key(|range| range.start);
    let mut regions = Vec::with_capacity(capture.regions.len());
    for region in &capture.regions {
        if free(&region) {
            let whole = region.base..region.end().unwrap_or(region.base);
            regions.extend(without(whole, &taken).map(|range| described(region, range)));
        } else {
            regions.push(described(region, region.base..region.end().unwrap_or(u64::MAX)));
        }
    }
    let ranges = sentient_abi::layout::ram_ranges(ram);
    let memory: Vec<Range<u64>> =
        ranges.iter().filter(|range| range.len > 0).map(|range| range.base..range.base + range.len).collect();
    Ok(Layout::new(regions, &memory)?)
}

fn described(region: &GuestRegion, range: Range<u64>) -> Region {
    Region {
        name: region.name().to_owned(),
        kind: region.kind,
        owner: region.owner,
        access: region.access,
        base: range.start,
        pages: (range.end - range.start) / PAGE,
    }
}

/// What is left of a range without others, which ascend.
fn without(whole: Range<u64>, others: &[Range<u64>]) -> impl Iterator<Item = Range<u64>> {
    let mut left = Vec::new();
    let mut at = whole.start;
    for other in others.iter().filter(|other| other.start < whole.end && other.end > whole.start) {
        if other.start > at {
            left.push(at..other.start);
        }
        at = at.max(other.end);
    }
    if at < whole.end {
        left.push(at..whole.end);
    }
    left.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::single_range_in_vec_init, reason = "results are lists of ranges")]
    fn free_memory_is_what_nobody_else_says_to_have() {
        let left = |others: &[Range<u64>]| without(10..20, others).collect::<Vec<_>>();
        assert_eq!(left(&[]), [10..20]);
        assert_eq!(left(&[0..10, 20..30]), [10..20]);
        assert_eq!(left(&[12..14, 18..25]), [10..12, 14..18]);
        assert_eq!(left(&[5..12, 11..13]), [13..20]);
        assert!(left(&[0..30]).is_empty());
    }
}
