//! Containers' ports on the host, and where they may connect to.

use super::{Containers, Entry};
use crate::api::StartContainer;
use crate::error::ControlError;
use crate::ports::{PortMapping, PublishedPort, publish};
use sentient_vmm::network::Network;
use std::path::Path;

impl Entry {
    /// The ports it was to have.
    fn mappings(&self) -> &[PortMapping] {
        self.kept.start.as_ref().map_or(&[], |start| &start.ports)
    }

    /// Where it may connect to.
    fn destinations(&self) -> &[String] {
        self.kept.start.as_ref().map_or(&[], |start| &start.connect)
    }

    /// Whether it is the same container as far as its ports, and where it may connect to, are concerned.
    fn has_network_of(&self, other: &Self) -> bool {
        self.name == other.name
            && self.index == other.index
            && self.mappings() == other.mappings()
            && self.destinations() == other.destinations()
    }
}

impl Containers {
    /// They are in a machine with this network.
    pub(crate) fn join(&self, network: Network) {
        // There is one machine.
        let _ = self.network.set(network);
    }

    /// Publishes the ports of a container that is being started, and lets it connect to where it may.
    pub(super) fn publish(
        &self,
        name: &str,
        index: u32,
        wanted: &StartContainer,
    ) -> Result<(), ControlError> {
        let StartContainer { ports: mappings, connect, .. } = wanted;
        let has_any = !mappings.is_empty() || !connect.is_empty();
        let Some(network) = self.network.get().filter(|_| has_any) else { return Ok(()) };
        network.allow(index, &connect.join("\n")).map_err(ControlError::io(Path::new("the network")))?;
        publish(network, index, mappings).map_err(|(mapping, error)| {
            ControlError::Conflict(format!(
                "`{name}` cannot have its port {} at {}: {error}; give another HOST-PORT, or none for a free one",
                mapping.port, mapping.host
            ))
        })?;
        if let Some(entry) = self.table().iter_mut().find(|entry| entry.name == name) {
            entry.published = published(network, index);
        }
        Ok(())
    }

    /// A container has ended: nobody is let in any more.
    pub(super) fn close_ports(&self, index: u32) {
        if let Some(network) = self.network.get() {
            network.close(index);
        }
    }

    /// Has the threads of devices go on that have panicked.
    pub(crate) fn revive(&self) {
        let network = self.network.get().map_or(Ok(()), |network| network.revive());
        let volumes = self.mounting.get().map_or(Ok(()), |mounting| mounting.revive());
        if let Err(error) = network.and(volumes) {
            tracing::error!(%error, "a device of the machine's is not served any more");
        }
    }

    /// Has the network's thread panic.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    pub(crate) fn kill_thread(&self) {
        if let Some(network) = self.network.get() {
            network.die();
        }
    }

    /// Ends the connections of a container that is at another point of its life.
    pub(crate) fn disconnect(&self, index: u32) {
        if let Some(network) = self.network.get() {
            network.disconnect(index);
        }
    }

    /// Before those that `return` take the places of those in `table`: ports of the ones that run no more, or with
    /// others, are taken back, and the ones that have none are given theirs, as far as these are free.
    pub(super) fn publish_again(&self, table: &[Entry], returning: &mut [Entry]) {
        let Some(network) = self.network.get() else { return };
        for old in table.iter().filter(|entry| entry.is_live()) {
            match returning.iter_mut().find(|new| new.has_network_of(old)) {
                Some(new) => new.published.clone_from(&old.published),
                None => network.close(old.index),
            }
        }
        for new in returning.iter() {
            if let Err(error) = network.allow(new.index, &new.destinations().join("\n")) {
                tracing::warn!(container = new.name, %error, "it cannot connect to anywhere any more");
            }
        }
        for new in returning.iter_mut().filter(|new| new.published.is_empty()) {
            match publish(network, new.index, new.mappings()) {
                Ok(()) => new.published = published(network, new.index),
                Err((mapping, error)) => tracing::warn!(
                    container = new.name,
                    "its port {} cannot be at {} any more: {error}",
                    mapping.port,
                    mapping.host
                ),
            }
        }
    }
}

fn published(network: &Network, index: u32) -> Vec<PublishedPort> {
    let all = network.published();
    all.iter().filter(|published| published.container == index).map(PublishedPort::from).collect()
}
