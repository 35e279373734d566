//! A home of machines for one test, gone with it: whatever still runs in it is killed.

#![allow(dead_code, reason = "each test file uses its part of this")]

use crate::machine::{container, sentctl};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long anything may take before a test calls it stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// The home.
pub struct Home(TempDir);

impl Home {
    /// Without machines.
    pub fn empty() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// With one machine, called `m`, that runs.
    pub fn with_machine() -> Self {
        let home = Self::empty();
        home.ok(&["init", "m"]);
        home
    }

    /// One with a machine `m`, whose counter has counted a little.
    pub fn counting() -> Self {
        let home = Self::with_machine();
        home.start("counter", &container("counter"), &["--interval-ms", "5"]);
        home.wait_for_number("m", "counter", 5);
        home
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// A file or folder of a machine.
    pub fn of(&self, machine: &str, path: &str) -> PathBuf {
        self.path().join("machines").join(machine).join(path)
    }

    /// `sentctl` in this home.
    pub fn command(&self, words: &[&str]) -> Command {
        let mut command = sentctl();
        command.env_remove("SENTCTL_MACHINE").arg("--home").arg(self.path()).args(words);
        command
    }

    pub fn run(&self, words: &[&str]) -> Output {
        self.command(words).output().unwrap()
    }

    /// Runs a command that must succeed; gives what it printed.
    pub fn ok(&self, words: &[&str]) -> String {
        let output = self.run(words);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "`sentctl {}` failed: {error}", words.join(" "));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The same, as JSON.
    pub fn json(&self, words: &[&str]) -> Value {
        let words: Vec<&str> = std::iter::once("--json").chain(words.iter().copied()).collect();
        serde_json::from_str(&self.ok(&words)).unwrap()
    }

    /// Runs a command that must fail with sentctl's own code; gives what it said.
    pub fn refused(&self, words: &[&str]) -> String {
        let output = self.run(words);
        assert_eq!(output.status.code(), Some(125), "`sentctl {}`: {output:?}", words.join(" "));
        String::from_utf8(output.stderr).unwrap()
    }

    /// Starts a container in the machine `m`.
    pub fn start(&self, name: &str, program: &Path, args: &[&str]) {
        let program = program.to_str().unwrap();
        let mut words = vec!["-m", "m", "run", "-d", "--memory", "16M", "--name", name, program, "--"];
        words.extend(args);
        self.ok(&words);
    }

    /// What a container of a machine has written.
    pub fn output(&self, machine: &str, container: &str) -> String {
        let log = self.of(machine, &format!(".container/{container}/stdout.log"));
        String::from_utf8(std::fs::read(log).unwrap_or_default()).unwrap()
    }

    /// Waits until `done` says so of what a container has written.
    pub fn wait_for(&self, machine: &str, container: &str, done: impl Fn(&str) -> bool) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let output = self.output(machine, container);
            if done(&output) {
                return output;
            }
            assert!(Instant::now() < deadline, "{container} of {machine} has written {output:?}");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits until a counter has got to `number`, or further.
    pub fn wait_for_number(&self, machine: &str, container: &str, number: u64) {
        self.wait_for(machine, container, |output| last_number(output).is_some_and(|last| last >= number));
    }

    pub fn pid(&self, machine: &str) -> Option<u32> {
        let status = self.run(&["--json", "-m", machine, "status"]);
        let status: Value = serde_json::from_slice(&status.stdout).ok()?;
        u32::try_from(status.get("pid")?.as_u64()?).ok()
    }

    /// Kills a machine's process as nothing else can: it gets to do nothing more.
    pub fn kill(&self, machine: &str) {
        if let Some(pid) = self.pid(machine) {
            kill(pid);
        }
    }
}

/// How often a test that kills is to do so: `usual` times, or as often as `cargo xtask storm` says.
pub fn kills(usual: u64) -> u64 {
    std::env::var("SENTIENT_KILLS").map_or(usual, |count| count.parse().unwrap())
}

/// Instants to kill at: xorshift64, any spread will do.
pub struct Instants(u64);

impl Instants {
    /// The same for the same test, unless `SENTIENT_KILLS_SEED` has a number.
    pub fn new() -> Self {
        let seed = std::env::var("SENTIENT_KILLS_SEED").map_or(1, |seed| seed.parse().unwrap());
        Self(0x2545_f491_4f6c_dd1d_u64.wrapping_mul(seed | 1))
    }

    /// A time below `end`.
    pub fn below(&mut self, end: Duration) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_micros(self.0 % (end.as_micros() as u64).max(1))
    }
}

pub fn kill(pid: u32) {
    let process = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw);
    if let Some(process) = process {
        // One that has ended by itself needs no killing.
        let _ = rustix::process::kill_process(process, rustix::process::Signal::KILL);
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let names = std::fs::read_dir(self.path().join("machines")).into_iter().flatten().flatten();
        for name in names {
            let lock = std::fs::read_to_string(name.path().join(".runtime/lock")).unwrap_or_default();
            let alive = name.path().join(".runtime/control.sock").exists();
            if let (true, Ok(pid)) = (alive, lock.trim().parse()) {
                kill(pid);
            }
        }
    }
}

/// The last whole line, as a number.
pub fn last_number(output: &str) -> Option<u64> {
    let (whole, _) = output.rsplit_once('\n')?;
    whole.lines().last()?.parse().ok()
}

/// The numbers a counter has written.
pub fn numbers(output: &str) -> Vec<u64> {
    let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
    whole.lines().map(|line| line.parse().unwrap_or_else(|_| panic!("{line:?} is no number"))).collect()
}

/// Where the numbers do not go on by one: the number before, and the one after.
pub fn jumps(numbers: &[u64]) -> Vec<(u64, u64)> {
    let pairs = numbers.windows(2).map(|pair| (pair[0], pair[1]));
    pairs.filter(|(before, after)| *after != before + 1).collect()
}
