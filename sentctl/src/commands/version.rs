//! `sentctl version`.

use crate::errors::CommandError;
use sentient_abi::ABI_VERSION;
use sentient_images::KernelImage;
use sentient_images::kernel::EMBEDDED_DIGEST;
use std::process::ExitCode;

/// The version of wasmtime in compiler and guest.
const WASMTIME: &str = "48.0.8";

/// Prints versions.
pub fn run(json: bool) -> Result<ExitCode, CommandError> {
    let kernel = KernelImage::embedded()?;
    let version = env!("CARGO_PKG_VERSION");
    if json {
        let object = serde_json::json!({
            "sentctl": version,
            "abi": ABI_VERSION,
            "kernel": { "blake3": EMBEDDED_DIGEST, "bytes": kernel.elf().len() },
            "wasmtime": WASMTIME,
        });
        println!("{object}");
    } else {
        println!("sentctl   {version}");
        println!("ABI       {ABI_VERSION}");
        println!(
            "kernel    {} ({} KiB)",
            EMBEDDED_DIGEST.get(..16).unwrap_or(EMBEDDED_DIGEST),
            kernel.elf().len() / 1024
        );
        println!("wasmtime  {WASMTIME}");
    }
    Ok(ExitCode::SUCCESS)
}
