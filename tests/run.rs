//! `sentctl run`: a program gets what the user gave it, and the user gets what the program made of it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::terminal::Terminal;
use machine::{collect, container, finish, finish_with, module, sentctl, shell, wait};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::process::{Command, Stdio};
use std::thread;

/// `sentctl run` with an example container.
fn run(name: &str) -> Command {
    let mut command = sentctl();
    command.arg("run").arg(container(name));
    command
}

/// `sentctl run --invoke` with a function of the kernels.
fn invoke(function: &str, numbers: &[&str]) -> Command {
    let mut command = sentctl();
    command.args(["run", "--invoke", function]).arg(container("kernels")).arg("--").args(numbers);
    command
}

#[test]
fn arguments_arrive_as_they_are_whatever_they_contain() {
    let words: [&[u8]; 7] =
        [b"plain", b"", b"two words", b"--version", b"\xff\xfe", "Grüße 😀".as_bytes(), b"line\nline"];
    let mut command = run("hello");
    command.arg("--").args(words.map(OsStr::from_bytes));
    let mut expected = b"Hello, SentientOS!\n".to_vec();
    for (number, word) in words.iter().enumerate() {
        expected.extend_from_slice(format!("argument {}: ", number + 1).as_bytes());
        expected.extend_from_slice(word);
        expected.push(b'\n');
    }
    finish(&mut command).assert(0, expected);
}

#[test]
fn many_long_arguments_all_arrive() {
    let words: Vec<String> = (0..500).map(|number| format!("{number:0>100}")).collect();
    let finished = finish(run("hello").arg("--").args(&words));
    assert_eq!(finished.code(), 0, "{finished}");
    assert_eq!(finished.out().lines().count(), 501);
    assert!(finished.out().ends_with(&format!("argument 500: {:0>100}\n", 499)));
}

#[test]
fn environment_variables_are_set_by_value_and_passed_on_by_name() {
    finish(run("hello").args(["--env", "GREETING=Hi=there"])).assert(0, "Hi=there, SentientOS!\n");
    finish(run("hello").args(["--env", "GREETING"]).env("GREETING", "Ahoy")).assert(0, "Ahoy, SentientOS!\n");
    finish(run("hello").args(["-e", "GREETING"]).env("GREETING", OsStr::from_bytes(b"\xff")))
        .assert(0, b"\xff, SentientOS!\n");
    finish(run("hello").env("GREETING", "not passed on")).assert(0, "Hello, SentientOS!\n");
}

#[test]
fn an_environment_variable_that_is_not_set_or_has_no_name_is_refused() {
    let unset = finish(run("hello").args(["--env", "GREETING"]).env_remove("GREETING"));
    unset.assert_fails(125, &["--env GREETING", "not set", "NAME=VALUE"]);
    finish(run("hello").args(["--env", "=x"])).assert_fails(125, &["--env =x", "NAME=VALUE"]);
}

#[test]
fn every_exit_code_becomes_sentctls() {
    for code in 0..=255u8 {
        let word = if code == 0 { Vec::new() } else { vec![code] };
        let finished =
            finish(sentctl().arg("run").arg(module("exits")).arg("--").arg(OsStr::from_bytes(&word)));
        assert_eq!(finished.code(), i32::from(code), "{finished}");
    }
}

#[test]
fn a_program_that_does_not_exist_ends_with_127() {
    let finished = finish(sentctl().args(["run", "/no/such/program.wasm"]));
    finished.assert_fails(127, &["/no/such/program.wasm", "No such file"]);
}

#[test]
fn a_folder_is_not_a_program() {
    let finished = finish(sentctl().arg("run").arg(machine::containers()));
    finished.assert_fails(125, &["resources/containers", "directory"]);
}

#[test]
fn standard_input_may_be_a_file_a_pipe_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    fs::write(&file, "from a file").unwrap();
    finish(run("cat").stdin(File::open(&file).unwrap())).assert(0, "from a file");
    finish_with(&mut run("cat"), b"from a pipe").assert(0, "from a pipe");
    finish(run("cat").stdin(Stdio::null())).assert(0, "");
}

#[test]
fn a_file_is_read_from_where_its_descriptor_stands() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("input");
    fs::write(&file, "first\nsecond\n").unwrap();
    let script = "{ IFS= read -r line; \"$SENTCTL\" run \"$1\"; } < \"$2\"";
    finish(&mut shell(script, [container("cat"), file])).assert(0, "second\n");
}

#[test]
fn closed_standard_streams_are_no_obstacle() {
    let closed_input = shell("\"$SENTCTL\" run \"$1\" <&-", [container("cat")]);
    finish(&mut { closed_input }).assert(0, "");
    let closed_error = shell("\"$SENTCTL\" run \"$1\" 2>&-", [container("hello")]);
    finish(&mut { closed_error }).assert(0, "Hello, SentientOS!\n");
}

#[test]
fn a_pipe_that_stays_open_does_not_keep_a_program_from_ending() {
    let mut child = run("hello").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let keep = child.stdin.take().unwrap();
    collect(child).assert(0, "Hello, SentientOS!\n");
    drop(keep);
}

#[test]
fn a_program_that_does_not_read_leaves_its_input_to_the_next() {
    let script = "{ \"$SENTCTL\" run \"$1\"; \"$SENTCTL\" run \"$2\"; }";
    let mut command = shell(script, [container("hello"), container("cat")]);
    finish_with(&mut command, b"for the second\n").assert(0, "Hello, SentientOS!\nfor the second\n");

    let script = "while read -r word; do \"$SENTCTL\" run \"$1\" -- \"$word\"; done";
    let mut command = shell(script, [container("hello")]);
    let expected = "Hello, SentientOS!\nargument 1: one\nHello, SentientOS!\nargument 1: two\n";
    finish_with(&mut command, b"one\ntwo\n").assert(0, expected);
}

#[test]
fn input_typed_while_the_program_runs_is_answered_at_once() {
    let mut child = run("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let (mut input, mut output) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
    for line in ["one\n", "two\n", "three\n"] {
        input.write_all(line.as_bytes()).unwrap();
        let mut answer = vec![0; line.len()];
        std::io::Read::read_exact(&mut output, &mut answer).unwrap();
        assert_eq!(answer, line.as_bytes());
    }
    drop(input);
    assert!(wait(&mut child).success());
}

#[test]
fn standard_error_is_not_standard_output() {
    let finished = finish(run("faults").args(["--", "stderr", "to standard error"]));
    assert_eq!(
        (finished.code(), finished.out().as_str(), finished.err().as_str()),
        (1, "", "to standard error\n")
    );
}

#[test]
fn a_program_knows_which_of_its_streams_are_terminals() {
    let command = || {
        let mut command = sentctl();
        command.arg("run").arg(module("terminals"));
        command
    };
    finish(&mut command()).assert(0, "---\n");

    let terminal = Terminal::open();
    finish(command().stdin(terminal.stdio())).assert(0, "t--\n");

    let terminal = Terminal::open();
    let mut child =
        command().stdin(terminal.stdio()).stdout(terminal.stdio()).stderr(terminal.stdio()).spawn().unwrap();
    assert!(wait(&mut child).success());
    assert_eq!(terminal.shown(), "ttt\r\n");
}

#[test]
fn a_line_typed_at_a_terminal_reaches_the_program_and_ctrl_d_ends_its_input() {
    let terminal = Terminal::open();
    let child =
        run("cat").stdin(terminal.stdio()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    terminal.keyboard().write_all(b"typed\n\x04").unwrap();
    collect(child).assert(0, "typed\n");
}

#[test]
fn the_report_of_a_run_has_the_documented_fields() {
    let finished = finish(run("hello").arg("--json").args(["--", "--exit", "3"]));
    assert_eq!((finished.code(), finished.out().as_str()), (3, "Hello, SentientOS!\n"));
    let report = finished.json();
    assert_eq!(report["ended"], "exited");
    assert_eq!(report["exit_code"], 3);
    assert_eq!(report["message"], "the container exited with 3");
    assert!(matches!(report["image"].as_str(), Some("cached" | "compiled" | "rebuilt")), "{report}");
    assert!(report["heartbeats"].is_u64(), "{report}");
    for part in ["anonymous", "file", "guest_ram"] {
        assert!(report["resident_kib"][part].as_u64().is_some_and(|kib| kib > 0), "{part} of {report}");
    }
    let stages = ["machine_started", "vm_created", "guest_entry", "ready", "first_byte", "ended"];
    let times: Vec<f64> = stages.iter().map(|stage| report["stages_ms"][stage].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "the stages of a run come in this order: {stages:?} {times:?}");
}

#[test]
fn a_run_without_output_reports_no_first_byte() {
    let report = finish(sentctl().args(["--json", "run"]).arg(module("exits")).args(["--", ""])).json();
    assert!(report["stages_ms"]["first_byte"].is_null(), "{report}");
}

#[test]
fn an_exported_function_is_called_with_numbers_and_its_result_printed() {
    finish(&mut invoke("fib", &["10"])).assert(0, "55\n");
    finish(&mut invoke("fib", &["-5"])).assert(0, "0\n");
    finish(&mut invoke("hash", &["1"])).assert(0, "8625957917330259561\n");
}

#[test]
fn repeated_calls_print_a_line_each_with_the_nanoseconds() {
    let finished = finish(
        sentctl()
            .args(["run", "--invoke", "fib", "--repeat", "3"])
            .arg(container("kernels"))
            .args(["--", "20"]),
    );
    assert_eq!(finished.code(), 0, "{finished}");
    let out = finished.out();
    let lines: Vec<(&str, &str)> = out.lines().map(|line| line.split_once(' ').unwrap()).collect();
    assert_eq!(lines.len(), 3, "{finished}");
    for (result, nanoseconds) in lines {
        assert_eq!(result, "6765");
        assert!(nanoseconds.parse::<u64>().is_ok_and(|time| time > 0), "{finished}");
    }
}

#[test]
fn a_call_that_cannot_be_made_says_why() {
    finish(&mut invoke("fib", &[])).assert_fails(126, &["`fib` takes 1 number", "0 are given"]);
    finish(&mut invoke("fib", &["1", "2"])).assert_fails(126, &["`fib` takes 1 number", "2 are given"]);
    finish(&mut invoke("fib", &["ten"])).assert_fails(126, &["`ten`", "i32"]);
    finish(&mut invoke("fib", &["99999999999"])).assert_fails(126, &["`99999999999`", "i32"]);
    finish(&mut invoke("absent", &["1"])).assert_fails(126, &["no function `absent`"]);
}

#[test]
fn a_library_without_a_start_names_the_way_to_call_it() {
    finish(&mut run("kernels")).assert_fails(126, &["_start", "--invoke"]);
}

#[test]
fn both_boot_protocols_give_the_same_output() {
    for (name, args) in [("hello", &["one", "two"][..]), ("faults", &["trap"])] {
        let by = |protocol: &str| finish(run(name).args(["--boot-protocol", protocol, "--"]).args(args));
        assert_eq!(by("pvh"), by("linux64"));
    }
}

#[test]
fn a_kernel_from_a_file_runs_programs_like_the_built_in_one() {
    let folder = tempfile::tempdir().unwrap();
    let written = finish(sentctl().args(["boot-files", "-o"]).arg(folder.path()).arg(container("hello")));
    assert_eq!(written.code(), 0, "{written}");
    let kernel = folder.path().join("kernel.elf");
    finish(run("hello").arg("--kernel").arg(kernel)).assert(0, "Hello, SentientOS!\n");
}

#[test]
fn many_machines_at_once_all_come_to_their_end() {
    let path = container("wordfreq");
    let one = || finish_with(sentctl().arg("run").arg(&path), b"to be or not to be").out();
    let expected = "      2 be\n      2 to\n      1 not\n      1 or\n";
    thread::scope(|scope| {
        let workers: Vec<_> = (0..6).map(|_| scope.spawn(|| (0..40).all(|_| one() == expected))).collect();
        assert!(workers.into_iter().all(|worker| worker.join().unwrap()), "a run had another output");
    });
}
