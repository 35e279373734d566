//! Boot modules of a medium, from which the kernel boots on machines that are not ours.

use crate::config::ContainerRun;
use crate::error::MachineError;
use sentient_abi::boot_module::{BootModule, EncodedContainer, EntryKind, ModuleBuilder, STAYS, ZERO};
use sentient_abi::measure::{Chain, SEAL_LEN, signed};
use sentient_images::KernelImage;
use std::time::Duration;

/// A program on it.
#[derive(Debug)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// How it is run.
    pub run: ContainerRun,
    /// How often it is kept as it is, for when it traps.
    pub checkpoint: Option<Duration>,
}

/// What becomes of the machine when no program runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It has the console of zero mode.
    Console,
    /// It ends.
    End,
}

/// Signs a message: key and signature.
pub type Sign<'a> = &'a dyn Fn(&[u8]) -> [u8; SEAL_LEN];

/// What a medium is to boot.
pub struct Medium<'a> {
    /// The programs, which start in this order. Each is only run if its image is what it is now.
    pub programs: &'a [Program],
    /// What follows them.
    pub then: Then,
    /// How often everything is kept on a disk, if it is.
    pub keep: Option<Duration>,
    /// A contract's text.
    pub contract: Option<&'a str>,
    /// Who answers for all of it.
    pub sign: Option<Sign<'a>>,
}

/// What a medium boots, and the value that its measured boot comes to if nothing has changed it.
#[derive(Debug)]
pub struct Measured {
    /// The boot module.
    pub module: Vec<u8>,
    /// The value (`sentient_abi::measure`).
    pub value: [u8; 32],
}

/// The module of a medium.
///
/// # Errors
/// [`MachineError::ArgumentsTooLong`] if there are too many programs.
pub fn module(kernel: &KernelImage, medium: &Medium<'_>) -> Result<Measured, MachineError> {
    let Medium { programs, then, keep, contract, sign } = *medium;
    let full = || MachineError::ArgumentsTooLong;
    let encoded = programs.iter().map(|program| program.run.spec.encode());
    let encoded: Vec<EncodedContainer<'_>> = encoded.collect::<Option<_>>().ok_or_else(full)?;
    let hashes: Vec<[u8; 32]> =
        programs.iter().map(|program| *blake3::hash(&program.run.image.bytes).as_bytes()).collect();
    let checkpoints: Vec<Option<[u8; 8]>> =
        programs.iter().map(|program| program.checkpoint.map(nanoseconds)).collect();
    let keep = keep.map(nanoseconds);
    let digests = digests(kernel)?;
    let mut builder = ModuleBuilder::new(if then == Then::Console { STAYS } else { 0 });
    push_digests(&mut builder, &digests)?;
    if let Some(contract) = contract {
        builder.push(EntryKind::Contract, 0, contract.as_bytes()).ok_or_else(full)?;
    }
    if let Some(every) = &keep {
        builder.push(EntryKind::Keep, 0, every).ok_or_else(full)?;
    }
    for ((((index, program), encoded), hash), checkpoint) in
        (0..).zip(programs).zip(&encoded).zip(&hashes).zip(&checkpoints)
    {
        let image = &program.run.image;
        if let Some(every) = checkpoint {
            builder.push(EntryKind::Checkpoints, index, every).ok_or_else(full)?;
        }
        builder
            .push(EntryKind::Name, index, program.name.as_bytes())
            .and_then(|()| builder.push(EntryKind::ImageHash, index, hash))
            .and_then(|()| builder.push_container(index, encoded, &image.bytes, image.exec.clone()))
            .ok_or_else(full)?;
    }
    sealed(builder, sign)
}

/// A time, as the boot module has it.
fn nanoseconds(time: Duration) -> [u8; 8] {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).to_le_bytes()
}

/// The module, with the signature of what it comes to.
fn sealed(builder: ModuleBuilder<'_>, sign: Option<Sign<'_>>) -> Result<Measured, MachineError> {
    let full = || MachineError::ArgumentsTooLong;
    let unsigned = builder.clone().into_bytes().ok_or_else(full)?;
    let parsed = BootModule::parse(&unsigned).ok();
    let chain = parsed.and_then(|module| Chain::expected(&module)).ok_or_else(full)?;
    let value = *chain.value();
    let Some(sign) = sign else { return Ok(Measured { module: unsigned, value }) };
    let seal = sign(&signed(&chain));
    let mut builder = builder;
    builder.push(EntryKind::Seal, 0, &seal).ok_or_else(full)?;
    Ok(Measured { module: builder.into_bytes().ok_or_else(full)?, value })
}

/// A module for zero mode.
///
/// # Errors
/// [`MachineError::Kernel`] if the kernel has no segments.
pub fn zero_module(kernel: &KernelImage, sign: Option<Sign<'_>>) -> Result<Measured, MachineError> {
    let digests = digests(kernel)?;
    let mut builder = ModuleBuilder::new(ZERO);
    push_digests(&mut builder, &digests)?;
    sealed(builder, sign)
}

/// What the kernel's regions must be, by kind.
pub(crate) fn digests(kernel: &KernelImage) -> Result<Vec<(u32, [u8; 32])>, MachineError> {
    kernel.digests().map_err(|error| MachineError::Kernel(error.to_string()))
}

/// Adds them to a module.
pub(crate) fn push_digests<'a>(
    builder: &mut ModuleBuilder<'a>,
    digests: &'a [(u32, [u8; 32])],
) -> Result<(), MachineError> {
    for (kind, digest) in digests {
        builder.push(EntryKind::Digest, *kind, digest).ok_or(MachineError::ArgumentsTooLong)?;
    }
    Ok(())
}
