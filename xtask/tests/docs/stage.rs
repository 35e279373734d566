//! Where a document's commands run: a folder of their own, with the repository's resources and licence, the
//! built sentctl on the path, and a home that is empty.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// How the documents start a release build; here the one that is being tested stands for it.
const CARGO_RUN: &str = "cargo run --release --";

/// How long one command may take: far more than it does.
const PATIENCE: &str = "60s";
/// What coreutils' `timeout` ends with when that is over.
const TIMED_OUT: i32 = 124;

/// The folder and what is in it.
pub struct Stage {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

impl Stage {
    /// An empty one.
    pub fn new() -> Self {
        let made = (|| {
            let folder = tempfile::tempdir()?;
            for name in ["resources", "LICENSE"] {
                std::os::unix::fs::symlink(super::repository().join(name), folder.path().join(name))?;
            }
            std::fs::create_dir(folder.path().join(".home"))?;
            Ok::<_, std::io::Error>(folder)
        })();
        assert!(made.is_ok(), "a folder for the commands can be made: {made:?}");
        let Ok(folder) = made else { unreachable!() };
        Self { folder, programs: programs() }
    }

    /// Runs a command as a shell does; gives what it prints, standard error included.
    pub fn run(&self, command: &str) -> String {
        let script = format!("exec 2>&1\n{}", command.replace(CARGO_RUN, "sentctl"));
        let path = std::env::var("PATH").unwrap_or_default();
        let output = Command::new("timeout")
            .args(["--kill-after=5", PATIENCE, "bash", "-c", &script])
            .current_dir(self.folder.path())
            .env("PATH", format!("{}:{path}", self.programs.display()))
            .env("HOME", self.folder.path().join(".home"))
            .env_remove("XDG_CACHE_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("SENTCTL_HOME")
            .env_remove("SENTCTL_MACHINE")
            .env_remove("SENTCTL_LOG_LEVEL")
            .stdin(Stdio::null())
            .output();
        assert!(output.is_ok(), "bash can be started: {output:?}");
        let Ok(output) = output else { unreachable!() };
        let printed = String::from_utf8_lossy(&output.stdout);
        if output.status.code() == Some(TIMED_OUT) {
            return format!("{printed}\n(it did not end within {PATIENCE})");
        }
        printed.into_owned()
    }
}

impl Drop for Stage {
    /// A document stops its machines; where it does not, they must not outlive its test.
    fn drop(&mut self) {
        let machines = self.folder.path().join(".home/.local/share/sentientos/machines");
        for machine in std::fs::read_dir(machines).into_iter().flatten().flatten() {
            if machine.path().join(".runtime/control.sock").exists() {
                self.run(&format!("sentctl -m {} stop --discard", machine.file_name().display()));
            }
        }
    }
}

/// The folder that cargo has put sentctl in: this test lies in its `deps`.
fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap_or_default();
    let folder = own.ancestors().nth(2).map_or_else(PathBuf::new, Path::to_owned);
    assert!(
        folder.join("sentctl").exists(),
        "{} has no sentctl: run `cargo build` first, or all tests with `cargo xtask test`",
        folder.display()
    );
    folder
}
