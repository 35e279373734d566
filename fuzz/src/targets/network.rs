//! What a guest sends to the network's gateway, while a program of the host is connected to it.

use crate::mutate::Rng;
use sentient_abi::network::calls::{CALLS_PORT, Call, Request, Status};
use sentient_abi::network::{FRAME_LEN, GATEWAY, GATEWAY_HARDWARE, GUEST_HARDWARE, container_address};
use sentient_devices::virtio::net::Cable;
use sentient_vmm::network::{Gateway, Link, Network};
use smoltcp::phy::ChecksumCapabilities;
use smoltcp::wire::{
    ArpOperation, ArpPacket, ArpRepr, EthernetAddress, EthernetFrame, EthernetProtocol, EthernetRepr,
    IpProtocol, Ipv4Address, Ipv4Packet, Ipv4Repr, TcpControl, TcpPacket, TcpRepr,
};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

const CONTAINER: u32 = 3;
const PORT: u16 = 80;

/// Most frames on the cable to the guest: what there is room for, and an answer to each that came.
const MOST_FRAMES: usize = 512;

/// A guest, as the gateway sees it: what it was sent last.
#[derive(Default)]
struct Guest {
    asked: Option<Ipv4Address>,
    /// Ports, sequence number and acknowledgement of the last segment.
    segment: Option<(Ipv4Address, u16, u16, i32, Option<i32>)>,
}

impl Guest {
    /// One that is about to call, from a port of its own.
    fn calling(port: u8) -> Self {
        let own = Ipv4Address::from(container_address(CONTAINER));
        Self { asked: None, segment: Some((own, CALLS_PORT, 0xc000 | u16::from(port), 0, None)) }
    }

    /// Takes the gateway's frames.
    fn take(&mut self, link: &mut Link) {
        let mut frames = 0;
        while let Some(frame) = link.receive() {
            frames += 1;
            assert!(
                frame.len() <= FRAME_LEN && frames <= MOST_FRAMES,
                "{} bytes, frame {frames}",
                frame.len()
            );
            let Ok(frame) = EthernetFrame::new_checked(frame.as_slice()) else { continue };
            match frame.ethertype() {
                EthernetProtocol::Arp => {
                    let packet = ArpPacket::new_checked(frame.payload()).ok();
                    if let Some(Ok(ArpRepr::EthernetIpv4 { target_protocol_addr, .. })) =
                        packet.as_ref().map(ArpRepr::parse)
                    {
                        self.asked = Some(target_protocol_addr);
                    }
                }
                EthernetProtocol::Ipv4 => {
                    let Ok(packet) = Ipv4Packet::new_checked(frame.payload()) else { continue };
                    let Ok(segment) = TcpPacket::new_checked(packet.payload()) else { continue };
                    let len = segment.segment_len() as i32;
                    self.segment = Some((
                        packet.dst_addr(),
                        segment.src_port(),
                        segment.dst_port(),
                        segment.seq_number().0.wrapping_add(len),
                        segment.ack().then(|| segment.ack_number().0),
                    ));
                }
                _ => {}
            }
        }
    }

    /// The answer to its question for an address.
    fn address(&self) -> Option<Vec<u8>> {
        let repr = ArpRepr::EthernetIpv4 {
            operation: ArpOperation::Reply,
            source_hardware_addr: EthernetAddress(GUEST_HARDWARE),
            source_protocol_addr: self.asked?,
            target_hardware_addr: EthernetAddress(GATEWAY_HARDWARE),
            target_protocol_addr: Ipv4Address::from(GATEWAY),
        };
        let mut frame = framed(EthernetProtocol::Arp, repr.buffer_len());
        repr.emit(&mut ArpPacket::new_unchecked(EthernetFrame::new_unchecked(&mut frame).payload_mut()));
        Some(frame)
    }

    /// A segment that fits to the last one, more or less.
    fn answer(&self, kind: u8, skew: i32, payload: &[u8]) -> Option<Vec<u8>> {
        let (own, gateway_port, own_port, next, acknowledged) = self.segment?;
        let control = match kind % 6 {
            0 => TcpControl::Syn,
            1 => TcpControl::Fin,
            2 => TcpControl::Rst,
            3 => TcpControl::Psh,
            _ => TcpControl::None,
        };
        let segment = TcpRepr {
            src_port: own_port,
            dst_port: gateway_port,
            control,
            seq_number: smoltcp::wire::TcpSeqNumber(acknowledged.unwrap_or(1000).wrapping_add(skew)),
            ack_number: (kind % 7 != 6).then_some(smoltcp::wire::TcpSeqNumber(next)),
            window_len: u16::from(kind) << 8,
            window_scale: kind.is_multiple_of(5).then_some(kind % 15),
            max_seg_size: kind.is_multiple_of(3).then_some(u16::from(kind)),
            sack_permitted: false,
            sack_ranges: [None; 3],
            timestamp: None,
            payload,
        };
        let packet = Ipv4Repr {
            src_addr: own,
            dst_addr: Ipv4Address::from(GATEWAY),
            next_header: IpProtocol::Tcp,
            payload_len: segment.buffer_len(),
            hop_limit: 64,
        };
        let checksums = ChecksumCapabilities::default();
        let mut frame = framed(EthernetProtocol::Ipv4, packet.buffer_len() + segment.buffer_len());
        let mut ethernet = EthernetFrame::new_unchecked(&mut frame);
        let mut ip = Ipv4Packet::new_unchecked(ethernet.payload_mut());
        packet.emit(&mut ip, &checksums);
        let (from, to) = (own.into(), Ipv4Address::from(GATEWAY).into());
        segment.emit(&mut TcpPacket::new_unchecked(ip.payload_mut()), &from, &to, &checksums);
        Some(frame)
    }
}

/// An empty frame to the gateway.
fn framed(ethertype: EthernetProtocol, len: usize) -> Vec<u8> {
    let repr = EthernetRepr {
        src_addr: EthernetAddress(GUEST_HARDWARE),
        dst_addr: EthernetAddress(GATEWAY_HARDWARE),
        ethertype,
    };
    let mut frame = vec![0; repr.buffer_len() + len];
    repr.emit(&mut EthernetFrame::new_unchecked(&mut frame));
    frame
}

/// A connection of the host: the gateway's end, and the program's.
fn connection() -> Option<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).ok()?;
    let program = TcpStream::connect(listener.local_addr().ok()?).ok()?;
    let (accepted, _) = listener.accept().ok()?;
    accepted.set_nonblocking(true).ok()?;
    program.set_nonblocking(true).ok()?;
    Some((accepted, program))
}

/// Moves of a guest to which a host's program is connected.
pub fn gateway(data: &[u8]) {
    let (Ok((_, mut link)), Some((accepted, program))) = (Network::new(), connection()) else { return };
    let mut gateway = Gateway::new(&mut link, 1);
    gateway.connect(accepted, CONTAINER, PORT);
    converse(&mut gateway, &mut link, (Guest::default(), Some(program)), data);
}

/// Moves of a guest that calls: first, at which port of its own; the rest as in [`gateway`].
pub fn calls(data: &[u8]) {
    let (Ok((_, mut link)), Ok(listener)) = (Network::new(), TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
    else {
        return;
    };
    let Ok(address) = listener.local_addr() else { return };
    let mut gateway = Gateway::new(&mut link, 1);
    let port = address.port();
    gateway.allow(CONTAINER, format!("{address}\nlocalhost:{port}"));
    let [own, rest @ ..] = data else { return };
    // Ports are the system's choice: what stands for them becomes this one.
    let (port, mut rest) = (port.to_le_bytes(), rest.to_vec());
    while let Some(at) = rest.windows(PORT_HERE.len()).position(|bytes| *bytes == PORT_HERE) {
        if port == PORT_HERE {
            break;
        }
        rest.splice(at..at + PORT_HERE.len(), port);
    }
    converse(&mut gateway, &mut link, (Guest::calling(*own), None), &rest);
}

/// Stands for the port of the host's program.
const PORT_HERE: [u8; 2] = [0xfe, 0xed];

/// The gateway counts connections from the seed on, which is 1 here.
const NAMES: u64 = 64;

/// Moves of a guest and of a host's program: a byte for which, and what it takes.
fn converse(
    gateway: &mut Gateway,
    link: &mut Link,
    (mut guest, mut program): (Guest, Option<TcpStream>),
    data: &[u8],
) {
    let mut rest = data;
    let byte = |rest: &mut &[u8]| {
        let (first, after) = rest.split_first().map_or((0, &[][..]), |(first, after)| (*first, after));
        *rest = after;
        first
    };
    while !rest.is_empty() {
        let choice = byte(&mut rest);
        let len = usize::from(byte(&mut rest)).min(rest.len());
        match choice % 12 {
            0 => {
                let (frame, after) = rest.split_at(len);
                link.send(frame.to_vec());
                rest = after;
            }
            1 | 2 => guest.address().into_iter().for_each(|frame| link.send(frame)),
            3..=7 => {
                let kind = byte(&mut rest);
                let (payload, after) = rest.split_at(len.min(rest.len()));
                rest = after;
                // Mostly the next one.
                let skew = if kind < 200 { 0 } else { i32::from(kind) - 220 };
                if let Some(mut frame) = guest.answer(kind, skew, payload) {
                    // Now and then with a byte changed on the way.
                    if let (11.., Some(changed)) = (choice / 12, frame.get_mut(len)) {
                        *changed ^= choice;
                    }
                    link.send(frame);
                }
            }
            8 => drop(program.as_mut().map(|program| program.write(&vec![choice; len * 16]))),
            9 => drop(program.as_mut().map(|program| program.read(&mut vec![0; len * 16]))),
            10 if len > 250 => drop(program.take()),
            11 if len > 250 => gateway.disconnect(CONTAINER),
            _ => {}
        }
        (0..NAMES).for_each(|name| gateway.changed(name));
        gateway.work(link);
        for (caller, name) in gateway.take_names() {
            assert_eq!(name.to_ascii_lowercase(), "localhost", "no other one may be looked up");
            let found = match choice {
                0..200 => Ok(vec![Ipv4Addr::LOCALHOST.into()]),
                _ => Err(Status::NoSuchName),
            };
            gateway.found(caller, found);
        }
        for name in gateway.take_unwatched() {
            let _ = gateway.descriptor(name);
        }
        let _ = gateway.patience();
        guest.take(link);
    }
    gateway.forget();
}

/// A guest that answers, to begin with; then anything.
pub fn conversations() -> Vec<Vec<u8>> {
    let opening = [1, 0, 3, 0, 0];
    let moves = |seed| {
        let mut rng = Rng::new(seed);
        let mut bytes = opening.to_vec();
        while bytes.len() < 400 {
            let wanted = rng.below(12) as u8;
            bytes.extend([wanted, rng.below(40) as u8, [4, 4, 3, 1, 0, 2][rng.below(6)]]);
            bytes.extend(rng.bits().to_le_bytes());
        }
        bytes
    };
    (0..16).map(moves).collect()
}

/// The kind of a first segment, which acknowledges nothing.
const FIRST: u8 = 6;

/// A guest that calls, to begin with: its first segment, the answer to who it is, what it wants; then anything.
pub fn calls_made() -> Vec<Vec<u8>> {
    let wanted =
        [(Request::Connect, "127.0.0.1"), (Request::Connect, "localhost"), (Request::Resolve, "localhost")];
    let made = |(seed, (request, host)): (u64, (Request, &str))| {
        let call = Call { request, port: u16::from_le_bytes(PORT_HERE), host }.encode()?;
        let mut bytes = vec![9, 3, 0, FIRST, 1, 0, 3, call.len() as u8, 3];
        bytes.extend(&call);
        let mut rng = Rng::new(seed);
        while bytes.len() < 300 {
            let wanted = rng.below(12) as u8;
            bytes.extend([wanted, rng.below(40) as u8, [4, 4, 3, 1, 0, 2][rng.below(6)]]);
            bytes.extend(rng.bits().to_le_bytes());
        }
        Some(bytes)
    };
    (0..).zip(wanted.into_iter().cycle().take(9)).filter_map(made).collect()
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// Without this, the target would be a guest that nobody ever speaks to.
    #[test]
    fn a_guest_that_answers_is_connected_and_heard() {
        let (_, mut link) = Network::new().unwrap();
        let (accepted, mut program) = connection().unwrap();
        let mut gateway = Gateway::new(&mut link, 1);
        gateway.connect(accepted, CONTAINER, PORT);
        let mut guest = Guest::default();
        let mut go_on = |guest: &mut Guest, frame: Option<Vec<u8>>| {
            frame.into_iter().for_each(|frame| link.send(frame));
            gateway.work(&mut link);
            guest.take(&mut link);
        };
        go_on(&mut guest, None);
        for answer in [
            |guest: &Guest| guest.address(),
            |guest: &Guest| guest.answer(0, 0, b""),
            |guest: &Guest| guest.answer(3, 0, b"heard"),
        ] {
            let frame = answer(&guest);
            go_on(&mut guest, frame);
        }
        let mut heard = [0; 16];
        assert_eq!(program.read(&mut heard).unwrap(), 5);
        assert_eq!(heard[..5], *b"heard");
    }

    /// As above.
    #[test]
    fn a_guest_that_calls_is_connected_and_heard() {
        let (_, mut link) = Network::new().unwrap();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let mut gateway = Gateway::new(&mut link, 1);
        gateway.allow(CONTAINER, format!("localhost:{port}"));
        let mut guest = Guest::calling(7);
        let mut go_on = |guest: &mut Guest, frame: Option<Vec<u8>>| {
            frame.into_iter().for_each(|frame| link.send(frame));
            gateway.work(&mut link);
            for (caller, _) in gateway.take_names() {
                gateway.found(caller, Ok(vec![Ipv4Addr::LOCALHOST.into()]));
            }
            (0..NAMES).for_each(|name| gateway.changed(name));
            gateway.work(&mut link);
            guest.take(&mut link);
        };
        let call = Call { request: Request::Connect, port, host: "localhost" }.encode().unwrap();
        let first = guest.answer(FIRST, 0, b"");
        go_on(&mut guest, first);
        let address = guest.address();
        go_on(&mut guest, address);
        let wanted = guest.answer(3, 0, &call);
        go_on(&mut guest, wanted);
        let (mut program, _) = listener.accept().unwrap();
        go_on(&mut guest, None);
        let said = guest.answer(3, 0, b"heard");
        go_on(&mut guest, said);
        let mut heard = [0; 5];
        program.read_exact(&mut heard).unwrap();
        assert_eq!(heard, *b"heard");
    }
}
