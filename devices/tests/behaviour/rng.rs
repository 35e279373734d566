//! The entropy device.

use std::io;

use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::mmio::registers::status;
use sentient_devices::virtio::rng::{Entropy, REQUEST_LIMIT, REQUEST_QUEUE, Rng};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::*;

/// Counts up, until it is dry.
struct Counter {
    next: u8,
    left: usize,
}

impl Entropy for Counter {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.left = self.left.checked_sub(bytes.len()).ok_or_else(|| io::Error::other("dry"))?;
        for byte in bytes {
            self.next = self.next.wrapping_add(1);
            *byte = self.next;
        }
        Ok(())
    }
}

fn rng(memory: &Memory, left: usize) -> (Transport<Rng<Counter>>, std::sync::Arc<Edges>) {
    adopted(Rng::new(Counter { next: 0, left }), memory, EVENT_IDX, 16)
}

#[test]
fn requests_are_filled_across_their_buffers() {
    let memory = memory();
    let (mut transport, edges) = rng(&memory, usize::MAX);
    let mut queue = DriverQueue::new(&memory, REQUEST_QUEUE, 16);
    queue.put(0, BUFFERS, 300, WRITE | NEXT, 1);
    queue.put(1, BUFFERS + 300, 3, WRITE, 0);
    queue.offer(0);
    assert_eq!(transport.notify(REQUEST_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 303)]);
    assert_eq!(edges.take(), 1);
    let mut bytes = vec![0; 304];
    memory.read_slice(&mut bytes, GuestAddress(BUFFERS)).unwrap();
    let expected: Vec<u8> = (1..=303u32).map(|at| at as u8).chain([0]).collect();
    assert_eq!(bytes, expected);
}

#[test]
fn a_huge_request_is_answered_in_part() {
    let memory = memory();
    let (mut transport, _) = rng(&memory, usize::MAX);
    let mut queue = DriverQueue::new(&memory, REQUEST_QUEUE, 16);
    queue.offer_buffer(0, BUFFERS, 1 << 20, WRITE);
    assert_eq!(transport.notify(REQUEST_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, REQUEST_LIMIT as u32)]);
}

#[test]
fn a_host_without_entropy_breaks_the_device_instead_of_giving_zeroes() {
    let memory = memory();
    let (mut transport, _) = rng(&memory, 10);
    let mut queue = DriverQueue::new(&memory, REQUEST_QUEUE, 16);
    queue.offer_buffer(0, BUFFERS, 10, WRITE);
    queue.offer_buffer(1, BUFFERS, 10, WRITE);
    assert!(matches!(transport.notify(REQUEST_QUEUE), Err(DeviceError::Entropy(_))));
    assert_eq!(queue.take_used(), [(0, 10)]);
    assert_ne!(transport.status() & status::DEVICE_NEEDS_RESET, 0);
}
