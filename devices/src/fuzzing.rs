//! Hostile guests, made from bytes.
//!
//! Every function here takes any bytes, plays a guest (and now and then the machine around it) with
//! them, and asserts what must hold whatever the guest does. A libFuzzer target is one line around such
//! a function; the test below drives the same functions with seeded bytes. Each call is bounded by the
//! length of its input.

mod guest;

use std::io;
use std::sync::Arc;

use sentient_abi::stdio::{FrameHeader, FrameKind};
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use crate::lifecycle::Lifecycle;
use crate::sentinel::{Sentinel, Signal};
use crate::serial::Serial;
use crate::virtio::console::{Console, ConsoleBackend, Receive, Transmit};
use crate::virtio::net::{Net, RECEIVE_QUEUE};
use crate::virtio::rng::Rng;
use crate::virtio::stdio_mux::{CONTROL_BUFFER, STDIN_BUFFER, StdioMux};
use crate::virtio::volumes::{Folders, REQUEST_QUEUE, Volumes};
use guest::{CONTAINERS, Ignored, Input, Moody, frame, machine, step};

/// A driver of the transport and of the entropy device.
pub fn fuzz_mmio(data: &[u8]) {
    let mut input = Input(data);
    let Some((mut transport, memory)) = machine(Rng::new(Moody::default())) else {
        return;
    };
    while !input.0.is_empty() {
        step(&mut input, &mut transport, &memory);
    }
}

/// A driver of the console, with containers' streams behind it.
pub fn fuzz_console(data: &[u8]) {
    let mut input = Input(data);
    let Some((mut transport, memory)) = machine(Console::new(StdioMux::resident(Moody::default()))) else {
        return;
    };
    while !input.0.is_empty() {
        match input.u8() % 9 {
            8 => {
                let mux = transport.device_mut().backend_mut();
                let (container, len) = (u32::from(input.u8()), usize::from(input.u8()));
                let payload = input.slice(len);
                let len = u32::try_from(payload.len()).unwrap_or(u32::MAX);
                let room = mux.control_room();
                assert!(room < CONTROL_BUFFER);
                let frame = FrameHeader { kind: FrameKind::LoadData, container, len, argument: 0 };
                assert!(mux.send_control(&frame, &payload) || payload.len() >= room);
                let _ = transport.backend_readable();
            }
            0 => {
                let _ = transport.backend_writable();
            }
            1 => {
                let mux = transport.device_mut().backend_mut();
                let container = u32::from(input.u8()) % (CONTAINERS + 1);
                let len = usize::from(input.u8());
                let (room, bytes) = (mux.stdin_room(container), input.slice(len));
                assert!(room <= STDIN_BUFFER);
                assert_eq!(mux.offer_stdin(container, &bytes), room.min(bytes.len()));
                if len == 77 {
                    mux.end_stdin(container);
                }
                let _ = transport.backend_readable();
            }
            2 => {
                // A frame the decoder gets past, for the descriptors to point at.
                let header = frame(&mut input);
                let _ = memory.write_slice(&header.encode(), GuestAddress(input.address()));
            }
            _ => step(&mut input, &mut transport, &memory),
        }
    }
}

/// A driver of the network device, with frames coming and going.
pub fn fuzz_net(data: &[u8]) {
    let mut input = Input(data);
    let Some((mut transport, memory)) = machine(Net::new(Moody::default())) else {
        return;
    };
    while !input.0.is_empty() {
        match input.u8() % 4 {
            0 => {
                let _ = transport.notify(RECEIVE_QUEUE);
            }
            _ => step(&mut input, &mut transport, &memory),
        }
    }
}

/// A driver of the volumes' device, whose questions are answered with themselves.
pub fn fuzz_volumes(data: &[u8]) {
    struct Echo;
    impl Folders for Echo {
        fn serve(&mut self, request: &[u8]) -> (u32, Vec<u8>) {
            (request.first().map_or(0, |first| u32::from(first % 3)), request.to_vec())
        }

        fn forget(&mut self) {}
    }
    let mut input = Input(data);
    let Some((mut transport, memory)) = machine(Volumes::new(Echo)) else {
        return;
    };
    while !input.0.is_empty() {
        match input.u8() % 4 {
            0 => {
                let _ = transport.notify(REQUEST_QUEUE);
            }
            _ => step(&mut input, &mut transport, &memory),
        }
    }
}

/// A byte stream of frames, cut anywhere, before sinks that block anywhere: the streams that come out
/// are those of the uncut stream before a sink that never blocks.
pub fn fuzz_stdio_mux(data: &[u8]) {
    let mut input = Input(data);
    let mut stream = Vec::new();
    let mut cuts = Vec::new();
    while !input.0.is_empty() && stream.len() < 1 << 16 {
        cuts.push(usize::from(input.u8()));
        if input.u8() == 0 {
            stream.extend(input.array::<16>());
            continue;
        }
        let header = frame(&mut input);
        stream.extend(header.encode());
        let payload = input.u8();
        stream.extend((0..header.len).map(|at| payload.wrapping_add(at as u8)));
    }
    let mut whole = StdioMux::resident(Moody { even: true, ..Moody::default() });
    let mut copy = stream.clone();
    let mut expected_error = None;
    let mut rest = copy.as_mut_slice();
    while !rest.is_empty() && expected_error.is_none() {
        let len = match whole.transmit(&[VolatileSlice::from(&mut *rest)]) {
            Ok(Transmit::Accepted(len)) => len,
            Ok(_) => 0,
            Err(violation) => {
                expected_error = Some(violation);
                rest.len()
            }
        };
        assert!(len > 0, "a sink that takes everything never blocks");
        rest = rest.split_at_mut(len).1;
    }
    let mut pieces = StdioMux::resident(Moody::default());
    let mut found_error = None;
    let mut cuts = cuts.into_iter().cycle();
    let mut rest = stream.as_mut_slice();
    while !rest.is_empty() && found_error.is_none() {
        let (first, second) = (cuts.next().unwrap_or(1), cuts.next().unwrap_or(1));
        let end = (first + second + 1).min(rest.len());
        let (one, two) = rest.split_at_mut(end).0.split_at_mut(first.min(end));
        let len = match pieces.transmit(&[VolatileSlice::from(one), VolatileSlice::from(two)]) {
            Ok(Transmit::Accepted(len)) => len,
            Ok(_) => 0,
            Err(violation) => {
                found_error = Some(violation);
                0
            }
        };
        assert!(len <= end);
        let state = pieces.save();
        assert_eq!(pieces.restore(&state), Ok(()));
        rest = rest.split_at_mut(len).1;
    }
    assert_eq!(found_error, expected_error);
    assert_eq!(pieces.sink().taken, whole.sink().taken);
    let mut room = [0; 100];
    while let Receive::Received(len) = pieces.receive(&[VolatileSlice::from(&mut room[..])]) {
        assert!(len <= 100);
    }
}

/// A driver of the serial port and of the sentinel.
pub fn fuzz_ports(data: &[u8]) {
    let mut input = Input(data);
    let mut serial = Serial::new(Arc::new(Ignored), Box::new(io::sink()));
    let mut sentinel = Sentinel::new();
    while !input.0.is_empty() {
        let (choice, port) = (input.u8(), input.u16());
        let width = usize::from(choice >> 4) % 9;
        let bytes = input.slice(width);
        match choice % 8 {
            0 => {
                let state = serial.save();
                assert_eq!(serial.restore(&state), Ok(()));
                assert_eq!(serial.save(), state);
                serial.resume();
            }
            1 => {
                let room = serial.room();
                assert!(serial.enqueue(&bytes).is_ok_and(|taken| taken <= room));
            }
            2 => serial.read(port as u8, &mut vec![0; width]),
            3 | 4 => assert!(serial.write((port % 9) as u8, &bytes).is_ok()),
            5 => sentinel.read(port, &mut vec![0; width]),
            _ => {
                let port = sentient_abi::sentinel::BASE.wrapping_add(port % 20);
                let signal = sentinel.write(port, &bytes);
                assert!(width == 4 || matches!(signal, Some(Signal::Violation { .. })) || bytes.len() == 4);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    /// xorshift64*: seeded bytes that are the same everywhere.
    fn bytes(seed: u64, len: usize) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut bytes = Vec::with_capacity(len);
        while bytes.len() < len {
            state ^= state >> 12;
            state ^= state << 25;
            state ^= state >> 27;
            bytes.extend(state.wrapping_mul(0x2545_f491_4f6c_dd1d).to_le_bytes());
        }
        bytes
    }

    fn run(entry: fn(&[u8]), seeds: u64, len: usize) {
        for seed in 0..seeds {
            let began = Instant::now();
            entry(&bytes(seed, len));
            assert!(began.elapsed() < Duration::from_secs(5), "seed {seed} took {:?}", began.elapsed());
        }
    }

    #[test]
    fn no_driver_of_the_transport_and_the_rng_brings_them_down() {
        run(fuzz_mmio, 300, 20_000);
    }

    #[test]
    fn no_driver_of_the_console_brings_it_down() {
        run(fuzz_console, 300, 20_000);
    }

    #[test]
    fn no_driver_of_the_network_brings_it_down() {
        run(fuzz_net, 300, 20_000);
    }

    #[test]
    fn no_driver_of_the_volumes_brings_them_down() {
        run(fuzz_volumes, 300, 20_000);
    }

    #[test]
    fn frames_come_out_the_same_however_they_are_cut_and_blocked() {
        run(fuzz_stdio_mux, 1000, 1000);
    }

    #[test]
    fn no_driver_of_the_ports_brings_them_down() {
        run(fuzz_ports, 300, 10_000);
    }
}
