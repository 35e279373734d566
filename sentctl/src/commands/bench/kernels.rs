//! WebAssembly in the guest against the same image run natively, by wasmtime in this process.

use super::runs::{Programs, run_command};
use super::statistics::{Series, geometric_mean};
use crate::errors::CommandError;
use sentient_images::compile;
use serde_json::{Map, Value, json};
use std::process::Stdio;
use std::time::Instant;
use wasmtime::{Instance, Module, Store, TypedFunc};

pub const KERNELS: &[u8] = include_bytes!("../../../../resources/containers/kernels/kernels.wasm");

/// Kernels with an argument that makes each take some ten milliseconds.
pub const WORK: [(&str, i32); 10] = [
    ("fib", 31),
    ("sieve", 1_000_000),
    ("matmul", 180),
    ("hash", 20_000),
    ("nbody", 150_000),
    ("sort", 250_000),
    ("strings", 60),
    ("mandelbrot", 220),
    ("crc32", 4_000),
    ("tokens", 20_000),
];

/// Rounds that alternate between guest and native, so that both see the same weather.
const ROUNDS: u32 = 5;

/// Native time over guest time, the geometric mean over all kernels: 1 is as fast as native.
pub fn ratio(repeats: u32) -> Result<(Series, Map<String, Value>), CommandError> {
    let calls = (repeats / ROUNDS).max(2);
    let programs = Programs::new()?;
    let path = programs.add("kernels.wasm", KERNELS)?;
    let mut native = Native::new()?;
    let mut guest_ns: Vec<Vec<f64>> = vec![Vec::new(); WORK.len()];
    let mut native_ns = guest_ns.clone();
    let mut round_means = Vec::new();
    for _ in 0..ROUNDS {
        let mut ratios = Vec::new();
        for (((name, argument), guest), native_times) in WORK.iter().zip(&mut guest_ns).zip(&mut native_ns) {
            let (checked, times) = in_guest(&path, name, *argument, calls)?;
            let (expected, own) = native.call(name, *argument, calls)?;
            if checked != expected {
                return Err(CommandError::Bench(format!(
                    "{name}({argument}) is {checked} in the guest, {expected} natively"
                )));
            }
            ratios.push(Series::new(own.clone()).median() / Series::new(times.clone()).median());
            guest.extend(times);
            native_times.extend(own);
        }
        round_means.push(geometric_mean(&ratios));
    }
    let mut details = Map::new();
    for (((name, _), guest), own) in WORK.iter().zip(guest_ns).zip(native_ns) {
        let (guest, own) = (Series::new(guest).median(), Series::new(own).median());
        details.insert((*name).into(), json!(own / guest));
    }
    details.insert("calls_per_kernel".into(), json!(calls * ROUNDS));
    Ok((Series::new(round_means), details))
}

fn in_guest(
    path: &std::path::Path,
    name: &str,
    argument: i32,
    calls: u32,
) -> Result<(i64, Vec<f64>), CommandError> {
    let mut command = run_command(path)?;
    command.args(["--invoke", name, "--repeat", &calls.to_string(), "--", &argument.to_string()]);
    let output =
        command.stderr(Stdio::piped()).output().map_err(CommandError::io("starting this program"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let bad = || {
        CommandError::Bench(format!(
            "{name} failed in the guest: {}",
            String::from_utf8_lossy(&output.stderr)
        ))
    };
    let mut result = None;
    let mut times = Vec::new();
    for line in text.lines() {
        let (value, ns) = line.split_once(' ').ok_or_else(bad)?;
        result = Some(value.parse::<i64>().map_err(|_| bad())?);
        times.push(ns.parse::<f64>().map_err(|_| bad())?);
    }
    // The first call also pays for touching memory.
    if times.len() > 1 {
        times.remove(0);
    }
    Ok((result.ok_or_else(bad)?, times))
}

/// The kernels, run by wasmtime in this process.
pub struct Native {
    store: Store<()>,
    instance: Instance,
}

impl Native {
    pub fn new() -> Result<Self, CommandError> {
        let failed = |error: wasmtime::Error| CommandError::Bench(format!("wasmtime: {error:#}"));
        let engine = compile::engine().map_err(|error| CommandError::Bench(error.to_string()))?;
        let module = Module::new(&engine, KERNELS).map_err(failed)?;
        let mut store = Store::new(&engine, ());
        let instance = Instance::new(&mut store, &module, &[]).map_err(failed)?;
        Ok(Self { store, instance })
    }

    pub fn call(&mut self, name: &str, argument: i32, calls: u32) -> Result<(i64, Vec<f64>), CommandError> {
        let failed =
            |error: wasmtime::Error| CommandError::Bench(format!("{name} failed natively: {error:#}"));
        let function: TypedFunc<i32, i64> =
            self.instance.get_typed_func(&mut self.store, name).map_err(failed)?;
        let mut result = 0;
        let mut times = Vec::new();
        for _ in 0..calls {
            let start = Instant::now();
            result = function.call(&mut self.store, argument).map_err(failed)?;
            times.push(start.elapsed().as_nanos() as f64);
        }
        if times.len() > 1 {
            times.remove(0);
        }
        Ok((result, times))
    }
}
