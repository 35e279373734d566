//! A machine with a bridge and a network device behind it, as a driver sees them.

extern crate std;

use super::*;
use core::cell::RefCell;
use std::collections::HashMap;
use std::vec::Vec;

const BAR: u64 = 0x38_0000_0000;
const TABLE_BAR: u64 = 0xfebd_0000;
const BUFFERS: u64 = 0x80_0000;
const MESSAGE: (u64, u32) = (0xfee0_0000, 0x48);

/// What a device is like; the usual one, or one that something is wrong with.
#[derive(Clone, Copy)]
struct Likeness {
    offered: u64,
    queue_len: u16,
    has_vectors: bool,
    resets: bool,
    notify_len: u32,
}

const USUAL: Likeness = Likeness {
    offered: 1 << 32 | 1 << 5 | 1 << 15,
    queue_len: 256,
    has_vectors: true,
    resets: true,
    notify_len: 0x1000,
};

struct Machine {
    space: RefCell<HashMap<(u16, u8), u32>>,
    registers: RefCell<HashMap<(u64, u16), u64>>,
    likeness: Likeness,
}

const CARD: Function = Function { bus: 3, device: 0, function: 0 };

impl Machine {
    fn new(likeness: Likeness) -> Self {
        let mut space = HashMap::new();
        let bridge = Function { bus: 0, device: 5, function: 1 };
        let first = Function { function: 0, ..bridge };
        let mut put = |function: Function, words: &[(u8, u32)]| {
            space.extend(words.iter().map(|(register, word)| ((function.place(), *register), *word)));
        };
        put(first, &[(0, 0x1234_8086), (0x0c, 0x80_0000)]);
        put(bridge, &[(0, 0x000c_1b36), (0x0c, 0x01_0000), (0x18, 0x0003_0300)]);
        put(CARD, &[(0, 0x1041_1af4), (4, 0x10_0000), (0x0c, 0), (0x2c, 0x1100_1af4), (0x34, 0x40)]);
        put(
            CARD,
            &[(0x10, 0), (0x14, TABLE_BAR as u32), (0x20, BAR as u32 | 0xc), (0x24, (BAR >> 32) as u32)],
        );
        // MSI-X, then the common configuration, notification, the device's own.
        put(CARD, &[(0x40, 0x8002_5011), (0x44, 0x801), (0x48, 0xc01)]);
        put(CARD, &[(0x50, 0x0110_6009), (0x54, 4), (0x58, 0), (0x5c, 0x1000)]);
        put(CARD, &[(0x60, 0x0214_8009), (0x64, 4), (0x68, 0x3000), (0x6c, likeness.notify_len), (0x70, 4)]);
        put(CARD, &[(0x80, 0x0410_0009), (0x84, 4), (0x88, 0x2000), (0x8c, 0x1000)]);
        let registers = (0u64..).zip([0x52, 0x54, 0, 0x12, 0x34, 0x56, 1, 0]);
        let registers = registers.map(|(at, byte)| ((BAR + 0x2000 + at, 0), byte)).collect();
        Self { space: RefCell::new(space), registers: RefCell::new(registers), likeness }
    }

    fn find(&self) -> Option<Transport> {
        let mut found = None;
        pci::each(self, &mut |function, id| found = found.or_else(|| Transport::find(self, function, id)));
        found
    }

    fn queue(&self) -> u16 {
        self.get(BAR + common::QUEUE_SELECT) as u16
    }

    fn get(&self, address: u64) -> u64 {
        self.registers.borrow().get(&(address, 0)).copied().unwrap_or(0)
    }

    /// What a register of a queue was set to.
    fn of_queue(&self, number: u16, register: u64) -> u64 {
        self.registers.borrow().get(&(BAR + register, number + 1)).copied().unwrap_or(0)
    }

    fn put(&self, address: u64, value: u64) {
        let is_queues = (BAR + common::QUEUE_SIZE..BAR + common::LEN).contains(&address);
        let queue = if is_queues { self.queue() + 1 } else { 0 };
        self.registers.borrow_mut().insert((address, queue), value);
    }
}

impl Configuration for Machine {
    fn read(&self, function: Function, register: u8) -> u32 {
        let none = if register == 0 { u32::MAX } else { 0 };
        self.space.borrow().get(&(function.place(), register)).copied().unwrap_or(none)
    }

    fn write(&self, function: Function, register: u8, value: u32) {
        self.space.borrow_mut().insert((function.place(), register), value);
    }
}

impl Registers for Machine {
    fn read8(&self, address: u64) -> u8 {
        self.get(address) as u8
    }

    fn read16(&self, address: u64) -> u16 {
        let register = address - BAR;
        match register {
            common::QUEUE_SIZE => self.likeness.queue_len,
            common::QUEUE_VECTOR if !self.likeness.has_vectors => NO_VECTOR,
            common::QUEUE_NOTIFY_OFF => self.queue(),
            _ => self.of_queue(self.queue(), register) as u16,
        }
    }

    fn read32(&self, address: u64) -> u32 {
        assert_eq!(address, BAR + common::FEATURE);
        (self.likeness.offered >> (32 * self.get(BAR + common::FEATURE_SELECT))) as u32
    }

    fn write8(&self, address: u64, value: u8) {
        if value != 0 || self.likeness.resets {
            self.put(address, value.into());
        } else {
            self.put(address, 1);
        }
    }

    fn write16(&self, address: u64, value: u16) {
        self.put(address, value.into());
    }

    fn write32(&self, address: u64, value: u32) {
        self.put(address, value.into());
    }
}

#[test]
fn a_network_device_behind_a_bridge_is_found_and_made_ready() {
    let machine = Machine::new(USUAL);
    let transport = machine.find().unwrap_or_else(|| panic!("it is not found"));
    assert_eq!((transport.function, transport.kind), (CARD, DeviceKind::Net));
    let pages: Vec<_> = transport.registers().into_iter().flatten().map(|(range, _)| range.base).collect();
    assert_eq!(pages, [BAR, BAR + 0x3000, BAR + 0x2000, TABLE_BAR]);
    let user: Vec<_> =
        transport.registers().into_iter().flatten().map(|(_, allowed)| allowed & access::USER).collect();
    assert_eq!(user, [0, access::USER, 0, 0], "ring 3 has what queues are notified by, and nothing else");

    let found = transport.adopt(&machine, &machine, BUFFERS, Some(MESSAGE));
    let (found, _) = found.unwrap_or_else(|| panic!("not ready"));
    assert!(found.is(DeviceKind::Net) && found.queue_len == queues::SIZE);
    assert_eq!(found.doorbells, [BAR + 0x3000, BAR + 0x3004]);
    assert_eq!(found.config[..6], [0x52, 0x54, 0, 0x12, 0x34, 0x56]);
    for (number, page) in (0..).zip([queues::NET_RECEIVE, queues::NET_TRANSMIT]) {
        let page = BUFFERS + page * queues::STRIDE;
        let places = [common::QUEUE_DESC, common::QUEUE_DRIVER, common::QUEUE_DEVICE];
        let places = places.map(|register| machine.of_queue(number, register));
        assert_eq!(places, [page, page + queues::DRIVER_AREA, page + queues::DEVICE_AREA]);
        assert_eq!(machine.of_queue(number, common::QUEUE_ENABLE), 1);
    }
    assert_eq!(machine.get(BAR + common::STATUS), 15);
    assert_eq!(machine.get(TABLE_BAR + 0x800), MESSAGE.0);
    assert_eq!(machine.get(TABLE_BAR + 0x808), u64::from(MESSAGE.1));
    let configuration = |register| Configuration::read(&machine, CARD, register);
    assert_eq!(configuration(0x40) >> 30, 2, "messages are in use, and not masked");
    assert_eq!(configuration(4) & 0x406, 0x406, "it answers, reads and writes memory, and raises no pin");
}

#[test]
fn a_device_that_does_not_do_what_it_should_is_left_alone() {
    let wrong = [
        Likeness { offered: 1 << 5, ..USUAL },
        Likeness { queue_len: 0, ..USUAL },
        Likeness { queue_len: 48, ..USUAL },
        Likeness { has_vectors: false, ..USUAL },
        Likeness { resets: false, ..USUAL },
        Likeness { notify_len: 4, ..USUAL },
    ];
    for likeness in wrong {
        let machine = Machine::new(likeness);
        let transport = machine.find().unwrap_or_else(|| panic!("it is not found"));
        assert_eq!(transport.adopt(&machine, &machine, BUFFERS, Some(MESSAGE)), None);
        assert_ne!(machine.get(BAR + common::STATUS), 15);
    }
}

#[test]
fn a_list_of_capabilities_without_an_end_and_one_that_leads_nowhere_are_left() {
    let machine = Machine::new(USUAL);
    machine.write(CARD, 0x80, 0x0410_5009);
    assert!(machine.find().is_some(), "what is there is found all the same");
    machine.write(CARD, 0x40, 0x0002_0011);
    assert_eq!(machine.find(), None);
    machine.write(CARD, 4, 0);
    assert_eq!(machine.find(), None);
}
