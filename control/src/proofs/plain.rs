//! What happened to a machine that is not to be proved: `.trace/transitions`, one JSON object a line.
//!
//! The same as in a chain's records, without states, signatures and proofs. A line is synced when it is
//! appended. One that was cut short by a crash is cut off when the file is opened next, and written again.

use super::judging::Judged;
use crate::error::ControlError;
use crate::history::unix_ns;
use crate::home::{append_to, make_folder};
use sentient_snapshot::SnapshotId;
use sentient_snapshot::hash::hex;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// One transition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    /// How many are before it.
    pub sequence: u64,
    /// When, in nanoseconds since 1970 (UTC).
    pub created_unix_ns: u64,
    /// How it came about.
    pub origin: String,
    /// The snapshot whose state the machine has now: its id.
    pub snapshot: String,
    /// Regions that differ.
    pub dirty: Vec<String>,
    /// The contract's digest.
    pub contract: String,
    /// The delta's digest.
    pub delta: String,
    /// What broke the contract.
    pub violations: Vec<String>,
}

/// The file.
#[derive(Clone, Debug)]
pub struct PlainTrace {
    path: PathBuf,
    lines: Vec<Line>,
}

impl PlainTrace {
    /// The one in a folder, which need not exist.
    ///
    /// # Errors
    /// [`ControlError::Damaged`] by the first line that is none.
    pub fn open(folder: &Path) -> Result<Self, ControlError> {
        let path = folder.join("transitions");
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            read => read.map_err(ControlError::io(&path))?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let mut lines = Vec::new();
        for (number, line) in text.get(..whole).unwrap_or_default().lines().enumerate() {
            let parsed = serde_json::from_str::<Line>(line).map_err(|error| error.to_string());
            let line = parsed.and_then(|line| match line.sequence == number as u64 {
                true => Ok(line),
                false => Err(format!("has the number {}", line.sequence)),
            });
            lines.push(line.map_err(|problem| {
                let path = path.display();
                ControlError::Damaged(format!(
                    "line {} of {path}: {problem}; restore it from a copy",
                    number + 1
                ))
            })?);
        }
        if whole < text.len() {
            let cut = || File::options().write(true).open(&path)?.set_len(whole as u64);
            cut().map_err(ControlError::io(&path))?;
        }
        Ok(Self { path, lines })
    }

    /// The transitions, in order.
    #[must_use]
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// The snapshot that the machine is at.
    #[must_use]
    pub fn head(&self) -> Option<SnapshotId> {
        SnapshotId::parse(&self.lines.last()?.snapshot)
    }

    /// Appends what happened. Durable when it returns.
    ///
    /// # Errors
    /// The error of writing.
    pub fn append(&mut self, judged: &Judged) -> Result<(), ControlError> {
        let line = Line {
            sequence: self.lines.len() as u64,
            created_unix_ns: unix_ns(),
            origin: judged.origin.name().to_owned(),
            snapshot: judged.to.snapshot.to_string(),
            dirty: judged.dirty.iter().map(|slot| slot.to_string()).collect(),
            contract: hex(&judged.verdict.contract),
            delta: hex(&judged.delta.digest()),
            violations: judged.violations(),
        };
        let text = serde_json::to_string(&line).map_err(|error| ControlError::Bug(error.to_string()))?;
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let write = || {
            make_folder(folder)?;
            let mut file = append_to(&self.path)?;
            file.write_all(format!("{text}\n").as_bytes())?;
            file.sync_data()?;
            File::open(folder)?.sync_all()
        };
        write().map_err(ControlError::io(&self.path))?;
        self.lines.push(line);
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn half_a_line_is_cut_off_and_a_missing_one_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let line = |sequence| {
            let line = Line {
                sequence,
                created_unix_ns: 1,
                origin: "snapshot".into(),
                snapshot: "ab".repeat(32),
                dirty: vec!["container-0".into()],
                contract: String::new(),
                delta: String::new(),
                violations: Vec::new(),
            };
            serde_json::to_string(&line).unwrap()
        };
        let path = folder.path().join("transitions");
        fs::write(&path, format!("{}\n{}\n{}", line(0), line(1), &line(2)[..20])).unwrap();
        let trace = PlainTrace::open(folder.path()).unwrap();
        assert_eq!((trace.lines().len(), trace.head()), (2, Some(SnapshotId([0xab; 32]))));
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n{}\n", line(0), line(1)));
        fs::write(&path, format!("{}\n{}\n", line(0), line(2))).unwrap();
        let refused = PlainTrace::open(folder.path()).unwrap_err().to_string();
        assert!(refused.contains("line 2") && refused.contains("number 2"), "{refused}");
    }
}
