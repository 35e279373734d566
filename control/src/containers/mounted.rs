//! Containers' folders of the host.

use super::{Containers, Entry};
use crate::error::ControlError;
use crate::folders::{FolderMapping, first_volume, mount, unmount};
use sentient_vmm::volumes::Mounting;

impl Entry {
    /// The folders it was to have.
    fn folders(&self) -> &[FolderMapping] {
        self.kept.start.as_ref().map_or(&[], |start| &start.volumes)
    }
}

impl Containers {
    /// They are in a machine with these volumes.
    pub(crate) fn reach(&self, mounting: Mounting) {
        // There is one machine.
        let _ = self.mounting.set(mounting);
    }

    /// Gives folders to a container that is being started.
    pub(super) fn mount(
        &self,
        name: &str,
        index: u32,
        folders: &[FolderMapping],
    ) -> Result<(), ControlError> {
        folders.iter().try_for_each(|folder| ControlError::unless_absolute("folder", &folder.host))?;
        let Some(mounting) = self.mounting.get().filter(|_| !folders.is_empty()) else { return Ok(()) };
        mount(mounting, index, folders).map_err(|(folder, error)| {
            ControlError::Conflict(format!(
                "`{name}` cannot have the folder {}: {error}",
                folder.host.display()
            ))
        })?;
        mounting.serve().map_err(ControlError::io("starting the volumes' thread"))
    }

    /// Has calls of volumes go wrong.
    #[cfg(any(debug_assertions, feature = "chaos"))]
    pub(crate) fn disturb(&self, disorder: sentient_vmm::volumes::Disorder) {
        if let Some(mounting) = self.mounting.get() {
            mounting.disturb(disorder);
        }
    }

    /// A container has ended: its folders are not reached any more.
    pub(super) fn unmount(&self, index: u32) {
        if let Some(mounting) = self.mounting.get() {
            unmount(mounting, index);
        }
    }

    /// Before those that `return` take the places of those in `table`: folders of the ones that run are taken away, and
    /// those that come have theirs, as far as these are there.
    pub(super) fn mount_again(&self, table: &[Entry], returning: &[Entry]) {
        let Some(mounting) = self.mounting.get() else { return };
        for old in table.iter().filter(|entry| entry.is_live() && !entry.folders().is_empty()) {
            unmount(mounting, old.index);
        }
        for new in returning {
            for (number, folder) in (first_volume(new.index)..).zip(new.folders()) {
                if let Err(error) = mounting.add(number, &folder.host, folder.read_only) {
                    let folder = folder.host.display();
                    tracing::warn!(
                        container = new.name,
                        "its folder {folder} cannot be had any more: {error}"
                    );
                }
            }
        }
        // Also of those that are not there any more: whoever asks is to hear that.
        if returning.iter().any(|entry| !entry.folders().is_empty())
            && let Err(error) = mounting.serve()
        {
            tracing::error!(%error, "containers wait for their folders");
        }
    }
}
