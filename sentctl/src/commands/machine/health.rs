//! `health` and `panic`: how a machine fares, and what was done about its faults.

use super::Context;
use super::tree::{short, time};
use crate::cli::machine::PanicCommand;
use crate::errors::CommandError;
use chrono::{DateTime, SecondsFormat};
use sentient_control::api::{MachineHealth, Recovered};
use sentient_control::recovery::recoveries;
use std::io::Write;
use std::process::ExitCode;

impl Context {
    /// `health`.
    pub fn health(&self) -> Result<ExitCode, CommandError> {
        let health: MachineHealth = self.client()?.get("/v1/health")?;
        self.answer(&health, |out, health| {
            let MachineHealth { good, recoveries, failing } = health;
            let state = match failing {
                true => "was recovered just now, and has to prove itself",
                false => "runs well",
            };
            writeln!(out, "state       {state}")?;
            let good = good.as_deref().map_or("none yet", short);
            writeln!(out, "last good   {good}")?;
            writeln!(out, "recoveries  {recoveries} since it was started")
        })
    }

    /// `panic`.
    pub fn panic(&self, command: &PanicCommand) -> Result<ExitCode, CommandError> {
        let PanicCommand::Report = command;
        // Also of a machine that has ended by one.
        let faults = recoveries(&self.machine()?)?;
        self.answer(&faults, |out, faults| {
            if faults.is_empty() {
                return writeln!(out, "no fault of this machine is known");
            }
            faults.iter().try_for_each(|fault| write_fault(out, fault))
        })
    }
}

fn write_fault(out: &mut dyn Write, fault: &Recovered) -> std::io::Result<()> {
    let Recovered { unix_ns, fault, what, before, action, to, pause_us, error } = fault;
    let at = DateTime::from_timestamp_nanos(i64::try_from(*unix_ns).unwrap_or(i64::MAX));
    writeln!(out, "{}  {fault}: {what}", at.to_rfc3339_opts(SecondsFormat::Millis, true))?;
    let before = before.as_deref().map_or("no snapshot", short);
    match to {
        Some(to) => writeln!(
            out,
            "  it stood at {before}, and goes on from {}, after {}",
            short(to),
            time(*pause_us)
        )?,
        None => writeln!(out, "  it stood at {before}, and was ended: {action}")?,
    }
    error.iter().try_for_each(|error| writeln!(out, "  {error}"))
}
