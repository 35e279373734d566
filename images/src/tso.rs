//! `.tso` packages: a program with its description, its permissions and its files, signed.
//!
//! docs/tso.md has the format. A package is a tar archive in the one form that its contents allow, so that the same
//! contents are the same bytes; `meta.yaml` in it names every other file with its hash, so that the digest of
//! `meta.yaml` is the digest of all; and the signatures are over that digest.
//!
//! * [`archive`]: files into bytes and back;
//! * [`meta`], [`permissions`], [`signature`]: the three texts in it;
//! * [`pack`]: a folder into a package;
//! * [`commit`]: what a container has become;
//! * [`source`] and [`template`]: a program that is not compiled yet, and a folder to begin with.
//!
//! Invariant: a [`Package`] has been checked whole: form, hashes and signatures.

pub mod archive;
pub mod commit;
pub mod digest;
pub mod meta;
pub mod pack;
pub mod permissions;
pub mod signature;
pub mod source;
pub mod template;
pub(crate) mod yaml;

use crate::program::Identity;
use archive::File;
use digest::Digest;
use meta::Meta;
use permissions::Permissions;
use signature::{Signature, Signatures};
use std::path::Path;

/// Name of the program in a package.
pub const PROGRAM: &str = "main.wasm";
/// Name of the description.
pub const META: &str = "meta.yaml";
/// Name of what the program may do.
pub const PERMISSIONS: &str = "permissions.zky";
/// Name of the list of signatures.
pub const SIGNATURES: &str = "signatures.yaml";
/// What the names of all other files start with: the program sees them below `/`.
pub const ASSETS: &str = "assets/";

/// Most bytes of a package: its files are in memory while the program runs.
pub const MAX_LEN: u64 = 256 << 20;

/// Why a package cannot be made or used.
#[derive(Debug, thiserror::Error)]
pub enum TsoError {
    /// Not an archive in the form that a package has.
    #[error("not a .tso package: {0}")]
    Archive(String),
    /// A text in it is not what it should be; says line and column.
    #[error("{file}: {problem}")]
    Text {
        /// Which.
        file: &'static str,
        /// What is wrong, where, and what to do.
        problem: String,
    },
    /// Of another version of the format.
    #[error(
        "{file} is of version {version} of its format, and this sentctl reads version {known}; use a newer one"
    )]
    Version {
        /// Which file says so.
        file: &'static str,
        /// The version it names.
        version: u64,
        /// The version that is read here.
        known: u64,
    },
    /// A file is not the one that was packed.
    #[error("{path} is not the file that was packed: {what} {found}, and {META} says {expected}")]
    Content {
        /// Which.
        path: String,
        /// What of it.
        what: &'static str,
        /// What it is.
        found: String,
        /// What it should be.
        expected: String,
    },
    /// A signature is not of this package.
    #[error("the signature of {key} is not one of this package: it was changed after it was signed")]
    Signature {
        /// The algorithm and the signer's public key.
        key: String,
    },
    /// It is not signed by whom it should be.
    #[error("it is not signed by {wanted}, but by {found}")]
    Signer {
        /// The key that was asked for.
        wanted: String,
        /// Those that have signed it.
        found: String,
    },
    /// There is nothing here that compiles a program's source.
    #[error("nothing that compiles {of} for WASI is installed: {remedy}")]
    NoCompiler {
        /// The source.
        of: &'static str,
        /// What to install.
        remedy: &'static str,
    },
    /// A program's source does not compile.
    #[error("{file} does not compile, by {compiler}:\n{said}")]
    Compile {
        /// The source.
        file: &'static str,
        /// What was to compile it.
        compiler: String,
        /// What it said.
        said: String,
    },
    /// A file on disk, while packing.
    #[error("{path}: {problem}")]
    Folder {
        /// Which.
        path: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl TsoError {
    fn archive(problem: impl Into<String>) -> Self {
        Self::Archive(problem.into())
    }

    fn on_disk(path: &Path, problem: impl ToString) -> Self {
        Self::Folder { path: path.display().to_string(), problem: problem.to_string() }
    }

    pub(crate) fn in_text(file: &'static str, problem: impl Into<String>) -> Self {
        Self::Text { file, problem: problem.into() }
    }
}

/// A package whose every byte was checked.
#[derive(Clone, Debug)]
pub struct Package<'a> {
    /// What it says of itself.
    pub meta: Meta,
    /// What its program may do.
    pub permissions: Permissions,
    /// Who has signed it; all of these signatures hold.
    pub signatures: Vec<Signature>,
    /// What it is called by: another one for any change in it but to the signatures.
    pub digest: Digest,
    /// The program.
    pub program: &'a [u8],
    files: Vec<File<'a>>,
}

impl<'a> Package<'a> {
    /// Whether a file looks as if it was meant to be a package: a tar archive starts with the name of its first file.
    #[must_use]
    pub fn is_likely(bytes: &[u8]) -> bool {
        bytes.strip_prefix(META.as_bytes()).and_then(<[u8]>::first) == Some(&0)
    }

    /// Checks a package and everything in it.
    ///
    /// # Errors
    /// [`TsoError`], with the file or the line that is at fault.
    pub fn open(bytes: &'a [u8]) -> Result<Self, TsoError> {
        let files = archive::read(bytes)?;
        let [described, packed @ .., last] = &files[..] else { return Err(TsoError::archive("it is empty")) };
        let meta = Meta::of_package(text(described)?)?;
        let digest = Digest::of(described.bytes);
        if last.path != SIGNATURES {
            return Err(TsoError::archive(format!("it has no {SIGNATURES}: nobody has signed it")));
        }
        meta.check_files(packed)?;
        let signatures = Signatures::parse(text(last)?)?.checked(&digest)?;
        let find = |name: &str| {
            let found = packed.iter().find(|file| file.path == name);
            found.ok_or_else(|| TsoError::archive(format!("it has no {name}")))
        };
        let permissions = Permissions::parse(text(find(PERMISSIONS)?)?)?;
        let program = find(PROGRAM)?.bytes;
        Ok(Self { meta, permissions, signatures, digest, program, files })
    }

    /// Which package it is.
    #[must_use]
    pub fn identity(&self) -> Identity {
        Identity {
            name: self.meta.name.clone(),
            version: self.meta.version.to_string(),
            digest: self.digest.to_string(),
            signers: self.signatures.iter().map(|signature| signature.key().to_string()).collect(),
        }
    }

    /// All files, in their order.
    #[must_use]
    pub fn files(&self) -> &[File<'a>] {
        &self.files
    }

    /// The files that the program sees, by their paths below `/`.
    pub fn assets(&self) -> impl Iterator<Item = (&str, &'a [u8])> {
        self.files.iter().filter_map(|file| Some((file.path.strip_prefix(ASSETS)?, file.bytes)))
    }

    /// Whether one of those who have signed it has this public key.
    ///
    /// # Errors
    /// [`TsoError::Signer`] if not.
    pub fn check_signer(&self, key: &str) -> Result<(), TsoError> {
        signature::check_signer(&self.signatures, key)
    }
}

fn text<'a>(file: &File<'a>) -> Result<&'a str, TsoError> {
    std::str::from_utf8(file.bytes)
        .map_err(|error| TsoError::archive(format!("{} is not UTF-8: {error}", file.path)))
}

#[cfg(test)]
mod tests;
