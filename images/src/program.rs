//! A program as its user has it, a `.wasm` file or a `.tso` package, and how it is run.
//!
//! What a package says of itself and what its user wants come together here: the user may change everything that the
//! package's permissions allow.

use crate::cache::{ImageCache, Origin};
use crate::compile::{CompileError, CompiledImage};
use crate::mounts;
use crate::tso::permissions::{FileAccess, Permissions};
use crate::tso::{Package, TsoError, meta};
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_abi::image_files;
use sentient_abi::mounts::MAX_MOUNTS;
use sentient_abi::network::{Destination, MAX_DESTINATIONS, MAX_PORTS};
use sentient_abi::permissions::{self, PermissionsSpec, permission_flags};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Memory of a program that does not say how much, in bytes.
pub const DEFAULT_MEMORY: u64 = 64 << 20;

/// Why a program cannot be run as it is wanted.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// It cannot become an image.
    #[error(transparent)]
    Compile(#[from] CompileError),
    /// Its package is not in order.
    #[error(transparent)]
    Package(#[from] TsoError),
    /// Its permissions do not allow it.
    #[error(
        "its permissions do not allow {what}; {rule} in permissions.zky would, or --permissions with another one"
    )]
    Forbidden {
        /// What was wanted.
        what: String,
        /// The rule that would allow it.
        rule: String,
    },
    /// More ports than a container has.
    #[error("it is to listen on {0} ports, and a container has {MAX_PORTS} at most")]
    TooManyPorts(usize),
    /// More destinations than a container has.
    #[error("it is to connect to {0} destinations, and a container has {MAX_DESTINATIONS} at most")]
    TooManyDestinations(usize),
    /// What is no destination.
    #[error("`{0}` is no destination: {1}")]
    Destination(String, &'static str),
    /// More folders than a container has.
    #[error("it is to have {0} folders of this host, and a container has {MAX_MOUNTS} at most")]
    TooManyFolders(usize),
    /// A folder of the host's cannot be there.
    #[error("it cannot have a folder of this host at {path}: {why}")]
    Mount {
        /// Where it was to find it.
        path: String,
        /// Why not.
        why: String,
    },
    /// What is not a variable.
    #[error("`{0}` is no NAME=value")]
    Variable(String),
    /// More files or longer paths than can be handed over.
    #[error("its files are too many or too long to be handed to the guest")]
    TooLong,
}

impl ProgramError {
    /// A word for programs.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Compile(CompileError::NotWasm { .. }) => "not-wasm",
            Self::Compile(CompileError::NoCommand) => "no-command",
            Self::Compile(CompileError::Invalid(_)) => "invalid-module",
            Self::Compile(CompileError::Import { .. } | CompileError::Interface(_)) => "unknown-import",
            Self::Compile(CompileError::MemoryLimit { .. }) => "memory-limit",
            Self::Compile(CompileError::Compiler(_)) => "compiler",
            Self::Package(TsoError::Signer { .. }) => "signer",
            Self::Package(_) | Self::TooLong => "package",
            Self::Forbidden { .. } => "forbidden",
            Self::TooManyPorts(_) => "ports",
            Self::TooManyFolders(_) | Self::Mount { .. } => "volumes",
            Self::TooManyDestinations(_) | Self::Destination(..) => "destinations",
            Self::Variable(_) => "environment",
        }
    }
}

/// How a user wants a program to be run.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Its first argument, where it has no name of its own.
    pub name: Vec<u8>,
    /// Arguments.
    pub args: Vec<Vec<u8>>,
    /// Variables, as `NAME=value`.
    pub env: Vec<Vec<u8>>,
    /// Most bytes of memory; the program's own wish, or [`DEFAULT_MEMORY`], if not given.
    pub memory: Option<u64>,
    /// Most CPU time; the program's own wish, or no limit, if not given.
    pub cpu_time: Option<Duration>,
    /// Its part of the processor where others want it too, in hundredths; its own wish, or all, if not given.
    pub cpu: Option<u32>,
    /// What it may do, instead of what its package says.
    pub permissions: Option<Permissions>,
    /// That it may do everything, whatever its package says.
    pub unconfined: bool,
    /// The public key of who must have signed it.
    pub signer: Option<String>,
    /// Whether it is told which rule would allow what it was refused.
    pub explain: bool,
    /// Ports that it is to listen on. One that is there twice counts once.
    pub ports: Vec<u16>,
    /// [Destinations](Destination) that it may connect to; if there are none, those that its permissions allow.
    pub connect: Vec<String>,
    /// Folders of the host that it is given: where it finds each, and whether it is only to read it. They are the volumes
    /// from 0 on.
    pub mounts: Vec<(String, bool)>,
    /// The number of the container whose files it is to have instead of its own.
    pub files_of: Option<u32>,
}

/// A program, ready to run.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// Arguments, limits, permissions, files.
    pub spec: ContainerSpec,
    /// Its image.
    pub image: CompiledImage,
    /// Whether that was compiled now.
    pub origin: Origin,
    /// The package it is of.
    pub package: Option<Identity>,
}

/// Which package something is of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// What it is called.
    pub name: String,
    /// Which of them.
    pub version: String,
    /// Its digest.
    pub digest: String,
    /// The public keys of those who have signed it.
    pub signers: Vec<String>,
}

/// Checks a program, compiles it if it is not in the cache, and puts together how it is run. If it has to be compiled,
/// `compiling` is called before, and what it gives is dropped when that is done.
///
/// # Errors
/// [`ProgramError`].
pub fn prepare<G>(
    bytes: &[u8],
    wanted: &Wanted,
    cache: &ImageCache,
    compiling: impl FnOnce() -> G,
) -> Result<Prepared, ProgramError> {
    let program = Program::open(bytes)?;
    match (&wanted.signer, program.package()) {
        (Some(signer), Some(package)) => package.check_signer(signer)?,
        (Some(signer), None) => {
            let (wanted, found) = (signer.clone(), "nobody: it is no package".into());
            return Err(TsoError::Signer { wanted, found }.into());
        }
        (None, _) => {}
    }
    let spec = program.spec(wanted)?;
    let (image, origin) = cache.image_while(program.wasm(), compiling)?;
    image.check_memory(spec.memory_limit)?;
    Ok(Prepared { spec, image, origin, package: program.package().map(Package::identity) })
}

/// A program, checked as far as that goes without compiling it.
#[derive(Debug)]
pub enum Program<'a> {
    /// A WebAssembly file, or something that is none.
    Plain(&'a [u8]),
    /// A package.
    Packed(Box<Package<'a>>),
}

impl<'a> Program<'a> {
    /// The program in a file's bytes.
    ///
    /// # Errors
    /// [`TsoError`] for a package that is not in order.
    pub fn open(bytes: &'a [u8]) -> Result<Self, TsoError> {
        if Package::is_likely(bytes) {
            return Ok(Self::Packed(Box::new(Package::open(bytes)?)));
        }
        Ok(Self::Plain(bytes))
    }

    /// What is to be compiled.
    #[must_use]
    pub fn wasm(&self) -> &'a [u8] {
        match self {
            Self::Plain(bytes) => bytes,
            Self::Packed(package) => package.program,
        }
    }

    /// The package.
    #[must_use]
    pub fn package(&self) -> Option<&Package<'a>> {
        match self {
            Self::Plain(_) => None,
            Self::Packed(package) => Some(package),
        }
    }

    /// How it is run.
    ///
    /// # Errors
    /// [`ProgramError`] if it may not be run so.
    pub fn spec(&self, wanted: &Wanted) -> Result<ContainerSpec, ProgramError> {
        let package = self.package();
        let permissions = wanted.permissions.as_ref().or(package.map(|package| &package.permissions));
        let permissions = permissions.filter(|_| !wanted.unconfined);
        let resources = package.map(|package| &package.meta.resources).cloned().unwrap_or_default();
        let limits = permissions.map(|permissions| permissions.limits).unwrap_or_default();
        let memory = within(wanted.memory, resources.memory()?, limits.memory, |bytes| {
            (format!("{bytes} bytes of memory"), format!("limits: {{ memory: {bytes} }}"))
        })?;
        let cpu_time = within(wanted.cpu_time, resources.cpu_time()?, limits.cpu_time, |time| {
            (format!("{time:?} of CPU time"), format!("limits: {{ cpu_time: {}ms }}", time.as_millis()))
        })?;
        let mut spec = ContainerSpec {
            memory_limit: memory.unwrap_or(DEFAULT_MEMORY),
            cpu_limit_ns: cpu_time.map_or(0, nanoseconds),
            cpu_weight: wanted.cpu.or(resources.cpu()?),
            flags: if wanted.explain { container_flags::EXPLAIN } else { 0 },
            permissions: permissions.map(encoded),
            ports: ports(&wanted.ports, permissions)?,
            destinations: destinations(&wanted.connect, permissions)?,
            mounts: mounts::encoded(&wanted.mounts, wanted.files_of, permissions)?,
            ..ContainerSpec::default()
        };
        match package {
            None => spec.args.push(wanted.name.clone()),
            Some(package) => {
                let meta = &package.meta;
                if meta.entry != meta::START {
                    spec.entry.clone_from(&meta.entry);
                }
                spec.args.push(meta.name.clone().into_bytes());
                spec.args.extend(meta.args.iter().map(|arg| arg.clone().into_bytes()));
                spec.env.extend(meta.env.iter().map(|variable| variable.clone().into_bytes()));
                for (path, contents) in package.assets() {
                    image_files::append(&mut spec.files, path.as_bytes(), contents)
                        .ok_or(ProgramError::TooLong)?;
                }
            }
        }
        spec.args.extend(wanted.args.iter().cloned());
        for variable in &wanted.env {
            set(&mut spec.env, variable, permissions)?;
        }
        Ok(spec)
    }
}

/// The ports that are wanted, each once, if it may listen on them.
fn ports(wanted: &[u16], permissions: Option<&Permissions>) -> Result<Vec<u16>, ProgramError> {
    let mut ports = Vec::with_capacity(wanted.len());
    for port in wanted {
        if permissions.is_some_and(|permissions| !permissions.listen.contains(port)) {
            let what = format!("port {port}");
            return Err(ProgramError::Forbidden { what, rule: format!("network: {{ listen: [{port}] }}") });
        }
        if !ports.contains(port) {
            ports.push(*port);
        }
    }
    if ports.len() > MAX_PORTS {
        return Err(ProgramError::TooManyPorts(ports.len()));
    }
    Ok(ports)
}

/// Where it is to be able to connect to, as lines of text: where it is wanted to, if it may, or else everywhere it may.
fn destinations(wanted: &[String], permissions: Option<&Permissions>) -> Result<String, ProgramError> {
    let allowed = permissions.map(|permissions| permissions.connect.as_slice());
    let mut all: Vec<&str> = Vec::new();
    for text in wanted {
        let to = Destination::parse(text).map_err(|why| ProgramError::Destination(text.clone(), why))?;
        let covers = |own: &String| Destination::parse(own).is_ok_and(|own| own.covers(&to));
        if allowed.is_some_and(|allowed| !allowed.iter().any(covers)) {
            let what = format!("connections to {text}");
            return Err(ProgramError::Forbidden {
                what,
                rule: format!("network: {{ connect: ['{text}'] }}"),
            });
        }
        if !all.contains(&text.as_str()) {
            all.push(text);
        }
    }
    if all.len() > MAX_DESTINATIONS {
        return Err(ProgramError::TooManyDestinations(all.len()));
    }
    if wanted.is_empty() {
        all.extend(allowed.unwrap_or_default().iter().map(String::as_str));
    }
    Ok(all.join("\n"))
}

/// Sets a variable: in place of the package's own, or as another one, if it may be given that.
fn set(
    env: &mut Vec<Vec<u8>>,
    variable: &[u8],
    permissions: Option<&Permissions>,
) -> Result<(), ProgramError> {
    let text = || String::from_utf8_lossy(variable).into_owned();
    let len = variable.iter().position(|byte| *byte == b'=').filter(|len| *len > 0);
    let name = len.and_then(|len| variable.get(..=len)).ok_or_else(|| ProgramError::Variable(text()))?;
    if let Some(own) = env.iter_mut().find(|own| own.starts_with(name)) {
        variable.clone_into(own);
        return Ok(());
    }
    let shown = String::from_utf8_lossy(name);
    let shown = shown.trim_end_matches('=');
    if permissions.is_some_and(|permissions| !permissions.allows_variable(shown)) {
        let what = format!("the variable {shown}");
        return Err(ProgramError::Forbidden { what, rule: format!("env: [{shown}]") });
    }
    env.push(variable.to_vec());
    Ok(())
}

/// What is wanted, or else what the program would have, up to what is allowed.
fn within<T: Copy + Ord>(
    wanted: Option<T>,
    own: Option<T>,
    allowed: Option<T>,
    told: impl FnOnce(T) -> (String, String),
) -> Result<Option<T>, ProgramError> {
    match (wanted, allowed) {
        (Some(wanted), Some(allowed)) if wanted > allowed => {
            let (what, rule) = told(wanted);
            Err(ProgramError::Forbidden { what, rule })
        }
        (Some(wanted), _) => Ok(Some(wanted)),
        (None, Some(allowed)) => Ok(Some(own.map_or(allowed, |own| own.min(allowed)))),
        (None, None) => Ok(own),
    }
}

fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn encoded(given: &Permissions) -> PermissionsSpec {
    let access = |access| match access {
        FileAccess::None => permissions::FileAccess::None,
        FileAccess::Read => permissions::FileAccess::Read,
        FileAccess::Write => permissions::FileAccess::Write,
    };
    let rules = given.files.iter().map(|rule| (access(rule.access), rule.path.clone().into_bytes()));
    PermissionsSpec {
        flags: if given.random { permission_flags::RANDOM } else { 0 },
        open_files: given.limits.open_files.unwrap_or(0),
        file_bytes: given.limits.file_bytes.unwrap_or(0),
        output_rate: given.limits.output.unwrap_or(0),
        wall_clock_ns: given.wall_clock.map_or(0, nanoseconds),
        monotonic_clock_ns: given.monotonic_clock.map_or(0, nanoseconds),
        rules: rules.collect(),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn with(permissions: &str) -> Wanted {
        Wanted { permissions: Some(Permissions::parse(permissions).unwrap()), ..Wanted::default() }
    }

    fn spec(wanted: &Wanted) -> Result<ContainerSpec, ProgramError> {
        Program::open(b"\0asm\x01\0\0\0").unwrap().spec(wanted)
    }

    #[test]
    fn a_plain_program_may_do_everything_unless_it_is_given_permissions() {
        let plain = spec(&Wanted::default()).unwrap();
        assert_eq!((plain.permissions, plain.memory_limit, plain.cpu_limit_ns), (None, DEFAULT_MEMORY, 0));
        let confined = spec(&with("version: 1\nclocks: { wall: 1ms }\n")).unwrap().permissions.unwrap();
        assert_eq!((confined.wall_clock_ns, confined.monotonic_clock_ns, confined.flags), (1_000_000, 0, 0));
    }

    #[test]
    fn limits_are_what_there_is_and_wishes_stay_below_them() {
        let limited = with("version: 1\nlimits: { memory: 8M, cpu_time: 1s }\n");
        let given = spec(&limited).unwrap();
        assert_eq!((given.memory_limit, given.cpu_limit_ns), (8 << 20, 1_000_000_000));
        let less = Wanted { memory: Some(1 << 20), ..limited.clone() };
        assert_eq!(spec(&less).unwrap().memory_limit, 1 << 20);
        let more = Wanted { memory: Some(9 << 20), ..limited };
        let error = spec(&more).unwrap_err().to_string();
        assert!(error.contains("9437184 bytes of memory") && error.contains("limits: { memory"), "{error}");
    }

    #[test]
    fn a_program_connects_to_where_it_is_wanted_to_and_may() {
        let wanted = |connect: &[&str], base: Wanted| {
            let connect = connect.iter().map(|to| (*to).to_owned()).collect();
            spec(&Wanted { connect, ..base }).map(|spec| spec.destinations)
        };
        assert_eq!(wanted(&[], Wanted::default()).unwrap(), "", "nowhere unless somebody says so");
        assert_eq!(wanted(&["a:1", "*:2", "a:1"], Wanted::default()).unwrap(), "a:1\n*:2");
        let confined = with("version: 1\nnetwork: { connect: ['*.example.com:443', '192.0.2.0/24:80'] }\n");
        assert_eq!(wanted(&[], confined.clone()).unwrap(), "*.example.com:443\n192.0.2.0/24:80");
        assert_eq!(wanted(&["a.example.com:443"], confined.clone()).unwrap(), "a.example.com:443");
        let error = wanted(&["example.org:443"], confined).unwrap_err().to_string();
        assert!(error.contains("network: { connect: ['example.org:443'] }"), "{error}");
        assert!(wanted(&["a:1"], with("version: 1\n")).is_err());
        assert_eq!(wanted(&["a"], Wanted::default()).unwrap_err().kind(), "destinations");
        let many: Vec<String> = (1..=65).map(|port| format!("a:{port}")).collect();
        let error = spec(&Wanted { connect: many, ..Wanted::default() }).unwrap_err();
        assert_eq!(error.kind(), "destinations");
    }

    #[test]
    fn variables_are_given_by_name() {
        let env = |words: &[&str]| words.iter().map(|word| word.as_bytes().to_vec()).collect();
        let wanted =
            Wanted { env: env(&["LANG=C", "LANG=de", "TZ="]), ..with("version: 1\nenv: [LANG, TZ]\n") };
        assert_eq!(spec(&wanted).unwrap().env, [&b"LANG=de"[..], b"TZ="]);
        let wanted = Wanted { env: env(&["HOME=/"]), ..with("version: 1\nenv: [LANG]\n") };
        assert!(spec(&wanted).unwrap_err().to_string().contains("env: [HOME]"));
        let all = Wanted { env: env(&["HOME=/"]), ..with("version: 1\nenv: ['*']\n") };
        assert_eq!(spec(&all).unwrap().env.len(), 1);
        for bad in ["", "HOME", "=x"] {
            assert!(spec(&Wanted { env: env(&[bad]), ..Wanted::default() }).is_err(), "{bad}");
        }
    }
}
