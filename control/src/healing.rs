//! Putting one container back, while its machine and its neighbours go on.
//!
//! A container that is at rest is its region (`sentient_abi::container_header`). So the guest is asked to come to where no
//! container is being run, the pages of its region that differ are put back, and it goes on from there: it notices as little
//! as after a rollback, and its neighbours nothing. What it has been sent on its standard input and has not read stays; what it
//! had written by then stays written.

use crate::api::{Heal, Healed};
use crate::cache::SnapshotPages;
use crate::error::ControlError;
use crate::history::short;
use crate::live::{Live, RegionTarget};
use crate::session::Session;
use sentient_abi::PAGE_SIZE;
use sentient_abi::container_header::ContainerHeader;
use sentient_abi::region::RegionKind;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::record::{Record, SignedRecord, SnapshotId};
use sentient_vmm::Ended;
use sentient_vmm::machine::Stopped;
use sentient_vmm::snapshots::region::Outcome;
use sentient_vmm::snapshots::{PageContents, PageSource};
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// How long the guest may take to come to rest.
const PATIENCE: Duration = Duration::from_secs(10);

/// Most snapshots that are looked through for one that has the container.
const LOOK_BACK: u64 = 64;

/// Why a container cannot be put back to a snapshot.
enum Unfit {
    /// It is not in there, or another one has its name there.
    Absent,
    /// It was being run at that instant.
    Running,
}

impl Session {
    /// Puts a container back to how a snapshot has it: this one, or the last one that has it.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if no such container runs; [`ControlError::Conflict`] if no snapshot has it in a
    /// state to go on from. It goes on as it was then.
    pub fn heal_container(&self, name: &str, wanted: &Heal) -> Result<Healed, ControlError> {
        let mut live = self.live();
        let index = self.containers.running(name)?;
        let (to, target) = match &wanted.to {
            Some(to) => {
                let snapshot = self.history.named(to)?;
                let found = self.target(&mut live, &snapshot, name, index)?;
                (snapshot.id(), found.map_err(|unfit| refusal(name, Some(snapshot.id()), &unfit))?)
            }
            None => self.last_target(&mut live, name, index, 0)?,
        };
        self.put_container_back(&mut live, (name, index), (to, target), wanted.to.is_some())
    }

    /// Puts a container back to so many snapshots before the last one that has it, or to the oldest that does.
    pub(crate) fn heal_back(&self, live: &mut Live, name: &str, back: usize) -> Result<Healed, ControlError> {
        let index = self.containers.running(name)?;
        let found = self.last_target(live, name, index, back)?;
        self.put_container_back(live, (name, index), found, false)
    }

    fn put_container_back(
        &self,
        live: &mut Live,
        (name, index): (&str, u32),
        (to, target): (SnapshotId, RegionTarget),
        is_named: bool,
    ) -> Result<Healed, ControlError> {
        let (taken, history) = (live.lend(), Arc::clone(&self.history));
        let put_back = move |machine: &mut Stopped<'_>| taken.put_back_region(machine, &target, &history);
        let (after, result) = self.door.stopped_at_rest(PATIENCE, put_back)?;
        *live = after;
        match result {
            Ok(Outcome::Back(done)) => {
                self.containers.came_back(name);
                self.containers.disconnect(index);
                // So that the guest looks at what there is to run.
                self.guest.ask(index);
                let pause_us = u64::try_from(done.pause.as_micros()).unwrap_or(u64::MAX);
                let (container, to) = (name.to_owned(), to.to_string());
                Ok(Healed { container, to, pages: done.pages as u64, pause_us })
            }
            Ok(Outcome::Elsewhere) => Err(refusal(name, is_named.then_some(to), &Unfit::Absent)),
            Ok(Outcome::NotAtRest) => Err(ControlError::Conflict(format!(
                "`{name}` was started just now, is about to end, or is in the midst of something that takes long"
            ))),
            Err(failure) if failure.amid => {
                self.stop.stop(Ended::UnexpectedExit(format!(
                    "putting a container back failed half way: {}",
                    failure.error
                )));
                Err(failure.error)
            }
            Err(failure) => Err(failure.error),
        }
    }

    /// The snapshot `back` before the last one, from the current one back, that has the container at rest; the oldest such one if
    /// there are not so many.
    pub(crate) fn last_target(
        &self,
        live: &mut Live,
        name: &str,
        index: u32,
        back: usize,
    ) -> Result<(SnapshotId, RegionTarget), ControlError> {
        let timeline = self.history.timeline();
        let current = self.history.current()?.id();
        let (mut was_running, mut left, mut found) = (false, back, None);
        for id in std::iter::once(current).chain(timeline.ancestors(current, LOOK_BACK)?) {
            match self.target(live, &timeline.get(id)?, name, index)? {
                Ok(target) if left == 0 => return Ok((id, target)),
                Ok(target) => {
                    left -= 1;
                    found = Some((id, target));
                }
                Err(Unfit::Running) => was_running = true,
                Err(Unfit::Absent) => {}
            }
        }
        if let Some(found) = found {
            return Ok(found);
        }
        let unfit = if was_running { Unfit::Running } else { Unfit::Absent };
        Err(refusal(name, None, &unfit))
    }

    /// The container's region in a snapshot.
    fn target(
        &self,
        live: &mut Live,
        snapshot: &SignedRecord,
        name: &str,
        index: u32,
    ) -> Result<Result<RegionTarget, Unfit>, ControlError> {
        let Some(pages) = region_in(snapshot.record(), name, index) else { return Ok(Err(Unfit::Absent)) };
        let mut now = [0; PAGE_SIZE as usize];
        let read = self.memory.read(pages.start, &mut now);
        let Some(now) = read.ok().and_then(|()| ContainerHeader::parse(&now)) else {
            return Ok(Err(Unfit::Absent));
        };
        let map = match live.map_of(snapshot.id()) {
            Some(map) => map,
            None => MemoryMap::load(snapshot.record(), &self.history.store().session()?)?,
        };
        let mut differing = live.differing(&map);
        differing.retain(|number| pages.contains(number));
        let reading = || ControlError::io("reading the snapshot");
        let mut source = SnapshotPages { map: &map, cache: &mut live.cache, store: self.history.store() };
        let then = match source.pages(&[pages.start]).map_err(reading())?.first() {
            Some(PageContents::Bytes(page)) => ContainerHeader::parse(*page),
            _ => None,
        };
        // What it had of the kernel's memory then, it may have given back since.
        let is_it = |then: &ContainerHeader| then.life == now.life && then.borrowed == now.borrowed;
        let Some(then) = then.filter(is_it) else { return Ok(Err(Unfit::Absent)) };
        if !then.is_at_rest() {
            return Ok(Err(Unfit::Running));
        }
        // Whatever is not in memory is read before anything stops.
        source.load(&differing).map_err(reading())?;
        Ok(Ok(RegionTarget { map, pages, differing, container: (index, now.life) }))
    }
}

/// Pages of a container's region, by number.
fn region_in(record: &Record, name: &str, index: u32) -> Option<Range<u64>> {
    let container =
        record.containers.iter().find(|container| container.name == name && container.index == index)?;
    let region = record
        .regions
        .iter()
        .find(|region| region.kind == RegionKind::Container as u32 && region.base == container.base)?;
    let first = region.base / PAGE_SIZE;
    Some(first..first + region.pages)
}

/// Why a container cannot be put back to a snapshot, or, where none is named, to any.
fn refusal(name: &str, snapshot: Option<SnapshotId>, unfit: &Unfit) -> ControlError {
    let has = |what: &str| match snapshot {
        Some(id) => format!("the snapshot {} does not have `{name}` {what}", short(id)),
        None => format!("no snapshot has `{name}` {what}"),
    };
    ControlError::Conflict(match unfit {
        Unfit::Absent => format!(
            "{}; `sentctl snapshot` takes one, and `sentctl matrixbox restart {name}` starts it anew",
            has("as it was last started")
        ),
        Unfit::Running => format!(
            "{}; `sentctl pause {name}` before a snapshot makes one that does, and `sentctl rollback` puts the whole \
             machine back",
            has("at rest: the guest was in the midst of something that took long")
        ),
    })
}
