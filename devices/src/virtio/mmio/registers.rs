//! The register map of virtio-mmio, version 2 (virtio 4.2.2, table 4.1).

/// Bytes of address space a device takes: registers, then configuration space.
pub const REGION_LEN: u64 = 0x1000;

/// Where the driver's notifications arrive: register one ioeventfd per queue here, four bytes wide, with
/// the queue's index as the value to match.
pub const NOTIFY_OFFSET: u64 = Register::QueueNotify as u64;

/// Where the device's own configuration space begins.
pub const CONFIG_OFFSET: u64 = 0x100;

/// "virt", little-endian.
pub const MAGIC: u32 = 0x7472_6976;
/// Version 2: virtio 1.0 and later.
pub const VERSION: u32 = 2;
/// "SENT", little-endian.
pub const VENDOR: u32 = u32::from_le_bytes(*b"SENT");

/// Bit of [`Register::InterruptStatus`]: a queue has completed chains.
pub const INTERRUPT_USED: u32 = 1 << 0;
/// Bit of [`Register::InterruptStatus`]: the configuration or the device status changed.
pub const INTERRUPT_CONFIG: u32 = 1 << 1;

/// Bits of [`Register::Status`] (virtio 2.1).
pub mod status {
    /// The driver has noticed the device.
    pub const ACKNOWLEDGE: u32 = 1;
    /// The driver knows how to drive it.
    pub const DRIVER: u32 = 2;
    /// The driver is ready.
    pub const DRIVER_OK: u32 = 4;
    /// Features are agreed on.
    pub const FEATURES_OK: u32 = 8;
    /// The device cannot go on; set by the device alone.
    pub const DEVICE_NEEDS_RESET: u32 = 64;
    /// The driver has given up.
    pub const FAILED: u32 = 128;
    /// All bits a driver may write.
    pub const DRIVER_BITS: u32 = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
}

/// A register's offset. All are four bytes wide and accessed whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
#[expect(missing_docs, reason = "the names are the specification's")]
pub enum Register {
    MagicValue = 0x000,
    Version = 0x004,
    DeviceId = 0x008,
    VendorId = 0x00c,
    DeviceFeatures = 0x010,
    DeviceFeaturesSel = 0x014,
    DriverFeatures = 0x020,
    DriverFeaturesSel = 0x024,
    QueueSel = 0x030,
    QueueSizeMax = 0x034,
    QueueSize = 0x038,
    QueueReady = 0x044,
    QueueNotify = 0x050,
    InterruptStatus = 0x060,
    InterruptAck = 0x064,
    Status = 0x070,
    QueueDescLow = 0x080,
    QueueDescHigh = 0x084,
    QueueDriverLow = 0x090,
    QueueDriverHigh = 0x094,
    QueueDeviceLow = 0x0a0,
    QueueDeviceHigh = 0x0a4,
    ShmSel = 0x0ac,
    ShmLenLow = 0x0b0,
    ShmLenHigh = 0x0b4,
    ShmBaseLow = 0x0b8,
    ShmBaseHigh = 0x0bc,
    QueueReset = 0x0c0,
    ConfigGeneration = 0x0fc,
}

impl Register {
    /// All registers, in order.
    pub const ALL: [Self; 29] = [
        Self::MagicValue,
        Self::Version,
        Self::DeviceId,
        Self::VendorId,
        Self::DeviceFeatures,
        Self::DeviceFeaturesSel,
        Self::DriverFeatures,
        Self::DriverFeaturesSel,
        Self::QueueSel,
        Self::QueueSizeMax,
        Self::QueueSize,
        Self::QueueReady,
        Self::QueueNotify,
        Self::InterruptStatus,
        Self::InterruptAck,
        Self::Status,
        Self::QueueDescLow,
        Self::QueueDescHigh,
        Self::QueueDriverLow,
        Self::QueueDriverHigh,
        Self::QueueDeviceLow,
        Self::QueueDeviceHigh,
        Self::ShmSel,
        Self::ShmLenLow,
        Self::ShmLenHigh,
        Self::ShmBaseLow,
        Self::ShmBaseHigh,
        Self::QueueReset,
        Self::ConfigGeneration,
    ];

    /// The register at an offset, if one begins there.
    #[must_use]
    pub fn at(offset: u64) -> Option<Self> {
        Self::ALL.into_iter().find(|register| *register as u64 == offset)
    }
}
