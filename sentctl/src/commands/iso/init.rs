//! The list of programs that a medium starts.
//!
//! ```yaml
//! init: 1
//! programs:
//! - program: web.tso            # beside this file, or the name of an image
//!   name: web                   # by default the package's, or the file's
//!   args: [--verbose]
//!   env: [GREETING=hello]
//!   memory: 32M
//!   ports: [80]                 # by default all that its package may listen on
//!   permissions: web.zky        # instead of its package's
//!   checkpoint: 10s             # by default never: how often it is kept, for when it traps
//! ```

use crate::cli::iso::IsoBuildArgs;
use crate::cli::run::ProgramArgs;
use crate::commands::image;
use crate::commands::program::{self, Given};
use crate::errors::CommandError;
use sentient_control::ports::PortMapping;
use sentient_images::quantity::{parse_duration, parse_size};
use sentient_images::tso::Package;
use sentient_vmm::ContainerRun;
use sentient_vmm::medium::Program;
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The version of the list's format.
const VERSION: u64 = 1;
/// Most bytes of a list, and most programs: each has up to nine entries of the boot module's hundred.
const MAX_LEN: u64 = 64 << 10;
const MAX_PROGRAMS: usize = 10;
/// Least time between two checkpoints of a program.
const SOONEST: Duration = Duration::from_millis(100);
/// Longest name of a program, in bytes.
const MAX_NAME: usize = 64;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    init: u64,
    programs: Vec<Entry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    program: PathBuf,
    name: Option<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    memory: Option<String>,
    ports: Option<Vec<u16>>,
    permissions: Option<PathBuf>,
    checkpoint: Option<String>,
}

/// A program, as it is wanted.
struct Wanted {
    args: ProgramArgs,
    name: Option<String>,
    ports: Option<Vec<u16>>,
    checkpoint: Option<Duration>,
}

/// The programs of a medium, compiled, with names that differ.
///
/// # Errors
/// [`CommandError`] if a list or a program cannot be read, or they cannot be on one machine.
pub fn programs(args: &IsoBuildArgs, home: Option<&Path>, quiet: bool) -> Result<Vec<Program>, CommandError> {
    let mut wanted: Vec<Wanted> = Vec::new();
    if let Some(list) = &args.init {
        wanted = read(list)?;
    }
    wanted.extend(args.programs.iter().map(|program| Wanted {
        args: ProgramArgs { program: program.clone(), memory: args.memory, ..ProgramArgs::default() },
        name: None,
        ports: None,
        checkpoint: None,
    }));
    if wanted.len() > MAX_PROGRAMS {
        return Err(CommandError::Usage(format!(
            "{} programs are wanted, and a medium has room for {MAX_PROGRAMS}",
            wanted.len()
        )));
    }
    let mut programs: Vec<Program> = Vec::with_capacity(wanted.len());
    for wanted in wanted {
        let program = prepare(wanted, &programs, home, quiet)?;
        programs.push(program);
    }
    Ok(programs)
}

fn prepare(
    wanted: Wanted,
    others: &[Program],
    home: Option<&Path>,
    quiet: bool,
) -> Result<Program, CommandError> {
    let Wanted { args, name, ports, checkpoint } = wanted;
    // Nobody says later which of them are published: there is no host.
    let ports = match ports {
        Some(ports) => ports,
        None => match Package::open(&image::read(home, &args.program)?) {
            Ok(package) if args.permissions.is_none() => package.permissions.listen,
            _ => Vec::new(),
        },
    };
    let mappings: Vec<PortMapping> = ports.iter().filter_map(|port| port.to_string().parse().ok()).collect();
    let given = Given { ports: &mappings, ..Given::default() };
    let prepared = program::prepare(&args, &given, home, quiet)?;
    let stem = args.program.file_stem().unwrap_or(args.program.as_os_str()).to_string_lossy().into_owned();
    let base = name.unwrap_or_else(|| prepared.package.map_or(stem, |package| package.name));
    for other in others {
        if let Some(port) = other.run.spec.ports.iter().find(|port| prepared.spec.ports.contains(port)) {
            return Err(CommandError::Usage(format!(
                "`{base}` is to listen on port {port}, and so is `{}`: on one machine they share one address; \
                 give one of them other `ports` in an --init list",
                other.name
            )));
        }
    }
    let mut name = base.clone();
    let mut number = 2u32;
    while others.iter().any(|program| program.name == name) {
        name = format!("{base}-{number}");
        number = number.saturating_add(1);
    }
    let run = ContainerRun { spec: prepared.spec, image: prepared.image };
    Ok(Program { name, run, checkpoint })
}

/// Reads a list; what it names lies beside it.
fn read(path: &Path) -> Result<Vec<Wanted>, CommandError> {
    let bad = |problem: String| CommandError::Usage(format!("{}: {problem}", path.display()));
    let source = |source| CommandError::Read { path: path.to_owned(), source };
    let len = std::fs::metadata(path).map_err(source)?.len();
    if len > MAX_LEN {
        return Err(bad(format!("it has {len} bytes, and at most {MAX_LEN} are allowed")));
    }
    let text = std::fs::read_to_string(path).map_err(source)?;
    let List { init, programs } = serde_yaml::from_str(&text).map_err(|error| bad(error.to_string()))?;
    if init != VERSION {
        return Err(bad(format!("it is a list of version {init}, and this program reads version {VERSION}")));
    }
    let beside = |file: PathBuf| {
        let there = path.parent().unwrap_or(Path::new("")).join(&file);
        if there.exists() { there } else { file }
    };
    let wanted = |entry: Entry| {
        let Entry { program, name, args, env, memory, ports, permissions, checkpoint } = entry;
        if let Some(name) = &name
            && (name.is_empty() || name.len() > MAX_NAME || name.chars().any(char::is_control))
        {
            return Err(bad(format!(
                "{name:?} is no name for a program: 1 to {MAX_NAME} bytes that can be shown"
            )));
        }
        if let Some(port) = ports.iter().flatten().find(|port| **port == 0) {
            return Err(bad(format!("{port} is no port")));
        }
        let memory =
            memory.map(|size| parse_size(&size).map_err(|why| bad(format!("memory: {size}: {why}"))));
        let checkpoint = checkpoint.map(|time| {
            let read = parse_duration(&time).map_err(|why| bad(format!("checkpoint: {time}: {why}")))?;
            if read < SOONEST {
                return Err(bad(format!(
                    "checkpoint: {time} is too often: at least {} ms",
                    SOONEST.as_millis()
                )));
            }
            Ok(read)
        });
        let args = ProgramArgs {
            program: beside(program),
            memory: memory.transpose()?,
            env,
            permissions: permissions.map(beside),
            args: args.into_iter().map(Into::into).collect(),
            ..ProgramArgs::default()
        };
        Ok(Wanted { args, name, ports, checkpoint: checkpoint.transpose()? })
    };
    programs.into_iter().map(wanted).collect()
}
