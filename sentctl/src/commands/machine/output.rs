//! What a container has written, as its machine keeps it: two files that grow.

use crate::errors::CommandError;
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

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

    /// Passes over what is there.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn skip(&mut self) -> Result<(), CommandError> {
        self.out.skip().and_then(|()| self.err.skip()).map_err(CommandError::io("opening the output"))
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

    /// Passes over what is there.
    fn skip(&mut self) -> std::io::Result<()> {
        self.open()?.map_or(Ok(()), |mut file| file.seek(SeekFrom::End(0)).map(drop))
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
        let mut buffer = vec![0; 64 << 10];
        loop {
            match file.read(&mut buffer)? {
                0 => return to.flush(),
                len => to.write_all(buffer.get(..len).unwrap_or_default())?,
            }
        }
    }
}
