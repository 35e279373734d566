//! `sentctl iso-run`: an ISO under QEMU, for a look before it is burned.

use super::tools::QEMU;
use crate::cli::iso::IsoRunArgs;
use crate::errors::CommandError;
use std::path::Path;
use std::process::ExitCode;

/// Where Debian has firmware with UEFI.
const OVMF: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
/// And what it keeps its settings in, which nobody needs here.
const OVMF_SETTINGS: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// Boots an ISO; the machine's serial port is this terminal.
///
/// # Errors
/// [`CommandError`] if there is no QEMU, no firmware, or no such file.
pub fn run(args: &IsoRunArgs) -> Result<ExitCode, CommandError> {
    if let Err(source) = std::fs::File::open(&args.iso) {
        return Err(CommandError::Read { path: args.iso.clone(), source });
    }
    let mut command = QEMU.command();
    command.args(["-machine", "q35", "-accel", "tcg", "-cpu", "max", "-no-reboot"]);
    command.arg("-m").arg(format!("{}K", args.memory >> 10)).arg("-smp").arg(args.cpus.to_string());
    command.args(["-serial", "mon:stdio", "-device", "isa-debug-exit,iobase=0xf4,iosize=4"]);
    if !args.screen {
        command.args(["-display", "none"]);
    }
    let folder = tempfile::tempdir().map_err(CommandError::io("making a folder for the machine"))?;
    if args.uefi {
        let settings = folder.path().join("settings.fd");
        let missing =
            |source| CommandError::Tool(format!("{OVMF}: {source}. On Debian: apt-get install ovmf"));
        std::fs::copy(OVMF_SETTINGS, &settings).map_err(missing)?;
        if !Path::new(OVMF).exists() {
            return Err(missing(std::io::ErrorKind::NotFound.into()));
        }
        command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={OVMF}"));
        command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", settings.display()));
    }
    command.arg("-cdrom").arg(&args.iso).args(&args.args);
    let status = command.status().map_err(|error| QEMU.failed(&error))?;
    // QEMU ends with twice the program's code and one; with 0 where the machine was switched off, or is to be reset.
    let code = match status.code() {
        Some(code) if code & 1 == 1 => u8::try_from(code >> 1).unwrap_or(u8::MAX),
        Some(0) => 0,
        _ => sentient_abi::exit::SENTCTL_ERROR,
    };
    Ok(ExitCode::from(code))
}
