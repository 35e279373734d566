//! Builds the guest kernel with the toolchain at hand, and leaves `kernel.elf` in `OUT_DIR`, and beside it
//! `kernel.symbols`: names for its addresses, which `kernel.elf` has not.
//!
//! Nucleus and runtime are workspaces of their own, built with the flags below into `target/guest`, so
//! that neither `cargo clippy` nor a change of the host's flags rebuilds them. cargo runs this script
//! again only when a source of the guest has changed.

#![allow(clippy::expect_used, clippy::panic, reason = "a build script reports by failing")]

#[path = "build/disassembly.rs"]
mod disassembly;
#[path = "build/guest.rs"]
mod guest;
#[path = "build/merge.rs"]
mod merge;

use std::path::Path;

fn main() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("images/ lies in the workspace");
    for source in ["abi", "boot", "guest-kernel", "images/build", "images/build.rs", "rust-toolchain.toml"] {
        println!("cargo::rerun-if-changed={}", root.join(source).display());
    }
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let target = guest::target_folder(&out);
    let nucleus = guest::build(&root.join("guest-kernel/nucleus"), &target, guest::Program::Nucleus);
    let runtime = guest::build(&root.join("guest-kernel/runtime"), &target, guest::Program::Runtime);
    if let Err(found) = disassembly::forbid_simd(&nucleus) {
        panic!("the nucleus must not use SSE, AVX or x87 (ring 0 may be emulated without them): {found}");
    }
    let mut kernel =
        merge::merge(&nucleus, &runtime).unwrap_or_else(|error| panic!("merging the kernel: {error}"));
    let digest = blake3::hash(&kernel);
    kernel.extend_from_slice(merge::DIGEST_MAGIC);
    kernel.extend_from_slice(digest.as_bytes());
    std::fs::write(out.join("kernel.elf"), kernel).expect("OUT_DIR is writable");
    let symbols = sentient_crash::SymbolTable::of_elfs(&[&nucleus, &runtime])
        .unwrap_or_else(|error| panic!("the kernel's symbols, of nucleus (0) and runtime (1): {error}"));
    std::fs::write(out.join("kernel.symbols"), symbols.encode()).expect("OUT_DIR is writable");
    println!("cargo::rustc-env=SENTIENT_KERNEL_DIGEST={digest}");
}
