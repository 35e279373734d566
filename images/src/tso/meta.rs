//! `meta.yaml`: what a package is.
//!
//! ```yaml
//! tso: 1
//! name: greeter
//! version: 1.2.0
//! description: Says hello                 # or nothing
//! entry: _start                           # the function that runs
//! args: [--loud]                          # before those of the command line
//! env: [GREETING=Hi]                      # unless the command line says otherwise
//! resources: { memory: 32M, cpu_time: 10s }
//! files:                                  # written by `sentctl pack`
//! - { path: main.wasm, size: 1234, sha3-256: 6e5f... }
//! ```

use super::archive::{File, MAX_FILES};
use super::digest::Digest;
use super::{META, SIGNATURES, TsoError, yaml};
use crate::quantity::{parse_duration, parse_share, parse_size};
use semver::Version;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// The version of the format of packages that is read and written.
pub const VERSION: u64 = 1;
/// Most bytes of a `meta.yaml`: some 400 for each file.
const MAX_LEN: usize = 2 << 20;
/// Most bytes of a name, and most of a description.
const MAX_NAME: usize = 64;
const MAX_DESCRIPTION: usize = 1024;
/// Most arguments, and most variables.
const MAX_WORDS: usize = 256;
/// The function that programs begin with, by WASI's convention.
pub const START: &str = "_start";

/// What a package says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Meta {
    tso: u64,
    /// What it is called: 1 to 64 small letters, digits, `.`, `_` and `-`, a letter or digit first.
    pub name: String,
    /// Which of them it is, by the rules of semver.org.
    pub version: Version,
    /// What it is for, in a sentence.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The exported function that runs.
    #[serde(default = "start", skip_serializing_if = "is_start")]
    pub entry: String,
    /// Arguments that stand before those of the command line.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub args: Vec<String>,
    /// Variables, as `NAME=value`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// What it takes.
    #[serde(default, skip_serializing_if = "Resources::is_default")]
    pub resources: Resources,
    /// Every other file but the signatures, in the archive's order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<Listed>,
}

/// What a program takes, unless the command line says otherwise.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Most memory, as `32M`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    memory: Option<String>,
    /// Most CPU time, as `10s`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu_time: Option<String>,
    /// Its part of the processor where others want it too, as `20%`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cpu: Option<String>,
}

impl Resources {
    /// The same, but for what is given.
    #[must_use]
    pub fn of(other: &Self, memory: Option<u64>, cpu_time: Option<Duration>, cpu: Option<u32>) -> Self {
        let text = |given: Option<String>, other: &Option<String>| given.or_else(|| other.clone());
        Self {
            memory: text(memory.map(|bytes| bytes.to_string()), &other.memory),
            cpu_time: text(cpu_time.map(|time| format!("{}ms", time.as_millis().max(1))), &other.cpu_time),
            cpu: text(cpu.map(|share| format!("{share}%")), &other.cpu),
        }
    }

    fn is_default(&self) -> bool {
        *self == Self::default()
    }

    /// Most bytes of memory.
    ///
    /// # Errors
    /// [`TsoError::Text`] if it is no size.
    pub fn memory(&self) -> Result<Option<u64>, TsoError> {
        let read =
            |text: &String| parse_size(text).map_err(|problem| bad(format!("resources.memory: {problem}")));
        self.memory.as_ref().map(read).transpose()
    }

    /// Most CPU time.
    ///
    /// # Errors
    /// [`TsoError::Text`] if it is no time.
    pub fn cpu_time(&self) -> Result<Option<Duration>, TsoError> {
        let read = |text: &String| {
            parse_duration(text).map_err(|problem| bad(format!("resources.cpu_time: {problem}")))
        };
        self.cpu_time.as_ref().map(read).transpose()
    }

    /// Its part of the processor where others want it too, in hundredths.
    ///
    /// # Errors
    /// [`TsoError::Text`] if it is none.
    pub fn cpu(&self) -> Result<Option<u32>, TsoError> {
        let read =
            |text: &String| parse_share(text).map_err(|problem| bad(format!("resources.cpu: {problem}")));
        self.cpu.as_ref().map(read).transpose()
    }
}

/// A file, as a package's description lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Listed {
    /// Where it is.
    pub path: String,
    /// Its bytes.
    pub size: u64,
    /// The SHA3-256 digest of its contents.
    #[serde(rename = "sha3-256")]
    pub digest: Digest,
}

fn start() -> String {
    START.to_owned()
}

fn is_start(entry: &str) -> bool {
    entry == START
}

fn bad(problem: impl Into<String>) -> TsoError {
    TsoError::in_text(META, problem)
}

impl Meta {
    /// A description of this name and version, otherwise like another one if there is one. It lists no files.
    ///
    /// # Errors
    /// [`TsoError::Text`] for what is no name.
    pub fn new(name: &str, version: Version, like: Option<Self>) -> Result<Self, TsoError> {
        check_name(name)?;
        let mut meta = like.unwrap_or_else(|| Self {
            tso: VERSION,
            name: String::new(),
            version: Version::new(0, 0, 0),
            description: String::new(),
            entry: start(),
            args: Vec::new(),
            env: Vec::new(),
            resources: Resources::default(),
            files: Vec::new(),
        });
        (meta.name, meta.version) = (name.to_owned(), version);
        meta.files.clear();
        Ok(meta)
    }

    /// The description in a folder that is to be packed: it lists no files, or exactly those that are there.
    ///
    /// # Errors
    /// [`TsoError::Text`], [`TsoError::Version`].
    pub fn parse(text: &str) -> Result<Self, TsoError> {
        let meta: Self = yaml::read(META, text, MAX_LEN, ("tso", VERSION))?;
        check_name(&meta.name)?;
        if meta.description.len() > MAX_DESCRIPTION || meta.description.chars().any(char::is_control) {
            return Err(bad(format!("description: at most {MAX_DESCRIPTION} bytes, on one line")));
        }
        if meta.entry.is_empty() || meta.entry.contains('\0') {
            return Err(bad("entry: it is the name of a function"));
        }
        for (what, words) in [("args", &meta.args), ("env", &meta.env)] {
            if words.len() > MAX_WORDS {
                return Err(bad(format!("{what}: at most {MAX_WORDS} are allowed")));
            }
            if let Some(word) = words.iter().find(|word| word.contains('\0')) {
                return Err(bad(format!("{what}: {word:?} has a zero byte in it")));
            }
        }
        let mut names: Vec<&str> = Vec::with_capacity(meta.env.len());
        for variable in &meta.env {
            match variable.split_once('=') {
                None | Some(("", _)) => return Err(bad(format!("env: `{variable}` is no NAME=value"))),
                Some((name, _)) if names.contains(&name) => {
                    return Err(bad(format!("env: `{name}` is there twice")));
                }
                Some((name, _)) => names.push(name),
            }
        }
        meta.resources.memory()?;
        meta.resources.cpu_time()?;
        meta.resources.cpu()?;
        if meta.files.len() > MAX_FILES {
            return Err(bad(format!("files: at most {MAX_FILES} are allowed")));
        }
        Ok(meta)
    }

    /// The description in a package, which lists files.
    ///
    /// # Errors
    /// As [`parse`](Self::parse).
    pub fn of_package(text: &str) -> Result<Self, TsoError> {
        let meta = Self::parse(text)?;
        if meta.files.is_empty() {
            return Err(bad("it lists no files: it was not packed by `sentctl pack`"));
        }
        Ok(meta)
    }

    /// The same for other files.
    ///
    /// # Errors
    /// [`TsoError::Content`] if it lists files already, and these are others.
    pub fn with_files(mut self, files: &[File<'_>]) -> Result<Self, TsoError> {
        if self.files.is_empty() {
            let listed = |file: &File<'_>| Listed {
                path: file.path.clone(),
                size: file.bytes.len() as u64,
                digest: Digest::of(file.bytes),
            };
            self.files = files.iter().map(listed).collect();
        }
        self.check_files(files)?;
        Ok(self)
    }

    /// Whether these are the files that are listed, in the same order.
    ///
    /// # Errors
    /// [`TsoError::Archive`], [`TsoError::Content`] with the first one that is not.
    pub fn check_files(&self, files: &[File<'_>]) -> Result<(), TsoError> {
        let mut listed = self.files.iter();
        for file in files {
            let found = listed.next().filter(|listed| listed.path == file.path);
            let Some(Listed { path, size, digest }) = found else {
                let path = &file.path;
                return Err(TsoError::archive(format!("{path} is in it, and {META} does not list it there")));
            };
            let differs = |what, found: String, expected: String| {
                Err(TsoError::Content { path: path.clone(), what, found, expected })
            };
            let len = file.bytes.len() as u64;
            if len != *size {
                return differs("its bytes are", len.to_string(), size.to_string());
            }
            let found = Digest::of(file.bytes);
            if found != *digest {
                return differs("its SHA3-256 digest is", found.to_string(), digest.to_string());
            }
        }
        match listed.next() {
            Some(missing) if missing.path == SIGNATURES => {
                Err(bad(format!("files: {SIGNATURES} cannot be one")))
            }
            Some(missing) => {
                Err(TsoError::archive(format!("{META} lists {}, which is not there", missing.path)))
            }
            None => Ok(()),
        }
    }

    /// As text.
    ///
    /// # Errors
    /// [`TsoError::Text`].
    pub fn to_text(&self) -> Result<String, TsoError> {
        yaml::write(META, self)
    }
}

/// Whether this can be a package's name: what can be part of a file's name, of a registry's path (OCI distribution
/// specification 1.1, "name"), and of a container's name.
///
/// # Errors
/// [`TsoError::Text`] if it cannot.
pub fn check_name(name: &str) -> Result<(), TsoError> {
    let plain = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separated = name.bytes().all(|c| plain(c) || matches!(c, b'.' | b'_' | b'-'));
    let starts = name.bytes().next().is_some_and(plain) && name.bytes().last().is_some_and(plain);
    if separated && starts && name.len() <= MAX_NAME {
        return Ok(());
    }
    Err(bad(format!(
        "name: `{name}` cannot be a package's name: 1 to {MAX_NAME} small letters, digits, `.`, `_` and `-`, with a \
         letter or a digit at both ends"
    )))
}
