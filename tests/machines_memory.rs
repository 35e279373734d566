//! Machines that stay, and their memory when they are booted: brought while the guest runs, and never wrong.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};

/// The counter counts on by ten from where it is.
fn counts_on(home: &Home) {
    let now = last_number(&home.output("m", "counter")).unwrap();
    home.wait_for_number("m", "counter", now + 10);
}

/// Whether the counter counts on; otherwise the machine has ended.
fn goes_on_or_ends(home: &Home) -> bool {
    let now = last_number(&home.output("m", "counter")).unwrap();
    machine::eventually("the counter goes on, or the machine ends", || {
        let output = home.output("m", "counter");
        // It goes on from its snapshot, which may be from before what it has written.
        let goes_on = last_number(&output).is_some_and(|last| last != now) && home.pid("m").is_some();
        let status = home.run(&["--json", "status"]);
        let ended = String::from_utf8_lossy(&status.stdout).contains("\"stopped\"");
        (goes_on || ended).then_some(!ended)
    })
}

fn without_a_jump(home: &Home) {
    assert_eq!(jumps(&numbers(&home.output("m", "counter"))), []);
}

#[test]
fn a_machine_goes_on_alike_however_its_memory_is_verified() {
    let home = Home::counting();
    for verify in ["lazy", "eager", "lazy", "lazy"] {
        home.ok(&["stop"]);
        home.ok(&["boot", "--verify", verify]);
        counts_on(&home);
    }
    without_a_jump(&home);
    // Whatever was brought late is in the next snapshot, too.
    assert!(home.ok(&["snapshot"]).contains("paused"));
    assert!(home.ok(&["verify"]).contains("all is well"));
}

#[test]
fn what_a_start_needed_is_a_guess_for_the_next_one_and_no_more() {
    let home = Home::counting();
    let file = home.of("m", ".runtime/working-set");
    home.ok(&["stop"]);
    home.ok(&["boot", "--verify", "lazy"]);
    counts_on(&home);
    // Written when the memory is whole, for which the boot does not wait on a busy host.
    home.ok(&["snapshot"]);
    let needed: Vec<u64> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert!(!needed.is_empty());
    let long = format!("[{}0]", "7,".repeat(1 << 20));
    for nonsense in ["", "[1,2,18446744073709551615]", "[[]]", "not a list", &long] {
        home.ok(&["stop"]);
        std::fs::write(&file, nonsense).unwrap();
        home.ok(&["boot", "--verify", "lazy"]);
        counts_on(&home);
    }
    without_a_jump(&home);
}

#[test]
fn a_rollback_right_after_a_boot_finds_all_of_the_memory() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "early"]);
    counts_on(&home);
    home.ok(&["stop"]);
    home.ok(&["boot", "--verify", "lazy"]);
    home.ok(&["rollback", "early", "--discard"]);
    counts_on(&home);
    home.ok(&["rollback", "genesis", "--discard"]);
    assert!(home.ok(&["verify"]).contains("all is well"));
}

#[test]
fn a_damaged_page_is_named_and_never_seen() {
    let home = Home::counting();
    home.ok(&["stop"]);
    let pack = home.path().join("store/packs/1.pack");
    let good = std::fs::read(&pack).unwrap();
    let mut refused = [0; 2];
    for part in 0..32 {
        let mut bad = good.clone();
        let at = good.len() / 32 * part + 64;
        bad[at] ^= 1;
        std::fs::write(&pack, bad).unwrap();
        let which = part % 2;
        let boot = home.run(&["boot", "--verify", ["lazy", "eager"][which]]);
        if boot.status.success() {
            // What was changed may be of another snapshot: this one is whole then, and goes on as it was.
            let is_whole = goes_on_or_ends(&home) && home.run(&["stop", "--discard"]).status.success();
            if !is_whole {
                machine::eventually("the machine is free again", || {
                    home.run(&["status"]).status.success().then_some(())
                });
                // Where there is much to do, the machine runs for a while before the page is looked at.
                let end = home.json(&["status"])["last_end"].to_string();
                assert!(which == 0 && end.contains("damaged"), "byte {at}: {end}");
                refused[which] += 1;
            }
        } else {
            let said = String::from_utf8_lossy(&boot.stderr).into_owned();
            assert!(said.contains("damaged"), "byte {at}: {said}");
            // The process has said it before it is gone.
            machine::eventually("the machine is free again", || {
                home.run(&["status"]).status.success().then_some(())
            });
            let status = home.json(&["status"]);
            assert_eq!(status["state"], "stopped", "byte {at}: {status}");
            refused[which] += 1;
        }
    }
    assert!(refused.iter().all(|refused| *refused >= 8), "{refused:?} of 16 each were refused");
    std::fs::write(&pack, good).unwrap();
    home.ok(&["boot"]);
    counts_on(&home);
}
