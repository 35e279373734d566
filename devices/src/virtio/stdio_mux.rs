//! Containers' standard streams over the console: the host's end of [`sentient_abi::stdio`].
//!
//! Towards the host, [`StdioMux`] decodes the guest's frames, however the guest has cut them into
//! buffers, and hands the payload to a [`StreamSink`] as it lies in guest memory. When the sink would
//! block, the decoder stops between two bytes and goes on there. Towards the guest it sends standard
//! input, never more than the guest has opened a window for (`stdin` has that half), and to a resident
//! machine containers and what becomes of them (`control`).
//!
//! All decisions are made on copies: a header is copied out of guest memory once, then decoded.

mod control;
mod message;
mod stdin;
mod violation;

use sentient_abi::MAX_CONTAINERS;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, NO_IMAGE};
use serde::{Deserialize, Serialize};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::lifecycle::RestoreError;
use crate::virtio::console::{ConsoleBackend, Receive, Transmit};
use crate::virtio::slices::{SliceCursor, total_len};
use control::Outbox;
pub use control::{CONTROL_BUFFER, ContainerEvent, Position};
pub use message::Message;
use stdin::Stdin;
pub use stdin::{End, OutgoingState, STDIN_BUFFER, StdinState};
pub use violation::ProtocolViolation;

const STATE_VERSION: u32 = 3;

/// The name of the multiplexer in errors.
const NAME: &str = "stdio multiplexer";

/// What of a guest the payload of a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Stream {
    /// A container's standard output.
    Stdout,
    /// A container's standard error.
    Stderr,
    /// The kernel's log, in which `container` says nothing.
    Log,
}

/// Where payload goes.
pub trait StreamSink {
    /// Takes bytes of one stream: from the start of `bytes`, which are not empty, as many as go without
    /// waiting. The bytes lie in guest memory; what matters is read once.
    fn write<B: BitmapSlice>(
        &mut self,
        container: u32,
        stream: Stream,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Written;

    /// The frame whose payload was just taken is complete. The kernel's log comes in a frame a line.
    fn end_of_frame(&mut self, _container: u32, _stream: Stream) {}

    /// The guest of a resident machine says what became of a container. What it wrote before has been given
    /// to [`write`](Self::write).
    fn control(&mut self, _container: u32, _event: ContainerEvent) {}
}

/// What a sink did with bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// It took this many from the start, at least one and at most all.
    Accepted(usize),
    /// It takes none now. The streams behind it in the console wait as well.
    WouldBlock,
    /// Nobody reads this stream any more: its bytes are dropped, so that the guest does not wait.
    Closed,
}

/// Where the decoder is in the guest's byte stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Incoming {
    /// In a header.
    Header {
        /// Its bytes so far, zero from `filled` on.
        bytes: [u8; HEADER_LEN],
        /// How many there are, fewer than all.
        filled: u8,
    },
    /// In a payload.
    Payload {
        /// The container of the frame.
        container: u32,
        /// Its stream.
        stream: Stream,
        /// Bytes of payload to come, at least one.
        remaining: u32,
    },
    /// In what the guest says of a container.
    Message {
        /// What that is.
        message: Message,
        /// The container.
        container: u32,
        /// What has come of it.
        bytes: Vec<u8>,
        /// Bytes to come, at least one.
        remaining: u32,
    },
}

const BETWEEN_FRAMES: Incoming = Incoming::Header { bytes: [0; HEADER_LEN], filled: 0 };

/// The multiplexer, a backend for the [`Console`](crate::virtio::console::Console).
#[derive(Debug)]
pub struct StdioMux<S> {
    sink: S,
    incoming: Incoming,
    stdin: Stdin,
    outbox: Outbox,
    positions: Vec<Position>,
    resident: bool,
}

/// What a [`StdioMux`] saves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StdioMuxState {
    /// Layout of this struct.
    pub version: u32,
    /// Where the decoder is.
    pub incoming: Incoming,
    /// Standard input of each container.
    pub stdin: Vec<StdinState>,
    /// The frame being sent to the guest.
    pub outgoing: Option<OutgoingState>,
    /// The container whose input is looked at next.
    pub turn: u32,
    /// Control frames to the guest, the first perhaps without its first bytes.
    pub control: Vec<u8>,
    /// Bytes of the first of them that are left, if some of it was sent.
    pub control_started: u32,
    /// What each container has written.
    pub positions: Vec<Position>,
}

impl<S: StreamSink> StdioMux<S> {
    /// The multiplexer of a machine with this many containers, which count from zero.
    #[must_use]
    pub fn new(sink: S, containers: u32) -> Self {
        Self {
            sink,
            incoming: BETWEEN_FRAMES,
            stdin: Stdin::new(containers),
            outbox: Outbox::default(),
            positions: (0..containers).map(|_| Position::default()).collect(),
            resident: false,
        }
    }

    /// The multiplexer of a resident machine: containers come and go, each with a number below
    /// [`MAX_CONTAINERS`].
    #[must_use]
    pub fn resident(sink: S) -> Self {
        Self { resident: true, ..Self::new(sink, MAX_CONTAINERS) }
    }

    /// Payload of a frame that [`send_control`](Self::send_control) takes now.
    #[must_use]
    pub fn control_room(&self) -> usize {
        self.outbox.room()
    }

    /// Takes a frame that loads, starts or kills a container: whole, or (`false`) not at all, if it is of
    /// another kind, its length is not the payload's, or there is no room. Then
    /// [`backend_readable`](crate::virtio::mmio::MmioTransport::backend_readable) sends it. There is room again
    /// after the receive queue was worked on.
    #[must_use = "a frame that was not taken has to be sent again"]
    pub fn send_control(&mut self, frame: &FrameHeader, payload: &[u8]) -> bool {
        let taken = self.resident && self.outbox.push(frame, payload);
        if taken && frame.kind == FrameKind::Load {
            // The end of its predecessor's input may have come after that one had ended.
            self.stdin.forget(frame.container);
        }
        taken
    }

    /// What each container has written and the sink has taken.
    #[must_use]
    pub fn positions(&self) -> &[Position] {
        &self.positions
    }

    /// Where payload goes.
    pub fn sink(&self) -> &S {
        &self.sink
    }

    /// Where payload goes, to change it.
    pub fn sink_mut(&mut self) -> &mut S {
        &mut self.sink
    }

    /// Bytes of standard input that [`offer_stdin`](Self::offer_stdin) takes for this container now:
    /// zero while its window is closed. Watch the source of input for readability while this is not
    /// zero, and read no more from it. It grows when the guest opens the window (after the transmit
    /// queue was worked on) and when it takes input (after the receive queue was).
    #[must_use]
    pub fn stdin_room(&self, container: u32) -> usize {
        self.stdin.room(container)
    }

    /// Takes standard input for a container, at most [`stdin_room`](Self::stdin_room) bytes, and
    /// returns how many. Then
    /// [`backend_readable`](crate::virtio::mmio::MmioTransport::backend_readable) sends them.
    #[must_use = "bytes that were not taken have to be offered again"]
    pub fn offer_stdin(&mut self, container: u32, bytes: &[u8]) -> usize {
        self.stdin.offer(container, bytes)
    }

    /// Says that a container's standard input ends after what was offered. Then
    /// [`backend_readable`](crate::virtio::mmio::MmioTransport::backend_readable) sends that.
    pub fn end_stdin(&mut self, container: u32) {
        self.stdin.end(container);
    }

    /// Whether there is anything to send to the guest.
    #[must_use]
    pub fn has_output_for_guest(&self) -> bool {
        self.stdin.has_output() || !self.outbox.is_empty()
    }

    /// Acts on a complete header and returns what comes after it.
    fn begin_frame(&mut self, bytes: &[u8; HEADER_LEN]) -> Result<Incoming, ProtocolViolation> {
        let header = FrameHeader::decode(bytes).ok_or(ProtocolViolation::Header { bytes: *bytes })?;
        let FrameHeader { kind, container, len, argument } = header;
        let stream = match kind {
            FrameKind::Stdout => Some(Stream::Stdout),
            FrameKind::Stderr => Some(Stream::Stderr),
            FrameKind::Log => Some(Stream::Log),
            FrameKind::Window => None,
            FrameKind::Started | FrameKind::Ended | FrameKind::Trapped => None,
            FrameKind::Refused | FrameKind::Status | FrameKind::FilesAnswer => None,
            FrameKind::Stdin
            | FrameKind::StdinEnd
            | FrameKind::Load
            | FrameKind::LoadData
            | FrameKind::Start
            | FrameKind::Kill
            | FrameKind::Pause
            | FrameKind::Ask
            | FrameKind::Image
            | FrameKind::ImageData
            | FrameKind::Rest
            | FrameKind::Files => {
                return Err(ProtocolViolation::Direction { kind });
            }
        };
        let containers = self.stdin.containers();
        if stream != Some(Stream::Log) && container >= containers {
            return Err(ProtocolViolation::Container { container, containers });
        }
        match stream {
            Some(stream) if len > 0 => Ok(Incoming::Payload { container, stream, remaining: len }),
            Some(stream) => {
                self.sink.end_of_frame(container, stream);
                Ok(BETWEEN_FRAMES)
            }
            None if kind != FrameKind::Window && !self.resident => {
                Err(ProtocolViolation::NotResident { kind })
            }
            None => match Message::of(kind).filter(|_| len > 0 || kind != FrameKind::Refused) {
                Some(message) if message.may_have(len) => {
                    Ok(Incoming::Message { message, container, bytes: Vec::new(), remaining: len })
                }
                None if len == 0 => {
                    self.short_frame(kind, container, argument)?;
                    Ok(BETWEEN_FRAMES)
                }
                _ => Err(ProtocolViolation::Length { kind, len }),
            },
        }
    }

    /// Acts on a frame of the guest's that is a header and nothing more.
    fn short_frame(
        &mut self,
        kind: FrameKind,
        container: u32,
        argument: u32,
    ) -> Result<(), ProtocolViolation> {
        match kind {
            FrameKind::Window => self.stdin.open_window(container, argument),
            FrameKind::Started => self.tell(container, ContainerEvent::Started),
            FrameKind::Trapped => self.tell(container, ContainerEvent::Trapped),
            FrameKind::Ended => {
                let end = ContainerEnd::decode(argument);
                let end = end.ok_or(ProtocolViolation::End { container, word: argument })?;
                self.tell(container, ContainerEvent::Ended(end));
            }
            _ if argument == NO_IMAGE => self.tell(container, ContainerEvent::NoImage),
            _ => self.tell(container, ContainerEvent::Refused(String::new())),
        }
        Ok(())
    }

    fn tell(&mut self, container: u32, event: ContainerEvent) {
        if matches!(event, ContainerEvent::Ended(_) | ContainerEvent::Refused(_) | ContainerEvent::NoImage) {
            // Its number is free.
            self.stdin.forget(container);
        }
        self.sink.control(container, event);
    }

    fn count(&mut self, container: u32, stream: Stream, bytes: usize) {
        let position = usize::try_from(container).ok().and_then(|index| self.positions.get_mut(index));
        let Some(position) = position else { return };
        let counter = match stream {
            Stream::Stdout => &mut position.stdout,
            Stream::Stderr => &mut position.stderr,
            Stream::Log => return,
        };
        *counter = counter.saturating_add(bytes as u64);
    }

    /// Moves the decoder over the bytes it can deal with now; false when the sink would block.
    fn decode<B: BitmapSlice>(
        &mut self,
        cursor: &mut SliceCursor<'_, '_, B>,
    ) -> Result<bool, ProtocolViolation> {
        match std::mem::replace(&mut self.incoming, BETWEEN_FRAMES) {
            Incoming::Header { mut bytes, filled } => {
                let at = usize::from(filled).min(HEADER_LEN);
                let read = cursor.read(bytes.split_at_mut(at).1);
                self.incoming = match at + read {
                    HEADER_LEN => self.begin_frame(&bytes)?,
                    // Smaller than the header's length, which a u8 holds.
                    filled => Incoming::Header { bytes, filled: filled as u8 },
                };
            }
            Incoming::Payload { container, stream, remaining } => {
                let window = cursor.window(usize::try_from(remaining).unwrap_or(usize::MAX));
                let offered = total_len(&window);
                let taken = match self.sink.write(container, stream, &window) {
                    Written::Accepted(0) | Written::WouldBlock => {
                        self.incoming = Incoming::Payload { container, stream, remaining };
                        return Ok(false);
                    }
                    Written::Accepted(count) => count.min(offered),
                    Written::Closed => offered,
                };
                cursor.skip(taken);
                self.count(container, stream, taken);
                let left = remaining.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                self.incoming = match left {
                    0 => BETWEEN_FRAMES,
                    remaining => Incoming::Payload { container, stream, remaining },
                };
                if left == 0 {
                    self.sink.end_of_frame(container, stream);
                }
            }
            Incoming::Message { message, container, mut bytes, remaining } => {
                match more(cursor, &mut bytes, remaining) {
                    0 => self.tell(container, message.read(container, bytes)?),
                    remaining => self.incoming = Incoming::Message { message, container, bytes, remaining },
                }
            }
        }
        Ok(true)
    }
}

/// Reads what has come of the payload of a frame about a container; gives how much is still to come.
fn more<B: BitmapSlice>(cursor: &mut SliceCursor<'_, '_, B>, payload: &mut Vec<u8>, remaining: u32) -> u32 {
    let mut more = vec![0; cursor.remaining().min(usize::try_from(remaining).unwrap_or(0))];
    let read = cursor.read(&mut more);
    payload.extend(more.split_at(read).0);
    remaining.saturating_sub(u32::try_from(read).unwrap_or(u32::MAX))
}

impl<S: StreamSink> ConsoleBackend for StdioMux<S> {
    type State = StdioMuxState;

    fn transmit<B: BitmapSlice>(
        &mut self,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Result<Transmit, ProtocolViolation> {
        let mut cursor = SliceCursor::new(bytes);
        while cursor.remaining() > 0 {
            if !self.decode(&mut cursor)? {
                break;
            }
        }
        Ok(match cursor.position() {
            0 => Transmit::WouldBlock,
            taken => Transmit::Accepted(taken),
        })
    }

    fn receive<B: BitmapSlice>(&mut self, into: &[VolatileSlice<'_, B>]) -> Receive {
        let mut cursor = SliceCursor::new(into);
        // A frame that was begun comes first, then what is about containers, then what they read.
        if self.stdin.is_within_frame() {
            self.stdin.send(&mut cursor);
        }
        if !self.stdin.is_within_frame() {
            self.outbox.send(&mut cursor);
        }
        if self.outbox.is_empty() {
            self.stdin.send(&mut cursor);
        }
        match cursor.position() {
            0 => Receive::WouldBlock,
            sent => Receive::Received(sent),
        }
    }

    fn reset(&mut self) {
        self.incoming = BETWEEN_FRAMES;
        self.stdin = Stdin::new(self.stdin.containers());
        self.outbox = Outbox::default();
    }

    fn save(&self) -> StdioMuxState {
        let (control, control_started) = self.outbox.save();
        StdioMuxState {
            version: STATE_VERSION,
            incoming: self.incoming.clone(),
            stdin: self.stdin.save_containers(),
            outgoing: self.stdin.save_outgoing(),
            turn: self.stdin.turn(),
            control,
            control_started,
            positions: self.positions.clone(),
        }
    }

    fn restore(&mut self, state: &StdioMuxState) -> Result<(), RestoreError> {
        RestoreError::check_version(NAME, state.version, STATE_VERSION)?;
        let containers = self.stdin.containers();
        let sound = match &state.incoming {
            Incoming::Header { filled, .. } => usize::from(*filled) < HEADER_LEN,
            Incoming::Payload { container, stream, remaining } => {
                (*container < containers || *stream == Stream::Log)
                    && (1..=sentient_abi::stdio::MAX_PAYLOAD).contains(remaining)
            }
            Incoming::Message { message, container, bytes, remaining } => {
                let total = u32::try_from(bytes.len()).ok().and_then(|read| read.checked_add(*remaining));
                let whole = total.is_some_and(|total| message.may_have(total));
                self.resident && *container < containers && *remaining > 0 && whole
            }
        };
        if !sound {
            let found = format!("{:?}", state.incoming);
            return Err(RestoreError::value(NAME, "the frame from the guest", found, "no frame leads there"));
        }
        if !self.resident && !state.control.is_empty() {
            let found = state.control.len();
            return Err(RestoreError::value(NAME, "the control frames", found, "this machine takes none"));
        }
        if u32::try_from(state.positions.len()) != Ok(containers) {
            let expected = format!("this machine has {containers} containers");
            return Err(RestoreError::value(NAME, "the positions", state.positions.len(), expected));
        }
        if state.control_started > 0 && state.outgoing.is_some() {
            let found = state.control_started;
            return Err(RestoreError::value(NAME, "the frames being sent", found, "one frame at a time is"));
        }
        let outbox = Outbox::restored(&state.control, state.control_started)?;
        self.stdin = Stdin::restored(containers, &state.stdin, state.outgoing.as_ref(), state.turn)?;
        self.outbox = outbox;
        self.positions.clone_from(&state.positions);
        self.incoming = state.incoming.clone();
        Ok(())
    }
}
