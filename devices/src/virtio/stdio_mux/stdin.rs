//! The half of the multiplexer that sends standard input, within the windows the guest opens.
//!
//! Input the host has read is held here until the guest takes it: at most [`STDIN_BUFFER`] bytes per
//! container, whatever window a guest claims to have.

use std::collections::VecDeque;

use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, MAX_PAYLOAD};
use serde::{Deserialize, Serialize};
use vm_memory::bitmap::BitmapSlice;

use super::NAME;
use crate::lifecycle::RestoreError;
use crate::virtio::slices::SliceCursor;

/// Most bytes of standard input held for one container.
pub const STDIN_BUFFER: usize = 64 << 10;

const _: () = assert!(STDIN_BUFFER <= MAX_PAYLOAD as usize, "all that is held fits into one frame");

/// Standard input of one container, as it is saved.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdinState {
    /// Bytes the guest takes beyond those that were offered already.
    pub window: u32,
    /// Bytes that were offered and not sent.
    pub queued: Vec<u8>,
    /// Whether there is more to come.
    pub end: End,
}

/// Whether a container's standard input has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum End {
    /// More may come.
    #[default]
    Open,
    /// It ends after what is queued, and the guest has to be told.
    Ending,
    /// The guest has been told.
    Ended,
}

/// The frame being sent, as it is saved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutgoingState {
    /// The container it is for.
    pub container: u32,
    /// Its header.
    pub header: [u8; HEADER_LEN],
    /// Bytes of the header that were sent.
    pub header_sent: u8,
    /// Bytes of payload to send, the first of those queued.
    pub payload_left: u32,
}

#[derive(Debug, Default)]
struct Input {
    window: u32,
    queued: VecDeque<u8>,
    end: End,
}

/// Standard input of all containers of a machine.
#[derive(Debug)]
pub(super) struct Stdin {
    inputs: Vec<Input>,
    outgoing: Option<OutgoingState>,
    /// Whose input is looked at next: one chatty terminal does not hold up the others.
    turn: usize,
}

impl Stdin {
    pub(super) fn new(containers: u32) -> Self {
        Self { inputs: (0..containers).map(|_| Input::default()).collect(), outgoing: None, turn: 0 }
    }

    pub(super) fn containers(&self) -> u32 {
        u32::try_from(self.inputs.len()).unwrap_or(u32::MAX)
    }

    fn input(&mut self, container: u32) -> Option<&mut Input> {
        self.inputs.get_mut(usize::try_from(container).ok()?)
    }

    pub(super) fn open_window(&mut self, container: u32, bytes: u32) {
        if let Some(input) = self.input(container) {
            input.window = input.window.saturating_add(bytes);
        }
    }

    pub(super) fn room(&self, container: u32) -> usize {
        let input = usize::try_from(container).ok().and_then(|index| self.inputs.get(index));
        input.filter(|input| input.end == End::Open).map_or(0, |input| {
            let window = usize::try_from(input.window).unwrap_or(usize::MAX);
            window.min(STDIN_BUFFER.saturating_sub(input.queued.len()))
        })
    }

    pub(super) fn offer(&mut self, container: u32, bytes: &[u8]) -> usize {
        let taken = bytes.split_at(self.room(container).min(bytes.len())).0;
        if let Some(input) = self.input(container) {
            input.queued.extend(taken);
            input.window = input.window.saturating_sub(u32::try_from(taken.len()).unwrap_or(u32::MAX));
        }
        taken.len()
    }

    pub(super) fn end(&mut self, container: u32) {
        if let Some(input) = self.input(container).filter(|input| input.end == End::Open) {
            input.end = End::Ending;
        }
    }

    /// Forgets a container's input, but for the rest of a frame that was begun.
    pub(super) fn forget(&mut self, container: u32) {
        let begun = self.outgoing.filter(|frame| frame.container == container);
        let left = begun.map_or(0, |frame| usize::try_from(frame.payload_left).unwrap_or(0));
        if let Some(input) = self.input(container) {
            input.queued.truncate(left);
            input.window = 0;
            input.end = End::Open;
        }
    }

    /// Whether a frame is sent in part: nothing else may come between.
    pub(super) fn is_within_frame(&self) -> bool {
        self.outgoing.is_some()
    }

    pub(super) fn has_output(&self) -> bool {
        self.outgoing.is_some()
            || self.inputs.iter().any(|input| !input.queued.is_empty() || input.end == End::Ending)
    }

    /// Writes as many frames as there is input and room for.
    pub(super) fn send<B: BitmapSlice>(&mut self, cursor: &mut SliceCursor<'_, '_, B>) {
        while cursor.remaining() > 0 {
            let Some(mut frame) = self.outgoing.take().or_else(|| self.next_frame()) else {
                break;
            };
            let unsent = frame.header.get(usize::from(frame.header_sent)..).unwrap_or_default();
            // At most the header's length, which a u8 holds.
            frame.header_sent = frame.header_sent.saturating_add(cursor.write(unsent) as u8);
            frame.payload_left = self.send_payload(frame.container, frame.payload_left, cursor);
            if usize::from(frame.header_sent) < HEADER_LEN || frame.payload_left > 0 {
                self.outgoing = Some(frame);
            }
        }
    }

    /// Sends payload from the front of the queue and returns how much of it is left to send.
    fn send_payload<B: BitmapSlice>(
        &mut self,
        container: u32,
        left: u32,
        cursor: &mut SliceCursor<'_, '_, B>,
    ) -> u32 {
        let Some(input) = self.input(container) else {
            return 0;
        };
        let want = usize::try_from(left).unwrap_or(usize::MAX).min(input.queued.len());
        let (front, back) = input.queued.as_slices();
        let front = front.split_at(want.min(front.len())).0;
        let back = back.split_at((want - front.len()).min(back.len())).0;
        let sent = cursor.write(front) + cursor.write(back);
        input.queued.drain(..sent);
        u32::try_from(want - sent).unwrap_or(u32::MAX)
    }

    /// A frame of the next container that has something to send.
    fn next_frame(&mut self) -> Option<OutgoingState> {
        for step in 0..self.inputs.len() {
            let index = (self.turn + step) % self.inputs.len();
            let container = u32::try_from(index).ok()?;
            let input = self.inputs.get_mut(index)?;
            let (kind, len) = match (input.queued.len(), input.end) {
                (0, End::Ending) => {
                    input.end = End::Ended;
                    (FrameKind::StdinEnd, 0)
                }
                (0, _) => continue,
                (queued, _) => {
                    (FrameKind::Stdin, u32::try_from(queued).unwrap_or(MAX_PAYLOAD).min(MAX_PAYLOAD))
                }
            };
            self.turn = (index + 1) % self.inputs.len();
            let header = FrameHeader { kind, container, len, argument: 0 }.encode();
            return Some(OutgoingState { container, header, header_sent: 0, payload_left: len });
        }
        None
    }

    pub(super) fn turn(&self) -> u32 {
        u32::try_from(self.turn).unwrap_or(0)
    }

    pub(super) fn save_outgoing(&self) -> Option<OutgoingState> {
        self.outgoing
    }

    pub(super) fn save_containers(&self) -> Vec<StdinState> {
        let save = |input: &Input| StdinState {
            window: input.window,
            queued: input.queued.iter().copied().collect(),
            end: input.end,
        };
        self.inputs.iter().map(save).collect()
    }

    /// The standard input of a saved machine with as many containers.
    pub(super) fn restored(
        containers: u32,
        states: &[StdinState],
        outgoing: Option<&OutgoingState>,
        turn: u32,
    ) -> Result<Self, RestoreError> {
        if u32::try_from(states.len()) != Ok(containers) {
            let expected = format!("this machine has {containers}");
            return Err(RestoreError::value(NAME, "the number of containers", states.len(), expected));
        }
        if let Some(long) = states.iter().find(|state| state.queued.len() > STDIN_BUFFER) {
            let expected = format!("at most {STDIN_BUFFER} bytes are held");
            return Err(RestoreError::value(NAME, "the length of the input", long.queued.len(), expected));
        }
        if let Some(frame) = outgoing {
            let queued = usize::try_from(frame.container)
                .ok()
                .and_then(|index| states.get(index))
                .map(|s| s.queued.len());
            let sound = usize::from(frame.header_sent) <= HEADER_LEN
                && queued.is_some_and(|queued| {
                    usize::try_from(frame.payload_left).is_ok_and(|left| left <= queued)
                })
                && FrameHeader::decode(&frame.header).is_some_and(|header| {
                    matches!(header.kind, FrameKind::Stdin | FrameKind::StdinEnd)
                        && frame.payload_left <= header.len
                });
            if !sound {
                let found = format!("{frame:?}");
                return Err(RestoreError::value(
                    NAME,
                    "the frame to the guest",
                    found,
                    "no frame leads there",
                ));
            }
        }
        let turn = usize::try_from(turn).unwrap_or(0);
        if turn != 0 && turn >= states.len() {
            return Err(RestoreError::value(
                NAME,
                "the turn",
                turn,
                format!("this machine has {containers} containers"),
            ));
        }
        let restore = |state: &StdinState| Input {
            window: state.window,
            queued: state.queued.iter().copied().collect(),
            end: state.end,
        };
        Ok(Self { inputs: states.iter().map(restore).collect(), outgoing: outgoing.copied(), turn })
    }
}
