//! The machine's process: from its start to its end.
//!
//! The main thread works for the devices; another one has the socket; the vCPU has a third. The process ends
//! when its machine does, and leaves a word about it in the machine's folder.

use crate::containers::{Containers, Outputs};
use crate::description::{Description, note};
use crate::error::ControlError;
use crate::filling::{self, Filling, Places};
use crate::fork;
use crate::fork::clone::{Claim, Original};
use crate::history::{History, Newborn};
use crate::home::{Home, MachineFolder, short_path};
use crate::live::Live;
use crate::session::{Handles, Session};
use crate::{process, server};
use sentient_abi::PAGE_SIZE;
use sentient_abi::region::RegionKind;
use sentient_images::KernelImage;
use sentient_snapshot::hash::PageHash;
use sentient_snapshot::memory_map::MemoryMap;
use sentient_snapshot::record::{Record, RegionEntry, UNOWNED};
use sentient_vmm::kvm::vm::DirtyLog;
use sentient_vmm::machine::{Early, Readiness, Running, Start, StopHandle};
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, Ended, Machine, MachineConfig, Report};
use serde::{Deserialize, Serialize};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use std::fs::{self, File, Permissions};
use std::ops::Range;
use std::os::fd::AsFd;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::net::UnixListener;
use tokio::sync::oneshot;

/// How long a kernel may take until it is ready; on software KVM under load it is milliseconds.
const BOOT_PATIENCE: Duration = Duration::from_secs(20);

/// How long the answer to who boots a machine waits for the last of its memory.
const MEMORY_PATIENCE: Duration = Duration::from_millis(100);

/// How long the process that had the machine before may take to be gone.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);

/// From so much RAM on it takes longer to give the guest all of it than to find out first what it has in use.
const LARGE: u64 = 512 << 20;

/// What the process is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Task {
    /// Make a machine with so much RAM, boot it, and take its first snapshot.
    Init {
        /// Bytes of RAM.
        ram: u64,
        /// Whether its transitions are proved.
        zk: bool,
    },
    /// Go on from the current snapshot.
    Boot {
        /// When its memory is checked.
        verify: Verify,
    },
    /// Go on from where another machine is, which has been [asked](crate::fork::start), and answers over standard input.
    Fork {
        /// Bytes of RAM of both.
        ram: u64,
    },
}

/// When the memory of a snapshot is read and checked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    /// Each page before somebody sees it, all of them while the guest runs. Where the system does not allow it, all
    /// at once.
    #[default]
    Lazy,
    /// All of it before the guest runs.
    Eager,
}

/// A machine whose guest runs.
struct Started {
    running: Running,
    stop: StopHandle,
    ready: Readiness,
    /// Its session, which may have to be waited for.
    session: Box<dyn FnOnce() -> Result<Session, ControlError> + Send>,
}

/// Runs the machine's process to its end. `images` is the folder of compiled images.
///
/// # Errors
/// [`ControlError`], which the starter has been told if it came before the machine was up.
pub fn run(
    home: &Home,
    machine: MachineFolder,
    task: Task,
    images: Option<PathBuf>,
) -> Result<(), ControlError> {
    // A fork does nothing but wait while KVM is at work; everybody else has something to do beside it.
    let early = if let Task::Fork { .. } = task { Early::begin_here() } else { Early::begin() };
    process::detach()?;
    let started = start(home, machine.clone(), task, early?, images);
    let Started { running, stop, ready, session } = match started {
        Ok(started) => started,
        Err(error) => {
            process::report(Err(&error))?;
            return Err(error);
        }
    };
    let (end, ended) = oneshot::channel();
    let home = home.clone();
    let talk = move || {
        if let Err(error) = stop_on_signals(stop.clone()) {
            tracing::warn!(%error, "a signal ends the process, and not only the machine");
        }
        let up = session().and_then(|session| come_up(session, task, &ready));
        let up = up.and_then(|session| session.watch_faults().map(|()| session));
        let (session, told) = match up {
            Ok(session) => (Some(Arc::clone(&session)), talk(&session, &home, ended)),
            Err(error) => (None, Err(error)),
        };
        if let Err(error) = &told {
            // Who started this may be gone; the machine goes in any case.
            let _ = process::report(Err(error));
            stop.stop(Ended::Terminated);
        }
        (session, told)
    };
    let talking = std::thread::Builder::new().name("control".into()).spawn(talk);
    let talking = talking.map_err(ControlError::io("starting the control thread"))?;
    let report = running.wait();
    // Nobody listens any more if that thread has failed.
    let _ = end.send(());
    let panicked = |_| (None, Err(ControlError::Bug("the control thread panicked".into())));
    let (session, told) = talking.join().unwrap_or_else(panicked);
    // With the session goes the right to the folder.
    if let Some(session) = session {
        session.containers.seal();
        for socket in [machine.socket(), machine.fork_socket()] {
            let _ = fs::remove_file(socket);
        }
        let word = match &report {
            Ok(Report { ended, .. }) => ended.to_string(),
            Err(error) => error.to_string(),
        };
        note(&machine.last_end(), &format!("{word}\n"))?;
    }
    told?;
    report?;
    Ok(())
}

/// Makes or restores the machine and starts its guest.
fn start(
    home: &Home,
    folder: MachineFolder,
    task: Task,
    early: Early,
    images: Option<PathBuf>,
) -> Result<Started, ControlError> {
    let containers = Containers::new(folder.clone(), images);
    let sink = Box::new(Outputs(Arc::clone(&containers)));
    let streams = streams().map_err(ControlError::io("opening /dev/null"))?;
    match task {
        Task::Init { ram, zk } => {
            let history = Newborn::begin(folder, ram, zk)?.with_history(home)?;
            let kernel = KernelImage::embedded()?;
            let digest = *blake3::hash(kernel.elf()).as_bytes();
            let config = MachineConfig {
                ram,
                kernel,
                protocol: BootProtocol::Linux64,
                container: None,
                resident: true,
                zero: None,
                snapshots: true,
                heartbeat: None,
                timeout: None,
            };
            let machine = Machine::resident_on(early.with(ram, DirtyLog::On)?, &config, streams, sink)?;
            let live = Live::booted(digest);
            go(machine, containers, |_| Ok(()), |handles, ()| Ok(Session::new(history, handles, live, None)))
        }
        Task::Boot { verify } => {
            let ram = Description::read(&folder)?.ram_bytes;
            let open = || -> Result<_, ControlError> {
                let history = History::open_within(home, folder, LOCK_PATIENCE)?;
                let current = history.current()?;
                Ok((history, current))
            };
            let (start, (history, current)) = if ram < LARGE {
                (early.with(ram, DirtyLog::On)?, open()?)
            } else {
                let opened = open()?;
                (early.with_in_use(ram, DirtyLog::On, in_use(opened.1.record()))?, opened)
            };
            // A timeline that cannot be read is told now, and not by a machine that runs and cannot say what it is.
            history.timeline().ids()?;
            let record = current.record();
            let (machine, live, filling) = restore(start, &history, record, streams, sink, verify)?;
            let bring_all = filling.as_ref().map(Filling::begin_all);
            let before_output = |containers: &Containers| {
                if let Some(bring_all) = bring_all {
                    bring_all();
                }
                containers.went_back(containers.returning(record)?);
                Ok(())
            };
            let session = |handles, ()| Ok(Session::new(history, handles, live, filling));
            go(machine, containers, before_output, session)
        }
        Task::Fork { ram } => {
            let start = early.with(ram, DirtyLog::On)?;
            let original = Original::at_standard_input()?;
            let (of, names) = original.containers(home)?;
            let claim = Claim::begin(folder.clone(), Arc::clone(&containers), of, names)?;
            let received = original.receive()?;
            let (record, state) = (received.record.clone(), received.state()?);
            let machine = Machine::restored(start, &state, streams, sink, |memory| received.fill(memory))?;
            let returned = record.clone();
            let before_output = move |containers: &Containers| {
                let lock = claim.wait()?;
                containers.went_back(containers.returning(&returned)?);
                Ok(lock)
            };
            let home = home.clone();
            go(machine, containers, before_output, move |handles, lock| {
                original.wait_until_durable(&lock)?;
                process::log_to(&folder)?;
                let history = History::locked(&home, folder, lock)?;
                let current = history.current()?;
                if current.record().regions != record.regions || current.record().state != record.state {
                    return Err(ControlError::Bug("a fork is written down otherwise than it runs".into()));
                }
                let map = MemoryMap::load(&record, &history.store().session()?)?;
                Ok(Session::new(history, handles, Live::restored(&record, map), None))
            })
        }
    }
}

/// Starts the machine's guest. Nothing that it writes is passed on before `before_output`; the session is made once
/// somebody may ask for something.
fn go<T: Send + 'static>(
    machine: Machine,
    containers: Arc<Containers>,
    before_output: impl FnOnce(&Containers) -> Result<T, ControlError>,
    session: impl FnOnce(Handles, T) -> Result<Session, ControlError> + Send + 'static,
) -> Result<Started, ControlError> {
    let (stop, guest, ready) = (machine.stop_handle(), machine.resident_handle(), machine.readiness());
    let memory = machine.memory_reader();
    containers.join(machine.network());
    containers.reach(machine.mounting());
    let running = machine.start()?;
    let given = before_output(&containers)?;
    let (door, started) = (running.door(), Instant::now());
    let handles = Handles { door, stop: stop.clone(), guest, memory, containers, started };
    Ok(Started { running, stop, ready, session: Box::new(move || session(handles, given)) })
}

/// Addresses that the guest uses without asking for memory.
fn in_use(record: &Record) -> Vec<Range<u64>> {
    let used = |region: &&RegionEntry| ![UNOWNED, RegionKind::Unassigned as u32].contains(&region.kind);
    let range = |region: &RegionEntry| {
        region.base..region.base.saturating_add(region.pages.saturating_mul(PAGE_SIZE))
    };
    record.regions.iter().filter(used).map(range).collect()
}

/// A machine that goes on from a snapshot.
fn restore(
    start: Start,
    history: &History,
    record: &Record,
    streams: Streams,
    sink: Box<Outputs>,
    verify: Verify,
) -> Result<(Machine, Live, Option<Filling>), ControlError> {
    let session = history.store().session()?;
    let (map, state) = History::load(record, &session)?;
    let mut places: Vec<(PageHash, u64)> = Vec::new();
    map.visit(0..u64::MAX, |gpn, hash| places.push((hash, gpn)));
    let places = Places::new(places);
    let mut filling = None;
    let machine = Machine::restored(start, &state, streams, sink, |memory| {
        // From here on it is not known how it will end; the first who knows may be who brings the memory.
        let _ = fs::remove_file(history.machine().last_end());
        let lazy = (verify == Verify::Lazy).then(|| memory.lazily(&places.ranges(record.ram)));
        match lazy {
            Some(Ok(lazy)) => {
                let folder = history.machine().clone();
                let damaged = tell_of_damage(folder.last_end());
                filling = Some(Filling::begin(folder, lazy, session, places, damaged)?);
                return Ok(());
            }
            Some(Err(error)) => tracing::debug!(%error, "memory is read and checked before the machine runs"),
            None => {}
        }
        let reader = session.locate(places.hashes())?;
        drop(session);
        filling::fill_now(memory, &reader, &places)
    })?;
    Ok((machine, Live::restored(record, map), filling))
}

/// Tells of a page that cannot be had: whoever asks later, and who started the machine, if they still wait.
fn tell_of_damage(last_end: PathBuf) -> impl FnOnce(&ControlError) + Send + 'static {
    move |error| {
        tracing::error!(%error, "the machine's memory cannot be restored");
        let _ = note(&last_end, &format!("{error}\n"));
        let _ = process::report(Err(error));
    }
}

/// Containers have files; only the kernel's log uses these, for standard error.
fn streams() -> std::io::Result<Streams> {
    let null = || File::options().read(true).write(true).open("/dev/null");
    let stderr = File::from(std::io::stderr().as_fd().try_clone_to_owned()?);
    Ok(Streams { stdin: Input::new(null()?)?, stdout: Output::new(null()?)?, stderr: Output::new(stderr)? })
}

fn stop_on_signals(stop: StopHandle) -> Result<(), ControlError> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP, SIGXFSZ])
        .map_err(ControlError::io("installing signal handlers"))?;
    let watch = move || {
        for signal in signals.forever() {
            // A file that may not be longer (ulimit -f) is the error of who writes it.
            if signal != SIGXFSZ {
                stop.stop(Ended::Terminated);
            }
        }
    };
    let started = std::thread::Builder::new().name("signals".into()).spawn(watch);
    started.map(drop).map_err(ControlError::io("starting the signals' thread"))
}

/// The control thread: tells the starter that the machine is up, and answers on its sockets.
fn talk(session: &Arc<Session>, home: &Home, ended: oneshot::Receiver<()>) -> Result<(), ControlError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ControlError::io("setting up the control thread"))?;
    let _inside = runtime.enter();
    let listener = listen(session.history().machine())?;
    let forks = fork::listening(session.history().machine())?;
    process::report(Ok(()))?;
    if let Err(error) = session.settle() {
        // What is left over takes room, and harms nothing.
        tracing::warn!(%error, "the machine's snapshots could not be tidied");
    }
    fork::origin::serve(forks, Arc::downgrade(session), home.clone())?;
    let served = server::serve(listener, Arc::clone(session), home.clone(), async {
        let _ = ended.await;
    });
    runtime.block_on(served).map_err(ControlError::io("answering on the socket"))
}

/// Waits for the guest; a new machine gets its first snapshot, and exists from then on.
fn come_up(session: Session, task: Task, ready: &Readiness) -> Result<Arc<Session>, ControlError> {
    if !ready.wait(BOOT_PATIENCE) {
        return Err(ControlError::Conflict(format!("the guest was not ready within {BOOT_PATIENCE:?}")));
    }
    // What is wrong with a small snapshot is told to who boots it, although the guest runs already.
    let _ = session.is_whole_within(MEMORY_PATIENCE);
    if let Task::Init { .. } = task {
        session
            .snapshot(&crate::api::TakeSnapshot { message: "genesis".into(), tag: Some("genesis".into()) })?;
        let history = session.history();
        history.description().write(history.machine())?;
    }
    Ok(Arc::new(session))
}

/// The socket, for its owner alone: until its mode is set, the process' umask sees to that.
fn listen(machine: &MachineFolder) -> Result<UnixListener, ControlError> {
    let failed = |machine: &MachineFolder| ControlError::io(&machine.socket());
    // Whoever holds the lock owns the socket: one that is there is of a process that was killed.
    match fs::remove_file(machine.socket()) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(failed(machine)(error)),
        _ => {}
    }
    let (_folder, path) = short_path(&machine.socket()).map_err(failed(machine))?;
    let listener = UnixListener::bind(path).map_err(failed(machine))?;
    fs::set_permissions(machine.socket(), Permissions::from_mode(0o600)).map_err(failed(machine))?;
    Ok(listener)
}
