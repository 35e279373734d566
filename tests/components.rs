//! Components of WASI 0.2: the same programs as modules of preview 1, made into components by wit-component with the adapter
//! that toolchains use, so that every file, stream, clock and number they ask for goes through WASI 0.2's interfaces.
//!
//! These tests need KVM, and fail without it.

#![expect(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests fail by panicking")]

mod machine;

use machine::{container, finish, module, sentctl};
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

#[test]
fn a_component_says_hello() {
    let folder = tempfile::tempdir().unwrap();
    let hello = component(folder.path(), &container("hello"));
    let finished = finish(sentctl().arg("run").arg(hello));
    assert_eq!(finished.code(), 0, "{finished}");
    println!("{finished}");
}

#[test]
fn files_of_a_component_are_those_of_a_module() {
    let folder = tempfile::tempdir().unwrap();
    let fscheck = component(folder.path(), &container("fs"));
    let finished = finish(sentctl().arg("run").arg(fscheck));
    println!("{finished}");
    assert_eq!(finished.code(), 0, "{finished}");
}
