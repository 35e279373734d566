//! A program of the user's, made ready to run.

use crate::cli::run::{ProgramArgs, RunArgs};
use crate::commands::{image, package};
use crate::errors::CommandError;
use crate::paths;
use crate::progress::{Measure, Progress};
use sentient_abi::boot_module::container_flags;
use sentient_control::folders::FolderMapping;
use sentient_control::ports::PortMapping;
use sentient_images::ImageCache;
use sentient_images::program::{self, Prepared, Wanted};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What a program is given of this host, and of the world beyond.
#[derive(Clone, Copy, Debug, Default)]
pub struct Given<'a> {
    /// Ports for others to connect to.
    pub ports: &'a [PortMapping],
    /// Where it may connect to.
    pub connect: &'a [String],
    /// Folders, where they are.
    pub volumes: &'a [FolderMapping],
}

impl<'a> Given<'a> {
    /// What `run` is told.
    pub fn of(args: &'a RunArgs, volumes: &'a [FolderMapping]) -> Self {
        Self { ports: &args.publish, connect: &args.connect, volumes }
    }
}

/// Reads, compiles and checks a program, and puts its configuration together. People see that it is compiled,
/// if that takes long, unless `quiet`. One that is no file may be an image of the home.
///
/// # Errors
/// [`CommandError`] if there is no such file, or it cannot run.
pub fn prepare(
    args: &ProgramArgs,
    given: &Given<'_>,
    home: Option<&Path>,
    quiet: bool,
) -> Result<Prepared, CommandError> {
    let wish = args.permissions.is_some() || args.explain || args.signer.is_some();
    if args.unconfined && wish {
        let why = "`unsecure run` asks for no permissions and no signature: leave --permissions, --explain and --signer out, or use `sentctl run`";
        return Err(CommandError::Usage(why.into()));
    }
    let bytes = image::read(home, &args.program)?;
    let cache = ImageCache::new(if args.no_cache { None } else { paths::image_cache() });
    let permissions = args.permissions.as_deref().map(package::permissions).transpose()?;
    let wanted = Wanted {
        name: args.program.file_name().unwrap_or(args.program.as_os_str()).as_bytes().to_vec(),
        args: args.args.iter().map(|word| word.as_bytes().to_vec()).collect(),
        env: environment(&args.env)?,
        memory: args.memory,
        cpu_time: args.cpu_time,
        // A program that is alone has all of it.
        cpu: None,
        permissions: permissions.map(|(_, permissions)| permissions),
        unconfined: args.unconfined,
        signer: args.signer.clone(),
        explain: args.explain,
        ports: given.ports.iter().map(|mapping| mapping.port).collect(),
        connect: given.connect.to_vec(),
        mounts: given.volumes.iter().map(|folder| (folder.path.clone(), folder.read_only)).collect(),
        files_of: None,
    };
    let compiling = || Progress::start("compiling the program", Measure::Time, quiet);
    let mut prepared = program::prepare(&bytes, &wanted, &cache, compiling)
        .map_err(|source| CommandError::Program { program: args.program.clone(), source })?;
    if let Some(function) = &args.invoke {
        let spec = &mut prepared.spec;
        spec.flags |= container_flags::INVOKE;
        let repeat = args.repeat.unwrap_or(0).to_string().into_bytes();
        spec.args.splice(1..1, [function.as_bytes().to_vec(), repeat]);
    }
    Ok(prepared)
}

/// Folders as they are given, where they are.
///
/// # Errors
/// [`CommandError::Volume`].
pub fn folders(wanted: &[FolderMapping]) -> Result<Vec<FolderMapping>, CommandError> {
    let found = |folder: &FolderMapping| {
        folder.clone().found().map_err(|source| CommandError::Volume { folder: folder.host.clone(), source })
    };
    wanted.iter().map(found).collect()
}

/// Variables as they are given: with a value, or with this process' own.
///
/// # Errors
/// [`CommandError::Environment`].
pub fn environment(wanted: &[String]) -> Result<Vec<Vec<u8>>, CommandError> {
    let bad = |entry: &String, why| CommandError::Environment(entry.clone(), why);
    let mut variables = Vec::new();
    for entry in wanted {
        match entry.split_once('=') {
            Some(("", _)) => return Err(bad(entry, "a variable has a name: write NAME=VALUE")),
            Some(_) => variables.push(entry.as_bytes().to_vec()),
            None => {
                let value = std::env::var_os(entry)
                    .ok_or_else(|| bad(entry, "it is not set here: write NAME=VALUE"))?;
                let mut variable = entry.as_bytes().to_vec();
                variable.push(b'=');
                variable.extend_from_slice(value.as_bytes());
                variables.push(variable);
            }
        }
    }
    Ok(variables)
}
