//! A restored machine's memory, while it is being brought: each page when it is first used, all others by and by.
//!
//! The guest runs meanwhile. Nobody gets a page that was not compared with its hash, and a page that does not fit
//! ends the process: whoever waits for it waits until then.
//!
//! Which pages a machine used before its memory was whole last time is kept in a file, and these are brought first, while
//! the guest is being started, which then does not stop for each of them. The file is a guess: whatever it says, the pages are the
//! snapshot's.

use crate::description::note;
use crate::error::ControlError;
use crate::home::MachineFolder;
use rustix::event::Timespec;
use rustix::process::setpriority_process;
use sentient_snapshot::hash::PageHash;
use sentient_snapshot::page::{Page, ZERO_PAGE};
use sentient_snapshot::store::{Reader, Session as StoreSession};
use sentient_vmm::machine::placement::{Place, go_to};
use sentient_vmm::memory::lazy::LazyRam;
use sentient_vmm::snapshots::MemoryWriter;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// Pages brought between two looks at who waits.
const AT_ONCE: usize = 8;
/// For so long it is waited for somebody who needs a page, before the guest runs.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };
/// Priority of the thread that brings pages (setpriority(2)).
const NICENESS: i32 = 15;
/// Most pages that are remembered: 16 MiB.
const MOST_LIKELY: usize = 4096;
/// Most bytes of the file.
const MOST_BYTES: u64 = 64 << 10;
/// Pages of a large page of the host's; of one range of lazy memory at least, aligned: each range costs a system call.
const BLOCK: u64 = sentient_abi::LARGE_PAGE_SIZE / sentient_abi::PAGE_SIZE;

/// So many pages of a block take longer to appear one by one than the whole block at once: 2.8 us each, 225 us.
const DENSE: u32 = 80;

/// Pages of a snapshot by their numbers.
#[derive(Debug)]
pub struct Places {
    /// By hash: where each goes.
    by_hash: Vec<(PageHash, u64)>,
    /// By number.
    by_number: Vec<(u64, PageHash)>,
}

impl Places {
    /// Of these pages.
    #[must_use]
    pub fn new(mut by_hash: Vec<(PageHash, u64)>) -> Self {
        by_hash.sort_unstable();
        let mut by_number: Vec<_> = by_hash.iter().map(|(hash, number)| (*number, *hash)).collect();
        by_number.sort_unstable();
        Self { by_hash, by_number }
    }

    /// Hashes, some more than once.
    pub fn hashes(&self) -> impl Iterator<Item = PageHash> {
        self.by_hash.iter().map(|(hash, _)| *hash)
    }

    /// Numbers, ascending.
    pub fn numbers(&self) -> impl Iterator<Item = u64> {
        self.by_number.iter().map(|(number, _)| *number)
    }

    /// Where a page goes.
    pub fn of(&self, hash: PageHash) -> impl Iterator<Item = u64> {
        let first = self.by_hash.partition_point(|(found, _)| *found < hash);
        self.by_hash
            .iter()
            .skip(first)
            .take_while(move |(found, _)| *found == hash)
            .map(|(_, number)| *number)
    }

    fn hash(&self, number: u64) -> Option<PageHash> {
        let at = self.by_number.binary_search_by_key(&number, |(found, _)| *found).ok()?;
        self.by_number.get(at).map(|(_, hash)| *hash)
    }

    /// Ranges of page numbers, of whole blocks within the RAM of a machine, that all of them lie in.
    #[must_use]
    pub fn ranges(&self, ram: u64) -> Vec<Range<u64>> {
        let pages = |bytes: u64| bytes / sentient_abi::PAGE_SIZE;
        let ram = sentient_abi::layout::ram_ranges(ram);
        let mut ranges: Vec<Range<u64>> = Vec::new();
        for number in self.numbers() {
            if ranges.last().is_some_and(|range| range.contains(&number)) {
                continue;
            }
            let start = number / BLOCK * BLOCK;
            let end = ram
                .iter()
                .map(|range| pages(range.base)..pages(range.base + range.len))
                .find(|range| range.contains(&number))
                .map_or(start + BLOCK, |range| range.end.min(start + BLOCK));
            match ranges.last_mut() {
                Some(range) if range.end == start => range.end = end,
                _ => ranges.push(start..end),
            }
        }
        ranges
    }
}

/// Reads, checks and writes all pages, before the guest runs.
///
/// # Errors
/// [`ControlError`] by the first page that cannot be had.
pub fn fill_now(memory: &MemoryWriter<'_>, reader: &Reader, places: &Places) -> Result<(), ControlError> {
    let mut blocks: BTreeMap<u64, u32> = BTreeMap::new();
    places.numbers().for_each(|number| *blocks.entry(number / BLOCK).or_default() += 1);
    for (block, _) in blocks.iter().filter(|(_, pages)| **pages >= DENSE) {
        memory.prefer_large_page(block * BLOCK);
    }
    reader.read_all(|hash, page| {
        places.of(hash).try_for_each(|number| memory.write(number, page).map_err(ControlError::from))
    })
}

/// Memory on its way.
#[derive(Debug)]
pub struct Filling {
    /// Says when it is whole.
    done: Receiver<()>,
    /// Whether pages are brought that nobody waits for.
    eager: Arc<AtomicBool>,
}

impl Filling {
    /// Has a thread bring pages: those that are likely to be needed, beside whatever else a start takes, then the others.
    /// If that fails, `damaged` is called, and the process ends: the guest or a device may be waiting for a page, and
    /// nobody can take that back. The session lasts until all pages are located.
    ///
    /// # Errors
    /// [`ControlError`] if there can be no thread.
    pub fn begin(
        folder: MachineFolder,
        lazy: LazyRam,
        session: StoreSession,
        places: Places,
        damaged: impl FnOnce(&ControlError) + Send + 'static,
    ) -> Result<Self, ControlError> {
        let (tell, done) = channel();
        let eager = Arc::new(AtomicBool::new(false));
        let wanted = Arc::clone(&eager);
        let fill = move || {
            go_to(Place::Kvm);
            let mut filler =
                Filler { lazy, source: Source::Index(Box::new(session)), places, needed: likely(&folder) };
            match filler.fill(&wanted) {
                Ok(()) => {
                    remember(&folder, &filler.needed);
                    // Nobody asks if the machine has ended.
                    let _ = tell.send(());
                }
                Err(error) => {
                    damaged(&error);
                    filler.refuse_all()
                }
            }
        };
        let thread = std::thread::Builder::new().name("memory".into()).spawn(fill);
        thread.map_err(ControlError::io("starting the thread that brings memory"))?;
        Ok(Self { done, eager })
    }

    /// Has pages brought that nobody waits for, once the guest runs: until then they would take the processors from
    /// those who make it run. Gives what does so, for who does not keep this.
    pub fn begin_all(&self) -> impl FnOnce() + use<> {
        let eager = Arc::clone(&self.eager);
        move || eager.store(true, Relaxed)
    }

    /// Waits until the memory is whole, for so long at most; whether it is.
    #[must_use]
    pub fn wait(&self, patience: Duration) -> bool {
        // Disconnected: it was told before.
        self.done.recv_timeout(patience) != Err(RecvTimeoutError::Timeout)
    }
}

struct Filler {
    lazy: LazyRam,
    source: Source,
    places: Places,
    needed: BTreeSet<u64>,
}

/// Where pages are read.
enum Source {
    /// Where the index says; looking all of them up would hold up the start.
    Index(Box<StoreSession>),
    /// All of them are located.
    Located(Reader),
}

impl Filler {
    /// Brings all pages.
    fn fill(&mut self, eager: &AtomicBool) -> Result<(), ControlError> {
        self.needed.retain(|number| self.places.hash(*number).is_some());
        let likely: BTreeSet<PageHash> =
            self.needed.iter().filter_map(|number| self.places.hash(*number)).collect();
        let likely: Vec<PageHash> = likely.into_iter().collect();
        self.bring(&likely)?;
        // After everybody else on its processor: if they need a page, they wait for it, and it runs. On Linux this
        // is the thread's alone. Where it cannot be had, the guest starts a little later.
        let _ = setpriority_process(None, NICENESS);
        while !eager.load(Relaxed) {
            self.serve(LOOK)?;
        }
        let located = match &self.source {
            Source::Index(session) => session.locate(self.places.hashes())?,
            Source::Located(_) => return Ok(()),
        };
        let left: Vec<PageHash> =
            located.hashes().filter(|hash| likely.binary_search(hash).is_err()).collect();
        self.source = Source::Located(located);
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        for some in left.chunks(AT_ONCE) {
            self.serve(now)?;
            self.bring(some)?;
            // Whoever is woken on this processor waits for a time slice of 3 ms otherwise, nice as this is: the guest's
            // next output would.
            std::thread::yield_now();
        }
        self.lazy.complete().map_err(failed)
    }

    /// Brings what somebody waits for, until for so long nobody does.
    fn serve(&mut self, patience: Timespec) -> Result<(), ControlError> {
        while let Some(number) = self.lazy.wanted(patience).map_err(failed)? {
            self.needed.insert(number);
            match self.places.hash(number) {
                Some(hash) => self.bring(&[hash])?,
                None => self.lazy.put_zeros(number).map_err(failed)?,
            }
        }
        Ok(())
    }

    /// Brings nothing any more, and ends the process. Until it has ended, whoever waits for a page is told that there is
    /// none: it could not end otherwise.
    fn refuse_all(&self) {
        std::thread::spawn(|| std::process::exit(1));
        loop {
            if let Ok(Some(number)) = self.lazy.wanted(Timespec { tv_sec: 1, tv_nsec: 0 }) {
                let _ = self.lazy.refuse(number);
            }
        }
    }

    fn bring(&self, hashes: &[PageHash]) -> Result<(), ControlError> {
        let put = |hash, page: &Page| {
            self.places.of(hash).try_for_each(|number| self.lazy.put(number, page).map_err(failed))
        };
        let wanted = hashes.iter().copied();
        match &self.source {
            Source::Index(session) => session.locate(wanted.clone())?.read_pages(wanted, put)?,
            Source::Located(reader) => reader.read_pages(wanted, put)?,
        }
        if hashes.contains(&PageHash::ZERO) {
            self.places
                .of(PageHash::ZERO)
                .try_for_each(|number| self.lazy.put(number, &ZERO_PAGE).map_err(failed))?;
        }
        Ok(())
    }
}

fn failed(error: std::io::Error) -> ControlError {
    ControlError::io("bringing the machine's memory")(error)
}

/// What was needed last time; nothing, if there is no such file, or no sensible one.
fn likely(machine: &MachineFolder) -> BTreeSet<u64> {
    let mut text = Vec::new();
    let read =
        File::open(machine.working_set()).and_then(|file| file.take(MOST_BYTES).read_to_end(&mut text));
    let numbers: Vec<u64> = read.ok().and_then(|_| serde_json::from_slice(&text).ok()).unwrap_or_default();
    numbers.into_iter().take(MOST_LIKELY).collect()
}

/// Trouble with it costs the next start time, and nothing else.
fn remember(machine: &MachineFolder, needed: &BTreeSet<u64>) {
    let numbers: Vec<&u64> = needed.iter().take(MOST_LIKELY).collect();
    let noted = serde_json::to_string(&numbers)
        .map_err(|error| ControlError::Bug(error.to_string()))
        .and_then(|text| note(&machine.working_set(), &text));
    if let Err(error) = noted {
        tracing::debug!(%error, "the pages a start needs are not remembered");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_whole_blocks_and_end_with_the_ram() {
        let hash = PageHash::ZERO;
        let places = Places::new([3, 511, 512, 2000, 6200].map(|number| (hash, number)).to_vec());
        // 25 MiB are 6400 pages, twelve and a half blocks.
        assert_eq!(places.ranges(25 << 20), [0..1024, 1536..2048, 6144..6400]);
    }
}
