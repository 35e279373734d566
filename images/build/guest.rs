//! Running cargo for the guest's two programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Which program.
#[derive(Clone, Copy)]
pub enum Program {
    /// Ring 0: no SSE.
    Nucleus,
    /// Ring 3.
    Runtime,
}

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// The guest's own target folder: beside the host's profiles, in the folder cargo marks as a cache.
pub fn target_folder(out: &Path) -> PathBuf {
    let root = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").exists());
    root.unwrap_or(out).join("guest")
}

/// How the crates that check signatures are built.
const SMALL: [&str; 3] =
    [r#"curve25519_dalek_backend="serial""#, r#"sha2_backend="soft""#, r#"sha2_backend_soft="compact""#];

/// Builds a program and gives its ELF file.
pub fn build(package: &Path, target: &Path, program: Program) -> Vec<u8> {
    let (name, features) = match program {
        // rustc warns that soft-float does not fit the target's ABI: no float crosses a call here, and
        // the disassembly is checked.
        Program::Nucleus => ("nucleus", "-Ctarget-feature=-sse,-sse2,+soft-float"),
        Program::Runtime => ("runtime", "-Ctarget-cpu=x86-64"),
    };
    let script = package.join(format!("{name}.ld"));
    let link = [
        "-nostdlib",
        "-nostartfiles",
        "-static",
        "-no-pie",
        "-Wl,--build-id=none",
        "-Wl,-z,noexecstack",
        "-Wl,--gc-sections",
        &format!("-Wl,-T,{}", script.display()),
    ]
    .map(|argument| format!("-Clink-arg={argument}"));
    let mut flags =
        vec![features.to_owned(), "-Crelocation-model=static".into(), "-Ccode-model=small".into()];
    flags.extend(link);
    if let Program::Runtime = program {
        // One signature is checked in a machine's life: in the smallest way there is.
        flags.extend(SMALL.map(|setting| format!("--cfg={setting}")));
    }
    // The same image from any folder: no path of this machine in panic messages.
    let root = package.ancestors().nth(2).unwrap_or(package);
    flags.push(format!("--remap-path-prefix={}=", root.display()));
    if let Some(home) = std::env::var_os("CARGO_HOME").map(PathBuf::from).or_else(default_cargo_home) {
        flags.push(format!("--remap-path-prefix={}=cargo", home.display()));
    }

    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command
        .current_dir(package)
        .args(["build", "--release", "--locked", "--quiet", "--target", TARGET, "--target-dir"])
        .arg(target)
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"));
    // What the outer cargo sets for the host's crates is not for the guest's.
    for name in [
        "RUSTFLAGS",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_TARGET_DIR",
        "CARGO_BUILD_TARGET",
        "CARGO_INCREMENTAL",
    ] {
        command.env_remove(name);
    }
    let profile_overrides = std::env::vars_os()
        .map(|(name, _)| name)
        .filter(|name| name.to_str().is_some_and(|name| name.starts_with("CARGO_PROFILE_")));
    for name in profile_overrides {
        command.env_remove(name);
    }
    let output = command.output().unwrap_or_else(|error| panic!("cannot run cargo for the guest: {error}"));
    if !output.status.success() {
        panic!("building the guest's {name} failed:\n{}", String::from_utf8_lossy(&output.stderr));
    }
    let file = target.join(TARGET).join("release").join(name);
    std::fs::read(&file).unwrap_or_else(|error| panic!("reading {}: {error}", file.display()))
}

fn default_cargo_home() -> Option<PathBuf> {
    Some(PathBuf::from(std::env::var_os("HOME")?).join(".cargo"))
}
