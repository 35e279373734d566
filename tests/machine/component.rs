//! Components, made of modules of preview 1 as toolchains do it: by wit-component, with the adapter.

use super::root;
use std::path::{Path, PathBuf};
use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER,
};
use wit_component::ComponentEncoder;
use wit_parser::Resolve;

/// The interfaces of WASI that the guest has, with a text of some more.
pub fn resolve(name: &str, text: &str, world: &str) -> (Resolve, wit_parser::WorldId) {
    let mut resolve = Resolve::default();
    resolve.push_dir(root().join("guest-kernel/runtime/wit")).unwrap();
    let package = resolve.push_str(name, text).unwrap();
    let world = resolve.select_world(&[package], Some(world)).unwrap();
    (resolve, world)
}

/// A module of preview 1 as a component.
pub fn of_module(module: &[u8]) -> Vec<u8> {
    ComponentEncoder::default()
        .module(module)
        .unwrap()
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_COMMAND_ADAPTER)
        .unwrap()
        .validate(true)
        .encode()
        .unwrap()
}

/// A folder of `resources/components`: its module, with what the world of its WIT imports besides.
pub fn of_folder(name: &str) -> Vec<u8> {
    let folder = root().join("resources/components").join(name);
    let mut module = std::fs::read(folder.join("module.wasm")).unwrap();
    let text = std::fs::read_to_string(folder.join(format!("{name}.wit"))).unwrap();
    let (resolve, world) = resolve("program.wit", &text, name);
    wit_component::embed_component_metadata(&mut module, &resolve, world, Default::default()).unwrap();
    of_module(&module)
}

/// A component that is ready to run.
pub fn component(name: &str) -> PathBuf {
    root().join("resources/components").join(name).join(format!("{name}.wasm"))
}

/// A program's component, in a file of this folder.
pub fn made_of(folder: &Path, program: &Path) -> PathBuf {
    let path = folder.join(program.file_name().unwrap());
    std::fs::write(&path, of_module(&std::fs::read(program).unwrap())).unwrap();
    path
}
