//! Looking now and then whether what nobody writes is what it was: the kernel's code and constants, and containers' images.
//!
//! They are compared with the page hashes of the snapshot that the machine stands at, while the guest runs: a fraction of a
//! millisecond for a megabyte. A page that is another one is a fault of the guest's as a panic is: what has executed it may have
//! done anything.

use super::kernel::is_frozen;
use crate::session::Session;
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::Region;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::page::hash_page;
use sentient_vmm::Ended;
use sentient_vmm::machine::Stopped;
use sentient_vmm::snapshots::kernel::pages_of;
use sentient_vmm::snapshots::{MemoryReader, dirty, regions};

/// A page that is not what it was.
struct Damage {
    page: u64,
    /// The name of its region.
    region: String,
}

impl Session {
    /// Looks, and has what was found seen to; `false` if somebody is at work on the machine just now.
    pub(super) fn check_frozen(&self) -> bool {
        // Whoever has it changes what is being looked at.
        let Some(live) = self.live_now() else { return false };
        // Where the log of written pages was lost, the code is still that of the snapshot.
        let Some(head) = live.head().cloned().or_else(|| self.current_map()) else { return true };
        let Some(first) = self.damage(&head).into_iter().next() else { return true };
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
        if let Ok(Some(Damage { page, region })) = noted {
            self.door.accuse(Ended::Corrupted { region, page: page * PAGE_SIZE });
        }
        true
    }

    fn current_map(&self) -> Option<MemoryMap> {
        let current = self.history.current().ok()?;
        MemoryMap::load(current.record(), &self.history.store().session().ok()?).ok()
    }

    fn damage(&self, head: &MemoryMap) -> Vec<Damage> {
        let regions = self.door.stopped(|machine| regions_of(machine));
        regions.map(|regions| look(&self.memory, &regions, head)).unwrap_or_default()
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
