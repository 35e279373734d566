//! Reads of objects whose places are known.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use super::error::StoreError;
use super::object::{self, Kind};
use super::{Entry, pack};
use crate::hash::{Hash, PageHash};
use crate::page::{PAGE_SIZE, PARALLEL_FROM, Page, ZERO_PAGE};

/// Bytes between two objects that are read along rather than skipped: a read call costs about what
/// copying this many bytes does.
const GAP: u64 = 8 << 10;

/// Most bytes of one read: what follows uses the same memory again, and touching more of it for the first time
/// costs more than another call.
const RUN: u64 = 128 << 10;

/// Packs, opened when first needed.
pub(super) struct Packs {
    folder: PathBuf,
    open: HashMap<u32, Arc<File>>,
}

impl Packs {
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: HashMap::new() }
    }

    pub fn file(&mut self, number: u32) -> Result<Arc<File>, StoreError> {
        if let Some(file) = self.open.get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(pack::open(&self.folder, number)?);
        self.open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// An object's bytes as they lie in the pack.
    pub fn stored(&mut self, hash: Hash, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let file = self.file(entry.pack)?;
        let mut stored = vec![0; entry.stored as usize];
        read_at(&file, hash, entry, &mut stored, entry.offset)?;
        Ok(stored)
    }

    /// An object, checked.
    pub fn read(&mut self, hash: Hash, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let bytes = self.read_unchecked(hash, entry)?;
        object::check(entry.kind, hash, &bytes).map_err(|problem| damaged(hash, entry, problem))?;
        Ok(bytes)
    }

    /// An object, of its length, for a caller that compares its hash.
    pub fn read_unchecked(&mut self, hash: Hash, entry: &Entry) -> Result<Vec<u8>, StoreError> {
        let stored = self.stored(hash, entry)?;
        let mut bytes = vec![0; entry.len as usize];
        object::decode_into(entry.encoding, &stored, &mut bytes)
            .map_err(|problem| damaged(hash, entry, problem))?;
        Ok(bytes)
    }
}

/// Pages whose places were looked up together; made by [`Session::locate`](super::Session::locate).
///
/// It holds no lock: other processes write, remove and reclaim meanwhile, and the pages stay readable.
#[derive(Debug)]
pub struct Reader {
    files: HashMap<u32, Arc<File>>,
    /// By place.
    pages: Vec<(PageHash, Entry)>,
    by_hash: HashMap<PageHash, usize>,
}

impl Reader {
    pub(super) fn new(files: HashMap<u32, Arc<File>>, mut pages: Vec<(PageHash, Entry)>) -> Self {
        pages.sort_unstable_by_key(|(_, entry)| (entry.pack, entry.offset));
        let by_hash = pages.iter().enumerate().map(|(at, (hash, _))| (*hash, at)).collect();
        Self { files, pages, by_hash }
    }

    /// Pages that were looked up and are not zero.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pages.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pages.is_empty()
    }

    /// Hashes of the pages, in the order of their places.
    pub fn hashes(&self) -> impl Iterator<Item = PageHash> {
        self.pages.iter().map(|(hash, _)| *hash)
    }

    /// One of the pages, checked.
    ///
    /// # Errors
    ///
    /// [`StoreError::Missing`] for a page that was not looked up, [`StoreError::Damaged`] for one whose
    /// bytes have changed.
    pub fn read_page(&self, hash: PageHash) -> Result<Page, StoreError> {
        if hash.is_zero() {
            return Ok(ZERO_PAGE);
        }
        let missing = StoreError::Missing { kind: Kind::Page, hash };
        let Some((_, entry)) = self.by_hash.get(&hash).and_then(|at| self.pages.get(*at)) else {
            return Err(missing);
        };
        let mut page = ZERO_PAGE;
        read_run(self.file(hash, entry)?, &[(hash, *entry)], &mut Vec::new(), &mut |_, found| {
            page = *found;
            Ok::<(), StoreError>(())
        })?;
        Ok(page)
    }

    /// Reads some of the pages, in the order of their places, and hands each to `take` once, checked.
    /// Zero pages are not handed out: nothing is stored of them.
    ///
    /// # Errors
    ///
    /// As [`read_page`](Self::read_page), and what `take` returns.
    pub fn read_pages<E: From<StoreError>>(
        &self,
        hashes: impl IntoIterator<Item = PageHash>,
        mut take: impl FnMut(PageHash, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut places = Vec::new();
        for hash in hashes {
            if hash.is_zero() {
                continue;
            }
            match self.by_hash.get(&hash) {
                Some(at) => places.push(*at),
                None => return Err(StoreError::Missing { kind: Kind::Page, hash }.into()),
            }
        }
        places.sort_unstable();
        places.dedup();
        let chosen: Vec<_> = places.iter().filter_map(|at| self.pages.get(*at)).copied().collect();
        self.read_sorted(&chosen, &mut take)
    }

    /// Reads all pages, and hands each to `take` once, checked; on two threads if there are more than
    /// [`PARALLEL_FROM`].
    ///
    /// # Errors
    ///
    /// As [`read_pages`](Self::read_pages). `take` may have got any of the others before.
    pub fn read_all<E, F>(&self, take: F) -> Result<(), E>
    where
        E: From<StoreError> + Send,
        F: Fn(PageHash, &Page) -> Result<(), E> + Sync,
    {
        let read = |pages: &[(PageHash, Entry)]| self.read_sorted(pages, &mut |hash, page| take(hash, page));
        if self.pages.len() <= PARALLEL_FROM {
            return read(&self.pages);
        }
        let (left, right) = self.pages.split_at(self.pages.len() / 2);
        thread::scope(|scope| {
            let helper =
                thread::Builder::new().name("page-read".to_owned()).spawn_scoped(scope, || read(right));
            read(left)?;
            match helper.map(thread::ScopedJoinHandle::join) {
                Ok(Ok(done)) => done,
                // No thread to be had: one does it as well.
                Ok(Err(_)) | Err(_) => read(right),
            }
        })
    }

    fn read_sorted<E: From<StoreError>>(
        &self,
        pages: &[(PageHash, Entry)],
        take: &mut impl FnMut(PageHash, &Page) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut rest = pages;
        let mut room = Vec::new();
        while let Some((hash, first)) = rest.first() {
            let mut end = first.offset + u64::from(first.stored);
            let mut count = 1;
            for (_, next) in rest.iter().skip(1) {
                let after = next.offset + u64::from(next.stored);
                if next.pack != first.pack || next.offset > end + GAP || after - first.offset > RUN {
                    break;
                }
                end = after.max(end);
                count += 1;
            }
            let (run, others) = rest.split_at(count);
            read_run(self.file(*hash, first)?, run, &mut room, take)?;
            rest = others;
        }
        Ok(())
    }

    fn file(&self, hash: PageHash, entry: &Entry) -> Result<&File, StoreError> {
        match self.files.get(&entry.pack) {
            Some(file) => Ok(file),
            None => Err(StoreError::Missing { kind: Kind::Page, hash }),
        }
    }
}

/// Reads neighbouring pages with one call.
fn read_run<E: From<StoreError>>(
    file: &File,
    run: &[(PageHash, Entry)],
    room: &mut Vec<u8>,
    take: &mut impl FnMut(PageHash, &Page) -> Result<(), E>,
) -> Result<(), E> {
    let (Some((hash, first)), Some((_, last))) = (run.first(), run.last()) else { return Ok(()) };
    let len = usize::try_from(last.offset + u64::from(last.stored) - first.offset).unwrap_or(0);
    room.resize(len, 0);
    read_at(file, *hash, first, room, first.offset)?;
    let mut page = [0; PAGE_SIZE];
    for (hash, entry) in run {
        let at = usize::try_from(entry.offset - first.offset).unwrap_or(usize::MAX);
        let stored = room.get(at..).and_then(|rest| rest.get(..entry.stored as usize)).unwrap_or_default();
        checked(*hash, entry, stored, &mut page)?;
        take(*hash, &page)?;
    }
    Ok(())
}

fn read_at(file: &File, hash: Hash, entry: &Entry, room: &mut [u8], offset: u64) -> Result<(), StoreError> {
    file.read_exact_at(room, offset)
        .map_err(|error| damaged(hash, entry, format!("cannot be read at {offset}: {error}")))
}

fn checked(hash: Hash, entry: &Entry, stored: &[u8], room: &mut [u8]) -> Result<(), StoreError> {
    object::decode_into(entry.encoding, stored, room)
        .and_then(|()| object::check(entry.kind, hash, room))
        .map_err(|problem| damaged(hash, entry, problem))
}

fn damaged(hash: Hash, entry: &Entry, problem: String) -> StoreError {
    StoreError::Damaged { kind: entry.kind, hash, pack: entry.pack, problem }
}
