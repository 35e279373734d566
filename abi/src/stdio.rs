//! Frames over the virtio console: many containers' standard streams on one byte stream each way.
//!
//! A frame is a [`FrameHeader`] and `len` bytes. The console keeps order and loses nothing, so there is
//! no checksum and no acknowledgement; a header that does not decode is a protocol violation and ends
//! the machine. Flow control: output is held back by the queue itself; input only flows within the
//! window the guest has opened with [`FrameKind::Window`], so a container that does not read its input
//! neither receives any nor delays its neighbours.
//!
//! To a resident machine ([`RESIDENT`](crate::boot_module::RESIDENT)) the host also sends containers, on the
//! same stream: `Load`, as many `LoadData` as it takes, `Start`. The bytes are a boot module with one
//! container, and its image's digest instead of the image. Images come in the same way, each of them once: `Image`,
//! as many `ImageData` as it takes. The guest answers each `Start` with `Started` or `Refused`, the latter with
//! [`NO_IMAGE`] if all that is missing is the image, and a started
//! container ends with `Ended`; after `Refused` and `Ended` the container's number is free again, its
//! window is closed, and input under way to it is dropped. It answers `Pause` and `Ask` with `Status`, unless the
//! container is not there, and `Rest` on the sentinel, when no container is being run. Each `Files` is
//! answered by a `FilesAnswer`, whether the container is there or not. A container with
//! [`HOLD`](crate::boot_module::container_flags::HOLD) that traps is not over: the guest says `Trapped`, again in each life of the
//! machine, and keeps it until the host puts its region back or kills it. The guest ignores frames that make no sense
//! to it, such as `Kill` for a container that has just ended, and says so in its log.

use crate::bytes::{read_u32, read_u64, write_u32, write_u64};

/// Bytes of a [`FrameHeader`].
pub const HEADER_LEN: usize = 16;

/// Longest payload of one frame, in bytes: bounds what either side must be ready to buffer.
pub const MAX_PAYLOAD: u32 = 1 << 20;

/// What a frame carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// Guest to host: bytes of a container's standard output.
    Stdout = 1,
    /// Guest to host: bytes of a container's standard error.
    Stderr = 2,
    /// Host to guest: bytes of a container's standard input.
    Stdin = 3,
    /// Host to guest: end of a container's standard input; no payload.
    StdinEnd = 4,
    /// Guest to host: `argument` more bytes of standard input are welcome; no payload.
    Window = 5,
    /// Guest to host: a line of the kernel's log, UTF-8.
    Log = 6,
    /// Host to guest: a container of `argument` bytes is coming. The payload is how much room it needs: an
    /// encoded [`Room`].
    Load = 7,
    /// Host to guest: the next bytes of a container.
    LoadData = 8,
    /// Host to guest: all bytes were sent, run it; no payload.
    Start = 9,
    /// Host to guest: end a container; no payload.
    Kill = 10,
    /// Guest to host: a container runs; no payload.
    Started = 11,
    /// Guest to host: a container has ended; `argument` is its encoded
    /// [`ContainerEnd`](crate::exit::ContainerEnd), no payload.
    Ended = 12,
    /// Guest to host: a container was not started; the payload says why, UTF-8. `argument` is 0 or [`NO_IMAGE`].
    Refused = 13,
    /// Host to guest: a container is not to run (`argument` 1) or may run again (0); no payload.
    Pause = 14,
    /// Host to guest: what does a container take? No payload.
    Ask = 15,
    /// Guest to host: what a container takes: an encoded [`Status`].
    Status = 16,
    /// Host to guest: an image of `argument` bytes is coming, as a boot module with nothing else. The payload is its
    /// digest, 32 bytes; `container` says nothing.
    Image = 17,
    /// Host to guest: the next bytes of an image.
    ImageData = 18,
    /// Host to guest: announce [`AtRest`](crate::sentinel::Event::AtRest); no payload, `container` says nothing.
    Rest = 19,
    /// Host to guest: something about a container's files: a request of `container_files`, with `argument` as
    /// its number.
    Files = 20,
    /// Guest to host: the answer to that.
    FilesAnswer = 21,
    /// Guest to host: a container has trapped, and is held; no payload.
    Trapped = 22,
}

/// Argument of a [`FrameKind::Refused`]: the machine has not got the container's image.
pub const NO_IMAGE: u32 = 1;

/// The room that a container needs, besides its bytes: the payload of a [`FrameKind::Load`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Most bytes of linear memory.
    pub memory: u64,
    /// Most bytes of files; 0 for the usual part of the memory.
    pub files: u64,
    /// A number that no other container has: for its [header](crate::container_header).
    pub life: u64,
}

impl Room {
    /// Bytes of an encoded one.
    pub const LEN: usize = 24;

    /// The room as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        // In bounds by construction.
        for (at, value) in [self.memory, self.files, self.life].into_iter().enumerate() {
            let _ = write_u64(&mut bytes, 8 * at, value);
        }
        bytes
    }

    /// Reads one; `None` for another length.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != Self::LEN {
            return None;
        }
        Some(Self { memory: read_u64(bytes, 0)?, files: read_u64(bytes, 8)?, life: read_u64(bytes, 16)? })
    }
}

/// Longest reason of a [`FrameKind::Refused`], in bytes.
pub const MAX_REASON: u32 = 4096;

/// Bytes of a [`Status`].
pub const STATUS_LEN: u32 = 40;

/// What a container takes, as its guest counts it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It does not run until the host says so.
    pub paused: bool,
    /// Its part of the processor where others want it too, from 1 to [`FULL_WEIGHT`].
    pub weight: u32,
    /// CPU time it has used, in nanoseconds.
    pub used_ns: u64,
    /// Linear memory it has, in bytes.
    pub memory: u64,
    /// Most that it may have.
    pub memory_limit: u64,
    /// Functions of the runtime's that it has called: while it computes, this stands still.
    pub calls: u64,
}

/// The weight of a container that says nothing: hundredths.
pub const FULL_WEIGHT: u32 = 100;

/// All weights there are.
pub const WEIGHTS: core::ops::RangeInclusive<u32> = 1..=FULL_WEIGHT;

impl Status {
    /// The status as bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; STATUS_LEN as usize] {
        let mut bytes = [0; STATUS_LEN as usize];
        // In bounds by construction, all of them.
        let _ = write_u32(&mut bytes, 0, u32::from(self.paused));
        let _ = write_u32(&mut bytes, 4, self.weight);
        for (at, value) in [self.used_ns, self.memory, self.memory_limit, self.calls].into_iter().enumerate()
        {
            let _ = write_u64(&mut bytes, 8 + at * 8, value);
        }
        bytes
    }

    /// Reads one; `None` for another length, or a flag or weight that there is not.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        if bytes.len() != STATUS_LEN as usize {
            return None;
        }
        Some(Self {
            paused: match read_u32(bytes, 0)? {
                0 => false,
                1 => true,
                _ => return None,
            },
            weight: read_u32(bytes, 4).filter(|weight| WEIGHTS.contains(weight))?,
            used_ns: read_u64(bytes, 8)?,
            memory: read_u64(bytes, 16)?,
            memory_limit: read_u64(bytes, 24)?,
            calls: read_u64(bytes, 32)?,
        })
    }
}

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// What follows.
    pub kind: FrameKind,
    /// Which container it belongs to: its index.
    pub container: u32,
    /// Bytes of payload that follow, at most [`MAX_PAYLOAD`].
    pub len: u32,
    /// A number, by kind; zero otherwise.
    pub argument: u32,
}

impl FrameHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; HEADER_LEN] {
        let mut bytes = [0; HEADER_LEN];
        for (at, value) in [self.kind as u32, self.container, self.len, self.argument].into_iter().enumerate()
        {
            // In bounds by construction: four words in sixteen bytes.
            let _ = write_u32(&mut bytes, at * 4, value);
        }
        bytes
    }

    /// Reads a header; `None` for an unknown kind or a payload over [`MAX_PAYLOAD`].
    #[must_use]
    pub fn decode(bytes: &[u8; HEADER_LEN]) -> Option<Self> {
        let kind = match read_u32(bytes, 0)? {
            1 => FrameKind::Stdout,
            2 => FrameKind::Stderr,
            3 => FrameKind::Stdin,
            4 => FrameKind::StdinEnd,
            5 => FrameKind::Window,
            6 => FrameKind::Log,
            7 => FrameKind::Load,
            8 => FrameKind::LoadData,
            9 => FrameKind::Start,
            10 => FrameKind::Kill,
            11 => FrameKind::Started,
            12 => FrameKind::Ended,
            13 => FrameKind::Refused,
            14 => FrameKind::Pause,
            15 => FrameKind::Ask,
            16 => FrameKind::Status,
            17 => FrameKind::Image,
            18 => FrameKind::ImageData,
            19 => FrameKind::Rest,
            20 => FrameKind::Files,
            21 => FrameKind::FilesAnswer,
            22 => FrameKind::Trapped,
            _ => return None,
        };
        let len = read_u32(bytes, 8)?;
        if len > MAX_PAYLOAD {
            return None;
        }
        Some(Self { kind, container: read_u32(bytes, 4)?, len, argument: read_u32(bytes, 12)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_survives_the_wire() {
        let header = FrameHeader { kind: FrameKind::Window, container: 7, len: 0, argument: 65_536 };
        assert_eq!(FrameHeader::decode(&header.encode()), Some(header));
    }

    #[test]
    fn a_status_survives_the_wire_and_is_read_strictly() {
        let status = Status {
            paused: true,
            weight: 20,
            used_ns: 1 << 40,
            memory: 65_536,
            memory_limit: 1 << 33,
            calls: 3,
        };
        let bytes = status.encode();
        assert_eq!(Status::decode(&bytes), Some(status));
        for len in 0..bytes.len() {
            assert_eq!(Status::decode(&bytes[..len]), None);
        }
        for (at, bad) in [(0, 2), (4, 0), (4, 101), (1, 1)] {
            let mut bytes = bytes;
            bytes[at] = bad;
            assert_eq!(Status::decode(&bytes), None, "{at}");
        }
    }

    #[test]
    fn the_room_that_a_container_needs_is_read_as_it_was_written() {
        let room = Room { memory: 1 << 40, files: 0, life: u64::MAX };
        let bytes = room.encode();
        assert_eq!(Room::decode(&bytes), Some(room));
        assert_eq!(Room::decode(&bytes[1..]), None);
        assert_eq!(Room::decode(&[0; Room::LEN + 1]), None);
    }

    #[test]
    fn an_unknown_kind_or_an_oversized_payload_is_refused() {
        let mut bytes =
            FrameHeader { kind: FrameKind::Stdout, container: 0, len: MAX_PAYLOAD, argument: 0 }.encode();
        assert!(FrameHeader::decode(&bytes).is_some());
        bytes[8..12].copy_from_slice(&(MAX_PAYLOAD + 1).to_le_bytes());
        assert_eq!(FrameHeader::decode(&bytes), None);
        bytes[0..4].copy_from_slice(&99u32.to_le_bytes());
        assert_eq!(FrameHeader::decode(&bytes), None);
    }
}
