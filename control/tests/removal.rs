//! Machines that go: what is left when a process dies between two steps of it, and what is never taken.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails by panicking")]

use sentient_control::description::Description;
use sentient_control::error::ControlError;
use sentient_control::history::{History, Newborn};
use sentient_control::home::{Home, MachineFolder};
use sentient_control::lock::{Lock, LockError};
use sentient_control::removal::{self, Leftover};
use sentient_snapshot::capture::{Capture, Details};
use sentient_snapshot::layout::Layout;
use sentient_snapshot::page::{PAGE_SIZE, Page};
use sentient_snapshot::record::SignedRecord;
use sentient_snapshot::store::Store;
use std::fs;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;

const RAM: u64 = 1 << 20;

fn home() -> (TempDir, Home) {
    let folder = tempfile::tempdir().unwrap();
    let home = Home::find(Some(folder.path().into())).unwrap();
    (folder, home)
}

/// A machine with one snapshot, of two pages: one that all machines have, and one of its own. It does not
/// exist before its description is written.
fn begun(home: &Home, name: &str) -> History {
    let history = Newborn::begin(home.machine(name).unwrap(), RAM, true).unwrap().with_history(home).unwrap();
    let layout = Layout::new(Vec::new(), std::slice::from_ref(&(0..RAM))).unwrap();
    let mut own: Page = [0; PAGE_SIZE];
    own[..16].copy_from_slice(&history.description().id.0);
    let common = [7; PAGE_SIZE];
    let capture = Capture {
        previous: None,
        layout: &layout,
        dirty: &[(3, &common), (5, &own)],
        state: &history.description().id.0,
    };
    let details = Details {
        machine: history.description().id.0,
        parent: None,
        created_unix_ns: 1,
        message: String::new(),
        kernel: [0; 32],
        containers: Vec::new(),
        outputs: Vec::new(),
    };
    let mut commit = capture.commit(details).unwrap();
    commit.store(history.store()).unwrap();
    let signed = SignedRecord::sign(commit.record().clone(), history.key()).unwrap();
    history.add(&signed, Some("genesis")).unwrap();
    history
}

fn made(home: &Home, name: &str) -> MachineFolder {
    let history = begun(home, name);
    history.description().write(history.machine()).unwrap();
    home.machine(name).unwrap()
}

fn roots(home: &Home) -> usize {
    Store::open(&home.store(), None).unwrap().roots(None).unwrap().len()
}

/// Fails unless these machines, and no others, are there, and whole.
fn assert_whole(home: &Home, names: &[&str]) {
    assert_eq!(home.names().unwrap(), names);
    for name in names {
        let history = History::open(home, home.machine(name).unwrap()).unwrap();
        let verified = history.verify(None).unwrap();
        assert_eq!((verified.snapshots, verified.problems), (1, Vec::new()), "{name}");
    }
}

/// Fails if anything is left of machines but these.
fn assert_nothing_else(home: &Home, names: &[&str]) {
    assert_whole(home, names);
    assert_eq!(roots(home), names.len());
    assert_eq!(fs::read_dir(home.machines()).unwrap().count(), names.len());
    assert_eq!(removal::reclaim(home).unwrap().machines, []);
    let store = Store::open(&home.store(), None).unwrap();
    assert!(store.check(10).unwrap().is_empty());
}

#[test]
fn a_removed_machine_leaves_nothing_and_others_what_they_share() {
    let (_folder, home) = home();
    made(&home, "stays");
    let goes = made(&home, "goes");
    let id = Description::read(&goes).unwrap().id.to_string();
    let done = removal::remove(&home, &goes, Duration::ZERO).unwrap();
    assert_eq!(done.machines.len(), 1);
    assert_eq!((done.machines[0].name.as_deref(), &done.machines[0].id), (Some("goes"), &id));
    assert_eq!(done.machines[0].snapshots, 1);
    assert_nothing_else(&home, &["stays"]);
    // Its name is free.
    made(&home, "goes");
    assert_nothing_else(&home, &["goes", "stays"]);
}

#[test]
fn a_removal_that_dies_between_two_steps_is_finished_by_whoever_comes_next() {
    type Next = fn(&Home);
    let next: [Next; 3] = [
        |home| drop(removal::finish(home).unwrap()),
        |home| drop(removal::reclaim(home).unwrap()),
        // Another machine of the name, made and removed.
        |home| {
            let again = made(home, "goes");
            removal::finish(home).unwrap();
            removal::remove(home, &again, Duration::ZERO).unwrap();
        },
    ];
    for steps in 1..=4 {
        for next in next {
            let (_folder, home) = home();
            made(&home, "stays");
            let goes = made(&home, "goes");
            let store = Store::open(&home.store(), None).unwrap();
            let id = Description::read(&goes).unwrap().id;
            let lock = Lock::take(&goes).unwrap();
            let leftover = Leftover::set_aside(&home, &goes, &lock, id).unwrap();
            if steps >= 2 {
                leftover.release(&home, &store).unwrap();
            }
            if steps >= 3 {
                // Half of the folder: what says who it was is gone.
                let aside = fs::read_dir(home.machines()).unwrap().map(|entry| entry.unwrap().path());
                let aside = aside.filter(|path| !path.ends_with("stays")).collect::<Vec<_>>().remove(0);
                fs::remove_file(aside.join("machine.json")).unwrap();
            }
            if steps >= 4 {
                leftover.delete(&home).unwrap();
            }
            drop(lock);
            // Nobody is disturbed by it.
            assert_whole(&home, &["stays"]);
            next(&home);
            assert_nothing_else(&home, &["stays"]);
        }
    }
}

#[test]
fn a_machine_that_somebody_has_is_not_removed() {
    let (_folder, home) = home();
    let machine = made(&home, "m");
    let history = History::open(&home, machine.clone()).unwrap();
    let refused = removal::remove(&home, &machine, Duration::ZERO).unwrap_err();
    assert!(matches!(refused, ControlError::Lock(LockError::Taken { .. })), "{refused}");
    drop(history);
    assert_nothing_else(&home, &["m"]);
}

#[test]
fn what_a_deleted_folder_has_left_is_reclaimed_only_when_that_is_asked_for() {
    let (_folder, home) = home();
    made(&home, "stays");
    let deleted = made(&home, "deleted");
    let id = Description::read(&deleted).unwrap().id.to_string();
    fs::remove_dir_all(deleted.path()).unwrap();
    removal::finish(&home).unwrap();
    assert_eq!(roots(&home), 2);
    let done = removal::reclaim(&home).unwrap();
    assert_eq!((done.machines[0].name.as_ref(), &done.machines[0].id), (None, &id));
    assert_eq!(done.machines[0].snapshots, 1);
    assert_nothing_else(&home, &["stays"]);
}

#[test]
fn a_machine_that_is_being_made_keeps_what_it_has_stored_and_an_interrupted_one_does_not() {
    let (_folder, home) = home();
    made(&home, "stays");
    // Stored, and not there yet: an init or a fork at its last step but one.
    let history = begun(&home, "new");
    assert_eq!(removal::reclaim(&home).unwrap().machines, []);
    history.description().write(history.machine()).unwrap();
    drop(history);
    assert_nothing_else(&home, &["new", "stays"]);
    // The same, killed there.
    drop(begun(&home, "killed"));
    assert_eq!(home.names().unwrap(), ["new", "stays"]);
    let done = removal::reclaim(&home).unwrap();
    assert_eq!((done.machines[0].name.as_deref(), done.machines[0].snapshots), (Some("killed"), 1));
    assert_nothing_else(&home, &["new", "stays"]);
    // Or it is removed by its name.
    drop(begun(&home, "killed"));
    removal::remove(&home, &home.machine("killed").unwrap(), Duration::ZERO).unwrap();
    assert_nothing_else(&home, &["new", "stays"]);
    // Or made once more: then it goes on under the same id, and drops what its timeline does not know.
    let first = begun(&home, "killed");
    let id = first.description().id;
    drop(first);
    let second = begun(&home, "killed");
    assert_eq!(second.description().id, id);
    second.description().write(second.machine()).unwrap();
    second.tidy().unwrap();
    drop(second);
    assert_nothing_else(&home, &["killed", "new", "stays"]);
}

#[test]
fn nothing_is_reclaimed_where_it_is_not_known_whose_it_is() {
    let (_folder, home) = home();
    let broken = made(&home, "broken");
    let deleted = made(&home, "deleted");
    fs::remove_dir_all(deleted.path()).unwrap();
    let good = fs::read(broken.description()).unwrap();
    let refused = || {
        let refused = removal::reclaim(&home).unwrap_err().to_string();
        assert!(refused.contains("broken") && refused.contains("restore"), "{refused}");
        assert_eq!(roots(&home), 2);
    };
    fs::write(broken.description(), "{").unwrap();
    refused();
    let named = removal::remove(&home, &broken, Duration::ZERO).unwrap_err().to_string();
    assert!(named.contains("prune --unclaimed"), "{named}");
    fs::remove_file(broken.description()).unwrap();
    refused();
    fs::write(broken.description(), good).unwrap();
    // Neither are those of a machine that was put aside in the home, under what no machine is called.
    let parked = home.machines().join("not now (broken)");
    fs::rename(broken.path(), &parked).unwrap();
    assert_eq!(removal::reclaim(&home).unwrap().machines.len(), 1);
    fs::rename(&parked, broken.path()).unwrap();
    assert_nothing_else(&home, &["broken"]);
}

#[test]
fn a_copy_of_a_machine_keeps_the_snapshots_that_both_have() {
    let (_folder, home) = home();
    let machine = made(&home, "m");
    let copy = home.machine("copy").unwrap();
    let copied = std::process::Command::new("cp").arg("-a").args([machine.path(), copy.path()]).status();
    assert!(copied.unwrap().success());
    let done = removal::remove(&home, &copy, Duration::ZERO).unwrap();
    assert_eq!(done.machines[0].snapshots, 0);
    assert_nothing_else(&home, &["m"]);
}

#[test]
fn machines_are_made_and_removed_while_others_reclaim() {
    let (_folder, home) = home();
    made(&home, "stays");
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let reclaiming = scope.spawn(|| {
            let mut rounds = 0;
            while !over.load(Ordering::Relaxed) {
                let done = removal::reclaim(&home).unwrap();
                assert!(done.machines.iter().all(|gone| gone.name.is_some()), "{done:?}");
                rounds += 1;
            }
            rounds
        });
        let making = |name: &'static str| {
            let home = &home;
            move || {
                for round in 0..12 {
                    let machine = made(home, name);
                    let verified = History::open(home, machine.clone()).unwrap().verify(None).unwrap();
                    assert!(verified.problems.is_empty(), "{verified:?}");
                    if round % 2 == 0 {
                        removal::remove(home, &machine, Duration::ZERO).unwrap();
                    } else {
                        fs::rename(machine.path(), home.machines().join("moved")).unwrap();
                        fs::rename(home.machines().join("moved"), machine.path()).unwrap();
                        removal::remove(home, &machine, Duration::ZERO).unwrap();
                    }
                }
            }
        };
        let makers = [scope.spawn(making("one"))];
        makers.into_iter().for_each(|maker| maker.join().unwrap());
        over.store(true, Ordering::Relaxed);
        assert!(reclaiming.join().unwrap() > 0);
    });
    assert_nothing_else(&home, &["stays"]);
}
