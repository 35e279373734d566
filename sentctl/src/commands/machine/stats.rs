//! `stats`: what containers take, measured over a moment.

use super::Context;
use super::tree::bytes;
use crate::cli::containers::StatsArgs;
use crate::errors::CommandError;
use sentient_control::api::{ContainerState, ContainerStats};
use sentient_control::client::Client;
use serde::Serialize;
use std::io::Write;
use std::process::ExitCode;
use std::time::Instant;

/// What a container takes, and how much of the processor it has had.
#[derive(Serialize)]
struct Measured {
    #[serde(flatten)]
    stats: ContainerStats,
    /// Of one processor, over the interval.
    cpu_used_percent: f64,
}

/// What the guest said, and when.
struct Sample {
    at: Instant,
    stats: Vec<ContainerStats>,
}

impl Sample {
    fn take(client: &Client) -> Result<Self, CommandError> {
        let stats = client.get("/v1/stats")?;
        Ok(Self { at: Instant::now(), stats })
    }

    /// What has happened since another one. A container that was started anew since, or put back, counts from there.
    fn since(&self, before: &Self, names: &[String]) -> Vec<Measured> {
        let interval_ns = (self.at - before.at).as_nanos() as f64;
        let wanted = |stats: &&ContainerStats| names.is_empty() || names.contains(&stats.name);
        let measured = |stats: &ContainerStats| {
            let earlier = before.stats.iter().find(|earlier| earlier.name == stats.name);
            let earlier_ns = earlier.map_or(0, |earlier| earlier.cpu_ns);
            let used_ns = stats.cpu_ns.checked_sub(earlier_ns).unwrap_or(stats.cpu_ns);
            Measured { stats: stats.clone(), cpu_used_percent: used_ns as f64 / interval_ns * 100.0 }
        };
        self.stats.iter().filter(wanted).map(measured).collect()
    }
}

impl Context {
    /// `stats`.
    pub fn stats(&self, args: &StatsArgs) -> Result<ExitCode, CommandError> {
        let client = self.client()?;
        let mut before = Sample::take(&client)?;
        let missing = args.names.iter().find(|name| !before.stats.iter().any(|stats| stats.name == **name));
        if let Some(name) = missing {
            return Err(CommandError::Usage(format!("no container `{name}` runs in this machine")));
        }
        loop {
            std::thread::sleep(args.interval);
            let now = Sample::take(&client)?;
            let measured = now.since(&before, &args.names);
            let is_read = self.answer_in_part(&measured, |out, measured| write(out, measured))?;
            if !args.follow || !is_read {
                return Ok(ExitCode::SUCCESS);
            }
            before = now;
        }
    }
}

fn write(out: &mut dyn Write, measured: &[Measured]) -> std::io::Result<()> {
    if measured.is_empty() {
        return Ok(());
    }
    let names = measured.iter().map(|one| one.stats.name.chars().count()).max().unwrap_or(0).max(4);
    writeln!(out, "{:names$}  {:>6}  {:>5}  {:>8}  MEMORY", "NAME", "CPU", "SHARE", "CPU TIME")?;
    for Measured { stats, cpu_used_percent } in measured {
        let paused = if stats.state == ContainerState::Paused { ", paused" } else { "" };
        writeln!(
            out,
            "{:names$}  {cpu_used_percent:>5.1}%  {:>4}%  {:>6.2} s  {} of {}{paused}",
            stats.name,
            stats.cpu_percent,
            stats.cpu_ns as f64 / 1e9,
            bytes(stats.memory_bytes),
            bytes(stats.memory_limit_bytes),
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn sample(at: Instant, of: &[(&str, u64)]) -> Sample {
        let one = |(name, cpu_ns): &(&str, u64)| ContainerStats {
            name: (*name).to_owned(),
            state: ContainerState::Running,
            cpu_ns: *cpu_ns,
            cpu_percent: 100,
            memory_bytes: 65_536,
            memory_limit_bytes: 1 << 20,
        };
        Sample { at, stats: of.iter().map(one).collect() }
    }

    #[test]
    fn time_counts_from_the_sample_before_or_from_a_containers_new_start() {
        let start = Instant::now();
        let before = sample(start, &[("same", 100_000_000), ("again", 900_000_000)]);
        let now = [("same", 600_000_000), ("again", 250_000_000), ("new", 1_000_000_000)];
        let now = sample(start + Duration::from_secs(1), &now);
        let used: Vec<u64> =
            now.since(&before, &[]).iter().map(|one| one.cpu_used_percent.round() as u64).collect();
        assert_eq!(used, [50, 25, 100]);
        assert_eq!(now.since(&before, &["new".to_owned()]).len(), 1);
    }
}
