//! The volumes' device.

use sentient_abi::volumes::{ANSWER_HEAD, MAX_REQUEST};
use sentient_devices::Lifecycle;
use sentient_devices::virtio::device::Progress;
use sentient_devices::virtio::volumes::{Folders, REQUEST_QUEUE, Volumes};
use vm_memory::{Bytes, GuestAddress};

use crate::driver::*;

/// Answers with what it was asked, backwards; a question that begins with `!` is refused with the number behind it.
#[derive(Default)]
struct Echo {
    forgotten: usize,
}

impl Folders for &mut Echo {
    fn serve(&mut self, request: &[u8]) -> (u32, Vec<u8>) {
        match request {
            [b'!', number, ..] => (u32::from(*number), Vec::new()),
            request => (0, request.iter().rev().copied().collect()),
        }
    }

    fn forget(&mut self) {
        self.forgotten += 1;
    }
}

/// What the device answers to a question, with so much room for it; and how much it has written.
fn ask(question: &[u8], room: u32) -> (u32, Vec<u8>, u32) {
    let (memory, mut echo) = (memory(), Echo::default());
    let (mut transport, edges) = adopted(Volumes::new(&mut echo), &memory, EVENT_IDX, 16);
    let mut queue = DriverQueue::new(&memory, REQUEST_QUEUE, 16);
    memory.write_slice(question, GuestAddress(BUFFERS)).unwrap();
    let answer = BUFFERS + 0x2_0000;
    // The question in two pieces.
    let (first, second) = (question.len() as u32 / 2, question.len() as u32 - question.len() as u32 / 2);
    queue.put(0, BUFFERS, first, NEXT, 1);
    queue.put(1, BUFFERS + u64::from(first), second, NEXT, 2);
    queue.put(2, answer, room, WRITE, 0);
    queue.offer(0);
    assert_eq!(transport.notify(REQUEST_QUEUE).unwrap(), Progress::Done);
    let used = queue.take_used();
    assert_eq!((used.len(), used[0].0, edges.take()), (1, 0, 1));
    let mut bytes = vec![0; used[0].1 as usize];
    memory.read_slice(&mut bytes, GuestAddress(answer)).unwrap();
    let rest = bytes.split_off(ANSWER_HEAD.min(bytes.len()));
    let head = bytes.try_into().map_or(u32::MAX, u32::from_le_bytes);
    (head, rest, used[0].1)
}

#[test]
fn questions_are_answered_in_their_own_room() {
    assert_eq!(ask(b"abcde", 100), (0, b"edcba".to_vec(), 9));
    assert_eq!(ask(b"abcde", 9), (0, b"edcba".to_vec(), 9));
    assert_eq!(ask(b"!\x2c", 100), (44, Vec::new(), 4));
    // Too little room, and too long a question, which nobody reads.
    assert_eq!(ask(b"abcde", 8), (61, Vec::new(), 4));
    assert_eq!(ask(b"abcde", 2).2, 2);
    assert_eq!(ask(&vec![b'a'; MAX_REQUEST + 1], 100), (1, Vec::new(), 4));
}

#[test]
fn who_goes_on_elsewhere_is_another_one() {
    let forgotten = |elsewhere: bool| {
        let (memory, mut echo) = (memory(), Echo::default());
        let (mut transport, _) = adopted(Volumes::new(&mut echo), &memory, EVENT_IDX, 16);
        if elsewhere {
            let state = transport.save();
            transport.restore(&state).unwrap();
        }
        drop(transport);
        echo.forgotten
    };
    assert!(forgotten(true) > forgotten(false));
}
