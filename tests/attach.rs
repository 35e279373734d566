//! Being where a container's streams are: `attach`, and the input that containers are given.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::container;
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Output, Stdio};
use std::time::{Duration, Instant};

impl Home {
    /// Starts a program in `m` whose standard input stays open.
    fn start_open(&self, name: &str, program: &str, args: &[&str]) {
        let program = container(program);
        let words = ["run", "-d", "-i", "--memory", "8M", "--name", name, program.to_str().unwrap(), "--"];
        self.ok(&[&words[..], args].concat());
    }

    fn attach(&self, words: &[&str]) -> Child {
        let mut command = self.command(&[&["attach"], words].concat());
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Attaches, gives `input`, and waits until the container has ended.
    fn attach_with(&self, name: &str, input: &[u8]) -> Output {
        let mut child = self.attach(&[name]);
        let mut stdin = child.stdin.take().unwrap();
        std::thread::scope(|scope| {
            // Both at once: neither pipe takes all there is.
            scope.spawn(move || stdin.write_all(input));
            child.wait_with_output().unwrap()
        })
    }
}

#[test]
fn what_goes_in_comes_out_and_the_exit_code_is_the_containers() {
    let home = Home::with_machine();
    home.start_open("cat", "cat", &[]);
    assert!(home.ok(&["matrixbox", "inspect", "cat"]).contains("input      open"));
    let output = home.attach_with("cat", b"to and fro\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"to and fro\n"[..]));
    assert_eq!(home.output("m", "cat"), "to and fro\n");

    home.start_open("digest", "digest", &["--algorithm", "unknown"]);
    let output = home.attach_with("digest", b"");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    // One that has ended is nowhere to be.
    home.start("hello", &container("hello"), &[]);
    home.wait_for("m", "hello", |output| !output.is_empty());
    assert!(home.refused(&["attach", "nobody"]).contains("nobody"));
}

#[test]
fn more_than_the_container_takes_at_once_is_waited_for_and_comes_whole() {
    let home = Home::with_machine();
    home.start_open("cat", "cat", &[]);
    let input: Vec<u8> = (0..5_000_000_u32).flat_map(|number| (number as u16).to_le_bytes()).collect();
    let output = home.attach_with("cat", &input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout == input, "{} of {} bytes, or others", output.stdout.len(), input.len());
}

#[test]
fn a_container_that_does_not_read_holds_up_its_giver_and_nobody_else() {
    let home = Home::with_machine();
    home.start_open("counter", "counter", &["--interval-ms", "5"]);
    let mut giver = home.attach(&["counter"]);
    let mut stdin = giver.stdin.take().unwrap();
    let flood = std::thread::spawn(move || stdin.write_all(&vec![b'x'; 4 << 20]));
    home.wait_for_number("m", "counter", 20);
    // Snapshots, other containers, and the machine go on.
    home.ok(&["snapshot", "-t", "flooded"]);
    home.start_open("cat", "cat", &[]);
    assert_eq!(home.attach_with("cat", b"through").stdout, b"through");
    home.ok(&["rollback", "flooded"]);
    assert!(giver.try_wait().unwrap().is_none());
    home.ok(&["kill", "counter"]);
    assert_eq!(giver.wait().unwrap().code(), Some(137));
    assert!(flood.join().unwrap().is_err(), "nobody reads it any more");
}

#[test]
fn one_may_leave_and_come_back_and_another_may_watch() {
    let home = Home::with_machine();
    home.start_open("cat", "cat", &[]);
    // All that was written: the other one may have been there, and have said its word, before this one.
    let mut watcher = home.attach(&["--no-stdin", "--all", "cat"]);
    let mut first = home.attach(&["cat"]);
    first.stdin.as_mut().unwrap().write_all(b"one\n").unwrap();
    let mut seen = BufReader::new(watcher.stdout.take().unwrap());
    let mut line = String::new();
    seen.read_line(&mut line).unwrap();
    assert_eq!(line, "one\n");
    // As Ctrl-C does it: the container knows nothing of it.
    first.kill().unwrap();
    first.wait().unwrap();
    let output = home.attach_with("cat", b"two\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"two\n"[..]));
    line.clear();
    seen.read_line(&mut line).unwrap();
    assert_eq!((line.as_str(), watcher.wait().unwrap().code()), ("two\n", Some(0)));
}

#[test]
fn all_that_was_written_before_is_shown_if_wanted() {
    let home = Home::counting();
    let mut watcher = home.attach(&["--all", "counter"]);
    let mut line = String::new();
    let mut seen = BufReader::new(watcher.stdout.take().unwrap());
    seen.read_line(&mut line).unwrap();
    assert_eq!(line, "1\n");
    home.ok(&["kill", "counter"]);
    while seen.read_line(&mut line).unwrap() > 0 {}
    assert_eq!(watcher.wait().unwrap().code(), Some(137));
    assert_eq!(line, home.output("m", "counter"));
}

#[test]
fn input_waits_across_a_rollback_and_a_boot() {
    let home = Home::with_machine();
    home.start_open("cat", "cat", &[]);
    let mut giver = home.attach(&["cat"]);
    giver.stdin.as_mut().unwrap().write_all(b"before\n").unwrap();
    home.wait_for("m", "cat", |output| output == "before\n");
    home.ok(&["snapshot", "-t", "here"]);
    giver.stdin.as_mut().unwrap().write_all(b"after\n").unwrap();
    home.wait_for("m", "cat", |output| output.ends_with("after\n"));
    home.ok(&["rollback", "here"]);
    giver.stdin.as_mut().unwrap().write_all(b"again\n").unwrap();
    home.wait_for("m", "cat", |output| output == "before\nafter\nagain\n");
    home.ok(&["stop"]);
    // It is told that the machine is gone.
    assert_eq!(giver.wait().unwrap().code(), Some(125));
    home.ok(&["boot"]);
    let output = home.attach_with("cat", b"and again\n");
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(0), &b"and again\n"[..]));
}

#[test]
fn input_is_refused_where_there_is_none() {
    let home = Home::counting();
    // Without --interactive it was at its end from the start: only the output is there.
    let mut watcher = home.attach(&["counter"]);
    let deadline = Instant::now() + Duration::from_secs(1);
    while Instant::now() < deadline {
        assert!(watcher.try_wait().unwrap().is_none());
        std::thread::sleep(Duration::from_millis(50));
    }
    home.ok(&["kill", "counter"]);
    assert_eq!(watcher.wait().unwrap().code(), Some(137));
    let program = container("cat");
    let output = home.run(&["run", "-i", program.to_str().unwrap()]);
    assert!(String::from_utf8_lossy(&output.stderr).contains("--detach"), "{output:?}");
}
