//! A disk that is full under a machine that runs. The disk is a small one of memory, mounted where only
//! this test sees it: the test runs itself again in a namespace of its own.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, last_number};
use machine::container;
use serde_json::json;
use std::fs::File;
use std::io::Write;
use std::process::Command;

/// Set in the process that has the small disk, which is then its folder for temporary files.
const INSIDE: &str = "SENTIENT_SMALL_DISK";

/// Mounts the disk, and runs a test of this file on it.
const SCRIPT: &str =
    r#"mount -t tmpfs -o size=24m,mode=700 tmpfs "$1" && TMPDIR="$1" exec "$2" --exact "$3" --nocapture"#;

/// Runs the test `name` on a small disk. `false` where the host lets nobody mount one.
fn on_a_small_disk(name: &str) -> bool {
    let folder = tempfile::tempdir().unwrap();
    // A user namespace for those who are not root; hosts without them still let root mount.
    for how in ["-Urm", "-m"] {
        let can =
            Command::new("unshare").args([how, "mount", "-t", "tmpfs", "tmpfs"]).arg(folder.path()).output();
        if !can.is_ok_and(|output| output.status.success()) {
            continue;
        }
        let mut unshare = Command::new("unshare");
        unshare.args([how, "sh", "-c", SCRIPT, "sh"]).arg(folder.path());
        let status = unshare.arg(std::env::current_exe().unwrap()).arg(name).env(INSIDE, "1").status();
        assert!(status.unwrap().success(), "{name} on a small disk failed");
        return true;
    }
    false
}

/// Takes all that is left of the disk, but for `spare` bytes.
fn fill(home: &Home, spare: u64) -> std::path::PathBuf {
    let path = home.path().join("ballast");
    let mut file = File::create(&path).unwrap();
    while file.write_all(&[1; 4096]).is_ok() {}
    let len = file.metadata().unwrap().len();
    file.set_len(len.saturating_sub(spare)).unwrap();
    path
}

#[test]
fn a_full_disk_costs_the_snapshot_and_neither_the_machine_nor_the_ones_before() {
    if std::env::var_os(INSIDE).is_none() {
        let name = "a_full_disk_costs_the_snapshot_and_neither_the_machine_nor_the_ones_before";
        if !on_a_small_disk(name) {
            eprintln!("this host lets nobody mount a disk of memory: nothing was tested");
        }
        return;
    }
    let home = Home::with_machine();
    home.start("dirty", &container("pages"), &["400", "1", "0"]);
    home.wait_for_number("m", "dirty", 2);
    let first = home.json(&["snapshot", "-t", "first"]);
    let pid = home.pid("m");
    for spare in [0, 4096, 32 << 10] {
        let ballast = fill(&home, spare);
        let refusal = home.refused(&["snapshot", "-t", "too-much"]);
        assert!(refusal.contains("No space left on device"), "{spare} spare: {refusal}");
        assert!(refusal.contains(home.path().to_str().unwrap()), "which disk it is: {refusal}");
        assert_eq!(home.pid("m"), pid, "the machine goes on");
        let log = home.json(&["log"]);
        let current = log.as_array().unwrap().iter().find(|one| one["current"] == json!(true)).unwrap();
        assert_eq!(current["id"], first["id"], "{log}");
        // Reading needs no space. Going back does, to write down where the machine is now.
        home.ok(&["verify"]);
        let back = home.run(&["rollback", "first", "--discard"]);
        let said = String::from_utf8_lossy(&back.stderr);
        assert!(back.status.success() || said.contains("No space left on device"), "{said}");
        std::fs::remove_file(ballast).unwrap();
        home.ok(&["rollback", "first", "--discard"]);
        let number = last_number(&home.output("m", "dirty")).unwrap_or(0);
        home.wait_for("m", "dirty", |output| last_number(output).is_some_and(|last| last != number));
    }
    home.ok(&["snapshot", "-t", "after"]);
    let verified = home.json(&["verify"]);
    assert_eq!(verified["problems"], json!([]));
    home.kill("m");
    home.ok(&["boot"]);
    let log = home.ok(&["log"]);
    assert!(log.contains("[after]") && log.contains("[first]") && !log.contains("too-much"), "{log}");
    home.ok(&["rollback", "first"]);
    assert_eq!(home.json(&["verify"])["problems"], json!([]));
}
