//! Why the timeline could not do what it was asked.

use std::io::ErrorKind;
use std::path::PathBuf;

use crate::record::{RecordError, SnapshotId};

/// An error of the timeline, which is as it was before.
#[derive(Debug, thiserror::Error)]
pub enum TimelineError {
    /// The system refused an operation on the file.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file cannot be read or written.
    #[error("the timeline cannot be used: {0}{way_out}", way_out = way_out(.0))]
    Database(Box<redb::Error>),
    /// Written by a build with another layout.
    #[error("the timeline has format {found} and this build reads {supported}; use the build that wrote it")]
    Version {
        /// The format found.
        found: u64,
        /// The format of this build.
        supported: u64,
    },
    /// The file holds what this program never writes.
    #[error("the timeline says {what}; it is damaged: import the snapshots into a new machine from exports")]
    Damaged {
        /// What it says.
        what: String,
    },
    /// A record in it is not what was put there.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A name that nothing has.
    #[error(
        "there is no snapshot {name:?}; `@` is the current one, `@~1` the one before it, and tags and ids are in the log"
    )]
    Unknown {
        /// The name.
        name: String,
    },
    /// The beginning of several ids.
    #[error("{prefix:?} is the beginning of several ids ({}{}); give more digits", candidates.join(", "), if *more { ", ..." } else { "" })]
    Ambiguous {
        /// What was given.
        prefix: String,
        /// Up to five of them.
        candidates: Vec<String>,
        /// Whether there are others.
        more: bool,
    },
    /// Fewer ancestors than asked for.
    #[error("snapshot {of} has {there} ancestors and not {wanted}; give a smaller number")]
    NoAncestor {
        /// The snapshot.
        of: SnapshotId,
        /// Ancestors asked for.
        wanted: u64,
        /// Ancestors there are.
        there: u64,
    },
    /// A name that cannot be a tag.
    #[error(
        "{name:?} cannot be a tag: {problem}; use 1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . or -"
    )]
    TagName {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The tag is another snapshot's.
    #[error("the tag {name:?} is that of snapshot {of}; remove it there first, or say that it may be moved")]
    TagTaken {
        /// The tag.
        name: String,
        /// The snapshot that has it.
        of: SnapshotId,
    },
    /// There is no such tag.
    #[error("there is no tag {name:?}; tags are in the log")]
    NoTag {
        /// The name.
        name: String,
    },
    /// A new snapshot whose parent is not there.
    #[error("the parent {parent} of snapshot {id} is not in the timeline; take it anew from the current one")]
    NoParent {
        /// The new snapshot.
        id: SnapshotId,
        /// Its parent.
        parent: SnapshotId,
    },
    /// A snapshot without a parent, and not the first.
    #[error(
        "snapshot {id} has no parent, and the timeline has its first snapshot already; take it from the current one"
    )]
    SecondFirst {
        /// The snapshot.
        id: SnapshotId,
    },
    /// The snapshot may not be removed.
    #[error("snapshot {id} is {why}")]
    Held {
        /// The snapshot.
        id: SnapshotId,
        /// What it is, and the way out.
        why: String,
    },
}

impl TimelineError {
    /// Whether another process has the file open.
    #[must_use]
    pub fn is_open_elsewhere(&self) -> bool {
        matches!(self, Self::Database(error) if matches!(**error, redb::Error::DatabaseAlreadyOpen))
    }
}

macro_rules! database_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for TimelineError {
            fn from(error: redb::$error) -> Self {
                Self::Database(Box::new(error.into()))
            }
        })*
    };
}

database_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// What somebody can do about it, as the end of a sentence.
fn way_out(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::DatabaseAlreadyOpen => "; end the machine that has it open first",
        redb::Error::Io(error) => match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "; make room on its disk, and try again",
            ErrorKind::InvalidData => "; it is damaged: import the snapshots into a new machine from exports",
            _ => "; look at its disk",
        },
        _ => "; if it is damaged, import the snapshots into a new machine from exports",
    }
}
