//! `sentctl create`, `sentctl pack` and `sentctl inspect`.

use super::image;
use super::machine::Context;
use crate::cli::package::{CreateContainerArgs, InspectArgs, PackArgs};
use crate::errors::CommandError;
use crate::saving::{check_free, save};
use sentient_control::home::{Home, secret};
use sentient_images::program::ProgramError;
use sentient_images::tso::pack::Folder;
use sentient_images::tso::permissions::{FileAccess, Permissions};
use sentient_images::tso::signature::{Algorithm, Key};
use sentient_images::tso::source::Language;
use sentient_images::tso::{Package, TsoError, template};
use serde_json::{Value, json};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

impl Context {
    /// `create container`.
    pub fn create_container(&self, args: &CreateContainerArgs) -> Result<ExitCode, CommandError> {
        let failed = |source| CommandError::Package { path: args.folder.clone(), source };
        let language = Language::from(args.lang);
        let files = template::create(&args.folder, language).map_err(failed)?;
        let (compiler, missing) = match language.compiler() {
            Ok(compiler) => (Some(compiler.to_string()), None),
            Err(error) => (None, Some(error.to_string())),
        };
        let answer =
            json!({ "folder": args.folder, "files": files, "compiler": compiler, "missing": missing });
        self.answer(&answer, |out, _| {
            for file in &files {
                writeln!(out, "{}", file.display())?;
            }
            if let Some(compiler) = &compiler {
                writeln!(out, "compiler: {compiler}")?;
            }
            if let Some(missing) = &missing {
                writeln!(out, "missing: {missing}")?;
            }
            writeln!(out, "next: sentctl pack {}", args.folder.display())
        })
    }

    /// `pack`.
    pub fn pack(&self, args: &PackArgs) -> Result<ExitCode, CommandError> {
        let failed = |source| CommandError::Package { path: args.folder.clone(), source };
        let folder = self.during("compiling the program", || Folder::read(&args.folder)).map_err(failed)?;
        let said = folder.said().to_owned();
        let output = args.output.clone().unwrap_or_else(|| PathBuf::from(format!("{}.tso", folder.name())));
        check_free(&output, args.force)?;
        // What nobody could run is not worth a signature.
        self.during("checking the program", || folder.check_program()).map_err(|source| {
            CommandError::Program { program: args.folder.join("main.wasm"), source: source.into() }
        })?;
        let packed = folder.pack(&keys(self.home(), args)?).map_err(failed)?;
        save(&output, &packed.bytes, args.force)?;
        let package = Package::open(&packed.bytes).map_err(failed)?;
        let identity = package.identity();
        let answer =
            json!({ "file": output, "bytes": packed.bytes.len(), "package": identity, "warnings": said });
        self.answer(&answer, |out, _| {
            if !said.is_empty() {
                eprintln!("{said}");
            }
            writeln!(out, "{} ({} bytes)", output.display(), packed.bytes.len())?;
            write_identity(out, &package)
        })
    }

    /// `inspect`.
    pub fn inspect(&self, args: &InspectArgs) -> Result<ExitCode, CommandError> {
        let path = &args.package;
        let failed = |source: TsoError| CommandError::Program {
            program: path.clone(),
            source: ProgramError::Package(source),
        };
        let bytes = image::read(Some(self.home().path()), path)?;
        let package = Package::open(&bytes).map_err(failed)?;
        if let Some(signer) = &args.signer {
            package.check_signer(signer).map_err(failed)?;
        }
        self.answer(&described(&package), |out, _| write_package(out, &package))
    }
}

/// The keys to sign with.
fn keys(home: &Home, args: &PackArgs) -> Result<Vec<Key>, CommandError> {
    let first = signing_key(home, args.key.as_deref())?;
    let second = args.ml_dsa.then(|| key_of(home, Algorithm::MlDsa65)).transpose()?;
    Ok([Some(first), second].into_iter().flatten().collect())
}

/// The ed25519 key in a file, or else the home's.
///
/// # Errors
/// That of reading it.
pub fn signing_key(home: &Home, file: Option<&Path>) -> Result<Key, CommandError> {
    match file {
        Some(path) => Ok(Key::new(Algorithm::Ed25519, &secret(path)?)),
        None => key_of(home, Algorithm::Ed25519),
    }
}

fn key_of(home: &Home, algorithm: Algorithm) -> Result<Key, CommandError> {
    Ok(Key::new(algorithm, &home.package_secret(algorithm.name())?))
}

fn described(package: &Package<'_>) -> Value {
    let Permissions { files, wall_clock, monotonic_clock, random, listen, connect, limits, .. } =
        &package.permissions;
    let ns = |time: &Option<std::time::Duration>| time.map(|time| time.as_nanos() as u64);
    json!({
        "package": package.identity(),
        "description": package.meta.description,
        "entry": package.meta.entry,
        "args": package.meta.args,
        "env": package.meta.env,
        "resources": package.meta.resources,
        "files": package.meta.files,
        "permissions": {
            "files": files,
            "env": package.permissions.variables(),
            "clocks": { "wall_ns": ns(wall_clock), "monotonic_ns": ns(monotonic_clock) },
            "random": random,
            "network": { "listen": listen, "connect": connect },
            "limits": {
                "memory_bytes": limits.memory,
                "cpu_time_ns": ns(&limits.cpu_time),
                "open_files": limits.open_files,
                "file_bytes": limits.file_bytes,
                "output_bytes_a_second": limits.output,
            },
        },
    })
}

fn write_identity(out: &mut dyn Write, package: &Package<'_>) -> std::io::Result<()> {
    writeln!(out, "  package   {} {}", package.meta.name, package.meta.version)?;
    writeln!(out, "  digest    {}", package.digest)?;
    for signature in &package.signatures {
        writeln!(out, "  signed by {}", signature.key())?;
    }
    Ok(())
}

fn write_package(out: &mut dyn Write, package: &Package<'_>) -> std::io::Result<()> {
    let meta = &package.meta;
    if meta.description.is_empty() {
        writeln!(out, "{} {}", meta.name, meta.version)?;
    } else {
        writeln!(out, "{} {}: {}", meta.name, meta.version, meta.description)?;
    }
    write_identity(out, package)?;
    for file in &meta.files {
        writeln!(out, "  file      {} ({} bytes)", file.path, file.size)?;
    }
    writeln!(out, "It may")?;
    for line in allowed(&package.permissions) {
        writeln!(out, "  {line}")?;
    }
    Ok(())
}

/// What permissions allow, in words.
fn allowed(permissions: &Permissions) -> Vec<String> {
    let mut lines = vec!["compute, and read and write its standard streams".to_owned()];
    for rule in &permissions.files {
        let may = match rule.access {
            FileAccess::None => "not touch",
            FileAccess::Read => "read",
            FileAccess::Write => "read and change",
        };
        lines.push(format!("{may} {} and what is below it", rule.path));
    }
    if !permissions.variables().is_empty() {
        lines.push(format!("be given the variables {}", permissions.variables().join(", ")));
    }
    for (clock, resolution) in
        [("time of day", permissions.wall_clock), ("monotonic clock", permissions.monotonic_clock)]
    {
        lines.extend(resolution.map(|resolution| format!("read the {clock} in steps of {resolution:?}")));
    }
    if permissions.random {
        lines.push("have random numbers".to_owned());
    }
    if !permissions.listen.is_empty() {
        let ports: Vec<_> = permissions.listen.iter().map(u16::to_string).collect();
        lines.push(format!("listen on port {}", ports.join(", ")));
    }
    if !permissions.connect.is_empty() {
        lines.push(format!("connect to {}", permissions.connect.join(", ")));
    }
    let limits = &permissions.limits;
    let numbers = [
        ("bytes of memory", limits.memory),
        ("open files", limits.open_files.map(u64::from)),
        ("bytes of files", limits.file_bytes),
        ("bytes of output a second", limits.output),
    ];
    for (what, most) in numbers {
        lines.extend(most.map(|most| format!("have at most {most} {what}")));
    }
    lines.extend(limits.cpu_time.map(|time| format!("use at most {time:?} of CPU time")));
    lines
}

/// A file's permissions, for a run.
///
/// # Errors
/// [`CommandError`] if it cannot be read or is not in order.
pub fn permissions(path: &Path) -> Result<(String, Permissions), CommandError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| CommandError::ReadPermissions { path: path.to_owned(), source })?;
    let parsed = Permissions::parse(&text);
    let parsed = parsed.map_err(|source| CommandError::Package { path: path.to_owned(), source })?;
    Ok((text, parsed))
}
