//! What is written down of faults: `.panic/trace.recover`, a line for each and what was done about it, and
//! `.panic/fallback.zk`, the last good snapshot.

use crate::api::Recovered;
use crate::error::ControlError;
use crate::history::History;
use crate::home::{MachineFolder, append_to, make_folder};
use sentient_snapshot::record::SnapshotId;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

/// A time as part of a file's name: milliseconds since 1970.
pub(super) fn now_ms(unix_ns: u64) -> u64 {
    unix_ns / 1_000_000
}

/// `.panic/fallback.zk`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fallback {
    /// The last good snapshot.
    snapshot: String,
    /// The hash of its vCPU's and devices' state.
    state: String,
}

impl Fallback {
    /// The last good snapshot, as a machine's file says; `None` where there is none, or one that cannot be read or is gone.
    pub(super) fn good(history: &History) -> Option<SnapshotId> {
        let text = std::fs::read(history.machine().fallback()).ok()?;
        let fallback: Self = serde_json::from_slice(&text).ok()?;
        Some(history.named(&fallback.snapshot).ok()?.id())
    }

    /// Writes down a snapshot that was found good.
    pub(super) fn write(history: &History, id: SnapshotId) -> Result<(), ControlError> {
        let record = history.timeline().get(id)?;
        let fallback = Self {
            snapshot: id.to_string(),
            state: format!("{}", blake3::Hash::from(record.record().state.0)),
        };
        let text = serde_json::to_string(&fallback).map_err(|error| ControlError::Bug(error.to_string()))?;
        let path = history.machine().fallback();
        make_folder(&history.machine().panics()).map_err(ControlError::io(&path))?;
        crate::description::note(&path, &format!("{text}\n"))
    }
}

/// Has a machine fall to zero mode.
pub(super) fn fall(machine: &MachineFolder, line: &Recovered) -> Result<(), ControlError> {
    make_folder(&machine.panics()).map_err(ControlError::io(&machine.panics()))?;
    crate::description::note(&machine.fallen(), &format!("{}\n", line.what))
}

/// Why a machine has fallen to zero mode; `None` if it has not.
#[must_use]
pub fn fallen(machine: &MachineFolder) -> Option<String> {
    let why = std::fs::read_to_string(machine.fallen()).ok()?;
    Some(why.trim().to_owned())
}

/// It is booted as usual from here on.
///
/// # Errors
/// That of removing the note.
pub fn rise(machine: &MachineFolder) -> Result<(), ControlError> {
    match std::fs::remove_file(machine.fallen()) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(ControlError::io(&machine.fallen())(error))
        }
        _ => Ok(()),
    }
}

/// Has a machine that does not run stand at its last good snapshot: the next boot goes on from there. Gives that snapshot, or the
/// current one if none was found good.
///
/// # Errors
/// [`ControlError`].
pub fn recover_stopped(history: &History) -> Result<SnapshotId, ControlError> {
    rise(history.machine())?;
    let current = history.current()?.id();
    match Fallback::good(history).filter(|good| *good != current) {
        Some(good) => history.moved(good, None).map(|()| good),
        None => Ok(current),
    }
}

/// Appends what was done; it is durable when this returns.
pub(super) fn append(machine: &MachineFolder, line: &Recovered) -> io::Result<()> {
    make_folder(&machine.panics())?;
    let path = machine.recoveries();
    let mut text = serde_json::to_string(line)?;
    text.push('\n');
    // One that was cut short, because the disk was full or the host crashed, takes no other one with it.
    if is_cut(&path)? {
        text.insert(0, '\n');
    }
    let mut file = append_to(&path)?;
    file.write_all(text.as_bytes())?;
    file.sync_data()
}

/// Whether a file of lines does not end with the end of one.
fn is_cut(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        opened => opened?,
    };
    let len = file.metadata()?.len();
    let mut last = [b'\n'];
    if let Some(at) = len.checked_sub(1) {
        file.read_exact_at(&mut last, at)?;
    }
    Ok(last != [b'\n'])
}

/// What was done about a machine's faults, the oldest first. A line that a crash has cut short is left out.
///
/// # Errors
/// That of reading.
pub fn recoveries(machine: &MachineFolder) -> Result<Vec<Recovered>, ControlError> {
    let path = machine.recoveries();
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.map_err(ControlError::io(&path))?,
    };
    let lines = BufReader::new(file).lines().collect::<Result<Vec<_>, _>>();
    let lines = lines.map_err(ControlError::io(&path))?;
    Ok(lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_was_cut_short_is_known_by_its_end() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("trace.recover");
        assert!(!is_cut(&path)?, "a file that is not there");
        for (text, cut) in [("", false), ("{}\n", false), ("{}\n{\"unix", true)] {
            std::fs::write(&path, text)?;
            assert_eq!(is_cut(&path)?, cut, "{text:?}");
        }
        Ok(())
    }
}
