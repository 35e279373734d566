//! Bytes through the console: both directions, blocked, resumed, saved in the middle.

use sentient_devices::RestoreError;
use sentient_devices::virtio::console::{
    Console, ConsoleBackend, RECEIVE_QUEUE, Receive, TRANSMIT_BUDGET, TRANSMIT_QUEUE, Transmit,
};
use sentient_devices::virtio::device::Progress;
use sentient_devices::virtio::slices::SliceCursor;
use sentient_devices::virtio::stdio_mux::ProtocolViolation;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, VolatileSlice};

use crate::driver::*;

/// A backend that keeps what it gets, as far as it is allowed to take it.
#[derive(Default)]
pub struct Recorder {
    pub output: Vec<u8>,
    /// Bytes it still takes; `None` for any number.
    pub allowance: Option<usize>,
    pub closed: bool,
    pub input: Vec<u8>,
    pub calls: usize,
}

impl ConsoleBackend for Recorder {
    type State = ();

    fn transmit<B: BitmapSlice>(
        &mut self,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Result<Transmit, ProtocolViolation> {
        self.calls += 1;
        if self.closed {
            return Ok(Transmit::Closed);
        }
        let mut cursor = SliceCursor::new(bytes);
        let take = cursor.remaining().min(self.allowance.unwrap_or(usize::MAX));
        let mut copy = vec![0; take];
        assert_eq!(cursor.read(&mut copy), take);
        self.output.extend(copy);
        self.allowance = self.allowance.map(|left| left - take);
        Ok(if take == 0 { Transmit::WouldBlock } else { Transmit::Accepted(take) })
    }

    fn receive<B: BitmapSlice>(&mut self, into: &[VolatileSlice<'_, B>]) -> Receive {
        let written = SliceCursor::new(into).write(&self.input);
        self.input.drain(..written);
        if written == 0 { Receive::WouldBlock } else { Receive::Received(written) }
    }

    fn reset(&mut self) {}
    fn save(&self) {}
    fn restore(&mut self, (): &()) -> Result<(), RestoreError> {
        Ok(())
    }
}

fn console(memory: &Memory) -> (Transport<Console<Recorder>>, std::sync::Arc<Edges>) {
    adopted(Console::new(Recorder::default()), memory, 0, 16)
}

#[test]
fn a_batch_of_chains_is_taken_in_order_with_one_interrupt() {
    let memory = memory();
    let (mut transport, edges) = console(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    let bytes: Vec<u8> = (0..=255).collect();
    memory.write_slice(&bytes, GuestAddress(BUFFERS)).unwrap();
    queue.put(0, BUFFERS, 100, NEXT, 1);
    queue.put(1, BUFFERS + 100, 0, NEXT, 2);
    queue.put(2, BUFFERS + 100, 56, 0, 0);
    queue.offer(0);
    queue.offer_buffer(3, BUFFERS + 156, 100, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output, bytes, "every byte value, in order");
    assert_eq!(transport.device().backend().calls, 2, "a chain goes to the backend in one piece");
    assert_eq!(queue.take_used(), [(0, 0), (3, 0)]);
    assert_eq!(edges.take(), 1);
}

#[test]
fn a_blocked_chain_stays_pending_at_its_offset_and_goes_on_when_the_backend_can() {
    let memory = memory();
    let (mut transport, edges) = console(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    memory.write_slice(b"0123456789abcdef", GuestAddress(BUFFERS)).unwrap();
    queue.offer_buffer(0, BUFFERS, 10, 0);
    queue.offer_buffer(1, BUFFERS + 10, 6, 0);
    transport.device_mut().backend_mut().allowance = Some(7);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert!(transport.device().wants_output());
    assert_eq!((queue.take_used(), edges.take()), (vec![], 0));
    assert!(queue.no_notify(), "a driver need not notify while nothing can be taken");
    let calls = transport.device().backend().calls;
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().calls, calls, "a notification does not retry what blocks");

    transport.device_mut().backend_mut().allowance = Some(5);
    assert_eq!(transport.backend_writable().unwrap(), Progress::Done);
    assert_eq!((queue.take_used(), edges.take()), (vec![(0, 0)], 1));
    transport.device_mut().backend_mut().allowance = None;
    assert_eq!(transport.backend_writable().unwrap(), Progress::Done);
    assert!(!transport.device().wants_output());
    assert_eq!(queue.take_used(), [(1, 0)]);
    assert!(!queue.no_notify());
    assert_eq!(transport.device().backend().output, b"0123456789abcdef");
}

#[test]
fn a_closed_backend_drops_output_instead_of_holding_up_the_guest() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    transport.device_mut().backend_mut().closed = true;
    queue.offer_buffer(0, BUFFERS, 4096, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 0)]);
}

#[test]
fn one_call_moves_a_bounded_number_of_bytes_and_asks_to_be_called_again() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    let chain = 2 << 20;
    queue.offer_buffer(0, BUFFERS, chain, 0);
    queue.offer_buffer(1, BUFFERS, 10, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Again);
    assert_eq!(transport.device().backend().output.len(), TRANSMIT_BUDGET);
    let mut calls = 1;
    while transport.work().unwrap() == Progress::Again {
        calls += 1;
    }
    assert_eq!(calls, 2);
    assert_eq!(transport.device().backend().output.len(), chain as usize + 10);
    assert_eq!(queue.take_used(), [(0, 0), (1, 0)]);
}

#[test]
fn input_is_only_wanted_and_only_taken_while_the_guest_has_room() {
    let memory = memory();
    let (mut transport, edges) = console(&memory);
    let mut queue = DriverQueue::new(&memory, RECEIVE_QUEUE, 16);
    assert!(!transport.device().wants_input());
    transport.device_mut().backend_mut().input = b"hello, world".to_vec();
    assert_eq!(transport.backend_readable().unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().input.len(), 12, "no room, no reading");

    queue.put(0, BUFFERS, 3, WRITE | NEXT, 1);
    queue.put(1, BUFFERS + 3, 4, WRITE, 0);
    queue.offer(0);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(0, 7)]);
    assert_eq!(edges.take(), 1);
    assert!(!transport.device().wants_input(), "the room is used up");

    queue.offer_buffer(2, BUFFERS + 7, 100, WRITE);
    queue.offer_buffer(3, BUFFERS + 200, 100, WRITE);
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), [(2, 5)], "a chain goes back as soon as there is something in it");
    assert!(transport.device().wants_input(), "there is room left");
    let mut received = [0; 12];
    memory.read_slice(&mut received, GuestAddress(BUFFERS)).unwrap();
    assert_eq!(&received, b"hello, world");
}

#[test]
fn a_paused_console_touches_nothing_and_takes_up_what_came_meanwhile() {
    use sentient_devices::Lifecycle;
    let memory = memory();
    let (mut transport, edges) = console(&memory);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    transport.pause();
    queue.offer_buffer(0, BUFFERS, 8, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!((queue.take_used(), edges.take()), (vec![], 0));
    transport.resume();
    assert_eq!(transport.work().unwrap(), Progress::Done);
    assert_eq!((queue.take_used(), edges.take()), (vec![(0, 0)], 1), "the notification is not lost");
    transport.halt();
    queue.offer_buffer(0, BUFFERS, 8, 0);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(queue.take_used(), []);
}
