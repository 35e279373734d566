//! `sentctl run`.

use super::program::{self, Given};
use crate::cli::run::RunArgs;
use crate::errors::CommandError;
use sentient_abi::boot_module::container_flags;
use sentient_abi::exit::ContainerEnd;
use sentient_abi::layout;
use sentient_control::folders;
use sentient_control::ports::{self, PublishedPort};
use sentient_images::KernelImage;
use sentient_images::cache::Origin;
use sentient_images::program::{DEFAULT_MEMORY, Identity, Prepared};
use sentient_vmm::kvm::vm::DirtyLog;
use sentient_vmm::machine::{Early, Report, Start, StopHandle};
use sentient_vmm::network::Network;
use sentient_vmm::streams::Streams;
use sentient_vmm::{ContainerRun, Ended, Machine, MachineConfig, MachineError};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

/// RAM of a machine beyond the program's memory: kernel, heap, stack, image.
const KERNEL_SHARE: u64 = 48 << 20;
/// Room for an image that all machines have.
const COMMON_IMAGE: u64 = 16 << 20;

/// Runs the program and exits as it does. `early` is a machine that was begun before it was known what was asked
/// for.
pub fn run(
    args: &RunArgs,
    home: Option<&Path>,
    json: bool,
    started: Instant,
    early: Option<Early>,
) -> Result<ExitCode, CommandError> {
    // KVM makes its objects, the kernel is loaded, and the program is read, side by side.
    let guess = args.program.memory.unwrap_or(DEFAULT_MEMORY);
    let first = args.machine_memory.unwrap_or_else(|| default_ram(guess, 0));
    let kernel = find_kernel(args.kernel.as_ref())?;
    let begin = |early: Early, ram: u64| -> Result<Start, MachineError> {
        let mut start = early.with(ram, DirtyLog::Off)?;
        start.load(&kernel)?;
        Ok(start)
    };
    let start = begin(early.map_or_else(Early::begin_to_boot, Ok)?, first)?;
    let volumes = program::folders(&args.volume)?;
    let Prepared { mut spec, image, origin, package } =
        program::prepare(&args.program, &Given::of(args, &volumes), home, json)?;
    let loaded = (image.bytes.len() + spec.files.len()) as u64;
    let ram = args.machine_memory.unwrap_or_else(|| default_ram(spec.memory_limit, loaded));
    let start = if ram == first { start } else { begin(Early::begin_to_boot()?, ram)? };
    let streams = Streams::of_process().map_err(CommandError::io("duplicating the standard streams"))?;
    spec.flags |= terminal_flags(&streams);
    let (confined, destinations) = (spec.permissions.is_some(), spec.destinations.clone());
    let config = MachineConfig {
        ram,
        kernel,
        protocol: args.boot_protocol.into(),
        container: Some(ContainerRun { spec, image }),
        resident: false,
        zero: None,
        snapshots: false,
        heartbeat: args.heartbeat,
        timeout: args.timeout,
    };
    let machine = Machine::on(start, &config, streams)?;
    let network = machine.network();
    network.allow(0, &destinations).map_err(CommandError::io("starting the network"))?;
    ports::publish(&network, 0, &args.publish)
        .map_err(|(port, source)| CommandError::Publish { port: port.to_string(), source })?;
    if !volumes.is_empty() {
        let mounting = machine.mounting();
        folders::mount(&mounting, 0, &volumes)
            .map_err(|(folder, source)| CommandError::Volume { folder: folder.host.clone(), source })?;
        mounting.serve().map_err(CommandError::io("starting the volumes' thread"))?;
    }
    tell_ports(&network, json);
    stop_on_signals(machine.stop_handle())?;
    let report = machine.run()?;
    tell(&report, json, started, &Ran { origin, package: package.as_ref(), confined });
    Ok(ExitCode::from(report.ended.process_code()))
}

/// The built-in kernel, or the one the user names.
fn find_kernel(path: Option<&PathBuf>) -> Result<KernelImage, CommandError> {
    let Some(path) = path else { return Ok(KernelImage::embedded_unchecked()?) };
    let bytes =
        std::fs::read(path).map_err(|source| CommandError::ReadKernel { path: path.clone(), source })?;
    Ok(KernelImage::from_bytes(bytes)?)
}

/// RAM of a machine for a program of so much memory. It is the same for all images but large ones, so that the
/// machine can be begun before the image is there.
fn default_ram(memory: u64, image: u64) -> u64 {
    let image = image.max(COMMON_IMAGE);
    // Of what is free the heap takes a quarter, up to its largest: that is a third of the rest.
    let heap = (memory / 3).min(layout::MAX_HEAP_LEN);
    let wanted = memory.saturating_add(heap).saturating_add(image).saturating_add(KERNEL_SHARE);
    // A container's memory is one piece: what does not fit below the device gap lies above it.
    let above_the_gap = layout::DEVICE_HOLE.saturating_add(memory).saturating_add(KERNEL_SHARE);
    let wanted = if wanted > layout::DEVICE_HOLE { above_the_gap } else { wanted };
    // Past 64 bits the machine refuses it with a message of its own.
    wanted.checked_next_multiple_of(1 << 20).unwrap_or(u64::MAX).max(128 << 20)
}

fn terminal_flags(streams: &Streams) -> u32 {
    let flag = |is_terminal, flag| if is_terminal { flag } else { 0 };
    flag(streams.stdin.is_terminal(), container_flags::STDIN_TERMINAL)
        | flag(streams.stdout.is_terminal(), container_flags::STDOUT_TERMINAL)
        | flag(streams.stderr.is_terminal(), container_flags::STDERR_TERMINAL)
}

/// Ctrl-C and friends stop the machine; a second one does not wait for it.
pub fn stop_on_signals(handle: StopHandle) -> Result<(), CommandError> {
    let mut signals =
        Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(CommandError::io("installing signal handlers"))?;
    let watch = move || {
        let mut asked = false;
        for signal in signals.forever() {
            let ended = if signal == SIGINT { Ended::Interrupted } else { Ended::Terminated };
            if asked {
                std::process::exit(i32::from(ended.process_code()));
            }
            asked = true;
            handle.stop(ended);
        }
    };
    std::thread::Builder::new()
        .name("signals".into())
        .spawn(watch)
        .map_err(CommandError::io("starting the signals' thread"))?;
    Ok(())
}

/// Where the program's ports are found.
fn tell_ports(network: &Network, json: bool) {
    let ports: Vec<PublishedPort> = network.published().iter().map(PublishedPort::from).collect();
    let mut stderr = std::io::stderr().lock();
    // If standard error is gone, nobody wants to know.
    let _ = match json {
        _ if ports.is_empty() => Ok(()),
        true => writeln!(stderr, "{}", serde_json::json!({ "ports": ports })),
        false => ports.iter().try_for_each(|PublishedPort { port, address }| {
            writeln!(stderr, "sentctl: port {port} is at {address}")
        }),
    };
}

/// What has run.
struct Ran<'a> {
    origin: Origin,
    package: Option<&'a Identity>,
    /// It could do only what permissions allow.
    confined: bool,
}

/// What is left to say: the guest has spoken for its container already.
fn tell(report: &Report, json: bool, started: Instant, ran: &Ran<'_>) {
    let mut stderr = std::io::stderr().lock();
    // If standard error is gone, the exit code still tells.
    let _ = if json {
        writeln!(stderr, "{}", as_json(report, started, ran))
    } else {
        match &report.ended {
            Ended::Container(ContainerEnd::BadBootModule) => writeln!(stderr, "sentctl: {}", report.ended),
            Ended::Container(_) | Ended::Interrupted | Ended::Terminated | Ended::BrokenPipe => Ok(()),
            ended => writeln!(stderr, "sentctl: {ended}"),
        }
    };
}

fn as_json(report: &Report, started: Instant, ran: &Ran<'_>) -> serde_json::Value {
    let Ran { origin, package, confined } = ran;
    let ms = |at: Instant| at.saturating_duration_since(started).as_secs_f64() * 1e3;
    let stages = &report.stages;
    serde_json::json!({
        "ended": report.ended.kind(),
        "message": report.ended.to_string(),
        "exit_code": report.ended.process_code(),
        "image": match origin {
            Origin::Cached => "cached",
            Origin::Compiled => "compiled",
            Origin::Rebuilt => "rebuilt",
        },
        "package": package,
        "confined": confined,
        "stages_ms": {
            "machine_started": ms(stages.started),
            "vm_created": ms(stages.created),
            "guest_entry": stages.entered.map(ms),
            "ready": stages.ready.map(ms),
            "first_byte": stages.first_byte.map(ms),
            "ended": stages.ended.map(ms),
        },
        "heartbeats": report.heartbeats,
        "resident_kib": {
            "anonymous": report.residency.anonymous_kib,
            "file": report.residency.file_kib,
            "guest_ram": report.guest_ram_kib,
        },
    })
}
