//! Containers as snapshots have them: what is said of them in a record, and how they come back from one.

use super::{Containers, Entry, Kept};
use crate::api::ContainerState;
use crate::error::ControlError;
use crate::logs::Stream;
use sentient_abi::region::{Region, RegionKind};
use sentient_snapshot::record::{ContainerEntry, OutputPosition, Record};

/// Numbers of output streams in a snapshot's record.
const STDOUT: u8 = 1;
const STDERR: u8 = 2;

/// Containers that are about to run again.
#[derive(Debug)]
pub struct Returning(pub(super) Vec<Entry>);

impl Containers {
    /// Those that run, for a snapshot's record. `regions` are the guest's.
    #[must_use]
    pub fn entries(&self, regions: &[Region]) -> Vec<ContainerEntry> {
        let base = |index: u32| {
            let own = |region: &&Region| region.kind == RegionKind::Container as u32 && region.owner == index;
            regions.iter().find(own).map(|region| region.base)
        };
        let table = self.table();
        let mut entries: Vec<_> = table
            .iter()
            .filter(|entry| entry.is_live())
            .filter_map(|entry| {
                Some(ContainerEntry {
                    name: entry.name.clone(),
                    index: entry.index,
                    base: base(entry.index)?,
                })
            })
            .collect();
        entries.sort_by_key(|entry| entry.index);
        entries
    }

    /// How far their output has got, for a snapshot's record.
    #[must_use]
    pub fn outputs(&self) -> Vec<OutputPosition> {
        let table = self.table();
        let mut live: Vec<_> = table.iter().filter(|entry| entry.is_live()).collect();
        live.sort_by_key(|entry| entry.index);
        let position = |entry: &&Entry| {
            let at =
                |stream, of| OutputPosition { container: entry.index, stream, bytes: entry.log.bytes(of) };
            [at(STDOUT, Stream::Stdout), at(STDERR, Stream::Stderr)]
        };
        live.iter().flat_map(position).collect()
    }

    /// The containers of a snapshot, with their files open: for [`went_back`](Self::went_back).
    ///
    /// # Errors
    /// The error of opening their files.
    pub fn returning(&self, record: &Record) -> Result<Returning, ControlError> {
        let mut entries = Vec::with_capacity(record.containers.len());
        for container in &record.containers {
            let kept = Kept::read(&self.machine.container(&container.name), &container.name);
            let mut entry = self.open(&container.name, container.index, kept, ContainerState::Running)?;
            for output in record.outputs.iter().filter(|output| output.container == container.index) {
                match output.stream {
                    STDOUT => entry.log.set_bytes(Stream::Stdout, output.bytes),
                    STDERR => entry.log.set_bytes(Stream::Stderr, output.bytes),
                    _ => {}
                }
            }
            entries.push(entry);
        }
        Ok(Returning(entries))
    }

    /// Makes files for containers that are about to return, as far as that is possible: so that opening them takes less.
    pub fn make_files(&self, names: &[String]) {
        for name in names {
            let _ = self.open(name, 0, Kept::unknown(""), ContainerState::Running);
        }
    }

    /// The machine stands at a snapshot now: its containers run, all others do not. The guest must not run
    /// again before this: what it then writes belongs to them.
    pub fn went_back(&self, Returning(mut entries): Returning) {
        let mut table = self.table();
        self.publish_again(&table, &mut entries);
        self.mount_again(&table, &entries);
        // Whoever has written to a file knows how long it is.
        for returned in &mut entries {
            if let Some(entry) = table.iter_mut().find(|entry| entry.name == returned.name) {
                for stream in Stream::ALL {
                    entry.log.set_bytes(stream, returned.log.bytes(stream));
                }
                std::mem::swap(&mut entry.log, &mut returned.log);
            }
        }
        for entry in table.iter_mut().filter(|entry| entry.is_live()) {
            if !entries.iter().any(|returned| returned.name == entry.name) {
                entry.end(None, Some("the machine was put back to before its start".into()));
            }
        }
        table.retain(|entry| !entries.iter().any(|returned| returned.name == entry.name));
        table.extend(entries);
        self.changed.notify_all();
    }
}
