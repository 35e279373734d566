//! The registers, as a driver uses and misuses them.

use std::sync::Arc;

use sentient_devices::Lifecycle;
use sentient_devices::virtio::console::{Console, TRANSMIT_QUEUE};
use sentient_devices::virtio::device::{Progress, VirtioDevice};
use sentient_devices::virtio::mmio::registers::{
    CONFIG_OFFSET, INTERRUPT_USED, NOTIFY_OFFSET, Register, status,
};
use sentient_devices::virtio::mmio::state::QueueLayout;
use sentient_devices::virtio::mmio::{MmioTransport, Notify, TRANSPORT_FEATURES};
use vm_memory::Bytes;
use vm_memory::GuestAddress;

use crate::console_flow::Recorder;
use crate::driver::*;

fn console(memory: &Memory) -> (Transport<Console<Recorder>>, Arc<Edges>) {
    let edges = Arc::new(Edges::default());
    let mut transport =
        MmioTransport::new(Console::new(Recorder::default()), Arc::clone(memory), edges.clone());
    transport.start();
    (transport, edges)
}

#[test]
fn a_driver_takes_the_device_into_service_through_registers_alone() {
    let memory = memory();
    let (mut transport, edges) = console(&memory);
    let t = &mut transport;
    assert_eq!(read(t, Register::MagicValue).to_le_bytes(), *b"virt");
    assert_eq!(read(t, Register::Version), 2);
    assert_eq!(read(t, Register::DeviceId), 3);
    assert_eq!(read(t, Register::VendorId).to_le_bytes(), *b"SENT");
    let mut offered = 0;
    for select in [0, 1] {
        write(t, Register::DeviceFeaturesSel, select);
        offered |= u64::from(read(t, Register::DeviceFeatures)) << (32 * select);
    }
    assert_eq!(offered, TRANSPORT_FEATURES);
    write(t, Register::DeviceFeaturesSel, 2);
    assert_eq!(read(t, Register::DeviceFeatures), 0, "there is no third window");

    assert_ne!(negotiate(t, offered) & status::FEATURES_OK, 0);
    for index in 0..2 {
        write(t, Register::QueueSel, index);
        assert_eq!(read(t, Register::QueueSizeMax), 256);
        assert_eq!(set_up_queue(t, index, &layout(index as u16, 256)), 1);
    }
    write(t, Register::QueueSel, 2);
    assert_eq!(read(t, Register::QueueSizeMax), 0, "there is no third queue");
    let live = status::ACKNOWLEDGE | status::DRIVER | status::FEATURES_OK | status::DRIVER_OK;
    assert_eq!(set_status(t, status::DRIVER_OK), live);
    assert!(t.is_live());

    let mut queue = DriverQueue::new(&memory, TRANSMIT_QUEUE, 256);
    memory.write_slice(b"hello", GuestAddress(BUFFERS)).unwrap();
    queue.offer_buffer(0, BUFFERS, 5, 0);
    let Some(Notify(index)) = t.write(NOTIFY_OFFSET, &u32::from(TRANSMIT_QUEUE).to_le_bytes()) else {
        panic!("the write is a notification");
    };
    assert_eq!(t.notify(index).unwrap(), Progress::Done);
    assert_eq!(t.device().backend().output, b"hello");
    assert_eq!(queue.take_used(), [(0, 0)]);
    assert_eq!(edges.take(), 1);
    assert_eq!(read(t, Register::InterruptStatus), INTERRUPT_USED);
    write(t, Register::InterruptAck, INTERRUPT_USED);
    assert_eq!(read(t, Register::InterruptStatus), 0);
    assert_eq!(write(t, Register::QueueNotify, 2), None, "a queue that does not exist is not notified");

    write(t, Register::Status, 0);
    assert_eq!(read(t, Register::Status), 0);
    write(t, Register::QueueSel, 0);
    assert_eq!(read(t, Register::QueueReady), 0, "a reset takes the queues out of service");
    assert_eq!(t.notify(TRANSMIT_QUEUE).unwrap(), Progress::Done, "and notifications come to nothing");
}

#[test]
fn features_that_were_not_offered_are_rejected_and_so_is_a_driver_without_version_1() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    for (features, accepted) in [
        (VERSION_1, true),
        (TRANSPORT_FEATURES, true),
        (0, false),
        (EVENT_IDX, false),
        (VERSION_1 | 1 << 1, false), // VIRTIO_CONSOLE_F_MULTIPORT
        (VERSION_1 | 1 << 33, false),
        (u64::MAX, false),
    ] {
        let now = negotiate(&mut transport, features);
        assert_eq!(now & status::FEATURES_OK != 0, accepted, "{features:#x}");
        let now = set_status(&mut transport, status::DRIVER_OK);
        assert_eq!(
            now & status::DRIVER_OK != 0,
            accepted,
            "a driver that was rejected cannot go on: {features:#x}"
        );
    }
    negotiate(&mut transport, 0);
    write(&mut transport, Register::DriverFeaturesSel, 2);
    write(&mut transport, Register::DriverFeatures, 1);
    assert_eq!(
        set_status(&mut transport, status::FEATURES_OK) & status::FEATURES_OK,
        0,
        "bit 64 was not offered"
    );
}

#[test]
fn a_rejected_driver_may_try_again_with_fewer_features() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    assert_eq!(negotiate(&mut transport, VERSION_1 | 1) & status::FEATURES_OK, 0);
    write(&mut transport, Register::DriverFeaturesSel, 0);
    write(&mut transport, Register::DriverFeatures, 0);
    assert_ne!(set_status(&mut transport, status::FEATURES_OK) & status::FEATURES_OK, 0);
    write(&mut transport, Register::DriverFeatures, 1);
    let features = transport.save().driver_features;
    assert_eq!(features, VERSION_1, "what was agreed on does not change");
}

#[test]
fn status_bits_are_only_granted_in_order_and_only_taken_by_a_reset() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    let t = &mut transport;
    write(t, Register::Status, status::DRIVER | status::DRIVER_OK);
    assert_eq!(read(t, Register::Status), 0, "a driver acknowledges first");
    set_status(t, status::ACKNOWLEDGE);
    set_status(t, status::DRIVER_OK);
    assert_eq!(read(t, Register::Status), status::ACKNOWLEDGE);
    set_status(t, status::DRIVER);
    write(t, Register::Status, status::DRIVER);
    assert_eq!(read(t, Register::Status), status::ACKNOWLEDGE | status::DRIVER, "bits stay");
    set_status(t, status::DEVICE_NEEDS_RESET);
    assert_eq!(read(t, Register::Status), status::ACKNOWLEDGE | status::DRIVER, "that one is the device's");
    let failed = set_status(t, status::FAILED);
    assert_eq!(failed, status::ACKNOWLEDGE | status::DRIVER | status::FAILED);
    assert_eq!(set_status(t, status::FEATURES_OK), failed, "after that, only a reset");
    write(t, Register::Status, 0);
    assert_eq!(read(t, Register::Status), 0);
}

#[test]
fn queues_are_only_set_up_between_features_and_driver_ok() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    let t = &mut transport;
    assert_eq!(set_up_queue(t, 0, &layout(0, 256)), 0, "too early");
    negotiate(t, VERSION_1);
    assert_eq!(set_up_queue(t, 0, &layout(0, 256)), 1);
    let ready = t.save().queues;
    set_up_queue(t, 0, &layout(1, 128));
    assert_eq!(t.save().queues, ready, "a ready queue stays as it is");
    set_status(t, status::DRIVER_OK);
    assert_eq!(set_up_queue(t, 1, &layout(1, 256)), 0, "too late");
    write(t, Register::QueueSel, 0);
    write(t, Register::QueueReady, 0);
    assert_eq!(read(t, Register::QueueReady), 0, "a queue can be taken out of service at any time");
}

#[test]
fn a_queue_with_a_bad_size_or_address_does_not_become_ready() {
    let memory = memory();
    let good = layout(0, 256);
    let end = MEMORY_LEN as u64;
    for bad in [
        QueueLayout { size: 0, ..good },
        QueueLayout { size: 3, ..good },
        QueueLayout { size: 512, ..good },
        QueueLayout { size: u16::MAX, ..good },
        QueueLayout { descriptor_table: good.descriptor_table + 8, ..good },
        QueueLayout { driver_ring: good.driver_ring + 1, ..good },
        QueueLayout { device_ring: good.device_ring + 2, ..good },
        QueueLayout { descriptor_table: end - 16, ..good },
        QueueLayout { driver_ring: end, ..good },
        QueueLayout { device_ring: u64::MAX - 3, ..good },
        QueueLayout { descriptor_table: u64::MAX - 15, ..good },
        QueueLayout { driver_ring: 1 << 63, ..good },
    ] {
        let (mut transport, edges) = console(&memory);
        negotiate(&mut transport, VERSION_1);
        assert_eq!(set_up_queue(&mut transport, 0, &bad), 0, "{bad:x?}");
        assert_ne!(transport.status() & status::DEVICE_NEEDS_RESET, 0, "{bad:x?}");
        assert_eq!(edges.take(), 0, "before DRIVER_OK, no interrupt");
        set_status(&mut transport, status::DRIVER_OK);
        assert_eq!(transport.notify(0).unwrap(), Progress::Done);
    }
}

#[test]
fn accesses_of_other_widths_or_between_registers_have_no_effect() {
    let memory = memory();
    let (mut transport, _) = console(&memory);
    for width in [0, 1, 2, 3, 8] {
        let mut data = vec![0xaa; width];
        transport.read(Register::MagicValue as u64, &mut data);
        assert_eq!(data, vec![0; width]);
        assert_eq!(transport.write(Register::Status as u64, &vec![1; width]), None);
    }
    for offset in [0x002, 0x01c, 0x0c0, 0x0f8, 0x0fe, 0xfff, u64::MAX] {
        let mut data = [0xaa; 4];
        transport.read(offset, &mut data);
        assert_eq!(data, [0; 4], "{offset:#x}");
        assert_eq!(transport.write(offset, &data), None);
    }
    assert_eq!(read(&mut transport, Register::ShmLenLow), u32::MAX, "there is no shared memory");
    assert_eq!(transport.status(), 0);
}

/// A device with a configuration space of eight bytes.
struct Configured([u8; 8]);

impl VirtioDevice for Configured {
    type State = ();
    fn device_type(&self) -> u32 {
        42
    }
    fn queue_max_sizes(&self) -> &[u16] {
        &[]
    }
    fn read_config(&self, offset: u64, data: &mut [u8]) {
        let from = self.0.iter().skip(usize::try_from(offset).unwrap());
        data.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
    }
    fn write_config(&mut self, offset: u64, data: &[u8]) {
        let to = self.0.iter_mut().skip(usize::try_from(offset).unwrap());
        to.zip(data).for_each(|(to, from)| *to = *from);
    }
    fn process_queue<M: vm_memory::GuestMemory>(
        &mut self,
        _: u16,
        _: &mut sentient_devices::virtio::ring::Ring<'_, M>,
    ) -> Result<Progress, sentient_devices::virtio::device::DeviceError> {
        Ok(Progress::Done)
    }
    fn reset(&mut self) {}
    fn save(&self) {}
    fn restore(&mut self, (): &()) -> Result<(), sentient_devices::RestoreError> {
        Ok(())
    }
}

#[test]
fn configuration_space_takes_any_width_and_its_generation_counts_changes() {
    let edges = Arc::new(Edges::default());
    let mut transport = MmioTransport::new(Configured(*b"abcdefgh"), memory(), edges.clone());
    transport.start();
    let mut data = [0xaa; 8];
    transport.read(CONFIG_OFFSET + 3, &mut data);
    assert_eq!(data, *b"defgh\0\0\0");
    let mut byte = [0];
    transport.read(CONFIG_OFFSET + 7, &mut byte);
    assert_eq!(byte, *b"h");
    transport.write(CONFIG_OFFSET, b"X");
    assert_eq!(transport.device().0[0], b'a', "not before there is a driver");
    negotiate(&mut transport, VERSION_1);
    transport.write(CONFIG_OFFSET, b"X");
    assert_eq!(transport.device().0[0], b'X');
    set_status(&mut transport, status::DRIVER_OK);
    let before = read(&mut transport, Register::ConfigGeneration);
    transport.config_changed().unwrap();
    assert_ne!(read(&mut transport, Register::ConfigGeneration), before);
    assert_eq!((read(&mut transport, Register::InterruptStatus), edges.take()), (2, 1));
}
