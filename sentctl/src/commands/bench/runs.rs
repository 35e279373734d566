//! Figures of whole runs: this program, started as a user starts it.

use super::statistics::Series;
use crate::errors::CommandError;
use rustix::time::{ClockId, clock_gettime};
use sentient_abi::boot_module::ContainerSpec;
use sentient_images::{CompiledImage, ImageCache, KernelImage};
use sentient_vmm::error::MachineError;
use sentient_vmm::kvm::vm::{ALL, DirtyLog, EmptyVm};
use sentient_vmm::kvm::{self, KvmError};
use sentient_vmm::streams::{Input, Output, Streams};
use sentient_vmm::{BootProtocol, ContainerRun, Machine, MachineConfig};
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

pub const HELLO: &[u8] = include_bytes!("../../../../resources/containers/hello/hello.wasm");
const SPOUT: &[u8] = include_bytes!("../../../../resources/containers/spout/spout.wasm");

/// MiB written per run of the throughput figure.
const SPOUT_MIB: u32 = 256;
/// Runs of it: each takes longer than a start.
const SPOUT_REPEATS: u32 = 5;

/// A folder that goes away with the program's files in it.
pub struct Programs {
    folder: PathBuf,
}

impl Programs {
    pub fn new() -> Result<Self, CommandError> {
        Self::within(&std::env::temp_dir())
    }

    /// In this folder, for what depends on where it is.
    pub fn within(parent: &Path) -> Result<Self, CommandError> {
        // A measurement may need two.
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let folder = parent.join(format!("sentctl-bench-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&folder)
            .map_err(|source| CommandError::Write { path: folder.clone(), source })?;
        Ok(Self { folder })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.folder
    }

    pub fn add(&self, name: &str, wasm: &[u8]) -> Result<PathBuf, CommandError> {
        let path = self.folder.join(name);
        std::fs::write(&path, wasm).map_err(|source| CommandError::Write { path: path.clone(), source })?;
        Ok(path)
    }
}

impl Drop for Programs {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// This program.
pub fn this_program() -> Result<Command, CommandError> {
    std::env::current_exe().map(Command::new).map_err(CommandError::io("finding this program"))
}

/// This program, to run `wasm`.
pub fn run_command(wasm: &Path) -> Result<Command, CommandError> {
    let mut command = this_program()?;
    command.args(["--json", "run"]).arg(wasm).env_remove("SENTCTL_LOG_LEVEL").stdin(Stdio::null());
    Ok(command)
}

/// The report a run leaves on its standard error.
pub fn report_of(stderr: &[u8]) -> Result<Value, CommandError> {
    let text = String::from_utf8_lossy(stderr);
    let line = text.lines().last().unwrap_or("");
    let report: Value =
        serde_json::from_str(line).map_err(|_| CommandError::Bench(format!("a run failed: {text}")))?;
    match report.get("ended").and_then(Value::as_str) {
        Some("exited") => Ok(report),
        _ => Err(CommandError::Bench(format!("a run did not end well: {line}"))),
    }
}

fn number(report: &Value, path: &[&str]) -> f64 {
    path.iter().try_fold(report, |value, name| value.get(name)).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

/// Starts hello as often as asked, its image cached; gives the reports.
fn hello_reports(repeats: u32) -> Result<Vec<Value>, CommandError> {
    let programs = Programs::new()?;
    let hello = programs.add("hello.wasm", HELLO)?;
    let mut reports = Vec::new();
    // The first run compiles, and warms the host's page cache.
    for round in 0..=repeats {
        let mut command = run_command(&hello)?;
        let now = clock_gettime(ClockId::Monotonic);
        let started = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        command.env("SENTCTL_STARTED_NS", started.to_string());
        let output = command.output().map_err(CommandError::io("starting this program"))?;
        let report = report_of(&output.stderr)?;
        if round > 0 {
            reports.push(report);
        }
    }
    Ok(reports)
}

/// Milliseconds from the start of the process to the container's first byte of output.
pub fn cold_first_byte(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let reports = hello_reports(repeats)?;
    let series =
        |name: &str| Series::new(reports.iter().map(|report| number(report, &["stages_ms", name])).collect());
    let mut details = Map::new();
    for stage in ["machine_started", "vm_created", "guest_entry", "ready", "first_byte", "ended"] {
        details.insert(format!("{stage}_ms"), json!(series(stage).median()));
    }
    let repeated = |work: fn() -> Result<f64, CommandError>| -> Result<f64, CommandError> {
        let times: Result<Vec<f64>, _> = (0..repeats.max(1)).map(|_| work()).collect();
        Ok(Series::new(times?).median())
    };
    details.insert("limit_process_ms".into(), json!(repeated(bare_process)?));
    details.insert("limit_kvm_ms".into(), json!(repeated(bare_machine)?));
    Ok((series("first_byte"), details))
}

/// Milliseconds from the start to the end of a process of this program that has nothing to do.
fn bare_process() -> Result<f64, CommandError> {
    let mut command = this_program()?;
    let started = Instant::now();
    let status = command.arg("version").stdout(Stdio::null()).status();
    let took = started.elapsed().as_secs_f64() * 1e3;
    if !status.map_err(CommandError::io("starting this program"))?.success() {
        return Err(CommandError::Bench("a process without anything to do failed".into()));
    }
    Ok(took)
}

/// Milliseconds until KVM has made a machine with a vCPU, whose guest is not entered: nothing that boots is faster.
fn bare_machine() -> Result<f64, CommandError> {
    let memory = sentient_vmm::memory::allocate(64 << 20)?;
    let started = Instant::now();
    let made = || -> Result<_, KvmError> {
        let machine = EmptyVm::new(&kvm::open()?)?.with(memory, DirtyLog::Off, &[ALL])?;
        let mut vcpu = machine.create_vcpu()?;
        kvm::vcpu::run_nothing(&mut vcpu)?;
        Ok((vcpu, machine))
    };
    let made = made().map_err(MachineError::from)?;
    let took = started.elapsed().as_secs_f64() * 1e3;
    drop(made);
    Ok(took)
}

/// MiB of the VMM's process beyond the guest's RAM.
pub fn vmm_overhead(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let reports = hello_reports(repeats.min(7))?;
    let part = |report: &Value, name: &str| number(report, &["resident_kib", name]) / 1024.0;
    let all = |name: &str| Series::new(reports.iter().map(|report| part(report, name)).collect()).median();
    let overhead = reports.iter().map(|report| part(report, "anonymous") + part(report, "file")).collect();
    let mut details = Map::new();
    details.insert("own_memory_mib".into(), json!(all("anonymous")));
    details.insert("program_file_mib".into(), json!(all("file")));
    details.insert("guest_ram_touched_mib".into(), json!(all("guest_ram")));
    Ok((Series::new(overhead), details))
}

/// MiB a second from the container's standard output to a pipe's reader.
pub fn stdout_throughput(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let programs = Programs::new()?;
    let spout = programs.add("spout.wasm", SPOUT)?;
    let mut rates = Vec::new();
    for round in 0..=repeats.min(SPOUT_REPEATS) {
        let mut command = run_command(&spout)?;
        command.args(["--", &SPOUT_MIB.to_string()]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(CommandError::io("starting this program"))?;
        let mut stdout =
            child.stdout.take().ok_or_else(|| CommandError::Bench("a run has no output".into()))?;
        let mut buffer = vec![0; 1 << 16];
        let mut total = 0u64;
        let mut start = None;
        loop {
            let len = stdout.read(&mut buffer).map_err(CommandError::io("reading a run's output"))?;
            if len == 0 {
                break;
            }
            start.get_or_insert_with(Instant::now);
            total += len as u64;
        }
        let seconds = start.map_or(f64::NAN, |start| start.elapsed().as_secs_f64());
        let status = child.wait().map_err(CommandError::io("waiting for a run"))?;
        if !status.success() || total != u64::from(SPOUT_MIB) << 20 {
            return Err(CommandError::Bench(format!("a run wrote {total} bytes and ended with {status}")));
        }
        if round > 0 {
            rates.push(f64::from(SPOUT_MIB) / seconds);
        }
    }
    let mut details = Map::new();
    details.insert("mib_per_run".into(), json!(SPOUT_MIB));
    Ok((Series::new(rates), details))
}

/// A program's image, compiled if it is not in the cache.
pub fn image(wasm: &[u8]) -> Result<CompiledImage, CommandError> {
    let images = ImageCache::new(crate::paths::image_cache());
    let (image, _) = images.image(wasm).map_err(|error| CommandError::Bench(error.to_string()))?;
    Ok(image)
}

/// Instructions in ring 0 from entry to ready.
pub fn boot_instructions(_: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let image = image(HELLO)?;
    let count = |protocol| -> Result<u64, CommandError> {
        let null = || File::options().read(true).write(true).open("/dev/null");
        let open = CommandError::io("opening /dev/null");
        let streams = (|| {
            Ok(Streams {
                stdin: Input::new(null()?)?,
                stdout: Output::new(null()?)?,
                stderr: Output::new(null()?)?,
            })
        })()
        .map_err(open)?;
        Ok(Machine::new(&config(image.clone(), protocol)?, streams)?.count_boot_instructions()?)
    };
    let mut details = Map::new();
    details.insert("by_pvh".into(), json!(count(BootProtocol::Pvh)?));
    Ok((Series::exact(count(BootProtocol::Linux64)? as f64), details))
}

fn config(image: CompiledImage, protocol: BootProtocol) -> Result<MachineConfig, CommandError> {
    let spec = ContainerSpec { memory_limit: 64 << 20, args: vec![b"hello".to_vec()], ..Default::default() };
    Ok(MachineConfig {
        ram: 128 << 20,
        kernel: KernelImage::embedded()?,
        protocol,
        container: Some(ContainerRun { spec, image }),
        resident: false,
        zero: None,
        snapshots: false,
        heartbeat: None,
        timeout: None,
    })
}
