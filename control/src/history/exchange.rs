//! Snapshots that leave the machine, and that come to it.

use super::{History, Newborn, short, unix_ns};
use crate::api::Forked;
use crate::containers::Kept;
use crate::error::ControlError;
use crate::home::Home;
use sentient_snapshot::hash::Hash;
use sentient_snapshot::record::{Record, SignedRecord, SnapshotId, Trust};
use sentient_snapshot::store::{Kind, Objects, Root, StoreError};
use sentient_snapshot::stream;
use serde_json::json;
use std::borrow::Cow;
use std::io::{Read, Write};

impl History {
    /// Writes a snapshot as a file that needs nothing else.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn export(&self, name: &str, out: impl Write) -> Result<(), ControlError> {
        self.export_signed(&self.named(name)?, out)
    }

    /// The same, of a record.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn export_signed(&self, signed: &SignedRecord, out: impl Write) -> Result<(), ControlError> {
        stream::export(&self.store, signed, out)?;
        Ok(())
    }

    /// Reads such a file. Signatures of `trusted` keys (64 hexadecimal digits each) count besides the
    /// machine's own.
    ///
    /// # Errors
    /// [`ControlError::Import`] by the first thing that is not as it should be; nothing is changed then.
    pub fn import(
        &self,
        stream: impl Read,
        trusted: &[String],
        tag: Option<&str>,
    ) -> Result<SnapshotId, ControlError> {
        let trust = Trust::only(self.key.public()).and_hex(trusted.iter().map(String::as_str))?;
        let holder = self.description.id.0;
        let (signed, _) = stream::import(&self.store, holder, &trust, stream)?;
        if let Err(error) = self.can_run(signed.record()) {
            self.store.remove(&[Root { machine: holder, snapshot: signed.id().0 }])?;
            return Err(error);
        }
        self.timeline.adopt(&signed, tag)?;
        self.trace("import", &json!({ "snapshot": signed.id().to_string() }))?;
        Ok(signed.id())
    }

    fn can_run(&self, record: &Record) -> Result<(), ControlError> {
        let Record { ram, .. } = record;
        if *ram != self.description.ram_bytes {
            return Err(ControlError::Conflict(format!(
                "the snapshot is of a machine with {ram} bytes of RAM, and `{}` has {}; import it into a machine of its size",
                self.machine.name(),
                self.description.ram_bytes
            )));
        }
        Self::load_state(record, &self.store.session()?).map(drop)
    }

    /// Begins another machine that is to start from a snapshot of this one.
    ///
    /// # Errors
    /// As [`Newborn::begin`].
    pub fn begin_fork(&self, home: &Home, name: &str) -> Result<Newborn, ControlError> {
        Newborn::begin(home.machine(name)?, self.description.ram_bytes, self.description.zk)
    }

    /// Makes it: its id and its first snapshot. The pages are not copied.
    ///
    /// # Errors
    /// [`ControlError`].
    pub fn fork(&self, home: &Home, newborn: Newborn, from: &SignedRecord) -> Result<Forked, ControlError> {
        Self::load_state(from.record(), &self.store.session()?)?;
        let other = newborn.with_history(home)?;
        let (name, id) = (other.machine.name().to_owned(), other.description.id);
        let record = Record {
            machine: id.0,
            parent: None,
            created_unix_ns: unix_ns(),
            message: format!("fork of {} at {}", self.machine.name(), short(from.id())),
            ..from.record().clone()
        };
        let signed = SignedRecord::sign(record, &other.key)?;
        let stored = sentient_snapshot::capture::stored(signed.record(), signed.id());
        self.store.add(&stored, &mut NothingNew)?;
        other.add(&signed, Some("genesis"))?;
        let settings = self.timeline.settings()?;
        // The usual ones are there already, and writing them would cost a sync.
        if settings != other.timeline.settings()? {
            other.put_settings(settings)?;
        }
        let names = from.record().containers.iter().map(|container| container.name.as_str());
        Kept::carry_over(&self.machine, &other.machine, names);
        self.proofs.leave_to(self, &other.machine, from, signed.record())?;
        other.description.write(&other.machine)?;
        self.trace("fork", &json!({ "machine": name, "snapshot": from.id().to_string() }))?;
        Ok(Forked { name, id: id.to_string(), snapshot: signed.id().to_string(), pause_us: 0 })
    }
}

/// All of a fork's objects are in the store already.
struct NothingNew;

impl Objects for NothingNew {
    fn object(&mut self, _: Kind, _: Hash) -> Result<Option<Cow<'_, [u8]>>, StoreError> {
        Ok(None)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use sentient_snapshot::capture::{Capture, Details};
    use sentient_snapshot::layout::Layout;
    use sentient_snapshot::store::Store;

    /// What the VMM's own tests keep readable.
    const STATE: &[u8] = include_bytes!("../../../vmm/tests/golden/machine-state-v4.bin");
    const RAM: u64 = 32 << 20;

    fn snapshot(history: &History, store: &Store, abi: u8) -> SignedRecord {
        let layout = Layout::new(Vec::new(), std::slice::from_ref(&(0..RAM))).unwrap();
        let mut state = STATE.to_vec();
        state[1] = abi;
        let capture = Capture { previous: None, layout: &layout, dirty: &[], state: &state };
        let details = Details {
            machine: history.description.id.0,
            parent: None,
            created_unix_ns: 1,
            message: String::new(),
            kernel: [0; 32],
            containers: Vec::new(),
            outputs: Vec::new(),
        };
        let mut commit = capture.commit(details).unwrap();
        commit.store(store).unwrap();
        SignedRecord::sign(commit.record().clone(), &history.key).unwrap()
    }

    #[test]
    fn a_snapshot_whose_kernel_speaks_another_abi_is_neither_imported_nor_forked() {
        let folder = tempfile::tempdir().unwrap();
        let home = Home::find(Some(folder.path().join("home"))).unwrap();
        let newborn = |name| Newborn::begin(home.machine(name).unwrap(), RAM, false).unwrap();
        let history = newborn("m").with_history(&home).unwrap();
        let elsewhere = Store::open(&folder.path().join("elsewhere"), None).unwrap();
        let abi = u8::try_from(sentient_abi::ABI_VERSION).unwrap();

        for other in [abi - 1, abi + 1] {
            let signed = snapshot(&history, &elsewhere, other);
            let mut file = Vec::new();
            stream::export(&elsewhere, &signed, &mut file).unwrap();
            let refused = history.import(file.as_slice(), &[], None).unwrap_err().to_string();
            assert!(refused.contains(&format!("speaks ABI version {other},")), "{refused}");
            assert_eq!(history.store.roots(None).unwrap(), []);
        }

        let signed = snapshot(&history, &history.store, abi - 1);
        assert!(matches!(history.fork(&home, newborn("f"), &signed), Err(ControlError::Machine(_))));
        assert!(!home.machine("f").unwrap().exists());
        let signed = snapshot(&history, &history.store, abi);
        history.fork(&home, newborn("g"), &signed).unwrap();
        assert!(home.machine("g").unwrap().exists());
    }
}
