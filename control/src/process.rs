//! Starting a machine's process, and the start as the process sees it.
//!
//! The process is this program again, with a verb people do not use. It tells its starter over its standard
//! output, in one line, that it is ready or why not; then it has no terminal, no parent that waits, and
//! nothing to read.

use crate::error::ControlError;
use crate::home::{MachineFolder, append_to};
use serde::{Deserialize, Serialize};
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

/// What the process says when it is ready or has failed.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    Ready,
    Failed { kind: String, message: String },
}

/// Starts `command` as the process of a machine, and returns when it is ready.
///
/// # Errors
/// [`ControlError`], the process' own if it has failed.
pub fn start(machine: &MachineFolder, mut command: Command) -> Result<u32, ControlError> {
    let log = machine.log();
    let log_file = append_to(&log).map_err(ControlError::io(&log))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log_file);
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
