//! A gate before what the guest says.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use sentient_devices::Lifecycle;
use sentient_devices::virtio::console::{Console, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::{Progress, VirtioDevice};
use sentient_devices::virtio::gate::Gate;
use sentient_devices::virtio::{net, rng, volumes};
use vm_memory::{Bytes, GuestAddress};

use crate::console_flow::Recorder;
use crate::driver::*;

/// Open or not, and what is said while it is looked.
struct Guard {
    opens: AtomicBool,
    looks: AtomicUsize,
    memory: Memory,
    /// Where the number of what was said stands, and what it is from the first look on.
    said: (u64, u16),
}

impl Gate for Guard {
    fn prepare(&self) {}

    fn opens(&self) -> bool {
        if self.looks.fetch_add(1, Ordering::Relaxed) == 0 {
            self.memory.write_obj(self.said.1, GuestAddress(self.said.0)).unwrap();
        }
        self.opens.load(Ordering::Relaxed)
    }
}

/// A console behind a gate whose guest has said `a`, and says `b` while it is looked for the first time.
fn said(opens: bool, memory: &Memory) -> (Transport<Console<Recorder>>, DriverQueue<'_>, Arc<Guard>) {
    let (mut transport, _) = adopted(Console::new(Recorder::default()), memory, 0, 16);
    let queue = DriverQueue::new(memory, TRANSMIT_QUEUE, 16);
    memory.write_slice(b"ab", GuestAddress(BUFFERS)).unwrap();
    queue.offer_buffer(0, BUFFERS, 1, 0);
    queue.offer_buffer(1, BUFFERS + 1, 1, 0);
    queue.leap(1_u16.wrapping_neg());
    let index = queue.layout.driver_ring + 2;
    let guard = Arc::new(Guard {
        opens: AtomicBool::new(opens),
        looks: AtomicUsize::new(0),
        memory: Arc::clone(memory),
        said: (index, 2),
    });
    transport.set_gate(Some(Arc::clone(&guard) as Arc<dyn Gate>));
    (transport, queue, guard)
}

#[test]
fn what_is_said_while_it_is_looked_waits_for_the_next_look() {
    let memory = memory();
    let (mut transport, _, guard) = said(true, &memory);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Again, "there is more by now");
    assert_eq!(transport.device().backend().output, b"a");
    assert_eq!(transport.work().unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output, b"ab");
    assert_eq!(guard.looks.load(Ordering::Relaxed), 2);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(guard.looks.load(Ordering::Relaxed), 2, "where nothing is said, nobody looks");
}

#[test]
fn what_does_not_leave_is_looked_at_again_after_a_pause() {
    let memory = memory();
    let (mut transport, mut queue, guard) = said(false, &memory);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.work().unwrap(), Progress::Done, "nobody is kept busy with it");
    assert_eq!((transport.device().backend().output.len(), queue.take_used().len()), (0, 0));
    guard.opens.store(true, Ordering::Relaxed);
    transport.pause();
    transport.resume();
    while transport.work().unwrap() == Progress::Again {}
    assert_eq!(transport.device().backend().output, b"ab");
    assert_eq!(queue.take_used().len(), 2);
}

#[test]
fn without_a_gate_it_leaves_at_once() {
    let memory = memory();
    let (mut transport, _, guard) = said(false, &memory);
    transport.set_gate(None);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output, b"a");
    assert_eq!(guard.looks.load(Ordering::Relaxed), 0);
}

/// No cable, and no folders.
struct Nobody;

impl net::Cable for Nobody {
    fn send(&mut self, _: Vec<u8>) {}
    fn has_frame(&self) -> bool {
        false
    }
    fn receive(&mut self) -> Option<Vec<u8>> {
        None
    }
    fn unplug(&mut self) {}
}

impl volumes::Folders for Nobody {
    fn serve(&mut self, _: &[u8]) -> (u32, Vec<u8>) {
        (0, Vec::new())
    }
    fn forget(&mut self) {}
}

impl rng::Entropy for Nobody {
    fn fill(&mut self, _: &mut [u8]) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn it_stands_before_all_that_the_world_hears() {
    let console = Console::new(Recorder::default());
    assert!(console.is_outward(TRANSMIT_QUEUE) && !console.is_outward(RECEIVE_QUEUE));
    let cable = net::Net::new(Nobody);
    assert!(cable.is_outward(net::TRANSMIT_QUEUE) && !cable.is_outward(net::RECEIVE_QUEUE));
    assert!(volumes::Volumes::new(Nobody).is_outward(volumes::REQUEST_QUEUE));
    assert!(!rng::Rng::new(Nobody).is_outward(rng::REQUEST_QUEUE));
}
