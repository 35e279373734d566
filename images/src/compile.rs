//! WebAssembly modules and components into images.

use object::read::elf::{ElfFile64, FileHeader};
use object::{Endianness, Object, ObjectSection};
use sentient_abi::PAGE_SIZE;
use sentient_wasi::{COMMAND, VERSION_2};
use std::ops::Range;
use wasmtime::component::Component;
use wasmtime::{Config, Engine, Module};

/// Why a program cannot become an image.
#[derive(Debug, thiserror::Error)]
pub enum CompileError {
    /// It does not start like WebAssembly.
    #[error(
        "not WebAssembly: it starts with {start}; compile the program for wasm32-wasip1 or wasm32-wasip2"
    )]
    NotWasm {
        /// Its first bytes, for people.
        start: String,
    },
    /// It does not validate, is cut short, or needs a feature that is off.
    #[error("not a valid WebAssembly module for this machine: {0}")]
    Invalid(String),
    /// It imports what the guest does not have.
    #[error(
        "it imports `{name}` from `{module}`, which the guest does not provide; it has WASI preview 1 (wasi_snapshot_preview1)"
    )]
    Import {
        /// The module it imports from.
        module: String,
        /// What it imports.
        name: String,
    },
    /// It is a component that imports what the guest does not have.
    #[error(
        "it imports `{0}`, which the guest does not provide; components have wasi:cli, clocks, filesystem, io, random and \
         sockets of WASI 0.2"
    )]
    Interface(String),
    /// It is a component that cannot be run.
    #[error("it is a component that exports no `wasi:cli/run`: a library, and not a command")]
    NoCommand,
    /// Its first memory is larger than its limit.
    #[error("it starts with {minimum} bytes of memory, but its limit is {limit}; raise it with --memory")]
    MemoryLimit {
        /// Bytes it starts with.
        minimum: u64,
        /// Bytes it may have.
        limit: u64,
    },
    /// The compiler itself failed, or made something unexpected.
    #[error("the compiler failed: {0}")]
    Compiler(String),
}

/// A module compiled for the guest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompiledImage {
    /// The image, as the guest maps it.
    pub bytes: Vec<u8>,
    /// Where in it the code lies: whole pages.
    pub exec: Range<u64>,
    /// Bytes of memory the module starts with.
    pub memory_minimum: u64,
}

impl CompiledImage {
    /// What a machine knows it by: BLAKE3 of its bytes.
    #[must_use]
    pub fn digest(&self) -> [u8; 32] {
        *blake3::hash(&self.bytes).as_bytes()
    }

    /// Whether the module fits a memory limit.
    ///
    /// # Errors
    /// [`CompileError::MemoryLimit`] if not.
    pub fn check_memory(&self, limit: u64) -> Result<(), CompileError> {
        if self.memory_minimum > limit {
            return Err(CompileError::MemoryLimit { minimum: self.memory_minimum, limit });
        }
        Ok(())
    }
}

/// The engine that compiles for the guest, and can run the result natively for comparison.
///
/// # Errors
/// [`CompileError::Compiler`] if wasmtime refuses the settings.
pub fn engine() -> Result<Engine, CompileError> {
    let mut config = Config::new();
    sentient_engine::configure(&mut config);
    let compiler = |error: wasmtime::Error| CompileError::Compiler(format!("{error:#}"));
    config.target(sentient_engine::TARGET).map_err(compiler)?;
    for flag in sentient_engine::CPU_FLAGS {
        enable(&mut config, flag);
    }
    Engine::new(&config).map_err(compiler)
}

#[expect(unsafe_code, reason = "wasmtime marks the setting of compiler flags unsafe")]
fn enable(config: &mut Config, flag: &str) {
    // SAFETY: the flag says that the processor has a feature; the runtime that loads the image compares
    // the flags with what its processor has before it runs any of it.
    unsafe {
        config.cranelift_flag_enable(flag);
    }
}

/// Compiles a module.
///
/// # Errors
/// See [`CompileError`].
pub fn compile(wasm: &[u8]) -> Result<CompiledImage, CompileError> {
    let (bytes, memory_minimum) = match wasm.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => compile_module(wasm)?,
        // The version of the binary format counts up until it is one.
        Some([0, b'a', b's', b'm', _, 0, 1, 0]) => compile_component(wasm)?,
        _ => return Err(CompileError::NotWasm { start: describe_start(wasm) }),
    };
    let exec = executable_range(&bytes)?;
    Ok(CompiledImage { bytes, exec, memory_minimum })
}

fn invalid(error: wasmtime::Error) -> CompileError {
    CompileError::Invalid(format!("{error:#}"))
}

fn unusable(error: wasmtime::Error) -> CompileError {
    CompileError::Compiler(format!("{error:#}"))
}

/// A module's image, and bytes of memory that it starts with.
fn compile_module(wasm: &[u8]) -> Result<(Vec<u8>, u64), CompileError> {
    let engine = engine()?;
    let module = Module::new(&engine, wasm).map_err(invalid)?;
    for import in module.imports() {
        if import.module() != "wasi_snapshot_preview1" || !is_preview1(import.name()) {
            return Err(CompileError::Import { module: import.module().into(), name: import.name().into() });
        }
    }
    let memory_minimum = module
        .exports()
        .filter_map(|export| {
            export.ty().memory().map(|memory| memory.minimum().saturating_mul(memory.page_size()))
        })
        .max()
        .unwrap_or(0);
    Ok((module.serialize().map_err(unusable)?, memory_minimum))
}

/// The same of a component.
fn compile_component(wasm: &[u8]) -> Result<(Vec<u8>, u64), CompileError> {
    let engine = engine()?;
    let component = Component::new(&engine, wasm).map_err(invalid)?;
    let ty = component.component_type();
    let of_version_2 = |name: &str| name.split_once(VERSION_2).map(|(interface, _)| interface.to_owned());
    for (name, _) in ty.imports(&engine) {
        if !of_version_2(name).is_some_and(|interface| is_preview2(&interface)) {
            return Err(CompileError::Interface(name.into()));
        }
    }
    if !ty
        .exports(&engine)
        .any(|(name, _)| of_version_2(name).is_some_and(|interface| interface == COMMAND.0))
    {
        return Err(CompileError::NoCommand);
    }
    let memory_minimum =
        component.resources_required().and_then(|needed| needed.max_initial_memory_size).unwrap_or(0);
    Ok((component.serialize().map_err(unusable)?, memory_minimum))
}

fn is_preview1(name: &str) -> bool {
    macro_rules! names {
        ($($function:ident($($parameter:ident: $type:ty),*) -> $result:ty;)*) => { [$(stringify!($function)),*] };
    }
    sentient_wasi::for_each_function!(names).contains(&name)
}

fn is_preview2(interface: &str) -> bool {
    macro_rules! names {
        ($($name:literal => $($module:ident)::+;)*) => { [$($name),*] };
    }
    sentient_wasi::for_each_interface!(names).contains(&interface)
}

/// Where the code lies in an image: its `.text` section, checked to be alone on its pages.
fn executable_range(image: &[u8]) -> Result<Range<u64>, CompileError> {
    let bad = |what: &str| CompileError::Compiler(format!("the image it made {what}"));
    let file =
        ElfFile64::<Endianness>::parse(image).map_err(|error| bad(&format!("is no ELF file: {error}")))?;
    debug_assert!(file.elf_header().is_class_64());
    let Some(text) = file.section_by_name(".text") else { return Ok(0..0) };
    let Some((offset, len)) = text.file_range() else { return Ok(0..0) };
    if offset % PAGE_SIZE != 0 {
        return Err(bad("has its code across a page boundary"));
    }
    let end = offset + len.next_multiple_of(PAGE_SIZE);
    let shares = file
        .sections()
        .filter(|section| section.index() != text.index())
        .filter_map(|section| section.file_range());
    for (other, other_len) in shares {
        if other_len > 0 && other < end && other + other_len > offset {
            return Err(bad("has data on the pages of its code"));
        }
    }
    if end > image.len() as u64 {
        return Err(bad("ends within the last page of its code"));
    }
    Ok(offset..end)
}

fn describe_start(wasm: &[u8]) -> String {
    let start: Vec<u8> = wasm.iter().copied().take(8).collect();
    match start.as_slice() {
        [] => "nothing: the file is empty".into(),
        [0x7f, b'E', b'L', b'F', ..] => "an ELF header: it is a native program".into(),
        [b'#', b'!', ..] => "`#!`: it is a script".into(),
        [0, b'a', b's', b'm', ..] => "a WebAssembly header that is cut short or of an unknown version".into(),
        other => format!("{other:02x?}"),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    /// `(module (memory (export "memory") 2) (func (export "_start")))`
    const SMALL: &[u8] = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x03\x02\x01\0\x05\x03\x01\0\x02\x07\x13\x02\x06memory\x02\0\x06_start\0\0\x0a\x04\x01\x02\0\x0b";

    #[test]
    fn a_module_compiles_to_code_on_pages_of_its_own() {
        let image = compile(SMALL).unwrap();
        assert_eq!(image.exec.start % PAGE_SIZE, 0);
        assert!(image.exec.end <= image.bytes.len() as u64);
        assert_eq!(image.memory_minimum, 2 * 65_536);
        assert!(image.check_memory(2 * 65_536).is_ok());
        assert!(matches!(image.check_memory(65_536), Err(CompileError::MemoryLimit { .. })));
    }

    #[test]
    fn every_truncation_is_refused() {
        for len in 0..SMALL.len() {
            // A cut between sections may leave a smaller valid module; anything else must be an error.
            if let Ok(image) = compile(&SMALL[..len]) {
                assert!(matches!(len, 8 | 14 | 18), "accepted {len} bytes: {image:?}");
            }
        }
    }

    #[test]
    fn what_is_not_webassembly_is_told_apart() {
        let refused = |bytes: &[u8]| compile(bytes).unwrap_err().to_string();
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"\x7fELF\x02\x01\x01\0").contains("native program"));
        assert!(refused(b"#!/bin/sh\necho").contains("script"));
        assert!(refused(b"\0asm\x0d\0\x01\0").contains("a library, and not a command"));
    }

    #[test]
    fn an_unknown_import_is_named() {
        // (module (import "env" "launch" (func)))
        let wasm = b"\0asm\x01\0\0\0\x01\x04\x01\x60\0\0\x02\x0e\x01\x03env\x06launch\0\0";
        let refused = compile(wasm).unwrap_err();
        assert!(
            matches!(&refused, CompileError::Import { module, name } if module == "env" && name == "launch"),
            "{refused}"
        );
    }

    #[test]
    fn a_64_bit_memory_is_refused_by_name() {
        // (module (memory i64 1))
        let refused = compile(b"\0asm\x01\0\0\0\x05\x03\x01\x04\x01").unwrap_err().to_string();
        assert!(refused.contains("memory64"), "{refused}");
    }
}
