//! What people see of work that takes longer than a second: one line on a terminal's standard error, gone
//! when the work is done.
//!
//! Without a terminal, and with `--json`, there is nothing, not even the thread. With one, the thread
//! sleeps for the first second and draws nothing if the work is done by then.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{self, IsTerminal, Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that is done by then is not shown.
const PATIENCE: Duration = Duration::from_secs(1);

/// Time between two pictures.
const FRAME: Duration = Duration::from_millis(100);

/// What is known of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Only that it goes on.
    Time,
    /// How many bytes are done.
    Bytes,
    /// That, and how many there are.
    BytesOf(u64),
    /// How many pieces of this many are done.
    Of(u64),
}

/// Work under way; the line is there until this is dropped.
pub struct Progress {
    done: Arc<AtomicU64>,
    /// Dropped first: that tells the thread.
    drawing: Option<(Sender<()>, JoinHandle<()>)>,
}

impl Progress {
    /// Begins to watch. `what` is done, in a few words; `quiet` if nothing is to be shown.
    pub fn start(what: &'static str, measure: Measure, quiet: bool) -> Self {
        let done = Arc::new(AtomicU64::new(0));
        let shown = !quiet && io::stderr().is_terminal();
        let drawing = shown.then(|| draw(what, measure, Arc::clone(&done))).flatten();
        Self { done, drawing }
    }

    /// One piece more is done.
    pub fn one_more(&self) {
        self.done.fetch_add(1, Ordering::Relaxed);
    }

    /// A stream whose bytes count.
    pub fn counting<S>(&self, stream: S) -> Counting<S> {
        Counting { stream, done: Arc::clone(&self.done) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((working, thread)) = self.drawing.take() {
            drop(working);
            // What was drawn must be gone before anything else is written.
            let _ = thread.join();
        }
    }
}

/// Starts the thread that draws. Without one the work is done all the same.
fn draw(what: &'static str, measure: Measure, done: Arc<AtomicU64>) -> Option<(Sender<()>, JoinHandle<()>)> {
    let (working, ended) = mpsc::channel();
    let started = Instant::now();
    let thread = std::thread::Builder::new().name("progress".into()).spawn(move || {
        if !goes_on(&ended, PATIENCE) {
            return;
        }
        let bar = bar(what, measure).with_elapsed(started.elapsed());
        while goes_on(&ended, FRAME) {
            bar.set_position(done.load(Ordering::Relaxed));
            bar.tick();
        }
        bar.finish_and_clear();
    });
    Some((working, thread.ok()?))
}

/// Waits; says whether the work still goes on.
fn goes_on(ended: &Receiver<()>, time: Duration) -> bool {
    matches!(ended.recv_timeout(time), Err(RecvTimeoutError::Timeout))
}

fn bar(what: &'static str, measure: Measure) -> ProgressBar {
    let (bar, picture) = match measure {
        Measure::Time => (ProgressBar::new_spinner(), "{spinner} {msg}, {elapsed}"),
        Measure::Bytes => (ProgressBar::new_spinner(), "{spinner} {msg}, {binary_bytes}, {elapsed}"),
        Measure::BytesOf(all) => {
            (ProgressBar::new(all), "{msg} [{bar:30}] {binary_bytes} of {binary_total_bytes}, {eta} left")
        }
        Measure::Of(all) => (ProgressBar::new(all), "{msg} [{bar:30}] {pos} of {len}, {eta} left"),
    };
    // A picture that cannot be read leaves the usual one.
    let bar = match ProgressStyle::with_template(picture) {
        Ok(style) => bar.with_style(style.progress_chars("=> ")),
        Err(_) => bar,
    };
    bar.with_message(what)
}

/// A stream whose bytes are counted on their way.
pub struct Counting<S> {
    stream: S,
    done: Arc<AtomicU64>,
}

impl<S> Counting<S> {
    fn note(&self, bytes: usize) {
        self.done.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

impl<S: Read> Read for Counting<S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.stream.read(buffer)?;
        self.note(read);
        Ok(read)
    }
}

impl<S: Write> Write for Counting<S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.stream.write(bytes)?;
        self.note(written);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.stream.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_through_is_counted_and_unchanged() {
        let progress = Progress::start("testing", Measure::Bytes, true);
        assert!(progress.drawing.is_none(), "nobody is shown anything");
        let mut out = Vec::new();
        let copied = io::copy(&mut progress.counting(&b"twelve bytes"[..]), &mut out);
        assert_eq!((copied.ok(), out.as_slice()), (Some(12), &b"twelve bytes"[..]));
        assert!(progress.counting(&mut out).write_all(b"!").is_ok());
        assert_eq!(progress.done.load(Ordering::Relaxed), 13);
    }
}
