//! `health` and `panic`: how a machine fares, and what was done about its faults.

use super::snapshots::write_back;
use super::tree::{short, time};
use super::{Context, Reach};
use crate::cli::VerifyArg;
use crate::cli::machine::{PanicCommand, ReportArgs};
use crate::errors::CommandError;
use chrono::{DateTime, SecondsFormat};
use sentient_control::api::{KernelHealed, MachineHealth, Recovered, RolledBack};
use sentient_control::description::Description;
use sentient_control::history::unix_ns;
use sentient_control::home::MachineFolder;
use sentient_control::recovery::{ContainerPolicy, Policy, Trigger, crashes, recover_stopped, recoveries};
use sentient_crash::html;
use sentient_crash::record::CrashRecord;
use serde::Serialize;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

impl Context {
    /// `health`.
    pub fn health(&self) -> Result<ExitCode, CommandError> {
        let health: MachineHealth = self.client()?.get("/v1/health")?;
        self.answer(&health, |out, health| {
            let MachineHealth { good, recoveries, failing, copied, holds_output } = health;
            let state = match failing {
                true => "was recovered just now, and has to prove itself",
                false => "runs well",
            };
            writeln!(out, "state       {state}")?;
            let good = good.as_deref().map_or("none yet", short);
            writeln!(out, "last good   {good}")?;
            let copied = if *copied { "copied, with all containers" } else { "about to be copied" };
            writeln!(out, "kernel      {copied}")?;
            if *holds_output {
                writeln!(out, "output      held until the kernel's code was looked at")?;
            }
            writeln!(out, "recoveries  {recoveries} since it was started")
        })
    }

    /// `heal triggers ls`.
    pub fn triggers(&self) -> Result<ExitCode, CommandError> {
        let machine = self.machine()?;
        let triggers =
            [Policy::of(&machine)?.trigger(&machine), ContainerPolicy::of(&machine)?.trigger(&machine)];
        self.answer(&triggers, |out, triggers| {
            writeln!(out, "ON         THEN                 HEALTHY    BUDGET            BY")?;
            triggers.iter().try_for_each(|trigger| {
                let Trigger { on, then, healthy_ms, budget, within_ms, file, .. } = trigger;
                let millis = |ms: u64| format!("{:?}", Duration::from_millis(ms));
                let (then, healthy) = (then.join(", "), healthy_ms.map_or("-".into(), millis));
                let budget = format!("{budget} within {}", millis(*within_ms));
                let by = file.as_ref().map_or("what is usual".into(), |file| file.display().to_string());
                writeln!(out, "{on:9}  {then:19}  {healthy:9}  {budget:16}  {by}")
            })
        })
    }

    /// `panic`.
    pub fn panic(&self, command: &PanicCommand) -> Result<ExitCode, CommandError> {
        match command {
            PanicCommand::Report(args) => self.panic_report(args),
            PanicCommand::Recover => self.panic_recover(),
        }
    }

    fn panic_report(&self, args: &ReportArgs) -> Result<ExitCode, CommandError> {
        // Also of a machine that has ended by one.
        let machine = self.machine()?;
        let faults = recoveries(&machine)?;
        if args.html {
            return self.panic_page(&machine, faults, args.output.as_deref());
        }
        let crashes = if args.verbose { crashes(&machine)? } else { Vec::new() };
        let answer = Report { faults, crashes };
        if !args.verbose {
            return self.answer(&answer.faults, |out, faults| write_faults(out, faults));
        }
        self.answer(&answer, |out, Report { faults, crashes }| {
            write_faults(out, faults)?;
            crashes.iter().try_for_each(|crash| write!(out, "\n{}", crash.text()))
        })
    }

    /// `panic report --html`.
    fn panic_page(
        &self,
        machine: &MachineFolder,
        faults: Vec<Recovered>,
        output: Option<&Path>,
    ) -> Result<ExitCode, CommandError> {
        let fault = |fault: Recovered| html::Fault {
            unix_ns: fault.unix_ns,
            kind: fault.fault,
            what: fault.what,
            action: fault.action,
            before: fault.before,
            to: fault.to,
            pause_us: fault.pause_us,
            error: fault.error,
        };
        let page = html::page(&html::Page {
            machine: machine.name().to_owned(),
            id: Description::read(machine)?.id.to_string(),
            made_unix_ns: unix_ns(),
            faults: faults.into_iter().map(fault).collect(),
            crashes: crashes(machine)?,
        });
        let failed = CommandError::io("writing the page");
        match output {
            Some(path) => std::fs::write(path, page).map_err(failed)?,
            None => std::io::stdout().lock().write_all(page.as_bytes()).map_err(failed)?,
        }
        Ok(ExitCode::SUCCESS)
    }

    fn panic_recover(&self) -> Result<ExitCode, CommandError> {
        let machine = self.machine()?;
        match self.reach()? {
            Reach::Running(client) => {
                let done: RolledBack = self.during("recovering the machine", || {
                    client.post("/v1/recover", &serde_json::json!({}))
                })?;
                self.answer(&done, write_back)
            }
            Reach::Stopped(history) => {
                recover_stopped(&history)?;
                // Its folder is the process' from here on.
                drop(history);
                self.boot(Some(machine.name()), VerifyArg::Lazy)
            }
        }
    }

    /// `heal boot`.
    pub fn heal_boot(&self) -> Result<ExitCode, CommandError> {
        let healed: KernelHealed = self.client()?.post("/v1/heal", &serde_json::json!({}))?;
        self.answer(&healed, |out, healed| {
            let KernelHealed { kept, pages, pause_us } = healed;
            let kept = match &kept[..] {
                [] => "there were no containers".to_owned(),
                kept => format!("kept {}", kept.join(", ")),
            };
            writeln!(out, "the kernel was put back: {pages} pages, paused {}; {kept}", time(*pause_us))
        })
    }
}

/// What `panic report --verbose` tells.
#[derive(Serialize)]
struct Report {
    faults: Vec<Recovered>,
    crashes: Vec<CrashRecord>,
}

fn write_faults(out: &mut dyn Write, faults: &[Recovered]) -> std::io::Result<()> {
    if faults.is_empty() {
        return writeln!(out, "no fault of this machine is known");
    }
    faults.iter().try_for_each(|fault| write_fault(out, fault))
}

pub(super) fn write_fault(out: &mut dyn Write, fault: &Recovered) -> std::io::Result<()> {
    let Recovered { unix_ns, fault, what, before, action, to, pause_us, error, kept, healed, lost, crash } =
        fault;
    let at = DateTime::from_timestamp_nanos(i64::try_from(*unix_ns).unwrap_or(i64::MAX));
    writeln!(out, "{}  {fault}: {what}", at.to_rfc3339_opts(SecondsFormat::Millis, true))?;
    let before = before.as_deref().map_or("no snapshot", short);
    let after = time(*pause_us);
    match (to, action.as_str()) {
        (Some(to), "heal-container") => {
            writeln!(out, "  it was put back to {}, after {after}; nothing else was", short(to))?;
        }
        (None, "restart-container") => {}
        (None, "stop-container") => writeln!(out, "  it has ended; nothing else was touched")?,
        (Some(to), _) => {
            writeln!(out, "  it stood at {before}, and goes on from {}, after {after}", short(to))?;
        }
        (None, "heal-boot") => writeln!(out, "  its kernel was put back, and it goes on after {after}")?,
        (None, action) => writeln!(out, "  it stood at {before}, and was ended: {action}")?,
    }
    for (what, names) in [("kept", kept), ("put back", healed), ("started anew", lost)] {
        if !names.is_empty() {
            writeln!(out, "  {what}: {}", names.join(", "))?;
        }
    }
    crash.iter().try_for_each(|crash| writeln!(out, "  kept of it: .panic/{crash}"))?;
    error.iter().try_for_each(|error| writeln!(out, "  {error}"))
}
