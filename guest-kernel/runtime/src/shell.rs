//! The console of a machine without a VMM, beside the programs that run: who is there looks after them by what is typed.

use crate::checkpoints::Checkpoints;
use crate::commands::{self, Then};
use crate::console::terminal::{self, ASK_NS, Line, Own};
use crate::kept::{Done, Kept};
use crate::machine::Machine;
use crate::scheduler::Scheduler;
use crate::{clock, gate};
use alloc::string::String;
use core::fmt::{self, Write};
use sentient_abi::exit::ContainerEnd;

/// Help on what there is besides [`commands`].
const HELP: &str = "\
ps                programs, and what they take
checkpoint NAME   keep a program as it is now, in memory
rollback NAME     put it back to that
stop NAME         end it
keep              keep everything as it is now, on the disk
";

/// The console.
pub struct Shell {
    line: Line,
    /// Monotonic time at which it looks again.
    due: u64,
    checkpoints: Checkpoints,
    kept: Option<Kept>,
}

impl Shell {
    /// At which nothing was typed yet.
    pub fn new(machine: &Machine, kept: Option<Kept>) -> Self {
        Self { line: Line::default(), due: 0, checkpoints: Checkpoints::new(machine), kept }
    }

    /// No program runs any more.
    pub fn end(&mut self) {
        if let Some(kept) = &mut self.kept {
            kept.forget();
        }
    }

    /// Monotonic time at which [`poll`](Self::poll) has something to do.
    pub fn due(&self) -> u64 {
        self.due
    }

    /// Takes what was typed, and the checkpoints that are due.
    pub fn poll(&mut self, scheduler: &mut Scheduler) {
        let now = clock::monotonic_ns();
        if now < self.due {
            return;
        }
        self.due = now.saturating_add(ASK_NS);
        self.checkpoints.take_due(scheduler, now);
        if let Some(kept) = &mut self.kept {
            kept.take_due(scheduler, now);
        }
        while let Some(byte) = terminal::typed() {
            // It is written by `Own`, which does not fail.
            let mut echo = |bytes: &[u8]| {
                let _ = Own.write_str(&String::from_utf8_lossy(bytes));
            };
            if let Some(line) = self.line.take(byte, &mut echo) {
                let _ = self.obey(scheduler, line.trim());
            }
        }
    }

    /// A container has trapped; whether it goes on all the same.
    pub fn heal(&mut self, scheduler: &mut Scheduler, container: u32) -> bool {
        self.checkpoints.heal(scheduler, container)
    }

    fn obey(&mut self, scheduler: &mut Scheduler, line: &str) -> fmt::Result {
        let (verb, name) = line.split_once(' ').unwrap_or((line, ""));
        match (verb, name.trim()) {
            ("help" | "?", "") => write!(Own, "{HELP}{}", commands::HELP),
            ("ps", "") => list(scheduler),
            ("checkpoint" | "rollback" | "stop", name) => self.about(scheduler, verb, name),
            ("keep", "") => self.keep(scheduler),
            _ => match commands::run(&mut Own, &scheduler.machine, line) {
                Then::GoOn => Ok(()),
                Then::Reboot => self.leave(scheduler, || gate::reset()),
                Then::Off => self.leave(scheduler, || gate::exit(ContainerEnd::Exited(0))),
                Then::Unknown => writeln!(Own, "there is no command `{line}`; `help` lists them"),
            },
        }
    }

    fn keep(&mut self, scheduler: &mut Scheduler) -> fmt::Result {
        let done = match &mut self.kept {
            Some(kept) => kept.keep(scheduler),
            None => {
                Err("this is no medium of `sentctl iso-build`, and nobody could say what it goes on from"
                    .into())
            }
        };
        match done {
            Ok(Done::WentOn) => Ok(()),
            Ok(Done::Kept(said)) => writeln!(Own, "{said}"),
            Err(why) => writeln!(Own, "not kept: {why}"),
        }
    }

    /// The machine ends, and everything that is kept at all is kept before.
    fn leave(&mut self, scheduler: &mut Scheduler, end: impl FnOnce()) -> fmt::Result {
        match self.kept.as_mut().and_then(|kept| kept.keep_last(scheduler)) {
            // It is this that came back: the machine has ended, and was booted since.
            Some(Ok(Done::WentOn)) => return Ok(()),
            Some(Ok(Done::Kept(said))) => writeln!(Own, "{said}")?,
            Some(Err(why)) => writeln!(Own, "not kept: {why}")?,
            None => {}
        }
        end();
        Ok(())
    }

    /// A command about a program.
    fn about(&mut self, scheduler: &mut Scheduler, verb: &str, name: &str) -> fmt::Result {
        let found =
            scheduler.indexes().find(|container| scheduler.machine.container_name(*container) == name);
        let Some(container) = found else {
            return writeln!(Own, "no program `{name}` runs; `ps` lists them");
        };
        let done = match verb {
            "checkpoint" => {
                let before = clock::monotonic_ns();
                self.checkpoints.take(scheduler, container).map(|bytes| {
                    let us = clock::monotonic_ns().saturating_sub(before) / 1000;
                    alloc::format!("kept {name}: {} KiB in {}.{:03} ms", bytes >> 10, us / 1000, us % 1000)
                })
            }
            "rollback" => self.checkpoints.go_back(scheduler, container).map(|age| {
                let ms = age / 1_000_000;
                alloc::format!("{name} is what it was {}.{:03} s ago", ms / 1000, ms % 1000)
            }),
            _ => {
                scheduler.kill(container);
                Ok(alloc::format!("{name} ends"))
            }
        };
        match done {
            Ok(said) => writeln!(Own, "{said}"),
            Err(why) => writeln!(Own, "{name}: {why}"),
        }
    }
}

fn list(scheduler: &Scheduler) -> fmt::Result {
    writeln!(Own, "{:20}  {:>12}  {:>10}", "NAME", "CPU TIME", "MEMORY")?;
    for container in scheduler.indexes() {
        let Some(status) = scheduler.status(container) else { continue };
        let ms = status.used_ns / 1_000_000;
        let name = scheduler.machine.container_name(container);
        writeln!(Own, "{name:20}  {:>8}.{:03}  {:>6} KiB", ms / 1000, ms % 1000, status.memory >> 10)?;
    }
    Ok(())
}
