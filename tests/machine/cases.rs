//! The example containers' cases: how each is run and what must come out.
//!
//! The format is described in `resources/containers/README.md`.

use super::{Finished, containers, finish, finish_with, sentctl};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// A container that trapped ends `sentctl` with this code (docs/exit-codes.md).
const TRAPPED: i32 = 134;

/// One case file.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    /// Files the program is to find.
    #[serde(default)]
    files: BTreeMap<String, String>,
    /// Arguments of runs before this one, in the same file system.
    #[serde(default)]
    before: Vec<Vec<String>>,
    stdin: Option<String>,
    /// A file beside the case.
    stdin_file: Option<String>,
    /// An exported function to call instead of `_start`.
    call: Option<Call>,

    stdout: Option<String>,
    stdout_contains: Option<String>,
    /// A file beside the case.
    stdout_file: Option<String>,
    stderr_contains: Option<String>,
    exit: Option<i32>,
    /// What the called function gives.
    result: Option<i64>,
    /// The trap the program ends by.
    trap: Option<String>,
    /// A function that is in the trap's backtrace.
    backtrace_contains: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Call {
    function: String,
    n: i64,
}

/// The case files of a container, by name.
pub fn of(container: &str) -> Vec<PathBuf> {
    let folder = containers().join(container).join("cases");
    let listed = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> =
        listed.map(|entry| entry.unwrap().path()).filter(|path| has_extension(path, "case")).collect();
    files.sort();
    files
}

/// Runs the cases of a container's program that `picked` gives, by `wasm`; fails if one does not hold, or there are none.
pub fn all_hold(program: &str, wasm: &Path, picked: impl Fn(Case) -> Option<Case>) {
    let cases = of(program);
    assert!(
        !cases.is_empty(),
        "{program} has no cases: add files *.case to resources/containers/{program}/cases"
    );
    let mut failures = Vec::new();
    let mut ran = 0;
    for path in &cases {
        let Some(case) = picked(Case::read(path)) else { continue };
        ran += 1;
        let name = path.file_stem().unwrap().to_string_lossy();
        if let Err(wrong) = case.run(wasm, path.parent().unwrap()) {
            failures.push(format!("=== {program}: {name}\n{wrong}"));
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {ran} cases of {program} fail:\n{}",
        failures.len(),
        failures.join("\n")
    );
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found == extension)
}

impl Case {
    /// Reads a case file.
    pub fn read(path: &Path) -> Self {
        let text = fs::read_to_string(path).unwrap();
        yaml_serde::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    /// Whether it calls an exported function.
    pub fn calls(&self) -> bool {
        self.call.is_some()
    }

    /// Whether it needs a file system with something in it: `sentctl` cannot hand a program one yet.
    pub fn wants_files(&self) -> bool {
        !self.files.is_empty() || !self.before.is_empty()
    }

    /// The same case of the program as a component, which says no more than that it failed: toolchains' adapter of preview 1
    /// ends by `exit`, that has no code.
    #[must_use]
    pub fn of_component(mut self) -> Self {
        self.exit = self.exit.map(|code| code.min(1));
        self
    }

    /// Runs it and gives all that is not as the case says.
    pub fn run(&self, program: &Path, folder: &Path) -> Result<(), String> {
        let mut command = sentctl();
        command.arg("run");
        for (name, value) in &self.env {
            command.arg("--env").arg(format!("{name}={value}"));
        }
        if let Some(call) = &self.call {
            command.args(["--invoke", &call.function]);
        }
        command.arg(program).arg("--").args(&self.args);
        if let Some(call) = &self.call {
            command.arg(call.n.to_string());
        }
        let finished = match (&self.stdin, &self.stdin_file) {
            (Some(text), _) => finish_with(&mut command, text.as_bytes()),
            (None, Some(file)) => finish(command.stdin(fs::File::open(folder.join(file)).unwrap())),
            (None, None) => finish(&mut command),
        };
        self.compare(&finished, folder)
    }

    fn compare(&self, finished: &Finished, folder: &Path) -> Result<(), String> {
        let mut wrong = String::new();
        let mut expect = |holds: bool, what: String| {
            if !holds {
                let _ = writeln!(wrong, "expected {what}");
            }
        };
        let code = self.exit.unwrap_or(if self.trap.is_some() { TRAPPED } else { 0 });
        expect(finished.status.code() == Some(code), format!("exit code {code}"));
        if let Some(text) = &self.stdout {
            expect(finished.stdout == text.as_bytes(), format!("standard output:\n{text}"));
        }
        if let Some(file) = &self.stdout_file {
            expect(
                finished.stdout == fs::read(folder.join(file)).unwrap(),
                format!("standard output as in {file}"),
            );
        }
        if let Some(part) = &self.stdout_contains {
            expect(finished.out().contains(part), format!("in standard output: {part}"));
        }
        if let Some(result) = &self.result {
            expect(finished.out() == format!("{result}\n"), format!("the result {result} on a line"));
        }
        for part in [&self.stderr_contains, &self.trap, &self.backtrace_contains].into_iter().flatten() {
            expect(finished.err().contains(part), format!("in standard error: {part}"));
        }
        if self.stderr_contains.is_none() && self.trap.is_none() {
            expect(finished.stderr.is_empty(), "nothing on standard error".into());
        }
        if wrong.is_empty() { Ok(()) } else { Err(format!("{wrong}but: {finished}")) }
    }
}
