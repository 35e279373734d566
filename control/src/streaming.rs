//! Bytes of any length over the socket, between threads that read and write and the one that sends and receives.

use http_body_util::BodyExt;
use hyper::body::{Body, Bytes, Frame};
use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::sync::mpsc::{Receiver, Sender, channel};

/// Bytes sent at once.
const CHUNK: usize = 256 << 10;

/// Pieces that may wait for the other side.
const PIECES: usize = 4;

/// What is written here is what a [`ChunkBody`] sends.
#[derive(Debug)]
pub(crate) struct Chunks {
    sender: Sender<io::Result<Bytes>>,
    buffer: Vec<u8>,
}

/// The body of a request or an answer that somebody writes meanwhile.
#[derive(Debug)]
pub(crate) struct ChunkBody(Receiver<io::Result<Bytes>>);

/// A body, and where to write what it sends. It ends when that is dropped.
pub(crate) fn chunks() -> (Chunks, ChunkBody) {
    let (sender, receiver) = channel(PIECES);
    (Chunks { sender, buffer: Vec::new() }, ChunkBody(receiver))
}

impl Chunks {
    /// Breaks the body off, so that its reader sees that its end is missing.
    pub fn fail(self, error: &dyn std::error::Error) {
        // Nobody reads any more: no harm.
        let _ = self.sender.blocking_send(Err(io::Error::other(error.to_string())));
    }
}

impl Write for Chunks {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        let chunk = Bytes::from(std::mem::take(&mut self.buffer));
        self.sender.blocking_send(Ok(chunk)).map_err(|_| io::ErrorKind::BrokenPipe.into())
    }
}

impl Body for ChunkBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        self.0.poll_recv(context).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
    }
}

/// Reads a body as it comes, on a thread of its own.
#[derive(Debug)]
pub(crate) struct BodyReader {
    pieces: Receiver<io::Result<Bytes>>,
    piece: Bytes,
}

impl BodyReader {
    /// Of this body. Within a runtime.
    pub fn of<B>(mut body: B) -> Self
    where
        B: Body<Data = Bytes> + Send + Unpin + 'static,
        B::Error: std::fmt::Display + Send,
    {
        let (sender, pieces) = channel(PIECES);
        tokio::spawn(async move {
            while let Some(frame) = body.frame().await {
                let piece = match frame {
                    Ok(frame) => Ok(frame.into_data().unwrap_or_default()),
                    Err(error) => Err(io::Error::other(error.to_string())),
                };
                if sender.send(piece).await.is_err() {
                    break;
                }
            }
        });
        Self { pieces, piece: Bytes::new() }
    }
}

impl Read for BodyReader {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.piece = piece?,
                None => return Ok(0),
            }
        }
        let read = self.piece.split_to(self.piece.len().min(into.len()));
        for (to, from) in into.iter_mut().zip(&read) {
            *to = *from;
        }
        Ok(read.len())
    }
}
