//! `boot --zero`: the machine's kernel alone, with a console on this terminal.

use super::Context;
use super::health::write_fault;
use crate::cli::VerifyArg;
use crate::commands::run::stop_on_signals;
use crate::errors::CommandError;
use sentient_abi::boot_module::REBOOT;
use sentient_abi::exit::ContainerEnd;
use sentient_control::history::History;
use sentient_control::recovery::{recoveries, rise};
use sentient_images::KernelImage;
use sentient_vmm::streams::Streams;
use sentient_vmm::{Ended, Machine, MachineConfig};
use std::process::ExitCode;

/// Faults that the console tells of: the last ones.
const FAULTS: usize = 16;

impl Context {
    /// `boot --zero`. As usual again, if that is what the console is told.
    pub fn boot_zero(&self, name: Option<&str>, verify: VerifyArg) -> Result<ExitCode, CommandError> {
        let machine = self.home.chosen(name.or(self.named.as_deref()))?;
        // It is nobody else's meanwhile.
        let history = History::open(&self.home, machine.clone())?;
        let mut faults = Vec::new();
        let known = recoveries(&machine)?;
        for fault in known.iter().skip(known.len().saturating_sub(FAULTS)) {
            write_fault(&mut faults, fault).map_err(CommandError::io("writing of faults"))?;
        }
        let streams = Streams::of_process().map_err(CommandError::io("duplicating the standard streams"))?;
        let config = MachineConfig {
            ram: history.description().ram_bytes,
            kernel: KernelImage::embedded()?,
            protocol: Default::default(),
            container: None,
            resident: false,
            zero: Some(String::from_utf8_lossy(&faults).into_owned()),
            snapshots: false,
            heartbeat: None,
            timeout: None,
        };
        let zero = Machine::new(&config, streams)?;
        stop_on_signals(zero.stop_handle())?;
        let ended = zero.run()?.ended;
        drop(history);
        match ended {
            Ended::Container(ContainerEnd::Exited(REBOOT)) => {
                rise(&machine)?;
                self.boot(Some(machine.name()), verify)
            }
            Ended::Container(_) | Ended::Interrupted | Ended::Terminated => {
                Ok(ExitCode::from(ended.process_code()))
            }
            ended => {
                eprintln!("sentctl: {ended}");
                Ok(ExitCode::from(ended.process_code()))
            }
        }
    }
}
