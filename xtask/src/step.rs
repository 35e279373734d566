//! Running other programs, one step at a time.

use crate::root;
use std::fmt;
use std::io::{self, BufRead, BufReader, IsTerminal, Read};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Why a verb failed.
#[derive(Debug)]
pub enum Failure {
    /// These steps did.
    Steps(Vec<String>),
    /// Something is missing on this machine: what, and what to do.
    Missing(String),
    /// A program could not be started.
    Start {
        /// The program.
        program: String,
        /// Why.
        source: io::Error,
    },
    /// Something else, in words.
    Other(String),
    /// What there is to say has been said.
    Said,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Steps(names) => write!(f, "failed: {}", names.join(", ")),
            Self::Missing(what) | Self::Other(what) => f.write_str(what),
            Self::Said => Ok(()),
            Self::Start { program, source } => write!(f, "cannot start {program}: {source}"),
        }
    }
}

/// A command in the repository's folder.
#[must_use]
pub fn command(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args).current_dir(root::folder());
    command
}

/// The cargo that runs us, so that everything is built with one toolchain.
#[must_use]
pub fn cargo(args: &[&str]) -> Command {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = command(&cargo, args);
    // Of `cargo run`, about xtask: not for what xtask runs, where they would make cargo build anew.
    for (name, _) in std::env::vars_os() {
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_"))
        {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; an error if it fails.
///
/// # Errors
/// [`Failure::Steps`] with the command as its name, or [`Failure::Start`].
pub fn must(command: &mut Command) -> Result<(), Failure> {
    let shown = show(command);
    eprintln!("==> {shown}");
    let status = command.status().map_err(|source| start_failure(command, source))?;
    if status.success() { Ok(()) } else { Err(Failure::Steps(vec![shown])) }
}

/// Steps that all run, whatever becomes of those before.
#[derive(Debug, Default)]
pub struct Steps {
    failed: Vec<String>,
    times: Vec<(String, Duration)>,
}

impl Steps {
    /// Runs a step; true if it succeeded.
    pub fn run(&mut self, name: &str, command: &mut Command) -> bool {
        self.attempt(name, command, |command| {
            let status = command.status().map_err(|source| start_failure(command, source))?;
            Ok(status.success())
        })
    }

    /// Runs a step that ends with a summary on standard error, and gives its last line that holds `mark`.
    pub fn run_for_line(&mut self, name: &str, command: &mut Command, mark: &str) -> Option<String> {
        let mut found = None;
        self.attempt(name, command, |command| {
            let child = command.stderr(Stdio::piped()).spawn();
            let mut child: Child = child.map_err(|source| start_failure(command, source))?;
            if let Some(stderr) = child.stderr.take() {
                found = forward(stderr, mark);
            }
            let status = child.wait().map_err(|source| start_failure(command, source))?;
            Ok(status.success())
        });
        found
    }

    /// Counts something that could not even be tried as a failed step.
    pub fn note(&mut self, name: &str, failure: &Failure) {
        eprintln!("\n==> {name}: {failure}");
        self.times.push((name.to_owned(), Duration::ZERO));
        self.failed.push(name.to_owned());
    }

    fn attempt(
        &mut self,
        name: &str,
        command: &mut Command,
        run: impl FnOnce(&mut Command) -> Result<bool, Failure>,
    ) -> bool {
        eprintln!("\n==> {name}: {}", show(command));
        let began = Instant::now();
        let good = run(command).unwrap_or_else(|failure| {
            eprintln!("{failure}");
            false
        });
        self.times.push((name.to_owned(), began.elapsed()));
        if !good {
            self.failed.push(name.to_owned());
        }
        good
    }

    /// Prints how long each step so far took.
    pub fn print_times(&self) {
        eprintln!();
        for (name, time) in &self.times {
            let mark = if self.failed.contains(name) { "FAIL" } else { "ok" };
            eprintln!("    {mark:<4} {:>7.1} s  {name}", time.as_secs_f64());
        }
    }

    /// What all steps together came to.
    ///
    /// # Errors
    /// [`Failure::Steps`] with those that failed.
    pub fn finish(self) -> Result<(), Failure> {
        if self.failed.is_empty() { Ok(()) } else { Err(Failure::Steps(self.failed)) }
    }
}

/// Copies lines to our standard error, and gives the last one that holds `mark`.
fn forward(lines: impl Read, mark: &str) -> Option<String> {
    let mut found = None;
    for line in BufReader::new(lines).split(b'\n').map_while(Result::ok) {
        let line = String::from_utf8_lossy(&line);
        eprintln!("{line}");
        if line.contains(mark) {
            found = Some(line.into_owned());
        }
    }
    found
}

/// Whether people are watching: what runs behind a pipe of ours must be told.
#[must_use]
pub fn colour() -> &'static str {
    if io::stderr().is_terminal() { "always" } else { "never" }
}

fn start_failure(command: &Command, source: io::Error) -> Failure {
    Failure::Start { program: command.get_program().to_string_lossy().into_owned(), source }
}

/// The command as one would type it: environment first, cargo without its folder.
fn show(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program());
    let program = program.file_name().unwrap_or(command.get_program());
    let mut words: Vec<String> = Vec::new();
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            words.push(format!("{}={}", name.to_string_lossy(), value.to_string_lossy()));
        }
    }
    words.push(program.to_string_lossy().into_owned());
    words.extend(command.get_args().map(|arg| arg.to_string_lossy().into_owned()));
    words.join(" ")
}
