//! Containers' standard streams over the console: the host's end of [`sentient_abi::stdio`].
//!
//! Towards the host, [`StdioMux`] decodes the guest's frames, however the guest has cut them into
//! buffers, and hands the payload to a [`StreamSink`] as it lies in guest memory. When the sink would
//! block, the decoder stops between two bytes and goes on there. Towards the guest it sends standard
//! input, never more than the guest has opened a window for (`stdin` has that half).
//!
//! All decisions are made on copies: a header is copied out of guest memory once, then decoded.

mod stdin;

use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};
use serde::{Deserialize, Serialize};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::lifecycle::RestoreError;
use crate::virtio::console::{ConsoleBackend, Receive, Transmit};
use crate::virtio::slices::{SliceCursor, total_len};
use stdin::Stdin;
pub use stdin::{End, OutgoingState, STDIN_BUFFER, StdinState};

const STATE_VERSION: u32 = 1;

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
    /// The frame has a payload and is of a kind that has none.
    #[error("the guest sent a frame of kind {kind:?} with {len} bytes of payload, which has none")]
    Payload {
        /// Its kind.
        kind: FrameKind,
        /// Bytes of payload it claims.
        len: u32,
    },
}

/// Where the decoder is in the guest's byte stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

const BETWEEN_FRAMES: Incoming = Incoming::Header { bytes: [0; HEADER_LEN], filled: 0 };

/// The multiplexer, a backend for the [`Console`](crate::virtio::console::Console).
#[derive(Debug)]
pub struct StdioMux<S> {
    sink: S,
    incoming: Incoming,
    stdin: Stdin,
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
}

impl<S: StreamSink> StdioMux<S> {
    /// The multiplexer of a machine with this many containers, which count from zero.
    #[must_use]
    pub fn new(sink: S, containers: u32) -> Self {
        Self { sink, incoming: BETWEEN_FRAMES, stdin: Stdin::new(containers) }
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
        self.stdin.has_output()
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
            FrameKind::Stdin | FrameKind::StdinEnd => {
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
            None if len > 0 => Err(ProtocolViolation::Payload { kind, len }),
            None => {
                self.stdin.open_window(container, argument);
                Ok(BETWEEN_FRAMES)
            }
        }
    }

    /// Moves the decoder over the bytes it can deal with now; false when the sink would block.
    fn decode<B: BitmapSlice>(
        &mut self,
        cursor: &mut SliceCursor<'_, '_, B>,
    ) -> Result<bool, ProtocolViolation> {
        match self.incoming {
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
                    Written::Accepted(0) | Written::WouldBlock => return Ok(false),
                    Written::Accepted(count) => count.min(offered),
                    Written::Closed => offered,
                };
                cursor.skip(taken);
                let left = remaining.saturating_sub(u32::try_from(taken).unwrap_or(u32::MAX));
                self.incoming = match left {
                    0 => BETWEEN_FRAMES,
                    remaining => Incoming::Payload { container, stream, remaining },
                };
                if left == 0 {
                    self.sink.end_of_frame(container, stream);
                }
            }
        }
        Ok(true)
    }
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
        match self.stdin.send(&mut SliceCursor::new(into)) {
            0 => Receive::WouldBlock,
            sent => Receive::Received(sent),
        }
    }

    fn reset(&mut self) {
        self.incoming = BETWEEN_FRAMES;
        self.stdin = Stdin::new(self.stdin.containers());
    }

    fn save(&self) -> StdioMuxState {
        StdioMuxState {
            version: STATE_VERSION,
            incoming: self.incoming,
            stdin: self.stdin.save_containers(),
            outgoing: self.stdin.save_outgoing(),
            turn: self.stdin.turn(),
        }
    }

    fn restore(&mut self, state: &StdioMuxState) -> Result<(), RestoreError> {
        RestoreError::check_version(NAME, state.version, STATE_VERSION)?;
        let containers = self.stdin.containers();
        let sound = match state.incoming {
            Incoming::Header { filled, .. } => usize::from(filled) < HEADER_LEN,
            Incoming::Payload { container, stream, remaining } => {
                (container < containers || stream == Stream::Log)
                    && (1..=sentient_abi::stdio::MAX_PAYLOAD).contains(&remaining)
            }
        };
        if !sound {
            let found = format!("{:?}", state.incoming);
            return Err(RestoreError::value(NAME, "the frame from the guest", found, "no frame leads there"));
        }
        self.stdin = Stdin::restored(containers, &state.stdin, state.outgoing.as_ref(), state.turn)?;
        self.incoming = state.incoming;
        Ok(())
    }
}
