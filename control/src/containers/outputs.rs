//! What the guest says: containers' output, and what becomes of them.

use super::{Containers, Told};
use crate::api::ContainerState;
use crate::logs;
use sentient_abi::exit::ContainerEnd;
use sentient_devices::virtio::stdio_mux::{ContainerEvent, Stream, Written};
use sentient_vmm::streams::ContainerSink;
use std::sync::Arc;

/// The console's end of it.
pub struct Outputs(pub Arc<Containers>);

impl std::fmt::Debug for Outputs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Outputs")
    }
}

impl ContainerSink for Outputs {
    fn output(&mut self, container: u32, stream: Stream, bytes: &[u8]) -> Written {
        let mut table = self.0.table();
        let Some(entry) = table.iter_mut().find(|entry| entry.is_live() && entry.index == container) else {
            return Written::Closed;
        };
        let stream = if stream == Stream::Stdout { logs::Stream::Stdout } else { logs::Stream::Stderr };
        if let Err(error) = entry.log.write(stream, bytes) {
            // A full disk must not stop the machine; the loss is told where people look.
            tracing::error!(%error, container = entry.name, "a container's output is lost");
        }
        Written::Accepted(bytes.len())
    }

    fn event(&mut self, container: u32, event: ContainerEvent) {
        let mut table = self.0.table();
        let found = table.iter_mut().find(|entry| entry.is_live() && entry.index == container);
        let mut told = None;
        if let Some(entry) = found {
            told = match &event {
                ContainerEvent::Started | ContainerEvent::Refused(_) => Some(Told::Runs),
                ContainerEvent::Trapped => Some(Told::Trapped),
                // What is to be done about it was done when it trapped.
                ContainerEvent::Ended(_) if entry.held => Some(Told::Runs),
                ContainerEvent::Ended(end) => Some(Told::Ended(*end)),
                _ => None,
            }
            .map(|told| (entry.name.clone(), told));
            match event {
                ContainerEvent::Started => entry.state = ContainerState::Running,
                ContainerEvent::Trapped => entry.held = true,
                ContainerEvent::Status(status) => entry.takes = Some(status),
                ContainerEvent::Files { number, answer } => entry.answered = Some((number, answer)),
                ContainerEvent::Refused(reason) => entry.end(None, Some(reason)),
                ContainerEvent::NoImage => entry.wants_image = true,
                ContainerEvent::Ended(end) => entry.end(Some(end.process_code()), reason(end)),
            }
            if !entry.is_live() {
                self.0.close_ports(container);
                self.0.unmount(container);
            }
        }
        drop(table);
        if let Some(((name, told), tell)) = told.zip(self.0.watcher.get()) {
            tell(&name, told);
        }
        self.0.changed.notify_all();
    }
}

/// What there is to say beyond a code.
fn reason(end: ContainerEnd) -> Option<String> {
    let said = match end {
        ContainerEnd::Exited(_) => return None,
        ContainerEnd::Trapped => "it trapped; its standard error tells where",
        ContainerEnd::CpuLimit => "its CPU time was up",
        ContainerEnd::Unstartable => "it could not be started; its standard error tells why",
        ContainerEnd::BadBootModule => "the guest could not read it",
        ContainerEnd::Killed => "it was killed",
        ContainerEnd::Lost => "the kernel was put back, and it could not be kept",
    };
    Some(said.to_owned())
}
