//! What containers have written, in their folders: `stdout.log` and `stderr.log`, which only grow, and `chain.log`, a
//! [`Link`] a line, which says what of them was written when, and is bound to the line before it.
//!
//! When they have grown to [`SEGMENT_BYTES`], the three become `stdout.1.log`, `stderr.1.log` and `chain.1.log`, the next
//! ones 2, and so on; the oldest of more than [`OLD_SEGMENTS`] are removed.

mod check;
mod link;
#[cfg(test)]
#[expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]
mod tests;
mod writer;

pub use check::{Checked, check};
pub use link::{Link, Part};
pub use writer::ContainerLog;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Bytes of a segment, of all its three files: no write begins a file that has as many.
pub const SEGMENT_BYTES: u64 = 16 << 20;

/// Segments that are kept beside the one that grows.
pub const OLD_SEGMENTS: usize = 8;

/// Which output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];

    fn stem(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }
}

/// A container's folder, as far as it is about its logs.
#[derive(Clone, Debug)]
pub struct LogFolder(PathBuf);

impl LogFolder {
    /// That of this container.
    #[must_use]
    pub fn of(container: &Path) -> Self {
        Self(container.to_owned())
    }

    /// The file that an output is appended to.
    #[must_use]
    pub fn output(&self, stream: Stream) -> PathBuf {
        self.0.join(format!("{}.log", stream.stem()))
    }

    /// The file that it was in a segment that has ended.
    #[must_use]
    pub fn old_output(&self, stream: Stream, segment: u32) -> PathBuf {
        self.0.join(format!("{}.{segment}.log", stream.stem()))
    }

    fn chain(&self) -> PathBuf {
        self.0.join("chain.log")
    }

    fn old_chain(&self, segment: u32) -> PathBuf {
        self.0.join(format!("chain.{segment}.log"))
    }

    /// Numbers of the segments that have ended, ascending.
    ///
    /// # Errors
    /// That of reading the folder; one that is not there has none.
    pub fn old_segments(&self) -> io::Result<Vec<u32>> {
        let entries = match fs::read_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut numbers = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("chain.")?.strip_suffix(".log"));
            numbers.extend(number.and_then(|number| number.parse::<u32>().ok()));
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// Number of the segment that grows.
    ///
    /// # Errors
    /// As [`old_segments`](Self::old_segments).
    pub fn current_segment(&self) -> io::Result<u32> {
        Ok(segment_behind(&self.old_segments()?))
    }

    /// Where each output is that came at `unix_ns` or later, in the order of [`Stream::ALL`]: the number of the first
    /// segment that has any, and the bytes before it there. Output that came together is not told apart: it is within
    /// a second.
    ///
    /// # Errors
    /// That of reading.
    pub fn since(&self, unix_ns: u64) -> io::Result<[(u32, u64); 2]> {
        let old = self.old_segments()?;
        let current = segment_behind(&old);
        let mut sealed = [0, 0];
        for number in old.into_iter().chain([current]) {
            let path = if number == current { self.chain() } else { self.old_chain(number) };
            let text = text_of(&path)?;
            sealed = [0, 0];
            // Lines that are none are the check's business.
            for link in text.lines().filter_map(Link::parse) {
                if link.until_unix_ns >= unix_ns {
                    return Ok([(number, link.stdout.from), (number, link.stderr.from)]);
                }
                sealed = [link.stdout.to, link.stderr.to];
            }
        }
        // What is in no line yet is new: of the last second, or of a process that was killed.
        Ok(sealed.map(|bytes| (current, bytes)))
    }
}

/// Number of the segment behind others.
#[must_use]
pub fn segment_behind(segments: &[u32]) -> u32 {
    segments.last().map_or(1, |last| last.saturating_add(1))
}

/// A file with lines; one that is not there has none. What is no text in it makes a line that is none.
fn text_of(path: &Path) -> io::Result<String> {
    match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        bytes => Ok(String::from_utf8_lossy(&bytes?).into_owned()),
    }
}
