//! Compiled images, each of them once, however many containers run it.
//!
//! An image is code and constants: nothing of it is written, and it says nothing of a container. One that no
//! container runs stays until the room is needed, so that the next container of it starts at once.

use crate::arena::OwnMemory;
use crate::container::State;
use crate::machine::Machine;
use crate::report::log;
use crate::{gate, heap, preview1, preview2};
use alloc::boxed::Box;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use alloc::{format, vec};
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use sentient_abi::boot_module::{BootModule, Entry, EntryKind};
use sentient_abi::gate::Rights;
use sentient_abi::machine_info::{MachineInfo, cpu};
use sentient_abi::page_align_up;
use sentient_abi::region::{Region, RegionKind, image_name};
use wasmtime::component::{self, Component, ComponentExportIndex};
use wasmtime::{Config, CustomCodeMemory, Engine, InstancePre, Linker, Module, ModuleFunction, Precompiled};

/// A compiled program with its imports, ready to be instantiated.
pub enum Program {
    /// A core module.
    Module(InstancePre<State>),
    /// A component, and where in it the function of a command is.
    Component(component::InstancePre<State>, ComponentExportIndex),
}

impl Program {
    /// # Safety
    /// The bytes are what our compiler has made, and are not written as long as the program is there.
    unsafe fn load(engine: &Engine, bytes: &'static [u8]) -> wasmtime::Result<Self> {
        if Engine::detect_precompiled(bytes) == Some(Precompiled::Component) {
            // SAFETY: the caller's contract.
            let component = unsafe { Component::deserialize_raw(engine, NonNull::from(bytes))? };
            let mut linker = component::Linker::new(engine);
            preview2::define(&mut linker, &component)?;
            let entry = preview2::entry(&component)?;
            return Ok(Self::Component(linker.instantiate_pre(&component)?, entry));
        }
        // SAFETY: the caller's contract.
        let module = unsafe { Module::deserialize_raw(engine, NonNull::from(bytes))? };
        let mut linker = Linker::new(engine);
        for import in module.imports() {
            if !preview1::define(&mut linker, import.module(), import.name())? {
                wasmtime::bail!(
                    "it imports `{}` from `{}`, which there is not",
                    import.name(),
                    import.module()
                );
            }
        }
        Ok(Self::Module(linker.instantiate_pre(&module)?))
    }

    /// The engine that it was made for.
    pub fn engine(&self) -> &Engine {
        match self {
            Self::Module(instance) => instance.module().engine(),
            Self::Component(instance, _) => instance.component().engine(),
        }
    }

    /// Its functions: their names, and where they lie from the start of its code on.
    pub fn functions(&self) -> Box<dyn Iterator<Item = ModuleFunction> + '_> {
        match self {
            Self::Module(instance) => Box::new(instance.module().functions()),
            Self::Component(instance, _) => Box::new(instance.component().functions()),
        }
    }

    fn text(&self) -> &[u8] {
        match self {
            Self::Module(instance) => instance.module().text(),
            Self::Component(instance, _) => instance.component().text(),
        }
    }
}

/// A compiled image.
pub struct Image {
    /// What it is called; `None` if it is of the boot module.
    digest: Option<[u8; 32]>,
    /// The number of its region.
    number: u32,
    /// What is in it.
    pub program: Program,
}

impl Image {
    /// Where its compiled code lies.
    pub fn code(&self) -> Range<usize> {
        let text = self.program.text().as_ptr_range();
        text.start as usize..text.end as usize
    }
}

/// An image that is on its way into its region: bytes it is to have and has.
struct Coming {
    digest: [u8; 32],
    region: Region,
    total: u64,
    filled: u64,
}

/// The images of a machine.
pub struct Images {
    engine: Option<Engine>,
    executable: Arc<Executable>,
    /// The longest unused first, as far as they are unused.
    there: Vec<Arc<Image>>,
    /// `None` also for one that is not wanted: it is there already, or there is no room for it.
    coming: Option<Coming>,
    /// The last one that could not be had, and why.
    failed: Option<([u8; 32], String)>,
}

impl Images {
    /// None.
    pub fn new() -> Self {
        Self {
            engine: None,
            executable: Arc::new(Executable::default()),
            there: Vec::new(),
            coming: None,
            failed: None,
        }
    }

    /// The image of this digest; `None` if it is not there.
    pub fn find(&mut self, digest: &[u8; 32]) -> Option<Arc<Image>> {
        let at = self.there.iter().position(|image| image.digest.as_ref() == Some(digest))?;
        let image = self.there.remove(at);
        self.there.push(Arc::clone(&image));
        Some(image)
    }

    /// Why an image could not be had, if it was sent. Told once: it may be sent again.
    pub fn failure(&mut self, digest: &[u8; 32]) -> Option<String> {
        self.failed.take_if(|(failed, _)| failed == digest).map(|(_, reason)| reason)
    }

    /// An image of this many bytes is coming.
    pub fn expect(&mut self, machine: &mut Machine, digest: &[u8], total: u64) {
        self.give_up(machine);
        let Ok(digest) = <[u8; 32]>::try_from(digest) else {
            return log(format_args!("an image came without a digest"));
        };
        if self.find(&digest).is_some() {
            return;
        }
        let Some(len) = page_align_up(total).filter(|len| *len > 0) else { return };
        let number = self.free_number();
        let region =
            self.make_room(machine, |machine| machine.assign_image(number, len, image_name(&digest)));
        match region {
            Some(region) => self.coming = Some(Coming { digest, region, total, filled: 0 }),
            None => self.failed = Some((digest, machine.no_room(total, "its image"))),
        }
    }

    /// The next bytes of it.
    pub fn take(&mut self, machine: &mut Machine, bytes: &[u8]) {
        let Some(Coming { region, total, filled, .. }) = &mut self.coming else { return };
        let len = bytes.len() as u64;
        if len > *total - *filled {
            log(format_args!("more bytes of an image came than were announced"));
            return self.give_up(machine);
        }
        // SAFETY: within the image's region, which is mapped for writing and known to nobody else.
        unsafe {
            let to = (region.base + *filled) as *mut u8;
            core::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len());
        }
        *filled += len;
        if filled == total {
            self.complete(machine);
        }
    }

    fn complete(&mut self, machine: &mut Machine) {
        let Some(Coming { digest, region, total, .. }) = self.coming.take() else { return };
        // SAFETY: the image's region, mapped, and written by nobody from here on. It is given back when what is made
        // here was dropped.
        let bytes: &'static [u8] =
            unsafe { core::slice::from_raw_parts(region.base as *const u8, total as usize) };
        match self.load(machine, digest, &region, bytes) {
            Ok(image) => self.there.push(image),
            Err(reason) => {
                self.failed = Some((digest, reason));
                give_back(machine, &region);
            }
        }
    }

    fn load(
        &mut self,
        machine: &Machine,
        digest: [u8; 32],
        region: &Region,
        bytes: &'static [u8],
    ) -> Result<Arc<Image>, String> {
        let module = BootModule::parse(bytes).map_err(|error| format!("its image is none: {error:?}"))?;
        let entry = module.find(EntryKind::Image, 0).ok_or("its image is none")?;
        let data = module.data(&entry).ok_or("its image is cut short")?;
        let code = module.code_ranges().next().ok_or("its image has no code")?;
        let parts = [
            (0..code.start, Rights::Read),
            (code.clone(), Rights::Execute),
            (code.end..region.len, Rights::Read),
        ];
        let mut parts = parts.into_iter().filter(|(part, _)| !part.is_empty());
        if !parts.all(|(part, rights)| gate::protect(region.base + part.start, part.end - part.start, rights))
        {
            return Err("the machine has no page tables left for its image".into());
        }
        self.make(machine, Some(digest), region.owner, &entry, data).map_err(|error| format!("{error:#}"))
    }

    /// An image of the boot module, which lies there, mapped as it has to be.
    ///
    /// # Errors
    /// wasmtime's, with the reason for people.
    pub fn of_boot_module(
        &mut self,
        machine: &Machine,
        entry: &Entry,
        bytes: &'static [u8],
    ) -> wasmtime::Result<Arc<Image>> {
        self.make(machine, None, 0, entry, bytes)
    }

    fn make(
        &mut self,
        machine: &Machine,
        digest: Option<[u8; 32]>,
        number: u32,
        entry: &Entry,
        bytes: &'static [u8],
    ) -> wasmtime::Result<Arc<Image>> {
        // What wasmtime knows of modules and types, it knows in tables that are for all of them.
        heap::in_runtime(|| {
            let engine = match &self.engine {
                Some(engine) => engine,
                None => self.engine.insert(engine(machine.info, &self.executable)?),
            };
            self.executable.set(bytes.as_ptr() as usize, entry);
            // SAFETY: the image comes from our compiler: the VMM checks its digest, and on other loaders it is
            // as trusted as the kernel it came with. It is not written while it is there.
            let program = unsafe { Program::load(engine, bytes)? };
            Ok(Arc::new(Image { digest, number, program }))
        })
    }

    /// Does what needs memory, and as long as there is not enough, gives back images that nobody runs.
    pub fn make_room<T>(
        &mut self,
        machine: &mut Machine,
        mut need: impl FnMut(&mut Machine) -> Option<T>,
    ) -> Option<T> {
        loop {
            let found = need(machine);
            if found.is_some() || !self.give_back_one(machine) {
                return found;
            }
        }
    }

    /// The longest unused one; but not the last one that came or was asked for, whose container may be coming.
    fn give_back_one(&mut self, machine: &mut Machine) -> bool {
        let unused = |image: &Arc<Image>| Arc::strong_count(image) == 1 && image.digest.is_some();
        let older = self.there.len().saturating_sub(1);
        let Some(at) = self.there.iter().take(older).position(unused) else { return false };
        let number = self.there.remove(at).number;
        if let Some(region) = machine.owned(RegionKind::Image, number) {
            give_back(machine, &region);
        }
        true
    }

    /// Forgets an image that has not come whole.
    fn give_up(&mut self, machine: &mut Machine) {
        if let Some(Coming { region, .. }) = self.coming.take() {
            machine.release(RegionKind::Image, region.owner);
        }
    }

    fn free_number(&self) -> u32 {
        let mut taken = vec![false; self.there.len()];
        for image in &self.there {
            if let Some(taken) = taken.get_mut(image.number as usize) {
                *taken = true;
            }
        }
        taken.iter().position(|taken| !taken).unwrap_or(taken.len()) as u32
    }
}

/// Gives an image's region back, writable again.
fn give_back(machine: &mut Machine, region: &Region) {
    if gate::protect(region.base, region.len, Rights::Write) {
        machine.release(RegionKind::Image, region.owner);
    } else {
        log(format_args!("the image at {:#x} cannot be given back", region.base));
    }
}

fn engine(info: Option<MachineInfo>, executable: &Arc<Executable>) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    sentient_engine::configure(&mut config);
    config.with_host_memory(OwnMemory::new()).with_custom_code_memory(Some(executable.clone()));
    let detect = match info {
        Some(info) if info.cpu_features & cpu::X86_64_V2 != 0 => |_: &str| Some(true),
        // The VMM says the processor lacks it, or nobody says: ask the processor.
        _ => from_cpuid as fn(&str) -> Option<bool>,
    };
    // SAFETY: both answers are true of the processor: the first by the VMM's look at the host's.
    unsafe { config.detect_host_feature(detect) };
    Engine::new(&config)
}

/// Whether the processor has a feature (Intel SDM volume 2, CPUID leaf 1, ECX).
fn from_cpuid(feature: &str) -> Option<bool> {
    let bit = match feature {
        "sse3" => 0,
        "ssse3" => 9,
        "cmpxchg16b" => 13,
        "sse4.1" => 19,
        "sse4.2" => 20,
        "popcnt" => 23,
        _ => return Some(false),
    };
    Some(core::arch::x86_64::__cpuid(1).ecx & (1 << bit) != 0)
}

/// The code of the image that is being made, which whoever made the page tables, or the nucleus since, has mapped
/// executable and not writable.
#[derive(Default)]
struct Executable {
    start: AtomicUsize,
    end: AtomicUsize,
}

impl Executable {
    /// That of an image whose bytes begin here.
    fn set(&self, image: usize, entry: &Entry) {
        let start = image + (entry.exec_offset - entry.offset) as usize;
        self.start.store(start, Relaxed);
        self.end.store(start + entry.exec_len as usize, Relaxed);
    }
}

impl CustomCodeMemory for Executable {
    fn required_alignment(&self) -> usize {
        4096
    }

    fn publish_executable(&self, code: *const u8, len: usize) -> wasmtime::Result<()> {
        let (start, end) = (self.start.load(Relaxed), self.end.load(Relaxed));
        if (code as usize) < start || (code as usize).saturating_add(len) > end {
            wasmtime::bail!(
                "the image has its code at {code:?} (+{len:#x}), but the boot module says {start:#x} to {end:#x}"
            );
        }
        Ok(())
    }

    fn unpublish_executable(&self, _code: *const u8, _len: usize) -> wasmtime::Result<()> {
        Ok(())
    }
}
