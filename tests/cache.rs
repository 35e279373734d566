//! The cache of compiled images: it makes runs faster and nothing else. Damaged, poisoned, unwritable or
//! absent, it costs a compilation, and a warning for those who ask.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{Finished, container, finish, sentctl};
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

const HELLO: &str = "Hello, SentientOS!\n";

/// `sentctl` with a cache in `home`.
fn sentctl_in(home: &Path) -> Command {
    let mut command = sentctl();
    command.env("XDG_CACHE_HOME", home);
    command
}

fn run(home: &Path) -> Finished {
    finish(sentctl_in(home).arg("run").arg(container("hello")))
}

/// Where the image of a run came from.
fn origin(home: &Path) -> String {
    let finished = finish(sentctl_in(home).args(["run", "--json"]).arg(container("hello")));
    assert_eq!((finished.code(), finished.out().as_str()), (0, HELLO), "{finished}");
    finished.json()["image"].as_str().unwrap().to_owned()
}

fn entries(home: &Path) -> Vec<PathBuf> {
    fs::read_dir(home.join("sentientos/images")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn the_entry(home: &Path) -> PathBuf {
    let entries = entries(home);
    assert_eq!(entries.len(), 1, "{entries:?}");
    entries[0].clone()
}

/// Fails unless the entry is warned of for those who ask, and rebuilt.
fn assert_rebuilt(home: &Path, what: &str) {
    let told = finish(sentctl_in(home).args(["--log-level", "warn", "run"]).arg(container("hello")));
    assert_eq!((told.code(), told.out().as_str()), (0, HELLO), "{what}: {told}");
    assert!(told.err().contains("compiled anew"), "{what}: {told}");
    assert_eq!(origin(home), "cached", "{what}");
}

#[test]
fn a_program_is_compiled_once() {
    let home = tempfile::tempdir().unwrap();
    assert_eq!(origin(home.path()), "compiled");
    assert_eq!(origin(home.path()), "cached");
    assert_eq!(
        fs::metadata(home.path().join("sentientos/images")).unwrap().permissions().mode() & 0o777,
        0o700
    );
}

#[test]
fn without_the_cache_nothing_is_kept() {
    let home = tempfile::tempdir().unwrap();
    finish(sentctl_in(home.path()).args(["run", "--no-cache"]).arg(container("hello"))).assert(0, HELLO);
    assert!(!home.path().join("sentientos").exists());
}

#[test]
fn a_damaged_entry_is_rebuilt_without_a_word() {
    let home = tempfile::tempdir().unwrap();
    run(home.path()).assert(0, HELLO);
    let entry = the_entry(home.path());
    let whole = fs::read(&entry).unwrap();
    for position in [0, 8, 39, 40, 64, whole.len() / 2, whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[position] ^= 1;
        fs::write(&entry, &flipped).unwrap();
        run(home.path()).assert(0, HELLO);
        assert!(fs::read(&entry).unwrap() == whole, "a flipped bit at {position} is still there");
    }
}

#[test]
fn a_damaged_entry_is_warned_of_for_those_who_ask() {
    let home = tempfile::tempdir().unwrap();
    run(home.path()).assert(0, HELLO);
    let entry = the_entry(home.path());
    let whole = fs::read(&entry).unwrap();
    fs::write(&entry, &whole[..whole.len() - 1]).unwrap();
    assert_rebuilt(home.path(), "an entry cut short");
    fs::write(&entry, b"").unwrap();
    assert_rebuilt(home.path(), "an empty entry");
}

#[test]
fn an_entry_that_others_could_have_written_is_not_trusted() {
    let home = tempfile::tempdir().unwrap();
    run(home.path()).assert(0, HELLO);
    let entry = the_entry(home.path());

    fs::set_permissions(&entry, fs::Permissions::from_mode(0o622)).unwrap();
    assert_rebuilt(home.path(), "writable by others");

    let elsewhere = home.path().join("elsewhere");
    fs::rename(&entry, &elsewhere).unwrap();
    symlink(&elsewhere, &entry).unwrap();
    assert_rebuilt(home.path(), "a symbolic link");

    std::os::unix::fs::chown(&entry, Some(65_534), None).unwrap();
    assert_rebuilt(home.path(), "of another owner");
}

#[test]
fn another_programs_image_under_this_programs_name_is_not_run() {
    let (home, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    run(home.path()).assert(0, HELLO);
    finish(sentctl_in(other.path()).arg("run").arg(container("counter")).args(["--", "--count", "1"]))
        .assert(0, "1\n");
    fs::copy(the_entry(other.path()), the_entry(home.path())).unwrap();
    let mut command = sentctl_in(home.path());
    finish(command.args(["run", "--timeout", "5s"]).arg(container("hello"))).assert(0, HELLO);
    fs::copy(the_entry(other.path()), the_entry(home.path())).unwrap();
    assert_rebuilt(home.path(), "the image of another module");
}

#[test]
fn a_folder_that_cannot_be_written_costs_only_time() {
    // /proc takes no folders from anybody, not even from root.
    let unwritable = Path::new("/proc");
    run(unwritable).assert(0, HELLO);
    let told = finish(sentctl_in(unwritable).args(["--log-level", "warn", "run"]).arg(container("hello")));
    assert_eq!((told.code(), told.out().as_str()), (0, HELLO), "{told}");
    assert!(told.err().contains("could not be cached"), "{told}");
}

#[test]
fn a_user_without_a_home_can_run_programs() {
    let mut command = sentctl();
    command.env_remove("HOME").env_remove("XDG_CACHE_HOME").arg("run").arg(container("hello"));
    finish(&mut command).assert(0, HELLO);
    let doctor = finish(sentctl().env_remove("HOME").env_remove("XDG_CACHE_HOME").arg("doctor"));
    assert!(
        doctor.out().contains("compiled on every run") && doctor.out().contains("XDG_CACHE_HOME"),
        "{doctor}"
    );
}

#[test]
fn a_relative_cache_folder_is_ignored_as_xdg_says() {
    let folder = tempfile::tempdir().unwrap();
    let mut command = sentctl();
    command.current_dir(folder.path()).env("XDG_CACHE_HOME", "cache").env("HOME", folder.path());
    finish(command.arg("run").arg(container("hello"))).assert(0, HELLO);
    assert!(!folder.path().join("cache").exists());
    assert!(folder.path().join(".cache/sentientos/images").exists());
}

#[test]
fn many_runs_at_once_share_an_empty_cache() {
    let home = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        let runs: Vec<_> = (0..8).map(|_| scope.spawn(|| run(home.path()))).collect();
        for finished in runs {
            finished.join().unwrap().assert(0, HELLO);
        }
    });
    assert_eq!(entries(home.path()).len(), 1, "no half-written file is left");
}
