//! Machines that stay: snapshots, rollback, restore, fork, as a user does it.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};
use machine::container;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::time::Duration;

#[test]
fn a_machine_goes_back_and_forth_without_losing_or_doubling_a_number() {
    let home = Home::counting();
    let pid = home.pid("m");
    let before = last_number(&home.output("m", "counter")).unwrap();
    home.ok(&["snapshot", "-t", "early", "at the beginning"]);
    let after = last_number(&home.output("m", "counter")).unwrap();
    home.wait_for_number("m", "counter", after + 20);

    let back = home.json(&["rollback", "early"]);
    assert!(back["pages"].as_u64().unwrap() > 0, "{back}");
    let kept = back["kept"].as_str().unwrap().to_owned();
    let written = home.wait_for("m", "counter", |output| jumps(&numbers(output)).len() == 1);
    let jump = jumps(&numbers(&written))[0];
    // It goes on from where the snapshot was taken: while the command ran.
    assert!(
        jump.0 >= after + 20 && (before + 1..=after + 1).contains(&jump.1),
        "{before}, {after}: {jump:?}"
    );

    let undone = home.json(&["rollback", "--undo"]);
    assert_eq!(undone["id"], json!(kept));
    let written = home.wait_for("m", "counter", |output| jumps(&numbers(output)).len() == 2);
    // What comes after the undo follows what had been written when it was kept.
    assert_eq!(jumps(&numbers(&written))[1].1, jump.0 + 1);
    assert_eq!(home.pid("m"), pid, "in the same process");

    let log = home.ok(&["log"]);
    assert_eq!(log.lines().filter(|line| line.contains('@')).count(), 1, "{log}");
    assert!(log.contains("[early]  at the beginning") && log.contains("[genesis]"), "{log}");
}

#[test]
fn n_counts_snapshots_back_and_names_may_be_short() {
    let home = Home::counting();
    let ids: Vec<String> =
        (0..3).map(|_| home.json(&["snapshot"])["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(home.json(&["rollback", "-n", "2", "--discard"])["id"], json!(ids[0]));
    assert_eq!(home.json(&["rollback", &ids[2][..10], "--discard"])["id"], json!(ids[2]));
    let unknown = home.refused(&["rollback", "nowhere"]);
    assert!(unknown.contains("nowhere"), "{unknown}");
    let too_far = home.refused(&["rollback", "-n", "50"]);
    assert!(too_far.contains("50"), "{too_far}");
    let nothing = home.refused(&["rollback", "--undo"]);
    assert!(nothing.contains("no rollback to undo"), "{nothing}");
}

#[test]
fn a_container_loaded_after_the_snapshot_leaves_no_mapping_behind() {
    // Its code pages were mapped, its neighbours split: page tables that the rollback takes back. A KVM that
    // goes on with the old translations shows here, and nowhere else.
    let home = Home::with_machine();
    home.ok(&["snapshot", "-t", "empty"]);
    for round in 0..5 {
        home.start("hello", &container("hello"), &["round", &round.to_string()]);
        home.wait_for("m", "hello", |output| output.contains(&format!("argument 2: {round}\n")));
        home.start("counter", &container("counter"), &["--interval-ms", "1"]);
        let before = home.output("m", "counter").len();
        home.wait_for("m", "counter", |output| output.len() > before + 20);
        let back = home.json(&["rollback", "empty", "--discard"]);
        assert_eq!(back["translations_forgotten"], json!(true), "{back}");
    }
    home.start("after", &container("wordfreq"), &[]);
    home.wait_for("m", "counter", |output| !output.is_empty());
    let status = home.json(&["status"]);
    let ended = status["containers"].as_array().unwrap().iter().find(|one| one["name"] == "after").unwrap();
    assert_ne!(ended["reason"], json!("it trapped; its standard error tells where"), "{status}");
}

#[test]
fn a_stopped_machine_goes_on_where_it_was() {
    let home = Home::counting();
    home.ok(&["stop"]);
    let before = numbers(&home.output("m", "counter"));
    assert_eq!(home.json(&["status"])["state"], json!("stopped"));
    home.ok(&["boot"]);
    let last = *before.last().unwrap();
    home.wait_for_number("m", "counter", last + 10);
    let all = numbers(&home.output("m", "counter"));
    assert!(jumps(&all).is_empty(), "{all:?}");
    assert_eq!(&all[..before.len()], before);
}

#[test]
fn two_machines_go_on_from_one_state() {
    let home = Home::counting();
    home.ok(&["fork", "m", "twin"]);
    let of = |machine: &str| home.json(&["-m", machine, "status"]);
    assert_ne!(of("m")["id"], of("twin")["id"]);
    assert_ne!(of("m")["pid"], of("twin")["pid"]);
    home.wait_for_number("twin", "counter", 12);
    let (one, two) = (numbers(&home.output("m", "counter")), numbers(&home.output("twin", "counter")));
    assert!(jumps(&one).is_empty() && jumps(&two).is_empty());
    assert!(two[0] > 5 && one.contains(&two[0]), "the twin begins with {}, of {one:?}", two[0]);
    // Each goes its own way: one going back does not move the other.
    home.ok(&["-m", "m", "rollback", "genesis", "--discard"]);
    home.wait_for_number("twin", "counter", *two.last().unwrap() + 10);
    assert!(jumps(&numbers(&home.output("twin", "counter"))).is_empty());
}

#[test]
fn a_machine_that_is_running_cannot_be_run_twice() {
    let home = Home::with_machine();
    let pid = home.pid("m").unwrap();
    let refused = home.refused(&["boot", "m"]);
    assert!(refused.contains(&pid.to_string()), "{refused}");
    let again = home.refused(&["init", "m"]);
    assert!(again.contains("already"), "{again}");
    // One that was killed leaves a lock's file and a socket behind, and neither is in the way.
    home.kill("m");
    home.ok(&["boot"]);
    assert_ne!(home.pid("m"), Some(pid));
}

#[test]
fn diff_names_the_container_whose_pages_changed() {
    let home = Home::with_machine();
    home.start("dirty", &container("pages"), &["100", "5", "0"]);
    home.wait_for_number("m", "dirty", 2);
    home.ok(&["snapshot", "-t", "a"]);
    let number = last_number(&home.output("m", "dirty")).unwrap();
    home.wait_for_number("m", "dirty", number + 3);
    home.ok(&["snapshot", "-t", "b"]);
    let diff = home.json(&["diff", "a", "b"]);
    let regions = diff["regions"].as_array().unwrap();
    let own = regions.iter().find(|region| region["container"] == "dirty").unwrap();
    assert!(own["pages"].as_u64().unwrap() >= 100, "{own}");
    let pages: u64 = regions.iter().map(|region| region["pages"].as_u64().unwrap()).sum();
    assert_eq!(diff["pages"], json!(pages), "every page belongs to one region");
    assert!(home.ok(&["diff", "a", "b", "-v"]).contains("container dirty"));
    assert_eq!(home.json(&["diff", "b", "b"])["pages"], json!(0));
}

#[test]
fn an_exported_snapshot_is_taken_by_its_own_machine_and_by_others_only_with_its_key() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "kept"]);
    let file = home.path().join("kept.snap");
    home.ok(&["export", "kept", "-o", file.to_str().unwrap()]);
    home.ok(&["stop"]);
    let id = home
        .json(&["log"])
        .as_array()
        .unwrap()
        .iter()
        .find(|one| one["tags"] == json!(["kept"]))
        .unwrap()["id"]
        .clone();
    home.ok(&["snapshot", "rm", "kept", "--force"]);
    assert_eq!(home.json(&["import", file.to_str().unwrap(), "-t", "back"])["id"], id);
    home.ok(&["boot"]);
    home.ok(&["rollback", "back"]);
    home.ok(&["verify"]);
    // One that runs takes it, too, and stays where it is.
    home.ok(&["rollback", "genesis"]);
    home.ok(&["snapshot", "rm", "back", "--force"]);
    let current = home.json(&["status"])["current"].clone();
    assert_eq!(home.json(&["import", file.to_str().unwrap(), "-t", "again"])["id"], id);
    assert_eq!(home.json(&["status"])["current"], current);
    home.ok(&["rollback", "again"]);
    home.ok(&["verify"]);
    assert!(home.refused(&["import"]).contains("takes a file"));
    let missing = home.run(&["import", "nowhere.snap"]);
    assert!(String::from_utf8(missing.stderr).unwrap().contains("nowhere.snap"));

    home.ok(&["init", "other"]);
    let stranger = home.refused(&["-m", "other", "import", file.to_str().unwrap()]);
    assert!(stranger.contains("trust"), "{stranger}");
    home.ok(&["-m", "other", "stop"]);
    assert_eq!(home.refused(&["-m", "other", "import", file.to_str().unwrap()]), stranger);
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    let damaged = home.path().join("damaged.snap");
    std::fs::write(&damaged, &bytes).unwrap();
    let refused = home.refused(&["-m", "m", "import", damaged.to_str().unwrap()]);
    home.ok(&["-m", "m", "stop"]);
    assert_eq!(home.refused(&["-m", "m", "import", damaged.to_str().unwrap()]), refused);
}

#[test]
fn the_oldest_snapshots_go_and_give_their_space_back() {
    let home = Home::with_machine();
    home.start("dirty", &container("pages"), &["400", "1", "0"]);
    home.wait_for_number("m", "dirty", 2);
    for _ in 0..8 {
        let number = last_number(&home.output("m", "dirty")).unwrap();
        home.wait_for_number("m", "dirty", number + 2);
        home.ok(&["snapshot"]);
    }
    home.ok(&["snapshot", "-t", "marked"]);
    home.ok(&["snapshot"]);
    let pruned = home.json(&["prune", "--keep", "1"]);
    assert_eq!(pruned["removed"].as_array().unwrap().len(), 8, "{pruned}");
    let bytes = |name: &str| pruned[name].as_u64().unwrap();
    assert!(bytes("freed_bytes") + bytes("waiting_bytes") > 8 * 4096, "{pruned}");
    let left = home.json(&["log"]);
    let tags: Vec<_> = left.as_array().unwrap().iter().map(|one| one["tags"].clone()).collect();
    assert_eq!(tags, [json!(["genesis"]), json!(["marked"]), json!([])]);
    let held = home.refused(&["snapshot", "rm", "marked"]);
    assert!(held.contains("marked"), "{held}");
    let current = home.refused(&["snapshot", "rm", "@"]);
    assert!(current.contains("current"), "{current}");
    home.ok(&["verify"]);
}

#[test]
fn killed_at_any_instant_a_machine_comes_back_whole() {
    let home = Home::counting();
    home.ok(&["snapshot"]);
    let mut instants = home::Instants::new();
    for round in 0..home::kills(300) {
        let pid = home.pid("m").unwrap();
        let mut busy = home.command(&["snapshot", "-t", &format!("round-{round}")]);
        let mut child =
            busy.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::null()).spawn().unwrap();
        std::thread::sleep(instants.below(Duration::from_millis(60)));
        home::kill(pid);
        let reported = child.wait().unwrap().success();
        home.ok(&["boot"]);
        let log = home.json(&["log"]);
        let tagged =
            log.as_array().unwrap().iter().any(|one| one["tags"] == json!([format!("round-{round}")]));
        assert!(tagged || !reported, "round {round}: a snapshot that was reported durable is gone");
        let number = last_number(&home.output("m", "counter")).unwrap_or(0);
        home.wait_for("m", "counter", |output| last_number(output).is_some_and(|last| last != number));
    }
    let verified = home.json(&["verify"]);
    assert_eq!(verified["problems"], json!([]));
}

/// What the socket answers: status line and body.
fn ask(home: &Home, request: &str) -> (String, String) {
    let mut stream = UnixStream::connect(home.of("m", ".runtime/control.sock")).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap().to_owned(), body.to_owned())
}

#[test]
fn the_socket_speaks_http_to_its_owner_alone() {
    let home = Home::with_machine();
    let mode = std::fs::metadata(home.of("m", ".runtime/control.sock")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let get =
        |path: &str| ask(&home, &format!("GET {path} HTTP/1.1\r\nHost: m\r\nConnection: close\r\n\r\n"));
    let post = |path: &str, body: &str| {
        let head = "Host: m\r\nConnection: close\r\nContent-Type: application/json";
        ask(&home, &format!("POST {path} HTTP/1.1\r\n{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let (status, body) = get("/v1/machine");
    assert!(status.contains("200") && body.contains("\"name\":\"m\""), "{status} {body}");
    for (answer, code, word) in [
        (get("/v2/nothing"), "404", "openapi.json"),
        (post("/v1/rollback", "{\"to\": 7}"), "400", "to"),
        (post("/v1/rollback", "{\"wrong\": true}"), "400", "wrong"),
        (post("/v1/rollback", "{\"to\": \"nowhere\"}"), "404", "nowhere"),
        (post("/v1/containers", "{\"program\": \"relative.wasm\"}"), "400", "absolute"),
        (post("/v1/fork", "{\"name\": \"../out\"}"), "400", "../out"),
        (post("/v1/snapshots", "{\"tag\": \"-bad\"}"), "400", "-bad"),
    ] {
        assert!(answer.0.contains(code) && answer.1.contains(word), "{answer:?}: not {code} with {word}");
    }
    let (_, described) = get("/openapi.json");
    let file = std::fs::read_to_string(machine::root().join("docs/openapi.json")).unwrap();
    assert_eq!(
        described.trim(),
        file.trim(),
        "docs/openapi.json is out of date: write GET /openapi.json into it"
    );
    assert!(home.ok(&["status"]).contains("m runs"), "nothing of this has harmed it");
}
