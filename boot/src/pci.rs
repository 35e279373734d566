//! PCI's configuration space (PCI Local Bus specification 3.0, chapter 6), as far as finding devices takes it.
//!
//! What firmware has set up is used as it is: no address is given out or moved.

/// Highest number of a device on a bus, and of a function of a device.
const DEVICES: u8 = 32;
const FUNCTIONS: u8 = 8;
/// Most capabilities of a function that are looked at: there is no room for more.
const MAX_CAPABILITIES: u32 = 48;

/// Registers (6.1), and bits of them.
const ID: u8 = 0x00;
const COMMAND: u8 = 0x04;
const CLASS: u8 = 0x08;
const HEADER: u8 = 0x0c;
const BUSES: u8 = 0x18;
const FIRST_BAR: u8 = 0x10;
const SUBSYSTEM: u8 = 0x2c;
const CAPABILITIES: u8 = 0x34;
const HAS_CAPABILITIES: u32 = 1 << 20;
const MANY_FUNCTIONS: u32 = 1 << 23;
/// The capability for interrupts by messages (6.8.1), and bits of its control register: how many there are, that it is in use, that
/// its address has 64 bits.
const MSI: u8 = 0x05;
const MSI_MESSAGES: u32 = 7 << 20;
const MSI_IN_USE: u32 = 1 << 16;
const MSI_WIDE: u32 = 1 << 23;
/// A bridge to another bus (PCI-to-PCI Bridge specification 1.2, 3.2.5.6).
const BRIDGE: u32 = 1;
/// Bits of the command register: it answers to memory addresses, reads and writes memory by itself, and raises no pin.
const MEMORY: u32 = 1 << 1;
const MASTER: u32 = 1 << 2;
const NO_PIN: u32 = 1 << 10;

/// A function of a device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Function {
    /// Its bus.
    pub bus: u8,
    /// Its device on the bus, below 32.
    pub device: u8,
    /// Its number on the device, below 8.
    pub function: u8,
}

impl Function {
    /// Bus, device and function as one number (3.2.2.3.2).
    #[must_use]
    pub const fn place(self) -> u16 {
        (self.bus as u16) << 8 | ((self.device & 31) as u16) << 3 | (self.function & 7) as u16
    }
}

/// Where configuration is read and written.
pub trait Configuration {
    /// The 32-bit register at a multiple of 4; all ones where nothing is.
    fn read(&self, function: Function, register: u8) -> u32;
    /// Writes it.
    fn write(&self, function: Function, register: u8, value: u32);
}

/// Who made a function, and what they call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Id {
    /// Who made it.
    pub vendor: u16,
    /// What it is to them.
    pub device: u16,
    /// What whoever built it in calls it.
    pub subsystem: u16,
}

/// Calls `visit` for each function there is: on the first bus, and on those that bridges lead to.
pub fn each(space: &impl Configuration, visit: &mut dyn FnMut(Function, Id)) {
    let mut wanted = [0u64; 4];
    let mut done = [0u64; 4];
    set(&mut wanted, 0);
    while let Some(bus) = next(&wanted, &done) {
        set(&mut done, bus);
        for device in 0..DEVICES {
            for function in 0..FUNCTIONS {
                let at = Function { bus, device, function };
                let id = space.read(at, ID);
                if id as u16 == u16::MAX {
                    // Without a first function there are no others.
                    if function == 0 {
                        break;
                    }
                    continue;
                }
                let header = space.read(at, HEADER);
                if header >> 16 & 0x7f == BRIDGE {
                    set(&mut wanted, (space.read(at, BUSES) >> 8) as u8);
                }
                let subsystem = (space.read(at, SUBSYSTEM) >> 16) as u16;
                visit(at, Id { vendor: id as u16, device: (id >> 16) as u16, subsystem });
                if function == 0 && header & MANY_FUNCTIONS == 0 {
                    break;
                }
            }
        }
    }
}

fn next(wanted: &[u64; 4], done: &[u64; 4]) -> Option<u8> {
    let words = wanted.iter().zip(done).map(|(wanted, done)| wanted & !done);
    let (word, bits) = (0u8..).zip(words).find(|(_, bits)| *bits != 0)?;
    Some(word * 64 + bits.trailing_zeros() as u8)
}

fn set(buses: &mut [u64; 4], bus: u8) {
    if let Some(word) = buses.get_mut(usize::from(bus / 64)) {
        *word |= 1 << (bus % 64);
    }
}

/// Class, subclass and interface of a function, 8 bits each (6.2.1).
#[must_use]
pub fn class(space: &impl Configuration, function: Function) -> u32 {
    space.read(function, CLASS) >> 8
}

/// The memory address that a base address register holds, 0 to 5 (6.2.5.1); `None` for ports, or if it has none.
#[must_use]
pub fn memory(space: &impl Configuration, function: Function, bar: u8) -> Option<u64> {
    if bar > 5 {
        return None;
    }
    let low = space.read(function, FIRST_BAR + 4 * bar);
    let high = match low & 7 {
        0 => 0,
        // Of 64 bits: the next register has the rest.
        4 if bar < 5 => space.read(function, FIRST_BAR + 4 * (bar + 1)),
        _ => return None,
    };
    let address = u64::from(low & !0xf) | u64::from(high) << 32;
    (low & 1 == 0 && address != 0).then_some(address)
}

/// Calls `visit` with the place and the identifier of each capability (6.7).
pub fn each_capability(space: &impl Configuration, function: Function, visit: &mut dyn FnMut(u8, u8)) {
    if space.read(function, COMMAND) & HAS_CAPABILITIES == 0 {
        return;
    }
    let mut at = space.read(function, CAPABILITIES) as u8 & !3;
    for _ in 0..MAX_CAPABILITIES {
        if at < 0x40 {
            return;
        }
        let head = space.read(function, at);
        visit(at, head as u8);
        at = (head >> 8) as u8 & !3;
    }
}

/// Where a function's capability of this identifier is.
#[must_use]
pub fn capability(space: &impl Configuration, function: Function, wanted: u8) -> Option<u8> {
    let mut found = None;
    each_capability(space, function, &mut |at, identifier| {
        if identifier == wanted {
            found = found.or(Some(at));
        }
    });
    found
}

/// Has a function interrupt by the message `data` to `address`, below 4 GiB (MSI, 6.8.1); `false` if it cannot.
pub fn interrupt_by_message(
    space: &impl Configuration,
    function: Function,
    (address, data): (u64, u32),
) -> bool {
    let Some(at) = capability(space, function, MSI).filter(|at| *at <= 0xec) else { return false };
    let Ok(address) = u32::try_from(address) else { return false };
    let control = space.read(function, at);
    let is_wide = control & MSI_WIDE != 0;
    space.write(function, at + 4, address);
    if is_wide {
        space.write(function, at + 8, 0);
    }
    let place = if is_wide { at + 12 } else { at + 8 };
    // The upper half is another one's.
    let kept = space.read(function, place) & !0xffff;
    space.write(function, place, kept | data & 0xffff);
    // One message of those that it can send.
    space.write(function, at, control & !MSI_MESSAGES | MSI_IN_USE);
    true
}

/// Keeps a function from reading and writing memory by itself.
pub fn quiet(space: &impl Configuration, function: Function) {
    let command = space.read(function, COMMAND) & 0xffff;
    space.write(function, COMMAND, command & !MASTER);
}

/// Lets a function answer to memory addresses, and read and write memory.
pub fn enable(space: &impl Configuration, function: Function) {
    // The upper half is the status register, whose bits are cleared by writing ones.
    let command = space.read(function, COMMAND) & 0xffff;
    space.write(function, COMMAND, command | MEMORY | MASTER | NO_PIN);
}
