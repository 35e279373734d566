//! The driver of the network device, whose queues are set up already by whoever has found it: frames as they lie in its buffers.

use super::e1000e::{Card, Ring};
use crate::devices::{self, Device};
use crate::machine::Machine;
use crate::virtqueue::{Used, VirtQueue};
use alloc::collections::VecDeque;
use alloc::vec::Vec;
use sentient_abi::layout::queues;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::network::{BUFFER_LEN, ETHERNET_LEN, FRAME_LEN, GUEST_HARDWARE, HEADER_LEN};
use sentient_abi::region::RegionKind;
use smoltcp::phy::{self, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

/// Buffers in each direction, each of them a page. They lie at the end of the region.
const BUFFERS: u16 = 32;
/// Bytes of all of them.
const BUFFERS_LEN: u64 = 2 * BUFFERS as u64 * BUFFER_LEN as u64;

/// Longest frame of networks that are not ours (IEEE 802.3, 3.2.7).
const USUAL_FRAME_LEN: usize = ETHERNET_LEN + 1500;

/// Most frames that wait.
const MAX_HELD: usize = 128;

/// Frames that have come.
struct Arriving {
    queue: Queue,
    base: u64,
    /// Frames that came before, to be looked at once more, and those that wait for that.
    again: VecDeque<Vec<u8>>,
    held: VecDeque<Vec<u8>>,
    /// The next one, once it was looked at.
    next: Option<Used>,
    /// Buffers were given back of which the device was not told.
    given: bool,
}

/// Frames that leave.
struct Departing {
    queue: Queue,
    base: u64,
    /// Buffers the device has not got.
    free: Vec<u16>,
    given: bool,
}

/// The cable.
pub struct Cable {
    arriving: Arriving,
    departing: Departing,
    /// The device at our end.
    pub device: Device,
    /// Its hardware address.
    pub hardware: [u8; 6],
    /// Longest frame.
    frame_len: usize,
}

/// The two queues of a device, and what is known of it.
struct Ends {
    receive: Queue,
    transmit: Queue,
    hardware: [u8; 6],
    frame_len: usize,
    device: Device,
}

impl Ends {
    /// Of the machine's device: a virtio one if it has one, or else a card.
    fn find(machine: &Machine) -> Option<Self> {
        let Some(device) = devices::find(machine, DeviceKind::Net) else { return Self::of_card(machine) };
        // SAFETY: these pages are the network's, and used here alone.
        let (receive, transmit) = unsafe {
            (device.queue(machine, DeviceKind::Net, 0)?, device.queue(machine, DeviceKind::Net, 1)?)
        };
        let (hardware, frame_len) = match device.config().and_then(|config| config.first_chunk().copied()) {
            Some(own) => (own, USUAL_FRAME_LEN),
            None => (GUEST_HARDWARE, FRAME_LEN),
        };
        let (receive, transmit) = (Queue::Virtio(receive), Queue::Virtio(transmit));
        Some(Self { receive, transmit, hardware, frame_len, device })
    }

    fn of_card(machine: &Machine) -> Option<Self> {
        let device = devices::find(machine, DeviceKind::E1000e)?;
        let region = machine.region(RegionKind::DeviceBuffers)?;
        let page = |queue: u64| region.base + queue * queues::STRIDE;
        // SAFETY: the nucleus has found a card there, and mapped its registers; the pages are the network's, and used here alone.
        let (card, (receive, transmit)) = unsafe {
            let card = Card::start(device.registers()?)?;
            (card, card.rings(page(queues::NET_RECEIVE), page(queues::NET_TRANSMIT)))
        };
        let (receive, transmit) = (Queue::Card(receive), Queue::Card(transmit));
        Some(Self { receive, transmit, hardware: card.hardware(), frame_len: USUAL_FRAME_LEN, device })
    }
}

/// A queue of a device.
enum Queue {
    Virtio(VirtQueue),
    Card(Ring),
}

impl Queue {
    fn len(&self) -> u16 {
        match self {
            Self::Virtio(queue) => queue.len(),
            Self::Card(ring) => ring.len(),
        }
    }

    /// Bytes before each frame in a buffer.
    fn header_len(&self) -> usize {
        match self {
            Self::Virtio(_) => HEADER_LEN,
            Self::Card(_) => 0,
        }
    }

    /// Gives the device a buffer.
    ///
    /// # Safety
    /// As [`VirtQueue::offer`] and [`Ring::offer`] have it.
    unsafe fn offer(&mut self, id: u16, at: u64, len: u32, writable: bool) {
        // SAFETY: the caller's contract.
        unsafe {
            match self {
                Self::Virtio(queue) => queue.offer(id, at, len, writable),
                Self::Card(ring) => ring.offer(id, at, len, writable),
            }
        }
    }

    fn notify(&mut self) {
        match self {
            Self::Virtio(queue) => queue.notify(),
            Self::Card(ring) => ring.notify(),
        }
    }

    fn has_used(&self) -> bool {
        match self {
            Self::Virtio(queue) => queue.has_used(),
            Self::Card(ring) => ring.has_used(),
        }
    }

    fn take_used(&mut self) -> Option<Used> {
        match self {
            Self::Virtio(queue) => queue.take_used(),
            Self::Card(ring) => ring.take_used(),
        }
    }

    fn want_interrupts(&mut self, wanted: bool) {
        match self {
            Self::Virtio(queue) => queue.want_interrupts(wanted),
            Self::Card(ring) => ring.want_interrupts(wanted),
        }
    }
}

impl Cable {
    /// The machine's, with all buffers at the device; `None` if it has none. Called once.
    pub fn find(machine: &Machine) -> Option<Self> {
        let region = machine.region(RegionKind::DeviceBuffers)?;
        let Ends { receive, transmit, hardware, frame_len, device } = Ends::find(machine)?;
        let buffers = BUFFERS.min(receive.len()).min(transmit.len());
        let base = region.base + region.len - BUFFERS_LEN;
        let departing = base + BUFFERS_LEN / 2;
        let mut cable = Self {
            arriving: Arriving {
                queue: receive,
                base,
                again: VecDeque::new(),
                held: VecDeque::new(),
                next: None,
                given: false,
            },
            departing: Departing {
                queue: transmit,
                base: departing,
                free: (0..buffers).collect(),
                given: false,
            },
            device,
            hardware,
            frame_len,
        };
        cable.want_interrupts(false);
        for id in 0..buffers {
            cable.arriving.offer(id);
        }
        cable.tell();
        Some(cable)
    }

    /// The frame that comes next.
    pub fn peek(&mut self) -> Option<&[u8]> {
        self.arriving.frame()
    }

    /// Lets the frame that comes next wait, until [`look_again`](Self::look_again). Without room for it, it is lost.
    pub fn hold(&mut self) {
        let arriving = &mut self.arriving;
        let frame = arriving.frame().map(<[u8]>::to_vec);
        arriving.held.extend(frame.filter(|_| arriving.held.len() < MAX_HELD));
        arriving.give_back();
    }

    /// Frames that wait come next.
    pub fn look_again(&mut self) {
        self.arriving.again.append(&mut self.arriving.held);
    }

    /// Whether a frame has come, or there is room again where there was none.
    pub fn has_news(&self) -> bool {
        self.arriving.next.is_some()
            || !self.arriving.again.is_empty()
            || self.arriving.queue.has_used()
            || (self.departing.free.is_empty() && self.departing.queue.has_used())
    }

    /// Whether there is no room for a frame.
    pub fn is_full(&mut self) -> bool {
        !self.departing.has_room()
    }

    /// Has the device interrupt for news, or not.
    pub fn want_interrupts(&mut self, wanted: bool) {
        self.arriving.queue.want_interrupts(wanted);
        self.departing.queue.want_interrupts(wanted && self.departing.free.is_empty());
    }

    /// Tells the device of all it was given since the last time.
    pub fn tell(&mut self) {
        if core::mem::take(&mut self.arriving.given) {
            self.arriving.queue.notify();
        }
        if core::mem::take(&mut self.departing.given) {
            self.departing.queue.notify();
        }
    }
}

impl Arriving {
    fn offer(&mut self, id: u16) {
        let at = self.at(id);
        // SAFETY: a buffer of the region that nobody reads while the device has it; its id is the device's no more.
        unsafe { self.queue.offer(id, at, BUFFER_LEN as u32, true) }
        self.given = true;
    }

    /// The next frame was read: its buffer goes back.
    fn give_back(&mut self) {
        if self.again.pop_front().is_some() {
            return;
        }
        if let Some(Used { id, .. }) = self.next.take() {
            self.offer(id);
        }
    }

    fn at(&self, id: u16) -> u64 {
        self.base + u64::from(id % BUFFERS) * BUFFER_LEN as u64
    }

    fn frame(&mut self) -> Option<&[u8]> {
        if !self.again.is_empty() {
            return self.again.front().map(Vec::as_slice);
        }
        if self.next.is_none() {
            self.next = self.queue.take_used();
        }
        let Used { id, len } = self.next?;
        let header = self.queue.header_len();
        let len = (len as usize).min(BUFFER_LEN).saturating_sub(header);
        let at = self.at(id) + header as u64;
        // SAFETY: within the buffer, which is ours until it is offered again, when `self` is borrowed anew.
        Some(unsafe { core::slice::from_raw_parts(at as *const u8, len) })
    }
}

impl Departing {
    fn has_room(&mut self) -> bool {
        while let Some(used) = self.queue.take_used() {
            self.free.push(used.id % BUFFERS);
        }
        !self.free.is_empty()
    }
}

impl phy::Device for Cable {
    type RxToken<'a> = Arrived<'a>;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived<'_>, Leaving<'_>)> {
        // A frame may have to be answered.
        if !self.departing.has_room() {
            return None;
        }
        self.arriving.frame()?;
        Some((Arrived(&mut self.arriving), Leaving(&mut self.departing)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        self.departing.has_room().then_some(Leaving(&mut self.departing))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = self.frame_len;
        capabilities
    }
}

/// A frame that has come. Its buffer goes back when it was read.
pub struct Arrived<'a>(&'a mut Arriving);

impl phy::RxToken for Arrived<'_> {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        let result = take(self.0.frame().unwrap_or_default());
        self.0.give_back();
        result
    }
}

/// A buffer for a frame.
pub struct Leaving<'a>(&'a mut Departing);

impl phy::TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let Self(departing) = self;
        let len = len.min(FRAME_LEN);
        let header = departing.queue.header_len();
        // There is one: the token was made after a look.
        let id = departing.free.pop().unwrap_or(0);
        let at = departing.base + u64::from(id) * BUFFER_LEN as u64;
        // SAFETY: header and frame lie within a buffer that the device has not got.
        let result = unsafe {
            core::ptr::write_bytes(at as *mut u8, 0, header);
            fill(core::slice::from_raw_parts_mut((at + header as u64) as *mut u8, len))
        };
        // SAFETY: as above; nobody writes to it until the device has given it back.
        unsafe { departing.queue.offer(id, at, (header + len) as u32, false) }
        departing.given = true;
        result
    }
}
