//! Reports of faults, sent to somebody: only if the machine's owner has asked for it, in `.panic/log.send`.
//!
//! ```yaml
//! send: 1
//! command: [curl, --fail, --silent, --show-error, --data-binary, "@-", "https://reports.example.org/"]
//! within: 30s   # how long it may take
//! ```
//!
//! The command is given the [record](sentient_crash::record) of the fault on its standard input, the same that is in `.panic/`, and the
//! machine's name in its environment. By which protocol, where to, and by what right it goes is the command's affair: a machine's process
//! opens no connection of its own accord. What has become of it is in the machine's log.

use super::policy::{self, longest};
use crate::error::ControlError;
use crate::home::MachineFolder;
use sentient_images::quantity::Time;
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// The version of the text that is known.
const VERSION: u64 = 1;
/// How long a command may take that says nothing about it.
const WITHIN: Duration = Duration::from_secs(30);
/// How often it is looked whether it is done.
const OFTEN: Duration = Duration::from_millis(20);
/// Most bytes of what a command complains of that are logged.
const COMPLAINT: u64 = 1024;
/// What names the machine in the command's environment.
const MACHINE: &str = "SENTIENT_MACHINE";

/// How reports are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Sending {
    /// A program and its arguments.
    command: Vec<String>,
    within: Duration,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    send: u64,
    command: Vec<String>,
    within: Option<Time>,
}

impl Sending {
    fn parse(text: &str) -> Result<Self, String> {
        let Text { send, command, within } = serde_yaml::from_str(text).map_err(|error| error.to_string())?;
        if send != VERSION {
            return Err(format!("it is of version {send}, and {VERSION} is known"));
        }
        if command.first().is_none_or(String::is_empty) {
            return Err("command: a program at least".into());
        }
        longest("within", within)?;
        Ok(Self { command, within: within.map_or(WITHIN, |Time(within)| within) })
    }

    /// As a machine's owner has asked for it; `None` if nobody has.
    fn of(machine: &MachineFolder) -> Result<Option<Self>, ControlError> {
        policy::said(&machine.log_send(), Self::parse)
    }

    /// Runs the command on a report; gives how it ended, and what it has complained of.
    fn send(&self, machine: &str, report: &str) -> io::Result<(ExitStatus, String)> {
        let (program, args) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(args).env(MACHINE, machine);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
        let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
        let deadline = Instant::now() + self.within;
        std::thread::scope(|scope| {
            // One that does not read all of it has had enough of it.
            scope.spawn(move || stdin.map(|mut stdin| stdin.write_all(report.as_bytes())));
            let complaint = scope.spawn(move || {
                let mut complaint = Vec::new();
                let Some(mut stderr) = stderr else { return complaint };
                let _ = stderr.by_ref().take(COMPLAINT).read_to_end(&mut complaint);
                // It must not wait for somebody to read the rest.
                let _ = io::copy(&mut stderr, &mut io::sink());
                complaint
            });
            let status = loop {
                if let Some(status) = child.try_wait()? {
                    break status;
                }
                if Instant::now() > deadline {
                    child.kill()?;
                    child.wait()?;
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("it has not ended within {:?}, and was killed", self.within),
                    ));
                }
                std::thread::sleep(OFTEN);
            };
            let complaint = complaint.join().unwrap_or_default();
            Ok((status, String::from_utf8_lossy(&complaint).trim().to_owned()))
        })
    }
}

/// Sends a report, if somebody has asked for that; waits for it.
pub(super) fn report(machine: &MachineFolder, report: &str) {
    let sending = match Sending::of(machine) {
        Ok(Some(sending)) => sending,
        Ok(None) => return,
        Err(error) => {
            tracing::warn!(%error, "the report is not sent");
            return;
        }
    };
    let command = sending.command.join(" ");
    match sending.send(machine.name(), report) {
        Ok((status, _)) if status.success() => tracing::info!(command, "the report was sent"),
        Ok((status, complaint)) => tracing::warn!(command, %status, complaint, "the report was not sent"),
        Err(error) => tracing::warn!(command, %error, "the report was not sent"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn sending(command: &[&str]) -> Sending {
        let command = command.iter().map(|word| (*word).to_owned()).collect();
        Sending { command, within: Duration::from_millis(300) }
    }

    #[test]
    fn a_text_is_read_strictly() {
        let wanted = Sending { command: vec!["mail".into(), "root".into()], within: WITHIN };
        assert_eq!(Sending::parse("send: 1\ncommand: [mail, root]"), Ok(wanted));
        for (text, why) in [
            ("", "send"),
            ("send: 2\ncommand: [a]", "version 2"),
            ("send: 1", "command"),
            ("send: 1\ncommand: []", "a program"),
            ("send: 1\ncommand: ['']", "a program"),
            ("send: 1\ncommand: [a]\nwithin: 25h", "a day"),
            ("send: 1\ncommand: [a]\nto: b", "to"),
        ] {
            let error = Sending::parse(text);
            assert!(error.as_ref().is_err_and(|error| error.contains(why)), "{text}: {error:?}");
        }
    }

    #[test]
    fn a_command_is_given_the_report_and_what_it_says_of_it_is_known() {
        let folder = tempfile::tempdir().unwrap();
        let to = folder.path().join("sent");
        let script = format!("cat > {0}; echo \" $SENTIENT_MACHINE\" >> {0}", to.display());
        let report = "x".repeat(200_000);
        let (status, complaint) = sending(&["sh", "-c", &script]).send("m", &report).unwrap();
        assert!(status.success() && complaint.is_empty());
        assert_eq!(std::fs::read_to_string(to).unwrap(), format!("{report} m\n"));
        let complains = sending(&["sh", "-c", "yes no | head -c 100000 >&2; exit 3"]);
        let (status, complaint) = complains.send("m", &report).unwrap();
        assert_eq!((status.code(), complaint.lines().next()), (Some(3), Some("no")));
        assert!(complaint.len() as u64 <= COMPLAINT, "no more is kept");
    }

    #[test]
    fn one_that_does_not_end_is_killed_and_one_that_is_not_there_is_named() {
        let error = sending(&["sleep", "60"]).send("m", "r").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let error = sending(&["/no/such/program"]).send("m", "r").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
