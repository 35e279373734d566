//! Why a command failed.

use sentient_abi::exit;
use sentient_control::client::ClientError;
use sentient_control::error::ControlError;
use sentient_control::home::HomeError;
use sentient_control::home::KeyError;
use sentient_images::KernelError;
use sentient_images::program::ProgramError;
use sentient_images::tso::TsoError;
use sentient_vmm::MachineError;
use std::io;
use std::path::PathBuf;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// A file the user named cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The kernel the user named cannot be read. Not a [`Read`](Self::Read): 127 is for the program.
    #[error("cannot read the kernel {}: {source}", path.display())]
    ReadKernel {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Permissions the user named cannot be read. Not a [`Read`](Self::Read): 127 is for the program.
    #[error("cannot read the permissions {}: {source}", path.display())]
    ReadPermissions {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Files cannot be copied.
    #[error("cannot copy {what}: {source}")]
    Copy {
        /// From where, or to where.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A file is in the way.
    #[error("{} exists already; --force replaces it", .0.display())]
    Exists(PathBuf),
    /// The program cannot run in the guest.
    #[error("cannot run {}: {source}", program.display())]
    Program {
        /// The program.
        program: PathBuf,
        /// Why.
        source: ProgramError,
    },
    /// A package cannot be made or is not in order.
    #[error("{}: {source}", path.display())]
    Package {
        /// Its file, or the folder it is to be made of.
        path: PathBuf,
        /// Why.
        source: TsoError,
    },
    /// A registry refuses, or what it gives is not in order.
    #[error("{place}: {problem}")]
    Registry {
        /// The place in it.
        place: String,
        /// What is wrong.
        problem: String,
    },
    /// There is no key to sign with.
    #[error(transparent)]
    Secret(#[from] KeyError),
    /// The kernel is not one.
    #[error("cannot boot: {0}")]
    Kernel(#[from] KernelError),
    /// The machine failed on the host's side.
    #[error("{0}")]
    Machine(#[from] MachineError),
    /// A machine that stays.
    #[error("{0}")]
    Control(#[from] ControlError),
    /// Its process.
    #[error("{0}")]
    Client(ClientError),
    /// A port cannot be published.
    #[error("--publish {port}: {source}; give another HOST-PORT, or none for a free one")]
    Publish {
        /// What was to be published.
        port: String,
        /// Why it cannot be.
        source: io::Error,
    },
    /// A folder cannot be given.
    #[error("--volume {}: {source}", folder.display())]
    Volume {
        /// The folder.
        folder: PathBuf,
        /// Why it cannot be.
        source: io::Error,
    },
    /// An environment variable cannot be passed on.
    #[error("--env {0}: {1}")]
    Environment(String, &'static str),
    /// The arguments do not fit together.
    #[error("{0}")]
    Usage(String),
    /// Something else of the host failed.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// This host has not what a measurement takes.
    #[error("{0}")]
    NotHere(String),
    /// A measurement went wrong.
    #[error("{0}")]
    Bench(String),
    /// A program of this host is missing, or has failed.
    #[error("{0}")]
    Tool(String),
}

impl From<HomeError> for CommandError {
    fn from(error: HomeError) -> Self {
        Self::Control(error.into())
    }
}

impl From<ClientError> for CommandError {
    fn from(error: ClientError) -> Self {
        Self::Client(error)
    }
}

impl CommandError {
    /// The process exit code (docs/exit-codes.md).
    pub fn process_code(&self) -> u8 {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => exit::NOT_FOUND,
            Self::Program { .. } => exit::UNSTARTABLE,
            _ => exit::SENTCTL_ERROR,
        }
    }

    /// A word for programs (`--json`).
    pub fn kind(&self) -> &str {
        match self {
            Self::Read { source, .. } if source.kind() == io::ErrorKind::NotFound => "not-found",
            Self::Read { .. } | Self::ReadKernel { .. } | Self::ReadPermissions { .. } => "read",
            Self::Write { .. } => "write",
            Self::Copy { .. } => "copy",
            Self::Exists(_) => "exists",
            Self::Program { source, .. } => source.kind(),
            Self::Package { .. } => "package",
            Self::Registry { .. } => "registry",
            Self::Secret(_) => "key",
            Self::Kernel(_) => "kernel-image",
            Self::Machine(MachineError::Kvm(_)) => "kvm",
            Self::Machine(_) => "machine",
            Self::Control(error) => error.kind(),
            Self::Client(error) => error.kind(),
            Self::Publish { .. } => "publish",
            Self::Volume { .. } => "volume",
            Self::Environment(..) => "environment",
            Self::Usage(_) => "usage",
            Self::Io { .. } => "io",
            Self::NotHere(_) => "not-here",
            Self::Bench(_) => "bench",
            Self::Tool(_) => "tool",
        }
    }

    /// For `map_err`: an I/O error with what was being done.
    pub fn io(what: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, source }
    }
}
