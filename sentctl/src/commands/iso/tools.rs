//! Programs of the host that media are made and looked at with.

use crate::errors::CommandError;
use std::io;
use std::process::{Command, Stdio};

/// The time that files of a medium have (2026-01-01, UTC), so that the same input gives the same bytes.
pub const EPOCH: &str = "1767225600";

/// A program, and the Debian packages that it comes with.
#[derive(Clone, Copy, Debug)]
pub struct Tool {
    pub program: &'static str,
    pub packages: &'static str,
    /// What it does nothing but say its version with.
    version: &'static str,
}

/// GRUB's maker of images, with what it makes them of.
pub const MKIMAGE: Tool = Tool {
    program: "grub-mkimage",
    packages: "grub-common grub-pc-bin grub-efi-amd64-bin",
    version: "--version",
};
/// The maker of ISOs.
pub const XORRISO: Tool = Tool { program: "xorriso", packages: "xorriso", version: "-version" };
/// What makes QEMU's images of disks.
pub const QEMU_IMG: Tool = Tool { program: "qemu-img", packages: "qemu-utils", version: "--version" };
/// A machine to look at one with.
pub const QEMU: Tool =
    Tool { program: "qemu-system-x86_64", packages: "qemu-system-x86", version: "--version" };

impl Tool {
    pub fn command(&self) -> Command {
        Command::new(self.program)
    }

    /// Runs it to its end, with nothing to see.
    ///
    /// # Errors
    /// [`CommandError::Tool`] with what it has complained of.
    pub fn run(&self, command: &mut Command) -> Result<(), CommandError> {
        let output = command.stdin(Stdio::null()).output().map_err(|error| self.failed(&error))?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(CommandError::Tool(format!("{} has failed ({}): {complaint}", self.program, output.status)))
    }

    /// Why it was not started.
    pub fn failed(&self, error: &io::Error) -> CommandError {
        let Self { program, packages, .. } = self;
        CommandError::Tool(format!(
            "{program} cannot be started: {error}. On Debian: apt-get install {packages}"
        ))
    }

    fn is_there(&self) -> bool {
        let mut command = self.command();
        command.arg(self.version).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    }
}

/// Whether all of them are there.
///
/// # Errors
/// [`CommandError::Tool`] with what is missing, and how to get it.
pub fn find(tools: &[&Tool]) -> Result<(), CommandError> {
    let missing: Vec<&&Tool> = tools.iter().filter(|tool| !tool.is_there()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let join =
        |what: fn(&Tool) -> &'static str| missing.iter().map(|tool| what(tool)).collect::<Vec<_>>().join(" ");
    Err(CommandError::Tool(format!(
        "missing: {}. On Debian: apt-get install {}",
        join(|tool| tool.program),
        join(|tool| tool.packages)
    )))
}
