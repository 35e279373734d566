//! Components of WASI 0.2: the same programs as modules of preview 1, made into components by wit-component with the adapter
//! that toolchains use, so that every file, stream, clock and number they ask for goes through WASI 0.2's interfaces.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::{Home, jumps, last_number, numbers};
use machine::cases::{self, Case};
use machine::component::{made_of, resolve};
use machine::{Finished, container, finish, finish_with, sentctl};
use std::path::{Path, PathBuf};

/// Runs all cases of a program as a component.
fn all_cases_hold(program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wasm = made_of(folder.path(), &container(program));
    let picked = |case: Case| (!case.wants_files() && !case.calls()).then(|| case.of_component());
    cases::all_hold(program, &wasm, picked);
}

macro_rules! programs {
    ($($program:ident)*) => {
        $(
            #[test]
            fn $program() {
                all_cases_hold(stringify!($program));
            }
        )*
    };
}

programs! {
    cat
    counter
    digest
    faults
    fs
    hello
    jsonq
    minidb
    pages
    press
    probe
    seek
    spout
    witness
    wordfreq
    yields
}

/// The world of a command, with all that there is to import.
const WORLD: &str = "
    package sentient:tests;
    world command {
      include sentient:runtime/program;
      export wasi:cli/run@0.2.12;
    }
";

/// A command whose core module is this text, in a file of this folder.
fn command(folder: &Path, text: &str) -> PathBuf {
    let mut module = wat::parse_str(text).unwrap();
    let (resolve, world) = resolve("tests.wit", WORLD, "command");
    wit_component::embed_component_metadata(&mut module, &resolve, world, Default::default()).unwrap();
    let component =
        wit_component::ComponentEncoder::default().module(&module).unwrap().validate(true).encode();
    let path = folder.join("command.wasm");
    std::fs::write(&path, component.unwrap()).unwrap();
    path
}

/// What becomes of a command with this input, of which these are the imports and what else it has, and the body of `run`. It
/// has 17 pages of memory and a `cabi_realloc` that gives it from address 4096 on.
fn ran(imports: &str, run: &str, input: &[u8]) -> Finished {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        r#"(module
            {imports}
            (memory (export "memory") 17)
            (global $next (mut i32) (i32.const 4096))
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
              (global.get $next)
              (global.set $next
                (i32.and (i32.add (i32.add (global.get $next) (local.get 3)) (i32.const 15)) (i32.const -16))))
            (func $fail (param i32) (call $exit (local.get 0)) (unreachable))
            (func (export "wasi:cli/run@0.2.12#run") (result i32) (local $a i32) (local $b i32)
              (local $root i32) (local $file i32) (local $stream i32)
              {run}
              (i32.const 0)))"#
    );
    finish_with(sentctl().arg("run").arg(command(folder.path(), &text)), input)
}

const EXIT: &str = r#"(import "wasi:cli/exit@0.2.12" "exit-with-code" (func $exit (param i32)))"#;

/// Imports of what commands below use; each starts with [`EXIT`].
fn imports(more: &[&str]) -> String {
    let known = |name: &&str| match *name {
        "stdin" => r#"(import "wasi:cli/stdin@0.2.12" "get-stdin" (func $stdin (result i32)))"#,
        "stdout" => r#"(import "wasi:cli/stdout@0.2.12" "get-stdout" (func $stdout (result i32)))"#,
        "write" => {
            r#"(import "wasi:io/streams@0.2.12" "[method]output-stream.write" (func $write (param i32 i32 i32 i32)))"#
        }
        other => panic!("{other}"),
    };
    std::iter::once(EXIT).chain(more.iter().map(known)).collect::<Vec<_>>().join("\n")
}

#[test]
fn a_component_ends_with_a_code_of_its_own() {
    assert_eq!(ran(EXIT, "(call $exit (i32.const 42))", b"").code(), 42);
    assert_eq!(ran(EXIT, "(return (i32.const 1))", b"").code(), 1, "run gives an error");
    assert_eq!(ran(EXIT, "", b"").code(), 0);
}

#[test]
fn what_a_component_asks_too_much_of_ends_it_and_says_so() {
    let random = format!(
        r#"{EXIT} (import "wasi:random/random@0.2.12" "get-random-bytes" (func $random (param i64 i32)))"#
    );
    let poll = format!(r#"{EXIT} (import "wasi:io/poll@0.2.12" "poll" (func $poll (param i32 i32 i32)))"#);
    let stdout = imports(&["stdout", "write"]);
    let endless = "(loop $again (drop (call $stdout)) (br $again))";
    let write =
        |len: &str| format!("(call $write (call $stdout) (i32.const 4096) (i32.const {len}) (i32.const 0))");
    for (imports, run, says) in [
        (&random, "(call $random (i64.const 0x10000000000) (i32.const 0))", "random bytes at once"),
        (&poll, "(call $poll (i32.const 0) (i32.const 0) (i32.const 0))", "waits for nothing at all"),
        (&stdout, endless, "no free keys"),
        (&stdout, &write("65537"), "65537 bytes at once"),
        (&stdout, &write("1000000"), "too much data"),
        (&stdout, &write("-1"), "out of bounds"),
    ] {
        let finished = ran(imports, run, b"");
        finished.assert_fails(134, &[says]);
    }
}

#[test]
fn streams_are_skipped_joined_and_filled() {
    let imports = format!(
        r#"{}
        (import "wasi:io/streams@0.2.12" "[method]input-stream.blocking-skip" (func $skip (param i32 i64 i32)))
        (import "wasi:io/streams@0.2.12" "[method]output-stream.blocking-splice" (func $splice (param i32 i32 i64 i32)))
        (import "wasi:io/streams@0.2.12" "[method]output-stream.write-zeroes" (func $zeroes (param i32 i64 i32)))
        (import "wasi:io/streams@0.2.12" "[method]output-stream.check-write" (func $check (param i32 i32)))"#,
        imports(&["stdin", "stdout"])
    );
    let run = "
        (local.set $a (call $stdin)) (local.set $b (call $stdout))
        (call $check (local.get $b) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then (call $fail (i32.const 2))))
        (if (i64.eqz (i64.load (i32.const 8))) (then (call $fail (i32.const 3))))
        (call $skip (local.get $a) (i64.const 3) (i32.const 0))
        (if (i64.ne (i64.load (i32.const 8)) (i64.const 3)) (then (call $fail (i32.const 4))))
        (call $zeroes (local.get $b) (i64.const 2) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then (call $fail (i32.const 5))))
        (loop $again
          (call $splice (local.get $b) (local.get $a) (i64.const 4) (i32.const 0))
          (br_if $again (i32.eqz (i32.load8_u (i32.const 0)))))
        (; the end of the input is not the last operation's failure ;)
        (if (i32.ne (i32.load8_u (i32.const 8)) (i32.const 1)) (then (call $fail (i32.const 6))))";
    let finished = ran(&imports, run, b"not this, but that");
    assert_eq!((finished.code(), finished.out().as_str()), (0, "\0\0 this, but that"), "{finished}");
}

#[test]
fn what_the_guest_has_not_is_named_before_anything_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("program.wasm");
    let refused = |text: &str, says: &[&str]| {
        std::fs::write(&path, wat::parse_str(text).unwrap()).unwrap();
        finish(sentctl().arg("run").arg(&path)).assert_fails(126, says);
    };
    refused(r#"(component (import "wasi:http/types@0.2.0" (instance)))"#, &["`wasi:http/types@0.2.0`"]);
    refused(
        r#"(component (import "wasi:cli/environment@0.3.0" (instance)))"#,
        &["`wasi:cli/environment@0.3.0`"],
    );
    refused("(component)", &["a library, and not a command"]);
}

#[test]
fn a_file_stays_open_as_long_as_a_descriptor_or_a_stream_needs_it() {
    let imports = format!(
        r#"{}
        (import "wasi:filesystem/preopens@0.2.12" "get-directories" (func $roots (param i32)))
        (import "wasi:filesystem/types@0.2.12" "[method]descriptor.open-at"
          (func $open (param i32 i32 i32 i32 i32 i32 i32)))
        (import "wasi:filesystem/types@0.2.12" "[method]descriptor.write" (func $put (param i32 i32 i32 i64 i32)))
        (import "wasi:filesystem/types@0.2.12" "[method]descriptor.read" (func $get (param i32 i64 i64 i32)))
        (import "wasi:filesystem/types@0.2.12" "[method]descriptor.append-via-stream" (func $append (param i32 i32)))
        (import "wasi:filesystem/types@0.2.12" "[method]descriptor.is-same-object"
          (func $same (param i32 i32) (result i32)))
        (import "wasi:filesystem/types@0.2.12" "[resource-drop]descriptor" (func $close (param i32)))
        (data (i32.const 64) "file")
        (data (i32.const 80) "content")
        (func $made (param $root i32) (result i32)
          (call $open (local.get $root) (i32.const 0) (i32.const 64) (i32.const 4) (i32.const 1) (i32.const 3)
            (i32.const 0))
          (if (i32.load8_u (i32.const 0)) (then (call $exit (i32.const 2))))
          (i32.load (i32.const 4)))"#,
        imports(&["stdout", "write"])
    );
    let run = "
        (call $roots (i32.const 0))
        (local.set $root (i32.load (i32.load (i32.const 0))))
        (local.set $file (call $made (local.get $root)))
        (call $put (local.get $file) (i32.const 80) (i32.const 3) (i64.const 0) (i32.const 0))
        (if (i64.ne (i64.load (i32.const 8)) (i64.const 3)) (then (call $fail (i32.const 3))))
        (call $append (local.get $file) (i32.const 0))
        (local.set $stream (i32.load (i32.const 4)))
        (call $close (local.get $file))
        (call $write (local.get $stream) (i32.const 83) (i32.const 4) (i32.const 0))
        (if (i32.load8_u (i32.const 0)) (then (call $fail (i32.const 4))))
        (local.set $file (call $made (local.get $root)))
        (local.set $a (call $made (local.get $root)))
        (if (i32.eqz (call $same (local.get $file) (local.get $a))) (then (call $fail (i32.const 5))))
        (if (call $same (local.get $root) (local.get $a)) (then (call $fail (i32.const 6))))
        (call $get (local.get $file) (i64.const 100) (i64.const 1) (i32.const 0))
        (if (i32.load8_u (i32.const 12)) (then (call $fail (i32.const 7))))
        (call $write (call $stdout) (i32.load (i32.const 4)) (i32.load (i32.const 8)) (i32.const 16))
        (call $get (local.get $file) (i64.const 100) (i64.const 7) (i32.const 0))
        (if (i32.eqz (i32.load8_u (i32.const 12))) (then (call $fail (i32.const 8))))
        (; what is closed makes room for others ;)
        (local.set $b (i32.const 10000))
        (loop $again
          (call $close (call $made (local.get $root)))
          (local.set $b (i32.sub (local.get $b) (i32.const 1)))
          (br_if $again (local.get $b)))
        (; and what is not, not ;)
        (loop $again
          (drop (call $made (local.get $root)))
          (br $again))";
    let finished = ran(&imports, run, b"");
    assert_eq!((finished.code(), finished.out().as_str()), (2, "ontent"), "{finished}");
}

#[test]
fn folders_and_permissions_bind_components_as_they_do_modules() {
    let here = tempfile::tempdir().unwrap();
    let programs = tempfile::tempdir().unwrap();
    let fs = made_of(programs.path(), &container("fs"));
    let volume = format!("{}:/data", here.path().display());
    let checked = finish(sentctl().args(["run", "-v", &volume]).arg(fs).args(["--", "--in", "/data/tree"]));
    assert!(checked.out().ends_with("150 checks, 0 failed\n"), "{checked}");
    assert_eq!(std::fs::read_dir(here.path()).unwrap().count(), 0, "all that was made was removed");

    let rules = "version: 1\nfiles: [{ path: /tmp, access: write }]\n";
    std::fs::write(programs.path().join("rules.zky"), rules).unwrap();
    let probe = made_of(programs.path(), &container("probe"));
    let confined = |words: &[&str]| {
        let rules = ["run", "--explain", "--permissions"];
        finish(sentctl().args(rules).arg(programs.path().join("rules.zky")).arg(&probe).arg("--").args(words))
    };
    let files = confined(&["write:/tmp/x", "write:/x"]);
    assert_eq!(files.out(), "write:/tmp/x: 7 bytes\nwrite:/x: Operation not permitted\n", "{files}");
    files.assert_fails(1, &["denied: changing /x; allowed by files: [{ path: /x, access: write }]"]);
    // A function that cannot fail ends the program.
    confined(&["random"]).assert_fails(134, &["random numbers are refused", "allowed by random: true"]);
}

#[test]
fn a_package_of_a_component_runs_with_its_files_and_permissions() {
    let folder = tempfile::tempdir().unwrap();
    let program = std::fs::read(made_of(folder.path(), &container("probe"))).unwrap();
    let files = folder.path().join("probe");
    std::fs::create_dir_all(files.join("assets")).unwrap();
    for (name, bytes) in [
        ("main.wasm", &program[..]),
        ("meta.yaml", b"tso: 1\nname: probe\nversion: 1.0.0\nargs: ['read:/note']\n"),
        ("permissions.zky", b"version: 1\nfiles: [{ path: /note, access: read }]\n"),
        ("assets/note", b"in the package"),
    ] {
        std::fs::write(files.join(name), bytes).unwrap();
    }
    let package = folder.path().join("probe.tso");
    let packed = finish(sentctl().arg("pack").arg(&files).arg("-o").arg(&package));
    assert_eq!(packed.code(), 0, "{packed}");
    let ran = finish(sentctl().arg("run").arg(&package).args(["--", "write:/x"]));
    assert_eq!(ran.out(), "read:/note: in the package\nwrite:/x: Operation not permitted\n", "{ran}");
}

#[test]
fn a_component_goes_on_from_snapshots_in_forks_and_alone() {
    let home = Home::with_machine();
    let counter = made_of(home.path(), &container("counter"));
    home.start("counter", &counter, &["--interval-ms", "5"]);
    home.wait_for_number("m", "counter", 20);
    home.ok(&["-m", "m", "snapshot", "-t", "early"]);
    let early = last_number(&home.output("m", "counter")).unwrap();
    home.wait_for_number("m", "counter", early + 50);

    home.ok(&["-m", "m", "rollback", "early", "--discard"]);
    home.wait_for_number("m", "counter", early + 100);
    home.ok(&["-m", "m", "heal", "container", "counter", "--to", "early"]);
    home.kill("m");
    home.ok(&["boot", "m"]);
    home.ok(&["fork", "m", "n"]);
    home.wait_for_number("n", "counter", early + 30);

    // It went back three times, to where it was at the snapshot, and on by one from there.
    let all = numbers(&home.output("m", "counter"));
    let [(_, one), (_, two), (_, three)] = jumps(&all)[..] else { panic!("{all:?}") };
    assert!(one <= early && one == two && two == three, "{early}: {one}, {two}, {three}");
}
