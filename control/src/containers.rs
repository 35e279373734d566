//! The containers of a running machine: who they are, what they have written, what has become of them.
//!
//! The table follows the guest: it is told by the console what starts and ends, and after a rollback by the
//! snapshot's record what runs again. Output goes to files in the container's folder, which only grow: what
//! was written before a rollback stays written, and what the container writes after it comes behind.

mod activity;
mod archive;
mod files;
mod folder;
mod mounted;
mod outputs;
mod published;
mod recorded;
pub(crate) mod routes;

use crate::api::{ContainerState, ContainerStatus, Origin, PackageInfo, StartContainer};
use crate::error::ControlError;
use crate::folders::{FolderMapping, first_volume};
use crate::home::{MachineFolder, check_container_name, make_folder};
use crate::logs::{ContainerLog, Stream};
use crate::ports::PublishedPort;
pub(crate) use archive::{absolute, base};
pub(crate) use files::is_name;
pub(crate) use folder::Kept;
pub use outputs::Outputs;
pub use recorded::Returning;
use sentient_abi::MAX_CONTAINERS;
use sentient_abi::boot_module::container_flags;
use sentient_abi::container_files::Failure;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::mounts;
use sentient_abi::stdio::{FULL_WEIGHT, Status, WEIGHTS};
use sentient_images::ImageCache;
use sentient_images::program::{self, Prepared, Wanted};
use sentient_images::tso::digest::Digest;
use sentient_images::tso::permissions::Permissions;
use sentient_vmm::ContainerRun;
use sentient_vmm::machine::NotRunning;
use sentient_vmm::machine::resident::ResidentHandle;
use sentient_vmm::network::Network;
use sentient_vmm::volumes::Mounting;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Longest program's file that is kept in memory, in bytes.
const MOST_REMEMBERED: usize = 256 << 10;

/// How long a container may take to come up.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// The containers of a machine.
pub struct Containers {
    machine: MachineFolder,
    images: ImageCache,
    /// The last program's file that was started, if it is small, and its digest.
    last_file: Mutex<Option<(Vec<u8>, String)>>,
    table: Mutex<Vec<Entry>>,
    changed: Condvar,
    /// The guest has failed: it answers nobody.
    mute: AtomicBool,
    /// How often it has, and has gone on: what was asked before is answered by nobody.
    failures: AtomicU64,
    /// Numbers of questions about files.
    questions: AtomicU32,
    network: OnceLock<Network>,
    mounting: OnceLock<Mounting>,
    watcher: OnceLock<Watcher>,
}

/// What has become of a container, without anybody here having done it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It runs, or cannot be started.
    Runs,
    /// It has trapped, and is held until it is put back or killed.
    Trapped,
    /// It has ended.
    Ended(ContainerEnd),
}

/// Who is told that.
type Watcher = Box<dyn Fn(&str, Told) + Send + Sync>;

#[derive(Debug)]
struct Entry {
    name: String,
    index: u32,
    kept: Kept,
    state: ContainerState,
    /// The guest has said that it has not got its image.
    wants_image: bool,
    /// What the guest has said of it; nothing since it was put back, or is asked anew.
    takes: Option<Status>,
    /// What it has answered about its container's files, and to which question.
    answered: Option<(u32, Result<Vec<u8>, Failure>)>,
    exit_code: Option<u8>,
    reason: Option<String>,
    published: Vec<PublishedPort>,
    /// It has trapped, and is held by the guest.
    held: bool,
    /// Its standard input was ended, by who gave it.
    input_ended: bool,
    log: ContainerLog,
}

/// Whose files a container has.
struct Owner {
    name: String,
    index: u32,
    /// Folders of this host that are among them.
    volumes: Vec<FolderMapping>,
}

impl Owner {
    fn of(entry: &Entry) -> Self {
        let volumes = entry.kept.start.as_ref().map(|start| start.volumes.clone()).unwrap_or_default();
        Self { name: entry.name.clone(), index: entry.index, volumes }
    }
}

impl Entry {
    fn is_live(&self) -> bool {
        self.state != ContainerState::Ended
    }

    fn status(&self) -> ContainerStatus {
        ContainerStatus {
            name: self.name.clone(),
            index: self.index,
            program: self.kept.program.clone(),
            package: self.kept.package.clone(),
            confined: self.kept.confined,
            state: match (self.state, self.takes) {
                (ContainerState::Running, Some(Status { paused: true, .. })) => ContainerState::Paused,
                (state, _) => state,
            },
            exit_code: self.exit_code,
            reason: self.reason.clone(),
            ports: self.published.clone(),
            stdin: self.takes_input(),
            stdout_bytes: self.log.bytes(Stream::Stdout),
            stderr_bytes: self.log.bytes(Stream::Stderr),
        }
    }

    /// Whether there is any use in giving it standard input.
    fn takes_input(&self) -> bool {
        self.is_live() && !self.input_ended && self.kept.start.as_ref().is_some_and(|start| start.stdin)
    }

    fn end(&mut self, exit_code: Option<u8>, reason: Option<String>) {
        self.state = ContainerState::Ended;
        self.exit_code = exit_code;
        self.reason = reason;
        self.published.clear();
        self.seal();
    }

    fn seal(&mut self) {
        if let Err(error) = self.log.seal() {
            tracing::warn!(%error, container = self.name, "its output is not in the chain yet");
        }
    }
}

impl Containers {
    /// No containers. `images` is the folder of compiled images.
    #[must_use]
    pub fn new(machine: MachineFolder, images: Option<PathBuf>) -> Arc<Self> {
        Arc::new(Self {
            machine,
            images: ImageCache::new(images).remembering(),
            last_file: Mutex::default(),
            table: Mutex::new(Vec::new()),
            changed: Condvar::new(),
            mute: AtomicBool::new(false),
            failures: AtomicU64::new(0),
            questions: AtomicU32::new(0),
            network: OnceLock::new(),
            mounting: OnceLock::new(),
            watcher: OnceLock::new(),
        })
    }

    fn table(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compiles a program, loads it into the machine and waits until it runs.
    ///
    /// # Errors
    /// [`ControlError`], with the guest's own reason if it refuses.
    pub fn start(
        &self,
        guest: &ResidentHandle,
        wanted: &StartContainer,
    ) -> Result<ContainerStatus, ControlError> {
        let program = PathBuf::from(&wanted.program);
        ControlError::unless_absolute("program", &program)?;
        let owner = wanted.files_of.as_deref().map(|owner| self.owner(owner, Owner::of)).transpose()?;
        let mut wanted = wanted.clone();
        if let Some(Owner { name, volumes, .. }) = &owner {
            wanted.files_of = Some(name.clone());
            wanted.volumes.clone_from(volumes);
        }
        let files_of = owner.as_ref().map(|owner| owner.index);
        let (Prepared { mut spec, image, package, .. }, file_digest) =
            self.prepare(&program, &wanted, files_of)?;
        wanted.connect = spec.destinations.lines().map(str::to_owned).collect();
        let file_name =
            program.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let name = match (&wanted.name, &package) {
            (Some(name), _) => name.clone(),
            (None, _) if let Some(owner) = &owner => self.free_name(&format!("{}-exec", owner.name)),
            (None, Some(package)) => self.free_name(&package.name),
            (None, None) => self.free_name(file_name.strip_suffix(".wasm").unwrap_or(&file_name)),
        };
        let kept = Kept {
            confined: spec.permissions.is_some(),
            package: package.map(PackageInfo::from),
            start: Some(StartContainer { name: Some(name.clone()), ..wanted.clone() }),
            program: file_name,
            file_digest: Some(file_digest),
        };
        let index = self.enter(&name, kept)?;
        mounts::renumber(&mut spec.mounts, first_volume(index));
        if self.watcher.get().is_some() {
            spec.flags |= container_flags::HOLD;
        }
        let given = self.mount(&name, index, &wanted.volumes);
        if let Err(error) = given.and_then(|()| self.publish(&name, index, &wanted)) {
            self.table().retain(|entry| entry.name != name);
            self.unmount(index);
            return Err(error);
        }
        let run = ContainerRun { spec, image };
        let load = || -> Result<(), ControlError> {
            guest.load(index, &run)?;
            if !wanted.stdin {
                guest.end_input(index);
            }
            Ok(())
        };
        load()?;
        // Making files takes as long as the guest does, and goes on beside that.
        if let Err(error) = self.write_down(&name) {
            guest.kill(index);
            return Err(error);
        }
        if let Some(status) = self.wait_until_up(&name)? {
            return Ok(status);
        }
        guest.load_image(&run)?;
        load()?;
        self.wait_until_up(&name)?.ok_or_else(|| {
            self.table().retain(|entry| entry.name != name);
            self.close_ports(index);
            self.unmount(index);
            ControlError::Conflict(format!("the machine cannot start `{name}`: it loses images"))
        })
    }

    /// A program, and the digest of its file.
    fn prepare(
        &self,
        program: &Path,
        given: &StartContainer,
        files_of: Option<u32>,
    ) -> Result<(Prepared, String), ControlError> {
        let bytes = fs::read(program).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => {
                ControlError::NotFound(format!("there is no program {}: {error}", given.program))
            }
            _ => ControlError::Request(format!("the program {} cannot be read: {error}", given.program)),
        })?;
        let failed = |source| ControlError::Program { program: given.program.clone(), source };
        if let Some(cpu) = given.cpu_percent.filter(|cpu| !WEIGHTS.contains(cpu)) {
            let problem = format!("cpu_percent {cpu} is no part of a processor: it is 1 to {FULL_WEIGHT}");
            return Err(ControlError::Request(problem));
        }
        let permissions = given.permissions.as_deref().map(Permissions::parse).transpose();
        let words = |words: &[String]| words.iter().map(|word| word.clone().into_bytes()).collect();
        let wanted = Wanted {
            name: program.file_name().unwrap_or(program.as_os_str()).as_encoded_bytes().to_vec(),
            args: words(&given.args),
            env: words(&given.env),
            memory: given.memory_bytes,
            cpu_time: given.cpu_time_ms.map(Duration::from_millis),
            cpu: given.cpu_percent,
            permissions: permissions.map_err(|error| failed(error.into()))?,
            unconfined: given.unconfined,
            signer: given.signer.clone(),
            explain: given.explain,
            ports: given.ports.iter().map(|mapping| mapping.port).collect(),
            connect: given.connect.clone(),
            mounts: given.volumes.iter().map(|folder| (folder.path.clone(), folder.read_only)).collect(),
            files_of,
        };
        let prepared = program::prepare(&bytes, &wanted, &self.images, || ()).map_err(failed)?;
        Ok((prepared, self.digest(bytes)))
    }

    /// The digest of a program's file.
    fn digest(&self, bytes: Vec<u8>) -> String {
        let mut last = self.last_file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, digest)) = last.as_ref().filter(|(file, _)| *file == bytes) {
            return digest.clone();
        }
        let digest = Digest::of(&bytes).to_string();
        *last = (bytes.len() <= MOST_REMEMBERED).then(|| (bytes, digest.clone()));
        digest
    }

    /// Something of the container whose files one has that runs: of itself, unless it was given another one's.
    fn owner<T>(&self, name: &str, wanted: impl FnOnce(&Entry) -> T) -> Result<T, ControlError> {
        let table = self.table();
        let find = |name: &str| {
            table.iter().find(|entry| entry.name == name && entry.is_live()).ok_or_else(|| self.no_such(name))
        };
        let found = find(name)?;
        let owner = found.kept.start.as_ref().and_then(|start| start.files_of.as_deref());
        Ok(wanted(owner.map(find).transpose()?.unwrap_or(found)))
    }

    fn free_name(&self, wanted: &str) -> String {
        let table = self.table();
        let taken = |name: &str| table.iter().any(|entry| entry.name == name);
        let mut name = wanted.to_owned();
        let mut number = 2u32;
        while taken(&name) {
            name = format!("{wanted}-{number}");
            number = number.saturating_add(1);
        }
        name
    }

    /// A place in the table, a number, and a folder.
    fn enter(&self, name: &str, kept: Kept) -> Result<u32, ControlError> {
        let mut table = self.table();
        if table.iter().any(|entry| entry.name == name && entry.is_live()) {
            return Err(ControlError::Conflict(format!(
                "there is a container `{name}` already; give another --name"
            )));
        }
        let used = |index: u32| table.iter().any(|entry| entry.is_live() && entry.index == index);
        let index = (0..MAX_CONTAINERS).find(|index| !used(*index)).ok_or_else(|| {
            ControlError::Conflict(format!(
                "{MAX_CONTAINERS} containers run already, which is all a machine has"
            ))
        })?;
        let entry = self.entry(name, index, kept, ContainerState::Starting)?;
        table.retain(|entry| entry.name != name);
        table.push(entry);
        Ok(index)
    }

    /// Makes the files of a container that is being started.
    fn write_down(&self, name: &str) -> Result<(), ControlError> {
        let folder = self.machine.container(name);
        let kept = {
            let mut table = self.table();
            let entry =
                table.iter_mut().find(|entry| entry.name == name).ok_or_else(|| self.unknown(name))?;
            entry.log.open(Stream::Stdout).map_err(ControlError::io(&folder))?;
            entry.kept.clone()
        };
        kept.write(&folder)
    }

    /// A container with a folder, in which there is nothing yet.
    fn entry(
        &self,
        name: &str,
        index: u32,
        kept: Kept,
        state: ContainerState,
    ) -> Result<Entry, ControlError> {
        check_container_name(name)?;
        let folder = self.machine.container(name);
        make_folder(&folder).map_err(ControlError::io(&folder))?;
        Ok(Entry {
            name: name.to_owned(),
            index,
            kept,
            state,
            wants_image: false,
            takes: None,
            answered: None,
            exit_code: None,
            reason: None,
            published: Vec::new(),
            held: false,
            input_ended: false,
            log: ContainerLog::of(&folder),
        })
    }

    /// The same, with its output open.
    fn open(&self, name: &str, index: u32, kept: Kept, state: ContainerState) -> Result<Entry, ControlError> {
        let mut entry = self.entry(name, index, kept, state)?;
        entry.log.open(Stream::Stdout).map_err(ControlError::io(&self.machine.container(name)))?;
        Ok(entry)
    }

    /// Whether the guest has failed, in which case nobody waits for it: whoever does keeps others from seeing to it.
    pub(crate) fn set_mute(&self, mute: bool) {
        // With the table: nobody is between looking and waiting.
        let _table = self.table();
        self.mute.store(mute, Ordering::SeqCst);
        // Both times: what it was asked in between, nobody has heard.
        self.failures.fetch_add(1, Ordering::SeqCst);
        self.changed.notify_all();
    }

    /// A number that is another one whenever the guest has failed, and when it goes on. Whoever asks it something looks before.
    fn failures(&self) -> u64 {
        self.failures.load(Ordering::SeqCst)
    }

    /// As [`wait`](Self::wait), for the answer to what was asked after a look at [`failures`](Self::failures): if that is another number by
    /// now, there is none, though the guest may be well again.
    fn wait_for_answer<T>(
        &self,
        failures: u64,
        patience: Duration,
        mut found: impl FnMut(&mut Vec<Entry>) -> Option<T>,
    ) -> Result<T, ControlError> {
        let answer = self.wait(patience, |table| match found(table) {
            None if self.failures() != failures => Some(None),
            answer => answer.map(Some),
        });
        match answer.flatten() {
            Some(answer) => Ok(answer),
            None if self.failures() != failures => Err(NotRunning::Failed.into()),
            None => Err(self.why_not(|| format!("the guest has not answered within {patience:?}"))),
        }
    }

    /// Why the guest has not done something within a time.
    fn why_not(&self, late: impl FnOnce() -> String) -> ControlError {
        if self.mute.load(Ordering::SeqCst) {
            NotRunning::Failed.into()
        } else {
            ControlError::Conflict(late())
        }
    }

    /// Looks at the table now and after every change until `found` has an answer; `None` if there is none
    /// within `patience`, or if the guest fails meanwhile.
    fn wait<T>(&self, patience: Duration, mut found: impl FnMut(&mut Vec<Entry>) -> Option<T>) -> Option<T> {
        let deadline = Instant::now() + patience;
        let mut table = self.table();
        loop {
            let answer = found(&mut table);
            let left = deadline.saturating_duration_since(Instant::now());
            let is_over = left.is_zero() || self.mute.load(Ordering::SeqCst);
            if answer.is_some() || is_over {
                return answer;
            }
            table = self.changed.wait_timeout(table, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until a container runs; `None` if the guest has not got its image.
    fn wait_until_up(&self, name: &str) -> Result<Option<ContainerStatus>, ControlError> {
        let up = self.wait(START_PATIENCE, |table| {
            let Some(entry) = table.iter_mut().find(|entry| entry.name == name) else {
                return Some(Err(ControlError::Conflict(format!("the container `{name}` is gone"))));
            };
            if std::mem::take(&mut entry.wants_image) {
                return Some(Ok(None));
            }
            match (entry.state, &entry.reason) {
                (ContainerState::Starting, _) => None,
                (ContainerState::Ended, Some(reason)) if entry.exit_code.is_none() => {
                    let error =
                        ControlError::Conflict(format!("the machine cannot start `{name}`: {reason}"));
                    table.retain(|entry| entry.name != name);
                    Some(Err(error))
                }
                _ => Some(Ok(Some(entry.status()))),
            }
        });
        up.unwrap_or_else(|| {
            Err(self.why_not(|| format!("the guest has not started `{name}` within {START_PATIENCE:?}")))
        })
    }

    /// The number of a container that runs.
    ///
    /// # Errors
    /// [`ControlError::NotFound`].
    pub fn running(&self, name: &str) -> Result<u32, ControlError> {
        let table = self.table();
        let found = table.iter().find(|entry| entry.name == name && entry.is_live());
        found.map(|entry| entry.index).ok_or_else(|| self.no_such(name))
    }

    fn no_such(&self, name: &str) -> ControlError {
        ControlError::NotFound(format!("no container `{name}` runs in `{}`", self.machine.name()))
    }

    fn unknown(&self, name: &str) -> ControlError {
        ControlError::NotFound(format!("there is no container `{name}` in `{}`", self.machine.name()))
    }

    /// How a container was started, so that it can be again.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] if it is not known.
    pub fn started_by(&self, name: &str) -> Result<Origin, ControlError> {
        let table = self.table();
        let entry = table.iter().find(|entry| entry.name == name).ok_or_else(|| self.unknown(name))?;
        let Kept { start, file_digest, .. } = &entry.kept;
        let origin = start.clone().map(|start| Origin { start, file_digest: file_digest.clone() });
        origin.ok_or_else(|| {
            ControlError::Conflict(format!(
                "nobody knows any more how `{name}` was started; start it with `sentctl run --detach --name {name}`"
            ))
        })
    }

    /// Forgets a container that has ended, and removes what it has written.
    ///
    /// # Errors
    /// [`ControlError::NotFound`]; [`ControlError::Conflict`] if it runs.
    pub fn remove(&self, name: &str) -> Result<ContainerStatus, ControlError> {
        let mut table = self.table();
        let at = table.iter().position(|entry| entry.name == name).ok_or_else(|| self.unknown(name))?;
        let status = table.get(at).map(Entry::status).ok_or_else(|| self.unknown(name))?;
        if status.state != ContainerState::Ended {
            return Err(ControlError::Conflict(format!("`{name}` runs; --force kills it first")));
        }
        let folder = self.machine.container(name);
        // The name was checked when the folder was made.
        fs::remove_dir_all(&folder).map_err(ControlError::io(&folder))?;
        table.remove(at);
        Ok(status)
    }

    /// Waits until a container has ended.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if that takes longer than `patience`.
    pub fn wait_until_ended(&self, name: &str, patience: Duration) -> Result<ContainerStatus, ControlError> {
        let ended = self.wait(patience, |table| match table.iter().find(|entry| entry.name == name) {
            Some(entry) => (!entry.is_live()).then(|| Ok(entry.status())),
            None => Some(Err(ControlError::NotFound(format!("there is no container `{name}`")))),
        });
        ended.unwrap_or_else(|| Err(self.why_not(|| format!("`{name}` has not ended within {patience:?}"))))
    }

    /// Has what containers have written more than a second ago in the chains of their logs.
    pub fn seal_due(&self) {
        for entry in self.table().iter_mut() {
            if let Err(error) = entry.log.seal_due() {
                tracing::warn!(%error, container = entry.name, "its output is not in the chain yet");
            }
        }
    }

    /// Has all that containers have written in the chains of their logs.
    pub fn seal(&self) {
        self.table().iter_mut().for_each(Entry::seal);
    }

    /// Has somebody told, from here on, what becomes of containers. `tell` does not wait, and asks nothing of them. Those that are
    /// started from here on are held if they trap.
    pub(crate) fn tell(&self, tell: impl Fn(&str, Told) + Send + Sync + 'static) {
        // There is one who wants to know.
        let _ = self.watcher.set(Box::new(tell));
    }

    /// Names of those that run.
    #[must_use]
    pub fn live_names(&self) -> Vec<String> {
        self.table().iter().filter(|entry| entry.is_live()).map(|entry| entry.name.clone()).collect()
    }
}
