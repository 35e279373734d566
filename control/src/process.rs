//! Starting a machine's process, and the start as the process sees it.
//!
//! The process is this program again, with a verb people do not use, and with words that are read in no time
//! ([`Invocation`]): a machine's start waits for it. It tells its starter over its standard output, in one line,
//! that it is ready or why not; then it has no terminal, no parent that waits, and nothing to read.

use crate::error::ControlError;
use crate::home::{Home, MachineFolder, append_to};
use crate::machine_process::Task;
use serde::{Deserialize, Serialize};
use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, Stdio};

/// What the process says when it is ready or has failed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ready,
    Failed { kind: String, message: String },
}

/// The verb.
pub const VERB: &str = "machine-process";

/// What the process of a machine is told: behind [`VERB`], a [`Task`] in JSON, the machine's name, and its home.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Invocation {
    /// What to do.
    pub task: Task,
    /// The machine.
    pub machine: MachineFolder,
    /// Its home.
    pub home: Home,
}

impl Invocation {
    /// As the words behind the verb have it.
    ///
    /// # Errors
    /// [`ControlError::Request`] if these are not its words, [`ControlError::Home`].
    pub fn read(words: impl Iterator<Item = OsString>) -> Result<Self, ControlError> {
        let bad =
            || ControlError::Request(format!("`{VERB}` is how this program starts the process of a machine"));
        let words: Vec<OsString> = words.collect();
        let [task, name, home] = <[OsString; 3]>::try_from(words).map_err(|_| bad())?;
        let task = serde_json::from_slice(task.as_encoded_bytes()).map_err(|_| bad())?;
        let home = Home::find(Some(home.into()))?;
        let machine = home.machine(name.to_str().ok_or_else(bad)?)?;
        Ok(Self { task, machine, home })
    }

    fn words(&self) -> Result<[OsString; 4], ControlError> {
        let task = serde_json::to_string(&self.task).map_err(|error| ControlError::Bug(error.to_string()))?;
        Ok([VERB.into(), task.into(), self.machine.name().into(), self.home.path().into()])
    }
}

/// Starts the process of a machine whose folder is there, and returns when it is ready: its number.
///
/// # Errors
/// [`ControlError`], the process' own if it has failed.
pub fn start(invocation: &Invocation) -> Result<u32, ControlError> {
    start_with(invocation, &invocation.machine.log(), Stdio::null())
}

/// The same, with a standard input, and what it says in this file.
///
/// # Errors
/// As [`start`].
pub(crate) fn start_with(invocation: &Invocation, log: &Path, stdin: Stdio) -> Result<u32, ControlError> {
    let own = std::env::current_exe().map_err(ControlError::io("finding this program"))?;
    let log_file = append_to(log).map_err(ControlError::io(log))?;
    let mut command = Command::new(own);
    command.args(invocation.words()?);
    command.stdout(Stdio::piped()).stderr(log_file).stdin(stdin);
    let mut child = command.spawn().map_err(ControlError::io("starting the machine's process"))?;
    let mut line = String::new();
    if let Some(stdout) = child.stdout.take() {
        BufReader::new(stdout)
            .read_line(&mut line)
            .map_err(ControlError::io("hearing from the machine's process"))?;
    }
    match serde_json::from_str(&line) {
        Ok(Word::Ready) => Ok(child.id()),
        Ok(Word::Failed { kind, message }) => Err(ControlError::Process { kind, message }),
        Err(_) => {
            let how = child.wait().map_or_else(|error| error.to_string(), |status| status.to_string());
            let message = format!("the machine's process ended early ({how}); {} may say why", log.display());
            Err(ControlError::Process { kind: "process".into(), message })
        }
    }
}

/// In the process: leave the starter's session, and keep what is made to ourselves.
///
/// # Errors
/// The error of setsid.
pub fn detach() -> Result<(), ControlError> {
    // A leader of its group already has a session of its own, or nothing to leave.
    let _ = rustix::process::setsid();
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    std::env::set_current_dir("/").map_err(ControlError::io("leaving the current folder"))
}

/// In the process: tell the starter how it went, and close the line to it.
///
/// # Errors
/// The error of writing, or of opening /dev/null.
pub fn report(outcome: Result<(), &ControlError>) -> Result<(), ControlError> {
    let word = match outcome {
        Ok(()) => Word::Ready,
        Err(error) => Word::Failed { kind: error.kind().to_owned(), message: error.to_string() },
    };
    let failed = ControlError::io("telling who started this process");
    let line = serde_json::to_string(&word).map_err(|error| ControlError::Bug(error.to_string()))?;
    let mut stdout = std::io::stdout().lock();
    match writeln!(stdout, "{line}").and_then(|()| stdout.flush()) {
        // The starter was killed meanwhile. The machine is there all the same, for whoever asks next.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
        told => told.map_err(failed)?,
    }
    let null =
        OpenOptions::new().write(true).open("/dev/null").map_err(ControlError::io("opening /dev/null"))?;
    rustix::stdio::dup2_stdout(&null)
        .map_err(|error| ControlError::io("closing standard output")(error.into()))
}

/// In the process: what it says goes into the machine's log.
///
/// # Errors
/// That of opening it.
pub fn log_to(machine: &MachineFolder) -> Result<(), ControlError> {
    let log = machine.log();
    let opened = append_to(&log).map_err(ControlError::io(&log))?;
    rustix::stdio::dup2_stderr(&opened).map_err(|error| ControlError::io(&log)(error.into()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::machine_process::Verify;

    #[test]
    fn a_process_is_told_what_its_starter_says() {
        let home = Home::find(Some("/some/home".into())).unwrap();
        let machine = home.machine("m").unwrap();
        for task in [
            Task::Init { ram: 1 << 27, zk: false },
            Task::Boot { verify: Verify::Lazy },
            Task::Fork { ram: 7 },
        ] {
            let told = Invocation { task, machine: machine.clone(), home: home.clone() };
            let words = told.words().unwrap();
            assert_eq!(Invocation::read(words.into_iter().skip(1)).unwrap(), told);
        }
    }

    #[test]
    fn other_words_are_refused() {
        let read = |words: &[&str]| Invocation::read(words.iter().map(Into::into));
        let task = r#"{"fork":{"ram":7}}"#;
        assert!(read(&[task, "m", "/home"]).is_ok());
        for words in
            [&[][..], &[task], &[task, "m", "/home", "more"], &["{}", "m", "/home"], &[task, "../m", "/h"]]
        {
            assert!(read(words).is_err(), "{words:?}");
        }
    }
}
