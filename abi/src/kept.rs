//! Checkpoints of all of ring 3 on a disk, on a machine without a VMM of ours: what ring 3 and the nucleus say to each other about them.
//!
//! Ring 3 asks for one ([`Keep`](crate::gate::Call::Keep)), and goes on. After a boot it asks whether there is one of what has been measured
//! ([`GoOn`](crate::gate::Call::GoOn)): then the nucleus puts that in its place, and ring 3 goes on where it had asked for it. docs/decisions/0040 has
//! the reasons.

/// The type of the partition that checkpoints are on (GUID partition table), as text.
pub const PARTITION_TYPE: &str = "5E471E17-05C8-4B0B-9D1C-C4EC4B017A0E";

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Outcome {
    /// It was done.
    Done = 1,
    /// This is what was kept, put back.
    WentOn = 2,
    /// No disk of this machine has a partition for it.
    NoPartition = 3,
    /// There is nothing kept of what this is.
    Nothing = 4,
    /// The partition has no room for it.
    TooLarge = 5,
    /// The disk has failed, or has not answered.
    DiskFailed = 6,
    /// What is kept needs memory where this machine has none, or has it otherwise.
    OtherMemory = 7,
    /// What is kept is damaged.
    Damaged = 8,
}

impl Outcome {
    /// The outcome of a number.
    #[must_use]
    pub const fn from_u32(value: u32) -> Option<Self> {
        Some(match value {
            1 => Self::Done,
            2 => Self::WentOn,
            3 => Self::NoPartition,
            4 => Self::Nothing,
            5 => Self::TooLarge,
            6 => Self::DiskFailed,
            7 => Self::OtherMemory,
            8 => Self::Damaged,
            _ => return None,
        })
    }
}

/// A request, which the nucleus writes the answer into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct KeepRequest {
    /// The value of measured boot (`crate::measure`) that what is kept belongs to: nothing else goes on from it.
    pub measured: [u8; 32],
    /// Where ring 3 goes on from what is kept: an instruction, and the stack pointer there. What the calling convention has saved lies on that
    /// stack.
    pub rip: u64,
    /// See `rip`.
    pub rsp: u64,
    /// The answer: an [`Outcome`].
    pub outcome: u32,
    /// The answer: a [`DeviceKind`](crate::machine_info::DeviceKind), of the disk that has the partition; 0 for none.
    pub device: u32,
    /// The answer: the checkpoint's number, of those on the partition.
    pub sequence: u64,
    /// The answer: its bytes, or those that it would have.
    pub bytes: u64,
    /// The answer: the bytes that there is room for.
    pub room: u64,
}

const _: () = assert!(size_of::<KeepRequest>() == 80);
