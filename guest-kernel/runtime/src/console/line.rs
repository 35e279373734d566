//! The console of somebody else's VMM: a virtio console on PCI (virtio 1.3, 5.3), of which the first port is used, as a line that
//! bytes come and go on.

use crate::machine::Machine;
use crate::virtqueue::{Used, VirtQueue};
use crate::{clock, devices, heap};
use alloc::collections::VecDeque;
use sentient_abi::PAGE_SIZE;
use sentient_abi::layout::queues;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::RegionKind;
use spin::Mutex;

/// Buffers in each direction, a page each.
const BUFFERS: u16 = 8;

/// How long a host that takes nothing is waited for, in nanoseconds; then what is said is lost.
const PATIENCE_NS: u64 = 100_000_000;

struct Line {
    receive: VirtQueue,
    transmit: VirtQueue,
    /// Where the buffers are: those for what comes, then those for what goes.
    buffers: u64,
    /// Buffers that the device has not got, for what goes.
    free: VecDeque<u16>,
    /// What was typed and nobody has asked for.
    typed: VecDeque<u8>,
    /// The host takes nothing: nobody waits for it again until it does.
    is_deaf: bool,
}

static LINE: Mutex<Option<Line>> = Mutex::new(None);

/// Takes over the machine's console, if it has one and is not ours.
pub fn start(machine: &Machine) {
    *LINE.lock() = Line::find(machine);
}

/// Says something there, if there is one.
pub fn say(bytes: &[u8]) {
    heap::in_runtime(|| {
        let mut line = LINE.lock();
        let Some(line) = line.as_mut() else { return };
        bytes.chunks(PAGE_SIZE as usize).for_each(|chunk| line.send(chunk));
    });
}

/// A byte that was typed there, if one was.
pub fn typed() -> Option<u8> {
    heap::in_runtime(|| {
        let mut line = LINE.lock();
        let line = line.as_mut()?;
        while let Some(used) = line.receive.take_used() {
            line.take(used);
        }
        line.typed.pop_front()
    })
}

impl Line {
    fn find(machine: &Machine) -> Option<Self> {
        let device = devices::find(machine, DeviceKind::Console).filter(|_| machine.info.is_none())?;
        let region = machine.region(RegionKind::DeviceBuffers)?;
        // SAFETY: these pages are the console's, which is used here alone where it is not ours.
        let (receive, transmit) = unsafe {
            (device.queue(machine, DeviceKind::Console, 0)?, device.queue(machine, DeviceKind::Console, 1)?)
        };
        let count = BUFFERS.min(receive.len()).min(transmit.len());
        let mut line = Self {
            receive,
            transmit,
            buffers: region.base + queues::COUNT * queues::STRIDE,
            free: (0..count).collect(),
            typed: VecDeque::new(),
            is_deaf: false,
        };
        line.receive.want_interrupts(false);
        line.transmit.want_interrupts(false);
        for id in 0..count {
            line.expect(id);
        }
        line.receive.notify();
        Some(line)
    }

    /// Gives the device a buffer for what comes.
    fn expect(&mut self, id: u16) {
        let at = self.buffers + u64::from(id) * PAGE_SIZE;
        // SAFETY: a page of the region that is this buffer's, which nobody reads while the device has it.
        unsafe { self.receive.offer(id, at, PAGE_SIZE as u32, true) }
    }

    fn take(&mut self, Used { id, len }: Used) {
        let id = id % BUFFERS;
        let at = self.buffers + u64::from(id) * PAGE_SIZE;
        let len = u64::from(len).min(PAGE_SIZE) as usize;
        // SAFETY: within the buffer, which the device has given back.
        let bytes = unsafe { core::slice::from_raw_parts(at as *const u8, len) };
        self.typed.extend(bytes);
        self.expect(id);
        self.receive.notify();
    }

    fn send(&mut self, bytes: &[u8]) {
        let Some(id) = self.free_buffer() else { return };
        let at = self.buffers + u64::from(BUFFERS + id) * PAGE_SIZE;
        // SAFETY: a page of the region that is this buffer's, which the device has not got; a chunk is no longer than that.
        unsafe {
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), at as *mut u8, bytes.len());
            self.transmit.offer(id, at, bytes.len() as u32, false);
        }
        self.transmit.notify();
    }

    /// A buffer for what goes, once the device has given one back.
    fn free_buffer(&mut self) -> Option<u16> {
        let begun = clock::monotonic_ns();
        loop {
            while let Some(used) = self.transmit.take_used() {
                self.free.push_back(used.id % BUFFERS);
                self.is_deaf = false;
            }
            if let Some(id) = self.free.pop_front() {
                return Some(id);
            }
            if self.is_deaf || clock::monotonic_ns().saturating_sub(begun) > PATIENCE_NS {
                self.is_deaf = true;
                return None;
            }
            core::hint::spin_loop();
        }
    }
}
