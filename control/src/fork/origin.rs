//! The process of a machine that is forked while it runs.

use super::{Connection, Letter, Packet};
use crate::cache::{PageCache, SnapshotPages};
use crate::error::ControlError;
use crate::home::Home;
use crate::live::Hashed;
use crate::lock::Lock;
use crate::session::Session;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use rustix::process::setpriority_process;
use sentient_snapshot::hash::PageHash;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::page::{Page, hash_page};
use sentient_snapshot::record::Record;
use sentient_snapshot::store::Store;
use sentient_vmm::memory::image::{Image, ImageWriter};
use sentient_vmm::snapshots::{MemoryReader, PageBytes, PageContents, PageSource};
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Weak;
use std::time::Duration;

/// How long who asks may take to say what for, and to take what it is given.
const PATIENCE: Duration = Duration::from_secs(5);

/// Priority of writing a fork down (setpriority(2)).
const NICENESS: i32 = 15;

/// Pages that are written at once, and read from the store at once.
const AT_ONCE: usize = 64;

/// Pages that may be otherwise than in the image before there is a new one, at least; then a quarter of the image's.
const CHANGED: usize = 512;

const PAGE: usize = sentient_abi::PAGE_SIZE as usize;

/// Answers who asks for forks, on threads of its own, for as long as there is a session.
///
/// # Errors
/// [`ControlError::Io`] if there can be no thread.
pub fn serve(listening: OwnedFd, session: Weak<Session>, home: Home) -> Result<(), ControlError> {
    let accept = move || {
        loop {
            match accept_with(&listening, SocketFlags::CLOEXEC) {
                Ok(socket) => {
                    let Some(session) = session.upgrade() else { return };
                    let home = home.clone();
                    let answer = move || answer(&Connection(socket), &session, &home);
                    // Without a thread, the socket is closed: a refusal.
                    let _ = std::thread::Builder::new().name("fork".into()).spawn(answer);
                }
                Err(Errno::INTR) => {}
                // Whoever it was has gone, or there are too many files just now.
                Err(error) => {
                    tracing::warn!(%error, "who wants a fork cannot be answered");
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
    };
    let started = std::thread::Builder::new().name("forks".into()).spawn(accept);
    started.map(drop).map_err(ControlError::io("starting the thread that answers who wants forks"))
}

fn answer(clone: &Connection, session: &Session, home: &Home) {
    let asked = clone.set_patience(PATIENCE).and_then(|()| clone.receive());
    let done = match asked {
        Ok((Packet::Fork(name), _)) => session.fork_running(&name, home, clone),
        Ok(_) => Err(ControlError::Request("a machine is asked for forks here, and nothing else".into())),
        Err(error) => Err(ControlError::io("hearing what fork is wanted")(error)),
    };
    if let Err(error) = done {
        tracing::warn!(%error, "no fork");
        let refused = Packet::Refused { kind: error.kind().to_owned(), message: error.to_string() };
        // It may have gone.
        let _ = clone.send(&refused, &[]);
    }
}

/// Memory that the forks of this machine have together.
#[derive(Debug)]
pub struct Common {
    image: Image,
    map: MemoryMap,
}

/// Sends what a fork needs to run.
///
/// # Errors
/// [`ControlError`]; the machine's own snapshot is not concerned.
pub fn hand_over(clone: &Connection, memory: &MemoryReader, hashed: Hashed<'_>) -> Result<(), ControlError> {
    let Hashed { record, map, state, dirty, cache, common, store } = hashed;
    let mut pages = Pages { dirty, memory, map, cache, store };
    let failed = || ControlError::io("making an image of memory");
    let changed = common.as_ref().map(|common| changed(&common.map, map));
    let changed = match (common.as_ref(), changed) {
        (Some(common), Some(changed)) if changed.len() <= CHANGED.max(common.image.pages().count() / 4) => {
            changed
        }
        _ => {
            *common = None;
            *common = Some(Common { image: pages.image().map_err(failed())?, map: map.clone() });
            Vec::new()
        }
    };
    let Some(Common { image, .. }) = common else { return Ok(()) };
    let (letter, len) = letter(record, state, image, &changed, &mut pages).map_err(failed())?;
    let sent = clone.send(&Packet::Run { letter: len }, &[image.file(), letter.as_fd()]);
    sent.map_err(ControlError::io("telling the fork what to run"))
}

/// Tells a fork which containers it is going to have.
///
/// # Errors
/// [`ControlError::Io`] if it has gone.
pub fn announce(clone: &Connection, of: &str, names: Vec<String>) -> Result<(), ControlError> {
    clone
        .send(&Packet::Containers { of: of.to_owned(), names }, &[])
        .map_err(ControlError::io("preparing the fork"))
}

/// Waits until a fork runs, and keeps out of its way from then on. Gives its lock.
///
/// # Errors
/// [`ControlError`] if it has gone.
pub fn let_run(clone: &Connection) -> Result<Lock, ControlError> {
    let gone = |error| ControlError::io("waiting for the fork to run")(error);
    match clone.receive().map_err(gone)? {
        (Packet::Runs, descriptors) => {
            let [lock] =
                <[OwnedFd; 1]>::try_from(descriptors).map_err(|_| gone(io::ErrorKind::InvalidData.into()))?;
            // This thread ends with the fork. Where its priority cannot be had, the new guest is a little slower at first.
            let _ = setpriority_process(None, NICENESS);
            Ok(Lock::held_with(lock))
        }
        _ => Err(gone(io::ErrorKind::InvalidData.into())),
    }
}

/// Tells a fork that it exists.
///
/// # Errors
/// [`ControlError::Io`] if it has gone.
pub fn durable(clone: &Connection) -> Result<(), ControlError> {
    let sent = clone.send(&Packet::Durable, &[]);
    sent.map_err(ControlError::io("telling the fork that it exists"))
}

/// Numbers of the pages that differ.
fn changed(before: &MemoryMap, now: &MemoryMap) -> Vec<u64> {
    before.diff(now).into_iter().map(|(number, ..)| number).collect()
}

fn letter(
    record: &Record,
    state: &[u8],
    image: &Image,
    changed: &[u64],
    pages: &mut Pages<'_>,
) -> io::Result<(OwnedFd, u64)> {
    let letter = Letter {
        record: &record.encode(),
        state,
        runs: image.runs().iter().map(|run| (run.start, run.end)).collect(),
        changed: changed.to_vec(),
    };
    let mut bytes = letter.encode()?;
    let len = bytes.len() as u64;
    bytes.resize(bytes.len().next_multiple_of(PAGE), 0);
    let mut file = File::from(rustix::fs::memfd_create("letter", rustix::fs::MemfdFlags::CLOEXEC)?);
    file.write_all(&bytes)?;
    let mut contents: Vec<Option<PageBytes>> = vec![None; changed.len()];
    pages.each(changed, |at, page| {
        if let Some(place) = contents.get_mut(at) {
            *place = Some(*page);
        }
        Ok(())
    })?;
    for page in contents {
        file.write_all(&page.unwrap_or([0; PAGE]))?;
    }
    Ok((file.into(), len))
}

/// The pages of a snapshot that was taken a moment ago, while the guest goes on.
struct Pages<'a> {
    /// What was copied, by number.
    dirty: &'a [(u64, &'a Page)],
    memory: &'a MemoryReader,
    map: &'a MemoryMap,
    cache: &'a mut PageCache,
    store: &'a Store,
}

impl Pages<'_> {
    /// All that are not zero.
    fn image(&mut self) -> io::Result<Image> {
        let mut numbers = Vec::new();
        self.map.visit(0..u64::MAX, |number, _| numbers.push(number));
        let writer = ImageWriter::new()?;
        let mut run = Vec::with_capacity(AT_ONCE);
        let mut first = 0;
        self.each(&numbers, |at, page| {
            let number = numbers.get(at).copied().unwrap_or_default();
            if run.len() == AT_ONCE || first + run.len() as u64 != number {
                writer.put(first, &run)?;
                run.clear();
                first = number;
            }
            run.push(*page);
            Ok(())
        })?;
        writer.put(first, &run)?;
        writer.seal(numbers)
    }

    /// Calls `found` with the place in `numbers` and the contents of each of these pages: first those that are still
    /// in memory as they were, then the others.
    fn each(
        &mut self,
        numbers: &[u64],
        mut found: impl FnMut(usize, &PageBytes) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut page = [0; PAGE];
        let mut others = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let hash = self.map.page_hash(*number);
            if let Ok(copied) = self.dirty.binary_search_by_key(number, |(number, _)| *number)
                && let Some((_, copied)) = self.dirty.get(copied)
            {
                found(at, copied)?;
            } else if self.is_in_memory(*number, hash, &mut page) {
                found(at, &page)?;
            } else {
                others.push((at, *number));
            }
        }
        for some in others.chunks(AT_ONCE) {
            let numbers: Vec<u64> = some.iter().map(|(_, number)| *number).collect();
            let mut stored = SnapshotPages { map: self.map, cache: self.cache, store: self.store };
            for ((at, _), contents) in some.iter().zip(stored.pages(&numbers)?) {
                match contents {
                    PageContents::Zero => found(*at, &[0; PAGE])?,
                    PageContents::Bytes(page) => found(*at, page)?,
                }
            }
        }
        Ok(())
    }

    /// Whether the machine's memory has a page as it was; then `page` is that.
    fn is_in_memory(&self, number: u64, hash: PageHash, page: &mut PageBytes) -> bool {
        self.memory.read(number, page).is_ok() && hash_page(page) == hash
    }
}
