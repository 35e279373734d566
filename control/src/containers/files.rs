//! Files of containers that run, one question to the guest at a time.

use super::Containers;
use super::activity::ANSWER_PATIENCE;
use crate::api::{FileInfo, FileType};
use crate::error::ControlError;
use sentient_abi::container_files::{Entry, Failure, Kind, Request, Wanted};
use sentient_vmm::machine::resident::ResidentHandle;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How soon a container is asked again that was amid something with its files.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// The files that one container has: its own, or those of the one it is run with.
pub(crate) struct Files<'a> {
    containers: &'a Containers,
    guest: &'a ResidentHandle,
    name: &'a str,
}

/// A file in a directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listed {
    /// Its name, which is a name and nothing else.
    pub name: String,
    /// What it is.
    pub info: FileInfo,
}

impl Containers {
    /// The files of a container.
    pub(crate) fn files<'a>(&'a self, guest: &'a ResidentHandle, name: &'a str) -> Files<'a> {
        Files { containers: self, guest, name }
    }
}

impl Files<'_> {
    /// What a path names.
    ///
    /// # Errors
    /// [`ControlError::NotFound`] and others.
    pub fn look(&self, path: &str) -> Result<FileInfo, ControlError> {
        let answer = self.ask(path, Wanted::Look)?;
        let entry = Entry::take(&mut &answer[..]).ok_or_else(|| self.nonsense(path))?;
        Ok(info(&entry))
    }

    /// What is in a directory from a position on, 0 at first, and where to go on; nothing at its end.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] for what is no directory, and others.
    pub fn list(&self, path: &str, from: u64) -> Result<(Vec<Listed>, u64), ControlError> {
        let answer = self.ask(path, Wanted::List(from))?;
        let (mut rest, mut listed, mut next) = (&answer[..], Vec::new(), from);
        while !rest.is_empty() {
            let entry = Entry::take(&mut rest).filter(|entry| entry.next > next);
            let entry = entry.ok_or_else(|| self.nonsense(path))?;
            let name = std::str::from_utf8(entry.name).ok().filter(|name| is_name(name));
            let name = name.ok_or_else(|| self.nonsense(path))?.to_owned();
            listed.push(Listed { name, info: info(&entry) });
            next = entry.next;
        }
        Ok((listed, next))
    }

    /// Bytes of a file from a place on; none at its end.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn read(&self, path: &str, at: u64) -> Result<Vec<u8>, ControlError> {
        self.ask(path, Wanted::Read(at))
    }

    /// Where a symbolic link leads.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn target(&self, path: &str) -> Result<String, ControlError> {
        let target = String::from_utf8(self.ask(path, Wanted::Target)?).ok();
        target.filter(|target| !target.contains('\0')).ok_or_else(|| self.nonsense(path))
    }

    /// Changes something.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn change(&self, path: &str, wanted: Wanted<'_>) -> Result<(), ControlError> {
        self.ask(path, wanted).map(drop)
    }

    /// Asks until the container is not amid something of its own with its files.
    fn ask(&self, path: &str, wanted: Wanted<'_>) -> Result<Vec<u8>, ControlError> {
        let deadline = Instant::now() + ANSWER_PATIENCE;
        loop {
            match self.ask_once(path, wanted)? {
                Err(Failure::Busy) if Instant::now() < deadline => std::thread::sleep(BUSY_PAUSE),
                answer => return answer.map_err(|failure| self.refusal(path, failure)),
            }
        }
    }

    fn ask_once(&self, path: &str, wanted: Wanted<'_>) -> Result<Result<Vec<u8>, Failure>, ControlError> {
        let (name, index) = self.containers.owner(self.name, |owner| (owner.name.clone(), owner.index))?;
        let number = self.containers.questions.fetch_add(1, Relaxed);
        let failures = self.containers.failures();
        self.guest
            .ask_files(index, number, &Request { wanted, path: path.as_bytes() })
            .map_err(|error| ControlError::Request(error.to_string()))?;
        self.containers.wait_for_answer(failures, ANSWER_PATIENCE, |table| {
            let Some(entry) = table.iter_mut().find(|entry| entry.name == name && entry.is_live()) else {
                return Some(Err(self.containers.ended_meanwhile(&name)));
            };
            entry.answered.take_if(|(answered, _)| *answered == number).map(|(_, answer)| Ok(answer))
        })?
    }

    fn refusal(&self, path: &str, failure: Failure) -> ControlError {
        let name = self.name;
        let why = match failure {
            Failure::Gone => return self.containers.ended_meanwhile(name),
            Failure::NotFound => return ControlError::NotFound(format!("`{name}` has no file {path}")),
            Failure::Request => "the guest does not understand what is wanted of it",
            Failure::NotADirectory => "a file is where a directory would have to be",
            Failure::IsADirectory => "it is a directory",
            Failure::Exists => "something else is there already",
            Failure::NoSpace => {
                "the container has no room for it; its memory limit, or its permissions, say how much it has"
            }
            Failure::Outside => "it leads out of the container's files",
            Failure::Name => "a name in it is too long, or is none",
            Failure::Links => "too many symbolic links are on the way",
            Failure::Busy => {
                "the container has been waiting for one of its folders of this host for too long"
            }
            Failure::Other => "the guest does not do that",
        };
        ControlError::Conflict(format!("{path} of `{name}`: {why}"))
    }

    fn nonsense(&self, path: &str) -> ControlError {
        ControlError::Conflict(format!("the guest says of {path} of `{}` what no file can be", self.name))
    }
}

/// Whether it is the name of a file in a directory, and no path.
pub(crate) fn is_name(name: &str) -> bool {
    !matches!(name, "" | "." | "..") && !name.contains(['/', '\0'])
}

fn info(entry: &Entry<'_>) -> FileInfo {
    let kind = match entry.kind {
        Kind::File => FileType::File,
        Kind::Directory => FileType::Directory,
        Kind::Link => FileType::Link,
    };
    FileInfo { kind, size: entry.size, modified_unix_ns: entry.modified }
}
