//! Calls from the runtime (ring 3) to the nucleus (ring 0), by `int 4`.
//!
//! Not by `syscall`, nor by the customary `int 0x80`: software KVM runs ring 3 natively, lets `syscall` go
//! on in ring 3 at the address in LSTAR, and turns `int 0x80` into #UD. Vector 4 (overflow, which 64-bit
//! code cannot raise otherwise) enters ring 0 on every host. docs/decisions/0002 has the measurements.
//!
//! The call number goes in `rax`, arguments in `rdi`, `rsi` and `rdx`, the result comes back in `rax`; registers
//! that the C calling convention does not save are lost. A call costs a few microseconds where ring 0 is
//! emulated: none of them is on a container's hot path.

/// The interrupt vector of the gate.
pub const VECTOR: u8 = 4;

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Call {
    /// `(end)`: the machine is finished; `end` is an encoded [`ContainerEnd`](crate::exit::ContainerEnd).
    /// Does not return.
    Exit = 1,
    /// `(message, len)`: the runtime panicked. Does not return.
    Panic = 2,
    /// `(event)`: an [`Event`](crate::sentinel::Event) for the sentinel device.
    Announce = 3,
    /// `()`: sleeps until an interrupt has come since the last `Idle`; returns the interrupts since then
    /// as bits: [`WOKEN_BY_TIMER`], [`WOKEN_BY_DEVICE`].
    Idle = 4,
    /// `(ticks)`: arms the one-shot timer, in ticks of the local APIC timer, at most 32 bits; 0 disarms.
    Timer = 5,
    /// `(entry, stack_top, retry)`: from now on an interrupt in ring 3 continues at `entry`, on that stack; see
    /// [`UpcallFrame`]. One that comes while the stack is in use only sets the timer to `retry` ticks, at most 32
    /// bits, so that another one comes.
    SetUpcall = 6,
    /// `(gsi)`: unmasks a device's interrupt.
    EnableInterrupt = 7,
    /// `(bytes, len)`: writes to the serial port.
    Serial = 8,
    /// `()`: the real-time clock: [`PackedTime`](pack_time), or 0 if there is none.
    RealTimeClock = 9,
    /// `()`: the rates of the time-stamp counter and of the local APIC timer, measured against the timer
    /// of the PC (10 ms): see [`pack_rates`].
    MeasureClocks = 10,
    /// `(base, len, rights)`: changes the rights of whole mapped pages within one region of kind
    /// `Unassigned`, `Container` or `Image` to [`Rights`]. [`REFUSED`] for anything else, and when a large
    /// page must be split and no spare table is left: then pages before it have changed already.
    Protect = 11,
    /// `()`: a byte that has come at the serial port, or [`REFUSED`] if none has.
    SerialInput = 12,
    /// `()`: the machine is to be booted anew. Does not return.
    Reset = 13,
    /// `(to)`: writes a [`ScreenInfo`](crate::screen::ScreenInfo) there; [`REFUSED`] if there is no screen.
    Screen = 14,
    /// `()`: a code that has come from the keyboard, or [`REFUSED`] if none has.
    KeyCode = 15,
    /// `(number, to)`: writes a [`FoundDevice`](crate::found::FoundDevice) there; [`REFUSED`] if there are not that many.
    Found = 16,
    /// `(from, to, len)`: copies what the nucleus has in its code or its constants; [`REFUSED`] for any other place.
    ReadNucleus = 17,
    /// `(to)`: writes [`Facts`](crate::found::Facts) there.
    Facts = 18,
    /// `(to)`: writes the [`PanicRecord`](crate::panic_record::PanicRecord) of the last panic that the machine has gone on from;
    /// [`REFUSED`] if there was none.
    LastPanic = 19,
    /// `(to, len)`: writes the kernel's command line there, and gives its length; [`REFUSED`] if it is longer than `len`.
    CommandLine = 20,
    /// `(request)`: writes all of ring 3 to the disk, as a [`KeepRequest`](crate::kept::KeepRequest) says, and the answer into that.
    /// [`REFUSED`] if the request is not in memory that ring 3 may write.
    Keep = 21,
    /// `(request, wanted)`: if `wanted` is not 0, goes on from what is kept of what the request says was measured. Then it does not return, but
    /// [`Keep`](Self::Keep) does once more. Otherwise the answer says why not, and what disk there is.
    GoOn = 22,
    /// `(request)`: nothing is kept any more.
    ForgetKept = 23,
}

/// What ring 3 may do with a page: there is nothing else, and nothing both written and executed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum Rights {
    /// Read.
    Read = 0,
    /// Read and write.
    Write = 1,
    /// Read and execute.
    Execute = 2,
}

impl Rights {
    /// The rights of a number.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        Some(match value {
            0 => Self::Read,
            1 => Self::Write,
            2 => Self::Execute,
            _ => return None,
        })
    }
}

impl Call {
    /// The call of a number.
    #[must_use]
    pub const fn from_u64(value: u64) -> Option<Self> {
        Some(match value {
            1 => Self::Exit,
            2 => Self::Panic,
            3 => Self::Announce,
            4 => Self::Idle,
            5 => Self::Timer,
            6 => Self::SetUpcall,
            7 => Self::EnableInterrupt,
            8 => Self::Serial,
            9 => Self::RealTimeClock,
            10 => Self::MeasureClocks,
            11 => Self::Protect,
            12 => Self::SerialInput,
            13 => Self::Reset,
            14 => Self::Screen,
            15 => Self::KeyCode,
            16 => Self::Found,
            17 => Self::ReadNucleus,
            18 => Self::Facts,
            19 => Self::LastPanic,
            20 => Self::CommandLine,
            21 => Self::Keep,
            22 => Self::GoOn,
            23 => Self::ForgetKept,
            _ => return None,
        })
    }
}

/// Result of a call that was refused: unknown, or with arguments outside the runtime's memory.
pub const REFUSED: u64 = u64::MAX;

/// Bit of [`Call::Idle`]'s result: the timer fired.
pub const WOKEN_BY_TIMER: u64 = 1;
/// Bit of [`Call::Idle`]'s result: a device raised its interrupt.
pub const WOKEN_BY_DEVICE: u64 = 2;

/// What the nucleus pushes on the upcall stack, lowest address first: the upcall's stack pointer.
///
/// All registers but `rip`, `rsp` and `rflags` are those of the interrupted code. The runtime goes back
/// by `iretq`, which ring 3 may use to stay in ring 3.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct UpcallFrame {
    /// Interrupted instruction; the frame from here on is what `iretq` takes.
    pub rip: u64,
    /// Code segment of ring 3.
    pub cs: u64,
    /// Flags of the interrupted code.
    pub rflags: u64,
    /// Stack pointer of the interrupted code.
    pub rsp: u64,
    /// Stack segment of ring 3.
    pub ss: u64,
}

const _: () = assert!(size_of::<UpcallFrame>() == 40);

/// Selectors of the nucleus' descriptor table: those of Linux on x86-64.
///
/// Nothing depends on their values; people who look at registers know these.
pub mod selector {
    /// Ring 0 code.
    pub const NUCLEUS_CODE: u16 = 0x10;
    /// Ring 0 data.
    pub const NUCLEUS_DATA: u16 = 0x18;
    /// Ring 3 data.
    pub const RUNTIME_DATA: u16 = 0x2b;
    /// Ring 3 code.
    pub const RUNTIME_CODE: u16 = 0x33;
    /// The task state segment (two slots).
    pub const TASK_STATE: u16 = 0x40;
    /// Slots of the table.
    pub const SLOTS: usize = 10;
}

/// Packs clock rates for [`Call::MeasureClocks`]: both in kilohertz, the time-stamp counter's in the low
/// half.
#[must_use]
pub const fn pack_rates(tsc_khz: u32, lapic_khz: u32) -> u64 {
    (tsc_khz as u64) | ((lapic_khz as u64) << 32)
}

/// Packs a calendar time for [`Call::RealTimeClock`]: seconds since 2000-01-01 are computed by the
/// runtime; the nucleus only passes on what the chip holds, in binary.
#[must_use]
pub const fn pack_time(year: u8, month: u8, day: u8, hour: u8, minute: u8, second: u8) -> u64 {
    ((year as u64) << 40)
        | ((month as u64) << 32)
        | ((day as u64) << 24)
        | ((hour as u64) << 16)
        | ((minute as u64) << 8)
        | second as u64
}
