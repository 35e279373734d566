//! One run of one program, and what must come of it.

use crate::root;
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};
use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

/// A run that takes longer has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A program, what it is given, and what it then does.
pub struct Deed {
    options: &'static [&'static str],
    wasm: &'static str,
    args: &'static [&'static str],
    stdin: &'static str,
    stdout: &'static str,
    code: i32,
}

/// What is done to a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Nothing.
    LeftAlone,
    /// SIGKILL, SIGTERM or SIGINT, so long after its start.
    Signal {
        /// Which of the three.
        which: u8,
        /// When.
        after: Duration,
    },
}

/// What came of a run.
pub enum Outcome {
    /// What had to.
    Right,
    /// Something else, in words.
    Wrong(String),
}

/// The programs: quick ones, one that uses all its pages, one that traps, one that is stopped.
pub const DEEDS: &[Deed] = &[
    Deed {
        options: &[],
        wasm: "hello/hello.wasm",
        args: &["storm"],
        stdin: "",
        stdout: "Hello, SentientOS!\nargument 1: storm\n",
        code: 0,
    },
    Deed {
        options: &[],
        wasm: "jsonq/jsonq.wasm",
        args: &["-c", ".a | map(. + 1)"],
        stdin: "{\"a\":[1,2,3]}",
        stdout: "[2,3,4]\n",
        code: 0,
    },
    Deed {
        options: &[],
        wasm: "digest/digest.wasm",
        args: &["-a", "sha256"],
        stdin: "abc",
        stdout: "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n",
        code: 0,
    },
    Deed {
        options: &[],
        wasm: "minidb/minidb.wasm",
        args: &[
            "t.db",
            "CREATE TABLE t (a INTEGER)",
            "INSERT INTO t VALUES (41), (1)",
            "SELECT a FROM t WHERE a > 1",
        ],
        stdin: "",
        stdout: "41\n",
        code: 0,
    },
    Deed {
        options: &[],
        wasm: "faults/faults.wasm",
        args: &["trap"],
        stdin: "",
        stdout: "about to trap\n",
        code: 134,
    },
    Deed {
        options: &["--cpu-time", "20ms"],
        wasm: "faults/faults.wasm",
        args: &["loop"],
        stdin: "",
        stdout: "about to loop\n",
        code: 152,
    },
];

impl Deed {
    /// Runs it.
    pub fn run(&self, program: &Path, cache: &Path, fate: Fate) -> Outcome {
        let spawned = Command::new(program)
            .arg("run")
            .args(self.options)
            .arg(root::join("resources/containers").join(self.wasm))
            .arg("--")
            .args(self.args)
            .env("XDG_CACHE_HOME", cache)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = match spawned {
            Ok(child) => child,
            Err(error) => return self.wrong(&format!("cannot be started: {error}"), None),
        };
        // A descriptor, not a number: the number may be another process' once this one is waited for.
        let process = match pidfd_open(Pid::from_child(&child), PidfdFlags::empty()) {
            Ok(process) => process,
            Err(error) => return self.wrong(&format!("cannot be watched: {error}"), None),
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A run that is over already reads nothing.
            let _ = stdin.write_all(self.stdin.as_bytes());
        }
        let ended = collect(child);
        if let Fate::Signal { which, after } = fate {
            match ended.recv_timeout(after) {
                Ok(output) => return self.judge(output, Fate::LeftAlone),
                Err(_) => send(&process, signal(which)),
            }
        }
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => self.judge(output, fate),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                send(&process, Signal::KILL);
                let output = ended.recv().ok().flatten();
                self.wrong(&format!("has hung for {} s ({fate:?})", PATIENCE.as_secs()), output.as_ref())
            }
        }
    }

    fn judge(&self, output: Option<Output>, fate: Fate) -> Outcome {
        let Some(output) = output else { return self.wrong("cannot be waited for", None) };
        let finished = output.status.code() == Some(self.code) && output.stdout == self.stdout.as_bytes();
        let right = match fate {
            Fate::LeftAlone => finished,
            // It may have been done just before.
            Fate::Signal { which, .. } => finished || ended_by(output.status, which),
        };
        if right { Outcome::Right } else { self.wrong(&format!("went wrong ({fate:?})"), Some(&output)) }
    }

    fn wrong(&self, what: &str, output: Option<&Output>) -> Outcome {
        let mut text =
            format!("sentctl run {} {} {}: {what}", self.options.join(" "), self.wasm, self.args.join(" "));
        if let Some(Output { status, stdout, stderr }) = output {
            text.push_str(&format!(
                "\n  {status}\n  output: {:?}\n  errors: {:?}",
                String::from_utf8_lossy(stdout),
                String::from_utf8_lossy(stderr)
            ));
        }
        Outcome::Wrong(text)
    }
}

/// Waits for a child in a thread of its own, which also reads what it writes.
fn collect(child: Child) -> Receiver<Option<Output>> {
    let (sender, receiver) = channel();
    // If nobody listens any more, there is nobody to tell.
    std::thread::spawn(move || drop(sender.send(child.wait_with_output().ok())));
    receiver
}

fn send(process: &impl AsFd, signal: Signal) {
    // It fails if the process has ended; then it needs no signal.
    let _ = pidfd_send_signal(process, signal);
}

fn signal(which: u8) -> Signal {
    match which {
        0 => Signal::KILL,
        1 => Signal::TERM,
        _ => Signal::INT,
    }
}

/// By the signal itself, before sentctl handles it, or as its exit codes say.
fn ended_by(status: ExitStatus, which: u8) -> bool {
    use std::os::unix::process::ExitStatusExt;
    let number = signal(which).as_raw();
    status.signal() == Some(number) || (which > 0 && status.code() == Some(128 + number))
}
