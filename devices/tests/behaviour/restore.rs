//! Snapshots: of a transfer in the middle, of states no device can have, and the start without a
//! handshake.

use std::sync::Arc;

use sentient_abi::stdio::FrameKind;
use sentient_devices::virtio::console::{Console, ConsoleState, QUEUE_SIZE, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::mmio::MmioTransport;
use sentient_devices::virtio::mmio::registers::{Register, status};
use sentient_devices::virtio::mmio::state::{MmioState, QueueLayout};
use sentient_devices::virtio::ring::RingError;
use sentient_devices::virtio::stdio_mux::{Incoming, StdioMux, StdioMuxState, Stream};
use sentient_devices::{Lifecycle, RestoreError};
use vm_memory::{Bytes, GuestAddress};

use crate::console_flow::Recorder;
use crate::driver::*;
use crate::stdio_frames::{Streams, frame};

type Damage = fn(&mut State);
type State = MmioState<ConsoleState<StdioMuxState>>;

/// xorshift64: a sequence that is the same everywhere.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % sides as u64).unwrap()
    }
}

fn machine(memory: &Memory) -> Transport<Console<StdioMux<Streams>>> {
    let device = Console::new(StdioMux::new(Streams { allowance: Some(0), ..Streams::default() }, 3));
    MmioTransport::new(device, Arc::clone(memory), Arc::new(Edges::default()))
}

#[test]
fn a_transfer_that_is_saved_wherever_it_blocks_loses_no_byte_and_doubles_none() {
    for seed in 1..=20 {
        let mut dice = Dice(seed * 0x9e37_79b9);
        let memory = memory();
        let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
        let mut transport = machine(&memory);
        transport.adopt(VERSION_1 | EVENT_IDX, &layouts(2, 16)).unwrap();
        transport.start();

        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        while stream.len() < 20_000 {
            let payload: Vec<u8> = (0..dice.roll(700)).map(|_| dice.roll(256) as u8).collect();
            let (container, kind) = match dice.roll(3) {
                0 => (0, FrameKind::Stdout),
                1 => (2, FrameKind::Stdout),
                _ => (1, FrameKind::Stderr),
            };
            stream.extend(frame(kind, container, 0, &payload));
            expected.push((container, payload));
        }
        let mut output: [Vec<u8>; 3] = Default::default();
        let (mut written, mut free, mut restores) = (0, (0..16u16).collect::<Vec<_>>(), 0);
        let mut rounds = 0;
        while written < stream.len() || free.len() < 16 {
            rounds += 1;
            assert!(rounds < 10_000, "seed {seed}: the transfer is stuck at {written} bytes");
            // The guest sends a chain of up to two buffers, cut anywhere.
            if free.len() >= 2 && written < stream.len() {
                let (head, tail) = (free.remove(0), free.remove(0));
                let len = (1 + dice.roll(2000)).min(stream.len() - written);
                let cut = dice.roll(len + 1);
                let at = BUFFERS + u64::from(head) * 4096;
                memory.write_slice(&stream[written..written + len], GuestAddress(at)).unwrap();
                queue.put(head, at, cut as u32, NEXT, tail);
                queue.put(tail, at + cut as u64, (len - cut) as u32, 0, 0);
                queue.offer(head);
                written += len;
                let _ = transport.notify(TRANSMIT_QUEUE).unwrap();
            }
            // The host takes some.
            transport.device_mut().backend_mut().sink_mut().allowance = Some(dice.roll(1500));
            let _ = transport.backend_writable().unwrap();
            for (head, _) in queue.take_used() {
                free.extend([head as u16, head as u16 + 1].map(|index| index % 16));
                free.sort_unstable();
            }
            // The machine is saved, its process ends, and another one goes on.
            if dice.roll(3) == 0 {
                transport.pause();
                for (container, name) in [(0, "stdout"), (1, "stderr"), (2, "stdout")] {
                    let streams = &mut transport.device_mut().backend_mut().sink_mut().bytes;
                    output[container as usize].extend(streams.remove(&(container, name)).unwrap_or_default());
                }
                let json = serde_json::to_string(&transport.save()).unwrap();
                let state: State = serde_json::from_str(&json).unwrap();
                transport = machine(&memory);
                transport.restore(&state).unwrap();
                transport.start();
                let _ = transport.work().unwrap();
                restores += 1;
            }
        }
        for (container, name) in [(0, "stdout"), (1, "stderr"), (2, "stdout")] {
            let streams = &mut transport.device_mut().backend_mut().sink_mut().bytes;
            output[container as usize].extend(streams.remove(&(container, name)).unwrap_or_default());
        }
        for (container, bytes) in output.into_iter().enumerate() {
            let of = expected
                .iter()
                .filter(|(of, _)| *of as usize == container)
                .flat_map(|(_, bytes)| bytes.clone());
            assert!(
                bytes == of.collect::<Vec<_>>(),
                "seed {seed}, container {container}, {restores} restores"
            );
        }
        assert!(restores > 5, "seed {seed} saved only {restores} times");
    }
}

#[test]
fn rolling_back_a_running_device_brings_back_queues_and_stream() {
    let memory = memory();
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    let mut transport = machine(&memory);
    transport.adopt(VERSION_1, &layouts(2, 16)).unwrap();
    transport.start();
    transport.device_mut().backend_mut().sink_mut().allowance = None;
    transport.pause();
    let state = transport.save();
    transport.resume();
    let bytes = frame(FrameKind::Stdout, 1, 0, b"again");
    memory.write_slice(&bytes, GuestAddress(BUFFERS)).unwrap();
    queue.offer_buffer(0, BUFFERS, bytes.len() as u32, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 0)]);

    transport.pause();
    transport.restore(&state).unwrap();
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16); // memory goes back too
    transport.resume();
    assert_eq!(transport.work().unwrap(), Progress::Done);
    queue.offer_buffer(0, BUFFERS, bytes.len() as u32, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 0)]);
    let sink = transport.device().backend().sink();
    assert_eq!(sink.bytes[&(1, "stdout")], b"againagain", "what left the machine is not taken back");
}

#[test]
fn an_adopted_device_is_as_one_after_the_handshake() {
    let memory = memory();
    let features = VERSION_1 | EVENT_IDX;
    let (adopted, _) = adopted(Console::new(Recorder::default()), &memory, EVENT_IDX, QUEUE_SIZE);
    let device = Console::new(Recorder::default());
    let mut driven = MmioTransport::new(device, Arc::clone(&memory), Arc::new(Edges::default()));
    negotiate(&mut driven, features);
    for index in 0..2 {
        assert_eq!(set_up_queue(&mut driven, index, &layout(index as u16, QUEUE_SIZE)), 1);
    }
    set_status(&mut driven, status::DRIVER_OK);
    let mut driven = driven.save();
    (driven.driver_features_select, driven.queue_select) = (0, 0);
    assert_eq!(adopted.save(), driven);
}

#[test]
fn queues_and_features_that_cannot_be_adopted_are_refused_and_leave_the_device_as_it_was() {
    let memory = memory();
    let mut transport = machine(&memory);
    let good = layouts(2, 16);
    let outside = QueueLayout { device_ring: MEMORY_LEN as u64 - 4, ..good[1] };
    let unaligned = QueueLayout { descriptor_table: good[1].descriptor_table + 1, ..good[1] };
    let before = transport.save();
    for (features, queues) in [
        (0, &good[..]),
        (VERSION_1 | 1 << 63, &good),
        (VERSION_1, &good[..1]),
        (VERSION_1, &layouts(3, 16)),
        (VERSION_1, &layouts(2, 512)),
        (VERSION_1, &[good[0], outside]),
        (VERSION_1, &[good[0], unaligned]),
    ] {
        let refused = transport.adopt(features, queues);
        assert!(matches!(refused, Err(RestoreError::Value { .. })), "{features:#x} {queues:x?}");
        assert_eq!(transport.save(), before);
    }
    assert_eq!(transport.adopt(VERSION_1, &good), Ok(()));
    assert!(transport.is_live());
}

#[test]
fn damaged_states_are_refused_and_leave_the_device_as_it_was() {
    let memory = memory();
    let mut transport = machine(&memory);
    transport.adopt(VERSION_1, &layouts(2, 16)).unwrap();
    let good = transport.save();
    let damages: [(&str, Damage); 16] = [
        ("version", |state| state.version += 1),
        ("device's version", |state| state.device.version += 1),
        ("backend's version", |state| state.device.backend.version += 1),
        ("device type", |state| state.device_type = 4),
        ("status without its beginning", |state| state.status = status::DRIVER_OK),
        ("status bits that do not exist", |state| state.status |= 1 << 16),
        ("ready queues before features", |state| state.status = status::ACKNOWLEDGE | status::DRIVER),
        ("features", |state| state.driver_features = u64::MAX),
        ("interrupt status", |state| state.interrupt_status = 4),
        ("number of queues", |state| state.queues.truncate(1)),
        ("queue size", |state| state.queues[0].size = 3),
        ("queue address", |state| state.queues[1].driver_ring = u64::MAX - 1),
        ("containers", |state| state.device.backend.stdin.truncate(2)),
        ("queued input", |state| state.device.backend.stdin[0].queued = vec![0; 1 << 20]),
        ("turn", |state| state.device.backend.turn = 3),
        ("payload", |state| {
            let incoming = Incoming::Payload { container: 3, stream: Stream::Stdout, remaining: 1 };
            state.device.backend.incoming = incoming;
        }),
    ];
    for (what, damage) in damages {
        let mut state = good.clone();
        damage(&mut state);
        assert!(transport.restore(&state).is_err(), "{what}");
        assert_eq!(transport.save(), good, "{what}");
    }
    let state = MmioState { config_generation: 5, ..good };
    assert_eq!(transport.restore(&state), Ok(()), "what is not damaged is taken");
}

#[test]
fn a_chain_that_shrinks_while_it_is_pending_breaks_the_queue() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    transport.device_mut().backend_mut().allowance = Some(50);
    queue.offer_buffer(0, BUFFERS, 100, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    queue.put(0, BUFFERS, 49, 0, 0);
    let error = transport.backend_writable();
    let shrunk = |source: &RingError| matches!(source, RingError::Shrunk { head: 0, len: 49, taken: 50 });
    assert!(matches!(&error, Err(DeviceError::Queue { source, .. }) if shrunk(source)), "{error:?}");
}

#[test]
fn an_interrupt_that_was_pending_is_raised_again_after_a_restore() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    queue.offer_buffer(0, BUFFERS, 1, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    transport.pause();
    let state = transport.save();
    edges.take();
    transport.restore(&state).unwrap();
    assert_eq!(edges.take(), 0, "not before the machine goes on");
    transport.resume();
    assert_eq!(edges.take(), 1);
    transport.pause();
    write(&mut transport, Register::InterruptAck, 3);
    transport.resume();
    assert_eq!(edges.take(), 0, "nothing is pending any more");
}
