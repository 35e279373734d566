//! What the guest must not send.

use super::message::Message;
use sentient_abi::stdio::{FrameKind, HEADER_LEN};

/// A frame the guest must not send. There is no way to find the next one: the machine ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolViolation {
    /// The header's kind or length is none of the protocol's.
    #[error("the guest sent {bytes:02x?}, which is no frame header of this ABI version")]
    Header {
        /// The header.
        bytes: [u8; HEADER_LEN],
    },
    /// The frame is one that only the host sends.
    #[error("the guest sent a frame of kind {kind:?}, which only the host sends")]
    Direction {
        /// Its kind.
        kind: FrameKind,
    },
    /// The frame is of a container this machine does not have.
    #[error("the guest sent a frame of container {container}, but this machine has {containers}")]
    Container {
        /// The container it names.
        container: u32,
        /// Containers of this machine; they count from zero.
        containers: u32,
    },
    /// The frame is one that only the guest of a resident machine sends.
    #[error("the guest sent a frame of kind {kind:?}, but its machine takes no containers")]
    NotResident {
        /// Its kind.
        kind: FrameKind,
    },
    /// The frame says how a container ended, with a number that says nothing.
    #[error("the guest says that container {container} ended with {word:#x}, which means nothing")]
    End {
        /// The container.
        container: u32,
        /// The number.
        word: u32,
    },
    /// The frame says something of a container that means nothing.
    #[error("the guest says of container {container} what no container can be: {message:?}")]
    Message {
        /// The container.
        container: u32,
        /// What it was to be.
        message: Message,
    },
    /// The frame's payload is too long for its kind, or too short.
    #[error("the guest sent a frame of kind {kind:?} with {len} bytes of payload, which never has as many")]
    Length {
        /// Its kind.
        kind: FrameKind,
        /// Bytes of payload it claims.
        len: u32,
    },
}
