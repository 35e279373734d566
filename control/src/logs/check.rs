//! Whether logs are as they were written.

use super::link::{Link, hash_of, line_hash, no_line};
use super::{LogFolder, Stream, segment_behind, text_of};
use serde::Serialize;
use std::fs::File;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// Segments that are there.
    pub segments: usize,
    /// The first one's number; those before it were removed for their age.
    pub first_segment: u32,
    /// Lines of their chains.
    pub links: u64,
    /// Bytes of standard output that fit.
    pub stdout_bytes: u64,
    /// Bytes of standard error that fit.
    pub stderr_bytes: u64,
    /// Bytes behind them that are in no chain yet.
    pub unsealed_bytes: u64,
    /// The first thing that does not fit: in which file, and what.
    pub problem: Option<String>,
}

/// Reads all logs of a container and compares them with their chain. The last line of it is vouched for by nothing but
/// what it says; every other one by the next.
///
/// # Errors
/// That of reading.
pub fn check(container: &Path) -> io::Result<Checked> {
    let folder = LogFolder::of(container);
    let mut old = folder.old_segments()?;
    let current = segment_behind(&old);
    old.push(current);
    let mut checked = Checked {
        segments: old.len(),
        first_segment: old.first().copied().unwrap_or(1),
        links: 0,
        stdout_bytes: 0,
        stderr_bytes: 0,
        unsealed_bytes: 0,
        problem: None,
    };
    let mut expected = checked.first_segment;
    let mut last = (expected == 1).then(no_line);
    for segment in old {
        let files = if segment == current { Files::current(&folder) } else { Files::old(&folder, segment) };
        let checking = if segment == expected {
            files.check(segment, segment == current, &mut last, &mut checked)
        } else {
            Ok(Err(format!("segment {expected} is missing")))
        };
        if let Err(problem) = checking? {
            checked.problem = Some(problem);
            break;
        }
        expected = segment.saturating_add(1);
    }
    Ok(checked)
}

struct Files {
    chain: PathBuf,
    outputs: [PathBuf; 2],
}

impl Files {
    fn current(folder: &LogFolder) -> Self {
        Self { chain: folder.chain(), outputs: Stream::ALL.map(|stream| folder.output(stream)) }
    }

    fn old(folder: &LogFolder, segment: u32) -> Self {
        let outputs = Stream::ALL.map(|stream| folder.old_output(stream, segment));
        Self { chain: folder.old_chain(segment), outputs }
    }

    /// One segment. `last` is the hash of the line before it, if that is known.
    fn check(
        &self,
        segment: u32,
        grows: bool,
        last: &mut Option<String>,
        checked: &mut Checked,
    ) -> io::Result<Result<(), String>> {
        let chain = self.chain.display();
        // Its end before the outputs': what comes meanwhile is behind it.
        let text = text_of(&self.chain)?;
        let mut outputs = [open(self.output(Stream::Stdout))?, open(self.output(Stream::Stderr))?];
        let mut sealed = [0, 0];
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        for (number, line) in text.get(..whole).unwrap_or_default().lines().enumerate() {
            let number = number + 1;
            let Some(link) = Link::parse(line) else {
                return Ok(Err(format!("line {number} of {chain} is none")));
            };
            if link.segment != segment {
                return Ok(Err(format!("line {number} of {chain} is of segment {}", link.segment)));
            }
            if last.as_ref().is_some_and(|last| *last != link.previous) {
                return Ok(Err(format!("line {number} of {chain} does not follow the one before it")));
            }
            for stream in Stream::ALL {
                let (part, path) = (link.part(stream), self.output(stream).display());
                let so_far = sealed[stream as usize];
                if part.from != so_far || part.to < part.from {
                    let (from, to) = (part.from.min(so_far), part.from.max(so_far));
                    return Ok(Err(format!("bytes {from} to {to} of {path} were lost")));
                }
                let fits = match &mut outputs[stream as usize] {
                    Some(file) if part.to > part.from => match hash_of(file, part.from, part.to) {
                        Err(error) if error.kind() == ErrorKind::UnexpectedEof => false,
                        hash => hash? == part.blake3,
                    },
                    _ => part.to == part.from,
                };
                if !fits {
                    let problem =
                        format!("bytes {} to {} of {path} are not what was written", part.from, part.to);
                    return Ok(Err(problem));
                }
                sealed[stream as usize] = part.to;
                match stream {
                    Stream::Stdout => checked.stdout_bytes += part.to - part.from,
                    Stream::Stderr => checked.stderr_bytes += part.to - part.from,
                }
            }
            checked.links += 1;
            *last = Some(line_hash(line));
        }
        for stream in Stream::ALL {
            let len = outputs[stream as usize]
                .as_ref()
                .map_or(Ok(0), |file| file.metadata().map(|file| file.len()))?;
            let unsealed = len.saturating_sub(sealed[stream as usize]);
            if unsealed > 0 && !grows {
                let path = self.output(stream).display();
                return Ok(Err(format!("{unsealed} bytes at the end of {path} were added")));
            }
            checked.unsealed_bytes += unsealed;
        }
        Ok(Ok(()))
    }

    fn output(&self, stream: Stream) -> &Path {
        &self.outputs[stream as usize]
    }
}

fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        file => file.map(Some),
    }
}
