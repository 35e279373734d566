//! Machines whose guests fail: they go on from their last good snapshot by themselves.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};
use machine::{container, eventually};
use std::process::Command;

impl Home {
    /// Does something to the guest of `m`; gives what it was, or why it was refused.
    fn inflict(&self, kind: &str, seed: u64) -> String {
        let socket = self.of("m", ".runtime/control.sock");
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--unix-socket"]).arg(&socket).args(["--json"]);
        curl.arg(format!("{{\"kind\": \"{kind}\", \"seed\": {seed}}}")).arg("http://machine/v1/chaos");
        String::from_utf8(curl.output().unwrap().stdout).unwrap()
    }

    /// Faults that are known of `m`.
    fn faults(&self) -> Vec<serde_json::Value> {
        self.json(&["panic", "report"]).as_array().unwrap().clone()
    }

    /// Waits until so many faults are known.
    fn wait_for_faults(&self, count: usize) -> Vec<serde_json::Value> {
        eventually("a fault is written down", || Some(self.faults()).filter(|faults| faults.len() >= count))
    }

    /// Waits until the snapshot that `m` stands at is a good one.
    fn wait_until_good(&self) -> String {
        let head = self.json(&["status"])["current"].as_str().unwrap().to_owned();
        eventually("the snapshot is good", || {
            let health = self.json(&["health"]);
            let is_good = health["good"].as_str() == Some(&head) && health["failing"] == false;
            is_good.then(|| head.clone())
        })
    }
}

#[test]
fn a_guest_that_fails_goes_on_from_its_last_good_snapshot() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "good"]);
    let good = home.wait_until_good();
    let pid = home.pid("m");
    for (number, kind) in ["exception", "triple-fault", "halt", "instruction"].into_iter().enumerate() {
        home.wait_for_number("m", "counter", last_number(&home.output("m", "counter")).unwrap() + 5);
        let said = home.inflict(kind, 1);
        let faults = home.wait_for_faults(number + 1);
        let fault = &faults[number];
        assert_eq!(
            (fault["action"].as_str(), fault["to"].as_str()),
            (Some("rollback"), Some(&*good)),
            "{said} {fault}"
        );
        println!("{kind}: {} after {} us", fault["what"], fault["pause_us"]);
        // It counts on from there, and everything else works.
        let before = home.output("m", "counter").len();
        home.wait_for("m", "counter", |output| output.len() > before + 10);
        assert!(home.ok(&["ps"]).contains("counter"));
        assert_eq!(home.wait_until_good(), good);
    }
    assert_eq!(home.pid("m"), pid, "it is the same process");
    let output = home.output("m", "counter");
    let back: Vec<_> = jumps(&numbers(&output)).into_iter().filter(|(from, to)| to <= from).collect();
    assert_eq!(back.len(), 4, "each time it went back once: {back:?}");
    let report = home.ok(&["panic", "report"]);
    assert!(report.contains("triple-fault") && report.contains("goes on from"), "{report}");
    home.ok(&["snapshot"]);
    home.start("hello", &container("hello"), &[]);
}

#[test]
fn a_fault_that_is_in_the_snapshot_goes_further_back_and_one_that_stays_ends_it() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "old"]);
    let old = home.wait_until_good();
    home.ok(&["snapshot", "-t", "new"]);
    let new = home.wait_until_good();
    home.inflict("exception", 1);
    assert_eq!(home.wait_for_faults(1)[0]["to"].as_str(), Some(&*new));
    // At once again: that one is not good.
    home.inflict("exception", 1);
    assert_eq!(home.wait_for_faults(2)[1]["to"].as_str(), Some(&*old));
    for more in 3..=9 {
        home.inflict("exception", 1);
        home.wait_for_faults(more);
    }
    let faults = home.faults();
    assert_eq!(faults[8]["action"].as_str(), Some("stop"), "{faults:?}");
    eventually("the machine has ended", || {
        let status = home.run(&["status"]);
        let said = String::from_utf8_lossy(&status.stdout).into_owned();
        (status.status.success() && said.contains("panicked")).then_some(())
    });
    assert_eq!(home.faults().len(), 9);
    // Somebody else decides what is next.
    home.ok(&["boot"]);
    home.wait_for_number("m", "counter", 5);
}

#[test]
fn whoever_asks_while_the_guest_stands_still_is_told_so_or_served() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "good"]);
    home.wait_until_good();
    std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            for round in 0..30 {
                let output = home.run(&["snapshot"]);
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() || error.contains("has failed"), "{round}: {error}");
                let output = home.run(&[
                    "run",
                    "-d",
                    "--name",
                    &format!("h{round}"),
                    container("hello").to_str().unwrap(),
                ]);
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                println!("{round}: {} {error}", output.status);
            }
        });
        for _ in 0..6 {
            std::thread::sleep(std::time::Duration::from_millis(150));
            home.inflict("exception", 1);
        }
        asking.join().unwrap();
    });
    home.ok(&["snapshot", "-t", "after"]);
    home.wait_for_number("m", "counter", 5);
}
