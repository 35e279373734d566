//! The hostile guest: what it reads its moves from, what it moves, and what it moves against.

use std::io;
use std::sync::Arc;

use sentient_abi::exit::ContainerEnd;
use sentient_abi::network::FRAME_LEN;
use sentient_abi::stdio::{FrameHeader, FrameKind, STATUS_LEN};
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{Bytes, GuestAddress, GuestMemoryMmap, VolatileSlice};

use crate::interrupt::Interrupt;
use crate::lifecycle::Lifecycle;
use crate::virtio::device::VirtioDevice;
use crate::virtio::gate::Gate;
use crate::virtio::mmio::MmioTransport;
use crate::virtio::mmio::registers::{Register, status};
use crate::virtio::mmio::state::QueueLayout;
use crate::virtio::net::Cable;
use crate::virtio::rng::Entropy;
use crate::virtio::slices::total_len;
use crate::virtio::stdio_mux::{Stream, StreamSink, Written};

/// Containers of the fuzzed machine.
pub(super) const CONTAINERS: u32 = 3;
/// Entries of each fuzzed queue.
const QUEUE_SIZE: u16 = 8;
/// Guest memory: two ranges with a hole between them.
const RANGES: [(GuestAddress, usize); 2] = [(GuestAddress(0), 0x8000), (GuestAddress(0x1_0000), 0x4000)];

/// The bytes that are left; they read as zero when they are used up.
pub(super) struct Input<'a>(pub(super) &'a [u8]);

impl Input<'_> {
    pub(super) fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        let (now, later) = self.0.split_at(N.min(self.0.len()));
        bytes.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
        self.0 = later;
        bytes
    }

    pub(super) fn u8(&mut self) -> u8 {
        let [byte] = self.array();
        byte
    }

    pub(super) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.array())
    }

    pub(super) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.array())
    }

    pub(super) fn slice(&mut self, len: usize) -> Vec<u8> {
        let (now, later) = self.0.split_at(len.min(self.0.len()));
        self.0 = later;
        now.to_vec()
    }

    /// An address that is often one in memory, at an edge of it, or at the end of the address space.
    pub(super) fn address(&mut self) -> u64 {
        let near = u64::from(self.u16());
        match self.u8() % 8 {
            0..=4 => near % 0x8000,
            5 => 0x8000 - near % 64,
            6 => 0x1_0000 + near,
            _ => u64::MAX - near,
        }
    }
}

/// An interrupt nobody takes.
pub(super) struct Ignored;

impl Interrupt for Ignored {
    fn raise(&self) -> io::Result<()> {
        Ok(())
    }
}

/// A sink and an entropy source that now and then refuse, in a pattern of their own.
#[derive(Default)]
pub(super) struct Moody {
    pub(super) calls: u32,
    pub(super) taken: Vec<(u32, Stream, Vec<u8>)>,
    /// Takes everything, for a reference run.
    pub(super) even: bool,
}

impl StreamSink for Moody {
    fn write<B: BitmapSlice>(
        &mut self,
        container: u32,
        stream: Stream,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Written {
        assert!(total_len(bytes) > 0, "a sink is never asked to take nothing");
        self.calls = self.calls.wrapping_add(1);
        let limit = match self.calls % 5 {
            _ if self.even => usize::MAX,
            0 => return Written::WouldBlock,
            1 => 3,
            2 => 1,
            _ => usize::MAX,
        };
        let mut copy = Vec::new();
        for slice in bytes {
            let mut part = vec![0; slice.len()];
            slice.copy_to(&mut part);
            copy.extend(part);
        }
        copy.truncate(limit);
        let len = copy.len();
        match self.taken.last_mut() {
            Some((last, same, bytes)) if (*last, *same) == (container, stream) => bytes.extend(copy),
            _ => self.taken.push((container, stream, copy)),
        }
        Written::Accepted(len)
    }
}

impl Entropy for Moody {
    fn fill(&mut self, bytes: &mut [u8]) -> io::Result<()> {
        self.calls = self.calls.wrapping_add(1);
        if self.calls.is_multiple_of(64) {
            return Err(io::Error::other("dry"));
        }
        bytes.fill(0x5a);
        Ok(())
    }
}

impl Cable for Moody {
    fn send(&mut self, frame: Vec<u8>) {
        assert!((1..=FRAME_LEN).contains(&frame.len()), "{} bytes are no frame", frame.len());
        self.calls = self.calls.wrapping_add(1);
    }

    fn has_frame(&self) -> bool {
        !self.calls.is_multiple_of(3)
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.calls = self.calls.wrapping_add(1);
        self.has_frame().then(|| vec![0x5a; self.calls as usize % FRAME_LEN])
    }

    fn unplug(&mut self) {}
}

/// A gate that lets everything out, or nothing.
struct Always(bool);

impl Gate for Always {
    fn prepare(&self) {}

    fn opens(&self) -> bool {
        self.0
    }
}

pub(super) type Transport<D> = MmioTransport<D, Arc<GuestMemoryMmap>>;

/// A transport on the fuzzed memory, adopted by a well-behaved driver to begin with.
pub(super) fn machine<D: VirtioDevice>(device: D) -> Option<(Transport<D>, Arc<GuestMemoryMmap>)> {
    let memory = Arc::new(GuestMemoryMmap::<()>::from_ranges(&RANGES).ok()?);
    let mut transport = MmioTransport::new(device, Arc::clone(&memory), Arc::new(Ignored));
    transport.adopt(transport.offered_features(), &layouts(transport.queue_count())).ok()?;
    transport.start();
    Some((transport, memory))
}

fn layouts(queues: u16) -> Vec<QueueLayout> {
    let layout = |queue| {
        let base = 0x1000 * (1 + u64::from(queue));
        QueueLayout {
            size: QUEUE_SIZE,
            descriptor_table: base,
            driver_ring: base + 0x400,
            device_ring: base + 0x800,
        }
    };
    (0..queues).map(layout).collect()
}

/// One step of a hostile driver, or of the machine.
pub(super) fn step<D: VirtioDevice>(
    input: &mut Input<'_>,
    transport: &mut Transport<D>,
    memory: &GuestMemoryMmap,
) where
    D::State: PartialEq + std::fmt::Debug,
{
    let choice = input.u8();
    let queue = u16::from(input.u8()) % (transport.queue_count() + 1);
    let ring = 0x1000 * (1 + u64::from(queue));
    // Writes outside of the fuzzed memory fail, which is as good as any other outcome.
    match choice % 16 {
        0 => {
            let (offset, width) = (u64::from(input.u16()) % 0x200, usize::from(input.u8()) % 9);
            let data = input.slice(width);
            let _ = transport.write(offset, &data);
            transport.read(offset, &mut vec![0; width]);
        }
        1 | 2 => {
            let register = Register::ALL.get(usize::from(input.u8()) % Register::ALL.len());
            let value = if choice & 0x80 == 0 { u32::from(input.u8()) } else { input.u32() };
            let _ = register.map(|register| transport.write(*register as u64, &value.to_le_bytes()));
        }
        3 => {
            // The whole handshake, with addresses of the guest's choice.
            let set = |transport: &mut Transport<D>, register: Register, value: u32| {
                let _ = transport.write(register as u64, &value.to_le_bytes());
            };
            let mut held = 0;
            for bit in [0, status::ACKNOWLEDGE, status::DRIVER] {
                held |= bit;
                set(transport, Register::Status, held);
            }
            for select in [0, 1] {
                set(transport, Register::DriverFeaturesSel, select);
                let offered = (transport.offered_features() >> (32 * select)) as u32;
                set(transport, Register::DriverFeatures, offered);
            }
            set(transport, Register::Status, held | status::FEATURES_OK);
            for index in 0..transport.queue_count() {
                set(transport, Register::QueueSel, u32::from(index));
                set(transport, Register::QueueSize, u32::from(QUEUE_SIZE));
                let addresses = [Register::QueueDescLow, Register::QueueDriverLow, Register::QueueDeviceLow];
                for register in addresses {
                    set(transport, register, (input.address() & !0xf) as u32);
                }
                set(transport, Register::QueueReady, 1);
            }
            set(transport, Register::Status, held | status::FEATURES_OK | status::DRIVER_OK);
        }
        4 => {
            let (address, len) = (input.address(), usize::from(input.u8()) % 64);
            let _ = memory.write(&input.slice(len), GuestAddress(address));
        }
        5..=8 => {
            // A descriptor.
            let index = u64::from(input.u8()) % u64::from(QUEUE_SIZE);
            let (address, flags, next) = (input.address(), input.u8() & 7, input.u8() % 10);
            let len = if choice & 0x80 == 0 { u32::from(input.u8()) } else { input.u32() };
            let at = GuestAddress(ring + 16 * index);
            let _ = memory.write_obj(address, at);
            let _ = memory.write_obj(len, GuestAddress(at.0 + 8));
            let _ = memory.write_obj(u16::from(flags), GuestAddress(at.0 + 12));
            let _ = memory.write_obj(u16::from(next), GuestAddress(at.0 + 14));
        }
        9 | 10 => {
            // An entry of the available ring, and its index; now and then a leap.
            let (head, ahead) = (input.u8() % 10, input.u8());
            let index: u16 = memory.read_obj(GuestAddress(ring + 0x402)).unwrap_or(0);
            let slot = u64::from(index % QUEUE_SIZE);
            let _ = memory.write_obj(u16::from(head), GuestAddress(ring + 0x404 + 2 * slot));
            let leap = if ahead > 250 { u16::from(ahead) } else { 1 };
            let _ = memory.write_obj(index.wrapping_add(leap), GuestAddress(ring + 0x402));
        }
        11 | 12 => {
            let gate = || -> Arc<dyn Gate> { Arc::new(Always(choice & 0x80 != 0)) };
            transport.set_gate((choice & 0x40 != 0).then(gate));
            let _ = transport.notify(queue);
        }
        13 => {
            transport.pause();
            let state = transport.save();
            assert_eq!(transport.restore(&state), Ok(()), "a device takes its own state");
            assert_eq!(transport.save(), state, "restoring a state leaves nothing out");
            transport.resume();
            let _ = transport.work();
        }
        14 => {
            let mut state = transport.save();
            state.status = input.u32() & 0xff;
            state.driver_features = u64::from(input.u32()) << 16;
            if let Some(slot) = state.queues.get_mut(usize::from(queue)) {
                slot.size = u32::from(input.u16());
                slot.device_ring = input.address();
                slot.next_available = input.u16();
                slot.ready = input.u8() & 1 != 0;
            }
            let before = transport.save();
            if transport.restore(&state).is_err() {
                assert_eq!(transport.save(), before, "a refused state changes nothing");
            }
        }
        _ => {
            // The machine boots anew, with rings as new.
            transport.reset();
            let queues = layouts(transport.queue_count());
            for queue in &queues {
                let _ = memory.write(&[0; 0xc00], GuestAddress(queue.descriptor_table));
            }
            assert_eq!(transport.adopt(transport.offered_features(), &queues), Ok(()));
            let _ = transport.work();
        }
    }
}

/// A header that is mostly sound.
pub(super) fn frame(input: &mut Input<'_>) -> FrameHeader {
    let kind = match input.u8() % 17 {
        0..=5 => FrameKind::Stdout,
        6..=7 => FrameKind::Stderr,
        8..=10 => FrameKind::Window,
        11 => FrameKind::Log,
        12 => FrameKind::Started,
        13 => FrameKind::Ended,
        14 => FrameKind::Refused,
        15 => FrameKind::Status,
        _ => FrameKind::Stdin,
    };
    let len = match kind {
        FrameKind::Window | FrameKind::Started | FrameKind::Ended => 0,
        FrameKind::Status => STATUS_LEN,
        _ => u32::from(input.u8()),
    };
    let (container, number) = (u32::from(input.u8()) % CONTAINERS, u32::from(input.u16()));
    let argument = match kind {
        FrameKind::Ended => ContainerEnd::Exited(number).encode(),
        _ => number,
    };
    FrameHeader { kind, container, len, argument }
}
