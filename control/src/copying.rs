//! Copying files into containers that run, and out of them.
//!
//! Each question to the guest stands for itself, and nothing is locked between two of them: whoever sends or takes an
//! archive slowly holds up nobody. The machine may be put back meanwhile, and the container with it.

use crate::api::{ContainerState, Copied, FileInfo, FileType};
use crate::containers::{absolute, base, is_name};
use crate::error::ControlError;
use crate::session::Session;
use std::io::{self, Read, Write};

/// Files of a container that are to be copied.
#[derive(Clone, Debug)]
pub struct Copying {
    container: String,
    path: String,
    called: String,
}

impl Session {
    /// What a path of a container's names.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] and others.
    pub fn file(&self, name: &str, path: &str) -> Result<FileInfo, ControlError> {
        self.containers.files(&self.guest, name).look(&absolute(path))
    }

    /// What of a container is to be written as an archive, and how it is called there: as it is, if nothing is said, and
    /// not at all if it is called nothing.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] if it is not there, [`ControlError::Request`] if it cannot be called that.
    pub fn copying(&self, name: &str, path: &str, called: Option<String>) -> Result<Copying, ControlError> {
        let path = absolute(path);
        let info = self.containers.files(&self.guest, name).look(&path)?;
        let called = called.unwrap_or_else(|| base(&path).to_owned());
        if !(is_name(&called) || called.is_empty() && info.kind == FileType::Directory) {
            return Err(ControlError::Request(format!("{called:?} is no name for {path} in an archive")));
        }
        Ok(Copying { container: name.to_owned(), path, called })
    }

    /// Writes files of a container as an archive. The container does not run meanwhile if it is to be `paused`.
    ///
    /// # Errors
    /// [`ControlError`]; what was written is then not all of it.
    pub fn copy_out(&self, copying: &Copying, paused: bool, out: impl Write) -> Result<(), ControlError> {
        let Copying { container, path, called } = copying;
        let archive = || self.containers.files(&self.guest, container).archive(path, called, out);
        if !paused || self.container(container)?.state == ContainerState::Paused {
            return archive();
        }
        self.pause_container(container, true)?;
        let done = archive();
        // It may have ended meanwhile.
        let _ = self.pause_container(container, false);
        done
    }

    /// Puts what is in an archive into a directory of a container's.
    ///
    /// # Errors
    /// [`ControlError`]; what was put there before stays.
    pub fn copy_in(
        &self,
        name: &str,
        directory: &str,
        mut archive: impl Read,
    ) -> Result<Copied, ControlError> {
        let done = self.containers.files(&self.guest, name).extract(&absolute(directory), &mut archive);
        // To its end in any case: whoever is still sending does not hear an answer.
        let _ = io::copy(&mut archive, &mut io::sink());
        done
    }
}
