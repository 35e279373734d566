//! `sentctl iso-build` and `iso-run`: a medium from which the kernel boots on BIOS and UEFI machines.
//!
//! The loader is Debian's GRUB, made into an image for each of the two, and the medium is put together by xorriso: an ISO that
//! is a disk's image as well. All else is made here. The same input gives the same bytes.

mod fat;
mod grub;
mod init;
mod run;
mod tools;

use super::package;
use crate::cli::iso::{Format, IsoBuildArgs, WhenDone};
use crate::errors::CommandError;
use crate::saving::{check_free, save};
use grub::Firmware;
pub use run::run;
use sentient_control::home::Home;
use sentient_images::KernelImage;
use sentient_images::tso::signature::Key;
use sentient_vmm::medium::{self, Measured, Medium, Then};
use sentient_zk::contract::Contract;
use serde_json::json;
use std::fs;
use std::path::Path;
use std::process::ExitCode;
use tools::{EPOCH, QEMU_IMG, Tool, XORRISO};

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
    let mut needed = vec![&tools::MKIMAGE, &XORRISO];
    needed.extend((args.format == Format::Qcow2).then_some(&QEMU_IMG));
    tools::find(&needed)?;
    let kernel = KernelImage::embedded()?;
    let contract = args.contract.as_deref().map(contract).transpose()?;
    let key = signing_key(args, home)?;
    let programs = init::programs(args, home, json)?;
    let then = if args.when_done == WhenDone::Console { Then::Console } else { Then::End };
    // Keys of other algorithms are none that this is asked for.
    let sign = |message: &[u8]| key.as_ref().and_then(|key| key.seal(message)).unwrap_or([0; 96]);
    let sign: Option<medium::Sign<'_>> = key.is_some().then_some(&sign);
    let (contract, keep) = (contract.as_deref(), args.keep);
    let medium = Medium { programs: &programs, then, keep, contract, sign };
    let Measured { module, value } = medium::module(&kernel, &medium)?;
    let files = [
        (KERNEL, kernel.elf().to_vec()),
        (MODULE, module),
        (ZERO, medium::zero_module(&kernel, sign)?.module),
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
    write(CONFIG, grub::config(args.timeout, args.zero, args.keep.is_some()).as_bytes())?;
    write(BIOS_IMAGE, &grub::image(Firmware::Bios, folder.path())?)?;
    write(EFI_IMAGE, &fat::efi_partition(&grub::image(Firmware::Uefi, folder.path())?)?)?;
    let iso = folder.path().join("medium.iso");
    put_together(&tree, &iso)?;
    let bytes = fs::read(&iso).map_err(|source| CommandError::Read { path: iso, source })?;
    let bytes = converted(bytes, args.format, folder.path())?;
    save(&args.output, &bytes, args.force)?;
    let hash = blake3::hash(&bytes).to_hex();
    let measured = blake3::Hash::from_bytes(value).to_hex();
    let signer = key.map(|key| key.public().to_string());
    if json {
        let names: Vec<&str> = programs.iter().map(|program| program.name.as_str()).collect();
        println!(
            "{}",
            json!({
                "file": args.output, "bytes": bytes.len(), "blake3": hash.as_str(), "programs": names,
                "measured": measured.as_str(), "signer": signer,
            })
        );
    } else {
        println!("{} ({} bytes, BLAKE3 {hash})", args.output.display(), bytes.len());
        println!("when it boots, all of it is measured as {measured}");
        signer.iter().for_each(|signer| println!("signed by {signer}"));
    }
    Ok(ExitCode::SUCCESS)
}

/// A contract's text, which is one.
fn contract(path: &Path) -> Result<String, CommandError> {
    let text =
        fs::read_to_string(path).map_err(|source| CommandError::Read { path: path.to_owned(), source })?;
    match Contract::parse(&text) {
        Ok(_) => Ok(text),
        Err(error) => Err(CommandError::Usage(format!("{}: {error}", path.display()))),
    }
}

/// The key that is to sign a medium, if one is.
fn signing_key(args: &IsoBuildArgs, home: Option<&Path>) -> Result<Option<Key>, CommandError> {
    if !args.sign && args.key.is_none() {
        return Ok(None);
    }
    package::signing_key(&Home::find(home.map(Path::to_owned))?, args.key.as_deref()).map(Some)
}

/// A medium as a file of another format.
fn converted(iso: Vec<u8>, format: Format, folder: &Path) -> Result<Vec<u8>, CommandError> {
    let mut raw = iso;
    if format != Format::Iso {
        raw.resize(raw.len().next_multiple_of(1 << 20), 0);
    }
    if format != Format::Qcow2 {
        return Ok(raw);
    }
    let (from, to) = (folder.join("medium.raw"), folder.join("medium.qcow2"));
    fs::write(&from, raw).map_err(|source| CommandError::Write { path: from.clone(), source })?;
    QEMU_IMG.run(QEMU_IMG.command().args(["convert", "-f", "raw", "-O", "qcow2"]).arg(&from).arg(&to))?;
    fs::read(&to).map_err(|source| CommandError::Read { path: to, source })
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
