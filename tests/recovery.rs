//! Machines whose guests fail: they go on by themselves, with their kernel put back, or from their last good snapshot.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};
use machine::{container, eventually};
use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Duration;

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

    /// Says what `m` is to do about something.
    fn trigger(&self, on: &str, text: &str) {
        std::fs::create_dir_all(self.of("m", ".heal/trigger")).unwrap();
        std::fs::write(self.of("m", &format!(".heal/trigger/{on}.yaml")), text).unwrap();
    }

    /// Waits until the kernel of `m` was copied with the containers that it has, and puts it back.
    fn heal_boot(&self) -> serde_json::Value {
        eventually("the kernel is put back", || {
            let output = self.run(&["heal", "boot", "--json"]);
            output.status.success().then(|| serde_json::from_slice(&output.stdout).unwrap())
        })
    }

    /// Waits until nothing of `m` runs.
    fn wait_until_stopped(&self) {
        eventually("the machine has ended", || {
            let status = self.run(&["--json", "status"]);
            let said: serde_json::Value = serde_json::from_slice(&status.stdout).unwrap_or_default();
            (said["state"] == "stopped").then_some(())
        });
    }

    /// Waits until a container of `m` has written more.
    fn wait_for_more(&self, name: &str) {
        let before = self.output("m", name).len();
        self.wait_for("m", name, |output| output.len() > before + 10);
    }

    /// Sees that a counter of `m` has counted on, but for when it is known to have gone back.
    fn assert_counted_on(&self, name: &str) {
        let jumps = jumps(&numbers(&self.output("m", name)));
        let faults = self.faults();
        let names = |fault: &serde_json::Value, what: &str| {
            fault[what].as_array().is_some_and(|names| names.iter().any(|known| known == name))
        };
        let went_back = faults.iter().filter(|fault| names(fault, "healed") || names(fault, "lost")).count();
        assert!(jumps.iter().all(|(from, to)| to <= from), "{jumps:?} {faults:?}");
        assert!(jumps.len() <= went_back, "{jumps:?} {faults:?}");
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

/// Faults at the next interrupt.
const AT_ONCE: [&str; 5] = ["exception", "triple-fault", "halt", "instruction", "loop"];

#[test]
fn a_kernel_that_fails_is_put_back_and_its_containers_go_on() {
    let home = Home::counting();
    let web = container("web");
    home.ok(&["run", "-d", "--name", "web", "--memory", "8M", "--publish", "80", web.to_str().unwrap()]);
    home.wait_for("m", "web", |output| output.contains("listening"));
    let address = home.json(&["matrixbox", "inspect", "web"])["ports"][0]["address"].clone();
    let pid = home.pid("m");
    home.heal_boot();
    let mut known = 0;
    for kind in AT_ONCE {
        // When the fault comes, the counter may be being run, now and then: another test is about that.
        let is_kept = (0..5).any(|_| {
            home.wait_until_good();
            home.heal_boot();
            let said = home.inflict(kind, 1);
            known += 1;
            let fault = home.wait_for_faults(known)[known - 1].clone();
            assert_eq!(fault["action"].as_str(), Some("heal-boot"), "{said} {fault}");
            println!("{kind}: {} after {} us", fault["what"], fault["pause_us"]);
            let kept: BTreeSet<_> =
                fault["kept"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
            let is_kept = kept == BTreeSet::from(["counter", "web"]);
            assert!(is_kept || kept == BTreeSet::from(["web"]), "{fault}");
            is_kept
        });
        assert!(is_kept, "{kind}: {:?}", home.faults());
        home.wait_for_more("counter");
        eventually("the server answers", || {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--max-time", "5"]).arg(format!("http://{}/", address.as_str().unwrap()));
            let answer = curl.output().unwrap();
            (answer.stdout == b"Hello from a container!\n").then_some(())
        });
    }
    assert_eq!(home.pid("m"), pid, "it is the same process");
    home.assert_counted_on("counter");
    let report = home.ok(&["panic", "report"]);
    assert!(report.contains("its kernel was put back"), "{report}");
    // One that was started anew comes last.
    assert!(
        ["kept: counter, web", "kept: web, counter"].iter().any(|kept| report.contains(kept)),
        "{report}"
    );
    // All else works, also what came after the copy.
    home.ok(&["snapshot", "-t", "after"]);
    home.start("hello", &container("hello"), &[]);
    home.heal_boot();
    home.wait_for_more("counter");
    let healed = home.heal_boot();
    assert!(healed["pages"].as_u64().unwrap() > 0, "{healed}");
    home.ok(&["rollback", "after"]);
    home.wait_for_number("m", "counter", 5);
}

#[test]
fn a_container_that_was_being_run_is_put_back_or_started_anew() {
    let home = Home::counting();
    home.start("busy", &container("faults"), &["loop"]);
    home.heal_boot();
    let mut known = 0;
    // Of the two it is the one that is being run, but for now and then.
    let mut until = |what: &str| {
        for _ in 0..8 {
            home.heal_boot();
            home.wait_until_good();
            home.inflict("exception", 1);
            known += 1;
            let fault = home.wait_for_faults(known)[known - 1].clone();
            assert_eq!(fault["action"].as_str(), Some("heal-boot"), "{fault}");
            if fault[what] == serde_json::json!(["busy"]) {
                assert_eq!(fault["kept"], serde_json::json!(["counter"]), "{fault}");
                return;
            }
        }
        panic!("it was never {what}");
    };
    // No snapshot has it: the kernel goes on without it.
    until("lost");
    eventually("it is started anew", || {
        let found = home.json(&["matrixbox", "inspect", "busy"]);
        (found["state"] == "running").then_some(())
    });
    home.ok(&["snapshot"]);
    until("healed");
    home.ok(&["kill", "busy"]);
}

/// A program that counts the bytes it reads and says the count of each, traps at an `x`, and computes for ever at an `l`.
const FRAIL: &str = r#"(module
  (import "wasi_snapshot_preview1" "fd_read" (func $read (param i32 i32 i32 i32) (result i32)))
  (import "wasi_snapshot_preview1" "fd_write" (func $write (param i32 i32 i32 i32) (result i32)))
  (memory (export "memory") 1)
  (func (export "_start") (local $count i32)
    (i32.store (i32.const 0) (i32.const 32))
    (i32.store (i32.const 4) (i32.const 1))
    (i32.store (i32.const 8) (i32.const 40))
    (i32.store (i32.const 12) (i32.const 1))
    (loop $again
      (drop (call $read (i32.const 0) (i32.const 0) (i32.const 1) (i32.const 16)))
      (if (i32.eq (i32.load8_u (i32.const 32)) (i32.const 120)) (then unreachable))
      (if (i32.eq (i32.load8_u (i32.const 32)) (i32.const 108)) (then (loop $ever (br $ever))))
      (local.set $count (i32.add (local.get $count) (i32.const 1)))
      (i32.store8 (i32.const 40) (i32.add (i32.const 48) (local.get $count)))
      (drop (call $write (i32.const 1) (i32.const 8) (i32.const 1) (i32.const 16)))
      (br $again))))"#;

impl Home {
    /// Gives a container of `m` standard input.
    fn give(&self, name: &str, text: &str) {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--unix-socket"]).arg(self.of("m", ".runtime/control.sock"));
        curl.args(["--data-binary", text, &format!("http://machine/v1/containers/{name}/input")]);
        assert!(curl.output().unwrap().status.success());
    }

    /// Starts `frail`, with its standard input open.
    fn start_frail(&self) {
        let path = self.path().join("frail.wasm");
        std::fs::write(&path, wat::parse_str(FRAIL).unwrap()).unwrap();
        self.ok(&["run", "-d", "-i", "--name", "frail", "--memory", "4M", path.to_str().unwrap()]);
    }

    /// Gives `frail` a byte, and waits until it has said so much in all.
    fn gives(&self, byte: &str, output: &str) {
        self.give("frail", byte);
        self.wait_for("m", "frail", |said| said == output);
    }
}

#[test]
fn a_container_that_traps_is_put_back_and_its_neighbours_never_notice() {
    let home = Home::counting();
    home.trigger("container", "trigger: 1\nthen: [heal, heal, restart]\n");
    assert!(home.ok(&["heal", "triggers", "ls"]).contains("heal, heal, restart"));
    home.start_frail();
    home.gives("a", "1");
    let old = home.json(&["snapshot"])["id"].clone();
    home.gives("a", "12");
    let new = home.json(&["snapshot"])["id"].clone();
    home.gives("a", "123");
    let pid = home.pid("m");
    // It goes back to the last snapshot that has it, then to the one before that, and then begins anew.
    home.give("frail", "x");
    let fault = home.wait_for_faults(1)[0].clone();
    assert_eq!((&fault["action"], &fault["to"]), (&"heal-container".into(), &new), "{fault}");
    home.gives("a", "1233");
    home.give("frail", "x");
    let fault = home.wait_for_faults(2)[1].clone();
    assert_eq!((&fault["action"], &fault["to"]), (&"heal-container".into(), &old), "{fault}");
    home.gives("a", "12332");
    home.give("frail", "x");
    let fault = home.wait_for_faults(3)[2].clone();
    assert_eq!(fault["action"], "restart-container", "{fault}");
    home.gives("a", "123321");
    let report = home.ok(&["panic", "report"]);
    assert!(report.contains("container-trap") && report.contains("frail"), "{report}");
    assert_eq!(home.pid("m"), pid);
    assert_eq!(jumps(&numbers(&home.output("m", "counter"))), []);
    // No snapshot has it as it was started now, and nothing else is wanted.
    home.trigger("container", "trigger: 1\nthen: [heal]\n");
    home.give("frail", "x");
    let fault = home.wait_for_faults(4)[3].clone();
    assert_eq!(fault["action"], "stop-container", "{fault}");
    assert!(fault["error"].as_str().unwrap().contains("no snapshot has `frail`"), "{fault}");
    let ended = home.json(&["matrixbox", "inspect", "frail"]);
    assert_eq!((&ended["state"], &ended["exit_code"]), (&"ended".into(), &134.into()), "{ended}");
}

#[test]
fn a_container_that_has_trapped_is_seen_to_also_by_a_machine_that_goes_back_to_it() {
    let home = Home::counting();
    home.start_frail();
    home.gives("a", "1");
    home.trigger("container", "trigger: 1\nthen: [heal]\n");
    let good = home.json(&["snapshot"])["id"].clone();
    // While it is seen to, the machine is put back, fails, and is put back again.
    for round in 0..8 {
        home.give("frail", "x");
        if round % 2 == 0 {
            home.inflict("exception", 1);
        }
        // It may fail at that very moment, of what was done to it: then that is said, with what to do.
        eventually("it is put back", || {
            let output = home.run(&["rollback", good.as_str().unwrap()]);
            let error = String::from_utf8_lossy(&output.stderr).into_owned();
            assert!(output.status.success() || error.contains("is being recovered; try again"), "{error}");
            output.status.success().then_some(())
        });
        let found = home.json(&["matrixbox", "inspect", "frail"]);
        assert_eq!(found["state"], "running", "{found}");
        home.trigger("container", &format!("trigger: 1\nthen: [heal]\nbudget: {}\n", 100 + round));
    }
    let before = home.output("m", "frail");
    home.gives("a", &format!("{before}2"));
}

#[test]
fn a_container_that_stalls_is_put_back() {
    let home = Home::counting();
    home.trigger("container", "trigger: 1\nthen: [heal]\nstall: 300ms\n");
    home.start_frail();
    home.gives("a", "1");
    home.ok(&["snapshot"]);
    home.give("frail", "l");
    let fault = home.wait_for_faults(1)[0].clone();
    assert_eq!(fault["fault"], "container-stall", "{fault}");
    assert_eq!(fault["action"], "heal-container", "{fault}");
    home.gives("a", "12");
    // One that waits does not stall, and neither does one that calls now and then.
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(home.faults().len(), 1);
    assert_eq!(jumps(&numbers(&home.output("m", "counter"))), []);
}

#[test]
fn no_byte_of_standard_input_is_lost_or_read_twice_when_the_kernel_is_put_back() {
    let home = Home::counting();
    let cat = container("cat");
    home.ok(&["run", "-d", "-i", "--name", "cat", "--memory", "8M", cat.to_str().unwrap()]);
    let give = |text: &str| home.give("cat", text);
    let mut expected = String::new();
    for round in 0..6 {
        let line = format!("line {round}\n");
        give(&line);
        expected.push_str(&line);
        home.wait_for("m", "cat", |output| output == expected);
        let healed = home.heal_boot();
        assert_eq!(healed["kept"], serde_json::json!(["counter", "cat"]), "{healed}");
        // What it has got since the copy is not in there: it is not kept as if nothing were.
        if round == 2 {
            give("once\n");
            expected.push_str("once\n");
            home.wait_for("m", "cat", |output| output == expected);
        }
    }
    assert_eq!(home.output("m", "cat"), expected);
    assert_eq!(jumps(&numbers(&home.output("m", "counter"))), []);
}

#[test]
fn a_container_that_traps_is_started_again_if_that_is_wanted() {
    let home = Home::counting();
    home.trigger("container", "trigger: 1\nthen: [restart]\nbudget: 2\n");
    assert!(home.ok(&["heal", "triggers", "ls"]).contains("restart"));
    home.start("faulty", &container("faults"), &["trap"]);
    let errors = home.of("m", ".container/faulty/stderr.log");
    let traps = || std::fs::read_to_string(&errors).unwrap_or_default().matches("trapped").count();
    eventually("it has trapped three times", || (traps() == 3).then_some(()));
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(traps(), 3, "it is not started for ever");
}

#[test]
fn a_machine_is_put_back_to_its_last_good_snapshot_whether_it_runs_or_not() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "good"]);
    let good = home.wait_until_good();
    home.wait_for_number("m", "counter", last_number(&home.output("m", "counter")).unwrap() + 20);
    home.ok(&["snapshot", "-t", "later"]);
    let done = home.json(&["panic", "recover"]);
    assert_eq!(done["id"].as_str(), Some(&*good), "{done}");
    home.ok(&["rollback", "--undo"]);
    home.trigger("fault", "trigger: 1\nthen: [stop]\n");
    home.inflict("exception", 1);
    home.wait_until_stopped();
    // By now another one may have proved itself.
    let fallback = std::fs::read(home.of("m", ".panic/fallback.zk")).unwrap();
    let fallback: serde_json::Value = serde_json::from_slice(&fallback).unwrap();
    home.ok(&["panic", "recover"]);
    let status = home.json(&["status"]);
    assert_eq!(status["state"], "running");
    assert_eq!(status["current"], fallback["snapshot"]);
    home.wait_for_number("m", "counter", 5);
}

#[test]
fn a_guest_that_fails_goes_on_from_its_last_good_snapshot() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\nthen: [rollback]\n");
    home.ok(&["snapshot", "-t", "good"]);
    let good = home.wait_until_good();
    let pid = home.pid("m");
    for (number, kind) in AT_ONCE.into_iter().enumerate() {
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
        home.wait_for_more("counter");
        assert!(home.ok(&["ps"]).contains("counter"));
        assert_eq!(home.wait_until_good(), good);
    }
    assert_eq!(home.pid("m"), pid, "it is the same process");
    let output = home.output("m", "counter");
    let back: Vec<_> = jumps(&numbers(&output)).into_iter().filter(|(from, to)| to <= from).collect();
    assert_eq!(back.len(), AT_ONCE.len(), "each time it went back once: {back:?}");
    let report = home.ok(&["panic", "report"]);
    assert!(report.contains("triple-fault") && report.contains("goes on from"), "{report}");
    home.ok(&["snapshot"]);
    home.start("hello", &container("hello"), &[]);
}

#[test]
fn a_fault_that_is_in_the_snapshot_goes_further_back_and_one_that_stays_ends_it() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\nthen: [rollback]\n");
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

#[test]
fn whoever_asks_right_behind_a_fault_is_told_so_or_answered() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\nbudget: 1000\n");
    let is_over = AtomicBool::new(false);
    let asked = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut answers = 0;
            while !is_over.load(Relaxed) {
                let output = home.run(&["stats"]);
                let error = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(output.status.success() || error.contains("has failed"), "{error}");
                answers += usize::from(output.status.success());
            }
            answers
        });
        let mut seed = 0;
        // While the guest is put back, there is nothing to do it to.
        eventually("it has failed often", || {
            (0..10).for_each(|_| {
                seed += 1;
                home.inflict("exception", seed);
            });
            (home.faults().len() >= 50).then_some(())
        });
        is_over.store(true, Relaxed);
        asking.join().unwrap()
    });
    assert!(asked > 0, "nobody was answered");
    home.wait_for_number("m", "counter", 5);
}

/// Faults of a campaign: a thousand in CI, as many as wanted by `SENTIENT_FAULTS`.
fn wanted_faults() -> String {
    std::env::var("SENTIENT_FAULTS").unwrap_or_else(|_| "1000".into())
}

#[test]
fn machines_survive_a_campaign_of_faults() {
    let home = Home::empty();
    let output = home.run(&["chaos", "run", "--faults", &wanted_faults(), "--machines", "2", "--json"]);
    let errors = String::from_utf8_lossy(&output.stderr);
    let campaign: serde_json::Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"));
    println!("{campaign:#}");
    assert_eq!(
        campaign["wrong"],
        serde_json::json!([]),
        "whatever was done to it, it says what it counted: {errors}"
    );
    let sum = |name: &str| -> u64 {
        campaign["kinds"].as_array().unwrap().iter().map(|kind| kind[name].as_u64().unwrap()).sum()
    };
    assert_eq!(sum("ended"), 0, "no fault of a guest's ends its process: {campaign:#}");
    assert!(campaign["recovered_or_harmless"].as_f64().unwrap() >= 0.99, "{campaign:#} {errors}");
    assert!(sum("kept") * 10 >= sum("containers") * 9, "{campaign:#}");
    assert!(output.status.success(), "{errors}");
}

#[test]
fn a_guest_that_hangs_is_found_however_often_it_is_made_to_stand_still() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\ncheck: 20ms\n");
    home.heal_boot();
    // The trigger is read at each fault, of which this is the first.
    home.inflict("exception", 1);
    home.wait_for_faults(1);
    home.heal_boot();
    home.wait_until_good();
    home.inflict("loop", 1);
    let fault = home.wait_for_faults(2)[1].clone();
    assert_eq!((&fault["fault"], &fault["action"]), (&"guest-hang".into(), &"heal-boot".into()), "{fault}");
    home.wait_for_number("m", "counter", last_number(&home.output("m", "counter")).unwrap() + 5);
}

#[test]
fn a_write_that_page_tables_forbid_is_a_fault_and_changes_nothing() {
    let home = Home::counting();
    home.heal_boot();
    for (number, seed, region) in [(1, 0, "nucleus-const"), (2, 5, "nucleus-text")] {
        home.wait_until_good();
        let said = home.inflict("nucleus", seed);
        assert!(said.contains("a store of") && said.contains(region), "{said}");
        let fault = home.wait_for_faults(number)[number - 1].clone();
        assert_eq!(fault["fault"], "guest-panic", "{fault}");
        assert!(fault["what"].as_str().unwrap().contains("exception 14 (error code 0x3)"), "{fault}");
    }
    home.assert_counted_on("counter");
}

#[test]
fn a_page_of_code_that_is_another_one_is_found_and_put_back() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\ncheck: 100ms\n");
    home.heal_boot();
    // The trigger is read at each fault, of which this is the first.
    home.inflict("exception", 1);
    home.wait_for_faults(1);
    home.ok(&["snapshot"]);
    home.heal_boot();
    for (number, seed) in [(2, 300), (3, 420)] {
        home.wait_until_good();
        let said = home.inflict("code", seed);
        let fault = home.wait_for_faults(number)[number - 1].clone();
        // It may have been executed before anybody looked.
        assert!(
            ["corrupted-memory", "guest-panic"].contains(&fault["fault"].as_str().unwrap()),
            "{said} {fault}"
        );
    }
    home.wait_until_good();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(home.faults().len(), 3, "there is nothing left to find");
    home.assert_counted_on("counter");
}

#[test]
fn what_other_code_would_say_is_not_heard_where_output_is_held() {
    let home = Home::counting();
    home.trigger("fault", "trigger: 1\ncheck: 1h\nhold_output: true\nhealthy: 100ms\nbudget: 100\n");
    home.ok(&["snapshot"]);
    // The trigger is read at each fault, and as the machine is booted.
    home.ok(&["stop"]);
    home.ok(&["boot"]);
    let held = |is_held: bool| {
        eventually("output is held, or is not", || {
            (home.json(&["health"])["holds_output"] == is_held).then_some(())
        });
    };
    held(true);
    assert!(home.ok(&["health"]).contains("output      held"));
    home.heal_boot();
    let hour = Duration::from_secs(3600).as_millis() as u64;
    let trigger = home.json(&["heal", "triggers", "ls"])[0].clone();
    assert_eq!((&trigger["hold_output"], &trigger["check_ms"]), (&true.into(), &hour.into()), "{trigger}");
    // Nobody looks for an hour, but at what is said.
    for number in 1..=12 {
        home.wait_until_good();
        let said = home.inflict("code", 300 + number as u64);
        let fault = home.wait_for_faults(number)[number - 1].clone();
        assert!(
            ["corrupted-memory", "guest-panic"].contains(&fault["fault"].as_str().unwrap()),
            "{said} {fault}"
        );
        home.heal_boot();
    }
    home.assert_counted_on("counter");
    // As is wanted from the next fault on, it leaves at once.
    home.trigger("fault", "trigger: 1\nbudget: 100\n");
    home.inflict("exception", 1);
    home.wait_for_faults(13);
    held(false);
    home.wait_for_more("counter");
}

#[test]
fn what_is_kept_of_a_guest_that_failed_is_told_and_a_debugger_opens_it() {
    let home = Home::counting();
    home.heal_boot();
    home.inflict("exception", 1);
    let name = home.wait_for_faults(1)[0]["crash"].as_str().unwrap().to_owned();
    let record = home.of("m", &format!(".panic/{name}.json"));
    eventually("its record is written", || record.exists().then_some(()));
    let told = home.ok(&["panic", "report", "--verbose"]);
    for part in ["exception 6", "RIP ", "gate_entry", &format!("{name}.core")] {
        assert!(told.contains(part), "no {part} in {told}");
    }
    let page = home.path().join("report.html");
    home.ok(&["panic", "report", "--html", "--output", page.to_str().unwrap()]);
    let page = std::fs::read_to_string(page).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.contains("gate_entry"), "{page}");
    assert!(!page.contains("http://") && !page.contains("https://") && !page.contains("<script"), "{page}");
    let core = home.of("m", &format!(".panic/{name}.core"));
    let mut gdb = Command::new("gdb");
    gdb.args(["-batch", "-nx", "-ex", "info symbol $rip", "-ex", "x/1i $rip"]);
    let gdb = gdb.arg(home.of("m", ".panic/kernel.symbols.elf")).arg(core).output();
    let gdb =
        gdb.unwrap_or_else(|error| panic!("this test needs gdb: {error}. On Debian: apt-get install gdb"));
    let said = String::from_utf8_lossy(&gdb.stdout);
    assert!(said.contains("exception + ") && said.contains("ud2"), "{said}");
}

#[test]
fn a_report_is_sent_to_whom_the_owner_says_and_to_nobody_else() {
    let home = Home::counting();
    home.heal_boot();
    home.inflict("exception", 1);
    home.wait_for_faults(1);
    home.wait_until_good();
    std::fs::write(home.of("m", ".panic/log.send"), "send: 1\ncommand: [sh, -c, 'cat > $TO']\n").unwrap();
    let log = home.of("m", ".runtime/vmm.log");
    home.inflict("exception", 1);
    home.wait_for_faults(2);
    eventually("it is told that it was not sent", || {
        std::fs::read_to_string(&log).unwrap().contains("the report was not sent").then_some(())
    });
    let to = home.path().join("sent");
    let text = format!("send: 1\ncommand: [sh, -c, 'cat > {}']\n", to.display());
    std::fs::write(home.of("m", ".panic/log.send"), text).unwrap();
    home.wait_until_good();
    home.inflict("exception", 1);
    let fault = home.wait_for_faults(3)[2].clone();
    let sent: serde_json::Value =
        eventually("it was sent", || serde_json::from_slice(&std::fs::read(&to).ok()?).ok());
    assert_eq!(sent["unix_ns"], fault["unix_ns"], "{sent}");
    assert!(sent["frames"].to_string().contains("gate_entry"), "{sent}");
}

#[test]
fn the_kernel_alone_has_a_console_for_repair() {
    let home = Home::counting();
    home.heal_boot();
    home.inflict("exception", 1);
    home.wait_for_faults(1);
    let running = home.refused(&["boot", "--zero"]);
    assert!(running.contains("in use"), "{running}");
    home.ok(&["stop"]);
    let typed = |lines: &str| {
        let mut command = home.command(&["boot", "--zero"]);
        command.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        std::io::Write::write_all(&mut child.stdin.take().unwrap(), lines.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let said = typed("regions\nmem\nlog\nverify\nwhat\n");
    for part in
        ["runtime-text", "u-x", "free ", "its kernel was put back", "as it should be", "no command `what`"]
    {
        assert!(said.contains(part), "no {part} in {said}");
    }
    assert!(!said.contains("DAMAGED"), "{said}");
    let status = home.json(&["status"]);
    assert_eq!(status["state"], "stopped");
    typed("help\nreboot\n");
    home.wait_for_number("m", "counter", 5);

    home.trigger("fault", "trigger: 1\nthen: [zero]\n");
    home.inflict("exception", 1);
    home.wait_until_stopped();
    let refused = home.refused(&["boot"]);
    assert!(refused.contains("has fallen to zero mode"), "{refused}");
    assert!(refused.contains("exception 6"), "{refused}");
    assert!(typed("log\n").contains("was ended: zero"));
    home.refused(&["boot"]);
    typed("reboot\n");
    home.wait_for_number("m", "counter", 5);
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
