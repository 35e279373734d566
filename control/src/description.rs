//! What a machine is, beyond its snapshots: `machine.json` in its folder.

use crate::error::ControlError;
use crate::home::MachineFolder;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// Version of the file.
const FORMAT: u32 = 1;

/// What a machine is. Never changes once it is made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Description {
    format: u32,
    /// The machine's id: 32 hexadecimal digits. A fork has one of its own.
    pub id: MachineId,
    /// RAM, in bytes.
    pub ram_bytes: u64,
    /// Whether its transitions are proved.
    #[serde(default = "proved", skip_serializing_if = "bool::clone")]
    pub zk: bool,
}

fn proved() -> bool {
    true
}

/// A machine's id: 16 random bytes.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MachineId(pub [u8; 16]);

impl std::fmt::Display for MachineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for MachineId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "MachineId({self})")
    }
}

impl From<MachineId> for String {
    fn from(id: MachineId) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for MachineId {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parsed = u128::from_str_radix(&text, 16).ok().filter(|_| text.len() == 32);
        parsed
            .map(|id| Self(id.to_be_bytes()))
            .ok_or_else(|| format!("`{text}` is no machine id of 32 hexadecimal digits"))
    }
}

impl MachineId {
    /// A new one.
    ///
    /// # Errors
    /// The error of getrandom.
    pub fn random() -> Result<Self, ControlError> {
        let mut id = [0; 16];
        rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| ControlError::io("making a machine id")(error.into()))?;
        Ok(Self(id))
    }
}

impl Description {
    /// Of a new machine.
    ///
    /// # Errors
    /// The error of getrandom.
    pub fn new(ram_bytes: u64, zk: bool) -> Result<Self, ControlError> {
        Ok(Self { format: FORMAT, id: MachineId::random()?, ram_bytes, zk })
    }

    /// Of a machine that is being made: with the id of an attempt that was interrupted, so that what that one
    /// has left in the store is found and removed, like all that its timeline does not know.
    ///
    /// # Errors
    /// The error of getrandom.
    pub fn of_new(machine: &MachineFolder, ram_bytes: u64, zk: bool) -> Result<Self, ControlError> {
        match Self::read_draft(machine) {
            Ok(Some(draft)) => Ok(Self { ram_bytes, zk, ..draft }),
            // What cannot be read is no use.
            Ok(None) | Err(_) => Self::new(ram_bytes, zk),
        }
    }

    /// Reads a machine's.
    ///
    /// # Errors
    /// [`ControlError`] if it is not there, or is none.
    pub fn read(machine: &MachineFolder) -> Result<Self, ControlError> {
        Self::read_from(&machine.description())
    }

    /// Reads that of a machine that is being made; `None` if there is none.
    ///
    /// # Errors
    /// [`ControlError`] if it is none.
    pub fn read_draft(machine: &MachineFolder) -> Result<Option<Self>, ControlError> {
        match Self::read_from(&machine.draft()) {
            Err(error) if error.is_absence() => Ok(None),
            read => read.map(Some),
        }
    }

    fn read_from(path: &Path) -> Result<Self, ControlError> {
        let text = fs::read_to_string(path).map_err(ControlError::io(path))?;
        let description: Self = serde_json::from_str(&text).map_err(|error| {
            ControlError::Damaged(format!("{}: {error}; restore it from a copy", path.display()))
        })?;
        if description.format != FORMAT {
            return Err(ControlError::Damaged(format!(
                "{} has format {}, and this build reads {FORMAT}; use the build that wrote it",
                path.display(),
                description.format
            )));
        }
        Ok(description)
    }

    /// Says which machine is being made, before anything of it is stored: so that others know whose that is.
    ///
    /// # Errors
    /// The error of writing.
    pub fn write_draft(&self, machine: &MachineFolder) -> Result<(), ControlError> {
        note(&machine.draft(), &self.text()?)
    }

    /// Writes it, durably: with this the machine exists.
    ///
    /// # Errors
    /// The error of writing.
    pub fn write(&self, machine: &MachineFolder) -> Result<(), ControlError> {
        replace(machine, &machine.description(), self.text()?.as_bytes())?;
        // In this order, so that there is always one of the two. One that stays says nothing else.
        let _ = fs::remove_file(machine.draft());
        Ok(())
    }

    fn text(&self) -> Result<String, ControlError> {
        let text =
            serde_json::to_string_pretty(self).map_err(|error| ControlError::Bug(error.to_string()))?;
        Ok(format!("{text}\n"))
    }
}

/// Replaces a file of a machine's folder, durably: after a crash it is the old one or the new one.
///
/// # Errors
/// The error of writing.
pub fn replace(machine: &MachineFolder, path: &Path, bytes: &[u8]) -> Result<(), ControlError> {
    let write = || {
        put(path, bytes)?.sync_all()?;
        fs::rename(new_name(path), path)?;
        File::open(machine.path())?.sync_all()
    };
    write().map_err(ControlError::io(path))
}

/// Replaces a file that says for people what is known elsewhere: whole or not at all, but not waited for.
///
/// # Errors
/// The error of writing.
pub fn note(path: &Path, text: &str) -> Result<(), ControlError> {
    let write = || {
        put(path, text.as_bytes())?;
        fs::rename(new_name(path), path)
    };
    write().map_err(ControlError::io(path))
}

fn put(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let mut file =
        File::options().write(true).create(true).truncate(true).mode(0o600).open(new_name(path))?;
    file.write_all(bytes)?;
    Ok(file)
}

fn new_name(path: &Path) -> PathBuf {
    path.with_extension("new")
}
