//! Real machines, driven as a user drives them: through the `sentctl` program.
//!
//! Every test file has this module. [`sentctl`] gives the command with an environment of its own,
//! [`finish`] runs it to its end. A run that does not end is killed and reported after [`PATIENCE`]: no
//! test waits for ever, and no test says how fast a run must be.

#![allow(dead_code, reason = "each test file uses its part of this")]

pub mod cases;
pub mod component;
pub mod medium;
pub mod terminal;

use std::ffi::OsStr;
use std::fmt;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

/// Longest that any single run may take before a test calls it stuck.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// Pause between looks at a child that has not ended.
const LOOK: Duration = Duration::from_millis(2);

/// Fails unless machines can run here: a test without a machine has tested nothing.
pub fn require_kvm() {
    static USABLE: OnceLock<Result<(), String>> = OnceLock::new();
    let usable = USABLE.get_or_init(|| {
        let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
        opened.map(drop).map_err(|error| error.to_string())
    });
    if let Err(error) = usable {
        panic!(
            "this test runs a machine and needs /dev/kvm, which cannot be opened: {error}. `sentctl doctor` tells more"
        );
    }
}

/// `sentctl`, with a cache folder of the tests' own and nothing of the user's settings.
pub fn sentctl() -> Command {
    require_kvm();
    let mut command = Command::new(env!("CARGO_BIN_EXE_sentctl"));
    clean(&mut command);
    command
}

/// A shell that runs `script`, in which `$SENTCTL` is the program and `$1` and so on are `words`.
pub fn shell<W: AsRef<OsStr>>(script: &str, words: impl IntoIterator<Item = W>) -> Command {
    require_kvm();
    let mut command = Command::new("sh");
    command.args(["-euc", script, "sh"]).args(words).env("SENTCTL", env!("CARGO_BIN_EXE_sentctl"));
    clean(&mut command);
    command
}

fn clean(command: &mut Command) {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cache");
    command
        .env("XDG_CACHE_HOME", cache)
        .env_remove("SENTCTL_LOG_LEVEL")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::null());
}

/// The root of the repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The folder of the example containers.
pub fn containers() -> PathBuf {
    root().join("resources/containers")
}

/// An example container's program.
pub fn container(name: &str) -> PathBuf {
    // The folder and the program have the same name, but for one.
    let program = if name == "fs" { "fscheck" } else { name };
    let path = containers().join(name).join(format!("{program}.wasm"));
    assert!(path.is_file(), "there is no {}: build it with resources/containers/build.sh", path.display());
    path
}

/// A program of the tests' own; its source lies beside it.
pub fn module(name: &str) -> PathBuf {
    root().join("tests/modules").join(format!("{name}.wasm"))
}

/// What became of a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finished {
    /// How it ended.
    pub status: ExitStatus,
    /// All of its standard output, if that was not redirected.
    pub stdout: Vec<u8>,
    /// All of its standard error, if that was not redirected.
    pub stderr: Vec<u8>,
}

impl Finished {
    /// Its exit code; fails if a signal killed it.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("killed by signal {:?}\n{self}", self.status.signal()))
    }

    /// Its standard output as text.
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    /// Its standard error as text.
    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// Its standard error's only line, as an object.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.stderr)
            .unwrap_or_else(|error| panic!("no JSON on standard error: {error}\n{self}"))
    }

    /// Fails unless it ended with `code`, wrote `stdout` and nothing on standard error.
    #[track_caller]
    pub fn assert(&self, code: i32, stdout: impl AsRef<[u8]>) {
        let expected = stdout.as_ref();
        assert!(
            self.status.code() == Some(code) && self.stdout == expected && self.stderr.is_empty(),
            "expected exit code {code}, no standard error, and as standard output:\n{}\n{self}",
            String::from_utf8_lossy(expected)
        );
    }

    /// Fails unless it ended with `code` and its standard error has every one of `parts`.
    #[track_caller]
    pub fn assert_fails(&self, code: i32, parts: &[&str]) {
        let text = self.err();
        let missing: Vec<_> = parts.iter().filter(|part| !text.contains(**part)).collect();
        assert!(
            self.status.code() == Some(code) && missing.is_empty(),
            "expected exit code {code} and on standard error {parts:?}; missing: {missing:?}\n{self}"
        );
    }
}

impl fmt::Display for Finished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let excerpt = |bytes: &[u8]| String::from_utf8_lossy(bytes.get(..4000).unwrap_or(bytes)).into_owned();
        write!(
            f,
            "{}\n-- standard output --\n{}\n-- standard error --\n{}",
            self.status,
            excerpt(&self.stdout),
            excerpt(&self.stderr)
        )
    }
}

/// Runs a command to its end, both outputs collected, standard input as the command has it.
#[track_caller]
pub fn finish(command: &mut Command) -> Finished {
    collect(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Runs a command to its end with `input` on a pipe as its standard input.
#[track_caller]
pub fn finish_with(command: &mut Command, input: &[u8]) -> Finished {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    thread::scope(|scope| {
        // A program need not read its input: then the pipe breaks.
        scope.spawn(move || drop(pipe.write_all(input)));
        collect(child)
    })
}

/// Waits for a child's end and collects what it writes to pipes.
#[track_caller]
pub fn collect(mut child: Child) -> Finished {
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let stdout = scope.spawn(|| read_all(stdout));
        let stderr = scope.spawn(|| read_all(stderr));
        let status = wait(&mut child);
        Finished { status, stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
    })
}

fn read_all(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes).unwrap();
    }
    bytes
}

/// Waits for a child's end; kills it and fails if that does not come.
#[track_caller]
pub fn wait(child: &mut Child) -> ExitStatus {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > until {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("the process had not ended after {PATIENCE:?} and was killed");
        }
        thread::sleep(LOOK);
    }
}

/// Waits until `condition` gives something; fails, saying `what` did not happen, if it never does.
#[track_caller]
pub fn eventually<T>(what: &str, mut condition: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < until, "within {PATIENCE:?} this did not happen: {what}");
        thread::sleep(LOOK);
    }
}
