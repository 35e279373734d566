//! Why something was not done.

use crate::client::ClientError;
use crate::home::HomeError;
use crate::lock::LockError;
use sentient_images::KernelError;
use sentient_images::program::ProgramError;
use sentient_snapshot::capture::CaptureError;
use sentient_snapshot::keys::KeyError;
use sentient_snapshot::layout::LayoutError;
use sentient_snapshot::record::RecordError;
use sentient_snapshot::record::trust::KeyTextError;
use sentient_snapshot::store::StoreError;
use sentient_snapshot::stream::export::ExportError;
use sentient_snapshot::stream::import::ImportError;
use sentient_snapshot::timeline::TimelineError;
use sentient_vmm::MachineError;
use sentient_vmm::machine::NotRunning;
use sentient_zk::chain::{RollupError, TraceError};
use sentient_zk::prove::ProveError;
use std::io;

/// Why something was not done.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The home or the machine's name.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// Somebody else has the machine.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The machine failed on the host's side.
    #[error(transparent)]
    Machine(#[from] MachineError),
    /// The kernel is damaged.
    #[error(transparent)]
    Kernel(#[from] KernelError),
    /// The program cannot run.
    #[error("cannot run {program}: {source}")]
    Program {
        /// The program.
        program: String,
        /// Why.
        source: ProgramError,
    },
    /// The store of pages.
    #[error(transparent)]
    Store(StoreError),
    /// The store has as much as this machine lets it have.
    #[error(
        "the snapshot needs {needed} bytes, the home's store has {used}, and the machine's quota is {quota}; \
         `sentctl prune --keep COUNT` and `sentctl snapshot rm SNAPSHOT` give space back, \
         `sentctl set quota=SIZE` allows more"
    )]
    Full {
        /// Bytes it would add.
        needed: u64,
        /// Bytes the store has now.
        used: u64,
        /// The most it may have.
        quota: u64,
    },
    /// The timeline.
    #[error(transparent)]
    Timeline(#[from] TimelineError),
    /// The machine's key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// A key that is none.
    #[error(transparent)]
    KeyText(#[from] KeyTextError),
    /// A snapshot cannot be written out.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// A snapshot from elsewhere is refused.
    #[error(transparent)]
    Import(ImportError),
    /// No snapshot can be made of the machine.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The guest's region table.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// The machine's chain.
    #[error(transparent)]
    Chain(#[from] TraceError),
    /// Keys that proofs are made or checked with.
    #[error(transparent)]
    ZkKey(#[from] sentient_zk::keys::KeyError),
    /// A transition cannot be proved.
    #[error(transparent)]
    Prove(#[from] ProveError),
    /// A batch of a chain.
    #[error(transparent)]
    Rollup(#[from] RollupError),
    /// The machine's contract cannot be used.
    #[error("{0}")]
    Contract(String),
    /// The machine's contract does not allow the snapshot.
    #[error(
        "the snapshot breaks the machine's contract: {what}; {}",
        if *.put_back {
            "it was not taken, and the machine is back at its current snapshot"
        } else {
            "it was not taken; `sentctl rollback --discard` puts the machine back, and permissions.zky says what is allowed"
        }
    )]
    Violation {
        /// What broke it.
        what: String,
        /// Whether the machine is put back.
        put_back: bool,
    },
    /// A file of the machine.
    #[error("{0}")]
    Damaged(String),
    /// The request makes no sense.
    #[error("{0}")]
    Request(String),
    /// There is such a path, but not for this.
    #[error("{path} does not take {method}; GET /openapi.json tells what there is")]
    Method {
        /// What was to be done.
        method: String,
        /// The path.
        path: String,
    },
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// It cannot be done now.
    #[error("{0}")]
    Conflict(String),
    /// The process of another machine does not answer.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// The machine's process has failed.
    #[error("{message}")]
    Process {
        /// A word for programs.
        kind: String,
        /// Why.
        message: String,
    },
    /// A file or system call.
    #[error("{what}: {source}")]
    Io {
        /// The file, or what was being done.
        what: String,
        /// Why.
        source: io::Error,
    },
    /// A bug of ours.
    #[error("{0}; please report this")]
    Bug(String),
}

impl From<StoreError> for ControlError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Full { needed, used, quota } => Self::Full { needed, used, quota },
            other => Self::Store(other),
        }
    }
}

impl From<ImportError> for ControlError {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Store(full @ StoreError::Full { .. }) => full.into(),
            other => Self::Import(other),
        }
    }
}

/// Whoever asked came too late.
impl From<NotRunning> for ControlError {
    fn from(error: NotRunning) -> Self {
        Self::Conflict(error.to_string())
    }
}

impl ControlError {
    /// A machine that is to be made is there already.
    #[must_use]
    pub fn machine_exists(name: &str) -> Self {
        Self::Conflict(format!("there is a machine `{name}` already"))
    }

    /// What was named by a path that only means something from another folder: `what` says what it is.
    ///
    /// # Errors
    /// [`ControlError::Request`] unless the path is absolute.
    pub(crate) fn unless_absolute(what: &str, path: &std::path::Path) -> Result<(), Self> {
        if path.is_absolute() {
            return Ok(());
        }
        Err(Self::Request(format!(
            "the {what} `{}` must be an absolute path: the machine's process has a folder of its own",
            path.display()
        )))
    }

    /// For `map_err`: an I/O error with the file, or what was being done.
    pub fn io<W: AsRef<std::path::Path> + ?Sized>(what: &W) -> impl FnOnce(io::Error) -> Self + use<W> {
        let what = what.as_ref().display().to_string();
        move |source| Self::Io { what, source }
    }

    /// Whether there was no such file.
    #[must_use]
    pub fn is_absence(&self) -> bool {
        let absent = |kind| matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory);
        matches!(self, Self::Io { source, .. } if absent(source.kind()))
    }

    /// A word for programs.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::Home(HomeError::Unknown { .. } | HomeError::None(_)) | Self::NotFound(_) => "not-found",
            Self::Home(_) => "home",
            Self::Lock(_) => "in-use",
            Self::Machine(MachineError::Kvm(_)) => "kvm",
            Self::Machine(_) => "machine",
            Self::Kernel(_) => "kernel-image",
            Self::Program { .. } => "program",
            Self::Timeline(
                TimelineError::Unknown { .. }
                | TimelineError::NoAncestor { .. }
                | TimelineError::NoTag { .. },
            ) => "not-found",
            Self::Timeline(TimelineError::Held { .. } | TimelineError::TagTaken { .. }) => "conflict",
            Self::Timeline(TimelineError::Ambiguous { .. } | TimelineError::TagName { .. }) => "request",
            Self::Full { .. } => "full",
            Self::Store(_) | Self::Timeline(_) | Self::Export(_) => "store",
            Self::Key(_) | Self::KeyText(_) => "key",
            Self::Import(_) => "import",
            Self::Capture(_) | Self::Layout(_) | Self::Record(_) => "capture",
            Self::Chain(_) | Self::Prove(_) | Self::Rollup(_) => "chain",
            Self::ZkKey(_) => "zk-key",
            Self::Contract(_) | Self::Violation { .. } => "contract",
            Self::Damaged(_) => "damaged",
            Self::Request(_) | Self::Method { .. } => "request",
            Self::Conflict(_) => "conflict",
            Self::Client(error) => error.kind(),
            Self::Process { kind, .. } => kind,
            Self::Io { .. } => "io",
            Self::Bug(_) => "bug",
        }
    }

    /// The HTTP status of it (RFC 9110, 15).
    #[must_use]
    pub fn status(&self) -> u16 {
        match self {
            Self::Home(HomeError::Unknown { .. } | HomeError::None(_)) | Self::NotFound(_) => 404,
            Self::Timeline(
                TimelineError::Unknown { .. }
                | TimelineError::NoAncestor { .. }
                | TimelineError::NoTag { .. },
            ) => 404,
            Self::Method { .. } => 405,
            Self::Home(_) | Self::Request(_) | Self::KeyText(_) => 400,
            Self::Timeline(TimelineError::Ambiguous { .. } | TimelineError::TagName { .. }) => 400,
            Self::Timeline(TimelineError::Held { .. } | TimelineError::TagTaken { .. }) => 409,
            Self::Lock(_) | Self::Conflict(_) => 409,
            Self::Full { .. } => 507,
            Self::Program { .. } | Self::Contract(_) | Self::Violation { .. } => 422,
            _ => 500,
        }
    }
}
