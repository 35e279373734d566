//! The loader on a medium: GRUB, with a menu.

use super::tools::{EPOCH, MKIMAGE};
use super::{KERNEL, MODULE, SUMS, ZERO};
use crate::errors::CommandError;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where Debian has what images are made of.
const PARTS: &str = "/usr/lib/grub";

/// What a machine has before there is a loader.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Firmware {
    Bios,
    Uefi,
}

/// Parts of the loader on either kind of machine: reading the medium, the menu, the kernel's protocol, a screen and a serial port,
/// checking files.
const COMMON: [&str; 21] = [
    "iso9660",
    "part_gpt",
    "part_msdos",
    "fat",
    "search",
    "search_fs_file",
    "normal",
    "configfile",
    "echo",
    "test",
    "sleep",
    "multiboot2",
    "serial",
    "terminal",
    "all_video",
    "gfxterm",
    "hashsum",
    "gcry_sha256",
    "reboot",
    "halt",
    "true",
];

impl Firmware {
    /// The folder of the loader's parts.
    pub fn folder(self) -> PathBuf {
        Path::new(PARTS).join(match self {
            Self::Bios => "i386-pc",
            Self::Uefi => "x86_64-efi",
        })
    }

    fn format(self) -> &'static str {
        match self {
            Self::Bios => "i386-pc-eltorito",
            Self::Uefi => "x86_64-efi",
        }
    }

    fn own_parts(self) -> &'static [&'static str] {
        match self {
            Self::Bios => &["biosdisk", "vbe", "vga"],
            Self::Uefi => &["efi_gop", "efi_uga"],
        }
    }
}

/// The loader's image for a kind of machine. `folder` is for files that are needed meanwhile.
///
/// # Errors
/// [`CommandError`] if it cannot be made.
pub fn image(firmware: Firmware, folder: &Path) -> Result<Vec<u8>, CommandError> {
    let (early, made) = (folder.join("early.cfg"), folder.join("core.img"));
    let first = format!("search --no-floppy --set=root --file /{KERNEL}\nset prefix=($root)/boot/grub\n");
    fs::write(&early, first).map_err(|source| CommandError::Write { path: early.clone(), source })?;
    let mut command = MKIMAGE.command();
    command.args(["--format", firmware.format(), "--prefix", "/boot/grub"]);
    command.arg("--directory").arg(firmware.folder()).arg("--config").arg(&early);
    command.arg("--output").arg(&made).args(COMMON).args(firmware.own_parts());
    MKIMAGE.run(command.env("SOURCE_DATE_EPOCH", EPOCH))?;
    fs::read(&made).map_err(|source| CommandError::Read { path: made, source })
}

/// The menu.
pub fn config(timeout: u8, zero: bool, keeps: bool) -> String {
    let default = usize::from(zero);
    let anew = match keeps {
        true => format!(
            r#"
menuentry "SentientOS, programs begin anew: not from what is kept" {{
  multiboot2 /{KERNEL} anew
  module2 /{MODULE}
}}
"#
        ),
        false => String::new(),
    };
    format!(
        r#"# SentientOS
set timeout={timeout}
set default={default}
if serial --unit=0 --speed=115200; then
  terminal_input console serial
  terminal_output console serial
fi

# Behind the kernel's name: zero, anew, done=console, done=end, only=NAME,NAME.
menuentry "SentientOS" {{
  multiboot2 /{KERNEL}
  module2 /{MODULE}
}}

menuentry "SentientOS, zero mode: a console and nothing else" {{
  multiboot2 /{KERNEL}
  module2 /{ZERO}
}}
{anew}
menuentry "Verify this medium" {{
  echo "Reading all of it ..."
  if hashsum --hash sha256 --keep-going --check /{SUMS} --prefix /; then
    echo "All files are what they should be."
  else
    echo "This medium is DAMAGED: do not use it."
  fi
  sleep --interruptible 60
}}

menuentry "Reboot" {{
  reboot
}}
"#
    )
}

/// What the loader compares files with, when it is told to.
pub fn sums(files: &[(&str, Vec<u8>)]) -> Vec<u8> {
    use sha2::{Digest, Sha256};
    let mut text = String::new();
    for (name, bytes) in files {
        for byte in Sha256::digest(bytes) {
            // Writing to a string does not fail.
            let _ = write!(text, "{byte:02x}");
        }
        let _ = writeln!(text, "  {name}");
    }
    text.into_bytes()
}
