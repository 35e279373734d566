//! One container, from its configuration and its compiled image to its end.

use crate::arena::{Arena, MIN_FILES, Needs};
use crate::calls::Stop;
use crate::host::Streams;
use crate::images::{Image, Images, Program};
use crate::machine::Machine;
use crate::network::{listen, start as network_of};
use crate::preview2::{self, MAX_HANDLES, Resources};
use crate::report::tell;
use crate::{clock, heap, invoke, scheduler, volumes};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Range;
use sentient_abi::boot_module::{self, ContainerConfig, container_flags};
use sentient_abi::exit::ContainerEnd;
use sentient_abi::image_files::ImageFiles;
use sentient_abi::mounts::{Mount, container_of, mounts};
use sentient_abi::network;
use sentient_abi::permissions::{FileAccess, Permissions, permission_flags};
use sentient_abi::region::{Region, RegionKind};
use sentient_wasi::{Access, Builder, Limits, Wasi};
use wasmtime::{Instance, Memory, ResourceLimiter, Store, TypedFunc};

/// Most elements of all tables together, and most tables: they live on a heap, outside the memory limit.
const MAX_TABLE_ELEMENTS: usize = 100_000;
const MAX_TABLES: usize = 8;

/// Most modules that a component consists of, and most instances of them.
const MAX_INSTANCES: usize = 64;

/// What a container may have of memory and tables.
pub struct Ceiling {
    /// Most bytes of a linear memory.
    memory: usize,
    /// Elements of its tables so far.
    elements: usize,
}

impl ResourceLimiter for Ceiling {
    fn memory_growing(
        &mut self,
        _current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        Ok(desired <= self.memory)
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        _maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let elements = self.elements.saturating_add(desired.saturating_sub(current));
        let allowed = elements <= MAX_TABLE_ELEMENTS;
        if allowed {
            self.elements = elements;
        }
        Ok(allowed)
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn instances(&self) -> usize {
        MAX_INSTANCES
    }
}

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
    /// A module's exported memory, once a function has looked for it.
    pub memory: Option<Memory>,
    /// What a component has handles of.
    pub resources: Resources,
    ceiling: Ceiling,
}

/// A container that is ready to run, or runs. What it holds is in its [arena](crate::arena), and goes when this is
/// dropped; its region does not.
pub struct Container {
    /// Its configuration.
    pub config: ContainerConfig<'static>,
    /// Its number.
    pub index: u32,
    /// Its region: at the end of it is the stack of its thread.
    pub region: Range<usize>,
    /// What lies in it.
    pub arena: &'static Arena,
    /// The container whose files it has.
    pub files_of: Option<u32>,
    /// The function that runs. Not on the thread's stack: one that is ended in its code, of which a start function is
    /// part, never comes back there, and what lies there is not dropped.
    entry: Option<TypedFunc<(), ()>>,
    /// It was begun: whatever goes wrong from then on is the program's doing.
    is_begun: bool,
    store: Store<State>,
    /// What it runs.
    pub image: Arc<Image>,
}

/// Room for a container: a region, and whether nothing was ever written there.
pub struct Room {
    /// The region.
    pub region: Region,
    zeroed: bool,
    needs: Needs,
}

impl Room {
    /// A region with room for what a container needs. Where there is not enough for its files, it gets what is left.
    pub fn make(machine: &mut Machine, images: &mut Images, index: u32, mut needs: Needs) -> Option<Self> {
        loop {
            let len = needs.region_len()?;
            let found = images.make_room(machine, |machine| machine.assign(index, len));
            if let Some((region, zeroed)) = found {
                return Some(Self { region, zeroed, needs });
            }
            let less = needs.file_bytes() / 2;
            if needs.files.is_some_and(|_| less < MIN_FILES) {
                return None;
            }
            needs.files = Some(less);
        }
    }
}

impl Container {
    /// Makes a container of its configuration and image, in its region.
    ///
    /// # Errors
    /// The reason, for people.
    pub fn prepare(
        machine: &Machine,
        index: u32,
        room: &Room,
        given: &boot_module::Container<'static>,
        image: Arc<Image>,
    ) -> wasmtime::Result<Self> {
        let Room { region, zeroed, needs } = room;
        let config = given.config;
        if config.memory_limit > needs.memory {
            wasmtime::bail!(
                "it has room for {} bytes of memory, and a limit of {}",
                needs.memory,
                config.memory_limit
            );
        }
        // SAFETY: the region is this container's, and as long as its needs say; it is given back when all that is
        // made here is dropped (`Control::ended`).
        let arena = unsafe { Arena::new(index, region, needs, *zeroed) };
        heap::within(arena, || {
            let limit = usize::try_from(config.memory_limit).unwrap_or(usize::MAX);
            let wasi = wasi(machine, index, given, needs.file_bytes())?;
            let state = State {
                resources: Resources::new(&wasi),
                wasi,
                streams: Streams::new(index, config.flags, given.permissions.as_ref()),
                memory: None,
                ceiling: Ceiling { memory: limit, elements: 0 },
            };
            let mut store = Store::new(image.program.engine(), state);
            store.limiter(|state| &mut state.ceiling);
            store.set_hostcall_fuel(preview2::HOSTCALL_FUEL);
            store.set_max_component_handles(MAX_HANDLES);
            let region = region.base as usize..(region.base + region.len) as usize;
            Ok(Self {
                config,
                index,
                region,
                arena,
                files_of: files_of(given),
                entry: None,
                is_begun: false,
                store,
                image,
            })
        })
    }

    /// What its host functions see.
    pub fn state(&mut self) -> &mut State {
        self.store.data_mut()
    }

    /// Runs it to its end, on its thread.
    pub fn run(&mut self) -> ContainerEnd {
        match self.execute() {
            Ok(()) => ContainerEnd::Exited(0),
            Err(error) => {
                scheduler::last_words();
                end_of(self.index, self.is_begun, &error)
            }
        }
    }

    /// Whatever owns something lies in the container itself while its code runs, as its entry does.
    fn execute(&mut self) -> wasmtime::Result<()> {
        let Self { image, store, config, .. } = self;
        let invokes = config.flags & container_flags::INVOKE != 0;
        let instance = match &image.program {
            Program::Component(..) if invokes => {
                wasmtime::bail!("it is a component: --invoke calls functions of modules")
            }
            Program::Component(..) if !matches!(config.entry, "" | START) => {
                wasmtime::bail!(
                    "it is a component: it begins with its `wasi:cli/run`, and its package names another entry"
                )
            }
            Program::Component(component, entry) => {
                let instance = component.instantiate(&mut *store)?;
                let function = instance.get_typed_func::<(), (Result<(), ()>,)>(&mut *store, entry)?;
                self.is_begun = true;
                let (ended,) = function.call(store, ())?;
                return ended.map_err(|()| wasmtime::Error::new(Stop::Exit(1)));
            }
            Program::Module(module) => module.instantiate(store)?,
        };
        if invokes {
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
        self.is_begun = true;
        self.entry.insert(typed).call(store, ())
    }
}

/// The container whose files one is given.
pub fn files_of(given: &boot_module::Container<'_>) -> Option<u32> {
    mounts(given.mounts).into_iter().flatten().find_map(|mount| container_of(mount.volume))
}

fn end_of(index: u32, is_begun: bool, error: &wasmtime::Error) -> ContainerEnd {
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
    if is_begun || error.downcast_ref::<wasmtime::Trap>().is_some() {
        tell(index, format_args!("trapped: {error:?}"));
        return ContainerEnd::Trapped;
    }
    tell(index, format_args!("{error:?}"));
    ContainerEnd::Unstartable
}

fn wasi(
    machine: &Machine,
    index: u32,
    given: &boot_module::Container<'static>,
    file_bytes: u64,
) -> wasmtime::Result<Wasi> {
    let boot_module::Container { config, permissions, files, .. } = given;
    let mut limits = Limits { file_bytes, ..Limits::default() };
    if let Some(permissions) = permissions {
        limits.descriptors = limited(limits.descriptors.into(), permissions.open_files.into()) as u32;
    }
    let heap = machine.region(RegionKind::Heap).map_or(0, |region| region.len);
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
    for port in network::ports(given.ports).into_iter().flatten() {
        listen(machine, index, port).map_err(wasmtime::Error::msg)?;
        builder = builder.listener(port);
    }
    if given.destinations.iter().next().is_some() {
        // Without one, whatever it calls cannot be reached.
        network_of(machine);
        builder = builder.destinations(given.destinations);
    }
    for Mount { volume, read_only, path } in mounts(given.mounts).into_iter().flatten() {
        volumes::start(machine);
        builder = builder.volume(path, volume, if read_only { Access::ReadOnly } else { Access::ReadWrite });
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
