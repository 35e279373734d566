//! Pack files: objects' bytes, one behind the other.
//!
//! A pack begins with a header that names it; what follows makes sense only with the index. Bytes behind
//! what the index knows of are left over from a writer that died, and the next writer drops them.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::index::FORMAT;

/// First bytes of a pack.
const MAGIC: &[u8; 8] = b"SENTPACK";

/// Bytes of a pack's header: the magic, the format and the pack's number, both u32.
pub(super) const HEADER_LEN: u64 = 16;

/// A pack of this many bytes gets no more objects. Rewriting a pack is the price of reclaiming space in
/// it, so packs are small enough for that to take about 50 ms, and large enough to be few.
pub const PACK_TARGET: u64 = 32 << 20;

/// Bytes gathered before a write.
const CHUNK: usize = 1 << 20;

/// Where pack `number` lies.
pub(super) fn path(packs: &Path, number: u32) -> PathBuf {
    packs.join(format!("{number}.pack"))
}

/// The pack whose file has this name.
pub(super) fn number_of(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".pack")?;
    let number = digits.parse().ok()?;
    (path(Path::new(""), number).to_str() == Some(name)).then_some(number)
}

fn header(number: u32) -> [u8; HEADER_LEN as usize] {
    let mut header = [0; HEADER_LEN as usize];
    let fields = [&MAGIC[..], &(FORMAT as u32).to_le_bytes(), &number.to_le_bytes()];
    for (to, from) in header.iter_mut().zip(fields.into_iter().flatten()) {
        *to = *from;
    }
    header
}

/// Opens a pack for reading.
pub(super) fn open(packs: &Path, number: u32) -> Result<File, StoreError> {
    let path = path(packs, number);
    let file = File::open(&path).map_err(StoreError::io("open", &path))?;
    check_header(&file, number)?;
    Ok(file)
}

fn check_header(file: &File, number: u32) -> Result<(), StoreError> {
    let mut found = [0; HEADER_LEN as usize];
    file.read_exact_at(&mut found, 0)
        .map_err(|error| StoreError::Pack { pack: number, problem: format!("has no header: {error}") })?;
    let expected = header(number);
    if found == expected {
        return Ok(());
    }
    let version = |bytes: &[u8; HEADER_LEN as usize]| match bytes {
        [_, _, _, _, _, _, _, _, a, b, c, d, ..] => u32::from_le_bytes([*a, *b, *c, *d]),
    };
    if found.starts_with(MAGIC) && version(&found) != version(&expected) {
        return Err(StoreError::Version {
            what: format!("pack {number} of the store"),
            found: u64::from(version(&found)),
            supported: FORMAT,
        });
    }
    Err(StoreError::Pack { pack: number, problem: "has the header of something else".to_owned() })
}

/// Makes the entries of a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(StoreError::io("sync", folder))
}

/// Writes objects behind those of the newest pack, and goes on to a new pack when one is full.
///
/// Nothing counts until the index is told of it: [`finish`](Self::finish) makes the bytes durable and
/// says where each pack ends now; [`undo`](Self::undo) takes them away.
pub(super) struct Appender<'a> {
    packs: &'a Path,
    /// Number of the pack to make next.
    next: u32,
    current: Option<Open>,
    written: Vec<Touched>,
    pending: Vec<u8>,
}

/// A pack and its lengths before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Touched {
    pub number: u32,
    /// Bytes before; 0 if it was not there.
    pub before: u64,
    pub after: u64,
}

struct Open {
    file: File,
    number: u32,
    before: u64,
    /// Bytes in the file; `pending` follows.
    end: u64,
}

impl<'a> Appender<'a> {
    /// `newest` is the pack to go on with, and its length by the index.
    pub fn new(packs: &'a Path, newest: Option<(u32, u64)>, next: u32) -> Result<Self, StoreError> {
        let mut appender = Self { packs, next, current: None, written: Vec::new(), pending: Vec::new() };
        if let Some((number, end)) = newest.filter(|(_, end)| *end < PACK_TARGET) {
            let path = path(packs, number);
            let file = OpenOptions::new().read(true).write(true).open(&path);
            // A pack that is not what the index says is left alone, for `verify` to name.
            if let Ok(file) = file
                && check_header(&file, number).is_ok()
                && file.metadata().is_ok_and(|metadata| metadata.len() >= end)
            {
                file.set_len(end).map_err(StoreError::io("truncate", &path))?;
                appender.current = Some(Open { file, number, before: end, end });
            }
        }
        Ok(appender)
    }

    /// Adds bytes; returns pack and offset.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(u32, u64), StoreError> {
        let full = |open: &Open, pending: &[u8]| open.end + pending.len() as u64 >= PACK_TARGET;
        if self.current.as_ref().is_some_and(|open| full(open, &self.pending)) {
            self.close()?;
        }
        if self.current.is_none() {
            self.current = Some(self.create()?);
        }
        let Some(open) = &self.current else {
            return Err(StoreError::Pack { pack: self.next, problem: "was not made".to_owned() });
        };
        let place = (open.number, open.end + self.pending.len() as u64);
        self.pending.extend_from_slice(bytes);
        if self.pending.len() >= CHUNK {
            self.flush()?;
        }
        Ok(place)
    }

    fn create(&mut self) -> Result<Open, StoreError> {
        let number = self.next;
        let path = path(self.packs, number);
        self.next = number
            .checked_add(1)
            .ok_or_else(|| StoreError::IndexDamaged { what: "all pack numbers are used up".to_owned() })?;
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(StoreError::io("create", &path))?;
        self.pending.extend(header(number));
        Ok(Open { file, number, before: 0, end: 0 })
    }

    fn flush(&mut self) -> Result<(), StoreError> {
        let Some(open) = &mut self.current else { return Ok(()) };
        open.file
            .write_all_at(&self.pending, open.end)
            .map_err(StoreError::io("write", &path(self.packs, open.number)))?;
        open.end += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }

    fn close(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        if let Some(open) = self.current.take() {
            if open.end > open.before {
                open.file.sync_data().map_err(StoreError::io("sync", &path(self.packs, open.number)))?;
            }
            self.written.push(Touched { number: open.number, before: open.before, after: open.end });
        }
        Ok(())
    }

    /// Syncs packs and folder. Returns what was touched, and the number of the next pack.
    pub fn finish(&mut self) -> Result<(Vec<Touched>, u32), StoreError> {
        self.close()?;
        if self.written.iter().any(|touched| touched.before == 0) {
            sync_folder(self.packs)?;
        }
        Ok((self.written.clone(), self.next))
    }

    /// Puts the packs back to what they were, as far as the system lets it; the next writer does the
    /// rest. Only before the index was told.
    pub fn undo(mut self) {
        if let Some(open) = self.current.take() {
            self.written.push(Touched { number: open.number, before: open.before, after: open.end });
        }
        for touched in &self.written {
            let path = path(self.packs, touched.number);
            if touched.before == 0 {
                let _ = fs::remove_file(&path);
            } else if let Ok(file) = OpenOptions::new().write(true).open(&path) {
                let _ = file.set_len(touched.before);
            }
        }
    }
}

/// Drops what no index knows of: whole packs, and bytes behind a pack's end. `known` ascends by number.
pub(super) fn drop_orphans(packs: &Path, known: &[(u32, u64, u64)]) -> Result<u64, StoreError> {
    let mut dropped = 0;
    for entry in fs::read_dir(packs).map_err(StoreError::io("read", packs))? {
        let entry = entry.map_err(StoreError::io("read", packs))?;
        let Some(number) = entry.file_name().to_str().and_then(number_of) else { continue };
        let path = entry.path();
        let len = entry.metadata().map_err(StoreError::io("look at", &path))?.len();
        match known.binary_search_by_key(&number, |(known, ..)| *known).ok().and_then(|at| known.get(at)) {
            None => {
                fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
                dropped += len;
            }
            Some((_, end, _)) if len > *end => {
                let file =
                    OpenOptions::new().write(true).open(&path).map_err(StoreError::io("open", &path))?;
                file.set_len(*end).map_err(StoreError::io("truncate", &path))?;
                dropped += len - end;
            }
            Some(_) => {}
        }
    }
    Ok(dropped)
}
