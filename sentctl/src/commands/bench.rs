//! `sentctl bench`: figures of this machine, as medians.
//!
//! Whole runs are measured in child processes, as a user starts them; the native side of the comparison
//! runs in this process, from the same compiled image and the same settings.

mod containers;
mod http;
mod kernels;
mod machines;
mod neighbours;
mod proofs;
mod recovery;
mod runs;
mod sharing;
pub mod snapshots;
mod snarkjs;
pub mod statistics;

use crate::cli::BenchArgs;
use crate::errors::CommandError;
use sentient_images::KernelImage;
use sentient_vmm::host;
use serde_json::{Map, Value, json};
use statistics::Series;
use std::process::ExitCode;

/// Which way a bar lies.
#[derive(Clone, Copy)]
enum Bar {
    AtMost(f64),
    AtLeast(f64),
    /// There is none: the figure is for comparison.
    None,
}

/// One figure.
struct Figure {
    name: &'static str,
    series: Series,
    bar: Bar,
    /// More to say, for the table and as fields in JSON.
    details: Map<String, Value>,
}

type Measurement = fn(u32) -> Result<(Series, Map<String, Value>), CommandError>;

/// Every figure with its bar and how it is measured.
const FIGURES: [(&str, Bar, Measurement); 38] = [
    ("cold_first_byte_ms", Bar::AtMost(5.0), runs::cold_first_byte),
    ("wasm_ratio", Bar::AtLeast(0.95), kernels::ratio),
    ("wasm_ratio_two", Bar::AtLeast(0.95), sharing::ratio_of_two),
    ("switch_us", Bar::AtMost(1.0), sharing::switch),
    ("neighbour_p99_ms", Bar::AtMost(2.0), neighbours::interactive),
    ("fairness_deviation", Bar::AtMost(0.05), neighbours::fairness),
    ("vmm_overhead_mib", Bar::AtMost(6.0), runs::vmm_overhead),
    ("image_mib", Bar::AtMost(10.0), image),
    ("stdout_mib_s", Bar::AtLeast(100.0), runs::stdout_throughput),
    ("nucleus_boot_instructions", Bar::AtMost(20_000.0), runs::boot_instructions),
    ("rollback_200_pages_ms", Bar::AtMost(0.3), snapshots::rollback_200),
    ("rollback_10000_pages_ms", Bar::AtMost(10.0), snapshots::rollback_10000),
    ("snapshot_pause_256_pages_ms", Bar::AtMost(0.43), snapshots::snapshot_pause),
    ("restore_running_128mib_ms", Bar::AtMost(5.0), snapshots::restore_128mib),
    ("restore_running_4gib_ms", Bar::AtMost(5.0), snapshots::restore_4gib),
    ("fork_running_ms", Bar::AtMost(5.0), snapshots::fork_running),
    ("rollback_command_ms", Bar::AtMost(15.0), snapshots::rollback_command),
    ("dirty_tracking_cost", Bar::AtMost(0.05), machines::dirty_tracking_cost),
    ("proof_ms", Bar::AtMost(200.0), proofs::proof),
    ("verify_ms", Bar::AtMost(2.0), proofs::verify),
    ("verify_64_ms", Bar::AtMost(65.0), proofs::verify_64),
    ("proof_lag_ms", Bar::AtMost(400.0), proofs::lag),
    ("snapshot_pause_zk_ratio", Bar::AtMost(1.05), proofs::pause_ratio),
    ("prover_memory_mib", Bar::AtMost(250.0), proofs::memory),
    ("snarkjs_ratio", Bar::None, snarkjs::ratio),
    ("container_start_ms", Bar::AtMost(1.0), containers::start_ms),
    ("containers_per_second", Bar::AtLeast(500.0), containers::per_second),
    ("container_overhead_kib", Bar::AtMost(256.0), containers::overhead),
    ("heal_container_ms", Bar::AtMost(1.0), containers::heal),
    ("heal_boot_ms", Bar::AtMost(20.0), recovery::heal_boot),
    ("panic_to_running_ms", Bar::AtMost(5.0), recovery::panic_to_running),
    ("hang_detect_ms", Bar::AtMost(250.0), recovery::hang_detect),
    ("http_requests_per_second", Bar::None, http::requests_per_second),
    ("snapshot_durable_256_ms", Bar::None, snapshots::durable_on_disk),
    ("snapshot_durable_256_tmpfs_ms", Bar::None, snapshots::durable_on_tmpfs),
    ("clone_private_kib", Bar::None, snapshots::clone_private),
    ("kvm_state_ms", Bar::None, machines::kvm_state),
    ("memcpy_200_pages_ms", Bar::None, snapshots::memcpy_200),
];

/// Measures, and prints a table or JSON.
pub fn run(args: &BenchArgs, json: bool) -> Result<ExitCode, CommandError> {
    if let Some(unknown) = args.only.iter().find(|name| !FIGURES.iter().any(|(known, ..)| known == name)) {
        let names: Vec<&str> = FIGURES.iter().map(|(name, ..)| *name).collect();
        return Err(CommandError::Usage(format!(
            "there is no figure `{unknown}`: choose from {}",
            names.join(", ")
        )));
    }
    let wanted = |name: &str| args.only.is_empty() || args.only.iter().any(|only| only == name);
    let (mut figures, mut absent) = (Vec::new(), Vec::new());
    for (name, bar, measure) in FIGURES.into_iter().filter(|(name, ..)| wanted(name)) {
        if !json {
            eprintln!("measuring {name} ...");
        }
        match measure(args.repeat.max(1)) {
            Ok((series, details)) => figures.push(Figure { name, series, bar, details }),
            Err(CommandError::NotHere(why)) => absent.push((name, why)),
            Err(error) => return Err(error),
        }
    }
    if json {
        println!("{:#}", as_json(&figures, &absent));
    } else {
        print_table(&figures);
        for (name, why) in &absent {
            println!("{name:<30} absent: {why}");
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn image(_: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let bytes = KernelImage::embedded()?.elf().len();
    Ok((Series::exact(bytes as f64 / f64::from(1 << 20)), Map::new()))
}

impl Figure {
    fn holds(&self) -> bool {
        match self.bar {
            Bar::AtMost(bar) => self.series.median() <= bar,
            Bar::AtLeast(bar) => self.series.median() >= bar,
            Bar::None => true,
        }
    }

    fn verdict(&self) -> &'static str {
        match self.bar {
            Bar::None => "",
            _ if self.holds() => "holds",
            _ => "MISSED",
        }
    }

    fn bar_text(&self) -> String {
        match self.bar {
            Bar::AtMost(bar) => format!("<= {bar}"),
            Bar::AtLeast(bar) => format!(">= {bar}"),
            Bar::None => "none".into(),
        }
    }
}

fn machine() -> Value {
    let facts = host::facts();
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let load = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    json!({
        "processor": facts.processor,
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "linux": kernel.trim(),
        "virtualisation": match facts.virtualisation {
            host::Virtualisation::Hardware => "hardware",
            host::Virtualisation::Software => "software",
        },
        "load_average": load.split_ascii_whitespace().next(),
    })
}

/// `absent` has the figures that this host has not what it takes for, and why.
fn as_json(figures: &[Figure], absent: &[(&str, String)]) -> Value {
    let mut all = Map::new();
    for figure in figures {
        all.insert(
            figure.name.into(),
            json!({
                "median": figure.series.median(),
                "min": figure.series.min(),
                "max": figure.series.max(),
                "repeats": figure.series.len(),
                "bar": figure.bar_text(),
                "holds": figure.holds(),
                "details": figure.details,
            }),
        );
    }
    let absent: Map<String, Value> = absent.iter().map(|(name, why)| ((*name).into(), json!(why))).collect();
    json!({ "machine": machine(), "figures": all, "absent": absent })
}

fn print_table(figures: &[Figure]) {
    let machine = machine();
    let text = |name: &str| {
        machine.get(name).map(|value| value.to_string().trim_matches('"').to_owned()).unwrap_or_default()
    };
    println!(
        "{}, {} cores, Linux {}, {} KVM, load {}",
        text("processor"),
        text("cores"),
        text("linux"),
        text("virtualisation"),
        text("load_average")
    );
    println!("{:<30} {:>10} {:>10} {:>10} {:>4}  {:<9}", "figure", "median", "min", "max", "n", "bar");
    for figure in figures {
        let series = &figure.series;
        println!(
            "{:<30} {:>10.3} {:>10.3} {:>10.3} {:>4}  {:<9} {}",
            figure.name,
            series.median(),
            series.min(),
            series.max(),
            series.len(),
            figure.bar_text(),
            figure.verdict()
        );
        for (name, value) in &figure.details {
            match value.as_f64() {
                Some(number) => println!("  {name:<28} {number:>10.3}"),
                None => println!("  {name:<28} {value}"),
            }
        }
    }
}
