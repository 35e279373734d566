//! The counter that says what it counts, as the host follows it.

use super::rule::Rule;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::PathBuf;

/// More numbers than a campaign ever comes to.
const MOST: u64 = 1 << 24;

/// The counter whose numbers are bound to each other, as the host follows it.
pub struct Chain {
    log: PathBuf,
    /// The number it gets when it is put aside, and bytes of it that were read.
    segment: u32,
    read: u64,
    /// What was read of a line that is not complete.
    begun: Vec<u8>,
    /// The number that was seen last.
    last: u64,
    /// It has said something wrong, and nothing right since.
    is_wrong: bool,
    rule: Rule,
}

impl Chain {
    /// Of which nothing was read yet.
    pub fn of(log: PathBuf) -> Self {
        Self { log, segment: 1, read: 0, begun: Vec::new(), last: 0, is_wrong: false, rule: Rule::new() }
    }

    /// The number that was said last.
    pub fn last(&self) -> u64 {
        self.last
    }

    /// It was started anew, and counts from the beginning.
    pub fn begin_anew(&mut self) {
        self.last = 0;
        self.begun.clear();
    }

    /// Reads what was written since the last time; gives how many lines that are, or what is wrong with the first one that is wrong
    /// after one that was right.
    pub fn follow(&mut self) -> Result<u64, String> {
        self.take().map_err(|error| format!("{}: {error}", self.log.display()))?;
        let mut lines = 0;
        while let Some(end) = self.begun.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.begun.drain(..=end).collect();
            let checked = self.check(&String::from_utf8_lossy(&line));
            let was_wrong = std::mem::replace(&mut self.is_wrong, checked.is_err());
            if !was_wrong {
                checked?;
            }
            lines += 1;
        }
        Ok(lines)
    }

    /// Takes what was written. A log that has grown too long was put aside under its number, and another one begun.
    fn take(&mut self) -> io::Result<()> {
        loop {
            let aside = self.log.with_extension(format!("{}.log", self.segment));
            let is_aside = aside.exists();
            let mut file = File::open(if is_aside { &aside } else { &self.log })?;
            file.seek(SeekFrom::Start(self.read))?;
            self.read += file.read_to_end(&mut self.begun)? as u64;
            if !is_aside {
                return Ok(());
            }
            (self.segment, self.read) = (self.segment + 1, 0);
        }
    }

    fn check(&mut self, line: &str) -> Result<(), String> {
        let parsed = line.trim_end().split_once(' ').and_then(|(number, hash)| {
            Some((u64::from_str_radix(number, 16).ok()?, u64::from_str_radix(hash, 16).ok()?))
        });
        let last = self.last;
        // It goes on from any number that it has had, and never leaves one out. How long it was wrong, nobody knows.
        let most = if self.is_wrong { MOST } else { last + 1 };
        let (number, hash) = parsed
            .filter(|(number, _)| (1..=most).contains(number))
            .ok_or_else(|| format!("after number {last} the counter says {line:?}"))?;
        if self.rule.hash(number) != hash {
            return Err(format!("the counter says {line:?}, and should say {:016x}", self.rule.hash(number)));
        }
        self.last = number;
        Ok(())
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    fn chain(text: &str) -> Result<u64, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let log = folder.path().join("log");
        std::fs::write(&log, text).map_err(|error| error.to_string())?;
        Chain::of(log).follow()
    }

    #[test]
    fn a_log_that_was_put_aside_is_read_to_its_end() {
        let mut rule = Rule::new();
        let lines: Vec<String> = (1..=9).map(|number| rule.line(number)).collect();
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("stdout.log");
        let mut chain = Chain::of(log.clone());
        std::fs::write(&log, lines[..3].concat()).unwrap();
        assert_eq!(chain.follow(), Ok(3));
        std::fs::write(folder.path().join("stdout.1.log"), lines[..5].concat()).unwrap();
        std::fs::write(folder.path().join("stdout.2.log"), lines[5..6].concat()).unwrap();
        std::fs::write(&log, lines[6..].concat()).unwrap();
        assert_eq!(chain.follow(), Ok(6));
        assert_eq!(chain.last(), 9);
    }

    #[test]
    fn a_number_that_is_left_out_and_a_hash_that_is_wrong_are_found() {
        let mut rule = Rule::new();
        let lines: Vec<String> = (1..=9000).map(|number| rule.line(number)).collect();
        assert_eq!(chain(&lines.concat()), Ok(9000));
        assert_eq!(
            chain(&format!("{}{}", lines[..5].concat(), lines[2..9].concat())),
            Ok(12),
            "it was put back"
        );
        assert!(chain(&format!("{}{}", lines[..5].concat(), lines[6])).is_err());
        assert!(chain(&lines[8999].replace('0', "1")).is_err());
        assert!(chain(&format!("{}{}", lines[0], lines[1].replace(' ', " 1"))).is_err());
    }
}
