//! Figures of snapshots: machines that stay, driven over their sockets as `sentctl` does it.

use super::runs::{Programs, this_program};
use super::statistics::Series;
use crate::errors::CommandError;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::inotify;
use rustix::io::Errno;
use sentient_control::api::{ContainerStatus, MachineStatus, RolledBack, SnapshotTaken, StartContainer};
use sentient_control::client::Client;
use sentient_control::fork;
use sentient_control::home::{Home, MachineFolder};
use sentient_control::machine_process::{Task, Verify};
use sentient_control::process::{self, Invocation};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

pub const PAGES: &[u8] = include_bytes!("../../../../resources/containers/pages/pages.wasm");
pub const COUNTER: &[u8] = include_bytes!("../../../../resources/containers/counter/counter.wasm");

/// Milliseconds between two rounds of the program that dirties pages: long enough for a rollback to come
/// between two rounds most of the time.
pub const INTERVAL_MS: u64 = 3;

/// How long anything may take before the measurement is given up.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Memory of the program that dirties pages: C's allocator rounds 10,000 of them up to 64 MiB.
pub const PAGES_MEMORY: u64 = 80 << 20;
/// Memory of the counter.
pub const COUNTER_MEMORY: u64 = 16 << 20;

/// What a measurement gives.
pub type Measured = Result<(Series, Map<String, Value>), CommandError>;

/// A home of its own, with one machine.
pub struct Stage {
    programs: Programs,
    home: Home,
    /// The machine.
    pub machine: MachineFolder,
}

impl Drop for Stage {
    fn drop(&mut self) {
        // Whatever is left of it goes with the folder.
        for name in self.home.names().unwrap_or_default() {
            let _ = self.sentctl(&["-m", &name, "stop", "--discard"]);
        }
    }
}

impl Stage {
    pub fn new(memory: &str) -> Result<Self, CommandError> {
        Self::with(Programs::new()?, memory, true)
    }

    /// One whose transitions are not proved.
    pub fn without_proofs(memory: &str) -> Result<Self, CommandError> {
        Self::with(Programs::new()?, memory, false)
    }

    fn with(programs: Programs, memory: &str, zk: bool) -> Result<Self, CommandError> {
        let home = Home::find(Some(programs.path().join("home")))?;
        let machine = home.machine("bench")?;
        let stage = Self { programs, home, machine };
        stage.sentctl(&["init", "bench", "--memory", memory, if zk { "--zk" } else { "--zk=false" }])?;
        Ok(stage)
    }

    pub fn client(&self) -> Result<Client, CommandError> {
        Ok(Client::new(self.machine.clone())?)
    }

    /// This program with these words, as a user gives them.
    fn command(&self, words: &[&str]) -> Result<Command, CommandError> {
        let mut command = this_program()?;
        command.arg("--home").arg(self.home.path()).args(words).env_remove("SENTCTL_MACHINE");
        command.stdin(Stdio::null());
        Ok(command)
    }

    /// Starts the machine's process, as `sentctl boot` does it, and returns when it is up.
    fn machine_process(&self) -> Result<u32, CommandError> {
        let (machine, home) = (self.machine.clone(), self.home.clone());
        let task = Task::Boot { verify: Verify::default() };
        Ok(process::start(&Invocation { task, machine, home })?)
    }

    /// Waits until nothing of the rounds before goes on: their proofs, which keep both processors busy, and the disk's
    /// journal, for which waits who makes a file.
    fn settle(&self) -> Result<(), CommandError> {
        self.sentctl(&["-m", "bench", "zk", "prove"])?;
        let settled = File::open(self.home.path()).and_then(|home| Ok(rustix::fs::syncfs(home)?));
        settled.map_err(CommandError::io("waiting for the disk"))
    }

    /// Has a clone made, and ends it: milliseconds until its counter's first byte, and until `make` returned.
    fn forked(
        &self,
        name: &str,
        make: impl FnOnce(&MachineFolder) -> Result<(), CommandError>,
    ) -> Result<(f64, f64), CommandError> {
        self.settle()?;
        let clone = self.home.machine(name)?;
        let log = clone.container("counter").join("stdout.log");
        let started = Instant::now();
        let waiting = std::thread::spawn(move || grown(&log, 0).map(|grown| grown.at - started));
        make(&clone)?;
        let made = started.elapsed();
        let answer = waiting.join().map_err(|_| CommandError::Bench("a thread panicked".into()))??;
        self.sentctl(&["-m", name, "stop", "--discard"])?;
        Ok((answer.as_secs_f64() * 1e3, made.as_secs_f64() * 1e3))
    }

    /// How long it takes from the beginning of `work` to the counter's next byte.
    fn counter_goes_on_after<T>(
        &self,
        work: impl FnOnce() -> Result<T, CommandError>,
    ) -> Result<Duration, CommandError> {
        let written = self.output_len("counter");
        let log = self.machine.container("counter").join("stdout.log");
        let started = Instant::now();
        let waiting = std::thread::spawn(move || grown(&log, written).map(|grown| grown.at - started));
        work()?;
        waiting.join().map_err(|_| CommandError::Bench("a thread panicked".into()))?
    }

    /// A command line, as a user gives it; how long it took.
    pub fn sentctl(&self, words: &[&str]) -> Result<Duration, CommandError> {
        let mut command = self.command(words)?;
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        let started = Instant::now();
        let output = command.output().map_err(CommandError::io("starting this program"))?;
        let took = started.elapsed();
        if output.status.success() {
            Ok(took)
        } else {
            let said = String::from_utf8_lossy(&output.stderr);
            Err(CommandError::Bench(format!("`sentctl {}` failed: {}", words.join(" "), said.trim())))
        }
    }

    /// Says what the machine does about something: `fault` or `container`.
    pub fn trigger(&self, on: &str, text: &str) -> Result<(), CommandError> {
        let trigger = self.machine.trigger(on);
        let folder = trigger.parent().map_or(Ok(()), std::fs::create_dir_all);
        folder.and_then(|()| std::fs::write(&trigger, text)).map_err(CommandError::io("writing a trigger"))
    }

    /// A program's file.
    pub fn program(&self, name: &str, wasm: &[u8]) -> Result<PathBuf, CommandError> {
        self.programs.add(&format!("{name}.wasm"), wasm)
    }

    /// Starts a program in the machine and waits for its first line.
    pub fn start(&self, name: &str, wasm: &[u8], memory: u64, args: &[&str]) -> Result<(), CommandError> {
        let program = self.program(name, wasm)?;
        let start = StartContainer {
            program: program.display().to_string(),
            name: Some(name.to_owned()),
            args: args.iter().map(|arg| (*arg).to_owned()).collect(),
            memory_bytes: Some(memory),
            ..StartContainer::default()
        };
        let _: ContainerStatus = self.client()?.post("/v1/containers", &start)?;
        // Far enough that all its pages are there.
        self.wait_for_more(name, 4).map(drop)
    }

    pub fn output_len(&self, name: &str) -> u64 {
        let log = self.machine.container(name).join("stdout.log");
        std::fs::metadata(log).map_or(0, |metadata| metadata.len())
    }

    /// Waits until a container has written more than `len` bytes in all; how many there are.
    pub fn wait_for_more(&self, name: &str, len: u64) -> Result<u64, CommandError> {
        grown(&self.machine.container(name).join("stdout.log"), len).map(|grown| grown.len)
    }
}

/// A file that has become longer.
struct Grown {
    /// Its bytes.
    len: u64,
    /// When that was seen.
    at: Instant,
}

/// Waits until a file has more than `len` bytes. It sleeps meanwhile: who looks again and again takes
/// the processor from what is measured.
fn grown(log: &Path, len: u64) -> Result<Grown, CommandError> {
    let deadline = Instant::now() + PATIENCE;
    let failed = |error: Errno| CommandError::io("watching a file")(error.into());
    let news = inotify::init(inotify::CreateFlags::CLOEXEC).map_err(failed)?;
    let mut watched = false;
    loop {
        if !watched {
            watched = match inotify::add_watch(&news, log, inotify::WatchFlags::MODIFY) {
                Ok(_) => true,
                Err(Errno::NOENT) => false,
                Err(error) => return Err(failed(error)),
            };
        }
        let now = std::fs::metadata(log).map_or(0, |metadata| metadata.len());
        if now > len {
            let grown = Grown { len: now, at: Instant::now() };
            // Later than the answer: the system takes 20 ms to give up a watch.
            std::thread::spawn(move || drop(news));
            return Ok(grown);
        }
        if Instant::now() > deadline {
            return Err(CommandError::Bench(format!("the container does not write to {}", log.display())));
        }
        if watched {
            let second = Timespec { tv_sec: 1, tv_nsec: 0 };
            poll(&mut [PollFd::new(&news, PollFlags::IN)], Some(&second)).map_err(failed)?;
            // What has come is in the file; another look at the watch would only say so again.
            let _ = rustix::io::read(&news, &mut [0; 4096]);
        } else {
            std::thread::sleep(Duration::from_micros(200));
        }
    }
}

pub fn ms(us: u64) -> f64 {
    us as f64 / 1e3
}

/// Milliseconds the guest stands still while a program that has written to `pages` pages is put back.
fn rollback(pages: u32, repeats: u32) -> Measured {
    let stage = Stage::new("256M")?;
    stage.start("pages", PAGES, PAGES_MEMORY, &[&pages.to_string(), &INTERVAL_MS.to_string(), "0"])?;
    let client = stage.client()?;
    let _: SnapshotTaken = client.post("/v1/snapshots", &json!({}))?;
    let (mut pauses, mut counts, mut whole) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=repeats {
        let written = stage.output_len("pages");
        stage.wait_for_more("pages", written)?;
        let started = Instant::now();
        let done: RolledBack = client.post("/v1/rollback", &json!({ "back": 0, "discard": true }))?;
        if round > 0 && done.pages >= u64::from(pages) {
            pauses.push(ms(done.pause_us));
            counts.push(done.pages as f64);
            whole.push(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    if pauses.is_empty() {
        return Err(CommandError::Bench(format!("no rollback found {pages} pages to put back")));
    }
    let mut details = Map::new();
    details.insert("pages_put_back".into(), json!(Series::new(counts).median()));
    details.insert("request_ms".into(), json!(Series::new(whole).median()));
    details.insert(format!("memcpy_{pages}_pages_ms"), json!(memcpy_ms(pages)));
    Ok((Series::new(pauses), details))
}

pub fn rollback_200(repeats: u32) -> Measured {
    rollback(200, repeats)
}

pub fn rollback_10000(repeats: u32) -> Measured {
    rollback(10_000, repeats)
}

/// Copying so many pages that lie apart, in this process: the limit of any rollback. They lie at whole pages, as a
/// guest's do: otherwise luck decides (docs/decisions/0026).
fn memcpy_ms(pages: u32) -> f64 {
    #[derive(Clone)]
    #[repr(align(4096))]
    struct Page([u8; 4096]);
    let count = pages as usize;
    let (from, mut to) = (vec![Page([1; 4096]); count], vec![Page([2; 4096]); count * 3]);
    let mut times = Vec::new();
    for _ in 0..9 {
        let started = Instant::now();
        for (Page(target), Page(source)) in to.iter_mut().step_by(3).zip(&from) {
            target.copy_from_slice(source);
        }
        times.push(started.elapsed().as_secs_f64() * 1e3);
        std::hint::black_box(&mut to);
    }
    Series::new(times).median()
}

/// Copying 200 pages that lie apart, in this process.
pub fn memcpy_200(repeats: u32) -> Measured {
    Ok((Series::new((0..repeats.max(1)).map(|_| memcpy_ms(200)).collect()), Map::new()))
}

/// Pages that change between two snapshots.
pub const PAGES_CHANGED: u32 = 256;

/// Snapshots with 256 changed pages.
struct Taken {
    /// Milliseconds the guest stood still.
    pauses: Series,
    /// Milliseconds until it was durable.
    durable: Series,
    /// Pages copied.
    pages: Series,
}

fn snapshots(stage: &Stage, repeats: u32) -> Result<Taken, CommandError> {
    stage.start(
        "pages",
        PAGES,
        PAGES_MEMORY,
        &[&PAGES_CHANGED.to_string(), &INTERVAL_MS.to_string(), "0"],
    )?;
    let client = stage.client()?;
    let (mut pauses, mut durable, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..=repeats {
        let written = stage.output_len("pages");
        stage.wait_for_more("pages", written)?;
        let taken: SnapshotTaken = client.post("/v1/snapshots", &json!({}))?;
        if round > 0 && taken.dirty_pages >= u64::from(PAGES_CHANGED) {
            pauses.push(ms(taken.pause_us));
            durable.push(ms(taken.durable_us));
            counts.push(taken.dirty_pages as f64);
        }
    }
    if pauses.is_empty() {
        return Err(CommandError::Bench(format!("no snapshot found {PAGES_CHANGED} changed pages")));
    }
    Ok(Taken { pauses: Series::new(pauses), durable: Series::new(durable), pages: Series::new(counts) })
}

/// Milliseconds the guest stands still for a snapshot with 256 changed pages.
pub fn snapshot_pause(repeats: u32) -> Measured {
    let taken = snapshots(&Stage::new("256M")?, repeats)?;
    let mut details = Map::new();
    details.insert("durable_ms".into(), json!(taken.durable.median()));
    details.insert("pages_copied".into(), json!(taken.pages.median()));
    details.insert("memcpy_256_pages_ms".into(), json!(memcpy_ms(PAGES_CHANGED)));
    Ok((taken.pauses, details))
}

/// Milliseconds until a snapshot with 256 changed pages is durable, in a home within `folder`.
fn durable(folder: &Path, repeats: u32) -> Measured {
    let taken = snapshots(&Stage::with(Programs::within(folder)?, "256M", true)?, repeats)?;
    let mut details = Map::new();
    details.insert("folder".into(), json!(folder.display().to_string()));
    details.insert("pause_ms".into(), json!(taken.pauses.median()));
    details.insert("pages_copied".into(), json!(taken.pages.median()));
    Ok((taken.durable, details))
}

/// On a disk: in the folder for temporary files, or, where that is in memory, in the one that outlives a restart.
pub fn durable_on_disk(repeats: u32) -> Measured {
    let usual = std::env::temp_dir();
    durable(if is_in_memory(&usual)? { Path::new("/var/tmp") } else { &usual }, repeats)
}

/// In memory, where syncing costs nothing.
pub fn durable_on_tmpfs(repeats: u32) -> Measured {
    let folder = Path::new("/dev/shm");
    if !is_in_memory(folder)? {
        return Err(CommandError::Bench("/dev/shm is no tmpfs here: leave this figure out".into()));
    }
    durable(folder, repeats)
}

/// Whether a folder is on a tmpfs.
fn is_in_memory(folder: &Path) -> Result<bool, CommandError> {
    /// TMPFS_MAGIC of linux/magic.h.
    const TMPFS: i64 = 0x0102_1994;
    let found = rustix::fs::statfs(folder)
        .map_err(|error| CommandError::io("looking at the file system")(error.into()))?;
    Ok(found.f_type == TMPFS)
}

/// Milliseconds from the start of a stopped machine's process to its container's next byte. What people type,
/// `sentctl boot`, starts that process and waits for it: a detail beside it.
fn restore(memory: &str, repeats: u32) -> Measured {
    let stage = Stage::new(memory)?;
    stage.start("counter", COUNTER, COUNTER_MEMORY, &["--interval-ms", "1"])?;
    stage.sentctl(&["stop"])?;
    let (mut answers, mut commands) = (Vec::new(), Vec::new());
    for round in 0..=repeats.min(11) {
        stage.settle()?;
        let answer = stage.counter_goes_on_after(|| stage.machine_process())?;
        stage.sentctl(&["stop", "--discard"])?;
        stage.settle()?;
        let whole = stage.counter_goes_on_after(|| stage.sentctl(&["boot"]))?;
        stage.sentctl(&["stop", "--discard"])?;
        if round > 0 {
            answers.push(answer.as_secs_f64() * 1e3);
            commands.push(whole.as_secs_f64() * 1e3);
        }
    }
    let mut details = Map::new();
    details.insert("by_boot_command_ms".into(), json!(Series::new(commands).median()));
    Ok((Series::new(answers), details))
}

pub fn restore_128mib(repeats: u32) -> Measured {
    restore("128M", repeats)
}

pub fn restore_4gib(repeats: u32) -> Measured {
    restore("4G", repeats)
}

/// Milliseconds from asking a running machine for a fork to the clone's container's next byte. What people type,
/// `sentctl fork`, asks, and returns when the clone is durable: details beside it.
pub fn fork_running(repeats: u32) -> Measured {
    let stage = Stage::new("128M")?;
    stage.start("counter", COUNTER, COUNTER_MEMORY, &["--interval-ms", "1"])?;
    let (mut answers, mut durable, mut by_command, mut commands) = (vec![], vec![], vec![], vec![]);
    for round in 0..=repeats.min(11) {
        let (answer, ready) = stage.forked(&format!("asked{round}"), |clone| {
            Ok(fork::start(&stage.machine, clone.clone(), stage.home.clone()).map(drop)?)
        })?;
        let (answer_to_command, command) = stage.forked(&format!("typed{round}"), |clone| {
            stage.sentctl(&["fork", "bench", clone.name()]).map(drop)
        })?;
        if round > 0 {
            answers.push(answer);
            durable.push(ready);
            by_command.push(answer_to_command);
            commands.push(command);
        }
    }
    let mut details = Map::new();
    details.insert("durable_ms".into(), json!(Series::new(durable).median()));
    details.insert("by_fork_command_ms".into(), json!(Series::new(by_command).median()));
    details.insert("fork_command_ms".into(), json!(Series::new(commands).median()));
    Ok((Series::new(answers), details))
}

/// Clones whose memory is looked at together.
const CLONES: u32 = 4;

/// KiB of memory that the process of a running machine's fork has for itself, once its container writes, among others.
pub fn clone_private(repeats: u32) -> Measured {
    let stage = Stage::new("128M")?;
    stage.start("counter", COUNTER, COUNTER_MEMORY, &["--interval-ms", "1"])?;
    let (mut own, mut whole) = (Vec::new(), Vec::new());
    for round in 0..repeats.clamp(1, 3) {
        let mut clones = Vec::new();
        for number in 0..CLONES {
            let name = format!("clone{round}-{number}");
            stage.sentctl(&["fork", "bench", &name])?;
            let clone = stage.home.machine(&name)?;
            grown(&clone.container("counter").join("stdout.log"), 0)?;
            clones.push(clone);
        }
        for clone in clones {
            let memory = smaps(&clone)?;
            own.push(private_of(&memory));
            whole.push(smaps_kib(&memory, "Rss"));
        }
        for number in 0..CLONES {
            stage.sentctl(&["-m", &format!("clone{round}-{number}"), "stop", "--discard"])?;
        }
    }
    let mut details = Map::new();
    details.insert("resident_kib".into(), json!(Series::new(whole).median()));
    details.insert("clones_at_once".into(), json!(CLONES));
    Ok((Series::new(own), details))
}

/// What a machine's process has in memory, as the system tells it.
fn smaps(machine: &MachineFolder) -> Result<String, CommandError> {
    let status: MachineStatus = Client::new(machine.clone())?.get("/v1/machine")?;
    let gone = || CommandError::Bench(format!("`{}` has no process", machine.name()));
    let process = status.pid.ok_or_else(gone)?;
    std::fs::read_to_string(format!("/proc/{process}/smaps_rollup"))
        .map_err(CommandError::io("reading what a process has in memory"))
}

/// KiB of memory that a machine's process has for itself.
pub fn private_kib(machine: &MachineFolder) -> Result<f64, CommandError> {
    Ok(private_of(&smaps(machine)?))
}

fn private_of(smaps: &str) -> f64 {
    smaps_kib(smaps, "Private_Dirty") + smaps_kib(smaps, "Private_Clean")
}

/// A line of smaps_rollup, in KiB (proc_pid_smaps(5)).
fn smaps_kib(text: &str, field: &str) -> f64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    let number = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    number.unwrap_or(f64::NAN)
}

/// Milliseconds of the whole command `sentctl rollback`.
pub fn rollback_command(repeats: u32) -> Measured {
    let stage = Stage::new("128M")?;
    stage.start("counter", COUNTER, COUNTER_MEMORY, &["--interval-ms", "1"])?;
    let _: SnapshotTaken = stage.client()?.post("/v1/snapshots", &json!({ "tag": "start" }))?;
    let mut times = Vec::new();
    let mut kept = Vec::new();
    for round in 0..=repeats {
        let discarding = stage.sentctl(&["rollback", "start", "--discard"])?;
        let keeping = stage.sentctl(&["rollback", "start"])?;
        if round > 0 {
            times.push(discarding.as_secs_f64() * 1e3);
            kept.push(keeping.as_secs_f64() * 1e3);
        }
    }
    let mut details = Map::new();
    details.insert("with_a_snapshot_before_ms".into(), json!(Series::new(kept).median()));
    Ok((Series::new(times), details))
}
