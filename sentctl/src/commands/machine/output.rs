//! What a container has written, as its machine keeps it: files that grow, and become numbered segments.

use crate::errors::CommandError;
use sentient_control::logs::{LogFolder, Stream, segment_behind};
use std::fs::File;
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;
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
        Self { out: Log::new(folder, Stream::Stdout), err: Log::new(folder, Stream::Stderr) }
    }

    /// Ends them where they end now: what comes from here on is not shown.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn end_here(&mut self) -> Result<(), CommandError> {
        let ended = self.out.end_here().and_then(|()| self.err.end_here());
        ended.map_err(CommandError::io("reading the output"))
    }

    /// Passes over what is there but for the last `lines` lines of each.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn skip_to_tail(&mut self, lines: u64) -> Result<(), CommandError> {
        let skipped = self.out.skip_to_tail(lines).and_then(|()| self.err.skip_to_tail(lines));
        skipped.map_err(CommandError::io("reading the output"))
    }

    /// Passes over what had come before `unix_ns`.
    ///
    /// # Errors
    /// [`CommandError::Io`].
    pub fn skip_to(&mut self, unix_ns: u64) -> Result<(), CommandError> {
        let found = self.out.folder.since(unix_ns);
        let [out, err] = found.map_err(CommandError::io("looking for when output came"))?;
        let skipped = self.out.skip_to(out).and_then(|()| self.err.skip_to(err));
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

/// Files, one behind the other, of which the last one grows.
struct Log {
    folder: LogFolder,
    stream: Stream,
    /// The segment it is at; `None` before it has looked which there are.
    segment: Option<u32>,
    /// `None` until there is one.
    file: Option<File>,
    /// The segment and the place in it where it ends; `None` if it grows.
    end: Option<(u32, u64)>,
}

impl Log {
    fn new(container: &Path, stream: Stream) -> Self {
        Self { folder: LogFolder::of(container), stream, segment: None, file: None, end: None }
    }

    /// Passes over what is there but for the last lines. One that does not end yet counts, too.
    fn skip_to_tail(&mut self, lines: u64) -> std::io::Result<()> {
        let old = self.folder.old_segments()?;
        let (last, end) = self.end.unwrap_or((segment_behind(&old), u64::MAX));
        let mut tail = Tail { lines, left: lines, ended: true };
        let (mut segment, mut start) = (last, tail.start_in(self.open(last)?, end)?);
        for earlier in old.into_iter().rev().filter(|earlier| *earlier < last) {
            if tail.left == 0 || start > 0 {
                break;
            }
            (segment, start) = (earlier, tail.start_in(self.open(earlier)?, u64::MAX)?);
        }
        self.skip_to((segment, start))
    }

    fn end_here(&mut self) -> std::io::Result<()> {
        let segment = segment_behind(&self.folder.old_segments()?);
        let file = self.open(segment)?;
        let len = file.map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
        self.end = Some((segment, len));
        Ok(())
    }

    fn skip_to(&mut self, (segment, start): (u32, u64)) -> std::io::Result<()> {
        (self.segment, self.file) = (Some(segment), self.open(segment)?);
        if let Some(file) = &mut self.file {
            file.seek(SeekFrom::Start(start))?;
        }
        Ok(())
    }

    /// The file of a segment, if there is one by now.
    fn open(&self, segment: u32) -> std::io::Result<Option<File>> {
        for path in [self.folder.old_output(self.stream, segment), self.folder.output(self.stream)] {
            match File::open(&path) {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                file => return file.map(Some),
            }
            // The one that grows is of the segment behind all others.
            if self.folder.old_segments()?.contains(&segment) {
                break;
            }
        }
        Ok(None)
    }

    /// Passes on what has come since the last time.
    fn show(&mut self, to: &mut impl Write) -> std::io::Result<()> {
        let mut segment = match self.segment {
            Some(segment) => segment,
            None => self.folder.old_segments()?.first().copied().unwrap_or(1),
        };
        loop {
            // Before its end is looked for: what has ended gets nothing any more.
            let ended = self.folder.old_segments()?.last().is_some_and(|last| *last >= segment);
            if self.file.is_none() {
                self.file = self.open(segment)?;
            }
            let end = self.end.filter(|(last, _)| segment >= *last);
            if let Some(file) = &mut self.file {
                let left = match end {
                    Some((_, end)) => end.saturating_sub(file.stream_position()?),
                    None => u64::MAX,
                };
                pass_on(&mut file.take(left), to)?;
            }
            self.segment = Some(segment);
            if !ended || end.is_some() {
                return to.flush();
            }
            (segment, self.file) = (segment.saturating_add(1), None);
        }
    }
}

fn pass_on(file: &mut impl Read, to: &mut impl Write) -> std::io::Result<()> {
    let mut buffer = vec![0; PIECE];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(()),
            len => to.write_all(buffer.get(..len).unwrap_or_default())?,
        }
    }
}

/// Looks for the last lines from the end on.
struct Tail {
    lines: u64,
    /// Lines that are still to be found.
    left: u64,
    /// Nothing but perhaps a line's end has been passed.
    ended: bool,
}

impl Tail {
    /// Where what is wanted begins in a file, of which nothing behind `end` is; its end, if nothing of it is.
    fn start_in(&mut self, file: Option<File>, end: u64) -> std::io::Result<u64> {
        let Some(mut file) = file else { return Ok(0) };
        let mut start = file.seek(SeekFrom::End(0))?.min(end);
        let mut piece = vec![0; PIECE];
        // From the end to the start, until one line end more than wanted was found.
        while start > 0 && self.lines > 0 {
            let len = start.min(PIECE as u64);
            let bytes = piece.get_mut(..usize::try_from(len).unwrap_or(0)).unwrap_or_default();
            file.seek(SeekFrom::Start(start - len))?;
            file.read_exact(bytes)?;
            for byte in bytes.iter().rev() {
                // The last line's own end does not begin another.
                if *byte == b'\n' && !self.ended {
                    if self.left <= 1 {
                        self.left = 0;
                        return Ok(start);
                    }
                    self.left -= 1;
                }
                self.ended = false;
                start -= 1;
            }
        }
        Ok(start)
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests fail by panicking")]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines_whole_or_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stdout.log");
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
            assert_eq!(tail_of(folder.path(), lines), tail, "{lines} of {} bytes", text.len());
        }
    }

    fn tail_of(folder: &Path, lines: u64) -> String {
        let mut log = Log::new(folder, Stream::Stdout);
        log.skip_to_tail(lines).unwrap();
        let mut shown = Vec::new();
        log.show(&mut shown).unwrap();
        String::from_utf8(shown).unwrap()
    }

    #[test]
    fn what_comes_later_is_not_shown_to_who_does_not_follow() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        put("stdout.log", "one\ntwo\n");
        let mut log = Log::new(folder.path(), Stream::Stdout);
        log.end_here().unwrap();
        put("stdout.1.log", "one\ntwo\nthree\n");
        put("chain.1.log", "");
        put("stdout.log", "four\n");
        for (lines, tail) in [(Some(1), "two\n"), (None, "one\ntwo\n"), (Some(9), "one\ntwo\n")] {
            let mut shown = Vec::new();
            (log.segment, log.file) = (None, None);
            if let Some(lines) = lines {
                log.skip_to_tail(lines).unwrap();
            }
            log.show(&mut shown).unwrap();
            assert_eq!(String::from_utf8(shown).unwrap(), tail);
        }
    }

    #[test]
    fn segments_are_one_text() {
        let folder = tempfile::tempdir().unwrap();
        let put = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for number in [2, 3, 4] {
            put(&format!("chain.{number}.log"), "");
        }
        put("stdout.2.log", "one\ntwo\nth");
        // Nothing but standard error came while the third was the last.
        put("stdout.4.log", "ree\n");
        put("stdout.log", "four\n");
        for (lines, tail) in
            [(1, "four\n"), (2, "three\nfour\n"), (3, "two\nthree\nfour\n"), (9, "one\ntwo\nthree\nfour\n")]
        {
            assert_eq!(tail_of(folder.path(), lines), tail);
        }
        let mut log = Log::new(folder.path(), Stream::Stdout);
        let mut shown = Vec::new();
        log.show(&mut shown).unwrap();
        // It becomes the fifth while somebody reads it, and gets something before.
        put("stdout.log", "four\nfive\n");
        std::fs::rename(folder.path().join("stdout.log"), folder.path().join("stdout.5.log")).unwrap();
        put("chain.5.log", "");
        log.show(&mut shown).unwrap();
        put("stdout.log", "six\n");
        log.show(&mut shown).unwrap();
        assert_eq!(String::from_utf8(shown).unwrap(), "one\ntwo\nthree\nfour\nfive\nsix\n");
    }
}
