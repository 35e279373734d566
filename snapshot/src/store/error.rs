//! Why the store could not do what it was asked.

use std::io;
use std::path::{Path, PathBuf};

use super::object::Kind;
use crate::hash::Hash;
use crate::tree::TreeError;

/// An error of the store. The store is as it was before, unless the variant says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The system refused an operation on one of the store's files.
    #[error("cannot {what} {}: {source}", path.display())]
    Io {
        /// What was to be done.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The index cannot be read or written.
    #[error("the store's index cannot be used: {0}{way_out}", way_out = way_out(.0))]
    Index(Box<redb::Error>),
    /// The index holds what this program never writes.
    #[error(
        "the store's index says {what}; it is damaged: import the snapshots into a new store from exports"
    )]
    IndexDamaged {
        /// What it says.
        what: String,
    },
    /// An object is not in the store.
    #[error(
        "{kind} {hash} is not in the store; its snapshot was removed or never stored: use another snapshot, \
         or take a full one"
    )]
    Missing {
        /// What it would be.
        kind: Kind,
        /// Its hash.
        hash: Hash,
    },
    /// An object's bytes are not what was stored.
    #[error(
        "{kind} {hash} in pack {pack} {problem}; the pack is damaged: verify the snapshots, and import the bad \
         ones again"
    )]
    Damaged {
        /// What it should be.
        kind: Kind,
        /// Its hash.
        hash: Hash,
        /// Number of the pack it lies in.
        pack: u32,
        /// What is wrong.
        problem: String,
    },
    /// A pack is not one of ours, or is too short.
    #[error("pack {pack} of the store {problem}; import its snapshots into a new store from exports")]
    Pack {
        /// The pack's number.
        pack: u32,
        /// What is wrong.
        problem: String,
    },
    /// The store was made by a build with another layout of it.
    #[error("{what} has format {found} and this build reads {supported}; use the build that wrote it")]
    Version {
        /// Index or pack.
        what: String,
        /// The format found.
        found: u64,
        /// The format of this build.
        supported: u64,
    },
    /// The snapshot does not fit.
    #[error(
        "the snapshot needs {needed} bytes, the store holds {used} and its quota is {quota}; remove snapshots, \
         reclaim their space, or raise the quota"
    )]
    Full {
        /// Bytes it would add.
        needed: u64,
        /// Bytes of all packs now.
        used: u64,
        /// The most they may have.
        quota: u64,
    },
    /// A state longer than the store takes.
    #[error(
        "the state has {len} bytes and at most {most} are stored; halt some devices or split the machine"
    )]
    StateTooLong {
        /// Its length.
        len: u64,
        /// The most.
        most: u64,
    },
    /// A node is not what it should be.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl StoreError {
    /// For `map_err`: an operation on a file.
    pub(crate) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source }
    }

    /// The same, of rustix.
    pub(crate) fn errno(what: &'static str, path: &Path) -> impl FnOnce(rustix::io::Errno) -> Self {
        move |source| Self::Io { what, path: path.to_owned(), source: source.into() }
    }
}

/// What somebody can do about it, as the end of a sentence.
fn way_out(error: &redb::Error) -> &'static str {
    match error {
        redb::Error::Io(error)
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) =>
        {
            "; make room on its disk, and try again"
        }
        _ => "; if it is damaged, import the snapshots into a new store from exports",
    }
}

macro_rules! index_errors {
    ($($error:ident),*) => {
        $(impl From<redb::$error> for StoreError {
            fn from(error: redb::$error) -> Self {
                Self::Index(Box::new(error.into()))
            }
        })*
    };
}

index_errors!(DatabaseError, TransactionError, TableError, StorageError, CommitError);
