//! `sentctl boot-files`.

use super::program;
use crate::cli::BootFilesArgs;
use crate::errors::CommandError;
use sentient_abi::boot_module::{EntryKind, ModuleBuilder};
use sentient_images::KernelImage;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

/// Writes `kernel.elf` and `boot.mod`.
pub fn write(args: &BootFilesArgs, json: bool) -> Result<ExitCode, CommandError> {
    let (container, _) = program::prepare(&args.program, json)?;
    let kernel = KernelImage::embedded()?;
    let module = boot_module(&container)
        .ok_or_else(|| CommandError::Usage("the program's arguments and environment are too long".into()))?;
    let folder = &args.output;
    fs::create_dir_all(folder).map_err(|source| CommandError::Write { path: folder.clone(), source })?;
    let files = [(folder.join("kernel.elf"), kernel.elf()), (folder.join("boot.mod"), &module)];
    if !args.force
        && let Some((path, _)) = files.iter().find(|(path, _)| path.exists())
    {
        return Err(CommandError::Exists(path.clone()));
    }
    for (path, bytes) in &files {
        save(path, bytes).map_err(|source| CommandError::Write { path: path.clone(), source })?;
    }
    if json {
        let list: Vec<_> = files
            .iter()
            .map(|(path, bytes)| serde_json::json!({ "path": path, "bytes": bytes.len() }))
            .collect();
        println!("{}", serde_json::json!({ "files": list }));
    } else {
        for (path, bytes) in &files {
            println!("{} ({} bytes)", path.display(), bytes.len());
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn boot_module(container: &sentient_vmm::ContainerRun) -> Option<Vec<u8>> {
    let spec = container.spec.encode()?;
    let mut builder = ModuleBuilder::new(0);
    builder.push(EntryKind::Container, 0, &spec)?;
    builder.push_image(0, &container.image.bytes, container.image.exec.clone())?;
    let len = usize::try_from(builder.len()).ok()?;
    let (mut module, pieces) = builder.finish();
    module.resize(len, 0);
    for piece in pieces {
        let at = usize::try_from(piece.offset).ok()?;
        module.get_mut(at..at.checked_add(piece.bytes.len())?)?.copy_from_slice(piece.bytes);
    }
    Some(module)
}

/// Written beside, synced, then renamed, so that a file is the old one or the new one whole.
fn save(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("part");
    let mut file = File::create(&beside)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}
