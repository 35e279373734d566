//! The guest's side: a counter for interrupts, queues laid out in memory, the handshake over registers.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use sentient_devices::Lifecycle;
use sentient_devices::interrupt::Interrupt;
use sentient_devices::virtio::device::VirtioDevice;
use sentient_devices::virtio::mmio::registers::{Register, status};
use sentient_devices::virtio::mmio::state::QueueLayout;
use sentient_devices::virtio::mmio::{MmioTransport, Notify};
use virtio_queue::desc::{RawDescriptor, split::Descriptor};
use virtio_queue::mock::{AvailRing, DescriptorTable, UsedRing};
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap};

pub type Memory = Arc<GuestMemoryMmap>;
pub type Transport<D> = MmioTransport<D, Memory>;

/// Bytes of guest memory, from address zero.
pub const MEMORY_LEN: usize = 4 << 20;
/// Where tests put buffers; the queues lie below.
pub const BUFFERS: u64 = 0x10_0000;

pub const NEXT: u16 = 1;
pub const WRITE: u16 = 2;
pub const INDIRECT: u16 = 4;

pub const VERSION_1: u64 = 1 << 32;
pub const EVENT_IDX: u64 = 1 << 29;

/// Counts edges.
#[derive(Default)]
pub struct Edges(AtomicUsize);

impl Edges {
    /// Edges since the last call.
    pub fn take(&self) -> usize {
        self.0.swap(0, Ordering::Relaxed)
    }
}

impl Interrupt for Edges {
    fn raise(&self) -> io::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

pub fn memory() -> Memory {
    Arc::new(GuestMemoryMmap::from_ranges(&[(GuestAddress(0), MEMORY_LEN)]).unwrap())
}

/// A driver's view of one queue, in memory of its own.
pub struct DriverQueue<'m> {
    memory: &'m GuestMemoryMmap,
    pub layout: QueueLayout,
    table: DescriptorTable<'m, GuestMemoryMmap>,
    avail: AvailRing<'m, GuestMemoryMmap>,
    used: UsedRing<'m, GuestMemoryMmap>,
    seen: u16,
}

impl<'m> DriverQueue<'m> {
    /// Queue number `index`, with empty rings.
    pub fn new(memory: &'m GuestMemoryMmap, index: u16, size: u16) -> Self {
        let layout = layout(index, size);
        Self {
            memory,
            layout,
            table: DescriptorTable::new(memory, GuestAddress(layout.descriptor_table), size),
            avail: AvailRing::new(memory, GuestAddress(layout.driver_ring), size),
            used: UsedRing::new(memory, GuestAddress(layout.device_ring), size),
            seen: 0,
        }
    }

    /// Writes a descriptor.
    pub fn put(&self, index: u16, address: u64, len: u32, flags: u16, next: u16) {
        self.table.store(index, RawDescriptor::from(Descriptor::new(address, len, flags, next))).unwrap();
    }

    /// Makes the chain at `head` available.
    pub fn offer(&self, head: u16) {
        let index = self.avail.idx().load();
        self.avail.ring().ref_at(usize::from(index % self.layout.size)).unwrap().store(head);
        self.avail.idx().store(index.wrapping_add(1));
    }

    /// Makes a chain of one buffer available.
    pub fn offer_buffer(&self, head: u16, address: u64, len: u32, flags: u16) {
        self.put(head, address, len, flags, 0);
        self.offer(head);
    }

    /// Moves the available index without more ado.
    pub fn leap(&self, by: u16) {
        self.avail.idx().store(self.avail.idx().load().wrapping_add(by));
    }

    /// Chains completed since the last call: head and bytes written.
    pub fn take_used(&mut self) -> Vec<(u32, u32)> {
        let mut taken = Vec::new();
        let completed = self.used.idx().load().wrapping_sub(self.seen);
        assert!(
            completed <= self.layout.size,
            "the device completed {completed} chains, more than there can be"
        );
        while self.seen != self.used.idx().load() {
            let element = self.used.ring().ref_at(usize::from(self.seen % self.layout.size)).unwrap().load();
            taken.push((element.id(), element.len()));
            self.seen = self.seen.wrapping_add(1);
        }
        taken
    }

    /// Asks for an interrupt when the device completes chain number `at`.
    pub fn set_used_event(&self, at: u16) {
        let address = self.layout.driver_ring + 4 + 2 * u64::from(self.layout.size);
        self.memory.write_obj(at, GuestAddress(address)).unwrap();
    }

    /// The chain number at which the device asks to be notified.
    pub fn avail_event(&self) -> u16 {
        let address = self.layout.device_ring + 4 + 8 * u64::from(self.layout.size);
        self.memory.read_obj(GuestAddress(address)).unwrap()
    }

    pub fn set_no_interrupt(&self, no: bool) {
        self.memory.write_obj(u16::from(no), GuestAddress(self.layout.driver_ring)).unwrap();
    }

    pub fn no_notify(&self) -> bool {
        self.memory.read_obj::<u16>(GuestAddress(self.layout.device_ring)).unwrap() & 1 != 0
    }
}

/// Where queue number `index` lies.
pub fn layout(index: u16, size: u16) -> QueueLayout {
    let base = 0x1_0000 * (1 + u64::from(index));
    QueueLayout { size, descriptor_table: base, driver_ring: base + 0x4000, device_ring: base + 0x8000 }
}

pub fn layouts(queues: u16, size: u16) -> Vec<QueueLayout> {
    (0..queues).map(|index| layout(index, size)).collect()
}

/// A started device that went into service without a handshake.
pub fn adopted<D: VirtioDevice>(
    device: D,
    memory: &Memory,
    features: u64,
    size: u16,
) -> (Transport<D>, Arc<Edges>) {
    let edges = Arc::new(Edges::default());
    let mut transport = MmioTransport::new(device, Arc::clone(memory), edges.clone());
    transport.adopt(VERSION_1 | features, &layouts(transport.queue_count(), size)).unwrap();
    transport.start();
    (transport, edges)
}

pub fn read<D: VirtioDevice>(transport: &mut Transport<D>, register: Register) -> u32 {
    let mut word = [0xaa; 4];
    transport.read(register as u64, &mut word);
    u32::from_le_bytes(word)
}

pub fn write<D: VirtioDevice>(
    transport: &mut Transport<D>,
    register: Register,
    value: u32,
) -> Option<Notify> {
    transport.write(register as u64, &value.to_le_bytes())
}

/// Sets status bits in addition to those that are set, and returns all that then are.
pub fn set_status<D: VirtioDevice>(transport: &mut Transport<D>, bits: u32) -> u32 {
    let held = read(transport, Register::Status);
    assert_eq!(write(transport, Register::Status, held | bits), None);
    read(transport, Register::Status)
}

/// Up to and including FEATURES_OK; returns the status.
pub fn negotiate<D: VirtioDevice>(transport: &mut Transport<D>, features: u64) -> u32 {
    write(transport, Register::Status, 0);
    set_status(transport, status::ACKNOWLEDGE);
    set_status(transport, status::DRIVER);
    for (select, half) in [(0, features as u32), (1, (features >> 32) as u32)] {
        write(transport, Register::DriverFeaturesSel, select);
        write(transport, Register::DriverFeatures, half);
    }
    set_status(transport, status::FEATURES_OK)
}

/// Sets up one queue; returns QueueReady.
pub fn set_up_queue<D: VirtioDevice>(transport: &mut Transport<D>, index: u32, queue: &QueueLayout) -> u32 {
    write(transport, Register::QueueSel, index);
    write(transport, Register::QueueSize, u32::from(queue.size));
    for (low, high, address) in [
        (Register::QueueDescLow, Register::QueueDescHigh, queue.descriptor_table),
        (Register::QueueDriverLow, Register::QueueDriverHigh, queue.driver_ring),
        (Register::QueueDeviceLow, Register::QueueDeviceHigh, queue.device_ring),
    ] {
        write(transport, low, address as u32);
        write(transport, high, (address >> 32) as u32);
    }
    write(transport, Register::QueueReady, 1);
    read(transport, Register::QueueReady)
}
