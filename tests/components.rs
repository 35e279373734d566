//! Components of WASI 0.2: the same programs as modules of preview 1, made into components by wit-component with the adapter
//! that toolchains use, so that every file, stream, clock and number they ask for goes through WASI 0.2's interfaces.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::cases::{self, Case};
use machine::container;
use std::path::{Path, PathBuf};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};

/// A program's component, in a file of this folder.
fn component(folder: &Path, program: &Path) -> PathBuf {
    let module = std::fs::read(program).unwrap();
    let component = wit_component::ComponentEncoder::default()
        .module(&module)
        .unwrap()
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap();
    let path = folder.join(program.file_name().unwrap());
    std::fs::write(&path, component).unwrap();
    path
}


/// Runs all cases of a program as a component.
fn all_cases_hold(program: &str) {
    let folder = tempfile::tempdir().unwrap();
    let wasm = component(folder.path(), &container(program));
    let mut failures = Vec::new();
    for path in cases::of(program) {
        let case = Case::read(&path).of_component();
        if case.wants_files() || case.calls() {
            continue;
        }
        if let Err(wrong) = case.run(&wasm, path.parent().unwrap()) {
            failures.push(format!("=== {program}: {}\n{wrong}", path.display()));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
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
