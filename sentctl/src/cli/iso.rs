//! Words of `iso-build` and `iso-run`.

use clap::{Args, ValueEnum};
use sentient_images::quantity::{parse_duration, parse_size};
use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

/// Least time between two times that everything is kept: the machine stands still meanwhile.
const SOONEST: Duration = Duration::from_secs(1);

/// Arguments of `iso-build`.
#[derive(Args, Debug)]
pub struct IsoBuildArgs {
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,

    /// A program that is started at boot: a package, a WebAssembly module, or the name of an image; may be given several times,
    /// and they start in that order.
    #[arg(long = "tso", value_name = "PROGRAM")]
    pub programs: Vec<PathBuf>,

    /// The programs that are started at boot, and how: a list in YAML.
    #[arg(long, value_name = "FILE")]
    pub init: Option<PathBuf>,

    /// Most memory each program of --tso may have; by default what its package says, or 64M.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Keep all programs as they are on a disk, this often: they go on from there when the machine is booted again.
    #[arg(long, value_name = "TIME", value_parser = parse_pause)]
    pub keep: Option<Duration>,

    /// A contract that is part of what is measured when the medium boots.
    #[arg(long, value_name = "FILE")]
    pub contract: Option<PathBuf>,

    /// Sign what the medium boots, with the home's ed25519 key.
    #[arg(long)]
    pub sign: bool,

    /// Sign it with the ed25519 key in this file: 64 hexadecimal digits.
    #[arg(long, value_name = "FILE")]
    pub key: Option<PathBuf>,

    /// What file it is to be.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t = Format::Iso)]
    pub format: Format,

    /// Boot to the console of zero mode, unless the menu is told otherwise.
    #[arg(long)]
    pub zero: bool,

    /// What becomes of the machine when no program runs any more.
    #[arg(long, value_name = "WHAT", value_enum, default_value_t = WhenDone::Console)]
    pub when_done: WhenDone,

    /// How long the menu waits for somebody to choose, in seconds.
    #[arg(long, value_name = "SECONDS", default_value_t = 3)]
    pub timeout: u8,

    /// Replace a file that is there.
    #[arg(long)]
    pub force: bool,
}

fn parse_pause(text: &str) -> Result<Duration, String> {
    match parse_duration(text)? {
        time if time < SOONEST => Err(format!("that is too often: at least {} s", SOONEST.as_secs())),
        time => Ok(time),
    }
}

/// What file a medium is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// An ISO, which is a disk's image as well.
    Iso,
    /// The same as a disk's image of whole mebibytes, as clouds want one.
    Raw,
    /// The same as a disk's image of QEMU's.
    Qcow2,
}

/// What becomes of a machine when no program runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum WhenDone {
    /// It has the console of zero mode.
    Console,
    /// It ends.
    End,
}

/// Arguments of `iso-run`.
#[derive(Args, Debug)]
pub struct IsoRunArgs {
    /// The ISO.
    #[arg(value_name = "FILE")]
    pub iso: PathBuf,

    /// Memory of the machine.
    #[arg(long, value_name = "SIZE", value_parser = parse_size, default_value = "128M")]
    pub memory: u64,

    /// Processors of the machine.
    #[arg(long, value_name = "COUNT", default_value_t = 1)]
    pub cpus: u32,

    /// Boot by UEFI instead of a BIOS.
    #[arg(long)]
    pub uefi: bool,

    /// Show the machine's screen in a window.
    #[arg(long)]
    pub screen: bool,

    /// Further arguments of QEMU's, after `--`.
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<OsString>,
}
