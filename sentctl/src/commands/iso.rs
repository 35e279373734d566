//! `sentctl iso-build` and `iso-run`: a medium from which the kernel boots on BIOS and UEFI machines.
//!
//! The loader is Debian's GRUB, made into an image for each of the two, and the medium is put together by xorriso: an ISO that
//! is a disk's image as well. All else is made here. The same input gives the same bytes.

mod fat;
mod grub;
mod run;
mod tools;

use super::program::{self, Given};
use crate::cli::iso::{IsoBuildArgs, WhenDone};
use crate::cli::run::ProgramArgs;
use crate::errors::CommandError;
use crate::saving::{check_free, save};
use grub::Firmware;
pub use run::run;
use sentient_images::KernelImage;
use sentient_vmm::ContainerRun;
use sentient_vmm::medium::{self, Program, Then};
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use tools::{EPOCH, Tool, XORRISO};

/// Names on the medium.
const KERNEL: &str = "boot/kernel.elf";
const MODULE: &str = "boot/containers.mod";
const ZERO: &str = "boot/zero.mod";
const SUMS: &str = "boot/sums";
const BIOS_IMAGE: &str = "boot/grub/eltorito.img";
const EFI_IMAGE: &str = "boot/grub/efi.img";
const CONFIG: &str = "boot/grub/grub.cfg";

/// The volume's name.
const VOLUME: &str = "SENTIENTOS";

/// Makes an ISO.
///
/// # Errors
/// [`CommandError`]; no file is left that is not whole.
pub fn build(args: &IsoBuildArgs, home: Option<&Path>, json: bool) -> Result<ExitCode, CommandError> {
    check_free(&args.output, args.force)?;
    // Before anything is compiled.
    tools::find(&[&tools::MKIMAGE, &XORRISO])?;
    let kernel = KernelImage::embedded()?;
    let programs = programs(args, home, json)?;
    let then = if args.when_done == WhenDone::Console { Then::Console } else { Then::End };
    let files = [
        (KERNEL, kernel.elf().to_vec()),
        (MODULE, medium::module(&kernel, &programs, then)?),
        (ZERO, medium::zero_module(&kernel)?),
    ];
    let folder = tempfile::tempdir().map_err(CommandError::io("making a folder for the medium's files"))?;
    let tree = folder.path().join("tree");
    let write = |name: &str, bytes: &[u8]| {
        let path = tree.join(name);
        let made = path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, bytes));
        made.map_err(|source| CommandError::Write { path, source })
    };
    for (name, bytes) in &files {
        write(name, bytes)?;
    }
    write(SUMS, &grub::sums(&files))?;
    write(CONFIG, grub::config(args.timeout, args.zero).as_bytes())?;
    write(BIOS_IMAGE, &grub::image(Firmware::Bios, folder.path())?)?;
    write(EFI_IMAGE, &fat::efi_partition(&grub::image(Firmware::Uefi, folder.path())?)?)?;
    let iso = folder.path().join("medium.iso");
    put_together(&tree, &iso)?;
    let bytes = fs::read(&iso).map_err(|source| CommandError::Read { path: iso, source })?;
    save(&args.output, &bytes, args.force)?;
    let hash = blake3::hash(&bytes).to_hex();
    if json {
        let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        println!(
            "{}",
            json!({ "file": args.output, "bytes": bytes.len(), "blake3": hash.as_str(), "programs": names })
        );
    } else {
        println!("{} ({} bytes, BLAKE3 {hash})", args.output.display(), bytes.len());
    }
    Ok(ExitCode::SUCCESS)
}

/// The programs, compiled, with names that differ.
fn programs(wanted: &IsoBuildArgs, home: Option<&Path>, quiet: bool) -> Result<Vec<Program>, CommandError> {
    let mut programs: Vec<Program> = Vec::with_capacity(wanted.programs.len());
    for path in &wanted.programs {
        let args = ProgramArgs { program: path.clone(), memory: wanted.memory, ..ProgramArgs::default() };
        let prepared = program::prepare(&args, &Given::default(), home, quiet)?;
        let stem = path.file_stem().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let base = prepared.package.map_or(stem, |package| package.name);
        let mut name = base.clone();
        let mut number = 2u32;
        while programs.iter().any(|program| program.name == name) {
            name = format!("{base}-{number}");
            number = number.saturating_add(1);
        }
        let run = ContainerRun { spec: prepared.spec, image: prepared.image };
        programs.push(Program { name, run });
    }
    Ok(programs)
}

/// Makes an ISO of a folder: for drives and, as a disk's image, for sticks; for BIOS and UEFI.
fn put_together(tree: &Path, iso: &Path) -> Result<(), CommandError> {
    let hybrid = Firmware::Bios.folder().join("boot_hybrid.img");
    let mut command = Tool::command(&XORRISO);
    command.args(["-as", "mkisofs", "-quiet", "-r", "-volid", VOLUME]);
    command.args(["--modification-date=2026010100000000", "--set_all_file_dates", "2026010100000000"]);
    command.args(["-uid", "0", "-gid", "0"]);
    command.arg("--grub2-mbr").arg(hybrid);
    command.args(["--protective-msdos-label", "-partition_cyl_align", "off"]);
    command.args(["-c", "boot/boot.cat", "-b", BIOS_IMAGE, "-no-emul-boot", "-boot-load-size", "4"]);
    command.args(["-boot-info-table", "--grub2-boot-info"]);
    command.args(["--efi-boot", EFI_IMAGE, "-efi-boot-part", "--efi-boot-image"]);
    command.arg("-o").arg(iso).arg(tree).env("SOURCE_DATE_EPOCH", EPOCH);
    XORRISO.run(&mut command)
}
