//! Which device answers a port or an address.

use crate::handover::{NET, VOLUMES};
use crate::kvm::vcpu::{Flow, Ports};
use crate::kvm::vm::Vm;
use crate::machine::shared::{Console, Events, RngDevice, lock};
use crate::memory::GuestMemory;
use crate::network::NetDevice;
use crate::volumes::VolumeDevice;
use sentient_abi::PAGE_SIZE;
use sentient_abi::sentinel;
use sentient_devices::sentinel::{Sentinel, Signal};
use sentient_devices::serial::{COM1_BASE, COM1_LEN, Serial};
use std::sync::{Arc, Mutex};
use vm_memory::{Bytes, GuestAddress, GuestMemoryBackend};

/// The devices as the vCPU thread reaches them.
pub struct Bus {
    /// The sentinel device.
    pub sentinel: Sentinel,
    /// COM1.
    pub serial: Serial,
    /// The console, shared with the event loop.
    pub console: Arc<Mutex<Console>>,
    /// The entropy device, shared with the event loop.
    pub rng: Arc<Mutex<RngDevice>>,
    /// The network device, shared with its worker.
    pub net: Arc<Mutex<NetDevice>>,
    /// The volumes' device, shared with its worker.
    pub volumes: Arc<Mutex<VolumeDevice>>,
    /// Where signals of the guest go.
    pub events: Arc<Events>,
    /// RAM, some of which the guest may not have yet.
    pub ram: LateRam,
}

/// RAM that answers also where the guest was not given it yet.
pub struct LateRam {
    /// Who gives it.
    pub vm: Arc<Vm>,
    /// All of it.
    pub memory: GuestMemory,
}

impl Ports for Bus {
    fn read_port(&mut self, port: u16, data: &mut [u8]) {
        if within(port, sentinel::BASE, sentinel::LEN) {
            self.sentinel.read(port, data);
        } else if within(port, COM1_BASE, COM1_LEN) {
            self.serial.read((port - COM1_BASE) as u8, data);
        } else {
            // Nobody there: the bus floats high.
            data.fill(0xff);
        }
    }

    fn write_port(&mut self, port: u16, data: &[u8]) -> Flow {
        if within(port, sentinel::BASE, sentinel::LEN) {
            match self.sentinel.write(port, data) {
                Some(signal) => return self.take(signal),
                None => return Flow::Continue,
            }
        }
        if within(port, COM1_BASE, COM1_LEN)
            && let Err(error) = self.serial.write((port - COM1_BASE) as u8, data)
        {
            tracing::warn!(%error, "serial output");
        }
        Flow::Continue
    }

    fn read_address(&mut self, address: u64, data: &mut [u8]) {
        match device_at(address) {
            Some((0, offset)) => lock(&self.console).read(offset, data),
            Some((1, offset)) => lock(&self.rng).read(offset, data),
            Some((NET, offset)) => lock(&self.net).read(offset, data),
            Some((VOLUMES, offset)) => lock(&self.volumes).read(offset, data),
            _ => self.ram.read(address, data),
        }
    }

    fn write_address(&mut self, address: u64, data: &[u8]) -> Flow {
        let notified = match device_at(address) {
            Some((0, offset)) => lock(&self.console).write(offset, data).is_some(),
            Some((1, offset)) => lock(&self.rng).write(offset, data).is_some(),
            // Its worker takes its notifications; before there is one, there is nobody to tell.
            Some((NET, offset)) => {
                let _ = lock(&self.net).write(offset, data);
                false
            }
            Some((VOLUMES, offset)) => {
                let _ = lock(&self.volumes).write(offset, data);
                false
            }
            _ => {
                self.ram.write(address, data);
                false
            }
        };
        if notified {
            // Only where the doorbell's event descriptor did not take it: a write of another width.
            self.events.nudge();
        }
        Flow::Continue
    }
}

impl LateRam {
    fn read(&self, address: u64, data: &mut [u8]) {
        if !self.is_at(address) || self.memory.read_slice(data, GuestAddress(address)).is_err() {
            // Nobody there.
            data.fill(0xff);
        }
    }

    fn write(&self, address: u64, data: &[u8]) {
        if self.is_at(address) {
            // One that ends outside of RAM is written as far as there is some, as by a processor.
            let _ = self.memory.write_slice(data, GuestAddress(address));
        }
    }

    /// Whether there is RAM; the guest has all of it from then on.
    fn is_at(&self, address: u64) -> bool {
        let is_ram = self.memory.address_in_range(GuestAddress(address));
        if is_ram && let Err(error) = self.vm.give_all() {
            tracing::warn!(%error, "the guest was not given memory, and reaches it slowly");
        }
        is_ram
    }
}

impl Bus {
    fn take(&self, signal: Signal) -> Flow {
        match signal {
            Signal::Ready => {
                self.events.ready();
                Flow::Continue
            }
            Signal::Heartbeat => {
                self.events.heartbeat();
                Flow::Continue
            }
            Signal::AtRest => {
                self.events.is_at_rest();
                Flow::Leave
            }
            ended @ (Signal::Ended(_) | Signal::Panicked(_) | Signal::Violation { .. }) => {
                self.events.end(ended);
                Flow::Break
            }
        }
    }
}

/// Position and offset of the virtio device at an address.
fn device_at(address: u64) -> Option<(u64, u64)> {
    let offset = address.checked_sub(crate::handover::device_base(0))?;
    Some((offset / PAGE_SIZE, offset % PAGE_SIZE))
}

fn within(port: u16, base: u16, len: u16) -> bool {
    port.checked_sub(base).is_some_and(|offset| offset < len)
}
