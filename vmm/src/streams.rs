//! The process' standard streams as a container's streams.
//!
//! The event loop must never block in a write: it could then not be interrupted. What the kernel says is
//! writable takes a page at least, so a pipe or a socket is polled before each page and never written
//! more; files and devices are written whole. No descriptor is made non-blocking: the flag would be
//! shared with every other process that has the same terminal or pipe.

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use sentient_devices::virtio::stdio_mux::{ContainerEvent, Stream, StreamSink, Written};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Instant;
use vm_memory::bitmap::BitmapSlice;
use vm_memory::{VolatileMemoryError, VolatileSlice, WriteVolatile};

/// What a pipe that polls writable is sure to take (Linux pipe(7): a slot of its ring).
const PIPE_PAGE: usize = 4096;

/// A container's streams, from descriptors of this process.
#[derive(Debug)]
pub struct Streams {
    /// Where standard input comes from.
    pub stdin: Input,
    /// Where standard output goes.
    pub stdout: Output,
    /// Where standard error and the kernel's log go.
    pub stderr: Output,
}

impl Streams {
    /// The process' own.
    ///
    /// # Errors
    /// The error of duplicating a descriptor.
    pub fn of_process() -> io::Result<Self> {
        let own = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
        Ok(Self {
            stdin: Input::new(own(io::stdin().as_fd())?)?,
            stdout: Output::new(own(io::stdout().as_fd())?)?,
            stderr: Output::new(own(io::stderr().as_fd())?)?,
        })
    }
}

/// A source of bytes.
#[derive(Debug)]
pub struct Input {
    file: File,
    /// A file is always ready; epoll refuses to watch it.
    always_ready: bool,
    terminal: bool,
}

impl Input {
    /// Reads from `file`.
    ///
    /// # Errors
    /// The error of fstat.
    pub fn new(file: File) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        let terminal = rustix::termios::isatty(&file);
        let always_ready = !matches!(kind, FileType::Fifo | FileType::Socket) && !terminal;
        Ok(Self { file, always_ready, terminal })
    }

    /// Whether it need not be watched.
    #[must_use]
    pub fn is_always_ready(&self) -> bool {
        self.always_ready
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    /// Reads what is there; 0 at the end. An error counts as the end, and is logged.
    pub fn read(&mut self, buffer: &mut [u8]) -> Option<usize> {
        match self.file.read(buffer) {
            Ok(len) => Some(len),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            Err(error) => {
                tracing::warn!(%error, "reading standard input; the container sees its end");
                Some(0)
            }
        }
    }
}

impl AsRawFd for Input {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

/// A sink of bytes.
#[derive(Debug)]
pub struct Output {
    file: File,
    polled: bool,
    terminal: bool,
    blocked: bool,
    closed: bool,
}

impl Output {
    /// Writes to `file`.
    ///
    /// # Errors
    /// The error of fstat.
    pub fn new(file: File) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(fstat(&file)?.st_mode);
        let terminal = rustix::termios::isatty(&file);
        let polled = matches!(kind, FileType::Fifo | FileType::Socket) || terminal;
        Ok(Self { file, polled, terminal, blocked: false, closed: false })
    }

    /// Whether it is a terminal.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal
    }

    fn write<B: BitmapSlice>(&mut self, bytes: &VolatileSlice<'_, B>) -> Written {
        if self.closed {
            return Written::Closed;
        }
        let written = if self.polled {
            if !is_writable(&self.file) {
                self.blocked = true;
                return Written::WouldBlock;
            }
            let page = bytes.len().min(PIPE_PAGE);
            let Ok(page) = bytes.subslice(0, page) else { return Written::WouldBlock };
            self.file.write_volatile(&page)
        } else {
            self.file.write_volatile(bytes)
        };
        match written {
            Ok(len) => Written::Accepted(len),
            Err(VolatileMemoryError::IOError(error)) => self.failed(error),
            // A slice of guest memory is always readable.
            Err(error) => self.failed(io::Error::other(error)),
        }
    }

    fn failed(&mut self, error: io::Error) -> Written {
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted => {
                self.blocked = true;
                Written::WouldBlock
            }
            kind => {
                if kind != io::ErrorKind::BrokenPipe {
                    tracing::error!(%error, "writing a container's output");
                }
                self.closed = true;
                Written::Closed
            }
        }
    }
}

/// The guest's serial port: text for people, on standard error. What could control a terminal is replaced,
/// since the guest's kernel is not trusted with one.
#[derive(Debug)]
pub struct SerialOutput(File);

impl SerialOutput {
    /// Writes where `output` does.
    ///
    /// # Errors
    /// The error of duplicating the descriptor.
    pub fn beside(output: &Output) -> io::Result<Self> {
        Ok(Self(output.file.try_clone()?))
    }
}

impl Write for SerialOutput {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let printable = |byte: &u8| matches!(byte, b'\n' | b'\t' | b' '..=b'~');
        let text: Vec<u8> = bytes
            .iter()
            .filter(|byte| **byte != b'\r')
            .map(|byte| if printable(byte) { *byte } else { b'?' })
            .collect();
        self.0.write_all(&text)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl AsRawFd for Output {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

fn is_writable(file: &File) -> bool {
    let mut fds = [PollFd::new(file, PollFlags::OUT)];
    // An error condition counts as writable: the write then says what it is.
    !matches!(poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })), Ok(0) | Err(_))
}

/// Where the containers of a resident machine write, and who is told what becomes of them. Called on the
/// machine's own thread: it must not wait.
pub trait ContainerSink: Send + std::fmt::Debug {
    /// Takes bytes that a container has written; see [`StreamSink::write`]. After `WouldBlock` it is asked
    /// again when anything else has happened, or within half a second.
    fn output(&mut self, container: u32, stream: Stream, bytes: &[u8]) -> Written;

    /// Something has become of a container. Its output up to here was given to `output`.
    fn event(&mut self, container: u32, event: ContainerEvent);
}

/// Most bytes given to a [`ContainerSink`] at once.
const SINK_CHUNK: usize = 64 << 10;

/// Where the console's frames end up.
#[derive(Debug)]
pub struct HostStreams {
    /// Where containers write in a resident machine; the descriptors are for the kernel's log alone.
    containers: Option<Box<dyn ContainerSink>>,
    stdout: Output,
    stderr: Output,
    first_byte: Option<Instant>,
}

impl HostStreams {
    /// Writes to these.
    #[must_use]
    pub fn new(stdout: Output, stderr: Output) -> Self {
        Self { containers: None, stdout, stderr, first_byte: None }
    }

    /// Writes what containers say to `containers`.
    #[must_use]
    pub fn with_containers(self, containers: Option<Box<dyn ContainerSink>>) -> Self {
        Self { containers, ..self }
    }

    /// When the first byte of standard output was written.
    #[must_use]
    pub fn first_byte_at(&self) -> Option<Instant> {
        self.first_byte
    }

    /// Whether the reader of standard output is gone.
    #[must_use]
    pub fn is_stdout_closed(&self) -> bool {
        self.stdout.closed
    }

    /// The output that last would have blocked, and forgets it.
    pub fn take_blocked(&mut self) -> Option<RawFd> {
        for output in [&mut self.stdout, &mut self.stderr] {
            if std::mem::take(&mut output.blocked) {
                return Some(output.as_raw_fd());
            }
        }
        None
    }
}

impl StreamSink for HostStreams {
    fn write<B: BitmapSlice>(
        &mut self,
        container: u32,
        stream: Stream,
        bytes: &[VolatileSlice<'_, B>],
    ) -> Written {
        let Some(first) = bytes.first() else { return Written::Accepted(0) };
        if let (Some(containers), Stream::Stdout | Stream::Stderr) = (&mut self.containers, stream) {
            let mut copy = vec![0; first.len().min(SINK_CHUNK)];
            first.copy_to(&mut copy[..]);
            return containers.output(container, stream, &copy);
        }
        match stream {
            Stream::Stdout => {
                let written = self.stdout.write(first);
                if self.first_byte.is_none() && matches!(written, Written::Accepted(_)) {
                    self.first_byte = Some(Instant::now());
                }
                written
            }
            Stream::Stderr | Stream::Log => self.stderr.write(first),
        }
    }

    fn control(&mut self, container: u32, event: ContainerEvent) {
        if let Some(containers) = &mut self.containers {
            containers.event(container, event);
        }
    }
}
