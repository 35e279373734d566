//! What a guest sends to the network's gateway, while a program of the host is connected to it.

use crate::mutate::Rng;
use sentient_abi::network::{FRAME_LEN, GATEWAY, GATEWAY_HARDWARE, GUEST_HARDWARE};
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

/// Moves of a guest and of a host's program: a byte for which, and what it takes.
pub fn gateway(data: &[u8]) {
    let (Ok((_, mut link)), Some((accepted, program))) = (Network::new(), connection()) else { return };
    let mut gateway = Gateway::new(&mut link, 1);
    let name = gateway.next_name();
    gateway.connect(accepted, CONTAINER, PORT);
    let (mut guest, mut program, mut rest) = (Guest::default(), Some(program), data);
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
        gateway.changed(name);
        gateway.work(&mut link);
        let _ = gateway.patience();
        guest.take(&mut link);
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
}
