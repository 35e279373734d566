//! The time page: what time it is, as the VMM tells the guest ([`sentient_abi::time_page`]).

use crate::error::MachineError;
use crate::kvm::vcpu;
use crate::memory::GuestMemory;
use kvm_ioctls::VcpuFd;
use sentient_abi::time_page::TimePage;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};
use vm_memory::{Bytes, GuestAddress};

/// Bytes of the sequence at the page's start.
const SEQUENCE_LEN: usize = 8;

/// A page for this moment: the vCPU's counter beside the host's clock, and a fresh seed. `tsc_khz` is the
/// counter's rate; the guest's monotonic clock is to stand at `monotonic_ns` now. The vCPU must not be in
/// the guest.
///
/// # Errors
/// [`MachineError::Kvm`] if the counter cannot be read, [`MachineError::Io`] without random bytes.
pub fn page(
    vcpu: &VcpuFd,
    tsc_khz: u32,
    generation: u64,
    monotonic_ns: u64,
) -> Result<TimePage, MachineError> {
    let (mut seed, mut generation_id) = ([0; 32], [0; 16]);
    for bytes in [&mut seed[..], &mut generation_id[..]] {
        rustix::rand::getrandom(bytes, rustix::rand::GetRandomFlags::empty())
            .map_err(|error| MachineError::io("reading random bytes for the guest")(error.into()))?;
    }
    let tsc_at = vcpu::time_stamp(vcpu)?;
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
    Ok(TimePage {
        sequence: 0,
        generation,
        generation_id,
        tsc_at,
        monotonic_ns,
        wall_clock_ns: u64::try_from(wall).unwrap_or(u64::MAX),
        tsc_hz: u64::from(tsc_khz) * 1000,
        seed,
    })
}

/// Writes a page at a guest physical address, with a sequence larger than the one there: also over a guest
/// that was stopped while it read it.
///
/// # Errors
/// [`MachineError::Io`] if the address is outside of RAM.
pub fn write(memory: &GuestMemory, at: u64, page: &TimePage) -> Result<(), MachineError> {
    let failed = |error| MachineError::io("writing the time page")(io::Error::other(error));
    let before: u64 = memory.read_obj(GuestAddress(at)).map_err(failed)?;
    let odd = before.wrapping_add(1) | 1;
    let bytes = TimePage { sequence: odd.wrapping_add(1), ..*page }.encode();
    let (sequence, rest) = bytes.split_at(SEQUENCE_LEN);
    memory.write_obj(odd, GuestAddress(at)).map_err(failed)?;
    memory.write_slice(rest, GuestAddress(at + SEQUENCE_LEN as u64)).map_err(failed)?;
    memory.write_slice(sequence, GuestAddress(at)).map_err(failed)
}

/// The guest's clocks, as the host has last set them.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    tsc_khz: u32,
    page: TimePage,
}

/// Number of a machine's first life.
const FIRST_GENERATION: u64 = 1;

impl Clock {
    /// Starts a new machine's at zero. `tsc_khz` is the rate of the vCPU's time-stamp counter.
    ///
    /// # Errors
    /// As [`page`] and [`write`].
    pub fn start(vcpu: &VcpuFd, tsc_khz: u32, memory: &GuestMemory, at: u64) -> Result<Self, MachineError> {
        let page = page(vcpu, tsc_khz, FIRST_GENERATION, 0)?;
        write(memory, at, &page)?;
        Ok(Self { tsc_khz, page })
    }

    /// Of a machine that is yet to be put into a state: no time passes.
    #[must_use]
    pub fn stopped(tsc_khz: u32) -> Self {
        let page = TimePage { tsc_hz: u64::from(tsc_khz) * 1000, ..TimePage::default() };
        Self { tsc_khz, page }
    }

    /// How many lives the machine has had.
    #[must_use]
    pub fn generation(&self) -> u64 {
        self.page.generation
    }

    /// The guest's monotonic clock now. The vCPU must not be in the guest.
    ///
    /// # Errors
    /// [`KvmError`](crate::kvm::KvmError) if the counter cannot be read.
    pub fn monotonic_ns(&self, vcpu: &VcpuFd) -> Result<u64, crate::kvm::KvmError> {
        let ticks = vcpu::time_stamp(vcpu)?.saturating_sub(self.page.tsc_at);
        let passed = u128::from(ticks) * 1_000_000_000 / u128::from(self.page.tsc_hz.max(1));
        Ok(self.page.monotonic_ns.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX)))
    }

    /// Lets the clock go on from `monotonic_ns`, in a new life: a number larger than `generation` and than
    /// that of any this clock has seen.
    ///
    /// # Errors
    /// As [`page`] and [`write`].
    pub fn renew(
        &mut self,
        vcpu: &VcpuFd,
        memory: &GuestMemory,
        at: u64,
        monotonic_ns: u64,
        generation: u64,
    ) -> Result<(), MachineError> {
        let generation = generation.max(self.page.generation).saturating_add(1);
        self.page = page(vcpu, self.tsc_khz, generation, monotonic_ns)?;
        write(memory, at, &self.page)
    }
}
