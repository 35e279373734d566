//! The counter that writes what it counts to a file of a volume, as the host follows it.
//!
//! Each line has its place in the file by its number: a counter that was put back, or started anew, writes there what is there. So
//! every line is right, whatever was done to who has written it.

use super::rule::{LINE, Rule};
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::time::SystemTime;

/// Most bytes of it that are looked at: more than a campaign ever writes.
const MOST: u64 = 64 << 20;

/// The file.
pub struct Disk {
    file: PathBuf,
    /// Lines that were looked at.
    checked: u64,
    /// When it was last seen to be written.
    written: Option<SystemTime>,
    rule: Rule,
}

impl Disk {
    /// In which nothing was looked at yet.
    pub fn of(file: PathBuf) -> Self {
        Self { file, checked: 0, written: None, rule: Rule::new() }
    }

    /// Whether it was written since the last time.
    pub fn is_written(&mut self) -> bool {
        let written = std::fs::metadata(&self.file).and_then(|file| file.modified()).ok();
        std::mem::replace(&mut self.written, written) != written
    }

    /// Reads what has come since the last time: each line that is not right is told.
    pub fn follow(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        let read = File::open(&self.file).and_then(|mut file| {
            file.seek(SeekFrom::Start(self.checked * LINE as u64))?;
            file.take(MOST).read_to_end(&mut bytes)
        });
        match read {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return vec![format!("{}: {error}", self.file.display())];
            }
            _ => {}
        }
        let mut wrong = Vec::new();
        // A line that is not whole is the last one, and being written.
        for line in bytes.chunks_exact(LINE) {
            self.checked += 1;
            let expected = self.rule.line(self.checked);
            if line != expected.as_bytes() {
                wrong.push(format!(
                    "line {} of the file is {:?}, and should be {expected:?}",
                    self.checked,
                    String::from_utf8_lossy(line)
                ));
            }
        }
        wrong
    }

    /// The same of all of it. What is not right is put right: it is told once.
    pub fn look_again(&mut self) -> Vec<String> {
        self.checked = 0;
        let mut wrong = self.follow();
        if !wrong.is_empty() {
            let right: String = (1..=self.checked).map(|number| self.rule.line(number)).collect();
            let file = File::options().write(true).open(&self.file);
            if let Err(error) = file.and_then(|file| file.write_all_at(right.as_bytes(), 0)) {
                wrong.push(format!("{}: {error}", self.file.display()));
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_another_one_is_found_and_one_that_is_being_written_is_not() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("chain");
        let mut disk = Disk::of(path.clone());
        assert!(disk.follow().is_empty() && !disk.is_written());
        let mut rule = Rule::new();
        let mut lines: Vec<String> = (1..=5).map(|number| rule.line(number)).collect();
        std::fs::write(&path, lines.concat().split_at(4 * LINE + 7).0)?;
        assert!(disk.follow().is_empty() && disk.is_written() && !disk.is_written());
        lines.swap(1, 2);
        std::fs::write(&path, lines.concat())?;
        assert!(disk.follow().is_empty(), "what was right is not looked at again");
        assert_eq!(disk.look_again().len(), 2);
        assert!(disk.look_again().is_empty(), "it was told");
        Ok(())
    }
}
