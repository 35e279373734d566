//! `sentctl boot-files`.

use super::program::{self, Given};
use crate::cli::run::BootFilesArgs;
use crate::errors::CommandError;
use crate::saving::{check_free, save};
use sentient_images::KernelImage;
use sentient_images::program::Prepared;
use sentient_vmm::ContainerRun;
use sentient_vmm::handover::container_module;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

/// Writes `kernel.elf` and `boot.mod`.
pub fn write(args: &BootFilesArgs, home: Option<&Path>, json: bool) -> Result<ExitCode, CommandError> {
    let Prepared { spec, image, .. } = program::prepare(&args.program, &Given::default(), home, json)?;
    let kernel = KernelImage::embedded()?;
    let module = container_module(&ContainerRun { spec, image })?;
    let folder = &args.output;
    fs::create_dir_all(folder).map_err(|source| CommandError::Write { path: folder.clone(), source })?;
    let files = [(folder.join("kernel.elf"), kernel.elf()), (folder.join("boot.mod"), &module)];
    files.iter().try_for_each(|(path, _)| check_free(path, args.force))?;
    for (path, bytes) in &files {
        save(path, bytes, args.force)?;
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
