//! Machines that stay, as people handle them: settings, tags, lists, what is said when it takes long or goes
//! wrong; and the same over the socket.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, last_number};
use machine::container;
use machine::terminal::Terminal;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::time::Duration;

/// Fails unless the counter counts on.
fn assert_goes_on(home: &Home) {
    let last = last_number(&home.output("m", "counter")).unwrap();
    home.wait_for_number("m", "counter", last + 5);
}

/// The error of a command that must fail.
fn error(home: &Home, words: &[&str]) -> (String, String) {
    let words: Vec<&str> = std::iter::once("--json").chain(words.iter().copied()).collect();
    let error: Value = serde_json::from_str(&home.refused(&words)).unwrap();
    let text = |key: &str| error["error"][key].as_str().unwrap().to_owned();
    (text("kind"), text("message"))
}

/// What the socket of `m` answers: status, head and body.
fn ask(home: &Home, method: &str, path: &str, body: &str) -> (u16, String, Value) {
    let mut stream = UnixStream::connect(home.of("m", ".runtime/control.sock")).unwrap();
    let head = "Host: m\r\nConnection: close\r\nContent-Type: application/json";
    // In one piece: an answer to the head alone may close the connection before the rest is written.
    let len = body.len();
    let request = format!("{method} {path} HTTP/1.1\r\n{head}\r\nContent-Length: {len}\r\n\r\n{body}");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let body = serde_json::from_str(body).unwrap_or_else(|_| panic!("{method} {path}: {answer}"));
    (status, head.to_owned(), body)
}

#[test]
fn a_quota_refuses_a_snapshot_and_the_machine_goes_on() {
    let home = Home::counting();
    let full = home.json(&["get"])["store_bytes"].as_u64().unwrap();
    let set = home.json(&["set", &format!("quota={full}")]);
    assert_eq!((&set["quota_bytes"], &set["keep"]), (&json!(full), &json!(64)));
    let refuses = || {
        let before = home.json(&["log"]);
        for words in [&["snapshot"][..], &["rollback", "genesis"], &["stop"]] {
            let (kind, message) = error(&home, words);
            assert_eq!(kind, "full", "{words:?}: {message}");
            let figures = [format!("quota is {full};"), format!("store has {full},")];
            let ways = ["sentctl prune", "sentctl snapshot rm", "sentctl set quota="];
            for part in figures.iter().map(String::as_str).chain(ways) {
                assert!(message.contains(part), "{words:?}: `{message}` does not say `{part}`");
            }
        }
        assert_eq!(home.json(&["log"]), before, "the snapshots are as they were");
        assert_goes_on(&home);
    };
    refuses();
    // It is kept by the machine, not by its process.
    home.ok(&["stop", "--discard"]);
    assert_eq!(home.json(&["get"])["quota_bytes"], json!(full));
    home.ok(&["boot"]);
    home.start("counter", &container("counter"), &["--interval-ms", "5"]);
    refuses();
    home.ok(&["set", "quota=1G"]);
    home.ok(&["snapshot"]);
    assert_goes_on(&home);
    // And it is taken off while the machine is stopped.
    home.ok(&["stop"]);
    home.ok(&["set", "quota=1"]);
    assert_eq!(home.json(&["set", "quota=none"])["quota_bytes"], Value::Null);
    home.ok(&["boot"]);
    home.ok(&["snapshot"]);
    home.ok(&["verify"]);
}

#[test]
fn as_many_snapshots_stay_as_are_to_be_kept() {
    let home = Home::with_machine();
    let ids = || -> Vec<String> {
        let log = home.json(&["log"]);
        log.as_array().unwrap().iter().map(|one| one["id"].as_str().unwrap().to_owned()).collect()
    };
    for _ in 0..4 {
        home.ok(&["snapshot"]);
    }
    assert_eq!(ids().len(), 5);
    assert_eq!(home.json(&["set", "keep=3"])["keep"], json!(3));
    assert_eq!(ids().len(), 5, "nothing goes before the next snapshot");
    let newest = home.json(&["snapshot"])["id"].as_str().unwrap().to_owned();
    let left = ids();
    assert_eq!(left.len(), 3, "genesis, which is tagged, and the two newest");
    assert_eq!(left.last(), Some(&newest));
    home.ok(&["set", "keep=1"]);
    home.ok(&["prune"]);
    assert_eq!(ids().len(), 2, "genesis and the current one");
    // A fork keeps what its origin keeps.
    home.ok(&["set", "quota=1G"]);
    home.ok(&["fork", "m", "twin"]);
    let twin = home.json(&["-m", "twin", "get"]);
    assert_eq!((&twin["keep"], &twin["quota_bytes"]), (&json!(1), &json!(1 << 30)));
    for (words, wrong) in [
        (&["set", "keep=0"][..], "number"),
        (&["set", "quota=0"], "quota=none"),
        (&["set", "colour=red"], "colour"),
        (&["set"], "NAME=VALUE"),
        (&["-m", "m", "set", "keep=1", "keep=2"], "twice"),
    ] {
        let refused = home.refused(words);
        assert!(refused.contains(wrong), "{words:?}: {refused}");
    }
    for body in ["{\"keep\":0}", "{\"quota_bytes\":0}", "{\"keep\":-1}", "{\"other\":1}"] {
        let (status, _, answer) = ask(&home, "PATCH", "/v1/properties", body);
        assert_eq!((status, &answer["kind"]), (400, &json!("request")), "{body}: {answer}");
    }
    let (status, _, answer) = ask(&home, "PATCH", "/v1/properties", "{\"quota_bytes\":null}");
    assert_eq!((status, &answer["quota_bytes"], &answer["keep"]), (200, &Value::Null, &json!(1)));
}

/// What tags do, of a machine that runs or of one that is stopped.
fn tags_behave(home: &Home, first: &str, second: &str) {
    let tagged = home.json(&["tag", first, "here"]);
    assert_eq!((&tagged["tag"], &tagged["id"]), (&json!("here"), &json!(first)));
    assert_eq!(home.json(&["tag", &first[..12], "here"]), tagged, "saying it again changes nothing");
    let (kind, message) = error(home, &["tag", second, "here"]);
    assert_eq!(kind, "conflict", "{message}");
    assert!(message.contains(first), "{message}");
    let holder = |tag: &str| -> Option<String> {
        let log = home.json(&["log"]);
        let mut all = log.as_array().unwrap().iter();
        let found = all.find(|one| one["tags"].as_array().unwrap().contains(&json!(tag)))?;
        Some(found["id"].as_str().unwrap().to_owned())
    };
    assert_eq!(holder("here").as_deref(), Some(first), "a tag that is refused stays where it is");
    let moved = home.json(&["tag", "--move", second, "here"]);
    assert_eq!((&moved["id"], &moved["moved_from"]), (&json!(second), &json!(first)));
    assert_eq!(holder("here").as_deref(), Some(second));
    assert_eq!(home.json(&["tag", "--rm", "here"])["id"], json!(second));
    assert_eq!(holder("here"), None);
    for (words, kind, says) in [
        (&["tag", "--rm", "here"][..], "not-found", "here"),
        (&["tag", "nowhere", "there"], "not-found", "nowhere"),
        (&["tag", "@", "a b"], "request", "a b"),
        (&["tag", "@", ".."], "request", "begins with ."),
    ] {
        let (found, message) = error(home, words);
        assert_eq!(found, kind, "{words:?}: {message}");
        assert!(message.contains(says), "{words:?}: {message}");
    }
}

#[test]
fn tags_are_given_taken_and_moved_only_on_demand() {
    let home = Home::with_machine();
    let take = || home.json(&["snapshot"])["id"].as_str().unwrap().to_owned();
    let (first, second) = (take(), take());
    tags_behave(&home, &first, &second);
    home.ok(&["stop", "--discard"]);
    tags_behave(&home, &first, &second);
    // What has lost its tag goes without --force.
    home.ok(&["tag", &first, "kept"]);
    home.refused(&["snapshot", "rm", &first]);
    home.ok(&["tag", "--rm", "kept"]);
    home.ok(&["snapshot", "rm", &first]);
    for words in [&["tag"][..], &["tag", "@"], &["tag", "--rm", "a", "b"], &["tag", "--move", "--rm", "a"]] {
        home.refused(words);
    }
}

#[test]
fn any_name_reaches_the_machine_as_it_was_typed() {
    let home = Home::with_machine();
    home.ok(&["snapshot", "-t", "v1.0_x-y"]);
    assert_eq!(home.json(&["diff", "@~1", "@"])["to"], home.json(&["diff", "@", "v1.0_x-y"])["to"]);
    let file = home.path().join("at.snap");
    home.ok(&["export", "@~1", "-o", file.to_str().unwrap()]);
    assert_eq!(std::fs::read(&file).unwrap()[..8], *b"SENTSNAP");
    for name in ["a b", "a/b", "a?force=true", "@#", "100%", "%40", "a&to=@", "a+b", "zwölf", ".."] {
        let never = home.path().join("never.snap");
        for words in [
            &["diff", name, "@"][..],
            &["diff", "@", name],
            &["snapshot", "rm", name],
            &["export", name, "-o", never.to_str().unwrap()],
        ] {
            let (kind, message) = error(&home, words);
            assert_eq!(kind, "not-found", "{words:?}: {message}");
            assert!(message.contains(name), "{words:?}: {message}");
        }
        assert!(!never.exists(), "an export that failed leaves no file in the way of the next");
    }
    // And decoded by the machine, whoever asks.
    let (status, _, answer) = ask(&home, "DELETE", "/v1/snapshots/%40%7E1?force=false", "");
    assert_eq!((status, &answer["kind"]), (409, &json!("conflict")), "{answer}");
    let (status, _, answer) = ask(&home, "DELETE", "/v1/snapshots/%FF", "");
    assert_eq!((status, &answer["kind"]), (400, &json!("request")), "{answer}");
}

#[test]
fn the_socket_says_what_is_wrong_and_whose_fault_it_is() {
    let home = Home::with_machine();
    let folder = json!({ "program": home.path() }).to_string();
    for (method, path, body, status, kind, says) in [
        ("GET", "/v2/nothing", "", 404, "not-found", "/v2/nothing"),
        ("GET", "/", "", 404, "not-found", "openapi.json"),
        ("DELETE", "/v1/machine", "", 405, "request", "DELETE"),
        ("GET", "/v1/rollback", "", 405, "request", "/v1/rollback"),
        ("POST", "/v1/tags/x", "{}", 405, "request", "POST"),
        ("POST", "/v1/snapshots", "{\"tag\": \"-bad\"}", 400, "request", "-bad"),
        ("POST", "/v1/snapshots", "{\"tag\": \"genesis\"}", 409, "conflict", "genesis"),
        ("PUT", "/v1/tags/-bad", "{\"snapshot\": \"@\"}", 400, "request", "-bad"),
        ("PUT", "/v1/tags/good", "{}", 400, "request", "snapshot"),
        ("DELETE", "/v1/tags/nowhere", "", 404, "not-found", "nowhere"),
        ("POST", "/v1/containers", "{\"program\": \"/no/such.wasm\"}", 404, "not-found", "/no/such.wasm"),
        ("POST", "/v1/containers", &folder, 400, "request", home.path().to_str().unwrap()),
        ("POST", "/v1/prune", "no json", 400, "request", "JSON"),
    ] {
        let (found, head, answer) = ask(&home, method, path, body);
        let what = format!("{method} {path} {body}: {head} {answer}");
        assert_eq!((found, &answer["kind"]), (status, &json!(kind)), "{what}");
        assert!(answer["message"].as_str().unwrap().contains(says), "{what}");
        assert!(status != 405 || head.to_ascii_lowercase().contains("\nallow: "), "{what}");
    }
    assert!(home.ok(&["status"]).contains("m runs"), "nothing of this has harmed it");
}

#[test]
fn a_rollback_tells_the_whole_time_its_guest_stood_still() {
    let home = Home::counting();
    home.ok(&["snapshot", "-t", "here"]);
    let of = |back: &Value, key: &str| back[key].as_u64().unwrap();
    let kept = home.json(&["rollback", "here"]);
    assert!(of(&kept, "keep_us") > 0, "{kept}");
    assert!(of(&kept, "pause_us") >= of(&kept, "keep_us"), "the snapshot is part of the pause: {kept}");
    let discarded = home.json(&["rollback", "here", "--discard"]);
    assert_eq!(of(&discarded, "keep_us"), 0, "{discarded}");
    assert!(of(&discarded, "pause_us") > 0, "{discarded}");
    let text = home.ok(&["rollback", "here"]);
    assert!(text.contains("of the pause; `sentctl rollback --undo`"), "{text}");
}

#[test]
fn a_machine_with_too_many_containers_names_the_limit() {
    let home = Home::empty();
    home.ok(&["init", "m", "--memory", "512M"]);
    let program = container("counter");
    let words = |name: &str| {
        let words = ["run", "-d", "--memory", "2M", "--name", name, program.to_str().unwrap()];
        [&words[..], &["--", "--interval-ms", "1000"]].concat().iter().map(|w| (*w).to_owned()).collect()
    };
    let started = (0..64)
        .take_while(|number| {
            let all: Vec<String> = words(&format!("c{number}"));
            home.run(&all.iter().map(String::as_str).collect::<Vec<_>>()).status.success()
        })
        .count();
    assert_eq!(started, 64);
    let one_more: Vec<String> = words("more");
    let (kind, message) = error(&home, &one_more.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(kind, "conflict", "{message}");
    assert!(message.contains("64 containers run already"), "{message}");
    // When one ends, there is room for another.
    let (status, _, ended) = ask(&home, "POST", "/v1/containers/c3/kill", "");
    assert_eq!(status, 200, "{ended}");
    home.ok(&one_more.iter().map(String::as_str).collect::<Vec<_>>());
}

#[test]
fn all_machines_are_listed_even_if_one_is_damaged() {
    let home = Home::empty();
    assert_eq!(home.json(&["ls"]), json!([]));
    home.ok(&["init", "one"]);
    home.ok(&["init", "two", "--memory", "64M"]);
    home.ok(&["-m", "two", "snapshot"]);
    home.ok(&["-m", "two", "stop", "--discard"]);
    let list = home.json(&["ls"]);
    let shown: Vec<_> =
        list.as_array().unwrap().iter().map(|one| [&one["name"], &one["state"], &one["snapshots"]]).collect();
    assert_eq!(
        shown,
        [[&json!("one"), &json!("running"), &json!(1)], [&json!("two"), &json!("stopped"), &json!(2)]]
    );
    for (index, name) in ["one", "two"].into_iter().enumerate() {
        let status = home.json(&["-m", name, "status"]);
        for key in ["id", "pid", "ram_bytes", "current"] {
            assert_eq!(list[index][key], status[key], "{key} of {name}");
        }
        let used = home.json(&["-m", name, "get"])["used_bytes"].clone();
        assert_eq!(list[index]["used_bytes"], used);
        // As much as the log says that one of its snapshots has, and not much more than all together.
        let log = home.json(&["-m", name, "log"]);
        let sizes = log.as_array().unwrap().iter().map(|one| one["referenced_bytes"].as_u64().unwrap());
        assert!(used.as_u64().unwrap() > 0 && used.as_u64().unwrap() <= sizes.sum(), "{name}: {used} {log}");
        // The beginning of an id is as good as a name.
        let id = status["id"].as_str().unwrap();
        assert_eq!(home.json(&["-m", &id[..12], "status"])["name"], json!(name));
    }
    std::fs::write(home.of("two", "machine.json"), "{").unwrap();
    let text = home.ok(&["machines"]);
    let line = |name: &str| text.lines().find(|line| line.starts_with(name)).unwrap().to_owned();
    assert!(line("one").contains("running"), "{text}");
    assert!(line("two").contains("machine.json"), "{text}");
    assert!(home.json(&["ls"])[1]["problem"].as_str().unwrap().contains("machine.json"));
}

/// Imports an export that comes in two pieces, with a pause between them; gives what the terminal showed.
fn import_slowly(home: &Home, words: &[&str], pause: Duration) -> String {
    let export = std::fs::read(home.path().join("x.snap")).unwrap();
    let (first, rest) = export.split_at(export.len() / 2);
    let terminal = Terminal::open();
    let mut child = home
        .command(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(terminal.stdio())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(first).unwrap();
    std::thread::sleep(pause);
    stdin.write_all(rest).unwrap();
    drop(stdin);
    assert!(child.wait().unwrap().success());
    terminal.shown()
}

#[test]
fn what_takes_long_is_shown_on_a_terminal_and_only_there() {
    let home = Home::with_machine();
    let file = home.path().join("x.snap");
    home.ok(&["export", "@", "-o", file.to_str().unwrap()]);
    home.ok(&["stop", "--discard"]);
    // Longer than a second, so that there is something to show; how much longer does not matter.
    let long = Duration::from_millis(1500);
    let shown = import_slowly(&home, &["import"], long);
    assert!(shown.contains("importing, ") && shown.contains("KiB"), "{shown:?}");
    assert_eq!(import_slowly(&home, &["--json", "import"], long), "", "programs see nothing of it");
    let output = home.run(&["import", file.to_str().unwrap()]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn log_lists_every_snapshot_of_a_damaged_store_and_says_whose_size_is_not_known() {
    let home = Home::counting();
    let pack = home.path().join("store/packs/1.pack");
    let before = std::fs::metadata(&pack).unwrap().len();
    home.ok(&["snapshot", "-t", "second"]);
    home.ok(&["stop"]);
    let good = std::fs::read(&pack).unwrap();
    let whole = home.json(&["log"]);
    let ids =
        |log: &Value| -> Vec<Value> { log.as_array().unwrap().iter().map(|one| one["id"].clone()).collect() };
    assert!(whole.as_array().unwrap().iter().all(|one| one["problem"].is_null()), "{whole}");
    // The second one's tree nodes lie before its pages, somewhere behind what there was.
    let mut damaged = None;
    for at in (before as usize..good.len()).step_by(300) {
        let mut bad = good.clone();
        bad[at] ^= 1;
        std::fs::write(&pack, bad).unwrap();
        let log = home.json(&["log"]);
        assert_eq!(ids(&log), ids(&whole), "byte {at}");
        if log.as_array().unwrap().iter().any(|one| !one["problem"].is_null()) {
            damaged = Some(log);
            break;
        }
    }
    let damaged = damaged.unwrap();
    for (one, sound) in damaged.as_array().unwrap().iter().zip(whole.as_array().unwrap()) {
        match one["problem"].as_str() {
            None => assert_eq!(one, sound),
            Some(problem) => {
                assert!(problem.contains("tree node") && problem.contains("import"), "{problem}");
                assert!(one["used_bytes"].is_null(), "{one}");
            }
        }
    }
    let text = home.ok(&["log"]);
    assert!(text.contains("used         ?") && text.contains("uses is not known: tree node"), "{text}");
    assert_eq!(text.lines().filter(|line| line.contains(" pages  used ")).count(), ids(&whole).len());
    std::fs::write(&pack, good).unwrap();
    assert_eq!(home.json(&["log"]), whole);
}

#[test]
fn status_shows_the_key_that_import_trusts() {
    let home = Home::with_machine();
    let file = home.path().join("genesis.snap");
    home.ok(&["export", "genesis", "-o", file.to_str().unwrap()]);
    let key = home.json(&["status"])["public_key"].as_str().unwrap().to_owned();
    home.ok(&["stop", "--discard"]);
    assert_eq!(home.json(&["status"])["public_key"], json!(key), "running or not");
    assert!(home.ok(&["status"]).contains(&format!("public key {key}\n")));
    home.ok(&["init", "other"]);
    home.ok(&["-m", "other", "stop", "--discard"]);
    let other = home.json(&["-m", "other", "status"])["public_key"].as_str().unwrap().to_owned();
    assert_ne!(other, key);
    home.refused(&["-m", "other", "import", file.to_str().unwrap(), "--trust", &other]);
    home.ok(&["-m", "other", "import", file.to_str().unwrap(), "--trust", &key]);
}

#[test]
fn rm_removes_a_stopped_machine_and_a_running_one_only_by_force() {
    let home = Home::counting();
    home.ok(&["fork", "m", "twin"]);
    let (kind, message) = error(&home, &["rm", "twin"]);
    assert_eq!(kind, "conflict", "{message}");
    assert!(message.contains("--force") && message.contains("stop"), "{message}");
    let pid = home.pid("twin").unwrap();
    assert!(message.contains(&pid.to_string()), "{message}");
    let id = home.json(&["-m", "twin", "status"])["id"].clone();
    let gone = home.json(&["rm", "--force", "twin"]);
    assert_eq!(gone["machines"], json!([{ "name": "twin", "id": id, "snapshots": 1 }]), "{gone}");
    let process = std::path::PathBuf::from(format!("/proc/{pid}"));
    let comm = std::fs::read_to_string(process.join("stat")).unwrap_or_default();
    assert!(comm.is_empty() || comm.contains(") Z "), "its process has ended: {comm}");
    assert_eq!(error(&home, &["rm", "twin"]).0, "not-found");
    assert_goes_on(&home);
    home.ok(&["-m", "m", "verify"]);

    // The last one takes all of the store with it. It may be named by its id.
    home.ok(&["snapshot"]);
    home.ok(&["stop"]);
    let id = home.json(&["status"])["id"].as_str().unwrap().to_owned();
    let text = home.ok(&["rm", &id[..8]]);
    assert!(text.starts_with("removed m: 4 snapshots\n") && text.ends_with(" given back\n"), "{text}");
    assert_eq!(home.json(&["ls"]), json!([]));
    assert_eq!(std::fs::read_dir(home.path().join("store/packs")).unwrap().count(), 0);
}

#[test]
fn pages_of_a_deleted_folder_are_given_back_when_that_is_asked_for() {
    let home = Home::with_machine();
    home.ok(&["init", "deleted"]);
    home.ok(&["-m", "deleted", "stop"]);
    let id = home.json(&["-m", "deleted", "status"])["id"].clone();
    std::fs::remove_dir_all(home.of("deleted", "")).unwrap();
    home.ok(&["-m", "m", "prune"]);
    let given = home.json(&["prune", "--unclaimed"]);
    assert_eq!(given["machines"], json!([{ "name": null, "id": id, "snapshots": 2 }]), "{given}");
    let text = home.ok(&["prune", "--unclaimed"]);
    assert_eq!(text, "0 machines, 0 B given back\n");
    home.ok(&["-m", "m", "verify"]);
    let refused = home.run(&["prune", "--unclaimed", "--keep", "3"]);
    assert_eq!(refused.status.code(), Some(125), "{refused:?}");
}
