//! The network between a machine's containers and its host: one cable, with a gateway at the host's end.
//!
//! The gateway ([`GATEWAY`]) is the VMM. At the other end is the guest's runtime, which has [`RUNTIME`] for itself and
//! answers for all containers: each has an address of its own ([`container_address`]), so that two of them can listen
//! on the same port. Frames are Ethernet's, what is in them is ARP and IPv4 with TCP. Connections to the outside are asked
//! for by [calls] to the gateway.

pub mod calls;
mod destinations;

pub use destinations::{Destination, Destinations, Host, MAX_DESTINATIONS, MAX_NAME, is_name, is_special};

/// The gateway's address.
pub const GATEWAY: [u8; 4] = [10, 88, 0, 1];
/// The runtime's own address.
pub const RUNTIME: [u8; 4] = [10, 88, 0, 2];
/// Bits of the network's prefix.
pub const PREFIX: u8 = 16;
/// Containers' network, a part of it.
pub const CONTAINERS: [u8; 4] = [10, 88, 1, 0];
/// Bits of its prefix.
pub const CONTAINERS_PREFIX: u8 = 24;

/// The gateway's hardware address: locally administered (IEEE 802, 8.4).
pub const GATEWAY_HARDWARE: [u8; 6] = [0x02, b'S', b'O', b'S', 0, 1];
/// The guest's.
pub const GUEST_HARDWARE: [u8; 6] = [0x02, b'S', b'O', b'S', 0, 2];

/// Bytes of an Ethernet header.
pub const ETHERNET_LEN: usize = 14;
/// Bytes of the header before each frame in a buffer of the device (virtio 1.3, 5.1.6, with `VERSION_1`).
pub const HEADER_LEN: usize = 12;
/// Bytes of a buffer: header and frame together are a page at most.
pub const BUFFER_LEN: usize = 4096;
/// Most bytes of a frame.
pub const FRAME_LEN: usize = BUFFER_LEN - HEADER_LEN;
/// Most bytes of what is in a frame.
pub const MTU: u16 = (FRAME_LEN - ETHERNET_LEN) as u16;

/// How long a connection of which both sides have seen the end stays for the other to be sure of it, in milliseconds:
/// longer than a last acknowledgement may take (smoltcp's 10 ms), and not the four minutes of a network on which segments
/// come late (RFC 9293, 3.4.2).
pub const TIME_WAIT_MS: u64 = 20;

/// Most ports that one container listens on.
pub const MAX_PORTS: usize = 16;

/// The address of a container, by its number below [`MAX_CONTAINERS`](crate::MAX_CONTAINERS).
#[must_use]
pub const fn container_address(container: u32) -> [u8; 4] {
    let [a, b, c, _] = CONTAINERS;
    [a, b, c, (container % 255) as u8 + 1]
}

const _: () = assert!(crate::MAX_CONTAINERS < 255);

/// Ports a container listens on: an entry of its boot module, two bytes each, little-endian. `None` if there are too
/// many, one is 0, one is there twice, or bytes are left.
#[must_use]
pub fn ports(bytes: &[u8]) -> Option<impl Iterator<Item = u16> + Clone + '_> {
    let (pairs, []) = bytes.as_chunks::<2>() else { return None };
    let ports = pairs.iter().map(|pair| u16::from_le_bytes(*pair));
    let twice = |(at, port): (usize, u16)| ports.clone().take(at).any(|other| other == port);
    let strange = ports.clone().enumerate().any(|(at, port)| port == 0 || twice((at, port)));
    (pairs.len() <= MAX_PORTS && !strange).then_some(ports)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_have_addresses_of_their_own_in_their_network() {
        assert_eq!(container_address(0), [10, 88, 1, 1]);
        assert_eq!(container_address(crate::MAX_CONTAINERS - 1), [10, 88, 1, 64]);
    }

    #[test]
    fn ports_are_read_as_they_were_written() {
        let read = ports(&[80, 0, 0xbb, 0x01]).map(|mut ports| (ports.next(), ports.next(), ports.next()));
        assert_eq!(read, Some((Some(80), Some(443), None)));
        assert_eq!(ports(&[]).map(Iterator::count), Some(0));
        for wrong in [&[80][..], &[0, 0], &[80, 0, 80, 0], &[1; 2 * (MAX_PORTS + 1)]] {
            assert!(ports(wrong).is_none(), "{wrong:?}");
        }
    }
}
