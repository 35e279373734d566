//! The same kernel boots on a machine that is not ours: QEMU, which enters it by PVH, without KVM, with a
//! PC's devices and none of the VMM's. The program's output comes over the serial port, its exit code
//! through QEMU's debug-exit device.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{container, finish, root, sentctl};
use std::fs;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

const QEMU: &str = "qemu-system-x86_64";
/// Longest that a machine may take: TCG interprets it all.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a machine under QEMU made of a program.
struct Outcome {
    /// What came over the serial port.
    serial: String,
    /// The exit code the guest gave, if it gave one.
    code: Option<i32>,
}

/// Boots a program under QEMU with these options of QEMU's and of `boot-files`'.
fn boot(qemu: &[&str], options: &[&str], program: &str, args: &[&str]) -> Outcome {
    boot_program(qemu, options, &container(program), args)
}

fn boot_program(qemu: &[&str], options: &[&str], program: &Path, args: &[&str]) -> Outcome {
    let folder = boot_files(options, program, args);
    let module = folder.path().join("boot.mod");
    emulate(folder.path(), |command| command.args(qemu).arg("-initrd").arg(module))
}

fn boot_files(options: &[&str], program: &Path, args: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut write = sentctl();
    write.args(["boot-files", "-o"]).arg(folder.path()).args(options).arg(program);
    let written = finish(write.arg("--").args(args));
    assert_eq!(written.code(), 0, "{written}");
    folder
}

/// Runs QEMU with the kernel in `folder` and what `complete` adds.
fn emulate(folder: &Path, complete: impl FnOnce(&mut Command) -> &mut Command) -> Outcome {
    let serial = folder.join("serial");
    let mut command = Command::new(QEMU);
    command.args(["-accel", "tcg", "-cpu", "max", "-display", "none", "-monitor", "none", "-no-reboot"]);
    command.arg("-serial").arg(format!("file:{}", serial.display()));
    command.args(["-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    command.arg("-kernel").arg(folder.join("kernel.elf")).stdin(Stdio::null());
    let mut child = complete(&mut command).spawn().unwrap_or_else(|error| {
        panic!("this test needs {QEMU}: {error}. On Debian: apt-get install qemu-system-x86")
    });
    let status = end_of(&mut child);
    let serial = fs::read(&serial).unwrap_or_default();
    let serial = String::from_utf8_lossy(&serial).replace("\r\n", "\n");
    let Some(status) = status else {
        panic!("QEMU had not ended after {PATIENCE:?}; over the serial port came:\n{serial}")
    };
    // QEMU ends with twice the code and one; 0 is a machine that was switched off.
    let code = status.code().filter(|code| code % 2 == 1).map(|code| code >> 1);
    Outcome { serial, code }
}

/// Waits for a child's end, not for ever: then it is killed.
fn end_of(child: &mut Child) -> Option<ExitStatus> {
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status);
        }
        thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    None
}

const Q35: [&str; 4] = ["-machine", "q35", "-m", "128"];
const MICROVM: [&str; 4] = ["-machine", "microvm", "-m", "128"];

#[test]
fn a_program_runs_on_the_machine_type_q35() {
    let outcome = boot(&Q35, &["--env", "GREETING=Hi"], "hello", &["--exit", "5", "one"]);
    assert_eq!(outcome.serial, "Hi, SentientOS!\nargument 1: one\n");
    assert_eq!(outcome.code, Some(5));
}

#[test]
fn a_program_runs_on_the_machine_type_microvm() {
    let outcome = boot(&MICROVM, &[], "hello", &["--exit", "5", "one"]);
    assert_eq!(outcome.serial, "Hello, SentientOS!\nargument 1: one\n");
    assert_eq!(outcome.code, Some(5));
}

#[test]
fn a_program_runs_on_the_machine_type_pc() {
    let outcome = boot(&["-machine", "pc", "-m", "128"], &[], "hello", &[]);
    assert_eq!((outcome.serial.as_str(), outcome.code), ("Hello, SentientOS!\n", Some(0)));
}

#[test]
fn a_package_brings_its_files_and_permissions_along() {
    let home = tempfile::tempdir().unwrap();
    let package = home.path().join("greeter.tso");
    let mut pack = sentctl();
    pack.arg("--home").arg(home.path()).arg("pack").arg(root().join("resources/packages/greeter"));
    assert_eq!(finish(pack.arg("-o").arg(&package)).code(), 0);
    let outcome = boot_program(&["-machine", "q35", "-m", "128"], &[], &package, &["Ada"]);
    assert_eq!((outcome.serial.as_str(), outcome.code), ("Hello, Ada.\n", Some(0)));

    let permissions = home.path().join("permissions.zky");
    fs::write(&permissions, "version: 1\n").unwrap();
    let options = ["--explain", "--permissions", permissions.to_str().unwrap()];
    let outcome = boot(&["-machine", "q35", "-m", "128"], &options, "probe", &["random"]);
    assert!(outcome.serial.contains("random: Capabilities insufficient"), "{}", outcome.serial);
    assert!(outcome.serial.contains("allowed by random: true"), "{}", outcome.serial);
}

#[test]
fn machines_with_little_and_much_memory_boot() {
    for (size, limit) in [("32", "8M"), ("512", "64M"), ("4096", "64M")] {
        let outcome = boot(&["-machine", "q35", "-m", size], &["--memory", limit], "hello", &[]);
        assert_eq!((outcome.serial.as_str(), outcome.code), ("Hello, SentientOS!\n", Some(0)), "{size} MiB");
    }
}

#[test]
fn a_trap_is_told_over_the_serial_port() {
    let outcome = boot(&Q35, &[], "faults", &["trap"]);
    for part in ["about to trap", "`unreachable` instruction", "fault_trap", "level_one"] {
        assert!(outcome.serial.contains(part), "no `{part}` in:\n{}", outcome.serial);
    }
}

#[test]
fn the_cpu_time_limit_holds_with_the_timers_of_a_pc() {
    let outcome = boot(&Q35, &["--cpu-time", "200ms"], "faults", &["loop"]);
    for part in ["about to loop", "CPU time limit", "fault_loop"] {
        assert!(outcome.serial.contains(part), "no `{part}` in:\n{}", outcome.serial);
    }
}

#[test]
fn clocks_and_sleeping_work_with_the_timers_of_a_pc() {
    let outcome = boot(&Q35, &[], "counter", &["--count", "3", "--interval-ms", "50"]);
    assert_eq!((outcome.serial.as_str(), outcome.code), ("1\n2\n3\n", Some(0)));
}

#[test]
fn the_file_system_is_the_same_on_another_machine() {
    let outcome = boot(&MICROVM, &[], "fs", &[]);
    assert!(outcome.serial.contains("150 checks, 0 failed"), "{}", outcome.serial);
    assert_eq!(outcome.code, Some(0));
}

#[test]
fn a_machine_too_small_for_the_program_says_so() {
    let outcome = boot(&["-machine", "q35", "-m", "64"], &["--memory", "64M"], "hello", &[]);
    assert!(outcome.serial.contains("memory left"), "{}", outcome.serial);
}

#[test]
fn without_a_boot_module_the_kernel_panics_with_the_reason() {
    let folder = boot_files(&[], &container("hello"), &[]);
    let outcome = emulate(folder.path(), |command| command.args(Q35));
    // Ring 0 has no words, only numbers (sentient_abi::panic_record::Reason).
    let told = outcome.serial.contains("SentientOS panic, reason 0000000000000005");
    assert!(told && outcome.code == Some(110), "{:?}: {}", outcome.code, outcome.serial);
}
