//! Machines whose guests fail: they go on from their last good snapshot by themselves.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};
use machine::{container, eventually};
use std::process::Command;
use std::time::{Duration, Instant};

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
    let kinds = ["exception", "triple-fault", "halt", "instruction", "loop"];
    for (number, kind) in kinds.into_iter().enumerate() {
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
    assert_eq!(back.len(), kinds.len(), "each time it went back once: {back:?}");
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

/// Faults of a campaign: a few in CI, as many as wanted by `SENTIENT_FAULTS`.
fn wanted_faults() -> u64 {
    std::env::var("SENTIENT_FAULTS").map_or(22, |count| count.parse().unwrap())
}

/// What came of a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Outcome {
    /// It was noticed, and the machine went on by itself.
    Recovered,
    /// Nobody has noticed it, and everything works.
    Harmless,
    /// The machine does not work, and does not know.
    Stuck,
    /// It has ended.
    Ended,
}

#[test]
fn machines_survive_a_campaign_of_faults() {
    const KINDS: [&str; 11] = [
        "exception",
        "triple-fault",
        "halt",
        "loop",
        "instruction",
        "nucleus",
        "runtime",
        "heap",
        "page-tables",
        "devices",
        "container",
    ];
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "good"]);
    std::fs::create_dir_all(home.of("m", ".heal/trigger")).unwrap();
    std::fs::write(home.of("m", ".heal/trigger/fault.yaml"), "trigger: 1\nhealthy: 300ms\nbudget: 1000000\n")
        .unwrap();
    assert!(home.ok(&["heal", "triggers", "ls"]).contains("1000000 within 60s"));
    // It is read anew at each fault, of which this is the first.
    home.wait_until_good();
    home.inflict("exception", 1);
    home.wait_for_faults(1);
    home.wait_until_good();
    let mut pid = home.pid("m");
    let mut outcomes = std::collections::BTreeMap::new();
    let mut known = 1;
    for fault in 0..wanted_faults() {
        let kind = KINDS[fault as usize % KINDS.len()];
        let before = home.output("m", "counter").lines().count();
        let said = home.inflict(kind, fault.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 8);
        let deadline = Instant::now() + Duration::from_secs(8);
        let outcome = loop {
            if home.pid("m") != pid {
                break Outcome::Ended;
            }
            let faults = home.faults().len();
            if faults > known {
                known = faults;
                break Outcome::Recovered;
            }
            // A while of work, and an answer of the guest's.
            let works = home.output("m", "counter").lines().count() > before + 60;
            if works && home.run(&["stats"]).status.success() && home.faults().len() == known {
                break Outcome::Harmless;
            }
            if Instant::now() > deadline {
                break Outcome::Stuck;
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        *outcomes.entry((kind, outcome)).or_insert(0_u32) += 1;
        if outcome != Outcome::Recovered {
            println!("{kind} ({said}): {outcome:?}");
        }
        match outcome {
            Outcome::Recovered => {}
            Outcome::Harmless => drop(home.ok(&["rollback", "--discard", "good"])),
            Outcome::Stuck => {
                println!("{:?}", home.run(&["stats"]));
                home.ok(&["rollback", "--discard", "good"]);
            }
            Outcome::Ended => {
                println!("{}", String::from_utf8_lossy(&home.run(&["status"]).stdout));
                home.ok(&["boot"]);
                pid = home.pid("m");
            }
        }
        let after = home.output("m", "counter").lines().count();
        home.wait_for("m", "counter", |output| output.lines().count() > after + 3);
        home.wait_until_good();
    }
    for ((kind, outcome), count) in &outcomes {
        println!("{kind:12} {outcome:?} {count}");
    }
    // Whatever was done to it: what it says is what it counted.
    for (from, to) in jumps(&numbers(&home.output("m", "counter"))) {
        assert!(to <= from, "from {from} it went on with {to}");
    }
    let lost = |outcome: &Outcome| matches!(outcome, Outcome::Stuck | Outcome::Ended);
    let lost: u32 = outcomes.iter().filter(|((_, outcome), _)| lost(outcome)).map(|(_, count)| count).sum();
    // Of wild writes one in two hundred or so stops something that nobody watches yet: a device's queue, say.
    assert!(u64::from(lost) <= 1 + wanted_faults() / 100, "{outcomes:?}");
}

#[test]
fn a_guest_that_is_long_at_work_for_a_container_is_no_hang() {
    let home = Home::empty();
    home.ok(&["init", "m", "--memory", "1G"]);
    // Each of these is one step of the runtime's, which nothing interrupts.
    let program = wat::parse_str(
        r#"(module
            (import "wasi_snapshot_preview1" "random_get" (func $random (param i32 i32) (result i32)))
            (memory (export "memory") 8192)
            (func (export "_start") (local $round i32)
              (loop $again
                (memory.fill (i32.const 0) (local.get $round) (i32.const 536870912))
                (memory.copy (i32.const 0) (i32.const 268435456) (i32.const 268435456))
                (drop (call $random (i32.const 0) (i32.const 268435456)))
                (local.set $round (i32.add (local.get $round) (i32.const 1)))
                (br_if $again (i32.lt_u (local.get $round) (i32.const 4))))))"#,
    );
    let path = home.path().join("fill.wasm");
    std::fs::write(&path, program.unwrap()).unwrap();
    home.ok(&["run", "-d", "--name", "fill", "--memory", "512M", path.to_str().unwrap()]);
    eventually("it has ended", || {
        let found = home.json(&["matrixbox", "inspect", "fill"]);
        (found["state"] == "ended").then(|| assert_eq!(found["exit_code"], 0, "{found}"))
    });
    assert_eq!(home.faults(), Vec::<serde_json::Value>::new());
}
