//! What is known of a container, in its folder.

use crate::api::{PackageInfo, StartContainer};
use crate::error::ControlError;
use crate::home::{MachineFolder, make_folder};
use serde::{Deserialize, Serialize};
use std::fs;
use std::path::Path;

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
    /// The SHA3-256 digest of its program's file.
    #[serde(default)]
    pub file_digest: Option<String>,
}

impl Kept {
    /// Of a container of which nothing else is known.
    pub fn unknown(program: &str) -> Self {
        Self { program: program.to_owned(), package: None, confined: false, start: None, file_digest: None }
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
