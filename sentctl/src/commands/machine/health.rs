//! `health` and `panic`: how a machine fares, and what was done about its faults.

use super::Context;
use super::tree::{short, time};
use crate::cli::machine::PanicCommand;
use crate::errors::CommandError;
use chrono::{DateTime, SecondsFormat};
use sentient_control::api::{MachineHealth, Recovered};
use sentient_control::recovery::{Policy, Trigger, recoveries};
use std::io::Write;
use std::process::ExitCode;
use std::time::Duration;

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

    /// `heal triggers ls`.
    pub fn triggers(&self) -> Result<ExitCode, CommandError> {
        let machine = self.machine()?;
        let triggers = [Policy::of(&machine)?.trigger(&machine)];
        self.answer(&triggers, |out, triggers| {
            writeln!(out, "ON     THEN      HEALTHY    BUDGET            BY")?;
            triggers.iter().try_for_each(|Trigger { on, then, healthy_ms, budget, within_ms, file }| {
                let millis = |ms: &u64| format!("{:?}", Duration::from_millis(*ms));
                let budget = format!("{budget} within {}", millis(within_ms));
                let by = file.as_ref().map_or("what is usual".into(), |file| file.display().to_string());
                writeln!(out, "{on:5}  {then:8}  {:9}  {budget:16}  {by}", millis(healthy_ms))
            })
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
