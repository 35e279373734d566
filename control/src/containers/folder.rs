//! What is in a container's folder: its output, and what is known of it.

use crate::api::{PackageInfo, StartContainer};
use crate::error::ControlError;
use crate::home::{MachineFolder, append_to, make_folder};
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file that says what a container is.
const FILE: &str = "container.json";

/// What is kept of a container, for processes to come.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Kept {
    /// Its program's file name.
    pub program: String,
    /// The package it is of.
    #[serde(default)]
    pub package: Option<PackageInfo>,
    /// Whether it may do only what permissions allow.
    #[serde(default)]
    pub confined: bool,
    /// How it was started.
    #[serde(default)]
    pub start: Option<StartContainer>,
}

impl Kept {
    /// Of a container of which nothing else is known.
    pub fn unknown(program: &str) -> Self {
        Self { program: program.to_owned(), package: None, confined: false, start: None }
    }

    /// Reads it from a container's folder. A file that is not there, or damaged, is nothing known: `name` stands for
    /// the program then.
    pub fn read(folder: &Path, name: &str) -> Self {
        let read = fs::read(folder.join(FILE)).ok();
        read.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_else(|| Self::unknown(name))
    }

    /// Copies what a machine knows of its containers to one that goes on from it, as far as there is anything: without
    /// it a container runs as well, and nobody knows what it is of.
    pub fn carry_over<'a>(from: &MachineFolder, to: &MachineFolder, names: impl Iterator<Item = &'a str>) {
        for name in names {
            let (from, to) = (from.container(name), to.container(name));
            if make_folder(&to).is_ok() && !to.join(FILE).exists() {
                let _ = fs::copy(from.join(FILE), to.join(FILE));
            }
        }
    }

    /// Writes it into a container's folder.
    ///
    /// # Errors
    /// That of writing.
    pub fn write(&self, folder: &Path) -> Result<(), ControlError> {
        let text = serde_json::to_string(self).map_err(|error| ControlError::Bug(error.to_string()))?;
        fs::write(folder.join(FILE), text).map_err(ControlError::io(folder))
    }
}

/// A file that output is appended to.
#[derive(Debug)]
pub struct Sink {
    /// The file's path.
    pub path: PathBuf,
    /// `None` until there is something to write: making a file takes longer than most containers' output.
    pub file: Option<File>,
    /// Bytes the container has written since its start, as it sees it.
    pub bytes: u64,
}

impl Sink {
    /// One that has written nothing, and whose file is not open.
    pub fn new(path: PathBuf) -> Self {
        Self { path, file: None, bytes: 0 }
    }

    /// Opens its file, and makes it if there is none.
    ///
    /// # Errors
    /// That of opening.
    pub fn open(&mut self) -> io::Result<&mut File> {
        match &mut self.file {
            Some(file) => Ok(file),
            none => Ok(none.insert(append_to(&self.path)?)),
        }
    }

    /// Appends what the container has written.
    ///
    /// # Errors
    /// That of writing.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes = self.bytes.saturating_add(bytes.len() as u64);
        self.open()?.write_all(bytes)
    }
}
