//! The container's end of its logs.

use super::link::{Link, Part, hash_of_output, line_hash, no_line};
use super::{LogFolder, OLD_SEGMENTS, SEGMENT_BYTES, Stream};
use crate::history::unix_ns;
use crate::home::append_to;
use blake3::Hasher;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Output that came within so long is one link.
const TOGETHER_NS: u64 = 1_000_000_000;

/// Bytes that are one link at most, or one write.
const TOGETHER_BYTES: u64 = 1 << 20;

/// More than a line of a chain has bytes.
const LONGEST_LINE: u64 = 4 << 10;

/// Both outputs of a container, and their chain. Only one of them is written to at a time: its machine's process is one.
#[derive(Debug)]
pub struct ContainerLog {
    folder: LogFolder,
    /// In the order of [`Stream::ALL`].
    outputs: [Output; 2],
    /// Opened with the first link.
    chain: Option<Chain>,
    /// When the first and the last byte came that are in no link yet.
    came: Option<(u64, u64)>,
    segment_bytes: u64,
}

/// A file that output is appended to.
#[derive(Debug, Default)]
struct Output {
    /// `None` until there is something to write: making a file takes longer than most containers' output.
    file: Option<File>,
    /// Its bytes.
    len: u64,
    /// Where what is in no link begins, as far as it came through here, and its hash so far.
    fresh: Option<(u64, Box<Hasher>)>,
    /// Bytes the container has written since its start, as it sees it.
    bytes: u64,
}

#[derive(Debug)]
struct Chain {
    file: File,
    segment: u32,
    /// Hash of the last line.
    last: String,
    /// Bytes of each output that are in a link.
    sealed: [u64; 2],
    len: u64,
}

impl ContainerLog {
    /// Those in a container's folder. Nothing is opened.
    #[must_use]
    pub fn of(folder: &Path) -> Self {
        Self::with_segments(folder, SEGMENT_BYTES)
    }

    pub(super) fn with_segments(folder: &Path, segment_bytes: u64) -> Self {
        let outputs = [Output::default(), Output::default()];
        Self { folder: LogFolder::of(folder), outputs, chain: None, came: None, segment_bytes }
    }

    /// Bytes the container has written since its start, as it sees it.
    #[must_use]
    pub fn bytes(&self, stream: Stream) -> u64 {
        self.outputs[stream as usize].bytes
    }

    /// Says how many these are: the container was put back.
    pub fn set_bytes(&mut self, stream: Stream, bytes: u64) {
        self.outputs[stream as usize].bytes = bytes;
    }

    /// Opens the file of an output, and makes it if there is none.
    ///
    /// # Errors
    /// That of opening.
    pub fn open(&mut self, stream: Stream) -> io::Result<()> {
        if self.outputs[stream as usize].file.is_some() {
            return Ok(());
        }
        if self.chain.is_none() {
            self.folder.finish_turn()?;
        }
        let file = append_to(&self.folder.output(stream))?;
        let output = &mut self.outputs[stream as usize];
        output.len = file.metadata()?.len();
        output.file = Some(file);
        Ok(())
    }

    /// Appends what the container has written.
    ///
    /// # Errors
    /// That of writing. What is then in the file is in the chain, too.
    pub fn write(&mut self, stream: Stream, bytes: &[u8]) -> io::Result<()> {
        let output = &mut self.outputs[stream as usize];
        output.bytes = output.bytes.saturating_add(bytes.len() as u64);
        self.open(stream)?;
        let now = unix_ns();
        let (first, _) = self.came.unwrap_or((now, now));
        self.came = Some((first, now));
        self.outputs[stream as usize].append(bytes)?;
        let fresh = |output: &Output| output.fresh.as_ref().map_or(0, |(from, _)| output.len - from);
        let much = self.outputs.iter().map(fresh).sum::<u64>() >= TOGETHER_BYTES;
        let chain_len = self.chain.as_ref().map_or(0, |chain| chain.len);
        let full =
            self.outputs.iter().map(|output| output.len).sum::<u64>() + chain_len >= self.segment_bytes;
        if full {
            self.turn()
        } else if much || now.saturating_sub(first) >= TOGETHER_NS {
            self.seal()
        } else {
            Ok(())
        }
    }

    /// Makes a link of what has come more than a second ago, with all that came since.
    ///
    /// # Errors
    /// That of writing.
    pub fn seal_due(&mut self) -> io::Result<()> {
        match self.came {
            Some((first, _)) if unix_ns().saturating_sub(first) >= TOGETHER_NS => self.seal(),
            _ => Ok(()),
        }
    }

    /// Makes a link of all that is in none. Whatever goes wrong, the next one has it.
    ///
    /// # Errors
    /// That of writing.
    pub fn seal(&mut self) -> io::Result<()> {
        let Some((since_unix_ns, until_unix_ns)) = self.came else { return Ok(()) };
        let chain = match &mut self.chain {
            Some(chain) => chain,
            none => none.insert(Chain::open(&self.folder)?),
        };
        let part = |stream: Stream| -> io::Result<Part> {
            let output = &self.outputs[stream as usize];
            // One that this process has not opened was written by the one before.
            let to = if output.file.is_some() { output.len } else { length(&self.folder, stream)? };
            // A file that has lost bytes begins again where it ends: a check tells of it.
            let from = chain.sealed[stream as usize].min(to);
            let blake3 = match &output.fresh {
                Some((begun, hasher)) if *begun == from => hasher.finalize().to_hex().to_string(),
                _ => hash_of_output(&self.folder, stream, from, to)?,
            };
            Ok(Part { from, to, blake3 })
        };
        let (stdout, stderr) = (part(Stream::Stdout)?, part(Stream::Stderr)?);
        let sealed = [stdout.to, stderr.to];
        let (segment, previous) = (chain.segment, chain.last.clone());
        chain.append(&Link { segment, since_unix_ns, until_unix_ns, stdout, stderr, previous })?;
        chain.sealed = sealed;
        self.came = None;
        self.outputs.iter_mut().for_each(|output| output.fresh = None);
        Ok(())
    }

    /// Ends the segment and begins the next.
    fn turn(&mut self) -> io::Result<()> {
        self.seal()?;
        let Some(Chain { segment, last, .. }) = self.chain.take() else { return Ok(()) };
        for output in &mut self.outputs {
            (output.file, output.len) = (None, 0);
        }
        self.folder.turn(segment)?;
        self.chain = Some(Chain::begin(&self.folder, segment.saturating_add(1), last)?);
        let old = self.folder.old_segments()?;
        for number in old.iter().take(old.len().saturating_sub(OLD_SEGMENTS)) {
            for stream in Stream::ALL {
                if_there(fs::remove_file(self.folder.old_output(stream, *number)))?;
            }
            // Last: a segment without its chain would be nobody's.
            if_there(fs::remove_file(self.folder.old_chain(*number)))?;
        }
        Ok(())
    }
}

impl Drop for ContainerLog {
    fn drop(&mut self) {
        if let Err(error) = self.seal() {
            tracing::warn!(%error, "what a container has written is not in its chain yet");
        }
    }
}

impl Output {
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let Some(file) = &mut self.file else { return Err(ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all(bytes) {
            // A part of it may be there. The chain gets it from the file.
            self.fresh = None;
            self.len = file.metadata()?.len();
            return Err(error);
        }
        let (_, hasher) = self.fresh.get_or_insert_with(|| (self.len, Box::default()));
        hasher.update(bytes);
        self.len += bytes.len() as u64;
        Ok(())
    }
}

impl Chain {
    /// The one in a folder, which need not exist. A line that a crash has cut short is cut off.
    fn open(folder: &LogFolder) -> io::Result<Self> {
        let (text, len) = match tail(&folder.chain()) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Self::first(folder),
            tail => tail?,
        };
        let whole = text.rfind('\n').map_or(0, |end| end + 1);
        let len = len - (text.len() - whole) as u64;
        let file = append_to(&folder.chain())?;
        file.set_len(len)?;
        let Some(line) = text.get(..whole).and_then(|text| text.lines().next_back()) else {
            return Self::first(folder);
        };
        let (segment, sealed) = match Link::parse(line) {
            Some(link) => (link.segment, [link.stdout.to, link.stderr.to]),
            // It says nothing, which a check tells. What comes now is bound to it, and not missing.
            None => {
                (folder.current_segment()?, Stream::ALL.map(|stream| length(folder, stream).unwrap_or(0)))
            }
        };
        Ok(Self { file, segment, last: line_hash(line), sealed, len })
    }

    /// The one of the segment behind those that have ended.
    fn first(folder: &LogFolder) -> io::Result<Self> {
        let segment = folder.current_segment()?;
        let last = match segment {
            1 => no_line(),
            _ => {
                let (text, _) = tail(&folder.old_chain(segment - 1))?;
                text.lines().next_back().map_or_else(no_line, line_hash)
            }
        };
        Self::begin(folder, segment, last)
    }

    /// An empty one.
    fn begin(folder: &LogFolder, segment: u32, last: String) -> io::Result<Self> {
        Ok(Self { file: append_to(&folder.chain())?, segment, last, sealed: [0, 0], len: 0 })
    }

    fn append(&mut self, link: &Link) -> io::Result<()> {
        let line = serde_json::to_string(link)?;
        if let Err(error) = self.file.write_all(format!("{line}\n").as_bytes()) {
            // Half a line would be in the way of the next.
            let _ = self.file.set_len(self.len);
            return Err(error);
        }
        self.len += line.len() as u64 + 1;
        self.last = line_hash(&line);
        Ok(())
    }
}

impl LogFolder {
    /// Makes what is there a segment that has ended. The chain comes last: a segment has ended when it has one, and who
    /// reads it has all of it then.
    fn turn(&self, segment: u32) -> io::Result<()> {
        for stream in Stream::ALL {
            let old = self.old_output(stream, segment);
            if !old.exists() {
                if_there(fs::rename(self.output(stream), old))?;
            }
        }
        if_there(fs::rename(self.chain(), self.old_chain(segment)))
    }

    /// Finishes that, if a process that was at it has ended. Before anything is written.
    fn finish_turn(&self) -> io::Result<()> {
        let segment = self.current_segment()?;
        if Stream::ALL.iter().any(|stream| self.old_output(*stream, segment).exists()) {
            self.turn(segment)?;
        }
        Ok(())
    }
}

/// The end of a file with lines, and its length.
fn tail(path: &Path) -> io::Result<(String, u64)> {
    let mut file = File::open(path)?;
    let len = file.metadata()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LONGEST_LINE)))?;
    let mut bytes = Vec::new();
    file.take(LONGEST_LINE).read_to_end(&mut bytes)?;
    // Nothing but ASCII, unless it is damaged.
    Ok((bytes.iter().map(|byte| char::from(byte & 0x7f)).collect(), len))
}

fn length(folder: &LogFolder, stream: Stream) -> io::Result<u64> {
    match fs::metadata(folder.output(stream)) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
        file => Ok(file?.len()),
    }
}

/// A file that is not there is as good.
fn if_there(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        done => done,
    }
}
