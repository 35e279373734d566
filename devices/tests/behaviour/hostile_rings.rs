//! Rings no honest driver writes. Each breaks its queue, tells the driver, and nothing else.

use sentient_devices::virtio::console::{Console, RECEIVE_QUEUE, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::{DeviceError, Progress};
use sentient_devices::virtio::mmio::registers::{INTERRUPT_CONFIG, Register, status};
use sentient_devices::virtio::mmio::state::QueueLayout;
use sentient_devices::virtio::ring::RingError;
use virtio_queue::mock::MockSplitQueue;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

use crate::console_flow::Recorder;
use crate::driver::*;

/// The error a transmit queue breaks with after `prepare`.
fn broken_by(prepare: impl FnOnce(&DriverQueue<'_>, &Memory)) -> RingError {
    let memory = memory();
    let (mut transport, edges) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    prepare(&queue, &memory);
    let error = match transport.notify(TRANSMIT_QUEUE) {
        Err(DeviceError::Queue { queue: TRANSMIT_QUEUE, source }) => source,
        other => panic!("the queue should be broken, but: {other:?}"),
    };
    assert_ne!(transport.status() & status::DEVICE_NEEDS_RESET, 0);
    assert_ne!(read(&mut transport, Register::InterruptStatus) & INTERRUPT_CONFIG, 0);
    assert!(edges.take() > 0, "the driver is told");
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done, "until the reset nothing happens");
    assert_eq!(transport.notify(RECEIVE_QUEUE).unwrap(), Progress::Done);
    write(&mut transport, Register::Status, 0);
    assert_ne!(
        negotiate(&mut transport, VERSION_1) & status::FEATURES_OK,
        0,
        "after it the device is as new"
    );
    error
}

#[test]
fn a_loop_of_descriptors_is_not_followed_round() {
    let error = broken_by(|queue, _| {
        queue.put(0, BUFFERS, 1, NEXT, 1);
        queue.put(1, BUFFERS, 1, NEXT, 0);
        queue.offer(0);
    });
    assert!(matches!(error, RingError::Chain { head: 0, limit: 16 }), "{error:?}");
}

#[test]
fn a_chain_to_itself_or_to_nowhere_is_refused() {
    for next in [3, 16, u16::MAX] {
        let error = broken_by(|queue, _| {
            queue.put(3, BUFFERS, 1, NEXT, next);
            queue.offer(3);
        });
        assert!(matches!(error, RingError::Chain { head: 3, .. }), "{next}: {error:?}");
    }
}

#[test]
fn a_head_that_is_no_descriptor_is_refused() {
    for head in [16, u16::MAX] {
        let error = broken_by(|queue, _| queue.offer(head));
        assert!(matches!(error, RingError::Chain { .. }), "{head}: {error:?}");
    }
}

#[test]
fn a_buffer_outside_of_memory_is_refused() {
    let end = MEMORY_LEN as u64;
    for (address, len) in
        [(end, 1), (end - 1, 2), (u64::MAX, 1), (u64::MAX, u32::MAX), (0, u32::MAX), (1 << 40, 16)]
    {
        let error = broken_by(|queue, _| queue.offer_buffer(0, address, len, 0));
        assert!(matches!(error, RingError::Buffer { head: 0, .. }), "{address:#x} {len}: {error:?}");
    }
}

#[test]
fn more_than_four_gigabytes_in_a_chain_are_refused() {
    // Each buffer alone would be out of memory; the second one would not even be counted.
    let error = broken_by(|queue, _| {
        queue.put(0, BUFFERS, 16, NEXT, 1);
        queue.put(1, BUFFERS, u32::MAX, 0, 0);
        queue.offer(0);
    });
    assert!(matches!(error, RingError::Chain { .. } | RingError::Buffer { .. }), "{error:?}");
}

#[test]
fn an_index_that_leaps_over_the_queue_is_refused() {
    for leap in [17, 256, u16::MAX] {
        let error = broken_by(|queue, _| queue.leap(leap));
        assert!(matches!(error, RingError::Rings(_)), "{leap}: {error:?}");
    }
}

#[test]
fn a_readable_buffer_after_a_writable_one_is_refused() {
    let error = broken_by(|queue, _| {
        queue.put(0, BUFFERS, 16, WRITE | NEXT, 1);
        queue.put(1, BUFFERS, 16, 0, 0);
        queue.offer(0);
    });
    assert!(matches!(error, RingError::Order { head: 0 }), "{error:?}");
}

#[test]
fn indirect_tables_that_make_no_sense_are_refused() {
    let table = BUFFERS + 0x1000;
    // No table, half a descriptor, outside of memory, longer than the queue, and one that points to itself.
    for (address, len) in [(table, 0), (table, 17), (u64::MAX - 15, 32), (MEMORY_LEN as u64, 16)] {
        let error = broken_by(|queue, _| queue.offer_buffer(0, address, len, INDIRECT));
        assert!(matches!(error, RingError::Chain { .. }), "{address:#x} {len}: {error:?}");
    }
    let error = broken_by(|queue, memory| {
        for index in 0..65_535u64 {
            let at = GuestAddress(table + 16 * index);
            memory.write_obj(BUFFERS, at).unwrap();
            memory.write_obj(u64::from(NEXT) << 32 | (index + 1) << 48, at.checked_add_8()).unwrap();
        }
        queue.offer_buffer(0, table, 65_535 * 16, INDIRECT);
    });
    assert!(matches!(error, RingError::Chain { .. }), "{error:?}");
    let error = broken_by(|queue, memory| {
        memory.write_obj(table, GuestAddress(table)).unwrap();
        memory.write_obj(16 | u64::from(INDIRECT) << 32, GuestAddress(table).checked_add_8()).unwrap();
        queue.offer_buffer(0, table, 16, INDIRECT);
    });
    assert!(matches!(error, RingError::Chain { .. }), "{error:?}");
}

trait Plus8 {
    fn checked_add_8(self) -> GuestAddress;
}

impl Plus8 for GuestAddress {
    fn checked_add_8(self) -> GuestAddress {
        GuestAddress(self.0 + 8)
    }
}

#[test]
fn a_sound_indirect_table_is_served() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, 1 << 28, 16);
    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    memory.write_slice(b"indirect", GuestAddress(BUFFERS)).unwrap();
    let table = BUFFERS + 0x1000;
    for (index, (offset, len, flags)) in [(0, 2, NEXT), (2, 6, 0)].into_iter().enumerate() {
        let at = table + 16 * index as u64;
        memory.write_obj(BUFFERS + offset, GuestAddress(at)).unwrap();
        let rest = len | u64::from(flags) << 32 | (index as u64 + 1) << 48;
        memory.write_obj(rest, GuestAddress(at + 8)).unwrap();
    }
    queue.offer_buffer(5, table, 32, INDIRECT);
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output, b"indirect");
    assert_eq!(queue.take_used(), [(5, 0)]);
}

#[test]
fn empty_buffers_are_handed_back_without_asking_the_backend() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    for (index, flags) in [(TRANSMIT_QUEUE, 0), (RECEIVE_QUEUE, WRITE)] {
        let mut queue = DriverQueue::new(&memory, index, 16);
        transport.device_mut().backend_mut().input = b"x".to_vec();
        queue.offer_buffer(0, u64::MAX, 0, flags);
        queue.offer_buffer(1, BUFFERS, 16, flags ^ WRITE); // a part of the wrong direction is none
        assert_eq!(transport.notify(index).unwrap(), Progress::Done);
        assert_eq!(queue.take_used(), [(0, 0), (1, 0)]);
    }
    assert_eq!(transport.device().backend().calls, 0);
    assert_eq!(transport.device().backend().input, b"x");
}

#[test]
fn the_same_chain_offered_all_over_costs_one_round_of_the_queue_per_call() {
    let memory = memory();
    let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, 0, 16);
    let queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 16);
    queue.put(0, BUFFERS, 1, 0, 0);
    for _ in 0..16 {
        queue.offer(0);
    }
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output.len(), 16);
}

#[test]
fn rings_on_top_of_each_other_harm_nobody_but_the_driver() {
    let memory = memory();
    for (descriptor_table, driver_ring, device_ring) in [
        (0x1000, 0x1000, 0x1000),
        (0x1000, 0x1000, 0x1004),
        (0x1000, 0x1010, 0x1000),
        (0x1000, 0x2000, 0x2000),
    ] {
        let layout = QueueLayout { size: 16, descriptor_table, driver_ring, device_ring };
        let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, EVENT_IDX, 16);
        transport.adopt(VERSION_1 | EVENT_IDX, &[layout, layout]).unwrap();
        memory.write_slice(&[1; 0x2000], GuestAddress(0x1000)).unwrap();
        memory.write_obj(3u16, GuestAddress(driver_ring + 2)).unwrap();
        // Errors are as good as any other end; what counts is that there is one.
        for queue in [TRANSMIT_QUEUE, RECEIVE_QUEUE, TRANSMIT_QUEUE] {
            let _ = transport.notify(queue);
        }
    }
}

#[test]
fn the_queue_crates_own_mock_driver_is_understood() {
    // Its indirect tables lie at 0x3000_0000 and its buffers at 0x1000.
    let ranges = [(GuestAddress(0), 0x10_0000), (GuestAddress(0x3000_0000), 0x1000)];
    let memory: Memory = std::sync::Arc::new(GuestMemoryMmap::from_ranges(&ranges).unwrap());
    let mut driver = MockSplitQueue::create(&*memory, GuestAddress(0x8000), 16);
    let (mut transport, _) = {
        let edges = std::sync::Arc::new(Edges::default());
        let device = Console::new(Recorder::default());
        let mut transport = Transport::new(device, memory.clone(), edges.clone());
        let queue = |base| QueueLayout {
            size: 16,
            descriptor_table: base,
            driver_ring: base + (driver.avail_addr().0 - driver.start().0),
            device_ring: base + (driver.used_addr().0 - driver.start().0),
        };
        transport.adopt(transport.offered_features(), &[queue(0x9000), queue(0x8000)]).unwrap();
        sentient_devices::Lifecycle::start(&mut transport);
        (transport, edges)
    };
    // One at a time: the mock builds every chain at descriptor 0.
    driver.add_chain(3).unwrap();
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output.len(), 3 * 0x1000);
    driver.add_indirect_chain(4).unwrap();
    assert_eq!(transport.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done);
    assert_eq!(transport.device().backend().output.len(), 7 * 0x1000);
    assert_eq!(driver.used().idx().load(), 2);
}

#[test]
fn a_guest_that_rewrites_its_rings_while_the_device_works_brings_nothing_down() {
    use std::sync::atomic::{AtomicBool, Ordering};
    let memory = memory();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut turn = 0u64;
            while !stop.load(Ordering::Relaxed) {
                turn = turn.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let queue = layout((turn >> 60) as u16 % 2, 16);
                let index = (turn >> 40) % 16;
                let buffer = BUFFERS + (turn >> 20) % 0x1000;
                memory.write_obj(buffer, GuestAddress(queue.descriptor_table + 16 * index)).unwrap();
                let rest = turn >> 33 & 0xfff | (turn >> 50 & 3) << 32 | (turn >> 52 & 0x1f) << 48;
                memory.write_obj(rest, GuestAddress(queue.descriptor_table + 16 * index + 8)).unwrap();
                memory
                    .write_obj((turn >> 45 & 15) as u16, GuestAddress(queue.driver_ring + 4 + 2 * index))
                    .unwrap();
                memory.write_obj((turn >> 30 & 15) as u16, GuestAddress(queue.driver_ring + 2)).unwrap();
            }
        });
        for _ in 0..2000 {
            let (mut transport, _) = adopted(Console::new(Recorder::default()), &memory, EVENT_IDX, 16);
            transport.device_mut().backend_mut().input = vec![1; 10_000];
            for queue in [TRANSMIT_QUEUE, RECEIVE_QUEUE] {
                let _ = transport.notify(queue);
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
}
