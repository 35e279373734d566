//! Machines that are forked while they run: the new one runs before it is on the disk, and is there or not, whoever is
//! killed.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, Instants, jumps, last_number, numbers};
use serde_json::json;
use std::fs;
use std::process::{Child, Stdio};
use std::time::Duration;

/// The counter of a machine counts on by ten from where it is.
fn counts_on(home: &Home, machine: &str) {
    let now = last_number(&home.output(machine, "counter")).unwrap_or(0);
    home.wait_for_number(machine, "counter", now + 10);
}

fn whole(home: &Home, machine: &str) {
    let verified = home.json(&["-m", machine, "verify"]);
    assert_eq!(verified["problems"], json!([]), "{machine}: {verified}");
}

fn fork(home: &Home, name: &str) -> Child {
    let mut command = home.command(&["fork", "m", name]);
    command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap()
}

/// Who has a machine's folder, or had it last.
fn owner(home: &Home, machine: &str) -> Option<u32> {
    fs::read_to_string(home.of(machine, ".runtime/lock")).ok()?.trim().parse().ok()
}

fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // A zombie is a process that is not waited for.
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with('Z'))
}

/// What the process of a machine has mapped of images: device, inode and size of each mapping.
fn images(home: &Home, machine: &str) -> Vec<String> {
    let maps = fs::read_to_string(format!("/proc/{}/maps", home.pid(machine).unwrap())).unwrap();
    let of_images = maps.lines().filter(|line| line.contains("memfd:guest-memory"));
    of_images.map(|line| line.split_whitespace().skip(3).take(2).collect::<Vec<_>>().join(" ")).collect()
}

#[test]
fn a_fork_goes_on_from_where_the_machine_is_and_is_a_machine_like_any_other() {
    let home = Home::counting();
    let before = last_number(&home.output("m", "counter")).unwrap();
    home.ok(&["fork", "m", "twin"]);
    let first = home.wait_for("twin", "counter", |output| last_number(output).is_some());
    let first = numbers(&first)[0];
    assert!(first > before, "it began with {first}, and the machine was at {before}");
    for machine in ["m", "twin"] {
        counts_on(&home, machine);
        assert_eq!(jumps(&numbers(&home.output(machine, "counter"))), []);
        whole(&home, machine);
    }
    // Its snapshots, a rollback, another process, and a fork of its own.
    home.ok(&["-m", "twin", "snapshot", "-t", "own"]);
    home.ok(&["-m", "twin", "rollback", "genesis"]);
    counts_on(&home, "twin");
    home.ok(&["-m", "twin", "rollback", "own"]);
    home.ok(&["-m", "twin", "stop"]);
    home.ok(&["boot", "twin"]);
    counts_on(&home, "twin");
    home.ok(&["fork", "twin", "third"]);
    counts_on(&home, "third");
    home.ok(&["fork", "--from", "own", "twin", "fourth"]);
    counts_on(&home, "fourth");
    for machine in ["m", "twin", "third", "fourth"] {
        whole(&home, machine);
        // What its containers are of goes with them: each can be started again.
        let counter = home.json(&["-m", machine, "matrixbox", "inspect", "counter"]);
        assert_eq!(counter["program"], "counter.wasm", "{machine}");
    }
    home.ok(&["-m", "fourth", "matrixbox", "restart", "counter"]);
}

#[test]
fn forks_have_the_pages_they_have_not_written_to_together() {
    let home = Home::counting();
    for name in ["a", "b", "c"] {
        home.ok(&["fork", "m", name]);
        counts_on(&home, name);
    }
    let [a, b, c] = ["a", "b", "c"].map(|name| images(&home, name));
    assert!(!a.is_empty());
    assert_eq!((&a, &a), (&b, &c));
    // They keep them when the original has gone.
    home.ok(&["stop", "-m", "m"]);
    for name in ["a", "b", "c"] {
        counts_on(&home, name);
        home.ok(&["-m", name, "snapshot"]);
        whole(&home, name);
    }
}

#[test]
fn of_two_forks_to_one_name_one_comes_about() {
    let home = Home::counting();
    for round in 0..4 {
        let name = format!("n{round}");
        let children = [fork(&home, &name), fork(&home, &name), fork(&home, &name)];
        let outputs = children.map(|child| child.wait_with_output().unwrap());
        let made = outputs.iter().filter(|output| output.status.success()).count();
        assert_eq!(made, 1, "{outputs:?}");
        for refused in outputs.iter().filter(|output| !output.status.success()) {
            let said = String::from_utf8_lossy(&refused.stderr);
            assert!(said.contains("already") || said.contains("in use"), "{said}");
        }
        counts_on(&home, &name);
        assert_eq!(jumps(&numbers(&home.output(&name, "counter"))), []);
        counts_on(&home, "m");
        home.ok(&["-m", &name, "stop", "--discard"]);
    }
    assert!(home.refused(&["fork", "m", "n0"]).contains("already"));
    assert!(home.refused(&["fork", "m", "../out"]).contains("../out"));
    whole(&home, "m");
}

#[test]
fn a_fork_whose_original_is_killed_exists_or_does_not() {
    let home = Home::counting();
    home.ok(&["snapshot"]);
    let mut instants = Instants::new();
    let mut made = 0;
    let rounds = home::kills(12);
    for round in 0..rounds {
        let name = format!("n{round}");
        let child = fork(&home, &name);
        std::thread::sleep(instants.below(Duration::from_millis(60)));
        home.kill("m");
        let output = child.wait_with_output().unwrap();
        let exists = home.of(&name, "machine.json").exists();
        assert!(exists || !output.status.success(), "round {round}: {output:?}");
        if exists {
            made += 1;
            if !output.status.success() {
                // It exists, but was not told so: its process has ended, and another one takes over.
                home.ok(&["boot", &name]);
            }
            counts_on(&home, &name);
            whole(&home, &name);
            home.ok(&["-m", &name, "stop", "--discard"]);
        } else {
            // Nothing of it runs.
            machine::eventually("the fork ends with its original", || {
                owner(&home, &name).is_none_or(|pid| !is_alive(pid)).then_some(())
            });
        }
        home.ok(&["boot", "m"]);
        counts_on(&home, "m");
        whole(&home, "m");
    }
    assert!(made < rounds, "the original was never killed in time");
}

#[test]
fn a_machine_whose_fork_is_killed_goes_on() {
    let home = Home::counting();
    let mut instants = Instants::new();
    for round in 0..home::kills(12) {
        let name = format!("n{round}");
        let child = fork(&home, &name);
        std::thread::sleep(instants.below(Duration::from_millis(40)));
        if let Some(pid) = owner(&home, &name).filter(|pid| Some(*pid) != home.pid("m")) {
            home::kill(pid);
        }
        drop(child.wait_with_output().unwrap());
        counts_on(&home, "m");
        // The original may still be writing it down.
        machine::eventually("it is written down, or is not", || {
            let output = home.run(&["-m", &name, "status"]);
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            (output.status.success() || said.contains("no machine")).then_some(())
        });
        if home.of(&name, "machine.json").exists() {
            if home.pid(&name).is_none() {
                home.ok(&["boot", &name]);
            }
            counts_on(&home, &name);
            whole(&home, &name);
            home.ok(&["-m", &name, "stop", "--discard"]);
        }
    }
    whole(&home, "m");
    assert_eq!(jumps(&numbers(&home.output("m", "counter"))), []);
}
