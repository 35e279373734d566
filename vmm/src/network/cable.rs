//! The cable between the guest's network device and the gateway.

use super::Shared;
use sentient_abi::network::FRAME_LEN;
use sentient_devices::virtio::net::Cable;
use smoltcp::phy::{Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::time::Instant;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most frames on their way in each direction: what a queue of the device holds, four times.
const FRAMES: usize = 256;

/// Both directions.
#[derive(Debug)]
pub struct Link {
    from_guest: VecDeque<Vec<u8>>,
    to_guest: VecDeque<Vec<u8>>,
    /// Since this was last looked at.
    unplugged: bool,
    /// Whom to wake at the host's end.
    shared: Arc<Shared>,
}

impl Link {
    /// A cable with nothing on it.
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        Self { from_guest: VecDeque::new(), to_guest: VecDeque::new(), unplugged: false, shared }
    }

    /// Whether it was pulled out since the last call.
    pub fn take_unplugged(&mut self) -> bool {
        std::mem::take(&mut self.unplugged)
    }
}

impl Cable for Link {
    fn send(&mut self, frame: Vec<u8>) {
        if self.from_guest.len() < FRAMES {
            self.from_guest.push_back(frame);
        }
    }

    fn has_frame(&self) -> bool {
        !self.to_guest.is_empty()
    }

    fn receive(&mut self) -> Option<Vec<u8>> {
        self.to_guest.pop_front()
    }

    fn unplug(&mut self) {
        self.from_guest.clear();
        self.to_guest.clear();
        self.unplugged = true;
        self.shared.wake();
    }

    fn resumed(&mut self) {
        self.shared.wake();
    }
}

impl Device for Link {
    type RxToken<'a> = Arrived;
    type TxToken<'a> = Leaving<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Arrived, Leaving<'_>)> {
        let frame = self.from_guest.pop_front()?;
        Some((Arrived(frame), Leaving(&mut self.to_guest)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Leaving<'_>> {
        (self.to_guest.len() < FRAMES).then_some(Leaving(&mut self.to_guest))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = FRAME_LEN;
        capabilities
    }
}

/// A frame of the guest's.
pub struct Arrived(Vec<u8>);

impl RxToken for Arrived {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, take: F) -> R {
        take(&self.0)
    }
}

/// Room for a frame to the guest. An answer to a frame may go beyond [`FRAMES`]: there are no more of them than those.
pub struct Leaving<'a>(&'a mut VecDeque<Vec<u8>>);

impl TxToken for Leaving<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, len: usize, fill: F) -> R {
        let mut frame = vec![0; len];
        let result = fill(&mut frame);
        if self.0.len() < 2 * FRAMES {
            self.0.push_back(frame);
        }
        result
    }
}
