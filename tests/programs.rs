//! Every example container does in the guest what its cases say.
//!
//! The cases are found when the tests run; that each program has a test here is itself a test.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::cases;
use machine::{container, containers};
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

macro_rules! programs {
    ($($program:ident)*) => {
        /// The programs that have a test.
        const TESTED: &[&str] = &[$(stringify!($program)),*];
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
    kernels
    minidb
    pages
    press
    probe
    seek
    spout
    web
    witness
    wordfreq
    yields
}

fn all_cases_hold(program: &str) {
    cases::all_hold(program, &container(program), |case| (!case.wants_files()).then_some(case));
}

fn wasm_files(folder: &Path) -> Vec<std::path::PathBuf> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.extension().is_some_and(|extension| extension == "wasm")).collect()
}

#[test]
fn every_program_folder_has_a_test_and_every_test_a_folder() {
    let entries = fs::read_dir(containers()).unwrap().map(|entry| entry.unwrap().path());
    let folders: BTreeSet<String> = entries
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let tested: BTreeSet<String> = TESTED.iter().map(ToString::to_string).collect();
    assert_eq!(
        folders, tested,
        "left: folders of resources/containers; right: `programs!` in tests/programs.rs"
    );
}

#[test]
fn every_program_is_there_ready_to_run() {
    for program in TESTED {
        let found = wasm_files(&containers().join(program));
        assert!(!found.is_empty(), "{program} is not built: resources/containers/build.sh");
        for path in found {
            assert!(
                fs::read(&path).unwrap().starts_with(b"\0asm\x01\0\0\0"),
                "{} is not WebAssembly",
                path.display()
            );
        }
    }
}

#[test]
fn cases_with_files_wait_for_a_way_to_give_a_program_files() {
    let help = machine::finish(machine::sentctl().args(["run", "--help"])).out();
    let options: Vec<&str> = help.lines().filter(|line| line.trim_start().starts_with("--dir")).collect();
    assert!(
        options.is_empty(),
        "sentctl can hand folders to programs now ({options:?}): run the cases with `files` too"
    );
}
