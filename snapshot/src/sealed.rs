//! Databases whose every block is checked before redb sees it.
//!
//! redb trusts its own file: a bit of it that has changed may be an error, another answer, or a panic,
//! and a release build dies of a panic. So redb does not get the file but a [`SealedFile`], which keeps a
//! *seal* before each block of 4096 bytes, and refuses a block whose seal does not fit:
//!
//! ```text
//! prologue: "SENTSEAL" | format u32 | 0 u32
//! block*:   CRC-32 of the block's number (u64) and the block, u32 | block
//! ```
//!
//! A CRC-32 misses no change of up to three bits in a block, none within 32 bits, and one in four thousand
//! million of all others. It is no signature: whoever may write the file can seal what they like. For why
//! it is not a hash: docs/decisions/0012.
//!
//! Invariants:
//!
//! 1. What redb reads is what redb wrote at that place, or redb gets an error that names the file and the
//!    block. A place that was never written is no data either.
//! 2. A crash costs no more than it does without seals. redb writes no block that its last commit uses,
//!    except for its header, and never reads one that a commit did not write whole. The header with its
//!    seal and the prologue is shorter than a sector, which disks write whole or not at all.
//! 3. A file that [`create`] makes is there whole, or not at all.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, Builder, Database, DatabaseError, ReadOnlyDatabase, StorageBackend};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

/// Bytes of a block: redb's page.
const BLOCK: usize = 4096;
/// Bytes of a seal.
const SEAL: usize = 4;
/// A seal and its block.
const UNIT: usize = SEAL + BLOCK;
/// First bytes of the file, with the format's number.
const PROLOGUE: &[u8; 16] = b"SENTSEAL\x01\0\0\0\0\0\0\0";

/// A file of sealed blocks, for redb.
#[derive(Debug)]
pub struct SealedFile {
    inner: FileBackend,
    path: PathBuf,
}

/// Opens a database for reading and writing.
///
/// # Errors
///
/// [`DatabaseError::Storage`] if there is none, if its file is damaged, or no sealed one;
/// [`DatabaseError::DatabaseAlreadyOpen`].
pub fn open(builder: &Builder, path: &Path) -> Result<Database, DatabaseError> {
    let file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() == 0 {
        return Err(refused(path, "is empty").into());
    }
    builder.create_with_backend(SealedFile::new(file, path)?)
}

/// Opens a database for reading.
///
/// # Errors
///
/// As [`open`], and [`DatabaseError::RepairAborted`] if a writer died in it.
pub fn open_read_only(builder: &Builder, path: &Path) -> Result<ReadOnlyDatabase, DatabaseError> {
    builder.open_read_only_with_backend(SealedFile::new(File::open(path)?, path)?)
}

/// Makes a database with what `fill` puts into it, if there is none: under another name first, which it
/// has until it is durable. Several may try at once.
///
/// # Errors
///
/// What `fill` says, and [`DatabaseError::Storage`] if the file cannot be made.
pub fn create<E: From<DatabaseError>>(
    builder: &Builder,
    path: &Path,
    fill: impl FnOnce(&Database) -> Result<(), E>,
) -> Result<(), E> {
    let io = |error: io::Error| E::from(DatabaseError::from(error));
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let folder = File::open(folder).map_err(io)?;
    while let Err(error) = flock(&folder, FlockOperation::LockExclusive) {
        if error != Errno::INTR {
            return Err(io(error.into()));
        }
    }
    if path.exists() {
        return Ok(());
    }
    // What one that died here has left is overwritten.
    let draft = path.with_extension("redb.new");
    let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).mode(0o600).open(&draft);
    let db = builder.create_with_backend(SealedFile::new(file.map_err(io)?, path).map_err(io)?)?;
    fill(&db)?;
    drop(db);
    File::open(&draft)
        .and_then(|file| file.sync_all())
        .and_then(|()| fs::rename(&draft, path))
        .and_then(|()| folder.sync_all())
        .map_err(io)
}

impl SealedFile {
    /// The database in `file`, which is empty or a sealed one. `path` is for errors.
    ///
    /// # Errors
    ///
    /// If it is something else.
    pub fn new(file: File, path: &Path) -> io::Result<Self> {
        let inner = FileBackend::new(file).map_err(io::Error::other)?;
        let len = inner.len()?;
        let mut prologue = [0; PROLOGUE.len()];
        if len > 0 {
            if len < PROLOGUE.len() as u64 {
                return Err(refused(path, "is cut short"));
            }
            inner.read(0, &mut prologue)?;
            if &prologue != PROLOGUE {
                return Err(refused(path, "does not begin as a sealed file of format 1"));
            }
        }
        Ok(Self { inner, path: path.to_owned() })
    }

    /// Blocks `first` to before `end`, each behind its seal.
    fn read_units(&self, first: u64, end: u64) -> io::Result<Vec<u8>> {
        let count = usize::try_from(end - first).map_err(io::Error::other)?;
        let mut units = vec![0; count * UNIT];
        self.inner.read(place(first), &mut units).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => refused(&self.path, &format!("ends before block {}", end - 1)),
            _ => self.named(error),
        })?;
        Ok(units)
    }

    /// An error of the system's, with the file it is about.
    fn named(&self, error: io::Error) -> io::Error {
        io::Error::new(error.kind(), format!("{}: {error}", self.path.display()))
    }

    fn damaged(&self, number: u64) -> io::Error {
        refused(&self.path, &format!("has in block {number} something else than was written there"))
    }
}

fn refused(path: &Path, problem: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} {problem}", path.display()))
}

/// Bytes of the file before a block's seal.
fn place(number: u64) -> u64 {
    PROLOGUE.len() as u64 + number * UNIT as u64
}

fn seal(number: u64, block: &[u8]) -> [u8; SEAL] {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(block);
    sum.finalize().to_le_bytes()
}

fn is_sealed(number: u64, unit: &[u8]) -> bool {
    let (found, block) = unit.split_at_checked(SEAL).unwrap_or_default();
    seal(number, block) == found
}

/// The blocks that bytes lie in: the first, and the one after the last.
fn blocks(offset: u64, len: usize) -> io::Result<(u64, u64)> {
    let end = offset.checked_add(len as u64).ok_or_else(|| io::Error::other("an offset of 2^64 bytes"))?;
    Ok((offset / BLOCK as u64, end.div_ceil(BLOCK as u64)))
}

/// What of block `number` the `len` bytes at `offset` take: bytes before them in it, and how many.
fn part(number: u64, offset: u64, len: usize) -> (usize, usize) {
    let start = number * BLOCK as u64;
    let from = offset.max(start) - start;
    let to = (offset + len as u64).min(start + BLOCK as u64) - start;
    (from as usize, (to - from) as usize)
}

impl StorageBackend for SealedFile {
    fn len(&self) -> io::Result<u64> {
        let len = self.inner.len()?;
        let Some(units) = len.checked_sub(PROLOGUE.len() as u64) else { return Ok(0) };
        if units.is_multiple_of(UNIT as u64) {
            Ok(units / UNIT as u64 * BLOCK as u64)
        } else {
            Err(refused(&self.path, &format!("has {len} bytes, and its last block is cut short")))
        }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let (first, end) = blocks(offset, out.len())?;
        let units = self.read_units(first, end)?;
        let wanted = out.len();
        let mut rest = out;
        for (number, unit) in (first..end).zip(units.chunks_exact(UNIT)) {
            if !is_sealed(number, unit) {
                return Err(self.damaged(number));
            }
            let (from, len) = part(number, offset, wanted);
            let (to, more) = std::mem::take(&mut rest).split_at_mut(len);
            to.copy_from_slice(unit.get(SEAL + from..SEAL + from + len).unwrap_or_default());
            rest = more;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let before = self.inner.len()?;
        self.inner.set_len(place(len.div_ceil(BLOCK as u64))).map_err(|error| self.named(error))?;
        if before > 0 {
            return Ok(());
        }
        self.inner.write(0, PROLOGUE).map_err(|error| self.named(error))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.inner.sync_data().map_err(|error| self.named(error))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let (first, end) = blocks(offset, data.len())?;
        let whole = offset.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK);
        // Only the header is written in part: the rest of its block stays what it was.
        let mut units =
            if whole { vec![0; (end - first) as usize * UNIT] } else { self.read_units(first, end)? };
        let mut rest = data;
        for (number, unit) in (first..end).zip(units.chunks_exact_mut(UNIT)) {
            let (from, len) = part(number, offset, data.len());
            if len < BLOCK && !is_sealed(number, unit) && unit.iter().any(|byte| *byte != 0) {
                return Err(self.damaged(number));
            }
            let (new, more) = rest.split_at_checked(len).unwrap_or_default();
            rest = more;
            let (sealed, block) = unit.split_at_mut(SEAL);
            if let Some(to) = block.get_mut(from..from + new.len()) {
                to.copy_from_slice(new);
            }
            sealed.copy_from_slice(&seal(number, block));
        }
        self.inner.write(place(first), &units).map_err(|error| self.named(error))
    }

    fn close(&self) -> io::Result<()> {
        self.inner.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.inner.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.inner.query_lock_range(start, end)
    }
}
