//! Verbs that run a program, or make files to run one with.

use clap::{Args, Subcommand, ValueEnum};
use sentient_abi::network::Destination;
use sentient_control::folders::FolderMapping;
use sentient_control::ports::PortMapping;
use sentient_images::quantity::{parse_duration, parse_share, parse_size};
use std::path::PathBuf;
use std::time::Duration;

/// A program and how it is run.
#[derive(Args, Debug, Default)]
pub struct ProgramArgs {
    /// The program: a WebAssembly module for WASI preview 1, a package of one, or the name of an image.
    #[arg(value_name = "PROGRAM")]
    pub program: PathBuf,

    /// Most memory the program may have; by default what its package says, or 64M.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub memory: Option<u64>,

    /// Most CPU time the program may use, such as 500ms or 2s; by default what its package says.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub cpu_time: Option<Duration>,

    /// Set an environment variable of the program; without a value, pass this one on.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub env: Vec<String>,

    /// What the program may do, by this permissions.zky, instead of what its package says.
    #[arg(long, value_name = "FILE")]
    pub permissions: Option<PathBuf>,

    /// Tell on standard error what the program is refused, and which rule would allow it.
    #[arg(long)]
    pub explain: bool,

    /// Run it only if its package was signed by this key, as `sentctl inspect` shows it.
    #[arg(long, value_name = "KEY")]
    pub signer: Option<String>,

    /// It may do everything: `unsecure run`.
    #[arg(skip)]
    pub unconfined: bool,

    /// Call this exported function instead of `_start`; the arguments are its numbers.
    #[arg(long, value_name = "FUNCTION")]
    pub invoke: Option<String>,

    /// With --invoke: call it this many times, and print the nanoseconds of each call as well.
    #[arg(long, value_name = "COUNT", requires = "invoke")]
    pub repeat: Option<u32>,

    /// Compile the program anew, and do not keep the result.
    #[arg(long)]
    pub no_cache: bool,

    /// Arguments of the program, after `--`.
    #[arg(last = true, value_name = "ARGS")]
    pub args: Vec<std::ffi::OsString>,
}

fn parse_destination(text: &str) -> Result<String, String> {
    Destination::parse(text).map_or_else(|why| Err(why.into()), |_| Ok(text.to_owned()))
}

/// Arguments of `run`.
#[derive(Args, Debug)]
pub struct RunArgs {
    /// The program.
    #[command(flatten)]
    pub program: ProgramArgs,

    /// End the run after this time, such as 10s or 1m.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub timeout: Option<Duration>,

    /// Let the guest report this often that it is alive; --json then tells how often it did.
    #[arg(long, value_name = "TIME", value_parser = parse_duration)]
    pub heartbeat: Option<Duration>,

    /// RAM of the machine; by default what the program may have, and room for the kernel.
    #[arg(long, value_name = "SIZE", value_parser = parse_size)]
    pub machine_memory: Option<u64>,

    /// Run it in a machine that stays, in the background; see `sentctl init`.
    #[arg(short, long, conflicts_with_all = ["timeout", "heartbeat", "machine_memory", "kernel", "invoke", "repeat"])]
    pub detach: bool,

    /// With --detach: the container's name.
    #[arg(long, value_name = "NAME", requires = "detach")]
    pub name: Option<String>,

    /// With --detach: keep its standard input open, for `sentctl attach`.
    #[arg(short, long, requires = "detach")]
    pub interactive: bool,

    /// With --detach: its part of the processor where others want it too, from 1% to 100%, which is the default.
    #[arg(long, value_name = "SHARE", value_parser = parse_share, requires = "detach")]
    pub cpu: Option<u32>,

    /// Let this host's programs connect to a port of the program: at 127.0.0.1, unless there is an address, and at a
    /// port that is free, unless there is one.
    #[arg(short, long, value_name = "[[ADDRESS:]HOST-PORT:]PORT")]
    pub publish: Vec<PortMapping>,

    /// Let the program connect to a host's port: of a name, *.NAME, an address, a network, or *; the port may be *, too. Without
    /// it that is what its permissions allow, or nothing without any.
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_destination)]
    pub connect: Vec<String>,

    /// Give the program a folder of this host, at an absolute path of its own; with `:ro`, only to be read.
    #[arg(short, long, value_name = "FOLDER:PATH[:ro]")]
    pub volume: Vec<FolderMapping>,

    /// Boot this kernel instead of the built-in one.
    #[arg(long, value_name = "FILE")]
    pub kernel: Option<PathBuf>,

    /// Enter the kernel by this protocol.
    #[arg(long, value_enum, default_value_t = Protocol::Linux64, hide = true)]
    pub boot_protocol: Protocol,
}

/// What to do without permissions.
#[derive(Debug, Subcommand)]
pub enum UnsecureCommand {
    /// Run a program that may do everything a container can, whatever its package says.
    #[command(after_help = "Examples:
  sentctl unsecure run tool.wasm
  sentctl unsecure run --detach --name tool tool.tso

It is still in a container, in a virtual machine. `sentctl ps` and all answers in JSON mark it as unconfined.")]
    Run(RunArgs),
}

/// Arguments of `boot-files`.
#[derive(Args, Debug)]
pub struct BootFilesArgs {
    /// The program.
    #[command(flatten)]
    pub program: ProgramArgs,

    /// The folder to write to; made if it is not there.
    #[arg(short, long, value_name = "FOLDER")]
    pub output: PathBuf,

    /// Replace files that are there.
    #[arg(long)]
    pub force: bool,
}

/// How the kernel is entered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// The Linux 64-bit protocol.
    Linux64,
    /// PVH.
    Pvh,
}

impl From<Protocol> for sentient_vmm::BootProtocol {
    fn from(protocol: Protocol) -> Self {
        match protocol {
            Protocol::Linux64 => Self::Linux64,
            Protocol::Pvh => Self::Pvh,
        }
    }
}
