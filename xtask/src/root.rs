//! Where the repository is.

use std::path::{Path, PathBuf};

/// The repository's folder: the one above this package's.
#[must_use]
pub fn folder() -> &'static Path {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package)
}

/// A path in the repository.
#[must_use]
pub fn join(path: &str) -> PathBuf {
    folder().join(path)
}

/// The folder of build results.
#[must_use]
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| join("target"), PathBuf::from)
}

/// The program as built for a release: `.cargo/config.toml` names the target.
#[must_use]
pub fn release_program() -> PathBuf {
    target().join("x86_64-unknown-linux-gnu/release/sentctl")
}
