//! The time page: what the VMM tells the guest of time, again and again.
//!
//! One page ([`RegionKind::Time`](crate::region::RegionKind::Time)), which ring 3 may read and only the VMM
//! writes: when it builds the machine, and each time the guest's past and its present part (a rollback, a
//! restore, a fork). Time then goes on from the new page, and random numbers from its seed. In between it
//! writes another `wall_clock_ns`, and nothing else, when the guest's wall clock and the host's have come apart:
//! the host's is slewed and set, and the counter knows nothing of it.
//!
//! The guest's clocks are `monotonic_ns` and `wall_clock_ns`, plus what the time-stamp counter has counted
//! since `tsc_at`. **Which counter:** the one that ring 3 reads with `rdtsc`, and that is the one
//! `KVM_GET_MSRS` gives for `MSR_IA32_TSC` (0x10). On hardware KVM it is the guest's own, offset one. On
//! software KVM (`kvm_pvm`) it is the host's, unchanged: measured, ring 3, ring 0 and `KVM_GET_MSRS` all
//! agree with the host's `rdtsc`, `KVM_VCPU_TSC_OFFSET` is 0, and a write of the register by `KVM_SET_MSRS`
//! is accepted and does nothing. So the VMM never assumes a value, and never relies on setting one: it
//! reads the register next to the host's clock, each time it writes the page.
//!
//! The page is a sequence lock. The writer makes `sequence` odd, writes the rest, and makes it even and
//! larger than before; a reader that finds it odd, or changed, reads again. A writer that has the vCPU out
//! of the guest still raises it: the guest may have been stopped between two of its reads.

use crate::bytes::{read_u64, write_u64};
use core::mem::offset_of;

/// Bytes of the page in use.
pub const LEN: usize = size_of::<TimePage>();

/// What the page holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct TimePage {
    /// Odd while the page is being written; larger after every write.
    pub sequence: u64,
    /// Counts the lives of the machine: 1 at boot, another number after each rollback, restore or fork.
    /// 0 is no generation: the page was never written.
    pub generation: u64,
    /// Identifies this life among all machines' (as a "VM generation ID" does).
    pub generation_id: [u8; 16],
    /// The time-stamp counter at the moment the two clocks are given for.
    pub tsc_at: u64,
    /// Nanoseconds since the machine booted, at `tsc_at`; never falls within one generation.
    pub monotonic_ns: u64,
    /// Nanoseconds since 1970-01-01 UTC, at `tsc_at`.
    pub wall_clock_ns: u64,
    /// Ticks of the counter per second.
    pub tsc_hz: u64,
    /// From the host's generator, for this generation: mixed into the guest's random numbers.
    pub seed: [u8; 32],
}

const SEQUENCE: usize = 0;
const GENERATION: usize = 8;
const GENERATION_ID: usize = 16;
const TSC_AT: usize = 32;
const MONOTONIC: usize = 40;
const WALL_CLOCK: usize = 48;
const TSC_HZ: usize = 56;
const SEED: usize = 64;

const _: () = assert!(offset_of!(TimePage, sequence) == SEQUENCE);
const _: () = assert!(offset_of!(TimePage, generation) == GENERATION);
const _: () = assert!(offset_of!(TimePage, generation_id) == GENERATION_ID);
const _: () = assert!(offset_of!(TimePage, tsc_at) == TSC_AT);
const _: () = assert!(offset_of!(TimePage, monotonic_ns) == MONOTONIC);
const _: () = assert!(offset_of!(TimePage, wall_clock_ns) == WALL_CLOCK);
const _: () = assert!(offset_of!(TimePage, tsc_hz) == TSC_HZ);
const _: () = assert!(offset_of!(TimePage, seed) == SEED);
const _: () = assert!(LEN == 96 && LEN as u64 <= crate::PAGE_SIZE);

impl TimePage {
    /// The page's bytes. To rewrite a page that a guest has mapped: write the first eight bytes of an odd
    /// sequence, then everything behind them, then the first eight bytes of the even sequence.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        // Every write is in bounds by construction.
        let _ = self.write(&mut bytes);
        bytes
    }

    fn write(&self, bytes: &mut [u8]) -> Option<()> {
        write_u64(bytes, SEQUENCE, self.sequence)?;
        write_u64(bytes, GENERATION, self.generation)?;
        bytes.get_mut(GENERATION_ID..TSC_AT)?.copy_from_slice(&self.generation_id);
        write_u64(bytes, TSC_AT, self.tsc_at)?;
        write_u64(bytes, MONOTONIC, self.monotonic_ns)?;
        write_u64(bytes, WALL_CLOCK, self.wall_clock_ns)?;
        write_u64(bytes, TSC_HZ, self.tsc_hz)?;
        bytes.get_mut(SEED..LEN)?.copy_from_slice(&self.seed);
        Some(())
    }

    /// Reads a page's bytes; `None` if they are too few. The sequence may be odd: the caller decides.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        Some(Self {
            sequence: read_u64(bytes, SEQUENCE)?,
            generation: read_u64(bytes, GENERATION)?,
            generation_id: bytes.get(GENERATION_ID..TSC_AT)?.try_into().ok()?,
            tsc_at: read_u64(bytes, TSC_AT)?,
            monotonic_ns: read_u64(bytes, MONOTONIC)?,
            wall_clock_ns: read_u64(bytes, WALL_CLOCK)?,
            tsc_hz: read_u64(bytes, TSC_HZ)?,
            seed: bytes.get(SEED..LEN)?.try_into().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_it_was_written() {
        let page = TimePage {
            sequence: 2,
            generation: 1,
            generation_id: [3; 16],
            tsc_at: 4,
            monotonic_ns: 5,
            wall_clock_ns: 6,
            tsc_hz: 2_250_000_000,
            seed: [7; 32],
        };
        assert_eq!(TimePage::parse(&page.encode()), Some(page));
        assert_eq!(TimePage::parse(&page.encode()[..LEN - 1]), None);
    }
}
