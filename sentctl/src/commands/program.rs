//! A program of the user's, made ready to run.

use crate::cli::ProgramArgs;
use crate::errors::CommandError;
use crate::paths;
use crate::progress::{Measure, Progress};
use sentient_abi::boot_module::{ContainerSpec, container_flags};
use sentient_images::ImageCache;
use sentient_images::cache::Origin;
use sentient_vmm::ContainerRun;
use std::os::unix::ffi::OsStrExt;

/// Reads, compiles and checks a program, and puts its configuration together. People see that it is compiled,
/// if that takes long, unless `quiet`.
///
/// # Errors
/// [`CommandError`] if there is no such file, or it cannot run.
pub fn prepare(args: &ProgramArgs, quiet: bool) -> Result<(ContainerRun, Origin), CommandError> {
    let wasm = std::fs::read(&args.program)
        .map_err(|source| CommandError::Read { path: args.program.clone(), source })?;
    let cache = ImageCache::new(if args.no_cache { None } else { paths::image_cache() });
    let failed = |source| CommandError::Program { program: args.program.clone(), source };
    let (image, origin) = cache
        .image_while(&wasm, || Progress::start("compiling the program", Measure::Time, quiet))
        .map_err(failed)?;
    image.check_memory(args.memory).map_err(failed)?;
    let name = args.program.file_name().unwrap_or(args.program.as_os_str());
    let mut words = vec![name.as_bytes().to_vec()];
    let mut flags = 0;
    if let Some(function) = &args.invoke {
        flags |= container_flags::INVOKE;
        words.push(function.as_bytes().to_vec());
        words.push(args.repeat.unwrap_or(0).to_string().into_bytes());
    }
    words.extend(args.args.iter().map(|word| word.as_bytes().to_vec()));
    let cpu_limit_ns = args.cpu_time.map_or(0, |time| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    let spec = ContainerSpec {
        flags,
        memory_limit: args.memory,
        cpu_limit_ns,
        args: words,
        env: environment(&args.env)?,
        ..ContainerSpec::default()
    };
    Ok((ContainerRun { spec, image }, origin))
}

fn environment(wanted: &[String]) -> Result<Vec<Vec<u8>>, CommandError> {
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
