//! Machines that go, and what is left of machines that are no more.
//!
//! A machine goes in three steps, each durable before the next:
//!
//! 1. with its lock held, its folder gets a name that no machine can have, which says its name and id: from
//!    here on there is no such machine ([`Leftover::set_aside`]);
//! 2. its roots go from the store, and with them what only they held ([`Leftover::release`]);
//! 3. the folder is deleted ([`Leftover::delete`]).
//!
//! Killed before the first, the machine is whole; after it, what is left is in nobody's way, and
//! [`finish`] does the rest, called by whoever removes or reclaims next.
//!
//! Roots of machines that have no folder in the home are reclaimed by [`reclaim`] alone: what of the store is
//! nobody's is found by looking whose it may be. A machine that is being made says who it is before it stores
//! anything ([`Description::write_draft`]), and the store is looked at first: so whatever was found there has
//! had its folder when the folders are looked at.

use crate::description::{Description, MachineId};
use crate::error::ControlError;
use crate::home::{Home, MachineFolder, check_name};
use crate::lock::{Lock, LockError};
use rustix::fs::{FlockOperation, flock};
use sentient_snapshot::store::{Root, Store};
use serde::Serialize;
use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// What the names of folders that were set aside begin with.
const ASIDE: &str = ".removed-";

/// A machine that is gone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Gone {
    /// Its name; `null` of one that has left only snapshots.
    pub name: Option<String>,
    /// Its id.
    pub id: String,
    /// Snapshots of it that were in the store.
    pub snapshots: u64,
}

/// What was given back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Reclaimed {
    /// Of which machines.
    pub machines: Vec<Gone>,
    /// Bytes of disk.
    pub freed_bytes: u64,
}

/// A folder that was a machine's.
#[derive(Debug)]
pub struct Leftover {
    name: String,
    id: MachineId,
    path: PathBuf,
}

/// Removes a machine, or what an interrupted attempt to make one has left under its name, waiting so long for
/// a process that is about to end.
///
/// # Errors
/// [`ControlError::Lock`] if a process has it, [`ControlError::Damaged`] if it does not say who it is; then it
/// is as it was. By any other, what is left of it is finished by the next removal.
pub fn remove(home: &Home, machine: &MachineFolder, patience: Duration) -> Result<Reclaimed, ControlError> {
    // A store that cannot be used is known before anything is done.
    let store = Store::open(&home.store(), None)?;
    let lock = match Lock::take_within(machine, patience) {
        // An attempt that was interrupted before there was one.
        Err(LockError::Io { source, .. })
            if source.kind() == io::ErrorKind::NotFound && !machine.exists() =>
        {
            Lock::take_new(machine)?
        }
        taken => taken?,
    };
    let id = if machine.exists() {
        Description::read(machine).map_err(|error| {
            ControlError::Damaged(format!(
                "{error}; or delete {}, and let `sentctl prune --unclaimed` reclaim its snapshots",
                machine.path().display()
            ))
        })?
    } else {
        Description::of_new(machine, 0, true)?
    };
    let leftover = Leftover::set_aside(home, machine, &lock, id.id)?;
    measured(&store, || Ok(vec![leftover.finish(home, &store)?]))
}

/// Finishes removals that were interrupted.
///
/// # Errors
/// [`ControlError`].
pub fn finish(home: &Home) -> Result<Reclaimed, ControlError> {
    let left = Leftover::all(home)?;
    if left.is_empty() {
        return Ok(Reclaimed::default());
    }
    let store = Store::open(&home.store(), None)?;
    measured(&store, || left.iter().map(|leftover| leftover.finish(home, &store)).collect())
}

/// Gives back what the store has of machines that are not in the home: those whose folder was deleted, whose
/// removal was interrupted, or that were never finished.
///
/// # Errors
/// [`ControlError::Damaged`] if some machine does not say who it is: then it is not known what is nobody's,
/// and nothing is reclaimed. Others.
pub fn reclaim(home: &Home) -> Result<Reclaimed, ControlError> {
    let store = Store::open(&home.store(), None)?;
    measured(&store, || {
        let mut gone = Vec::new();
        for leftover in Leftover::all(home)? {
            gone.push(leftover.finish(home, &store)?);
        }
        for folder in home.folders()? {
            if let Some(leftover) = unfinished(home, &folder)? {
                gone.push(leftover.finish(home, &store)?);
            }
        }
        // Before, between and behind: a folder that is renamed while they are listed may be missed once.
        let before = claimed(home)?;
        let roots = store.roots(None)?;
        let after = claimed(home)?;
        let mut lost: BTreeMap<[u8; 16], Vec<Root>> = BTreeMap::new();
        for root in roots {
            if !before.contains(&root.machine) && !after.contains(&root.machine) {
                lost.entry(root.machine).or_default().push(root);
            }
        }
        for (machine, roots) in lost {
            store.remove(&roots)?;
            let snapshots = roots.len() as u64;
            gone.push(Gone { name: None, id: MachineId(machine).to_string(), snapshots });
        }
        Ok(gone)
    })
}

fn measured(
    store: &Store,
    work: impl FnOnce() -> Result<Vec<Gone>, ControlError>,
) -> Result<Reclaimed, ControlError> {
    let before = store.usage()?.bytes;
    let machines = work()?;
    Ok(Reclaimed { machines, freed_bytes: before.saturating_sub(store.usage()?.bytes) })
}

/// A machine that is not there yet, and that nobody makes any more, is set aside.
fn unfinished(home: &Home, folder: &MachineFolder) -> Result<Option<Leftover>, ControlError> {
    if check_name(folder.name()).is_err() || folder.exists() || !folder.draft().exists() {
        return Ok(None);
    }
    let lock = match Lock::take(folder) {
        Ok(lock) => lock,
        // Somebody makes it, or has just removed it.
        Err(LockError::Taken { .. }) => return Ok(None),
        Err(LockError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match Description::read_draft(folder) {
        _ if folder.exists() => Ok(None),
        Ok(None) => Ok(None),
        Ok(Some(draft)) => Leftover::set_aside(home, folder, &lock, draft.id).map(Some),
        // Torn by a power failure. What it has stored is found in the store.
        Err(ControlError::Damaged(_)) => {
            Leftover::set_aside(home, folder, &lock, MachineId::random()?).map(Some)
        }
        Err(error) => Err(error),
    }
}

/// How often a folder is looked at that has snapshots and does not say whose.
const LOOKS: u32 = 3;

/// Ids of all machines in the home, and of those that are being made or removed.
fn claimed(home: &Home) -> Result<HashSet<[u8; 16]>, ControlError> {
    let mut ids = HashSet::new();
    for folder in home.folders()? {
        if let Some(leftover) = Leftover::of(&folder) {
            ids.insert(leftover.id.0);
            continue;
        }
        // One that was removed or renamed between two of these looks is gone at the next, or whole.
        let said = (0..LOOKS).find_map(|_| said_ids(&folder).transpose());
        ids.extend(said.transpose()?.ok_or_else(|| {
            let (name, path) = (folder.name(), folder.path().display());
            ControlError::Damaged(format!(
                "{path} has snapshots and does not say of which machine, so that it is not known what in the \
                 store is nobody's: restore its machine.json from a copy, or let it go with `sentctl rm {name}`"
            ))
        })?);
    }
    Ok(ids)
}

/// Ids that a folder says are its machine's; `None` if it has snapshots and does not say whose.
fn said_ids(folder: &MachineFolder) -> Result<Option<Vec<[u8; 16]>>, ControlError> {
    // In this order: who makes a machine writes a draft, then has snapshots, then writes the description, and removes
    // the draft last.
    let has_snapshots = folder.timeline().exists();
    let draft = Description::read_draft(folder)?;
    let description = match Description::read(folder) {
        Err(error) if error.is_absence() => None,
        read => Some(read?),
    };
    let ids: Vec<_> = draft.into_iter().chain(description).map(|description| description.id.0).collect();
    Ok((!has_snapshots || !ids.is_empty()).then_some(ids))
}

impl Leftover {
    /// Step 1: from here on there is no such machine.
    ///
    /// # Errors
    /// [`ControlError::Io`]; the machine is as it was.
    pub fn set_aside(
        home: &Home,
        machine: &MachineFolder,
        _lock: &Lock,
        id: MachineId,
    ) -> Result<Self, ControlError> {
        let path = home.machines().join(format!("{ASIDE}{id}-{}", machine.name()));
        fs::rename(machine.path(), &path).map_err(ControlError::io(machine.path()))?;
        sync(&home.machines())?;
        Ok(Self { name: machine.name().to_owned(), id, path })
    }

    /// That of a folder with such a name.
    fn of(folder: &MachineFolder) -> Option<Self> {
        let (id, name) = folder.name().strip_prefix(ASIDE)?.split_once('-')?;
        let id = MachineId::try_from(id.to_owned()).ok()?;
        Some(Self { name: name.to_owned(), id, path: folder.path().to_owned() })
    }

    /// Those in a home.
    fn all(home: &Home) -> Result<Vec<Self>, ControlError> {
        Ok(home.folders()?.iter().filter_map(Self::of).collect())
    }

    /// Steps 2 and 3. Two may do it at once.
    fn finish(&self, home: &Home, store: &Store) -> Result<Gone, ControlError> {
        let gone = Gone { name: Some(self.name.clone()), id: self.id.to_string(), snapshots: 0 };
        let folder = match File::open(&self.path) {
            // Somebody else was faster.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(gone),
            opened => opened.map_err(ControlError::io(&self.path))?,
        };
        let locked = flock(&folder, FlockOperation::LockExclusive);
        locked.map_err(|error| ControlError::io(&self.path)(error.into()))?;
        let snapshots = self.release(home, store)?;
        self.delete(home)?;
        Ok(Gone { snapshots, ..gone })
    }

    /// Step 2: gives back what only its snapshots held; how many they were. None if another folder is a copy
    /// of the machine's, and has the same ones, or if that cannot be known: then [`reclaim`] sees to them.
    ///
    /// # Errors
    /// [`ControlError::Store`].
    pub fn release(&self, home: &Home, store: &Store) -> Result<u64, ControlError> {
        let copy = |folder: &MachineFolder| match Description::read(folder) {
            Ok(other) => other.id == self.id,
            Err(error) => !error.is_absence(),
        };
        if home.folders()?.iter().any(|folder| folder.path() != self.path && copy(folder)) {
            return Ok(0);
        }
        let roots = store.roots(Some(self.id.0))?;
        if !roots.is_empty() {
            store.remove(&roots)?;
        }
        Ok(roots.len() as u64)
    }

    /// Step 3: deletes the folder.
    ///
    /// # Errors
    /// [`ControlError::Io`].
    pub fn delete(&self, home: &Home) -> Result<(), ControlError> {
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(ControlError::io(&self.path)(error)),
            _ => sync(&home.machines()),
        }
    }
}

fn sync(folder: &Path) -> Result<(), ControlError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(ControlError::io(folder))
}
