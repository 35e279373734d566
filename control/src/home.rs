//! Where machines live: a folder each, under one home that they share a page store in.
//!
//! ```text
//! HOME/                      $XDG_DATA_HOME/sentientos, or --home
//!   store/                   pages of all machines, each once
//!   keys/                    keys that proofs are made with
//!   auth/                    keys that this user's packages are signed with
//!   machines/NAME/
//!     machine.json           what the machine is: its id, RAM, kernel
//!     recycle.lock           the snapshot it stands at
//!     recycle.trace          what was done to it: a JSON object a line, appended
//!     .auth/machine.key      the key that signs its snapshots
//!     .container/NAME/       each container's output
//!     .lock/, .trace/        what happened to it, and proofs of that: see `proofs::places`
//!     .heal/trigger/         what is to be done about its faults
//!     .panic/                its last good snapshot, and what was done about its faults
//!     .runtime/              the running process: lock, socket, log; and the timeline
//! ```

use crate::description::Description;
use sentient_snapshot::keys;
pub use sentient_snapshot::keys::{KeyError, secret};
use sentient_snapshot::timeline::names::MIN_PREFIX;
use std::fs::{DirBuilder, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Why there is no such home or machine.
#[derive(Debug, thiserror::Error)]
pub enum HomeError {
    /// Neither an option nor the environment says where.
    #[error("there is no place for machines: set HOME or XDG_DATA_HOME, or pass --home FOLDER")]
    Nowhere,
    /// A name that cannot be one.
    #[error(
        "`{0}` cannot be a machine's name: 1 to 64 letters, digits, `.`, `_` and `-`, not starting with `.` or `-`"
    )]
    Name(String),
    /// A name that cannot be a container's.
    #[error(
        "`{0}` cannot be a container's name: 1 to 64 letters, digits, `.`, `_` and `-`, not starting with `.` or `-`"
    )]
    ContainerName(String),
    /// No machine of that name.
    #[error("there is no machine `{name}` in {}; `sentctl init {name}` makes one", home.display())]
    Unknown {
        /// The name.
        name: String,
        /// The home.
        home: PathBuf,
    },
    /// No machine at all.
    #[error("there is no machine in {}; `sentctl init NAME` makes one", .0.display())]
    None(PathBuf),
    /// Several machines, and none named.
    #[error("which machine? There are {names}: name one with --machine or SENTCTL_MACHINE", names = .0.join(", "))]
    Several(Vec<String>),
    /// A file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl HomeError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The home of machines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The folder the user names, or the one the XDG base directory specification gives.
    ///
    /// # Errors
    /// [`HomeError::Nowhere`].
    pub fn find(named: Option<PathBuf>) -> Result<Self, HomeError> {
        if let Some(folder) = named {
            return std::path::absolute(&folder).map(Self).map_err(HomeError::io(&folder));
        }
        let absolute =
            |name: &str| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let data = absolute("XDG_DATA_HOME").or_else(|| Some(absolute("HOME")?.join(".local/share")));
        data.map(|data| Self(data.join("sentientos"))).ok_or(HomeError::Nowhere)
    }

    /// Its folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The page store that the machines share.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }

    /// The images, by name and version.
    #[must_use]
    pub fn images(&self) -> PathBuf {
        self.0.join("images")
    }

    /// The secret that this user's packages are signed with by an algorithm; made if there is none.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn package_secret(&self, algorithm: &str) -> Result<[u8; 32], KeyError> {
        keys::secret_or_new(&self.0.join("auth").join(format!("{algorithm}.key")))
    }

    /// The folder of a machine that may or may not exist.
    ///
    /// # Errors
    /// [`HomeError::Name`].
    pub fn machine(&self, name: &str) -> Result<MachineFolder, HomeError> {
        check_name(name)?;
        Ok(MachineFolder { name: name.to_owned(), path: self.machines().join(name) })
    }

    /// The machine the user means: the one of this name, or whose id begins with it; or else the only one
    /// there is.
    ///
    /// # Errors
    /// [`HomeError`].
    pub fn chosen(&self, named: Option<&str>) -> Result<MachineFolder, HomeError> {
        if let Some(name) = named {
            let machine = self.machine(name)?;
            return if machine.exists() { Ok(machine) } else { self.with_id(name) };
        }
        let mut names = self.names()?;
        match names.len() {
            0 => Err(HomeError::None(self.0.clone())),
            1 => self.machine(&names.remove(0)),
            _ => Err(HomeError::Several(names)),
        }
    }

    /// The machine whose id begins with these digits. One that cannot be read has none.
    fn with_id(&self, digits: &str) -> Result<MachineFolder, HomeError> {
        let mut found = Vec::new();
        if digits.len() >= MIN_PREFIX {
            let begins = |machine: &MachineFolder| {
                let id = Description::read(machine).map(|description| description.id.to_string());
                id.is_ok_and(|id| id.starts_with(&digits.to_ascii_lowercase()))
            };
            for name in self.names()? {
                if begins(&self.machine(&name)?) {
                    found.push(name);
                }
            }
        }
        match found.as_slice() {
            [] => Err(HomeError::Unknown { name: digits.to_owned(), home: self.0.clone() }),
            [name] => self.machine(name),
            _ => Err(HomeError::Several(found)),
        }
    }

    /// Names of all machines, sorted.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub fn names(&self) -> Result<Vec<String>, HomeError> {
        let there = |folder: &MachineFolder| check_name(folder.name()).is_ok() && folder.exists();
        let mut names: Vec<String> =
            self.folders()?.into_iter().filter(there).map(|folder| folder.name).collect();
        names.sort_unstable();
        Ok(names)
    }

    /// The folder of machines' folders.
    #[must_use]
    pub fn machines(&self) -> PathBuf {
        self.0.join("machines")
    }

    /// All folders that are or may be machines: those that are being made, were never finished, or are called
    /// what no machine can be called, too.
    ///
    /// # Errors
    /// [`HomeError::Io`].
    pub(crate) fn folders(&self) -> Result<Vec<MachineFolder>, HomeError> {
        let machines = self.machines();
        let entries = match fs::read_dir(&machines) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(HomeError::io(&machines))?,
        };
        let mut folders = Vec::new();
        for entry in entries {
            let entry = entry.map_err(HomeError::io(&machines))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            folders.push(MachineFolder { name, path: entry.path() });
        }
        Ok(folders)
    }
}

pub(crate) fn check_name(name: &str) -> Result<(), HomeError> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    let good = (1..=64).contains(&name.len()) && name.bytes().all(allowed) && !name.starts_with(['.', '-']);
    if good { Ok(()) } else { Err(HomeError::Name(name.to_owned())) }
}

/// Whether this can be a container's name: the rules of machines' names, which keep it within its folder.
///
/// # Errors
/// [`HomeError::ContainerName`].
pub fn check_container_name(name: &str) -> Result<(), HomeError> {
    check_name(name).map_err(|_| HomeError::ContainerName(name.to_owned()))
}

/// Makes a folder, and those above it, for the owner alone.
///
/// # Errors
/// The error of mkdir; one that is there is none.
pub fn make_folder(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Another path of a file that is or will be in an open folder, for as long as that is open. A socket's path is limited
/// to 108 bytes (unix(7)); this one is short.
///
/// # Errors
/// The error of opening the folder.
pub fn short_path(path: &Path) -> io::Result<(File, PathBuf)> {
    let (Some(folder), Some(file)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let folder = File::open(folder)?;
    let short = Path::new("/proc/self/fd").join(folder.as_raw_fd().to_string()).join(file);
    Ok((folder, short))
}

/// Opens a file that only grows, for the owner alone.
///
/// # Errors
/// The error of open.
pub fn append_to(path: &Path) -> io::Result<File> {
    File::options().append(true).create(true).mode(0o600).open(path)
}

/// A machine's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MachineFolder {
    name: String,
    path: PathBuf,
}

impl MachineFolder {
    /// The machine's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a machine in it: an `init` that was interrupted has left none.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.description().exists()
    }

    /// What the machine is. Written last when a machine is made.
    #[must_use]
    pub fn description(&self) -> PathBuf {
        self.path.join("machine.json")
    }

    /// What the machine will be, while it is being made.
    #[must_use]
    pub fn draft(&self) -> PathBuf {
        self.runtime().join("draft.json")
    }

    /// Files of the running process.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        self.path.join(".runtime")
    }

    /// The socket the machine is driven over.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime().join("control.sock")
    }

    /// The socket that forks of the running machine are asked for over.
    #[must_use]
    pub fn fork_socket(&self) -> PathBuf {
        self.runtime().join("fork.sock")
    }

    /// What the machine's process has to say.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.runtime().join("vmm.log")
    }

    /// Pages that its last start used first.
    #[must_use]
    pub fn working_set(&self) -> PathBuf {
        self.runtime().join("working-set")
    }

    /// How the machine ended last.
    #[must_use]
    pub fn last_end(&self) -> PathBuf {
        self.runtime().join("last-end")
    }

    /// What there is of its faults.
    #[must_use]
    pub fn panics(&self) -> PathBuf {
        self.path.join(".panic")
    }

    /// What was done about its faults: a JSON object a line, appended.
    #[must_use]
    pub fn recoveries(&self) -> PathBuf {
        self.panics().join("trace.recover")
    }

    /// Its last good snapshot.
    #[must_use]
    pub fn fallback(&self) -> PathBuf {
        self.panics().join("fallback.zk")
    }

    /// How reports of its faults are sent, if its owner wants them to be.
    #[must_use]
    pub fn log_send(&self) -> PathBuf {
        self.panics().join("log.send")
    }

    /// It has fallen to zero mode, and is not booted as usual before somebody says so. Says why.
    #[must_use]
    pub fn fallen(&self) -> PathBuf {
        self.panics().join("zero")
    }

    /// What is to be done about something, if its owner says so.
    #[must_use]
    pub fn trigger(&self, on: &str) -> PathBuf {
        self.path.join(".heal").join("trigger").join(format!("{on}.yaml"))
    }

    /// The timeline of its snapshots.
    #[must_use]
    pub fn timeline(&self) -> PathBuf {
        self.runtime().join("timeline.redb")
    }

    /// The key that signs its snapshots.
    #[must_use]
    pub fn key(&self) -> PathBuf {
        self.path.join(".auth").join("machine.key")
    }

    /// The folder of the containers' folders.
    #[must_use]
    pub fn containers(&self) -> PathBuf {
        self.path.join(".container")
    }

    /// A container's folder.
    #[must_use]
    pub fn container(&self, name: &str) -> PathBuf {
        self.containers().join(name)
    }

    /// The snapshot the machine stands at, for people.
    #[must_use]
    pub fn recycle_lock(&self) -> PathBuf {
        self.path.join("recycle.lock")
    }

    /// What was done to the machine.
    #[must_use]
    pub fn recycle_trace(&self) -> PathBuf {
        self.path.join("recycle.trace")
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_leave_the_home() {
        let home = Home::find(Some("/tmp/home".into())).unwrap();
        for bad in ["", ".", "..", "../x", "a/b", "-x", "a b", "ä", &"x".repeat(65)] {
            assert!(matches!(home.machine(bad), Err(HomeError::Name(_))), "{bad:?}");
        }
        assert!(home.machine("demo-2.x_y").is_ok());
    }

    #[test]
    fn the_only_machine_is_meant_unless_one_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::find(Some(folder.path().into())).unwrap();
        assert!(matches!(home.chosen(None), Err(HomeError::None(_))));
        let make = |name: &str| {
            let machine = home.machine(name).unwrap();
            fs::create_dir_all(machine.path()).unwrap();
            Description::new(1 << 27, true).unwrap().write(&machine).unwrap();
        };
        make("one");
        assert_eq!(home.chosen(None).unwrap().name(), "one");
        assert!(matches!(home.chosen(Some("two")), Err(HomeError::Unknown { .. })));
        make("two");
        let several = home.chosen(None).unwrap_err().to_string();
        assert!(several.contains("one, two"), "{several}");
        assert_eq!(home.chosen(Some("two")).unwrap().name(), "two");
        let id = Description::read(&home.machine("two").unwrap()).unwrap().id.to_string();
        for digits in [&id, &id[..12], &id[..12].to_ascii_uppercase()] {
            assert_eq!(home.chosen(Some(digits)).unwrap().name(), "two");
        }
        assert!(matches!(home.chosen(Some(&id[..3])), Err(HomeError::Unknown { .. })));
        // A name goes first, even if it is the beginning of another one's id.
        make(&id[..5]);
        assert_eq!(home.chosen(Some(&id[..5])).unwrap().name(), &id[..5]);
        assert_eq!(home.chosen(Some(&id[..6])).unwrap().name(), "two");
    }
}
