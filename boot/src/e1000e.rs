//! Network cards of the family of Intel's 82574 (datasheet 317694, chapter 10), which PCs have: found, for a driver in ring 3 that has
//! their registers.

use crate::pci::{self, Configuration, Function, Id};
use sentient_abi::found::FoundDevice;
use sentient_abi::layout::RamRange;
use sentient_abi::machine_info::DeviceKind;
use sentient_abi::region::access;

/// Who makes them.
const INTEL: u16 = 0x8086;

/// The cards, by what Intel calls them: 82574 and 82583; and those beside a chip set's network, I217 to I219, of which the registers that
/// are used here are the same.
const CARDS: [u16; 32] = [
    0x10d3, 0x10f6, 0x150c, // 82574L, 82574LA, 82583V
    0x153a, 0x153b, 0x155a, 0x1559, 0x15a0, 0x15a1, 0x15a2, 0x15a3, // I217, I218
    0x156f, 0x1570, 0x15b7, 0x15b8, 0x15b9, 0x15d6, 0x15d7, 0x15d8,
    0x15e3, // I219, with 6th and 7th generations
    0x15bb, 0x15bc, 0x15bd, 0x15be, 0x0d4c, 0x0d4d, 0x0d4e, 0x0d4f, 0x0d53, 0x0d55, 0x15fb,
    0x15fc, // 8th to 11th
];

/// Bytes of registers.
const REGISTERS_LEN: u64 = 128 << 10;

/// A card that was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Card {
    /// Where it is.
    pub function: Function,
    registers: u64,
}

impl Card {
    /// The card, if a function is one.
    #[must_use]
    pub fn find(space: &impl Configuration, function: Function, id: Id) -> Option<Self> {
        let is_one = id.vendor == INTEL && CARDS.contains(&id.device);
        let registers = pci::memory(space, function, 0).filter(|_| is_one)?;
        // It says that it cannot have less.
        (registers % REGISTERS_LEN == 0).then_some(Self { function, registers })
    }

    /// What is to be mapped for it.
    #[must_use]
    pub fn registers(&self) -> (RamRange, u32) {
        (RamRange { base: self.registers, len: REGISTERS_LEN }, access::WRITE | access::USER)
    }

    /// Has it answer, and interrupt by the message `data` to `address`. It does nothing until its driver has it do so. `None` if it
    /// knows no messages.
    #[must_use]
    pub fn adopt(&self, space: &impl Configuration, message: (u64, u32)) -> Option<FoundDevice> {
        pci::enable(space, self.function);
        pci::interrupt_by_message(space, self.function, message).then(|| FoundDevice {
            doorbells: [self.registers, 0],
            kind: DeviceKind::E1000e as u32,
            place: self.function.place(),
            ..FoundDevice::default()
        })
    }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use core::cell::RefCell;
    use std::collections::HashMap;

    const CARD: Function = Function { bus: 0, device: 2, function: 0 };

    struct Space(RefCell<HashMap<u8, u32>>);

    impl Configuration for Space {
        fn read(&self, _: Function, register: u8) -> u32 {
            self.0.borrow().get(&register).copied().unwrap_or(0)
        }
        fn write(&self, _: Function, register: u8, value: u32) {
            // The upper half of the command's register is the status, which a zero changes nothing of.
            let kept = if register == 0x04 { self.read(CARD, register) & !0xffff } else { 0 };
            self.0.borrow_mut().insert(register, kept | value);
        }
    }

    /// A card of QEMU's, with a list of capabilities that has MSI at the end.
    fn space(registers: u32) -> Space {
        let words = [(0x04, 0x10_0000), (0x10, registers), (0x34, 0xc8)];
        let list = [(0xc8, 0xd001), (0xd0, 0x0080_a005), (0xdc, 0xaaaa_0000)];
        Space(RefCell::new(words.into_iter().chain(list).collect()))
    }

    #[test]
    fn a_card_is_found_by_its_name_and_interrupts_by_message() {
        let (intel, other) = (
            Id { vendor: INTEL, device: 0x10d3, subsystem: 0 },
            Id { vendor: 1, device: 0x10d3, subsystem: 0 },
        );
        let space = space(0xfeb8_0000);
        assert_eq!(Card::find(&space, CARD, other), None);
        assert_eq!(Card::find(&space, CARD, Id { device: 0x100e, ..intel }), None);
        let card = Card::find(&space, CARD, intel);
        assert_eq!(card.map(|card| card.registers().0.base), Some(0xfeb8_0000));
        let found = card.and_then(|card| card.adopt(&space, (0xfee0_1000, 0x60)));
        assert_eq!(found.map(|found| (found.doorbells[0], found.queue_len)), Some((0xfeb8_0000, 0)));
        let word = |register| Configuration::read(&space, CARD, register);
        assert_eq!((word(0xd4), word(0xd8), word(0xdc)), (0xfee0_1000, 0, 0xaaaa_0060));
        assert_eq!(word(0xd0) >> 16 & 1, 1);
        assert_eq!(word(0x04) & 6, 6);
        pci::quiet(&space, CARD);
        assert_eq!(word(0x04) & 4, 0, "it writes nothing by itself");
    }

    #[test]
    fn one_without_registers_or_messages_is_left_alone() {
        let intel = Id { vendor: INTEL, device: 0x10d3, subsystem: 0 };
        for registers in [0, 0xfeb8_1000, 0xe001] {
            assert_eq!(Card::find(&space(registers), CARD, intel), None, "{registers:#x}");
        }
        let space = space(0xfeb8_0000);
        space.0.borrow_mut().insert(0x04, 0);
        assert_eq!(
            Card::find(&space, CARD, intel).and_then(|card| card.adopt(&space, (0xfee0_0000, 0))),
            None
        );
    }
}
