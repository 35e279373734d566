//! What the next snapshot of a running machine builds on, and the work on it.

use crate::cache::{PageCache, SnapshotPages};
use crate::error::ControlError;
use crate::history::History;
use sentient_abi::region::{Region as GuestRegion, RegionKind};
use sentient_snapshot::capture::{Capture as Hashing, Details};
use sentient_snapshot::layout::{Layout, Region};
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::page::Page;
use sentient_snapshot::record::{ContainerEntry, OutputPosition, Record, SignedRecord, SnapshotId};
use sentient_snapshot::store::Kind;
use sentient_vmm::Ended;
use sentient_vmm::machine::state::MachineState;
use sentient_vmm::machine::{Door, StopHandle, Stopped};
use sentient_vmm::snapshots::capture::{self, Capture, Extent};
use sentient_vmm::snapshots::page::PageBuffer;
use sentient_vmm::snapshots::rollback::{self, Done};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

pub use crate::containers::Containers;

/// Pages of room that a capture finds touched already.
const ROOM: usize = 1024;

const PAGE: u64 = sentient_abi::PAGE_SIZE;

/// What the machine's memory was at the last snapshot or rollback, and what is kept of others.
#[derive(Debug, Default)]
pub struct Live {
    /// `None` if it is not known: the log of written pages was lost. The next capture is of everything.
    head: Option<MemoryMap>,
    /// Digest of the kernel that runs.
    kernel: [u8; 32],
    /// Pages in memory.
    pub cache: PageCache,
    buffer: PageBuffer,
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

/// What comes back from the vCPU's thread after a rollback.
pub struct Outcome {
    /// What the next one builds on.
    pub live: Live,
    /// The snapshot that was kept, and what was done.
    pub result: Result<(Option<SnapshotId>, Done), Failure>,
}

/// Who keeps where the machine was, and what to call it.
pub type Keeper = (Arc<History>, Arc<Containers>, String);

impl Live {
    /// Of a machine that has just booted a kernel with this digest.
    #[must_use]
    pub fn booted(kernel: [u8; 32]) -> Self {
        Self { kernel, buffer: PageBuffer::with_room(ROOM), ..Self::default() }
    }

    /// Of a machine that has just been restored from a snapshot.
    #[must_use]
    pub fn restored(record: &Record, pages: SnapshotPages) -> Self {
        let SnapshotPages { map, cache, .. } = pages;
        Self { head: Some(map), kernel: record.kernel, cache, buffer: PageBuffer::with_room(ROOM) }
    }

    /// Stops the guest and copies what has changed.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn capture(&mut self, door: &Door, containers: &Arc<Containers>) -> Result<Instant, ControlError> {
        let extent = self.extent();
        let buffer = std::mem::take(&mut self.buffer);
        let containers = Arc::clone(containers);
        let captured = door.stopped(move |machine| Instant::take(machine, extent, buffer, &containers));
        let captured =
            captured.map_err(|_| ControlError::Conflict("the machine is not running any more".into()))?;
        self.lost_unless(captured)
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
        let done = self.store(history, &instant, message, tag);
        self.buffer = instant.capture.buffer;
        self.lost_unless(done)
    }

    fn store(
        &mut self,
        history: &History,
        instant: &Instant,
        message: &str,
        tag: Option<&str>,
    ) -> Result<Committed, ControlError> {
        let capture = &instant.capture;
        let layout = layout(capture, history.description().ram_bytes)?;
        let dirty: Vec<(u64, &Page)> = capture.pages().collect();
        let details = Details {
            machine: history.description().id.0,
            parent: history.timeline().head()?,
            created_unix_ns: crate::session::now(),
            message: message.to_owned(),
            kernel: self.kernel,
            containers: instant.containers.clone(),
            outputs: instant.outputs.clone(),
        };
        let hashing =
            Hashing { previous: self.head.as_ref(), layout: &layout, dirty: &dirty, state: &capture.state };
        let mut commit = hashing.commit(details)?;
        let added = commit.store(history.store())?;
        let signed = SignedRecord::sign(commit.record().clone(), history.key())?;
        history.add(&signed, tag)?;
        let memory = commit.memory().clone();
        for (number, page) in &dirty {
            self.cache.insert(memory.page_hash(*number), page);
        }
        self.head = Some(memory);
        Ok(Committed { id: signed.id(), dirty_pages: dirty.len() as u64, stored_bytes: added.bytes })
    }

    /// The state of vCPU and devices in a snapshot.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn state_of(&self, history: &History, record: &Record) -> Result<MachineState, ControlError> {
        let bytes = history.store().session()?.object(Kind::State, record.state)?;
        Ok(MachineState::decode(&bytes).map_err(sentient_vmm::MachineError::from)?)
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

    /// On the vCPU's thread: takes a last snapshot, and ends the machine there. How long copying took.
    pub fn last(
        mut self,
        machine: &mut Stopped<'_>,
        history: &History,
        containers: &Containers,
        stop: &StopHandle,
    ) -> (Self, Result<(Committed, Duration), ControlError>) {
        let (extent, buffer) = (self.extent(), std::mem::take(&mut self.buffer));
        let taken = Instant::take(machine, extent, buffer, containers);
        let pause = taken.as_ref().map(|taken| taken.capture.pause).unwrap_or_default();
        let done = taken.and_then(|taken| self.commit(history, taken, "at the stop", None));
        match &done {
            Ok(_) => stop.stop_here(Ended::Terminated),
            Err(_) => self.head = None,
        }
        (self, done.map(|done| (done, pause)))
    }

    /// On the vCPU's thread: keeps where the machine is, if asked, and puts it back.
    pub fn roll_back(
        mut self,
        machine: &mut Stopped<'_>,
        mut pages: SnapshotPages,
        state: &MachineState,
        differing: Vec<u64>,
        keeper: Option<Keeper>,
    ) -> Outcome {
        let known = self.head.is_some();
        let mut kept = None;
        let mut differing = differing;
        if let Some((history, containers, message)) = keeper {
            self.cache = std::mem::take(&mut pages.cache);
            let buffer = std::mem::take(&mut self.buffer);
            let extent = self.extent();
            let taken = Instant::take(machine, extent, buffer, &containers);
            let numbers = taken.as_ref().map(|taken| taken.capture.numbers.clone()).unwrap_or_default();
            let committed = taken.and_then(|taken| self.commit(&history, taken, &message, None));
            pages.cache = std::mem::take(&mut self.cache);
            match committed {
                Ok(committed) => kept = Some(committed.id),
                Err(error) => {
                    self.head = None;
                    self.cache = pages.cache;
                    return Outcome { live: self, result: Err(Failure { error, amid: false }) };
                }
            }
            // Their log has been taken by the capture.
            differing = rollback::merge(&differing, &numbers);
        }
        if !known && kept.is_none() {
            match capture::touched(machine) {
                Ok(touched) => differing = rollback::merge(&differing, &touched),
                Err(error) => {
                    self.cache = pages.cache;
                    return Outcome { live: self, result: Err(Failure { error: error.into(), amid: false }) };
                }
            }
        }
        let tables = page_tables(&pages.map);
        let result = match rollback::back_to(machine, state, &differing, tables, &mut pages) {
            Ok(done) => {
                self.head = Some(pages.map);
                Ok((kept, done))
            }
            Err(failed) => {
                self.head = None;
                Err(Failure { error: failed.error.into(), amid: failed.amid })
            }
        };
        self.cache = pages.cache;
        Outcome { live: self, result }
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
    let name = region.name.split(|byte| *byte == 0).next().unwrap_or_default();
    Region {
        name: String::from_utf8_lossy(name).into_owned(),
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
