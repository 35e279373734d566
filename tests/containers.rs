//! Containers of a machine that stays, seen to as their users do it: listed, followed, ended, started again, removed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, numbers};
use machine::{container, root};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

impl Home {
    fn listed(&self, words: &[&str]) -> Vec<(String, String)> {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let all = self.json(words);
        all.as_array().unwrap().iter().map(|one| (text(&one["name"]), text(&one["state"]))).collect()
    }
}

fn pair(name: &str, state: &str) -> (String, String) {
    (name.to_owned(), state.to_owned())
}

#[test]
fn containers_are_listed_ended_and_forgotten() {
    let home = Home::counting();
    home.start("hello", &container("hello"), &[]);
    home.wait_for("m", "hello", |output| !output.is_empty());
    while home.listed(&["ps"]).len() > 1 {}
    assert_eq!(home.listed(&["ps"]), [pair("counter", "running")]);
    assert_eq!(home.listed(&["ps", "-a"]), [pair("counter", "running"), pair("hello", "ended")]);
    assert_eq!(home.listed(&["matrixbox", "ls"]), home.listed(&["ps"]));
    // A program without permissions may do everything, and is marked.
    let listed = home.ok(&["ps", "--all"]);
    assert!(listed.starts_with("NAME     PROGRAM"), "{listed}");
    assert!(listed.contains("counter.wasm, unconfined  runs"), "{listed}");
    assert!(home.ok(&["matrixbox", "inspect", "hello"]).contains("ended with 0"));
    assert_eq!(home.json(&["matrixbox", "inspect", "counter"])["confined"], json!(false));

    // One that runs is not removed unasked, and one that is not there is named.
    assert!(home.refused(&["matrixbox", "rm", "counter"]).contains("--force"));
    for words in
        [&["kill", "nobody"][..], &["matrixbox", "rm", "nobody"], &["matrixbox", "restart", "nobody"]]
    {
        assert!(home.refused(words).contains("nobody"), "{words:?}");
    }
    assert!(home.refused(&["logs", "nobody"]).contains("nobody"));
    assert!(home.refused(&["logs", "../counter"]).contains("cannot be a container's name"));
    let killed = home.json(&["kill", "counter"]);
    assert_eq!((&killed[0]["state"], &killed[0]["exit_code"]), (&json!("ended"), &json!(137)));
    assert!(home.refused(&["kill", "counter"]).contains("no container `counter` runs"));
    assert_eq!(home.ok(&["matrixbox", "rm", "hello", "counter"]), "hello\ncounter\n");
    assert_eq!(home.listed(&["ps", "-a"]), []);
    assert!(!home.of("m", ".container/hello").exists());
    // Its name is free.
    home.start("counter", &container("counter"), &["--interval-ms", "5"]);
    home.wait_for_number("m", "counter", 3);
    assert_eq!(home.ok(&["matrixbox", "rm", "--force", "counter"]), "counter\n");
    // What was done before something went wrong is told.
    home.start("hello", &container("hello"), &[]);
    home.wait_for("m", "hello", |output| !output.is_empty());
    let output = home.run(&["matrixbox", "rm", "--force", "hello", "nobody"]);
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(125), &b"hello\n"[..]));
}

#[test]
fn a_container_is_started_again_as_it_was() {
    let home = Home::counting();
    let first = home.output("m", "counter");
    assert_eq!(home.ok(&["matrixbox", "restart", "counter"]), "counter\n");
    // It begins anew, behind what is there.
    let output = home.wait_for("m", "counter", |output| {
        numbers(output.get(first.len()..).unwrap_or_default()).windows(2).any(|pair| pair[0] > pair[1])
            || numbers(output).iter().filter(|number| **number == 1).count() > 1
    });
    assert!(output.starts_with(&first));
    // Also by the next process, and with its permissions.
    let package = home.path().join("greeter.tso");
    let folder = root().join("resources/packages/greeter");
    home.ok(&["pack", folder.to_str().unwrap(), "-o", package.to_str().unwrap()]);
    home.ok(&["run", "-d", package.to_str().unwrap(), "--", "Ada"]);
    home.wait_for("m", "greeter", |output| output == "Hello, Ada.\n");
    let again = home.json(&["matrixbox", "restart", "greeter"]);
    assert_eq!((&again["confined"], &again["package"]["name"]), (&json!(true), &json!("greeter")));
    home.wait_for("m", "greeter", |output| output == "Hello, Ada.\nHello, Ada.\n");
    home.ok(&["stop"]);
    home.ok(&["boot"]);
    home.ok(&["matrixbox", "restart", "counter"]);
    // A program that is gone is named.
    std::fs::remove_file(&package).unwrap();
    home.ok(&["-m", "m", "run", "-d", "--name", "late", container("hello").to_str().unwrap()]);
    assert!(home.refused(&["matrixbox", "restart", "greeter"]).contains("greeter"));
}

#[test]
fn output_is_shown_and_followed() {
    let home = Home::counting();
    let shown = home.ok(&["logs", "counter"]);
    assert!(numbers(&shown).len() >= 5, "{shown}");
    let mut following = home.command(&["logs", "-f", "counter"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut last = 0;
    while last < 200 {
        last = lines.next().unwrap().unwrap().split_whitespace().next().unwrap().parse().unwrap();
    }
    // It ends with its container, and misses nothing.
    home.ok(&["kill", "counter"]);
    let rest: Vec<String> = lines.map(Result::unwrap).collect();
    assert!(following.wait().unwrap().success());
    let written = home.output("m", "counter");
    let end = written.lines().last().unwrap();
    assert_eq!(rest.last().map_or(end, String::as_str), end);
    // What goes to standard error does so here, and a machine need not run for it.
    home.start("faulty", &container("faults"), &["trap"]);
    while home.listed(&["ps"]).iter().any(|(name, _)| name == "faulty") {}
    home.ok(&["stop", "--discard"]);
    let output = home.run(&["logs", "--follow", "faulty"]);
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(errors.contains("trapped"), "{errors}");
    assert_eq!(output.stdout, b"about to trap\n");
    // Who stops reading ends it.
    let script = "$SENTCTL --home \"$1\" logs counter | head -n 1";
    let output = machine::finish(&mut machine::shell(script, [home.path()]));
    assert_eq!(output.code(), 0);
}

#[test]
fn output_is_bound_to_a_chain_that_says_when_it_came() {
    let home = Home::counting();
    let folder = home.path().join("machines/m/.container/counter");
    let output = folder.join("stdout.log");
    // A second later what came is in the chain, though nothing else comes.
    home.ok(&["pause", "counter"]);
    let written = std::fs::metadata(&output).unwrap().len();
    let start = Instant::now();
    let checked = loop {
        let checked = home.json(&["logs", "--verify", "counter"]);
        if checked["unsealed_bytes"] == json!(0) && checked["links"] != json!(0) {
            break checked;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{checked}");
    };
    assert_eq!((&checked["problem"], &checked["stdout_bytes"]), (&json!(null), &json!(written)));
    let all = home.ok(&["logs", "counter"]);
    assert_eq!(home.ok(&["logs", "--since", "1h", "counter"]), all);
    assert_eq!(home.ok(&["logs", "--since", "2000-01-01T00:00:00+02:00", "counter"]), all);
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(home.ok(&["logs", "--since", "100ms", "counter"]), "");
    for (words, said) in
        [(["--since", "yesterday"], "2026-11-29T08:00:00Z"), (["--since", "3000-01-01T00:00:00Z"], "no time")]
    {
        let refused = home.refused(&["logs", words[0], words[1], "counter"]);
        assert!(refused.contains(said), "{refused}");
    }
    home.ok(&["unpause", "counter"]);
    home.wait_for("m", "counter", |output| output.len() as u64 > written);
    let new = home.ok(&["logs", "--since", "1s", "counter"]);
    assert!(!new.is_empty() && home.ok(&["logs", "counter"]).contains(&new), "{new}");
    // A rollback does not touch what was written; what comes then is bound to it. So it is with a machine that was killed.
    home.ok(&["rollback", "genesis"]);
    home.ok(&["rollback", "--undo"]);
    home.kill("m");
    home.ok(&["boot"]);
    home.ok(&["kill", "counter"]);
    let checked = home.json(&["logs", "--verify", "counter"]);
    assert_eq!((&checked["problem"], &checked["unsealed_bytes"]), (&json!(null), &json!(0)));
    let mut bytes = std::fs::read(&output).unwrap();
    assert_eq!(checked["stdout_bytes"], json!(bytes.len()));
    bytes[17] ^= 1;
    std::fs::write(&output, bytes).unwrap();
    let damaged = home.run(&["logs", "--verify", "counter"]);
    assert_eq!(damaged.status.code(), Some(1));
    let said = String::from_utf8(damaged.stdout).unwrap();
    assert!(said.contains("stdout.log are not what was written"), "{said}");
}

#[test]
fn a_container_is_paused_and_that_belongs_to_snapshots() {
    let home = Home::counting();
    let state = |name: &str| home.json(&["matrixbox", "inspect", name])["state"].as_str().unwrap().to_owned();
    let count = || numbers(&home.output("m", "counter")).len();
    assert_eq!(home.ok(&["pause", "counter"]), "counter\n");
    assert_eq!(home.json(&["pause", "counter"])[0]["state"], json!("paused"));
    let before = count();
    std::thread::sleep(std::time::Duration::from_millis(200));
    assert_eq!((count(), state("counter")), (before, "paused".to_owned()));
    assert!(home.ok(&["ps"]).contains("is paused"));
    let stats = home.json(&["stats", "--interval", "10ms", "counter"]);
    assert_eq!((&stats[0]["state"], &stats[0]["cpu_used_percent"]), (&json!("paused"), &json!(0.0)));
    home.ok(&["snapshot", "-t", "paused"]);
    home.ok(&["unpause", "counter"]);
    home.wait_for("m", "counter", |output| numbers(output).len() > before + 5);

    // It is paused again where it was, in this process and in the next one.
    home.ok(&["rollback", "paused"]);
    assert_eq!(state("counter"), "paused");
    home.ok(&["stop", "--discard"]);
    home.ok(&["boot"]);
    assert_eq!(state("counter"), "paused");
    assert_eq!(home.listed(&["ps"]), [pair("counter", "paused")]);
    assert_eq!(home.ok(&["matrixbox", "unpause", "counter"]), "counter\n");
    let before = count();
    home.wait_for("m", "counter", |output| numbers(output).len() > before + 5);
    assert_eq!(state("counter"), "running");

    // A paused one can be ended; one that has ended cannot be paused.
    home.ok(&["pause", "counter"]);
    assert_eq!(home.json(&["matrixbox", "stop", "counter"])[0]["exit_code"], json!(137));
    for words in [&["pause", "counter"][..], &["unpause", "nobody"], &["stats", "nobody"]] {
        assert!(home.refused(words).contains(words[1]), "{words:?}");
    }
}

#[test]
fn what_comes_and_goes_leaves_its_neighbours_as_they_are() {
    let home = Home::counting();
    home.start("other", &container("counter"), &["--interval-ms", "5"]);
    home.wait_for_number("m", "other", 5);
    home.ok(&["pause", "counter", "other"]);
    home.ok(&["snapshot", "-t", "before"]);
    // One that ends by itself, one that fails, and one that is killed in its own code; with files, and without.
    home.start("files", &container("fs"), &[]);
    home.start("trap", &container("faults"), &["trap"]);
    home.start("loop", &container("faults"), &["loop"]);
    while home.listed(&["ps"]).iter().any(|(name, _)| name == "files" || name == "trap") {}
    home.ok(&["snapshot", "-t", "among"]);
    home.ok(&["kill", "loop"]);
    home.ok(&["snapshot", "-t", "after"]);
    let others = |from: &str, to: &str| -> Vec<String> {
        let difference = home.json(&["diff", from, to]);
        let regions = difference["regions"].as_array().unwrap().iter();
        regions.filter_map(|region| region["container"].as_str().map(str::to_owned)).collect()
    };
    assert_eq!(others("before", "among"), ["loop"]);
    assert!(others("among", "after").is_empty());
    assert!(others("before", "after").is_empty());
    // And what differs when they run is theirs.
    home.ok(&["unpause", "other"]);
    let before = home.output("m", "other").len();
    home.wait_for("m", "other", |output| output.len() > before);
    home.ok(&["snapshot", "-t", "later"]);
    assert_eq!(others("after", "later"), ["other"]);
}

#[test]
fn a_container_is_put_back_alone() {
    let home = Home::counting();
    home.start("other", &container("counter"), &["--interval-ms", "5"]);
    home.wait_for_number("m", "other", 5);
    assert!(home.refused(&["heal", "container", "other"]).contains("no snapshot has `other`"));
    assert!(home.refused(&["heal", "container", "nobody"]).contains("nobody"));
    home.ok(&["snapshot"]);
    let at = numbers(&home.output("m", "counter")).last().copied().unwrap();
    home.ok(&["heal", "container", "counter"]);
    home.ok(&["tag", "@", "then"]);
    home.wait_for_number("m", "counter", at + 100);
    let (before, current) = (home.output("m", "counter"), home.json(&["status"])["current"].clone());
    let other = numbers(&home.output("m", "other")).last().copied().unwrap();
    let healed = home.json(&["heal", "container", "counter", "--to", "then"]);
    assert_eq!(healed["container"], json!("counter"));
    assert!(healed["pages"].as_u64().unwrap() > 0, "{healed}");
    // It counts on from there, behind what it has written; nobody else has noticed.
    let output = home.wait_for("m", "counter", |output| {
        numbers(output.get(before.len()..).unwrap_or_default()).len() > 50
    });
    assert!(output.starts_with(&before));
    // It has gone back twice: here, and when the first one succeeded above.
    let all = numbers(&output);
    let back: Vec<usize> = (1..all.len()).filter(|at| all[*at] != all[at - 1] + 1).collect();
    assert_eq!(back.len(), 2, "{all:?}");
    assert!(all[back[1] - 1] >= at + 100 && all[back[1]] < at + 20, "{at}, {all:?}");
    let on = |numbers: &[u64]| numbers.windows(2).all(|pair| pair[1] == pair[0] + 1);
    home.wait_for_number("m", "other", other + 50);
    assert!(on(&numbers(&home.output("m", "other"))));
    assert_eq!(home.json(&["status"])["current"], current);

    // What was put back is in the next snapshot, and is where a rollback to that goes on.
    home.ok(&["snapshot", "-t", "after"]);
    let at_after = numbers(&home.output("m", "counter")).last().copied().unwrap();
    home.wait_for_number("m", "other", other + 100);
    let before = home.output("m", "counter").len();
    home.ok(&["rollback", "after", "--discard"]);
    let output = home.wait_for("m", "counter", |output| numbers(&output[before..]).len() > 40);
    let all = numbers(&output);
    let back = all.windows(2).rposition(|pair| pair[1] < pair[0]).unwrap();
    assert!(on(&all[back + 1..]) && all[back + 1] <= at_after + 2, "{at_after}, {all:?}");
    assert_eq!(home.ok(&["verify"]).lines().last().map(|line| line.ends_with("all is well")), Some(true));

    // Another one of its name is another container.
    home.ok(&["matrixbox", "restart", "counter"]);
    let refused = home.refused(&["heal", "container", "counter", "--to", "then"]);
    assert!(refused.contains("as it was last started"), "{refused}");
    // Whoever goes back to where it was paused has it paused.
    home.start("busy", &container("faults"), &["loop"]);
    home.ok(&["pause", "busy"]);
    home.ok(&["snapshot", "-t", "paused"]);
    home.ok(&["unpause", "busy"]);
    home.ok(&["heal", "container", "busy", "--to", "paused"]);
    assert_eq!(home.json(&["matrixbox", "inspect", "busy"])["state"], json!("paused"));
    home.ok(&["kill", "busy"]);
    assert!(home.refused(&["heal", "container", "busy"]).contains("busy"));
}

#[test]
fn a_container_that_computes_is_put_back_again_and_again_and_comes_to_the_same() {
    let program = root().join("tests/modules/computes.wasm");
    let alone = machine::sentctl().arg("run").arg(&program).output().unwrap();
    let home = Home::with_machine();
    home.start("computes", &program, &[]);
    home.ok(&["snapshot", "-t", "early"]);
    let mut late = 0;
    for round in 0..30 {
        // Where it is now, and then to there and to where it was at first, by turns.
        home.ok(&["snapshot", "-t", "now"]);
        let to = if round % 2 == 0 { "now" } else { "early" };
        let healed = home.run(&["heal", "container", "computes", "--to", to]);
        // On a busy host a snapshot may have been taken before the guest came to rest.
        let refused = !healed.status.success();
        assert!(!refused || String::from_utf8_lossy(&healed.stderr).contains("took long"), "{healed:?}");
        late += u32::from(refused);
        home.ok(&["tag", "--rm", "now"]);
    }
    assert!(late < 10, "{late} of 30 snapshots were taken before the guest came to rest");
    // In another process, too.
    home.ok(&["stop"]);
    home.ok(&["boot"]);
    home.ok(&["heal", "container", "computes"]);
    let output = home.wait_for("m", "computes", |output| output.ends_with('\n'));
    assert_eq!(output.as_bytes(), alone.stdout);
}

#[test]
fn what_containers_take_is_measured_and_shared_by_weight() {
    let home = Home::counting();
    let faults = container("faults");
    let faults = faults.to_str().unwrap();
    for (name, cpu) in [("much", "80%"), ("little", "20")] {
        home.ok(&["run", "-d", "--memory", "8M", "--cpu", cpu, "--name", name, faults, "--", "loop"]);
    }
    let used = |words: &[&str]| -> Vec<f64> {
        let stats = home.json(words);
        stats.as_array().unwrap().iter().map(|one| one["cpu_used_percent"].as_f64().unwrap()).collect()
    };
    // On a busy host it takes a while to even out.
    let even = (0..10).any(|_| {
        let [_, much, little] = used(&["stats", "--interval", "2s"])[..] else { panic!("three run") };
        (much / little - 4.0).abs() < 0.4
    });
    assert!(even, "{:?}", used(&["stats", "--interval", "2s"]));
    let shown = home.ok(&["stats", "--interval", "100ms", "little", "counter"]);
    let lines: Vec<&str> = shown.lines().collect();
    assert!(lines[0].starts_with("NAME        CPU  SHARE"), "{shown}");
    assert!(lines[1].starts_with("counter") && lines[1].contains("100%"), "{shown}");
    assert!(
        lines[2].starts_with("little") && lines[2].contains(" 20%") && lines[2].contains("of 8.0 MiB"),
        "{shown}"
    );

    for cpu in ["0%", "101", "2.5%", "much"] {
        let output = home.run(&["run", "-d", "--cpu", cpu, faults]);
        assert_eq!(output.status.code(), Some(125), "{output:?}");
    }
    // Who stops reading ends it.
    let script = "$SENTCTL --home \"$1\" stats --follow --interval 10ms | head -n 1";
    assert_eq!(machine::finish(&mut machine::shell(script, [home.path()])).code(), 0);
}
