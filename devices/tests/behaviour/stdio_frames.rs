//! Containers' streams through console and multiplexer.

use std::collections::BTreeMap;

use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN};
use sentient_devices::Lifecycle;
use sentient_devices::virtio::console::{
    Console, ConsoleBackend, RECEIVE_QUEUE, Receive, TRANSMIT_QUEUE, Transmit,
};
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::slices::SliceCursor;
use sentient_devices::virtio::stdio_mux::{
    ProtocolViolation, STDIN_BUFFER, StdioMux, StdioMuxState, Stream, StreamSink, Written,
};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use crate::driver::*;

/// Keeps every stream by itself.
#[derive(Default)]
pub struct Streams {
    pub bytes: BTreeMap<(u32, &'static str), Vec<u8>>,
    pub allowance: Option<usize>,
    pub closed: Option<Stream>,
    pub frames: usize,
}

impl StreamSink for Streams {
    fn write<B: BitmapSlice>(
        &mut self,
        container: u32,
        stream: Stream,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Written {
        if self.closed == Some(stream) {
            return Written::Closed;
        }
        let mut cursor = SliceCursor::new(bytes);
        let mut copy = vec![0; cursor.remaining().min(self.allowance.unwrap_or(usize::MAX))];
        let take = cursor.read(&mut copy);
        self.allowance = self.allowance.map(|left| left - take);
        let name = match stream {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
            Stream::Log => "log",
        };
        self.bytes.entry((container, name)).or_default().extend(copy);
        if take == 0 { Written::WouldBlock } else { Written::Accepted(take) }
    }

    fn end_of_frame(&mut self, _: u32, _: Stream) {
        self.frames += 1;
    }
}

pub fn frame(kind: FrameKind, container: u32, argument: u32, payload: &[u8]) -> Vec<u8> {
    let len = u32::try_from(payload.len()).unwrap();
    let mut bytes = FrameHeader { kind, container, len, argument }.encode().to_vec();
    bytes.extend(payload);
    bytes
}

fn mux() -> StdioMux<Streams> {
    StdioMux::new(Streams::default(), 3)
}

/// Transmits all bytes in pieces of `step`, which the sink must not block.
fn transmit(mux: &mut StdioMux<Streams>, bytes: &[u8], step: usize) -> Result<(), ProtocolViolation> {
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let len = piece.len();
        assert_eq!(mux.transmit(&[VolatileSlice::from(&mut piece[..])])?, Transmit::Accepted(len));
    }
    Ok(())
}

/// All the multiplexer sends, received in pieces of `step`.
fn receive(mux: &mut StdioMux<Streams>, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = vec![0; step];
    while let Receive::Received(len) = mux.receive(&[VolatileSlice::from(&mut room[..])]) {
        bytes.extend(&room[..len]);
    }
    bytes
}

#[test]
fn frames_reach_their_streams_however_they_are_cut() {
    let mut stream = frame(FrameKind::Stdout, 0, 0, b"out of zero");
    stream.extend(frame(FrameKind::Stderr, 0, 0, b"err"));
    stream.extend(frame(FrameKind::Stdout, 2, 0, b""));
    stream.extend(frame(FrameKind::Stdout, 2, 0, &[0, 255, 10, 13]));
    stream.extend(frame(FrameKind::Log, u32::MAX, 0, b"a line"));
    stream.extend(frame(FrameKind::Stdout, 0, 0, b", twice"));
    for step in (1..=stream.len()).chain([usize::MAX]) {
        let mut mux = mux();
        transmit(&mut mux, &stream, step).unwrap();
        let got = &mux.sink().bytes;
        assert_eq!(got[&(0, "stdout")], b"out of zero, twice", "in pieces of {step}");
        assert_eq!(got[&(0, "stderr")], b"err");
        assert_eq!(got[&(2, "stdout")], [0, 255, 10, 13]);
        assert_eq!(got[&(u32::MAX, "log")], b"a line");
        assert_eq!(mux.sink().frames, 6);
    }
}

#[test]
fn frames_the_guest_must_not_send_are_violations() {
    let mut oversized = frame(FrameKind::Stdout, 0, 0, b"");
    oversized[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let cases = [
        (vec![0; HEADER_LEN], ProtocolViolation::Header { bytes: [0; HEADER_LEN] }),
        (oversized.clone(), ProtocolViolation::Header { bytes: oversized.try_into().unwrap() }),
        (frame(FrameKind::Stdin, 0, 0, b""), ProtocolViolation::Direction { kind: FrameKind::Stdin }),
        (frame(FrameKind::StdinEnd, 0, 0, b""), ProtocolViolation::Direction { kind: FrameKind::StdinEnd }),
        (frame(FrameKind::Stdout, 3, 0, b""), ProtocolViolation::Container { container: 3, containers: 3 }),
        (frame(FrameKind::Window, 9, 1, b""), ProtocolViolation::Container { container: 9, containers: 3 }),
        (frame(FrameKind::Window, 0, 1, b"?"), ProtocolViolation::Length { kind: FrameKind::Window, len: 1 }),
    ];
    for (bytes, violation) in cases {
        assert_eq!(transmit(&mut mux(), &bytes, 5), Err(violation));
    }
}

#[test]
fn a_violation_stops_the_device() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(mux()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    memory.write_slice(&[0xff; 16], GuestAddress(BUFFERS)).unwrap();
    queue.offer_buffer(0, BUFFERS, 16, 0);
    let error = transport.notify(TRANSMIT_QUEUE);
    assert!(matches!(error, Err(DeviceError::Violation(ProtocolViolation::Header { .. }))), "{error:?}");
    assert!(!transport.is_live());
}

#[test]
fn a_closed_stream_drops_its_bytes_and_the_others_go_on() {
    let mut mux = mux();
    mux.sink_mut().closed = Some(Stream::Stdout);
    let mut stream = frame(FrameKind::Stdout, 0, 0, b"into the void");
    stream.extend(frame(FrameKind::Stderr, 0, 0, b"heard"));
    transmit(&mut mux, &stream, 7).unwrap();
    assert_eq!(mux.sink().bytes.len(), 1);
    assert_eq!(mux.sink().bytes[&(0, "stderr")], b"heard");
}

#[test]
fn standard_input_stays_within_the_window_and_within_bounds() {
    let mut mux = mux();
    assert_eq!((mux.stdin_room(1), mux.offer_stdin(1, b"early")), (0, 0));
    transmit(&mut mux, &frame(FrameKind::Window, 1, 4, b""), 16).unwrap();
    assert_eq!(mux.stdin_room(1), 4);
    assert_eq!(mux.offer_stdin(1, b"typed"), 4);
    assert_eq!(mux.offer_stdin(1, b"d"), 0);
    assert_eq!(mux.offer_stdin(0, b"x"), 0, "windows are one container's each");
    assert_eq!(receive(&mut mux, 100), frame(FrameKind::Stdin, 1, 0, b"type"));
    assert_eq!(mux.stdin_room(1), 0, "what was sent is used up");
    for _ in 0..3 {
        transmit(&mut mux, &frame(FrameKind::Window, 1, u32::MAX, b""), 16).unwrap();
    }
    assert_eq!(mux.stdin_room(1), STDIN_BUFFER, "whatever the guest claims");
    assert_eq!(mux.offer_stdin(1, &vec![7; STDIN_BUFFER + 1]), STDIN_BUFFER);
    assert_eq!(mux.stdin_room(7), 0, "there is no such container");
}

#[test]
fn input_frames_are_whole_however_little_room_there_is() {
    for step in 1..60 {
        let mut mux = mux();
        for container in [0, 2] {
            transmit(&mut mux, &frame(FrameKind::Window, container, 100, b""), 16).unwrap();
        }
        assert_eq!(mux.offer_stdin(2, b"for two"), 7);
        assert_eq!(mux.offer_stdin(0, b"for zero"), 8);
        mux.end_stdin(0);
        mux.end_stdin(0);
        assert_eq!(mux.stdin_room(0), 0, "nothing comes after the end");
        let mut expected = frame(FrameKind::Stdin, 0, 0, b"for zero");
        expected.extend(frame(FrameKind::Stdin, 2, 0, b"for two"));
        expected.extend(frame(FrameKind::StdinEnd, 0, 0, b""));
        assert!(mux.has_output_for_guest());
        assert_eq!(receive(&mut mux, step), expected, "in pieces of {step}");
        assert!(!mux.has_output_for_guest());
    }
}

#[test]
fn input_reaches_the_guest_through_the_receive_queue() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(mux()), &memory, 0, 16);
    let mut queue = DriverQueue::new(&memory, RECEIVE_QUEUE, 16);
    transmit(transport.device_mut().backend_mut(), &frame(FrameKind::Window, 1, 100, b""), 16).unwrap();
    assert_eq!(transport.device_mut().backend_mut().offer_stdin(1, b"ls\n"), 3);
    transport.device_mut().backend_mut().end_stdin(1);
    queue.offer_buffer(0, BUFFERS, 64, WRITE);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    let mut expected = frame(FrameKind::Stdin, 1, 0, b"ls\n");
    expected.extend(frame(FrameKind::StdinEnd, 1, 0, b""));
    assert_eq!(queue.take_used(), [(0, expected.len() as u32)]);
    assert_eq!(edges.take(), 1);
    let mut received = vec![0; expected.len()];
    memory.read_slice(&mut received, GuestAddress(BUFFERS)).unwrap();
    assert_eq!(received, expected);
}

#[test]
fn everything_in_flight_is_part_of_the_state() {
    let mut mux = mux();
    transmit(&mut mux, &frame(FrameKind::Window, 1, 10, b""), 16).unwrap();
    assert_eq!(mux.offer_stdin(1, b"abcdef"), 6);
    mux.end_stdin(1);
    let stream = frame(FrameKind::Stdout, 1, 0, b"payload");
    for cut in 0..stream.len() {
        for sent in 0..40 {
            let mut first = StdioMux::new(Streams::default(), 3);
            first.restore(&mux.save()).unwrap();
            transmit(&mut first, &stream[..cut], 100).unwrap();
            let mut input = vec![0; sent];
            if sent > 0 {
                let _ = first.receive(&[VolatileSlice::from(&mut input[..])]);
            }
            let json = serde_json::to_string(&first.save()).unwrap();
            let state: StdioMuxState = serde_json::from_str(&json).unwrap();
            let mut second = StdioMux::new(Streams::default(), 3);
            second.restore(&state).unwrap();
            assert_eq!(second.save(), first.save());
            transmit(&mut second, &stream[cut..], 100).unwrap();
            let mut output = first.sink().bytes.get(&(1, "stdout")).cloned().unwrap_or_default();
            output.extend(second.sink().bytes.get(&(1, "stdout")).cloned().unwrap_or_default());
            assert_eq!(output, b"payload", "cut at {cut}");
            let mut expected = frame(FrameKind::Stdin, 1, 0, b"abcdef");
            expected.extend(frame(FrameKind::StdinEnd, 1, 0, b""));
            input.truncate(expected.len());
            input.extend(receive(&mut second, 100));
            assert_eq!(input, expected, "after {sent} bytes");
        }
    }
}

#[test]
fn a_reset_by_the_driver_starts_both_streams_anew() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(mux()), &memory, 0, 16);
    let fresh = transport.device().backend().save();
    let backend = transport.device_mut().backend_mut();
    transmit(backend, &frame(FrameKind::Window, 1, 10, b""), 16).unwrap();
    assert_eq!(backend.offer_stdin(1, b"x"), 1);
    transmit(backend, &[1, 0, 0], 16).unwrap();
    transport.reset();
    assert_eq!(transport.device().backend().save(), fresh);
}
