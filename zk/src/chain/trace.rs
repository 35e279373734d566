//! A machine's chain as files: `.lock/zk.trace/`.
//!
//! | file | what | who may see it |
//! |---|---|---|
//! | `00000000.record` | a [`SignedChainRecord`] | everybody |
//! | `00000000.opening` | what its new state is hashed from | the machine's owner |
//! | `00000000.proof` | the proof, when there is one | everybody |
//!
//! An opening is written before its record, so that a record always has what its proof needs, whatever has
//! become of the snapshots meanwhile. A file without its record belongs to nothing, and is replaced.
//!
//! A proof's file: `"SENTZKPF" | format u32 = 1 | digest of the verifying key 32 | id of the record 32 |
//! proof 128`.

use std::fs::{self, File};
use std::io::{self, Read};
use std::ops::RangeBounds;
use std::path::{Path, PathBuf};

use super::durable;
use super::links::{self, LinkError};
use super::record::{ChainRecord, ChainRecordError, MAX_SIGNED, RecordId, SignedChainRecord};
use crate::circuit::Statement;
use crate::commitment::StateOpening;
use crate::commitment::state::{OPENING_LEN, OpeningError};
use crate::keys::KeyDigest;
use crate::scalar::to_bytes;
use crate::transition::Transition;
use crate::verify::{PROOF_LEN, Proof, Verifier, VerifyError};
use sentient_snapshot::keys::MachineKey;

const PROOF_MAGIC: &[u8; 8] = b"SENTZKPF";
const PROOF_FORMAT: u32 = 1;
const PROOF_HEADER: usize = 8 + 4 + 32 + 32;

/// Most records of a chain: one a minute for 30 years. Names have eight digits.
pub const MAX_RECORDS: u64 = 16_000_000;

/// Why a chain cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The system refused something.
    #[error("cannot {what} {path}: {source}; check the machine's folder")]
    Io {
        /// What was tried.
        what: &'static str,
        /// With which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A record that is none.
    #[error("{path}: {source}")]
    Record {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: ChainRecordError,
    },
    /// A file that is not named like the record in it.
    #[error("{path} holds record {found}; files were moved: put them back")]
    Place {
        /// The file.
        path: PathBuf,
        /// The number of the record in it.
        found: u64,
    },
    /// Records that do not follow each other.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// An opening that is none, or of another state.
    #[error("{path}: {problem}; the transition cannot be proved any more: restore the file from a copy")]
    Opening {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A proof that is none, or of something else.
    #[error("{path}: {problem}; remove the file, and the transition is proved again")]
    Proof {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The record to be appended is none.
    #[error(transparent)]
    New(#[from] ChainRecordError),
    /// No such record.
    #[error("the chain has no record {sequence}; it has {len}")]
    Unknown {
        /// The number asked for.
        sequence: u64,
        /// How many there are.
        len: u64,
    },
}

/// A machine's chain. A clone sees what was appended until then.
#[derive(Clone, Debug)]
pub struct Trace {
    folder: PathBuf,
    records: Vec<SignedChainRecord>,
}

impl Trace {
    /// The chain in a folder, which need not exist. Reads all records, and checks their signatures and that
    /// each follows the one before it.
    ///
    /// # Errors
    ///
    /// [`TraceError`] by the first that does not.
    pub fn open(folder: &Path) -> Result<Self, TraceError> {
        let mut names: Vec<u64> = Vec::new();
        match fs::read_dir(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => return Err(refused("read", folder, source)),
            Ok(entries) => {
                for entry in entries {
                    let name = entry.map_err(|source| refused("read", folder, source))?.file_name();
                    let number = name.to_str().and_then(|name| name.strip_suffix(".record"));
                    names.extend(number.and_then(|number| number.parse::<u64>().ok()));
                }
            }
        }
        names.sort_unstable();
        let mut trace =
            Self { folder: folder.to_owned(), records: Vec::with_capacity(names.len().min(1024)) };
        for (expected, found) in (0..).zip(names) {
            if found != expected {
                return Err(LinkError::Sequence { expected, found }.into());
            }
            let path = trace.path(found, "record");
            let bytes = read(&path, MAX_SIGNED)?;
            let record = SignedChainRecord::decode(&bytes)
                .map_err(|source| TraceError::Record { path: path.clone(), source })?;
            if record.record().sequence != expected {
                return Err(TraceError::Place { path, found: record.record().sequence });
            }
            if let Some(last) = trace.records.last() {
                links::follows(last, &record)?;
            }
            trace.records.push(record);
        }
        Ok(trace)
    }

    /// The records, in order.
    #[must_use]
    pub fn records(&self) -> &[SignedChainRecord] {
        &self.records
    }

    /// The newest record.
    #[must_use]
    pub fn head(&self) -> Option<&SignedChainRecord> {
        self.records.last()
    }

    /// Appends what happened. Durable when [`sync`](Self::sync) returns; one that is there has its opening even before
    /// that. A fork's first record follows `from`, the record of the machine that it was made from.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`]; [`TraceError::New`] and [`TraceError::Link`] for a transition that does not begin
    /// where the chain ends.
    pub fn append(
        &mut self,
        transition: &Transition,
        machine: [u8; 16],
        from: Option<&SignedChainRecord>,
        created_unix_ns: u64,
        key: &MachineKey,
    ) -> Result<&SignedChainRecord, TraceError> {
        let last = self.records.last().or(from);
        let record = ChainRecord::of(transition, machine, last, created_unix_ns);
        let sequence = record.sequence;
        let record = SignedChainRecord::sign(record, key)?;
        if let Some(last) = self.records.last() {
            links::follows(last, &record)?;
        }
        if let Some(old) = &transition.old
            && sequence == 0
        {
            // A fork: the opening of the other machine's state is its own from now on.
            write(durable::place, &self.folder.join("fork.opening"), &old.encode())?;
        }
        write(durable::place, &self.path(sequence, "opening"), &transition.new.encode())?;
        write(durable::place_new, &self.path(sequence, "record"), &record.encode())?;
        self.records.push(record);
        self.record(sequence)
    }

    /// Makes durable what was appended.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`]. The chain is then to be opened again.
    pub fn sync(&self) -> Result<(), TraceError> {
        durable::sync(&self.folder).map_err(|source| refused("sync", &self.folder, source))
    }

    /// The record of that number.
    ///
    /// # Errors
    ///
    /// [`TraceError::Unknown`].
    pub fn record(&self, sequence: u64) -> Result<&SignedChainRecord, TraceError> {
        let found = usize::try_from(sequence).ok().and_then(|at| self.records.get(at));
        found.ok_or(TraceError::Unknown { sequence, len: self.records.len() as u64 })
    }

    /// What a record's new state is hashed from; compared with the state.
    ///
    /// # Errors
    ///
    /// [`TraceError::Opening`].
    pub fn opening(&self, sequence: u64) -> Result<StateOpening, TraceError> {
        let state = self.record(sequence)?.record().new_state;
        self.read_opening(&self.path(sequence, "opening"), &state)
    }

    /// What there is to prove of a record, with the openings of both states; `None` for a machine's first.
    ///
    /// # Errors
    ///
    /// [`TraceError::Opening`].
    pub fn to_prove(
        &self,
        sequence: u64,
    ) -> Result<Option<(Statement, StateOpening, StateOpening)>, TraceError> {
        let record = self.record(sequence)?.record();
        let Some(statement) = record.statement() else { return Ok(None) };
        let old = match sequence.checked_sub(1) {
            Some(before) => self.opening(before)?,
            None => self.read_opening(&self.folder.join("fork.opening"), &record.old_state)?,
        };
        Ok(Some((statement, old, self.opening(sequence)?)))
    }

    /// Numbers of the records that are to be proved and have no proof: the queue, which survives restarts.
    #[must_use]
    pub fn unproved(&self) -> Vec<u64> {
        let open = |record: &&SignedChainRecord| {
            record.record().statement().is_some() && !self.path(record.record().sequence, "proof").exists()
        };
        self.records.iter().filter(open).map(|record| record.record().sequence).collect()
    }

    /// Stores a proof, in place of what may be there. Durable when it returns.
    ///
    /// # Errors
    ///
    /// [`TraceError::Io`], [`TraceError::Unknown`].
    pub fn put_proof(&self, sequence: u64, key: KeyDigest, proof: &Proof) -> Result<(), TraceError> {
        let id = self.record(sequence)?.id();
        let format = PROOF_FORMAT.to_le_bytes();
        let bytes = [PROOF_MAGIC.as_slice(), &format, &key.0, &id.0, &proof.encode()].concat();
        write(durable::replace, &self.path(sequence, "proof"), &bytes)
    }

    /// The proof of a record, and the key that it was made for; `None` if there is none. Not verified.
    ///
    /// # Errors
    ///
    /// [`TraceError::Proof`] for a file that is none of this record.
    pub fn proof(&self, sequence: u64) -> Result<Option<(KeyDigest, Proof)>, TraceError> {
        let id = self.record(sequence)?.id();
        let path = self.path(sequence, "proof");
        let bytes = match read(&path, PROOF_HEADER + PROOF_LEN) {
            Err(TraceError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                return Ok(None);
            }
            bytes => bytes?,
        };
        let proof = decode_proof(&bytes, id);
        proof.map(Some).map_err(|problem| TraceError::Proof { path, problem })
    }

    /// Checks the proofs of records whose numbers are in `range`, 64 at a time; which have none is in
    /// [`Checked::unproved`].
    ///
    /// # Errors
    ///
    /// [`TraceError::Proof`] by the first that is not one of its record under this key;
    /// [`LinkError::Missing`] if `known` is not in the chain.
    pub fn verify(
        &self,
        verifier: &Verifier,
        range: impl RangeBounds<u64>,
        known: Option<RecordId>,
    ) -> Result<Checked, TraceError> {
        if let Some(known) = known.filter(|known| !self.records.iter().any(|record| record.id() == *known)) {
            return Err(LinkError::Missing(known).into());
        }
        let mut checked = Checked { unproved: Vec::new(), proved: 0, flagged: Vec::new() };
        let mut batch: Vec<(u64, (Statement, Proof))> = Vec::new();
        let wanted = |record: &&ChainRecord| range.contains(&record.sequence);
        for record in self.records.iter().map(SignedChainRecord::record).filter(wanted) {
            if !record.flagged.is_empty() {
                checked.flagged.push(record.sequence);
            }
            let Some(statement) = record.statement() else { continue };
            let Some((key, proof)) = self.proof(record.sequence)? else {
                checked.unproved.push(record.sequence);
                continue;
            };
            if key != verifier.key().digest() {
                let problem = format!("is for the key {key}, and {} is used", verifier.key().digest());
                return Err(TraceError::Proof { path: self.path(record.sequence, "proof"), problem });
            }
            batch.push((record.sequence, (statement, proof)));
        }
        checked.proved = batch.len() as u64;
        for part in batch.chunks(crate::verify::MAX_BATCH) {
            let proofs: Vec<_> = part.iter().map(|(_, proof)| proof.clone()).collect();
            if verifier.verify_batch(&proofs).is_ok() {
                continue;
            }
            for (sequence, (statement, proof)) in part {
                verifier.verify(statement, proof).map_err(|error| TraceError::Proof {
                    path: self.path(*sequence, "proof"),
                    problem: error.to_string(),
                })?;
            }
        }
        Ok(checked)
    }

    fn path(&self, sequence: u64, what: &str) -> PathBuf {
        self.folder.join(format!("{sequence:08}.{what}"))
    }

    fn read_opening(&self, path: &Path, state: &[u8; 32]) -> Result<StateOpening, TraceError> {
        let problem = |problem: String| TraceError::Opening { path: path.to_owned(), problem };
        let bytes = read(path, OPENING_LEN)?;
        let opening =
            StateOpening::decode(&bytes).map_err(|error: OpeningError| problem(error.to_string()))?;
        if to_bytes(&opening.state()) == *state {
            return Ok(opening);
        }
        Err(problem("opens another state than the record's".to_owned()))
    }
}

/// What was found in a chain that is in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Records with a good proof.
    pub proved: u64,
    /// Records that have none yet.
    pub unproved: Vec<u64>,
    /// Records of transitions that broke the contract.
    pub flagged: Vec<u64>,
}

fn decode_proof(bytes: &[u8], id: RecordId) -> Result<(KeyDigest, Proof), String> {
    let cut = || "is cut short".to_owned();
    let (magic, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut)?;
    let (format, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    if magic != PROOF_MAGIC || u32::from_le_bytes(*format) != PROOF_FORMAT {
        return Err(format!("does not begin as a proof of format {PROOF_FORMAT}"));
    }
    let (key, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    let (of, rest) = rest.split_first_chunk().ok_or_else(cut)?;
    if *of != id.0 {
        return Err(format!("is of the record {}, and not of {id}", RecordId(*of)));
    }
    let proof = Proof::decode(rest).map_err(|error: VerifyError| error.to_string())?;
    Ok((KeyDigest(*key), proof))
}

/// Writes a file, by one of the ways of [`durable`].
fn write(way: fn(&Path, &[u8]) -> io::Result<()>, path: &Path, bytes: &[u8]) -> Result<(), TraceError> {
    way(path, bytes).map_err(|source| refused("write", path, source))
}

fn refused(what: &'static str, path: &Path, source: io::Error) -> TraceError {
    TraceError::Io { what, path: path.to_owned(), source }
}

/// A file's bytes, at most one more than `most`: then its length is wrong for whoever decodes it.
fn read(path: &Path, most: usize) -> Result<Vec<u8>, TraceError> {
    let mut bytes = Vec::new();
    File::open(path)
        .and_then(|file| file.take(most as u64 + 1).read_to_end(&mut bytes))
        .map_err(|source| refused("read", path, source))?;
    Ok(bytes)
}
