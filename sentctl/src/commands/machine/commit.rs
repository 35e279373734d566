//! `commit`: an image of what a container has become.

use super::Context;
use crate::cli::package::CommitArgs;
use crate::commands::image::reference;
use crate::commands::package::signing_key;
use crate::errors::CommandError;
use crate::saving::{check_free, save};
use sentient_control::api::Origin;
use sentient_control::client::encoded;
use sentient_control::image_store::ImageStore;
use sentient_images::program::Program;
use sentient_images::tso::commit::Container;
use sentient_images::tso::digest::Digest;
use sentient_images::tso::{MAX_LEN, Package, TsoError};
use serde_json::json;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tar::{Archive, EntryType};

/// A container's files.
#[derive(Debug, Default)]
struct Tree {
    files: Vec<(String, Vec<u8>)>,
    /// Symbolic links, and folders with nothing in them: a package has no such thing.
    left_out: Vec<String>,
}

impl Context {
    /// `commit`.
    pub fn commit(&self, args: &CommitArgs) -> Result<ExitCode, CommandError> {
        let image = reference(&args.image)?;
        let version = image.version().cloned().ok_or_else(|| {
            let example = format!("{}:1.0.0", image.name());
            CommandError::Usage(format!("`{}` has no version; `{example}` has one", args.image))
        })?;
        if let Some(output) = &args.output {
            check_free(output, args.replace)?;
        }
        let key = signing_key(self.home(), args.key.as_deref())?;
        let client = self.client()?;
        let path = format!("/v1/containers/{}", encoded(&args.container));
        let Origin { start, file_digest } = client.get(&format!("{path}/origin"))?;
        let program = PathBuf::from(&start.program);
        let bytes = unchanged(&program, file_digest.as_deref(), &args.container)?;
        let mut archive = Vec::new();
        // It stands still for this.
        self.during("reading its files", || {
            client.download(&format!("{path}/files?path=%2F&pause=true"), Room(&mut archive))
        })?;
        let tree = Tree::of(&archive)
            .map_err(|source| CommandError::Copy { what: format!("{}:/", args.container), source })?;
        let failed = |source: TsoError| CommandError::Package { path: PathBuf::from(&args.image), source };
        let ports: Vec<u16> = start.ports.iter().map(|mapping| mapping.port).collect();
        let container = Container {
            program: Program::open(&bytes).map_err(failed)?,
            args: &start.args,
            env: &start.env,
            memory: start.memory_bytes,
            cpu_time: start.cpu_time_ms.map(Duration::from_millis),
            cpu: start.cpu_percent,
            permissions: start.permissions.as_deref(),
            ports: &ports,
            connect: &start.connect,
            files: tree.files,
        };
        let folder = container.into_folder(image.name(), version).map_err(failed)?;
        let packed = folder.pack(&[key]).map_err(failed)?;
        let package = Package::open(&packed.bytes).map_err(failed)?;
        let file = match &args.output {
            Some(output) => {
                save(output, &packed.bytes, args.replace)?;
                output.clone()
            }
            None => ImageStore::of(self.home()).add(&packed.bytes, args.replace)?.path,
        };
        for path in &tree.left_out {
            eprintln!("sentctl: {path} is not in it: a package has plain files, and what leads to them");
        }
        let answer = json!({
            "file": file,
            "bytes": packed.bytes.len(),
            "package": package.identity(),
            "left_out": tree.left_out,
        });
        self.answer(&answer, |out, _| {
            writeln!(out, "{}:{}", package.meta.name, package.meta.version)?;
            writeln!(out, "  {} files, {} bytes", package.meta.files.len(), packed.bytes.len())
        })
    }
}

/// The bytes of the program that a container was started with.
fn unchanged(program: &Path, digest: Option<&str>, container: &str) -> Result<Vec<u8>, CommandError> {
    let bytes = fs::read(program)
        .map_err(|source| CommandError::Copy { what: program.display().to_string(), source })?;
    if digest != Some(&Digest::of(&bytes).to_string()) {
        let what = program.display().to_string();
        let why = format!(
            "it is not what `{container}` was started with any more; `sentctl matrixbox restart {container}` starts it anew"
        );
        return Err(CommandError::Copy { what, source: io::Error::other(why) });
    }
    Ok(bytes)
}

/// Takes as much as a package can have.
struct Room<'a>(&'a mut Vec<u8>);

impl Write for Room<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if (self.0.len() + bytes.len()) as u64 > MAX_LEN {
            return Err(io::Error::other(format!(
                "its files have more than the {MAX_LEN} bytes of a package"
            )));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Tree {
    /// The files of an archive.
    fn of(archive: &[u8]) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut folders: Vec<String> = Vec::new();
        for entry in Archive::new(archive).entries()? {
            let mut entry = entry?;
            let not_text = || io::Error::other("a name that is not UTF-8");
            let path = entry.path()?.to_str().ok_or_else(not_text)?.trim_end_matches('/').to_owned();
            match entry.header().entry_type() {
                EntryType::Directory => folders.push(path),
                EntryType::Regular => {
                    let mut bytes = Vec::new();
                    entry.read_to_end(&mut bytes)?;
                    tree.files.push((path, bytes));
                }
                _ => tree.left_out.push(path),
            }
        }
        let is_empty = |folder: &String| {
            let below = format!("{folder}/");
            !tree.files.iter().any(|(path, _)| path.starts_with(&below))
                && !folders.iter().chain(&tree.left_out).any(|path| path.starts_with(&below))
        };
        let empty: Vec<String> = folders.iter().filter(|folder| is_empty(folder)).cloned().collect();
        tree.left_out.extend(empty);
        tree.left_out.sort_unstable();
        Ok(tree)
    }
}
