//! What the guest says of a container in more than a header: it is read whole before anybody is told.

use sentient_abi::bytes::read_u32;
use sentient_abi::container_files::{ANSWER_HEAD, Failure, MAX_ANSWER};
use sentient_abi::stdio::{FrameKind, MAX_REASON, STATUS_LEN, Status};
use serde::{Deserialize, Serialize};

use super::control::ContainerEvent;
use super::violation::ProtocolViolation;

/// Which of them it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Why a container was not started.
    Reason,
    /// What a container takes.
    Status,
    /// What was asked about a container's files.
    Answer,
}

impl Message {
    /// The one that a frame of this kind carries, if it carries one.
    pub(super) fn of(kind: FrameKind) -> Option<Self> {
        Some(match kind {
            FrameKind::Refused => Self::Reason,
            FrameKind::Status => Self::Status,
            FrameKind::FilesAnswer => Self::Answer,
            _ => return None,
        })
    }

    /// Whether it may have so many bytes.
    pub(super) fn may_have(self, len: u32) -> bool {
        match self {
            Self::Reason => (1..=MAX_REASON).contains(&len),
            Self::Status => len == STATUS_LEN,
            Self::Answer => (ANSWER_HEAD as u32..=MAX_ANSWER).contains(&len),
        }
    }

    /// What it says.
    pub(super) fn read(self, container: u32, bytes: Vec<u8>) -> Result<ContainerEvent, ProtocolViolation> {
        let nonsense = ProtocolViolation::Message { container, message: self };
        match self {
            Self::Reason => Ok(ContainerEvent::Refused(String::from_utf8_lossy(&bytes).into_owned())),
            Self::Status => Status::decode(&bytes).map(ContainerEvent::Status).ok_or(nonsense),
            Self::Answer => {
                let (number, failure) = read_u32(&bytes, 0).zip(read_u32(&bytes, 4)).ok_or(nonsense)?;
                let data = bytes.get(ANSWER_HEAD..).unwrap_or_default().to_vec();
                let answer = match failure {
                    0 => Ok(data),
                    failure => Err(Failure::from_u32(failure).ok_or(nonsense)?),
                };
                Ok(ContainerEvent::Files { number, answer })
            }
        }
    }
}
