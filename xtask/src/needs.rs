//! What must be on the machine, and how it gets there.

use crate::root;
use crate::step::{self, Failure};
use std::fs::OpenOptions;
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The version of cargo-deny that the checks were written for.
const DENY_VERSION: &str = "0.20.2";

/// KVM, usable by this user.
///
/// # Errors
/// [`Failure::Missing`] with what to do.
pub fn kvm() -> Result<(), Failure> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/kvm");
    opened.map(drop).map_err(|error| {
        Failure::Missing(format!(
            "/dev/kvm cannot be used: {error}\n\
             The machine tests boot real machines and are never skipped. Load kvm_intel or kvm_amd, join the\n\
             group kvm, or in a container pass the device through (--device /dev/kvm)."
        ))
    })
}

/// QEMU, the second machine on which the kernel must boot. Debian's, if it is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn qemu() -> Result<(), Failure> {
    debian("qemu-system-x86_64", "qemu-system-x86")
}

/// A registry of OCI artifacts, which packages are pushed to and pulled from. Debian's, if it is missing and we are
/// root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn registry() -> Result<(), Failure> {
    debian("docker-registry", "docker-registry")
}

/// gdb, which opens the cores of guests that failed. Debian's, if it is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn gdb() -> Result<(), Failure> {
    debian("gdb", "gdb")
}

/// curl, with which the docs speak HTTP. Debian's, if it is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn curl() -> Result<(), Failure> {
    debian("curl", "curl")
}

/// A program of a Debian package.
fn debian(program: &str, package: &str) -> Result<(), Failure> {
    let there = || answers(program, &["--version"]);
    if there() {
        return Ok(());
    }
    eprintln!("    {program} is missing: installing Debian's");
    let apt = |args: &[&str]| {
        let mut command = step::command("apt-get", args);
        step::must(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // Lists may be old, or there are none; if they cannot be fetched, the install says what is wrong.
    let _ = apt(&["update", "--quiet"]);
    let installed = apt(&["install", "--yes", "--quiet", "--no-install-recommends", package]);
    if installed.is_ok() && there() {
        return Ok(());
    }
    Err(Failure::Missing(format!("{program} is missing: install it (Debian: apt-get install {package})")))
}

/// Whether cargo-nextest is there; without it `cargo test` does.
#[must_use]
pub fn has_nextest() -> bool {
    answers("cargo-nextest", &["nextest", "--version"])
}

/// Whether the compiler of the example programs is there: `pip install ziglang`.
#[must_use]
pub fn has_zig() -> bool {
    answers("python3", &["-m", "ziglang", "version"])
}

/// cargo-deny: the one on the path, or one of our own in the folder of build results, built if need be.
///
/// # Errors
/// [`Failure`] if it cannot be built.
pub fn deny() -> Result<PathBuf, Failure> {
    if answers("cargo-deny", &["--version"]) {
        return Ok("cargo-deny".into());
    }
    let tools = root::target().join("tools");
    let program = tools.join("bin/cargo-deny");
    if !program.exists() {
        eprintln!(
            "    cargo-deny is missing: building {DENY_VERSION} into {} once, for some minutes",
            tools.display()
        );
        let mut install =
            step::cargo(&["install", "--quiet", "--locked", "cargo-deny", "--version", DENY_VERSION]);
        // Only its dependency graph is needed: an unoptimised program is built in a third of the time, and nobody debugs it.
        install.env("CARGO_PROFILE_DEV_DEBUG", "0");
        step::must(install.args(["--profile", "dev", "--root"]).arg(&tools))?;
    }
    Ok(program)
}

fn answers(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}
