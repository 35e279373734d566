//! How drivers reach their devices.

/// Device registers, and memory that is shared with a device, mapped to their own addresses.
///
/// Each access happens, once, and in the order of the program: what a device is told of is there before it is told.
pub trait Registers {
    /// Reads of a register before a device that does not answer is given up: ten seconds and more, as each takes a microsecond or
    /// longer.
    const PATIENCE: u32 = 10_000_000;

    /// Reads a register of 8 bits.
    fn read8(&self, address: u64) -> u8;
    /// Reads a register of 16 bits.
    fn read16(&self, address: u64) -> u16;
    /// Reads a register of 32 bits.
    fn read32(&self, address: u64) -> u32;
    /// Writes a register of 8 bits.
    fn write8(&self, address: u64, value: u8);
    /// Writes a register of 16 bits.
    fn write16(&self, address: u64, value: u16);
    /// Writes a register of 32 bits.
    fn write32(&self, address: u64, value: u32);

    /// Reads a register of 64 bits, by halves.
    fn read64(&self, address: u64) -> u64 {
        u64::from(self.read32(address)) | u64::from(self.read32(address + 4)) << 32
    }

    /// Writes a register of 64 bits, by halves (virtio 1.3, 4.1.3.1; NVM Express 1.4, 3.1).
    fn write64(&self, address: u64, value: u64) {
        self.write32(address, value as u32);
        self.write32(address + 4, (value >> 32) as u32);
    }
}
