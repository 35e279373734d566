//! How a container ended, as one word on the sentinel's exit port, and what `sentctl` exits with.

/// How a container ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContainerEnd {
    /// It returned from `_start` (0) or called `proc_exit` with this code.
    Exited(u32),
    /// A WebAssembly trap; the message and the backtrace went to its standard error.
    Trapped,
    /// It used up its CPU time.
    CpuLimit,
    /// Its image cannot be started: the reason went to its standard error.
    Unstartable,
    /// The boot module holds nothing to run, or is damaged.
    BadBootModule,
    /// The host has ended it.
    Killed,
    /// The kernel was put back without it.
    Lost,
}

/// Codes above 8 bits are not representable for a process; WASI allows them. They end as this one.
const CODE_MASK: u32 = 0x00ff_ffff;

impl ContainerEnd {
    /// The word for the exit port: the kind in the top byte, the code below.
    #[must_use]
    pub const fn encode(self) -> u32 {
        match self {
            Self::Exited(code) => (1 << 24) | (if code > CODE_MASK { CODE_MASK } else { code }),
            Self::Trapped => 2 << 24,
            Self::CpuLimit => 3 << 24,
            Self::Unstartable => 4 << 24,
            Self::BadBootModule => 5 << 24,
            Self::Killed => 6 << 24,
            Self::Lost => 7 << 24,
        }
    }

    /// Reads a word written to the exit port; `None` for one that no guest of this version writes.
    #[must_use]
    pub const fn decode(word: u32) -> Option<Self> {
        match word >> 24 {
            1 => Some(Self::Exited(word & CODE_MASK)),
            2 => Some(Self::Trapped),
            3 => Some(Self::CpuLimit),
            4 => Some(Self::Unstartable),
            5 => Some(Self::BadBootModule),
            6 => Some(Self::Killed),
            7 => Some(Self::Lost),
            _ => None,
        }
    }

    /// The process exit code `sentctl run` ends with.
    #[must_use]
    pub const fn process_code(self) -> u8 {
        match self {
            Self::Exited(code) if code <= 255 => (code & 0xff) as u8,
            Self::Exited(_) => 255,
            Self::Trapped => TRAPPED,
            Self::CpuLimit => CPU_LIMIT,
            Self::Unstartable => UNSTARTABLE,
            Self::BadBootModule => GUEST_PANIC,
            Self::Killed | Self::Lost => KILLED,
        }
    }
}

// The codes below are documented for users in docs/exit-codes.md; a test compares the two.

/// The guest kernel panicked, or could not use what it was booted with.
pub const GUEST_PANIC: u8 = 110;
/// The guest halted for good without saying how its container ended.
pub const GUEST_HALT: u8 = 111;
/// The guest's processor triple-faulted.
pub const TRIPLE_FAULT: u8 = 112;
/// KVM could not go on with the guest.
pub const KVM_INTERNAL: u8 = 113;
/// The guest broke the protocol of a device.
pub const DEVICE_VIOLATION: u8 = 114;
/// `--timeout` ran out; the code of coreutils' `timeout`.
pub const TIMEOUT: u8 = 124;
/// `sentctl` itself failed: bad arguments for the machine, no KVM, input and output errors.
pub const SENTCTL_ERROR: u8 = 125;
/// The program cannot be run: not WebAssembly, an unknown import, a limit too small; the shell's code.
pub const UNSTARTABLE: u8 = 126;
/// The program does not exist; the shell's code.
pub const NOT_FOUND: u8 = 127;
/// Ended by a WebAssembly trap: 128 + SIGABRT.
pub const TRAPPED: u8 = 134;
/// Ended by its CPU time limit: 128 + SIGXCPU.
pub const CPU_LIMIT: u8 = 152;
/// Ended by Ctrl-C: 128 + SIGINT.
pub const INTERRUPTED: u8 = 130;
/// Ended by whoever has started it: 128 + SIGKILL.
pub const KILLED: u8 = 137;
/// Standard output was closed by its reader: 128 + SIGPIPE.
pub const BROKEN_PIPE: u8 = 141;
/// Ended by SIGTERM: 128 + SIGTERM.
pub const TERMINATED: u8 = 143;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_survives_the_port() {
        for end in [
            ContainerEnd::Exited(0),
            ContainerEnd::Exited(3),
            ContainerEnd::Exited(255),
            ContainerEnd::Exited(70_000),
            ContainerEnd::Trapped,
            ContainerEnd::CpuLimit,
            ContainerEnd::Unstartable,
            ContainerEnd::BadBootModule,
            ContainerEnd::Killed,
            ContainerEnd::Lost,
        ] {
            assert_eq!(ContainerEnd::decode(end.encode()), Some(end));
        }
        assert_eq!(ContainerEnd::decode(0), None);
        assert_eq!(ContainerEnd::decode(u32::MAX), None);
    }

    #[test]
    fn a_code_too_big_for_a_process_is_not_taken_for_success() {
        assert_eq!(ContainerEnd::Exited(256).process_code(), 255);
        assert_eq!(
            ContainerEnd::decode(ContainerEnd::Exited(u32::MAX).encode()),
            Some(ContainerEnd::Exited(CODE_MASK))
        );
    }
}
