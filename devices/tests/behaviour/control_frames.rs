//! Containers that are loaded into a resident machine: the frames about them, both ways.

use sentient_abi::container_files::{Failure, MAX_ANSWER, answer_head};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::stdio::{FrameHeader, FrameKind, HEADER_LEN, MAX_REASON, Status};
use sentient_devices::virtio::console::{ConsoleBackend, Receive, Transmit};
use sentient_devices::virtio::stdio_mux::{
    CONTROL_BUFFER, ContainerEvent, Message, Position, ProtocolViolation, StdioMux, Stream, StreamSink,
    Written,
};
use vm_memory::VolatileSlice;
use vm_memory::bitmap::BitmapSlice;

use crate::stdio_frames::frame;

/// What has become of containers.
#[derive(Debug, Default)]
struct Events(Vec<(u32, ContainerEvent)>);

impl StreamSink for Events {
    fn write<B: BitmapSlice>(&mut self, _: u32, _: Stream, bytes: &[VolatileSlice<'_, B>]) -> Written {
        Written::Accepted(bytes.first().map_or(0, VolatileSlice::len))
    }

    fn control(&mut self, container: u32, event: ContainerEvent) {
        self.0.push((container, event));
    }
}

fn transmit(mux: &mut StdioMux<Events>, bytes: &[u8], step: usize) -> Result<(), ProtocolViolation> {
    for piece in bytes.chunks(step) {
        let mut piece = piece.to_vec();
        let len = piece.len();
        assert_eq!(mux.transmit(&[VolatileSlice::from(&mut piece[..])])?, Transmit::Accepted(len));
    }
    Ok(())
}

fn receive(mux: &mut StdioMux<Events>, step: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut room = vec![0; step];
    while let Receive::Received(len) = mux.receive(&[VolatileSlice::from(&mut room[..])]) {
        bytes.extend(&room[..len]);
    }
    bytes
}

fn send(mux: &mut StdioMux<Events>, kind: FrameKind, container: u32, argument: u32, payload: &[u8]) -> bool {
    let len = u32::try_from(payload.len()).unwrap();
    mux.send_control(&FrameHeader { kind, container, len, argument }, payload)
}

#[test]
fn what_the_guest_says_of_containers_arrives_however_it_is_cut() {
    let mut stream = frame(FrameKind::Started, 63, 0, b"");
    stream.extend(frame(FrameKind::Stdout, 63, 0, b"out"));
    stream.extend(frame(FrameKind::Refused, 1, 0, "zu groß".as_bytes()));
    stream.extend(frame(FrameKind::Refused, 2, 0, b""));
    let status =
        Status { paused: true, weight: 20, used_ns: 7, memory: 65_536, memory_limit: 1 << 20, calls: 9 };
    stream.extend(frame(FrameKind::Status, 63, 0, &status.encode()));
    let answer = [&answer_head(7, None)[..], b"file"].concat();
    stream.extend(frame(FrameKind::FilesAnswer, 63, 0, &answer));
    stream.extend(frame(FrameKind::FilesAnswer, 63, 0, &answer_head(8, Some(Failure::NoSpace))));
    stream.extend(frame(FrameKind::Trapped, 63, 0, b""));
    stream.extend(frame(FrameKind::Ended, 63, ContainerEnd::Trapped.encode(), b""));
    for step in 1..=stream.len() {
        let mut mux = StdioMux::resident(Events::default());
        transmit(&mut mux, &stream, step).unwrap();
        let expected = [
            (63, ContainerEvent::Started),
            (1, ContainerEvent::Refused("zu groß".into())),
            (2, ContainerEvent::Refused(String::new())),
            (63, ContainerEvent::Status(status)),
            (63, ContainerEvent::Files { number: 7, answer: Ok(b"file".to_vec()) }),
            (63, ContainerEvent::Files { number: 8, answer: Err(Failure::NoSpace) }),
            (63, ContainerEvent::Trapped),
            (63, ContainerEvent::Ended(ContainerEnd::Trapped)),
        ];
        assert_eq!(mux.sink().0, expected, "in pieces of {step}");
        assert_eq!(mux.positions()[63], Position { stdout: 3, stderr: 0 });
    }
}

#[test]
fn a_machine_that_is_not_resident_has_no_such_frames() {
    let mut mux = StdioMux::new(Events::default(), 1);
    assert!(!send(&mut mux, FrameKind::Kill, 0, 0, b""));
    let violation = ProtocolViolation::NotResident { kind: FrameKind::Started };
    assert_eq!(transmit(&mut mux, &frame(FrameKind::Started, 0, 0, b""), 16), Err(violation));
}

#[test]
fn nonsense_about_containers_is_a_violation() {
    let long = vec![b'x'; MAX_REASON as usize + 1];
    let cases = [
        (frame(FrameKind::Load, 0, 0, b""), ProtocolViolation::Direction { kind: FrameKind::Load }),
        (frame(FrameKind::Ended, 5, 99, b""), ProtocolViolation::End { container: 5, word: 99 }),
        (frame(FrameKind::Pause, 0, 1, b""), ProtocolViolation::Direction { kind: FrameKind::Pause }),
        (frame(FrameKind::Ask, 0, 0, b""), ProtocolViolation::Direction { kind: FrameKind::Ask }),
        (
            frame(FrameKind::Status, 5, 0, &[0; 39]),
            ProtocolViolation::Length { kind: FrameKind::Status, len: 39 },
        ),
        (frame(FrameKind::Status, 5, 0, b""), ProtocolViolation::Length { kind: FrameKind::Status, len: 0 }),
        // No container has the weight 0.
        (
            frame(FrameKind::Status, 5, 0, &[0; 40]),
            ProtocolViolation::Message { container: 5, message: Message::Status },
        ),
        (
            frame(FrameKind::FilesAnswer, 5, 0, &[0; 7]),
            ProtocolViolation::Length { kind: FrameKind::FilesAnswer, len: 7 },
        ),
        (
            frame(FrameKind::FilesAnswer, 5, 0, &vec![0; MAX_ANSWER as usize + 1]),
            ProtocolViolation::Length { kind: FrameKind::FilesAnswer, len: MAX_ANSWER + 1 },
        ),
        // There is no such failure.
        (
            frame(FrameKind::FilesAnswer, 5, 0, &[99; 8]),
            ProtocolViolation::Message { container: 5, message: Message::Answer },
        ),
        (frame(FrameKind::Files, 5, 0, b""), ProtocolViolation::Direction { kind: FrameKind::Files }),
        (frame(FrameKind::Rest, 0, 0, b""), ProtocolViolation::Direction { kind: FrameKind::Rest }),
        (
            frame(FrameKind::Started, 5, 0, b"?"),
            ProtocolViolation::Length { kind: FrameKind::Started, len: 1 },
        ),
        (
            frame(FrameKind::Started, 64, 0, b""),
            ProtocolViolation::Container { container: 64, containers: 64 },
        ),
        (
            frame(FrameKind::Refused, 0, 0, &long),
            ProtocolViolation::Length { kind: FrameKind::Refused, len: MAX_REASON + 1 },
        ),
    ];
    for (bytes, violation) in cases {
        let mut mux = StdioMux::resident(Events::default());
        assert_eq!(transmit(&mut mux, &bytes, 16), Err(violation));
    }
}

#[test]
fn input_that_ends_after_its_container_is_not_that_of_the_next_one() {
    // Whether the guest was told of the end by then, or not.
    for told in [false, true] {
        let mut mux = StdioMux::resident(Events::default());
        transmit(&mut mux, &frame(FrameKind::Window, 1, 100, b""), 16).unwrap();
        transmit(&mut mux, &frame(FrameKind::Ended, 1, ContainerEnd::Trapped.encode(), b""), 16).unwrap();
        mux.end_stdin(1);
        if told {
            assert_eq!(receive(&mut mux, 64), frame(FrameKind::StdinEnd, 1, 0, b""));
        }
        assert!(send(&mut mux, FrameKind::Load, 1, 6, b""));
        assert_eq!(receive(&mut mux, 64), frame(FrameKind::Load, 1, 6, b""));
        transmit(&mut mux, &frame(FrameKind::Window, 1, 100, b""), 16).unwrap();
        assert_eq!(mux.offer_stdin(1, b"typed"), 5);
        mux.end_stdin(1);
        let mut expected = frame(FrameKind::Stdin, 1, 0, b"typed");
        expected.extend(frame(FrameKind::StdinEnd, 1, 0, b""));
        assert_eq!(receive(&mut mux, 64), expected);
    }
}

#[test]
fn control_frames_are_whole_in_order_and_bounded() {
    for step in 1..80 {
        let mut mux = StdioMux::resident(Events::default());
        transmit(&mut mux, &frame(FrameKind::Window, 4, 100, b""), 16).unwrap();
        assert_eq!(mux.offer_stdin(4, b"typed"), 5);
        // A frame of input is begun before the others come.
        let mut bytes = vec![0; step.min(HEADER_LEN + 5)];
        assert!(matches!(mux.receive(&[VolatileSlice::from(&mut bytes[..])]), Receive::Received(_)));
        assert!(send(&mut mux, FrameKind::Load, 1, 6, b""));
        assert!(send(&mut mux, FrameKind::LoadData, 1, 0, b"module"));
        assert!(send(&mut mux, FrameKind::Start, 1, 0, b""));
        assert!(send(&mut mux, FrameKind::Pause, 1, 1, b""));
        assert!(send(&mut mux, FrameKind::Ask, 1, 0, b""));
        let mut expected = frame(FrameKind::Stdin, 4, 0, b"typed");
        expected.extend(frame(FrameKind::Load, 1, 6, b""));
        expected.extend(frame(FrameKind::LoadData, 1, 0, b"module"));
        expected.extend(frame(FrameKind::Start, 1, 0, b""));
        expected.extend(frame(FrameKind::Pause, 1, 1, b""));
        expected.extend(frame(FrameKind::Ask, 1, 0, b""));
        bytes.extend(receive(&mut mux, step));
        assert_eq!(bytes, expected, "in pieces of {step}");
        assert!(!mux.has_output_for_guest());
    }
    let mut mux = StdioMux::resident(Events::default());
    assert!(!send(&mut mux, FrameKind::Stdin, 0, 0, b"not about containers"));
    let chunk = vec![7; mux.control_room()];
    assert!(chunk.len() < CONTROL_BUFFER);
    assert!(send(&mut mux, FrameKind::LoadData, 0, 0, &chunk));
    assert!(!send(&mut mux, FrameKind::LoadData, 0, 0, b"x"));
}

#[test]
fn a_number_that_is_free_again_has_no_input_left() {
    let mut mux = StdioMux::resident(Events::default());
    transmit(&mut mux, &frame(FrameKind::Window, 2, 100, b""), 16).unwrap();
    assert_eq!(mux.offer_stdin(2, b"never read"), 10);
    // Some of it is on its way: the frame has to be completed.
    let mut begun = [0; HEADER_LEN + 2];
    assert_eq!(mux.receive(&[VolatileSlice::from(&mut begun[..])]), Receive::Received(begun.len()));
    transmit(&mut mux, &frame(FrameKind::Ended, 2, ContainerEnd::Exited(0).encode(), b""), 16).unwrap();
    assert_eq!(mux.stdin_room(2), 0);
    let mut bytes = begun.to_vec();
    bytes.extend(receive(&mut mux, 100));
    assert_eq!(bytes, frame(FrameKind::Stdin, 2, 0, b"never read"));
    transmit(&mut mux, &frame(FrameKind::Window, 2, 4, b""), 16).unwrap();
    assert_eq!(mux.offer_stdin(2, b"next one"), 4);
}

#[test]
fn frames_under_way_are_part_of_the_state() {
    let stream = frame(FrameKind::Refused, 3, 0, b"no room");
    let mut all = frame(FrameKind::Load, 1, 3, b"");
    all.extend(frame(FrameKind::LoadData, 1, 0, b"abc"));
    for cut in 0..stream.len() {
        for sent in 0..all.len() {
            let mut first = StdioMux::resident(Events::default());
            transmit(&mut first, &frame(FrameKind::Stderr, 9, 0, b"12345"), 100).unwrap();
            transmit(&mut first, &stream[..cut], 100).unwrap();
            assert!(send(&mut first, FrameKind::Load, 1, 3, b""));
            assert!(send(&mut first, FrameKind::LoadData, 1, 0, b"abc"));
            let mut bytes = vec![0; sent];
            if sent > 0 {
                let _ = first.receive(&[VolatileSlice::from(&mut bytes[..])]);
            }
            let mut second = StdioMux::resident(Events::default());
            second.restore(&first.save()).unwrap();
            assert_eq!(second.save(), first.save());
            assert_eq!(second.positions()[9].stderr, 5);
            bytes.extend(receive(&mut second, 100));
            assert_eq!(bytes, all, "after {sent}");
            transmit(&mut second, &stream[cut..], 100).unwrap();
            assert_eq!(second.sink().0, [(3, ContainerEvent::Refused("no room".into()))], "cut at {cut}");
        }
    }
}

#[test]
fn a_state_no_frames_lead_to_is_refused() {
    let mut mux = StdioMux::resident(Events::default());
    assert!(send(&mut mux, FrameKind::LoadData, 1, 0, b"abc"));
    let sound = mux.save();
    let mut cut = sound.clone();
    cut.control.pop();
    let mut beyond = sound.clone();
    beyond.control_started = 1000;
    let mut fewer = sound.clone();
    fewer.positions.pop();
    for state in [cut, beyond, fewer] {
        assert!(mux.restore(&state).is_err());
        assert_eq!(mux.save(), sound);
    }
    assert!(StdioMux::new(Events::default(), 64).restore(&sound).is_err());
}
