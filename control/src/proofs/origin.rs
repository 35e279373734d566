//! What a fork has of the machine that it was made from, until its own chain begins.
//!
//! The fork's first transition begins with the other machine's state. Its record is made when the fork runs, so
//! that a fork need not wait for it; by then the other machine may be gone. So everything that the record
//! needs is written down when the fork is made, in one file, and stays: it tells where the fork is from.

use crate::error::ControlError;
use crate::home::MachineFolder;
use borsh::{BorshDeserialize, BorshSerialize};
use sentient_snapshot::Record;
use sentient_snapshot::hash::Hash;
use sentient_zk::chain::{SignedChainRecord, durable};
use sentient_zk::commitment::{Delta, StateOpening};
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

const FORMAT: u32 = 1;
/// Most bytes of the file: 262144 MiB of RAM whose pages all differ do not fit, and such a fork is refused.
const MAX_LEN: usize = 1 << 30;

/// The other machine, at the moment of the fork.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Original {
    /// The last record of its chain, if it has one.
    pub record: Option<SignedChainRecord>,
    /// What that one's state is hashed from.
    pub opening: Option<StateOpening>,
    /// The snapshot that it stood at.
    pub snapshot: Record,
    /// What differs between that and the fork's first.
    pub delta: Delta,
}

#[derive(BorshSerialize, BorshDeserialize)]
struct Text {
    format: u32,
    record: Vec<u8>,
    opening: Vec<u8>,
    snapshot: Record,
    old_state: [u8; 32],
    new_state: [u8; 32],
    pages: Vec<(u64, [u8; 32], [u8; 32])>,
}

impl Original {
    /// Writes it into the fork's folder. Durable when it returns.
    ///
    /// # Errors
    /// [`ControlError::Conflict`] if too much differs; the error of writing.
    pub fn write(&self, fork: &MachineFolder) -> Result<(), ControlError> {
        let path = fork.origin();
        let bytes = self.encode().map_err(ControlError::io(&path))?;
        if bytes.len() > MAX_LEN {
            return Err(ControlError::Conflict(format!(
                "{} pages differ between where the machine is and where the fork is to start; roll it back first",
                self.delta.pages.len()
            )));
        }
        durable::replace(&path, &bytes).map_err(ControlError::io(&path))
    }

    /// That of a fork; `None` for a machine that is none.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] for a file that is not what was written.
    pub fn read(fork: &MachineFolder) -> Result<Option<Self>, ControlError> {
        let path = fork.origin();
        let mut bytes = Vec::new();
        let read = File::open(&path).and_then(|file| file.take(MAX_LEN as u64 + 1).read_to_end(&mut bytes));
        match read.map_err(ControlError::io(&path)) {
            Err(error) if error.is_absence() => Ok(None),
            Err(error) => Err(error),
            Ok(_) => Self::decode(&bytes).map(Some).map_err(|problem| damaged(&path, &problem)),
        }
    }

    /// What is in the file.
    ///
    /// # Errors
    /// None in practice: there is no more than 2^32 of anything.
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let text = Text {
            format: FORMAT,
            record: self.record.as_ref().map(SignedChainRecord::encode).unwrap_or_default(),
            opening: self.opening.as_ref().map(StateOpening::encode).unwrap_or_default(),
            snapshot: self.snapshot.clone(),
            old_state: self.delta.old_state,
            new_state: self.delta.new_state,
            pages: self.delta.pages.iter().map(|(gpn, old, new)| (*gpn, old.0, new.0)).collect(),
        };
        borsh::to_vec(&text)
    }

    /// Reads that.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let text = Text::try_from_slice(bytes).map_err(|error| format!("it does not decode: {error}"))?;
        if text.format != FORMAT {
            return Err(format!("it has format {}, and this build reads {FORMAT}", text.format));
        }
        text.snapshot.check().map_err(|error| error.to_string())?;
        let some = |bytes: Vec<u8>| Some(bytes).filter(|bytes| !bytes.is_empty());
        let record = some(text.record).map(|bytes| SignedChainRecord::decode(&bytes)).transpose();
        let opening = some(text.opening).map(|bytes| StateOpening::decode(&bytes)).transpose();
        let pages = text.pages.into_iter().map(|(gpn, old, new)| (gpn, Hash(old), Hash(new))).collect();
        Ok(Self {
            record: record.map_err(|error| error.to_string())?,
            opening: opening.map_err(|error| error.to_string())?,
            snapshot: text.snapshot,
            delta: Delta { old_state: text.old_state, new_state: text.new_state, pages },
        })
    }
}

fn damaged(path: &Path, problem: &str) -> ControlError {
    ControlError::Damaged(format!("{}: {problem}; restore it from a copy", path.display()))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;
    use crate::home::Home;

    #[test]
    fn what_was_written_is_read_and_nothing_else_is() {
        let folder = tempfile::tempdir().unwrap();
        let machine = Home::find(Some(folder.path().into())).unwrap().machine("m").unwrap();
        assert_eq!(Original::read(&machine).unwrap(), None);
        let snapshot = Record {
            format: 1,
            machine: [7; 16],
            parent: None,
            created_unix_ns: 1,
            message: "x".into(),
            ram: 0,
            kernel: [1; 32],
            regions: Vec::new(),
            state: Hash([2; 32]),
            state_len: 3,
            dirty_pages: 0,
            used_pages: 0,
            containers: Vec::new(),
            outputs: Vec::new(),
        };
        let pages = vec![(5, Hash([3; 32]), Hash([4; 32]))];
        let delta = Delta { old_state: [2; 32], new_state: [9; 32], pages };
        let original = Original { record: None, opening: None, snapshot, delta };
        original.write(&machine).unwrap();
        assert_eq!(Original::read(&machine).unwrap(), Some(original));
        let good = std::fs::read(machine.origin()).unwrap();
        for len in 0..good.len() {
            std::fs::write(machine.origin(), &good[..len]).unwrap();
            assert!(matches!(Original::read(&machine), Err(ControlError::Damaged(_))), "{len} bytes");
        }
        std::fs::write(machine.origin(), [&[9], &good[1..]].concat()).unwrap();
        assert!(matches!(Original::read(&machine), Err(ControlError::Damaged(_))));
        // A length that no file has.
        std::fs::write(machine.origin(), [&good[..4], &[0xff; 8]].concat()).unwrap();
        assert!(matches!(Original::read(&machine), Err(ControlError::Damaged(_))));
    }
}
