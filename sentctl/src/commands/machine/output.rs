//! What a container has written, as its machine keeps it: two files that grow.

use crate::errors::CommandError;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of output that are read at once.
const PIECE: usize = 64 << 10;

/// Between two looks at what a container has written meanwhile.
pub const LOOK: Duration = Duration::from_millis(50);

/// Standard output and standard error of a container.
pub struct Logs {
    out: Log,
    err: Log,
}

impl Logs {
    /// Those in a container's folder, from their beginnings.
    pub fn of(folder: &Path) -> Self {
        Self { out: Log::new(folder.join("stdout.log")), err: Log::new(folder.join("stderr.log")) }
    }

    /// Passes over what is there but for the last `lines` lines of each.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn skip_to_tail(&mut self, lines: u64) -> Result<(), CommandError> {
        let skipped = self.out.skip_to_tail(lines).and_then(|()| self.err.skip_to_tail(lines));
        skipped.map_err(CommandError::io("reading the output"))
    }

    /// Passes on what has come since the last time; `false` if nobody reads it any more.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn show(&mut self) -> Result<bool, CommandError> {
        let shown =
            self.out.show(&mut std::io::stdout()).and_then(|()| self.err.show(&mut std::io::stderr()));
        match shown {
            // Whoever has stopped reading has what they wanted.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(false),
            shown => shown.map(|()| true).map_err(CommandError::io("showing the output")),
        }
    }
}

/// A file that grows.
struct Log {
    path: PathBuf,
    /// `None` until there is one.
    file: Option<File>,
}

impl Log {
    fn new(path: PathBuf) -> Self {
        Self { path, file: None }
    }

    /// Passes over what is there but for the last lines. One that does not end yet counts, too.
    fn skip_to_tail(&mut self, lines: u64) -> std::io::Result<()> {
        let Some(mut file) = self.open()? else { return Ok(()) };
        let end = file.seek(SeekFrom::End(0))?;
        let mut start = end;
        let mut left = lines;
        let mut piece = vec![0; PIECE];
        // From the end to the start, until one line end more than wanted was found.
        'pieces: while start > 0 && lines > 0 {
            let len = start.min(PIECE as u64);
            let bytes = piece.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            file.seek(SeekFrom::Start(start - len))?;
            file.read_exact(bytes)?;
            for byte in bytes.iter().rev() {
                // The last line's own end does not begin another.
                if *byte == b'\n' && start < end {
                    if left <= 1 {
                        break 'pieces;
                    }
                    left -= 1;
                }
                start -= 1;
            }
        }
        file.seek(SeekFrom::Start(start)).map(drop)
    }

    /// The file, if there is one by now.
    fn open(&mut self) -> std::io::Result<Option<&File>> {
        if self.file.is_none() {
            self.file = match File::open(&self.path) {
                Ok(file) => Some(file),
                Err(error) if error.kind() == ErrorKind::NotFound => None,
                Err(error) => return Err(error),
            };
        }
        Ok(self.file.as_ref())
    }

    /// Passes on what has come since the last time.
    fn show(&mut self, to: &mut impl Write) -> std::io::Result<()> {
        let Some(mut file) = self.open()? else { return Ok(()) };
        let mut buffer = vec![0; PIECE];
        loop {
            match file.read(&mut buffer)? {
                0 => return to.flush(),
                len => to.write_all(buffer.get(..len).unwrap_or_default())?,
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_whole_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let long = format!("{}\nlast\n", "x".repeat(3 * PIECE));
        for (text, lines, tail) in [
            ("", 3, ""),
            ("one\ntwo\nthree\n", 2, "two\nthree\n"),
            ("one\ntwo\nthree", 2, "two\nthree"),
            ("one\ntwo\n", 5, "one\ntwo\n"),
            ("one\ntwo\n", 0, ""),
            ("one\n\n", 1, "\n"),
            ("one", 1, "one"),
            (&long, 1, "last\n"),
            (&long, 2, &long),
        ] {
            std::fs::write(&path, text).unwrap();
            let mut log = Log::new(path.clone());
            log.skip_to_tail(lines).unwrap();
            let mut shown = Vec::new();
            log.show(&mut shown).unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), tail, "{lines} of {} bytes", text.len());
        }
    }
}
