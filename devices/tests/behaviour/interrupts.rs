//! Interrupts and notifications, and both ways of doing without them (virtio 2.7.7, 2.7.10).

use sentient_devices::virtio::console::{Console, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::Progress;
use sentient_devices::virtio::mmio::registers::{INTERRUPT_USED, Register};

use crate::console_flow::Recorder;
use crate::driver::*;

#[test]
fn without_event_indexes_the_drivers_flag_suppresses_interrupts() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    for (suppressed, expected) in [(false, 1), (true, 0), (false, 1)] {
        queue.set_no_interrupt(suppressed);
        queue.offer_buffer(0, BUFFERS, 1, 0);
        assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
        assert_eq!(edges.take(), expected);
    }
}

#[test]
fn with_event_indexes_an_interrupt_comes_when_the_drivers_index_is_passed() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, EVENT_IDX, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    queue.set_no_interrupt(true); // means nothing with event indexes
    queue.set_used_event(4);
    let mut interrupts = Vec::new();
    for _ in 0..8 {
        queue.offer_buffer(0, BUFFERS, 1, 0);
        assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
        interrupts.push(edges.take());
    }
    assert_eq!(interrupts, [0, 0, 0, 0, 1, 0, 0, 0], "once, with the fifth chain");
    queue.set_used_event(9);
    for _ in 0..4 {
        queue.offer_buffer(0, BUFFERS, 1, 0);
    }
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(edges.take(), 1, "once for a batch that passes the index");
}

#[test]
fn event_indexes_survive_the_wrap_of_the_rings() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, EVENT_IDX, 16);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    for chain in 0..70_000u32 {
        let wanted = chain.is_multiple_of(1000);
        queue.set_used_event(if wanted { chain as u16 } else { (chain as u16).wrapping_sub(1) });
        queue.offer_buffer(0, BUFFERS, 1, 0);
        assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
        assert_eq!(edges.take(), usize::from(wanted), "chain {chain}");
        assert_eq!(queue.take_used(), [(0, 0)]);
        assert_eq!(queue.avail_event(), (chain as u16).wrapping_add(1), "the next chain is to be notified");
    }
}

#[test]
fn nothing_completed_is_nothing_to_interrupt_for() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, RECEIVE_QUEUE, 16);
    queue.offer_buffer(0, BUFFERS, 16, WRITE);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(edges.take(), 0);
    assert!(queue.no_notify(), "with room and no input, the driver need not tell of more room");
}

#[test]
fn an_edge_is_raised_for_every_batch_whether_or_not_the_last_one_was_acknowledged() {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    for _ in 0..3 {
        queue.offer_buffer(0, BUFFERS, 1, 0);
        assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
        assert_eq!(edges.take(), 1);
    }
    assert_eq!(read(&mut transport, Register::InterruptStatus), INTERRUPT_USED);
}
