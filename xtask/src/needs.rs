//! What must be on the machine, and how it gets there.

use crate::root;
use crate::step::{self, Failure};
use std::fs::OpenOptions;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The version of cargo-deny that the checks were written for.
const DENY_VERSION: &str = "0.20.2";

/// Files of packages that have no program.
const MEDIA: [&str; 3] = [
    "/usr/lib/grub/i386-pc/kernel.img",
    "/usr/lib/grub/x86_64-efi/kernel.img",
    "/usr/share/OVMF/OVMF_CODE_4M.fd",
];

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
    debian("qemu-system-x86_64", &["qemu-system-x86"])
}

/// What media are made of, and the firmware that they are tried with. Debian's, if something is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if something is not there and cannot be installed.
pub fn media() -> Result<(), Failure> {
    let there = || {
        answers("grub-mkimage", &["--version"])
            && answers("xorriso", &["-version"])
            && answers("qemu-img", &["--version"])
            && answers("sfdisk", &["--version"])
            && MEDIA.iter().all(|path| Path::new(path).exists())
    };
    let packages =
        ["grub-common", "grub-pc-bin", "grub-efi-amd64-bin", "xorriso", "qemu-utils", "ovmf", "fdisk"];
    debian_unless(there, "what media are made of", &packages)
}

/// A registry of OCI artifacts, which packages are pushed to and pulled from. Debian's, if it is missing and we are
/// root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn registry() -> Result<(), Failure> {
    debian("docker-registry", &["docker-registry"])
}

/// gdb, which opens the cores of guests that failed. Debian's, if it is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn gdb() -> Result<(), Failure> {
    debian("gdb", &["gdb"])
}

/// curl, with which the docs speak HTTP. Debian's, if it is missing and we are root.
///
/// # Errors
/// [`Failure::Missing`] if it is not there and cannot be installed.
pub fn curl() -> Result<(), Failure> {
    debian("curl", &["curl"])
}

/// A program of a Debian package.
fn debian(program: &str, packages: &[&str]) -> Result<(), Failure> {
    debian_unless(|| answers(program, &["--version"]), program, packages)
}

/// Debian packages, unless what they have is there.
fn debian_unless(there: impl Fn() -> bool, what: &str, packages: &[&str]) -> Result<(), Failure> {
    if there() {
        return Ok(());
    }
    eprintln!("    {what} is missing: installing Debian's");
    let apt = |args: &[&str]| {
        let mut command = step::command("apt-get", args);
        step::must(command.env("DEBIAN_FRONTEND", "noninteractive"))
    };
    // Lists may be old, or there are none; if they cannot be fetched, the install says what is wrong.
    let _ = apt(&["update", "--quiet"]);
    let install = ["install", "--yes", "--quiet", "--no-install-recommends"];
    if apt(&[&install, packages].concat()).is_ok() && there() {
        return Ok(());
    }
    let packages = packages.join(" ");
    Err(Failure::Missing(format!("{what} is missing: install it (Debian: apt-get install {packages})")))
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
