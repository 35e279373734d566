//! `sentctl doctor`.

use crate::errors::CommandError;
use crate::paths;
use sentient_vmm::host::{self, Virtualisation};
use serde::Serialize;
use std::process::ExitCode;

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    way_out: Option<String>,
}

impl Check {
    fn good(name: &'static str, found: impl Into<String>) -> Self {
        Self { name, ok: true, found: found.into(), way_out: None }
    }

    fn bad(name: &'static str, found: impl Into<String>, way_out: impl Into<String>) -> Self {
        Self { name, ok: false, found: found.into(), way_out: Some(way_out.into()) }
    }
}

/// Looks, and prints what it found. Fails if a machine could not run.
pub fn run(json: bool) -> Result<ExitCode, CommandError> {
    let checks = checks();
    let all_good = checks.iter().all(|check| check.ok);
    if json {
        println!("{}", serde_json::json!({ "ok": all_good, "checks": checks }));
    } else {
        for check in &checks {
            println!("{} {:<16} {}", if check.ok { "ok  " } else { "FAIL" }, check.name, check.found);
            if let Some(way_out) = &check.way_out {
                println!("     {:<16} -> {way_out}", "");
            }
        }
        println!(
            "{}",
            if all_good {
                "this host can run SentientOS machines"
            } else {
                "this host cannot run SentientOS machines yet"
            }
        );
    }
    Ok(if all_good { ExitCode::SUCCESS } else { ExitCode::from(sentient_abi::exit::SENTCTL_ERROR) })
}

fn checks() -> Vec<Check> {
    let facts = host::facts();
    let mut checks = Vec::new();
    match &facts.kvm {
        Ok(()) => checks.push(Check::good("kvm", "/dev/kvm can be used")),
        Err(error) => {
            let text = error.to_string();
            let (found, way_out) = text.split_once(": ").unwrap_or((&text, "see the message"));
            checks.push(Check::bad("kvm", found, way_out));
        }
    }
    checks.push(match facts.virtualisation {
        Virtualisation::Hardware => Check::good("virtualisation", "by the processor (VMX or SVM)"),
        Virtualisation::Software => Check::good(
            "virtualisation",
            "software KVM: the processor shows neither VMX nor SVM; programs run at full speed, booting takes longer",
        ),
    });
    let missing: Vec<&str> =
        facts.capabilities.iter().filter(|(_, there)| !there).map(|(name, _)| *name).collect();
    if facts.kvm.is_ok() {
        checks.push(if missing.is_empty() {
            Check::good("kvm extensions", format!("all {} there", facts.capabilities.len()))
        } else {
            Check::bad(
                "kvm extensions",
                format!("missing: {}", missing.join(", ")),
                "update the host's kernel",
            )
        });
    }
    checks.push(if facts.x86_64_v2 {
        Check::good("processor", format!("{} (x86-64-v2)", facts.processor))
    } else {
        Check::bad(
            "processor",
            format!("{} lacks a part of x86-64-v2 (SSE4.2, SSSE3, POPCNT)", facts.processor),
            "use a processor from 2009 or later, or in a virtual machine pass the host's processor model through",
        )
    });
    checks.push(memory());
    checks.push(descriptors());
    checks.push(cache());
    checks
}

fn memory() -> Check {
    const NEEDED_KIB: u64 = 192 << 10;
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let available: Option<u64> = line.and_then(|line| line.split_ascii_whitespace().next()?.parse().ok());
    match available {
        Some(kib) if kib < NEEDED_KIB => Check::bad(
            "memory",
            format!("{} MiB available", kib >> 10),
            "close something: a machine takes 128 MiB by default",
        ),
        Some(kib) => Check::good("memory", format!("{} MiB available", kib >> 10)),
        None => Check::good("memory", "unknown: /proc/meminfo does not say"),
    }
}

fn descriptors() -> Check {
    use rustix::process::{Resource, getrlimit};
    const NEEDED: u64 = 64;
    match getrlimit(Resource::Nofile).current {
        Some(limit) if limit < NEEDED => Check::bad(
            "open files",
            format!("at most {limit}"),
            format!("raise the limit: ulimit -n {}", NEEDED * 16),
        ),
        Some(limit) => Check::good("open files", format!("at most {limit}")),
        None => Check::good("open files", "without limit"),
    }
}

fn cache() -> Check {
    match paths::image_cache() {
        Some(folder) => Check::good("image cache", folder.display().to_string()),
        None => Check::bad(
            "image cache",
            "no folder: programs are compiled on every run",
            "set HOME or XDG_CACHE_HOME to an absolute path",
        ),
    }
}
