//! Looking now and then whether what nobody writes is what it was: the kernel's code and constants, and containers' images.
//!
//! They are compared with the page hashes of the snapshot that the machine stands at, while the guest runs: a fraction of a
//! millisecond for a megabyte. A page that is another one is a fault of the guest's as a panic is: what has executed it may have
//! done anything.

use super::News;
use super::kernel::is_frozen;
use crate::session::Session;
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::Region;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::page::hash_page;
use sentient_vmm::machine::Stopped;
use sentient_vmm::machine::gate::CodeGate;
use sentient_vmm::snapshots::kernel::pages_of;
use sentient_vmm::snapshots::{MemoryReader, dirty, regions};
use sentient_vmm::{Ended, MachineError};
use std::sync::Arc;

/// A page that is not what it was.
struct Damage {
    page: u64,
    /// The name of its region.
    region: String,
}

/// What came of looking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Looked {
    /// Nothing: somebody is at work on the machine just now.
    Busy,
    /// All is what it was.
    Right,
    /// Something is not, and the machine stands still for it.
    Wrong,
}

impl Session {
    /// Looks, and has what was found seen to; from here on, output waits for such looks if it is to be held.
    pub(super) fn check_frozen(&self, hold_output: bool) -> Looked {
        // Whoever has it changes what is being looked at.
        let Some(live) = self.live_now() else { return Looked::Busy };
        // Where the log of written pages was lost, the code is still that of the snapshot.
        let Some(head) = live.head().cloned().or_else(|| self.current_map()) else { return Looked::Right };
        let gate = self.recovery.state().gate.clone();
        let regions = self.door.stopped(move |machine| {
            // It has said all that it had to say, so that containers can be vouched for.
            let agrees = gate.is_none_or(|gate| gate.look(machine));
            (regions_of(machine), agrees)
        });
        // It is being recovered, or has ended.
        let Ok((regions, agrees)) = regions else { return Looked::Right };
        let Some(first) = look(&self.memory, &regions, &head).into_iter().next() else {
            return if self.gate(&head, hold_output, agrees) { Looked::Right } else { Looked::Busy };
        };
        tracing::error!(
            page = first.page,
            region = first.region,
            "a page that nobody writes is not what it was"
        );
        // What is noted as written is put back, whatever is done about it.
        let memory = self.memory.clone();
        let noted = self.door.stopped(move |machine: &mut Stopped<'_>| {
            // Images come and go: not while nothing runs.
            let damage = look(&memory, &regions_of(machine), &head);
            dirty::keep(machine.memory, &damage.iter().map(|damage| damage.page).collect::<Vec<_>>());
            damage.into_iter().next()
        });
        drop(live);
        let Ok(Some(Damage { page, region })) = noted else { return Looked::Right };
        self.door.accuse(Ended::Corrupted { region, page: page * PAGE_SIZE });
        Looked::Wrong
    }

    /// Has output wait for looks at the code, if that is `wanted`: at the code that the machine has now, if that it has
    /// `agrees` no more with what output waits for. `false` if that is to be tried again.
    fn gate(&self, head: &MemoryMap, wanted: bool, agrees: bool) -> bool {
        let is_there = self.recovery.state().gate.is_some();
        if wanted == is_there && agrees {
            return true;
        }
        if !wanted {
            if self.door.stopped(CodeGate::remove).is_ok() {
                let mut state = self.recovery.state();
                (state.gate, state.cannot_hold) = (None, false);
            }
            return true;
        }
        let (memory, news, head) = (self.memory.clone(), self.recovery.news.clone(), head.clone());
        let gate = self.door.stopped(move |machine| {
            // Whoever is gone needs no news.
            let gate = CodeGate::new(machine, memory, move || drop(news.send(News::Code)))?;
            // It may have been changed since it was looked at: that is found the next time.
            if gate.pages().any(|(number, page)| hash_page(page) != head.page_hash(number)) {
                return Ok(None);
            }
            let gate = Arc::new(gate);
            gate.stand_before(machine);
            Ok::<_, MachineError>(Some(gate))
        });
        match gate {
            Ok(Ok(Some(gate))) => {
                let mut state = self.recovery.state();
                (state.gate, state.cannot_hold) = (Some(gate), false);
            }
            Ok(Ok(None)) => return false,
            Ok(Err(error)) => {
                tracing::warn!(%error, "output is not held");
                self.recovery.state().cannot_hold = true;
            }
            // It is being recovered, or has ended.
            Err(_) => {}
        }
        true
    }

    fn current_map(&self) -> Option<MemoryMap> {
        let current = self.history.current().ok()?;
        MemoryMap::load(current.record(), &self.history.store().session().ok()?).ok()
    }
}

/// What the guest says it has; nothing if it says nonsense, which others notice.
fn regions_of(machine: &Stopped<'_>) -> Vec<Region> {
    regions::read(machine.memory, machine.places.region_table).unwrap_or_default()
}

fn look(memory: &MemoryReader, regions: &[Region], head: &MemoryMap) -> Vec<Damage> {
    let mut found = Vec::new();
    let mut bytes = [0; PAGE_SIZE as usize];
    for region in regions.iter().filter(|region| is_frozen(region, head)) {
        for page in pages_of(region) {
            let is_it = memory.read(page, &mut bytes).is_ok() && hash_page(&bytes) == head.page_hash(page);
            if !is_it {
                found.push(Damage { page, region: region.name().to_owned() });
            }
        }
    }
    found
}
