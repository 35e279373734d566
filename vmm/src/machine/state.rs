//! The state of a stopped machine besides its memory.
//!
//! Encoded it is a `postcard` of [`MachineState`] behind a version and that of the [`abi`](sentient_abi) which the
//! guest's kernel speaks: a private format of this crate, carried by snapshots as bytes that only their hash and
//! signature speak for. A state of another version, one whose kernel would not be understood, or one that a
//! device could never have been in, is refused.

use super::shared::{Console, RngDevice};
use super::vcpu_thread::Stopped;
use crate::error::MachineError;
use crate::kvm::KvmError;
use crate::kvm::state::{ForeignRegister, IrqchipState, VcpuState};
use crate::network::NetDevice;
use crate::volumes::VolumeDevice;
use sentient_abi::ABI_VERSION;
use sentient_devices::sentinel::Sentinel;
use sentient_devices::serial::Serial;
use sentient_devices::{Lifecycle, RestoreError};
use serde::{Deserialize, Serialize};

/// Version of the encoding. Version 1 did not say which ABI the kernel speaks, version 2 had no network, version 3
/// no volumes.
const VERSION: u32 = 4;

/// Where the guest has what the host looks at: guest physical addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// The record of a panic.
    pub panic_record: u64,
    /// The region table.
    pub region_table: u64,
    /// The time page.
    pub time_page: u64,
}

/// vCPU, interrupt controllers, devices.
#[derive(Debug, Serialize, Deserialize)]
pub struct MachineState {
    /// Where things are in its memory.
    pub places: Places,
    /// The guest's monotonic clock, in nanoseconds.
    monotonic_ns: u64,
    /// How many lives the machine has had.
    generation: u64,
    vcpu: VcpuState,
    irqchip: IrqchipState,
    serial: <Serial as Lifecycle>::State,
    sentinel: <Sentinel as Lifecycle>::State,
    console: <Console as Lifecycle>::State,
    rng: <RngDevice as Lifecycle>::State,
    net: <NetDevice as Lifecycle>::State,
    volumes: <VolumeDevice as Lifecycle>::State,
}

/// Why a machine cannot take on a state.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// It is of another version.
    #[error(
        "the machine's state has version {found}, and this build reads version {VERSION}; use the build that wrote it"
    )]
    Version {
        /// Its version.
        found: u32,
    },
    /// Its kernel speaks to another VMM.
    #[error(
        "the machine's kernel speaks ABI version {found}, and this build speaks {ABI_VERSION}; use the build that made the machine, or make a new one"
    )]
    Abi {
        /// The kernel's version.
        found: u32,
    },
    /// It cannot be decoded.
    #[error("the machine's state is damaged: {0}")]
    Damaged(postcard::Error),
    /// It sets what it should not.
    #[error(transparent)]
    Register(#[from] ForeignRegister),
    /// A device refuses its part.
    #[error(transparent)]
    Device(#[from] RestoreError),
    /// KVM refuses its part.
    #[error(transparent)]
    Kvm(#[from] KvmError),
    /// The guest's clocks cannot be set.
    #[error("{0}")]
    Clock(Box<MachineError>),
}

impl From<MachineError> for StateError {
    fn from(error: MachineError) -> Self {
        Self::Clock(Box::new(error))
    }
}

impl From<StateError> for MachineError {
    fn from(error: StateError) -> Self {
        match error {
            StateError::Kvm(error) => Self::Kvm(error),
            StateError::Device(error) => Self::Device(error),
            StateError::Clock(error) => *error,
            other => Self::State(other.to_string()),
        }
    }
}

impl MachineState {
    /// Reads it.
    ///
    /// # Errors
    /// [`KvmError::Call`].
    pub fn read(machine: &Stopped<'_>) -> Result<Self, KvmError> {
        Ok(Self {
            places: machine.places,
            monotonic_ns: machine.clock.monotonic_ns(machine.vcpu)?,
            generation: machine.clock.generation(),
            vcpu: VcpuState::read(machine.vcpu)?,
            irqchip: IrqchipState::read(machine.vm)?,
            serial: machine.serial.save(),
            sentinel: machine.sentinel.save(),
            console: machine.console.save(),
            rng: machine.rng.save(),
            net: machine.net.save(),
            volumes: machine.volumes.save(),
        })
    }

    /// Puts the machine into it, and tells the guest that time has passed and that it is not the only one:
    /// its clocks go on from here, its random numbers from a new seed.
    ///
    /// # Errors
    /// [`StateError`]; the machine must then not go on.
    pub fn write(&self, machine: &mut Stopped<'_>) -> Result<(), StateError> {
        self.write_at(machine, self.monotonic_ns)
    }

    /// The same, but its monotonic clock goes on from where it is now.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn write_now(&self, machine: &mut Stopped<'_>) -> Result<(), StateError> {
        let now = machine.clock.monotonic_ns(machine.vcpu)?;
        self.write_at(machine, now)
    }

    fn write_at(&self, machine: &mut Stopped<'_>, monotonic_ns: u64) -> Result<(), StateError> {
        machine.serial.restore(&self.serial)?;
        machine.sentinel.restore(&self.sentinel)?;
        machine.console.restore(&self.console)?;
        machine.rng.restore(&self.rng)?;
        machine.net.restore(&self.net)?;
        machine.volumes.restore(&self.volumes)?;
        self.irqchip.write(machine.vm)?;
        self.vcpu.write(machine.vcpu)?;
        let at = machine.places.time_page;
        machine.clock.renew(machine.vcpu, machine.memory, at, monotonic_ns, self.generation)?;
        Ok(())
    }

    /// Its bytes.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if it cannot be encoded; a bug.
    pub fn encode(&self) -> Result<Vec<u8>, StateError> {
        postcard::to_stdvec(&(VERSION, ABI_VERSION, self)).map_err(StateError::Damaged)
    }

    /// Reads bytes.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, StateError> {
        let (found, rest) = postcard::take_from_bytes::<u32>(bytes).map_err(StateError::Damaged)?;
        if found != VERSION {
            return Err(StateError::Version { found });
        }
        let (found, rest) = postcard::take_from_bytes::<u32>(rest).map_err(StateError::Damaged)?;
        if found != ABI_VERSION {
            return Err(StateError::Abi { found });
        }
        let (state, rest) = postcard::take_from_bytes::<Self>(rest).map_err(StateError::Damaged)?;
        if !rest.is_empty() {
            return Err(StateError::Damaged(postcard::Error::DeserializeBadEncoding));
        }
        state.vcpu.check()?;
        Ok(state)
    }
}
