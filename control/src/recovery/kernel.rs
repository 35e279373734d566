//! Putting the kernel back, and keeping its containers: `sentctl heal boot`, and the first that is done about a fault.
//!
//! The [copy](KernelPoint) that it is put back to is taken while the machine runs well, soon after containers have come or gone:
//! it is of use as long as they are the same. It is in memory, and costs a fraction of a millisecond of the guest's time.
//!
//! A container that was being run when the fault came is not all in its region. It goes back to the last snapshot that has it at
//! rest; if there is none, the kernel goes on without it, and it is started anew.

use crate::api::KernelHealed;
use crate::cache::SnapshotPages;
use crate::error::ControlError;
use crate::history::History;
use crate::live::{Failure, Live, REST_PATIENCE, RegionTarget};
use crate::session::{How, Session};
use sentient_abi::PAGE_SIZE;
use sentient_abi::container_header::ContainerHeader;
use sentient_abi::region::Region;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_vmm::Ended;
use sentient_vmm::machine::Stopped;
use sentient_vmm::snapshots::kernel::{self, FROZEN, KernelPoint, Known, is_of, pages_of};
use sentient_vmm::snapshots::regions;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long nothing may have become of containers before the kernel is copied, and how long that is put off at most.
const QUIET: Duration = Duration::from_millis(100);
const AT_LAST: Duration = Duration::from_secs(1);

/// When it is tried again, if a container was being run for all the time that it was waited for.
const AGAIN: Duration = Duration::from_secs(1);

/// The kernel as it was last copied, and when it is to be copied again.
#[derive(Default)]
pub(super) struct Point {
    copied: Option<Arc<KernelPoint>>,
    due: Option<Instant>,
    /// Since when it is due.
    since: Option<Instant>,
}

impl Point {
    /// Something has become of containers.
    pub(super) fn changed(&mut self, now: Instant) {
        let since = *self.since.get_or_insert(now);
        self.due = Some((now + QUIET).min(since + AT_LAST));
    }

    /// When it is to be copied.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it was copied since something last became of containers.
    pub(super) fn is_current(&self) -> bool {
        self.copied.is_some() && self.due.is_none()
    }

    fn put_off(&mut self) {
        self.due = Some(Instant::now() + QUIET);
    }

    fn copied(&mut self, point: Option<KernelPoint>) {
        (self.due, self.since) = (None, None);
        match point {
            Some(point) => self.copied = Some(Arc::new(point)),
            None => self.due = Some(Instant::now() + AGAIN),
        }
    }
}

/// What became of containers when the kernel was put back.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rebuilt {
    /// Those that went on as they were.
    pub(super) kept: Vec<String>,
    /// Those that went back to a snapshot.
    pub(super) healed: Vec<String>,
    /// Those that are there no more.
    pub(super) lost: Vec<String>,
    pages: usize,
    pause: Duration,
}

/// What is to be done with the containers that are not as the kernel left them.
#[derive(Default)]
struct Casualties {
    /// Their regions in a snapshot.
    healed: Vec<RegionTarget>,
    /// Their indices.
    lost: Vec<u32>,
}

impl Session {
    /// Copies the kernel, for when it is needed.
    pub(super) fn copy_kernel(&self) {
        // Whoever has it may wait for the guest, and this thread is who helps if that fails.
        let Some(_live) = self.live_now() else { return self.recovery.state().point.put_off() };
        let take = |machine: &mut Stopped<'_>| KernelPoint::take(machine);
        let point = match self.door.stopped_at_rest(REST_PATIENCE, take) {
            Ok(Ok(point)) => point,
            Ok(Err(error)) => {
                tracing::warn!(%error, "the kernel cannot be copied");
                None
            }
            // It is being recovered, or has ended.
            Err(_) => None,
        };
        self.recovery.state().point.copied(point);
    }

    /// Puts the kernel back, and keeps all containers.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if that cannot be: the machine then goes on as it was.
    pub fn heal_boot(&self) -> Result<KernelHealed, ControlError> {
        let mut live = self.live();
        let rebuilt = self.rebuild_kernel(&mut live, How::Keep)?;
        let pause_us = u64::try_from(rebuilt.pause.as_micros()).unwrap_or(u64::MAX);
        Ok(KernelHealed { kept: rebuilt.kept, pages: rebuilt.pages as u64, pause_us })
    }

    pub(super) fn rebuild_kernel(&self, live: &mut Live, how: How) -> Result<Rebuilt, ControlError> {
        let point = self.recovery.state().point.copied.clone();
        let point = point.ok_or_else(|| {
            ControlError::Conflict("the kernel has not been copied since the machine was started".into())
        })?;
        let started = Instant::now();
        let casualties = match how {
            How::Rescue => self.casualties(live, &point)?,
            // They come to rest before it is done, or it is not.
            How::Keep | How::Discard => Casualties::default(),
        };
        let known = self.names_of(&point);
        let is_healed = |index: u32| casualties.healed.iter().any(|target| target.container.0 == index);
        let mut rebuilt = Rebuilt::default();
        for (index, name) in known {
            if casualties.lost.contains(&index) {
                rebuilt.lost.push(name);
            } else if is_healed(index) {
                rebuilt.healed.push(name);
            } else {
                rebuilt.kept.push(name);
            }
        }
        let (taken, history) = (live.lend(), Arc::clone(&self.history));
        let copied = Arc::clone(&point);
        let work =
            move |machine: &mut Stopped<'_>| taken.rebuild_kernel(machine, &copied, &casualties, &history);
        let (after, result) = match how {
            How::Rescue => self.door.rescue(|machine| {
                let (after, result) = work(machine);
                (result.is_ok(), (after, result))
            }),
            How::Keep | How::Discard => self.door.stopped_at_rest(REST_PATIENCE, work),
        }?;
        *live = after;
        match result {
            Ok(pages) => {
                for known in point.containers() {
                    self.containers.disconnect(known.index);
                }
                self.containers.forget_all();
                // So that the guest looks at what there is to run.
                self.guest.ask(0);
                Ok(Rebuilt { pages, pause: started.elapsed(), ..rebuilt })
            }
            Err(failure) => {
                if failure.amid && how != How::Rescue {
                    self.stop.stop(Ended::UnexpectedExit(format!(
                        "putting the kernel back failed half way: {}",
                        failure.error
                    )));
                }
                Err(failure.error)
            }
        }
    }

    /// Names of the point's containers, by index.
    fn names_of(&self, point: &KernelPoint) -> Vec<(u32, String)> {
        let live = self.containers.live_indices();
        live.into_iter()
            .filter(|(index, _)| point.containers().iter().any(|known| known.index == *index))
            .collect()
    }

    /// Containers that the kernel of a point cannot go on with as they are now, while the guest stands still.
    fn casualties(&self, live: &mut Live, point: &KernelPoint) -> Result<Casualties, ControlError> {
        let mut casualties = Casualties::default();
        let names = self.names_of(point);
        // Where output is held and the code is another one, those go on that were not run since it was last found right.
        let gate = self.differing_code();
        let is_vouched =
            |known: &Known| gate.as_ref().is_none_or(|gate| gate.vouches_for(known.index, known.first));
        for known in point.containers() {
            if self.is_kept(known) && is_vouched(known) {
                continue;
            }
            let name = names.iter().find(|(index, _)| *index == known.index);
            let target = match name {
                Some((index, name)) => self.last_target(live, name, *index, 0).map(|(_, target)| target),
                None => Err(ControlError::NotFound("nobody knows it".into())),
            };
            match target {
                Ok(target) => casualties.healed.push(target),
                Err(error) => {
                    tracing::warn!(%error, index = known.index, "the kernel goes on without a container");
                    casualties.lost.push(known.index);
                }
            }
        }
        Ok(casualties)
    }

    fn is_kept(&self, known: &Known) -> bool {
        let mut page = [0; PAGE_SIZE as usize];
        let read = self.memory.read(known.first, &mut page).ok();
        let header = read.and_then(|()| ContainerHeader::parse(&page));
        header.is_some_and(|header| known.is_kept_by(&header))
    }
}

impl Live {
    /// On the vCPU's thread: puts back all that is the kernel's, and those containers that are to go back; gives how many pages.
    fn rebuild_kernel(
        mut self,
        machine: &mut Stopped<'_>,
        point: &KernelPoint,
        casualties: &Casualties,
        history: &History,
    ) -> (Self, Result<usize, Failure>) {
        let result = self.put_kernel_back(machine, point, casualties, history);
        (self, result)
    }

    fn put_kernel_back(
        &mut self,
        machine: &mut Stopped<'_>,
        point: &KernelPoint,
        casualties: &Casualties,
        history: &History,
    ) -> Result<usize, Failure> {
        let conflict = |why: String| Failure { error: ControlError::Conflict(why), amid: false };
        point.fits(machine).map_err(|unfit| conflict(unfit.to_string()))?;
        let Casualties { healed, lost } = casualties;
        let is_casualty = |known: &&Known| {
            lost.contains(&known.index) || healed.iter().any(|target| target.container.0 == known.index)
        };
        let mut others = point.containers().iter().filter(|known| !is_casualty(known));
        if !others.all(|known| KernelPoint::keeps(machine, known)) {
            return Err(conflict(
                "a container is being run, or has been given input just now; try again".into(),
            ));
        }
        let Some(head) = self.head().cloned() else {
            return Err(conflict("the log of written pages was lost".into()));
        };
        let failure = |failed: sentient_vmm::snapshots::rollback::Failed| Failure {
            error: failed.error.into(),
            amid: failed.amid,
        };
        let written = kernel::written(machine).map_err(failure)?;
        let mut pages = 0;
        let all = regions::read(machine.memory, machine.places.region_table);
        for region in
            all.map_err(|error| conflict(error.to_string()))?.iter().filter(|region| is_frozen(region, &head))
        {
            let mut source = SnapshotPages { map: &head, cache: &mut self.cache, store: history.store() };
            let put = kernel::put_range_back(machine, &pages_of(region), (&written, &[]), &mut source);
            pages += put.map_err(failure)?;
        }
        for RegionTarget { map, pages: range, differing, .. } in healed {
            let mut source = SnapshotPages { map, cache: &mut self.cache, store: history.store() };
            let put = kernel::put_range_back(machine, range, (&written, differing), &mut source);
            pages += put.map_err(failure)?;
        }
        let done = point.put_back(machine, lost).map_err(failure)?;
        Ok(pages + done.pages)
    }
}

/// Whether nothing of a region is ever written, and the snapshot that the log of written pages begins with has it.
pub(super) fn is_frozen(region: &Region, head: &MemoryMap) -> bool {
    is_of(region, &FROZEN)
        && head.regions().iter().any(|(known, _)| {
            known.kind == region.kind
                && known.base == region.base
                && known.pages == region.len / PAGE_SIZE
                && known.name == region.name()
        })
}
