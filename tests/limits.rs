//! A program that goes wrong or asks for too much ends as its limits say, with a message that tells why;
//! the machine under it survives every time.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{Finished, container, finish, module, sentctl};
use std::process::Command;

fn run(options: &[&str], name: &str, args: &[&str]) -> Command {
    let mut command = sentctl();
    command.arg("run").args(options).arg(container(name)).arg("--").args(args);
    command
}

/// Runs a command of the faults program; fails if the guest rather than its program ended.
#[track_caller]
fn fault(options: &[&str], args: &[&str]) -> Finished {
    let finished = finish(&mut run(options, "faults", args));
    let code = finished.code();
    assert!(!(110..=114).contains(&code), "the machine did not survive:\n{finished}");
    finished
}

/// The part of a message from the backtrace on.
fn backtrace(finished: &Finished) -> String {
    let text = finished.err();
    let start = text
        .find("backtrace")
        .or_else(|| text.find(", at:"))
        .unwrap_or_else(|| panic!("no backtrace in\n{text}"));
    text[start..].to_owned()
}

#[test]
fn every_kind_of_trap_is_named_with_the_functions_it_happened_in() {
    for (command, message, functions) in [
        (
            "trap",
            "`unreachable` instruction",
            &["fault_trap", "level_three", "level_two", "level_one", "main"][..],
        ),
        ("oob", "out of bounds memory access", &["fault_oob", "level_three", "level_two", "level_one"]),
        ("div0", "integer divide by zero", &["fault_div0", "level_three", "level_two", "level_one"]),
        ("null", "uninitialized element", &["level_three", "level_two", "level_one"]),
        (
            "signature",
            "indirect call type mismatch",
            &["fault_signature", "level_three", "level_two", "level_one"],
        ),
        ("abort", "`unreachable` instruction", &["abort", "level_three", "level_two", "level_one"]),
    ] {
        let finished = fault(&[], &[command]);
        finished.assert_fails(134, &["trapped", message]);
        let functions_seen = backtrace(&finished);
        let mut rest = functions_seen.as_str();
        for function in functions {
            let at = rest
                .find(function)
                .unwrap_or_else(|| panic!("{function} is not where it should be:\n{finished}"));
            rest = &rest[at..];
        }
    }
}

#[test]
fn recursion_without_end_is_a_trap_whichever_stack_it_uses_up() {
    fault(&[], &["overflow"]).assert_fails(134, &["call stack exhausted", "recurse"]);
    fault(&[], &["stack"]).assert_fails(134, &["out of bounds memory access", "recurse_with_locals"]);
}

#[test]
fn what_a_program_wrote_before_it_trapped_is_there() {
    for command in ["trap", "oob", "overflow", "stack", "null"] {
        assert_eq!(fault(&[], &[command]).out(), format!("about to {command}\n"));
    }
}

#[test]
fn a_loop_ends_at_its_cpu_time_and_the_message_names_its_function() {
    let finished = fault(&["--cpu-time", "200ms"], &["loop"]);
    finished.assert_fails(152, &["CPU time limit", "0.200 s", "fault_loop"]);
    let functions = backtrace(&finished);
    for function in ["fault_loop", "level_three", "level_two", "level_one"] {
        assert!(functions.contains(function), "{function} is not in the backtrace:\n{finished}");
    }
    assert_eq!(finished.out(), "about to loop\n");
}

#[test]
fn the_cpu_time_limit_holds_every_time_and_at_any_length() {
    for time in ["1ms", "2ms", "10ms", "50ms", "1.5s"] {
        for _ in 0..3 {
            fault(&["--cpu-time", time], &["loop"]).assert_fails(152, &["CPU time limit"]);
        }
    }
}

#[test]
fn output_without_end_ends_at_its_cpu_time() {
    let finished = finish(&mut run(&["--cpu-time", "100ms"], "spout", &["1000000"]));
    finished.assert_fails(152, &["CPU time limit"]);
}

#[test]
fn sleeping_takes_no_cpu_time() {
    let options = ["--cpu-time", "100ms"];
    finish(&mut run(&options, "counter", &["--interval-ms", "300", "--count", "3"])).assert(0, "1\n2\n3\n");
}

#[test]
fn a_cpu_time_that_is_enough_changes_nothing() {
    finish(&mut run(&["--cpu-time", "1h"], "hello", &[])).assert(0, "Hello, SentientOS!\n");
    fault(&["--cpu-time", "1m"], &["trap"]).assert_fails(134, &["fault_trap"]);
}

#[test]
fn the_timeout_ends_a_program_that_computes_or_sleeps() {
    for command in ["loop", "sleep"] {
        let finished = fault(&["--timeout", "1s"], &[command]);
        finished.assert_fails(124, &["time was up", "--timeout"]);
        assert_eq!(finished.out(), format!("about to {command}\n"));
    }
}

#[test]
fn the_timeout_ends_a_program_that_waits_for_input() {
    let mut command = run(&["--timeout", "500ms"], "cat", &[]);
    let (reader, writer) = std::io::pipe().unwrap();
    finish(command.stdin(reader)).assert_fails(124, &["time was up"]);
    drop(writer);
}

#[test]
fn a_timeout_that_is_enough_changes_nothing() {
    finish(&mut run(&["--timeout", "1h"], "hello", &[])).assert(0, "Hello, SentientOS!\n");
}

/// Runs the program that takes all the memory it is given; its exit code says how many MiB that was.
fn grow(options: &[&str]) -> i32 {
    let finished = finish(sentctl().arg("run").args(options).arg(module("grows")));
    assert!(finished.stderr.is_empty(), "{finished}");
    finished.code()
}

#[test]
fn memory_grows_up_to_the_limit_and_then_the_program_is_told_no() {
    for (limit, mib) in [("1M", 1), ("8M", 8), ("64M", 64), ("200M", 200)] {
        assert_eq!(grow(&["--memory", limit]), mib, "--memory {limit}");
    }
}

#[test]
fn the_default_memory_limit_is_64_mib() {
    assert_eq!(grow(&[]), 64);
}

#[test]
fn the_machine_may_have_more_memory_than_its_program() {
    assert_eq!(grow(&["--memory", "8M", "--machine-memory", "512M"]), 8);
}

#[test]
fn being_refused_memory_is_no_trap() {
    let finished = fault(&["--memory", "8M"], &["grow"]);
    assert_eq!(finished.code(), 0, "{finished}");
    assert!(finished.out().starts_with("refused after "), "{finished}");
}

#[test]
fn a_program_may_use_hundreds_of_mebibytes() {
    let finished = fault(&["--memory", "1G"], &["grow", "400"]);
    assert_eq!((finished.code(), finished.out().as_str()), (0, "granted 400 MiB\n"), "{finished}");
}

#[test]
fn a_limit_of_any_size_that_webassembly_knows_gets_a_machine_that_fits() {
    for limit in ["1M", "100M", "190M", "250M", "1G", "3G", "3300M", "4G"] {
        let finished = finish(&mut run(&["--memory", limit], "hello", &[]));
        assert_eq!((finished.code(), finished.err().as_str()), (0, ""), "--memory {limit}: {finished}");
    }
}

#[test]
fn a_json_report_tells_ends_apart() {
    for (options, args, ended, code) in [
        (&["--json"][..], &["trap"][..], "trapped", 134),
        (&["--json", "--cpu-time", "50ms"], &["loop"], "cpu-limit", 152),
        (&["--json", "--timeout", "300ms"], &["sleep"], "timeout", 124),
        (&["--json"], &["exit", "7"], "exited", 7),
    ] {
        let finished = fault(options, args);
        let err = finished.err();
        let report: serde_json::Value = serde_json::from_str(err.lines().last().unwrap()).unwrap();
        assert_eq!(
            (report["ended"].as_str(), report["exit_code"].as_i64()),
            (Some(ended), Some(code)),
            "{finished}"
        );
        assert_eq!(i64::from(finished.code()), code);
    }
}
