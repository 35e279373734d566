//! The network device.

use std::collections::VecDeque;

use sentient_abi::network::{FRAME_LEN, GUEST_HARDWARE, HEADER_LEN, MTU};
use sentient_devices::Lifecycle;
use sentient_devices::virtio::device::Progress;
use sentient_devices::virtio::mmio::registers::CONFIG_OFFSET;
use sentient_devices::virtio::net::{Cable, Net, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::*;

/// Keeps what was sent, and gives what it was given.
#[derive(Default)]
struct Ends {
    sent: Vec<Vec<u8>>,
    coming: VecDeque<Vec<u8>>,
    unplugged: usize,
}

impl Cable for Ends {
    fn send(&mut self, frame: Vec<u8>) {
        self.sent.push(frame);
    }

    fn has_frame(&self) -> bool {
        !self.coming.is_empty()
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.coming.pop_front()
    }

    fn unplug(&mut self) {
        self.unplugged += 1;
    }
}

fn net(memory: &Memory) -> (Transport<Net<Ends>>, std::sync::Arc<Edges>) {
    adopted(Net::new(Ends::default()), memory, 0, 16)
}

fn bytes(memory: &Memory, at: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    memory.read_slice(&mut bytes, GuestAddress(at)).unwrap();
    bytes
}

#[test]
fn frames_leave_without_their_header_whatever_pieces_they_lie_in() {
    let memory = memory();
    let (mut transport, edges) = net(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    let frame: Vec<u8> = (0..100).collect();
    memory.write_slice(&[0xff; HEADER_LEN], GuestAddress(BUFFERS)).unwrap();
    memory.write_slice(&frame, GuestAddress(BUFFERS + HEADER_LEN as u64)).unwrap();
    queue.put(0, BUFFERS, 20, NEXT, 1);
    queue.put(1, BUFFERS + 20, 92, 0, 0);
    queue.offer(0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device_mut().cable_mut().sent, [frame]);
    assert_eq!((queue.take_used(), edges.take()), (vec![(0, 0)], 1));
}

#[test]
fn what_is_no_frame_is_not_sent_and_its_buffer_comes_back() {
    let memory = memory();
    let (mut transport, _) = net(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    for (head, len) in [(0, 0), (1, HEADER_LEN), (2, HEADER_LEN + FRAME_LEN + 1), (3, 1 << 20)] {
        queue.offer_buffer(head, BUFFERS, len as u32, 0);
    }
    queue.offer_buffer(4, BUFFERS, (HEADER_LEN + FRAME_LEN) as u32, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    let lengths: Vec<_> = transport.device_mut().cable_mut().sent.iter().map(Vec::len).collect();
    assert_eq!(lengths, [FRAME_LEN]);
    assert_eq!(queue.take_used().len(), 5);
}

#[test]
fn a_frame_comes_behind_a_header_that_says_one_buffer() {
    let memory = memory();
    let (mut transport, edges) = net(&memory);
    let mut queue = DriverQueue::new(&memory, RECEIVE_QUEUE, 16);
    queue.offer_buffer(0, BUFFERS, 4096, WRITE);
    queue.offer_buffer(1, BUFFERS + 4096, 4096, WRITE);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!((queue.take_used(), edges.take()), (vec![], 0));
    assert!(queue.no_notify(), "buffers are of no interest while there is no frame");
    transport.device_mut().cable_mut().coming.push_back(vec![7; 60]);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!((queue.take_used(), edges.take()), (vec![(0, 72)], 1));
    let mut expected = vec![0; HEADER_LEN - 2];
    expected.extend([1, 0]);
    expected.extend([7; 60]);
    assert_eq!(bytes(&memory, BUFFERS, 72), expected);
}

#[test]
fn a_frame_waits_for_a_buffer_and_is_lost_to_one_that_is_too_short() {
    let memory = memory();
    let (mut transport, _) = net(&memory);
    let mut queue = DriverQueue::new(&memory, RECEIVE_QUEUE, 16);
    transport.device_mut().cable_mut().coming = [vec![1; 60], vec![2; 60]].into();
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert!(!queue.no_notify(), "the driver has to tell of its buffers");
    queue.offer_buffer(0, BUFFERS, 71, WRITE);
    queue.offer_buffer(1, BUFFERS, 72, WRITE);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 0), (1, 72)]);
    assert_eq!(bytes(&memory, BUFFERS + HEADER_LEN as u64, 60), [2; 60]);
}

#[test]
fn its_address_and_mtu_are_in_the_configuration_space() {
    let memory = memory();
    let (mut transport, _) = net(&memory);
    let mut space = [0xaa; 16];
    transport.read(CONFIG_OFFSET, &mut space);
    assert_eq!(space[..6], GUEST_HARDWARE);
    assert_eq!(space[10..12], MTU.to_le_bytes());
    assert_eq!(space[12..], [0; 4]);
}

#[test]
fn a_restored_device_has_a_cable_that_was_pulled_out() {
    let memory = memory();
    let (mut transport, _) = net(&memory);
    transport.pause();
    let mut state = transport.save();
    let unplugged = |transport: &mut Transport<Net<Ends>>| {
        std::mem::take(&mut transport.device_mut().cable_mut().unplugged) > 0
    };
    unplugged(&mut transport);
    transport.restore(&state).unwrap();
    assert!(unplugged(&mut transport));
    state.device.version += 1;
    assert!(transport.restore(&state).is_err());
    assert!(!unplugged(&mut transport));
}
