//! What cannot run is refused: with an exit code of its own, and a message that names the thing and the
//! way out.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{Finished, container, finish, module, sentctl, shell};
use std::fs;
use std::path::Path;

/// `sentctl run` with a program made of these bytes.
fn run_bytes(bytes: &[u8]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.wasm");
    fs::write(&path, bytes).unwrap();
    finish(sentctl().arg("run").arg(path))
}

/// `sentctl run` of hello with options.
fn run_with(options: &[&str]) -> Finished {
    finish(sentctl().arg("run").args(options).arg(container("hello")))
}

fn hello() -> Vec<u8> {
    fs::read(container("hello")).unwrap()
}

#[test]
fn files_that_are_not_webassembly_are_told_apart() {
    let elf = fs::read("/proc/self/exe").unwrap();
    for (bytes, what) in [
        (&elf[..], "native program"),
        (b"#!/bin/sh\necho hello\n", "script"),
        (b"", "empty"),
        (b"hello, world\n", "68, 65, 6c"),
        (b"\0asm", "cut short"),
        (b"\0asm\x02\0\0\0", "unknown version"),
    ] {
        run_bytes(bytes).assert_fails(126, &["program.wasm", what, "compile the program for wasm32-wasi"]);
    }
}

#[test]
fn a_component_that_is_no_command_is_told_so() {
    run_bytes(b"\0asm\x0d\0\x01\0").assert_fails(126, &["component", "a library, and not a command"]);
}

#[test]
fn a_module_cut_short_anywhere_is_refused() {
    let whole = hello();
    for len in [9, 20, 100, 1000, whole.len() / 2, whole.len() - 1] {
        let finished = run_bytes(&whole[..len]);
        finished.assert_fails(126, &["program.wasm", "not a valid WebAssembly module"]);
    }
}

#[test]
fn a_module_with_a_damaged_instruction_is_refused_or_runs_but_never_harms_the_machine() {
    let whole = hello();
    for position in (100..whole.len()).step_by(whole.len() / 40) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0xff;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program.wasm");
        fs::write(&path, damaged).unwrap();
        let finished =
            finish(sentctl().args(["run", "--no-cache", "--cpu-time", "1s", "--timeout", "5s"]).arg(path));
        let code = finished.code();
        assert!(!(110..=114).contains(&code) && code != 125, "a flipped byte at {position}: {finished}");
    }
}

#[test]
fn a_module_that_wants_a_function_the_guest_lacks_names_it() {
    let finished = finish(sentctl().arg("run").arg(module("wants_foo")));
    finished.assert_fails(126, &["wants_foo.wasm", "`foo`", "`env`", "wasi_snapshot_preview1"]);
}

#[test]
fn a_module_with_64_bit_memory_is_refused_by_name() {
    let finished = finish(sentctl().arg("run").arg(module("memory64")));
    finished.assert_fails(126, &["memory64.wasm", "64-bit memories"]);
}

#[test]
fn a_memory_limit_below_what_the_program_starts_with_is_refused() {
    for limit in ["0", "64K", "127K"] {
        let bytes = match limit {
            "0" => "limit is 0",
            "64K" => "limit is 65536",
            _ => "limit is 130048",
        };
        run_with(&["--memory", limit])
            .assert_fails(126, &["hello.wasm", "starts with 131072 bytes", bytes, "--memory"]);
    }
    // Enough to start with is enough.
    finish(sentctl().args(["run", "--memory", "128K"]).arg(module("exits")).args(["--", ""])).assert(0, "");
}

#[test]
fn sizes_no_machine_has_are_refused_with_the_range() {
    for options in [
        ["--memory", "99999G"],
        ["--machine-memory", "1M"],
        ["--machine-memory", "99999G"],
        ["--machine-memory", "0"],
    ] {
        run_with(&options).assert_fails(125, &["from 24 to 262144 MiB"]);
    }
    run_with(&["--machine-memory", "25000001"]).assert_fails(125, &["25000001", "whole MiB"]);
}

#[test]
fn a_machine_too_small_for_its_program_is_refused_with_the_option_that_helps() {
    run_with(&["--machine-memory", "24M"])
        .assert_fails(125, &["25165824 bytes of RAM are too few", "--machine-memory"]);
    run_with(&["--memory", "1G", "--machine-memory", "512M"])
        .assert_fails(125, &["536870912", "--machine-memory"]);
    run_with(&["--memory", "8M", "--machine-memory", "32M"]).assert(0, "Hello, SentientOS!\n");
}

#[test]
fn arguments_beyond_what_the_guest_takes_are_refused_with_the_limit() {
    let word = "x".repeat(100_000);
    let few = finish(sentctl().arg("run").arg(container("hello")).arg("--").args(vec![&word; 10]));
    assert_eq!(few.code(), 0, "{}", few.err());
    let many = finish(sentctl().arg("run").arg(container("hello")).arg("--").args(vec![&word; 15]));
    many.assert_fails(126, &["arguments or environment", "at most 1048576"]);
}

#[test]
fn arguments_too_long_for_a_small_machine_do_not_crash_its_kernel() {
    let word = "x".repeat(130_000);
    let options = ["run", "--memory", "1M", "--machine-memory", "24M"];
    let finished = finish(sentctl().args(options).arg(container("hello")).arg("--").args(vec![&word; 15]));
    finished.assert_fails(126, &["arguments or environment"]);
}

#[test]
fn arguments_of_sentctl_that_make_no_sense_are_refused_with_its_own_code() {
    for (options, parts) in [
        (&["--bogus"][..], &["--bogus", "--help"][..]),
        (&["--memory", "12 apples"], &["12 apples", "--memory", "64M"]),
        (&["--memory", "99999999999G"], &["99999999999G", "--memory", "64 bits"]),
        (&["--cpu-time", "0"], &["--cpu-time", "leave it out"]),
        (&["--timeout", "soon"], &["--timeout", "500ms"]),
        (&["--boot-protocol", "bios"], &["bios", "linux64", "pvh"]),
        (&["--repeat", "3"], &["--invoke"]),
    ] {
        run_with(options).assert_fails(125, parts);
    }
    finish(sentctl().arg("run")).assert_fails(125, &["<PROGRAM>"]);
    finish(sentctl().arg("fly")).assert_fails(125, &["fly", "--help"]);
    finish(&mut sentctl()).assert_fails(125, &["Usage", "run", "doctor"]);
}

#[test]
fn refusals_are_objects_with_json() {
    let wants_foo = finish(sentctl().args(["run", "--json"]).arg(module("wants_foo")));
    let error = &wants_foo.json()["error"];
    assert_eq!((error["kind"].as_str(), error["exit_code"].as_i64()), (Some("unknown-import"), Some(126)));
    assert!(error["message"].as_str().unwrap().contains("`foo`"), "{error}");
    for (options, kind, code) in [
        (&["--memory", "0"][..], "memory-limit", 126),
        (&["--machine-memory", "1M"], "machine", 125),
        (&["--env", "=x"], "environment", 125),
        (&["--kernel", "/proc/self/exe"], "kernel-image", 125),
        (&["--kernel", "/no/such/kernel"], "read", 125),
    ] {
        let finished = finish(sentctl().args(["run", "--json"]).args(options).arg(container("hello")));
        let error = &finished.json()["error"];
        assert_eq!(
            (error["kind"].as_str(), error["exit_code"].as_i64()),
            (Some(kind), Some(code)),
            "{finished}"
        );
        assert_eq!(i64::from(finished.code()), code);
    }
}

/// The built-in kernel, as `boot-files` writes it.
fn kernel() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let written = finish(sentctl().args(["boot-files", "-o"]).arg(folder.path()).arg(container("hello")));
    assert_eq!(written.code(), 0, "{written}");
    fs::read(folder.path().join("kernel.elf")).unwrap()
}

fn run_kernel(kernel: &[u8]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("kernel.elf");
    fs::write(&path, kernel).unwrap();
    run_with(&["--kernel", path.to_str().unwrap()])
}

#[test]
fn a_kernel_with_any_bit_flipped_is_refused() {
    let whole = kernel();
    let (len, trailer) = (whole.len(), whole.len() - 48);
    for position in [0, 4, 4096, 4104, 5000, 100_000, len / 2, trailer - 1, trailer, trailer + 16, len - 1] {
        let mut flipped = whole.clone();
        flipped[position] ^= 0x10;
        let finished = run_kernel(&flipped);
        // Where the digest's own mark is damaged, the image looks as if it carried none.
        let message =
            if (trailer..trailer + 16).contains(&position) { "carries no digest" } else { "is damaged" };
        finished.assert_fails(125, &["cannot boot", "kernel image", message]);
    }
}

#[test]
fn a_kernel_cut_short_is_refused() {
    let whole = kernel();
    for len in [0, 47, 48, 4096, whole.len() / 2, whole.len() - 1] {
        run_kernel(&whole[..len])
            .assert_fails(125, &["kernel image", "cut short, or not a SentientOS kernel"]);
    }
}

#[test]
fn what_is_not_a_kernel_is_refused_and_so_is_one_that_is_not_there() {
    run_with(&["--kernel", "/proc/self/exe"]).assert_fails(125, &["kernel image", "not a SentientOS kernel"]);
    run_with(&["--kernel", "/no/such/kernel"]).assert_fails(125, &["/no/such/kernel", "No such file"]);
    let folder = Path::new("/").to_str().unwrap();
    run_with(&["--kernel", folder]).assert_fails(125, &["cannot read", "directory"]);
}

#[test]
fn boot_files_are_not_overwritten_unless_told_to() {
    let folder = tempfile::tempdir().unwrap();
    let write = |options: &[&str]| {
        finish(sentctl().args(["boot-files", "-o"]).arg(folder.path()).args(options).arg(container("hello")))
    };
    assert_eq!(write(&[]).code(), 0);
    write(&[]).assert_fails(125, &["kernel.elf", "exists already", "--force"]);
    assert_eq!(write(&["--force"]).code(), 0);
}

#[test]
fn a_host_without_kvm_says_how_to_get_it() {
    // An empty /dev in a mount namespace of its own: as on a host whose kernel lacks the module.
    let script =
        "exec unshare --mount sh -euc 'mount -t tmpfs none /dev; exec \"$SENTCTL\" \"$@\"' sh \"$@\"";
    let run = finish(&mut shell(script, [Path::new("run"), &container("hello")]));
    run.assert_fails(125, &["there is no /dev/kvm", "modprobe", "nested virtualisation", "sentctl doctor"]);
    let doctor = finish(&mut shell(script, ["doctor"]));
    assert_eq!(doctor.code(), 125, "{doctor}");
    for part in ["FAIL kvm", "there is no /dev/kvm", "modprobe", "cannot run SentientOS machines yet"] {
        assert!(doctor.out().contains(part), "no `{part}` in\n{doctor}");
    }
}

#[test]
fn a_user_who_may_not_open_kvm_is_told_which_group_may() {
    // A user of no group, and a device for root and its group only, as distributions set it up.
    let script = "exec unshare --mount sh -euc 'mknod /tmp/kvm.$$ c 10 232; chmod 660 /tmp/kvm.$$
        mount --bind /tmp/kvm.$$ /dev/kvm; rm /tmp/kvm.$$
        exec setpriv --reuid 65534 --regid 65534 --clear-groups \"$SENTCTL\" \"$@\"' sh \"$@\"";
    let run = finish(shell(script, [Path::new("run"), &container("hello")]).env_remove("XDG_CACHE_HOME"));
    run.assert_fails(125, &["/dev/kvm may not be opened by this user", "usermod -aG kvm", "sentctl doctor"]);
    let doctor = finish(shell(script, ["doctor"]).env_remove("XDG_CACHE_HOME"));
    assert_eq!(doctor.code(), 125, "{doctor}");
    assert!(doctor.out().contains("FAIL kvm") && doctor.out().contains("usermod -aG kvm"), "{doctor}");
}
