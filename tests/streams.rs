//! Standard streams: every byte arrives, in order, once, however slow or gone the other side is; and when
//! a run is cut short, nothing of it is left behind.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::terminal::Terminal;
use machine::{collect, container, eventually, finish, module, sentctl, shell, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::thread;
use std::time::Duration;

const MIB: usize = 1 << 20;

fn run(name: &str) -> Command {
    let mut command = sentctl();
    command.arg("run").arg(container(name));
    command
}

/// An endless stream that looks random and is the same every time.
fn noise() -> impl Read {
    blake3::Hasher::new_derive_key("SentientOS tests: noise").finalize_xof()
}

fn hash(source: &mut impl Read) -> (u64, blake3::Hash) {
    let mut hasher = blake3::Hasher::new();
    let len = io::copy(source, &mut hasher).unwrap();
    (len, hasher.finalize())
}

/// Sends `len` bytes of noise through a command from pipe to pipe; gives how many come out, and their hash.
fn pass(command: &mut Command, len: u64) -> (u64, blake3::Hash) {
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    let passed = thread::scope(|scope| {
        scope.spawn(move || io::copy(&mut noise().take(len), &mut input).unwrap());
        hash(&mut output)
    });
    assert!(wait(&mut child).success());
    passed
}

#[test]
fn a_hundred_mebibytes_pass_through_unchanged() {
    let len = 100 * MIB as u64;
    assert_eq!(pass(&mut run("cat"), len), hash(&mut noise().take(len)));
}

#[test]
fn lengths_around_the_sizes_of_pages_pipes_and_frames_pass_unchanged() {
    for len in [1, 4095, 4096, 4097, 32_768, 65_535, 65_537, MIB as u64 + 1] {
        assert_eq!(pass(&mut run("cat"), len), hash(&mut noise().take(len)), "{len} bytes");
    }
}

#[test]
fn files_pass_as_pipes_do() {
    let folder = tempfile::tempdir().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    let len = 5 * MIB as u64 + 7;
    io::copy(&mut noise().take(len), &mut File::create(&from).unwrap()).unwrap();
    let mut command = run("cat");
    let mut child =
        command.stdin(File::open(&from).unwrap()).stdout(File::create(&to).unwrap()).spawn().unwrap();
    assert!(wait(&mut child).success());
    assert_eq!(fs::read(&to).unwrap(), fs::read(&from).unwrap());
}

#[test]
fn a_reader_may_take_its_time() {
    let len = MIB as u64;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("noise");
    io::copy(&mut noise().take(len), &mut File::create(&path).unwrap()).unwrap();
    let mut child = run("cat").stdin(File::open(&path).unwrap()).stdout(Stdio::piped()).spawn().unwrap();
    let slow = Slow(child.stdout.take().unwrap());
    assert_eq!(hash(&mut { slow }), hash(&mut noise().take(len)));
    assert!(wait(&mut child).success());
}

/// Takes little at a time, and its time.
struct Slow<R>(R);

impl<R: Read> Read for Slow<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        thread::sleep(Duration::from_millis(2));
        let len = buffer.len().min(5000);
        self.0.read(&mut buffer[..len])
    }
}

#[test]
fn output_nobody_reads_any_more_ends_the_run_with_141() {
    let mut child = run("spout").args(["--", "1000000"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut output = child.stdout.take().unwrap();
    output.read_exact(&mut [0; 10]).unwrap();
    drop(output);
    assert_eq!(wait(&mut child).code(), Some(141));

    let script = "{ \"$SENTCTL\" run \"$1\" -- --interval-ms 1 && echo 0 >&2 || echo $? >&2; } | head -n 1";
    let finished = finish(&mut shell(script, [container("counter")]));
    assert_eq!((finished.out().as_str(), finished.err().as_str()), ("1\n", "141\n"));
}

#[test]
fn a_program_that_had_ended_before_its_reader_left_keeps_its_exit_code() {
    let mut child = run("hello").args(["--", "--exit", "9"]).stdout(Stdio::piped()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    assert_eq!(wait(&mut child).code(), Some(9));
    drop(output);
}

#[test]
fn output_is_appended_to_a_file_opened_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    fs::write(&path, "before\n").unwrap();
    for name in ["one", "two"] {
        let log = OpenOptions::new().append(true).open(&path).unwrap();
        let mut child = run("hello").args(["--", name]).stdout(log).spawn().unwrap();
        assert!(wait(&mut child).success());
    }
    let expected = "before\nHello, SentientOS!\nargument 1: one\nHello, SentientOS!\nargument 1: two\n";
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
}

#[test]
fn two_streams_into_one_pipe_both_keep_their_order() {
    let finished = finish(&mut shell("exec \"$SENTCTL\" run \"$1\" 2>&1", [module("two_streams")]));
    assert_eq!(finished.code(), 0, "{finished}");
    let all = finished.out();
    let stream = |letter: char| all.lines().filter(move |line| line.starts_with(letter));
    let numbered = |letter: char| (0..1000).map(move |number| format!("{letter}{number:03}"));
    assert_eq!(all.lines().count(), 2000);
    assert!(stream('o').eq(numbered('o')), "standard output is out of order:\n{all}");
    assert!(stream('e').eq(numbered('e')), "standard error is out of order:\n{all}");
}

/// A run whose output is stuck in a full pipe, and that pipe's other end.
fn stuck_run(command: &mut Command) -> (Child, ChildStdout) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let output = child.stdout.take().unwrap();
    // A pipe holds 64 KiB (pipe(7)); what is free at its end is less than a write of the machine's.
    eventually("the pipe is full", || (rustix::io::ioctl_fionread(&output).unwrap() > 60_000).then_some(()));
    (child, output)
}

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).unwrap();
}

#[test]
fn a_run_stuck_in_its_output_ends_by_ctrl_c_and_by_sigterm() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143), (Signal::HUP, 143)] {
        let (mut child, output) = stuck_run(run("spout").args(["--", "100"]));
        send(&child, signal);
        assert_eq!(wait(&mut child).code(), Some(code), "{signal:?}");
        drop(output);
    }
}

#[test]
fn a_run_that_computes_sleeps_or_waits_for_input_ends_by_ctrl_c() {
    for (name, args) in [("faults", &["loop"][..]), ("faults", &["sleep"]), ("cat", &[])] {
        let mut command = run(name);
        command.arg("--").args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let keep = child.stdin.take();
        // It listens to signals when these have a thread; its machine begins before that.
        eventually("it listens", || threads(&child).contains(&"signals".to_owned()).then_some(()));
        send(&child, Signal::INT);
        let finished = collect(child);
        assert_eq!(finished.code(), 130, "{name} {args:?}: {finished}");
        drop(keep);
    }
}

fn threads(child: &Child) -> Vec<String> {
    let tasks = fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
    // A thread may end between being listed and being read.
    let name = |task: io::Result<fs::DirEntry>| fs::read_to_string(task.ok()?.path().join("comm")).ok();
    tasks.filter_map(name).map(|name| name.trim_end().to_owned()).collect()
}

/// Every process that was started by `parent`.
fn children_of(parent: u32) -> Vec<String> {
    let stat = |entry: io::Result<fs::DirEntry>| fs::read_to_string(entry.ok()?.path().join("stat")).ok();
    let started_by = |stat: &String| {
        let rest = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        rest.split_ascii_whitespace().nth(1) == Some(&parent.to_string())
    };
    fs::read_dir("/proc").unwrap().filter_map(stat).filter(started_by).collect()
}

#[test]
fn a_run_is_one_process_and_leaves_nothing_when_it_is_interrupted() {
    let (mut child, mut output) = stuck_run(run("spout").args(["--", "100"]));
    assert_eq!(children_of(child.id()), Vec::<String>::new());
    let id = child.id();
    send(&child, Signal::INT);
    wait(&mut child);
    assert!(!fs::exists(format!("/proc/{id}")).unwrap());
    // Nobody holds the other end: what is in the pipe is followed by its end.
    io::copy(&mut output, &mut io::sink()).unwrap();
}

#[test]
fn an_interrupted_run_leaves_the_terminal_as_it_was() {
    for signal in [Signal::INT, Signal::TERM] {
        let terminal = Terminal::open();
        let before = terminal.modes();
        let mut command = run("cat");
        command.stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio());
        let mut child = command.spawn().unwrap();
        drop(command);
        terminal.keyboard().write_all(b"echo\n").unwrap();
        eventually("it listens", || threads(&child).contains(&"signals".to_owned()).then_some(()));
        assert_eq!(terminal.modes(), before, "while it runs");
        send(&child, signal);
        wait(&mut child);
        assert_eq!(terminal.modes(), before, "after {signal:?}");
    }
}

#[test]
fn descriptors_stay_blocking_for_whoever_shares_them() {
    let (reader, writer) = io::pipe().unwrap();
    let (source, mut feed) = io::pipe().unwrap();
    let mut command = run("cat");
    let mut child =
        command.stdin(source.try_clone().unwrap()).stdout(writer.try_clone().unwrap()).spawn().unwrap();
    drop(command);
    feed.write_all(b"x").unwrap();
    eventually("the byte has come through", || {
        (rustix::io::ioctl_fionread(&reader).unwrap() == 1).then_some(())
    });
    for (name, flags) in
        [("input", rustix::fs::fcntl_getfl(&source)), ("output", rustix::fs::fcntl_getfl(&writer))]
    {
        assert!(!flags.unwrap().contains(rustix::fs::OFlags::NONBLOCK), "{name}");
    }
    drop(feed);
    assert!(wait(&mut child).success());
}
