//! A line of `chain.log`.

use super::{LogFolder, Stream};
use blake3::Hasher;
use sentient_snapshot::hash::hex;
use serde::{Deserialize, Serialize};
use sha3::{Digest, Sha3_256};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};

/// Bytes that are hashed at once.
const PIECE: usize = 64 << 10;

/// Output that came between two moments, a JSON object a line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The segment's number; the first is 1.
    pub segment: u32,
    /// When the first byte came, in nanoseconds since 1970 (UTC).
    pub since_unix_ns: u64,
    /// When the last one came.
    pub until_unix_ns: u64,
    /// The bytes of `stdout.log`.
    pub stdout: Part,
    /// The bytes of `stderr.log`.
    pub stderr: Part,
    /// SHA3-256 of the line before this one, without its end, in this segment or at the end of the one before; zeros for
    /// a container's first.
    pub previous: String,
}

/// A piece of a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Part {
    /// Bytes before it.
    pub from: u64,
    /// Bytes up to its end.
    pub to: u64,
    /// BLAKE3 of its bytes.
    pub blake3: String,
}

impl Link {
    /// The link in a line.
    #[must_use]
    pub fn parse(line: &str) -> Option<Self> {
        serde_json::from_str(line).ok()
    }

    /// The part of one output.
    #[must_use]
    pub fn part(&self, stream: Stream) -> &Part {
        match stream {
            Stream::Stdout => &self.stdout,
            Stream::Stderr => &self.stderr,
        }
    }
}

/// What the next link says of a line.
pub(super) fn line_hash(line: &str) -> String {
    hex(&Sha3_256::digest(line))
}

/// What the first link of all says.
pub(super) fn no_line() -> String {
    hex(&[0; 32])
}

/// Hash of bytes `from` to `to` of a file.
pub(super) fn hash_of(file: &mut File, from: u64, to: u64) -> io::Result<String> {
    let mut hasher = Hasher::new();
    file.seek(SeekFrom::Start(from))?;
    let mut left = to.saturating_sub(from);
    let mut piece = vec![0; PIECE];
    while left > 0 {
        let len = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        let bytes = piece.get_mut(..len).unwrap_or_default();
        file.read_exact(bytes)?;
        hasher.update(bytes);
        left -= len as u64;
    }
    Ok(hasher.finalize().to_hex().to_string())
}

/// The same of an output as it lies in a folder; one that is not there has no bytes.
pub(super) fn hash_of_output(folder: &LogFolder, stream: Stream, from: u64, to: u64) -> io::Result<String> {
    if from == to {
        return Ok(Hasher::new().finalize().to_hex().to_string());
    }
    hash_of(&mut File::open(folder.output(stream))?, from, to)
}
