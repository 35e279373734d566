//! The half of the multiplexer that loads, starts, pauses and kills containers of a resident machine, and reaches into their files: frames to the
//! guest, in the order they were given, and what the guest answers.

use std::collections::VecDeque;

use sentient_abi::container_files::Failure;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, Status};
use serde::{Deserialize, Serialize};
use vm_memory::bitmap::BitmapSlice;

use super::NAME;
use crate::lifecycle::RestoreError;
use crate::virtio::slices::SliceCursor;

/// Most bytes of control frames held for the guest.
pub const CONTROL_BUFFER: usize = 256 << 10;

/// What the guest says of a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContainerEvent {
    /// It runs.
    Started,
    /// It has trapped, and is kept until it is put back or killed.
    Trapped,
    /// It has ended; its number is free.
    Ended(ContainerEnd),
    /// It was not started, for this reason; its number is free.
    Refused(String),
    /// It was not started because the machine has not got its image; its number is free.
    NoImage,
    /// What it takes: the answer when it was asked, or paused.
    Status(Status),
    /// What was asked about its files.
    Files {
        /// The number of the request.
        number: u32,
        /// What was asked for, which nobody has looked at, or why it was not done.
        answer: Result<Vec<u8>, Failure>,
    },
}

/// Bytes a container has written and the sink has taken, since the machine booted. They go on counting when
/// its number is given to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// To standard output.
    pub stdout: u64,
    /// To standard error.
    pub stderr: u64,
}

/// Frames on their way to the guest.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Frames one after the other, the first one perhaps without its first bytes.
    bytes: VecDeque<u8>,
    /// Bytes of the first frame that are left, if some of it was sent.
    started: usize,
}

impl Outbox {
    pub(super) fn room(&self) -> usize {
        CONTROL_BUFFER.saturating_sub(self.bytes.len() + HEADER_LEN)
    }

    /// Takes a frame whole, or not at all.
    pub(super) fn push(&mut self, header: &FrameHeader, payload: &[u8]) -> bool {
        let sound = is_control(header.kind) && u32::try_from(payload.len()) == Ok(header.len);
        if !sound || self.bytes.len() + HEADER_LEN + payload.len() > CONTROL_BUFFER {
            return false;
        }
        self.bytes.extend(header.encode());
        self.bytes.extend(payload);
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Writes as much as there is room for.
    pub(super) fn send<B: BitmapSlice>(&mut self, cursor: &mut SliceCursor<'_, '_, B>) {
        while cursor.remaining() > 0 && !self.bytes.is_empty() {
            if self.started == 0 {
                self.started = first_frame_len(&self.bytes).unwrap_or(self.bytes.len());
            }
            let (front, back) = self.bytes.as_slices();
            let front = front.split_at(self.started.min(front.len())).0;
            let back = back.split_at((self.started - front.len()).min(back.len())).0;
            let sent = cursor.write(front) + cursor.write(back);
            self.bytes.drain(..sent);
            self.started -= sent;
        }
    }

    pub(super) fn save(&self) -> (Vec<u8>, u32) {
        (self.bytes.iter().copied().collect(), u32::try_from(self.started).unwrap_or(u32::MAX))
    }

    pub(super) fn restored(bytes: &[u8], started: u32) -> Result<Self, RestoreError> {
        let started = usize::try_from(started).unwrap_or(usize::MAX);
        let refuse = |found: usize, expected: &str| {
            Err(RestoreError::value(NAME, "the control frames to the guest", found, expected))
        };
        if bytes.len() > CONTROL_BUFFER {
            return refuse(bytes.len(), "at most CONTROL_BUFFER bytes are held");
        }
        let Some(mut rest) = bytes.get(started..) else {
            return refuse(started, "the frame being sent is all there");
        };
        while !rest.is_empty() {
            let queue: VecDeque<u8> = rest.iter().take(HEADER_LEN).copied().collect();
            let next = first_frame_len(&queue).and_then(|len| rest.get(len..));
            let Some(next) = next else { return refuse(rest.len(), "whole frames are held") };
            rest = next;
        }
        Ok(Self { bytes: bytes.iter().copied().collect(), started })
    }
}

fn is_control(kind: FrameKind) -> bool {
    matches!(
        kind,
        FrameKind::Load
            | FrameKind::LoadData
            | FrameKind::Start
            | FrameKind::Kill
            | FrameKind::Pause
            | FrameKind::Ask
            | FrameKind::Image
            | FrameKind::ImageData
            | FrameKind::Rest
            | FrameKind::Files
    )
}

/// Length of the frame that starts here, with its header.
fn first_frame_len(bytes: &VecDeque<u8>) -> Option<usize> {
    let mut header = [0; HEADER_LEN];
    if bytes.len() < HEADER_LEN {
        return None;
    }
    for (to, from) in header.iter_mut().zip(bytes) {
        *to = *from;
    }
    let header = FrameHeader::decode(&header).filter(|header| is_control(header.kind))?;
    HEADER_LEN.checked_add(usize::try_from(header.len).ok()?)
}
