//! Boot modules of a medium, from which the kernel boots on machines that are not ours.

use crate::config::ContainerRun;
use crate::error::MachineError;
use sentient_abi::boot_module::{EncodedContainer, EntryKind, ModuleBuilder, STAYS, ZERO};
use sentient_images::KernelImage;

/// A program on it.
#[derive(Debug)]
pub struct Program {
    /// What it is called.
    pub name: String,
    /// How it is run.
    pub run: ContainerRun,
}

/// What becomes of the machine when no program runs any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// It has the console of zero mode.
    Console,
    /// It ends.
    End,
}

/// A module of programs, which start in this order. Each is only run if its image is what it is now.
///
/// # Errors
/// [`MachineError::ArgumentsTooLong`] if there are too many of them.
pub fn module(kernel: &KernelImage, programs: &[Program], then: Then) -> Result<Vec<u8>, MachineError> {
    let full = || MachineError::ArgumentsTooLong;
    let encoded = programs.iter().map(|program| program.run.spec.encode());
    let encoded: Vec<EncodedContainer<'_>> = encoded.collect::<Option<_>>().ok_or_else(full)?;
    let hashes: Vec<[u8; 32]> =
        programs.iter().map(|program| *blake3::hash(&program.run.image.bytes).as_bytes()).collect();
    let digests = digests(kernel)?;
    let mut builder = ModuleBuilder::new(if then == Then::Console { STAYS } else { 0 });
    push_digests(&mut builder, &digests)?;
    for (((index, program), encoded), hash) in (0..).zip(programs).zip(&encoded).zip(&hashes) {
        let image = &program.run.image;
        builder
            .push(EntryKind::Name, index, program.name.as_bytes())
            .and_then(|()| builder.push(EntryKind::ImageHash, index, hash))
            .and_then(|()| builder.push_container(index, encoded, &image.bytes, image.exec.clone()))
            .ok_or_else(full)?;
    }
    builder.into_bytes().ok_or_else(full)
}

/// A module for zero mode.
///
/// # Errors
/// [`MachineError::Kernel`] if the kernel has no segments.
pub fn zero_module(kernel: &KernelImage) -> Result<Vec<u8>, MachineError> {
    let digests = digests(kernel)?;
    let mut builder = ModuleBuilder::new(ZERO);
    push_digests(&mut builder, &digests)?;
    builder.into_bytes().ok_or(MachineError::ArgumentsTooLong)
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
