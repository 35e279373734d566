//! The power goes while a database is written: of what was not synced, anything may have arrived.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use redb::{BackendError, Database, ReadableDatabase, StorageBackend, TableDefinition};
use sentient_snapshot::sealed::{self, SealedFile};

use crate::guest::Random;

const TABLE: TableDefinition<u64, &[u8]> = TableDefinition::new("numbers");
const COMMITS: u64 = 6;
/// Bytes of a sealed block, and of what is before the first.
const UNIT: u64 = 4 + 4096;
const PROLOGUE: u64 = 16;

/// What redb does to its file.
#[derive(Clone, Debug)]
enum Step {
    Length(u64),
    Write(u64, Vec<u8>),
    Sync,
    /// Not redb's: so many transactions have returned.
    Committed(u64),
}

/// A sealed file that writes down what is done to it.
#[derive(Debug)]
struct Recorder {
    file: SealedFile,
    steps: Arc<Mutex<Vec<Step>>>,
}

impl StorageBackend for Recorder {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Length(len));
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Sync);
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.steps.lock().unwrap().push(Step::Write(offset, data.to_owned()));
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path).unwrap()
}

/// A database, and what was done to it by so many transactions, each with the database opened anew, as the
/// store's index is.
fn recorded(path: &Path) -> Vec<Step> {
    let steps = Arc::new(Mutex::new(Vec::new()));
    for commit in 1..=COMMITS {
        let file = SealedFile::new(read_write(path), path).unwrap();
        let recorder = Recorder { file, steps: Arc::clone(&steps) };
        let db = Database::builder().create_with_backend(recorder).unwrap();
        let mut txn = db.begin_write().unwrap();
        txn.set_quick_repair(true);
        {
            let mut table = txn.open_table(TABLE).unwrap();
            table.insert(0, &commit.to_le_bytes()[..]).unwrap();
            for key in 1..40 {
                // Rows change, come and go, so that blocks are used again.
                let value = vec![commit as u8; 50 + (commit * key % 300) as usize];
                table.insert(key * commit % 97 + 1, value.as_slice()).unwrap();
                table.remove(key * commit % 41 + 1).unwrap();
            }
        }
        txn.commit().unwrap();
        steps.lock().unwrap().push(Step::Committed(commit));
        drop(db);
    }
    Arc::into_inner(steps).unwrap().into_inner().unwrap()
}

/// Rows of a database as they are after each commit.
fn rows(path: &Path) -> Vec<(u64, Vec<u8>)> {
    let db = sealed::open(&Database::builder(), path).unwrap();
    let table = db.begin_read().unwrap().open_table(TABLE).unwrap();
    let rows = table.range::<u64>(..).unwrap().map(|row| {
        let (key, value) = row.unwrap();
        (key.value(), value.value().to_owned())
    });
    rows.collect()
}

/// What a disk has after `done` steps, if of the writes since the last sync some were lost and some are
/// torn. The header is in one sector, which disks write whole or not at all; lengths are in the file
/// system's journal.
fn after_power_loss(path: &Path, done: &[Step], random: &mut Random) {
    let _ = fs::remove_file(path);
    let file = SealedFile::new(read_write(path), path).unwrap();
    let raw = read_write(path);
    let synced = done.iter().rposition(|step| matches!(step, Step::Sync)).unwrap_or(0);
    for (at, step) in done.iter().enumerate() {
        match step {
            Step::Length(len) => file.set_len(*len).unwrap(),
            Step::Write(offset, data) => {
                let fate = if at < synced { 0 } else { random.below(4) };
                match fate {
                    0 | 1 => file.write(*offset, data).unwrap(),
                    2 if *offset > 0 => {
                        // The first half of it arrives, then what had been in the disk's buffer.
                        let place = PROLOGUE + offset / 4096 * UNIT;
                        let half = data.len() / 2;
                        raw.write_all_at(&data[..half], place + 4).unwrap();
                        raw.write_all_at(&vec![0xa5; half], place + 4 + half as u64).unwrap();
                    }
                    _ => {}
                }
            }
            Step::Sync | Step::Committed(_) => {}
        }
    }
}

#[test]
fn whatever_arrives_of_unsynced_writes_a_database_is_as_before_or_after_the_commit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("whole.redb");
    let steps = recorded(&path);
    // What it is to be after each commit: the same steps, all of them.
    let mut expected = vec![Vec::new()];
    for commit in 1..=COMMITS {
        let end = steps.iter().position(|step| matches!(step, Step::Committed(found) if *found == commit));
        let copy = folder.path().join("copy.redb");
        after_power_loss(&copy, &[&steps[..end.unwrap()], &[Step::Sync]].concat(), &mut Random(1));
        expected.push(rows(&copy));
    }
    let first = steps.iter().position(|step| matches!(step, Step::Committed(1))).unwrap();
    let mut random = Random(4242);
    let (mut before, mut after) = (0, 0);
    for end in first + 1..steps.len() {
        for _ in 0..2 {
            let done = &steps[..end];
            after_power_loss(&path, done, &mut random);
            let committed = done.iter().filter(|step| matches!(step, Step::Committed(_))).count();
            let found = rows(&path);
            if found == expected[committed] {
                before += 1;
            } else {
                // The header of the next one was on its way, and all that it needs was synced.
                assert_eq!(Some(&found), expected.get(committed + 1), "{end} steps, {committed} commits");
                after += 1;
            }
            // And it can be written again.
            let db = sealed::open(&Database::builder(), &path).unwrap();
            let txn = db.begin_write().unwrap();
            txn.open_table(TABLE).unwrap().insert(1000, &[1; 5000][..]).unwrap();
            txn.commit().unwrap();
        }
    }
    assert!(
        before > 30 && after > 2,
        "{before} as before the commit that was cut short, {after} as after it"
    );
}
