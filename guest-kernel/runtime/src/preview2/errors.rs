//! Errors of preview 1 by their names in 0.2.

use super::resources::Failed;
use super::wasi::filesystem::types::ErrorCode;
use super::wasi::io::error;
use super::wasi::io::streams::StreamError;
use crate::container::State;
use alloc::format;
use alloc::string::String;
use sentient_wasi::Errno;
use wasmtime::component::Resource;

/// An error of a file's.
pub fn code(errno: Errno) -> ErrorCode {
    match errno {
        Errno::Acces => ErrorCode::Access,
        Errno::Again => ErrorCode::WouldBlock,
        Errno::Already => ErrorCode::Already,
        Errno::Badf => ErrorCode::BadDescriptor,
        Errno::Busy => ErrorCode::Busy,
        Errno::Deadlk => ErrorCode::Deadlock,
        Errno::Dquot => ErrorCode::Quota,
        Errno::Exist => ErrorCode::Exist,
        Errno::Fbig => ErrorCode::FileTooLarge,
        Errno::Ilseq => ErrorCode::IllegalByteSequence,
        Errno::Inprogress => ErrorCode::InProgress,
        Errno::Intr => ErrorCode::Interrupted,
        Errno::Inval => ErrorCode::Invalid,
        Errno::Isdir => ErrorCode::IsDirectory,
        Errno::Loop => ErrorCode::Loop,
        Errno::Mlink => ErrorCode::TooManyLinks,
        Errno::Msgsize => ErrorCode::MessageSize,
        Errno::Nametoolong => ErrorCode::NameTooLong,
        Errno::Nodev => ErrorCode::NoDevice,
        Errno::Noent => ErrorCode::NoEntry,
        Errno::Nolck => ErrorCode::NoLock,
        // There is no name for too many open descriptors.
        Errno::Nomem | Errno::Mfile | Errno::Nfile => ErrorCode::InsufficientMemory,
        Errno::Nospc => ErrorCode::InsufficientSpace,
        Errno::Notdir => ErrorCode::NotDirectory,
        Errno::Notempty => ErrorCode::NotEmpty,
        Errno::Notrecoverable => ErrorCode::NotRecoverable,
        Errno::Notsup | Errno::Nosys => ErrorCode::Unsupported,
        Errno::Notty => ErrorCode::NoTty,
        Errno::Nxio => ErrorCode::NoSuchDevice,
        Errno::Overflow => ErrorCode::Overflow,
        Errno::Perm | Errno::Notcapable => ErrorCode::NotPermitted,
        Errno::Pipe => ErrorCode::Pipe,
        Errno::Rofs => ErrorCode::ReadOnly,
        Errno::Spipe => ErrorCode::InvalidSeek,
        Errno::Txtbsy => ErrorCode::TextFileBusy,
        Errno::Xdev => ErrorCode::CrossDevice,
        _ => ErrorCode::Io,
    }
}

impl State {
    /// What a stream's operation failed with.
    pub(super) fn stream_error(&mut self, errno: Errno) -> wasmtime::Result<StreamError> {
        Ok(match errno {
            Errno::Pipe => StreamError::Closed,
            errno => StreamError::LastOperationFailed(self.give(Failed(errno))?),
        })
    }
}

impl error::Host for State {}

impl error::HostError for State {
    fn to_debug_string(&mut self, failed: Resource<Failed>) -> wasmtime::Result<String> {
        let Failed(errno) = self.resources.table.get(&failed)?;
        Ok(format!("{errno:?}"))
    }

    fn drop(&mut self, failed: Resource<Failed>) -> wasmtime::Result<()> {
        self.taken(failed).map(drop)
    }
}
