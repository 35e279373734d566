//! Who owns a machine's folder: the process that holds its lock.
//!
//! The kernel gives the lock back when the process ends, however it ends: there are no stale locks, only a
//! file that says who held it last.

use crate::home::{MachineFolder, make_folder};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Why the lock cannot be had.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process has it.
    #[error("the machine `{machine}` is in use by process {owner}")]
    Taken {
        /// The machine.
        machine: String,
        /// What the lock's file says: a process number, or a question mark.
        owner: String,
    },
    /// The file cannot be used.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Columns of a process number.
const OWNER_LEN: usize = 20;

/// The lock, held for as long as this exists.
#[derive(Debug)]
pub struct Lock {
    file: File,
}

impl Lock {
    /// Takes that of a machine whose folder is there.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take(machine: &MachineFolder) -> Result<Self, LockError> {
        let path = machine.runtime().join("lock");
        let failed = |source| LockError::Io { path: path.clone(), source };
        loop {
            let opened = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path);
            let mut file = opened.map_err(failed)?;
            match flock(&file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => {}
                Err(Errno::WOULDBLOCK) => {
                    let mut owner = String::new();
                    // Only a word for people.
                    let _ = file.take(OWNER_LEN as u64).read_to_string(&mut owner);
                    let owner = owner.trim();
                    let owner = if owner.is_empty() { "?" } else { owner }.to_owned();
                    return Err(LockError::Taken { machine: machine.name().to_owned(), owner });
                }
                Err(error) => return Err(failed(error.into())),
            }
            // The machine may have been removed between the two, and another one made: then this is the lock
            // of nothing.
            let locked = file.metadata().map_err(failed)?;
            let same = |there: Metadata| (there.dev(), there.ino()) == (locked.dev(), locked.ino());
            if !fs::metadata(&path).is_ok_and(same) {
                continue;
            }
            // Always as long, so that nothing need be cut off: on a disk that costs as much as a third of a start.
            let owner = format!("{:<OWNER_LEN$}\n", std::process::id());
            file.rewind().and_then(|()| file.write_all(owner.as_bytes())).map_err(failed)?;
            return Ok(Self { file });
        }
    }

    /// One that another process has, and holds together with this one: it is free when both have dropped it.
    #[must_use]
    pub fn held_with(file: OwnedFd) -> Self {
        Self { file: file.into() }
    }

    /// Makes a machine's folder if it is not there, and takes its lock.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take_new(machine: &MachineFolder) -> Result<Self, LockError> {
        loop {
            let runtime = machine.runtime();
            make_folder(&runtime).map_err(|source| LockError::Io { path: runtime, source })?;
            match Self::take(machine) {
                // What an interrupted attempt had left was being removed.
                Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                taken => return taken,
            }
        }
    }

    /// Takes it, and waits for so long if a process still has it: one that was killed a moment ago takes its
    /// time to give its memory back, and the lock comes after that.
    ///
    /// # Errors
    /// [`LockError`].
    pub fn take_within(machine: &MachineFolder, patience: Duration) -> Result<Self, LockError> {
        let deadline = Instant::now() + patience;
        loop {
            match Self::take(machine) {
                Err(LockError::Taken { .. }) if Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                taken => return taken,
            }
        }
    }
}

/// To hold it together with another process.
impl AsFd for Lock {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::home::Home;

    #[test]
    fn a_second_taker_is_told_who_has_it_and_a_dead_owner_is_none() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Home::find(Some(folder.path().into())).unwrap().machine("m").unwrap();
        let held = Lock::take_new(&machine).unwrap();
        let refused = Lock::take(&machine).unwrap_err().to_string();
        assert!(refused.contains(&std::process::id().to_string()), "{refused}");
        drop(held);
        // What the file says of the last owner does not matter.
        Lock::take(&machine).unwrap();
    }

    #[test]
    fn the_lock_of_a_machine_that_was_removed_is_not_that_of_its_successor() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Home::find(Some(folder.path().into())).unwrap().machine("m").unwrap();
        assert!(matches!(Lock::take(&machine), Err(LockError::Io { .. })), "there is no folder");
        assert!(!machine.path().exists(), "and none was made");
        let held = Lock::take_new(&machine).unwrap();
        fs::rename(machine.path(), folder.path().join("aside")).unwrap();
        let successor = Lock::take_new(&machine).unwrap();
        assert!(matches!(Lock::take(&machine), Err(LockError::Taken { .. })));
        drop((held, successor));
    }
}
