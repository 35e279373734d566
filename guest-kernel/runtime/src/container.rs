//! One container, from its configuration and its compiled image to its end.

use crate::arena::{self, Arena};
use crate::machine::Machine;
use crate::platform::MappedCode;
use crate::preview1::{self, Stop, Streams};
use crate::report::tell;
use crate::{clock, invoke, scheduler};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use core::ptr::NonNull;
use core::sync::atomic::AtomicU64;
use sentient_abi::boot_module::{self, ContainerConfig, Entry, container_flags};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::image_files::ImageFiles;
use sentient_abi::machine_info::cpu;
use sentient_abi::permissions::{FileAccess, Permissions, permission_flags};
use sentient_abi::region::RegionKind;
use sentient_wasi::{Builder, Limits, Wasi};
use wasmtime::{
    Config, Engine, Instance, InstancePre, Linker, Memory, Module, Store, StoreLimits, StoreLimitsBuilder,
    TypedFunc,
};

/// Most elements of a table, and most tables: they live on the runtime's heap, outside the memory limit.
const MAX_TABLE_ELEMENTS: usize = 100_000;
const MAX_TABLES: usize = 8;

/// Arguments and environment may take one part in this many of the heap; they are copied more than once.
const ARGUMENTS_SHARE: u64 = 8;

/// The function that a program begins with, by WASI's convention.
const START: &str = "_start";

/// A container's state: what its host functions see.
pub struct State {
    /// The WASI layer.
    pub wasi: Wasi,
    /// Its way to clocks and streams.
    pub streams: Streams,
    /// The exported memory, once a function has looked for it.
    pub memory: Option<Memory>,
    limits: StoreLimits,
}

/// A container that is ready to run, or runs. What it holds on the heap goes when it is dropped; its regions
/// do not.
pub struct Container {
    /// Its configuration.
    pub config: ContainerConfig<'static>,
    /// Its number.
    pub index: u32,
    /// Its region: memory, and at the end the stack of its thread.
    pub region: Range<usize>,
    /// Bytes of linear memory that it has.
    pub memory_used: Arc<AtomicU64>,
    /// What is being instantiated, and the function that runs. Not on the thread's stack: one that is ended in its
    /// code, of which a start function is part, never comes back there, and what lies there is not dropped. These
    /// hold the module, whose code wasmtime knows by its address, and the engine.
    instantiated: Option<InstancePre<State>>,
    entry: Option<TypedFunc<(), ()>>,
    store: Store<State>,
    linker: Linker<State>,
    module: Module,
}

impl Container {
    /// Makes a container of its configuration and image, in a region of its own.
    ///
    /// # Errors
    /// wasmtime's, with the reason for people. Then there may be a region already.
    pub fn prepare(
        machine: &mut Machine,
        index: u32,
        given: &boot_module::Container<'static>,
    ) -> wasmtime::Result<Self> {
        let boot_module::Container { config, image, .. } = *given;
        let region_len = arena::region_len(config.memory_limit);
        let Some((region, zeroed)) = region_len.and_then(|len| machine.assign(index, len)) else {
            wasmtime::bail!("{}", machine.no_room(config.memory_limit, "it"));
        };
        let arena = Arc::new(Arena::new(&region, config.memory_limit, zeroed));
        let memory_used = arena.used();
        let engine = engine(machine, &arena, image, &given.image_entry)?;
        let code = NonNull::from(image);
        // SAFETY: the image comes from our compiler: the VMM checks its digest, and on other loaders it is
        // as trusted as the kernel it came with. It is not written while the container is there.
        let module = unsafe { Module::deserialize_raw(&engine, code)? };
        let mut linker = Linker::new(&engine);
        for import in module.imports() {
            if !preview1::define(&mut linker, import.module(), import.name())? {
                wasmtime::bail!(
                    "it imports `{}` from `{}`, which there is not",
                    import.name(),
                    import.module()
                );
            }
        }
        let limit = usize::try_from(config.memory_limit).unwrap_or(usize::MAX);
        let state = State {
            wasi: wasi(machine, given)?,
            streams: Streams::new(index, config.flags, given.permissions.as_ref()),
            memory: None,
            limits: StoreLimitsBuilder::new()
                .memory_size(limit)
                .table_elements(MAX_TABLE_ELEMENTS)
                .tables(MAX_TABLES)
                .build(),
        };
        let mut store = Store::new(&engine, state);
        store.limiter(|state| &mut state.limits);
        let region = region.base as usize..(region.base + region.len) as usize;
        Ok(Self {
            config,
            index,
            region,
            memory_used,
            instantiated: None,
            entry: None,
            store,
            linker,
            module,
        })
    }

    /// Where its compiled code lies.
    pub fn code(&self) -> Range<usize> {
        let text = self.module.text().as_ptr_range();
        text.start as usize..text.end as usize
    }

    /// Its compiled module.
    pub fn module(&self) -> &Module {
        &self.module
    }

    /// Runs it to its end, on its thread.
    pub fn run(&mut self) -> ContainerEnd {
        match self.execute() {
            Ok(()) => ContainerEnd::Exited(0),
            Err(error) => {
                scheduler::last_words();
                end_of(self.index, &error)
            }
        }
    }

    fn execute(&mut self) -> wasmtime::Result<()> {
        let imported = self.linker.instantiate_pre(&self.module)?;
        let instance = self.instantiated.insert(imported).instantiate(&mut self.store)?;
        if self.config.flags & container_flags::INVOKE != 0 {
            let args: Vec<&[u8]> = self.config.args().skip(1).collect();
            return invoke::invoke(&mut self.store, &instance, self.index, &args);
        }
        self.start(&instance)
    }

    fn start(&mut self, instance: &Instance) -> wasmtime::Result<()> {
        let store = &mut self.store;
        let name = if self.config.entry.is_empty() { START } else { self.config.entry };
        let Some(function) = instance.get_func(&mut *store, name) else {
            if name == START {
                wasmtime::bail!(
                    "it exports no function `_start`: it is a library; name a function with --invoke"
                );
            }
            wasmtime::bail!("it exports no function `{name}`, which its package names as its entry");
        };
        let typed = function.typed(&*store)?;
        self.entry.insert(typed).call(store, ())
    }
}

fn end_of(index: u32, error: &wasmtime::Error) -> ContainerEnd {
    match error.downcast_ref::<Stop>() {
        Some(Stop::Exit(code)) => return ContainerEnd::Exited(*code),
        Some(Stop::Doomed(end)) => {
            if *end == ContainerEnd::CpuLimit {
                tell(index, format_args!("its CPU time limit is reached: {error:?}"));
            }
            return *end;
        }
        None => {}
    }
    if error.downcast_ref::<wasmtime::Trap>().is_some() {
        tell(index, format_args!("trapped: {error:?}"));
        return ContainerEnd::Trapped;
    }
    tell(index, format_args!("{error:?}"));
    ContainerEnd::Unstartable
}

fn wasi(machine: &Machine, given: &boot_module::Container<'static>) -> wasmtime::Result<Wasi> {
    let boot_module::Container { config, permissions, files, .. } = given;
    // Files live on the runtime's heap, which must not run out because of them.
    let heap = machine.region(RegionKind::Heap).map_or(0, |region| region.len);
    let mut limits = Limits { file_bytes: heap / 2, ..Limits::default() };
    if let Some(permissions) = permissions {
        limits.file_bytes = limited(limits.file_bytes, permissions.file_bytes);
        limits.descriptors = limited(limits.descriptors.into(), permissions.open_files.into()) as u32;
    }
    let words: u64 = config.args().chain(config.env()).map(|word| word.len() as u64).sum();
    if words > heap / ARGUMENTS_SHARE {
        wasmtime::bail!(
            "its arguments or environment, {words} bytes, are too long for this machine: raise --machine-memory"
        );
    }
    let mut builder =
        Builder::new().args(config.args().map(<[u8]>::to_vec)).time_ns(clock::wall_ns()).limits(limits);
    for variable in config.env() {
        let split = variable.iter().position(|byte| *byte == b'=').unwrap_or(variable.len());
        let (name, value) = variable.split_at(split);
        builder = builder.env(name, value.get(1..).unwrap_or(&[]));
    }
    for (path, contents) in files.iter().flat_map(ImageFiles::iter) {
        builder = builder.file_of_image(path, contents);
    }
    if let Some(permissions) = permissions {
        builder = builder.permissions(wasi_permissions(permissions));
    }
    builder.build().map_err(|error| wasmtime::format_err!("{error}"))
}

/// The smaller one of what there is and what is allowed; 0 allows all.
fn limited(there_is: u64, allowed: u64) -> u64 {
    if allowed == 0 { there_is } else { there_is.min(allowed) }
}

fn wasi_permissions(given: &Permissions<'_>) -> sentient_wasi::Permissions {
    let clock = |resolution: u64| (resolution > 0).then_some(resolution);
    let rule = |(access, path): (FileAccess, &[u8])| {
        let access = match access {
            FileAccess::None => sentient_wasi::FileAccess::None,
            FileAccess::Read => sentient_wasi::FileAccess::Read,
            FileAccess::Write => sentient_wasi::FileAccess::Write,
        };
        (path.to_vec(), access)
    };
    sentient_wasi::Permissions {
        files: given.rules().map(rule).collect(),
        wall_clock_ns: clock(given.wall_clock_ns),
        monotonic_clock_ns: clock(given.monotonic_clock_ns),
        random: given.flags & permission_flags::RANDOM != 0,
    }
}

fn engine(machine: &Machine, arena: &Arc<Arena>, image: &[u8], entry: &Entry) -> wasmtime::Result<Engine> {
    let mut config = Config::new();
    sentient_engine::configure(&mut config);
    let start = image.as_ptr() as usize + (entry.exec_offset - entry.offset) as usize;
    let code = MappedCode::new(start..start + entry.exec_len as usize);
    config.with_host_memory(arena.clone()).with_custom_code_memory(Some(code));
    let detect = match machine.info {
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
