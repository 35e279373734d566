//! The side of the socket that asks.

use crate::api::Refusal;
use crate::home::{MachineFolder, short_path};
use crate::streaming::chunks;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::net::UnixStream;
use tokio::runtime::{Builder, Runtime};

/// Most bytes of an answer in JSON.
const MAX_ANSWER: usize = 64 << 20;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error("the machine `{0}` is not running; `sentctl boot {0}` starts it")]
    NotRunning(String),
    /// The machine says no, and why.
    #[error("{}", .0.message)]
    Refused(Refusal),
    /// The conversation broke off.
    #[error("the machine's process does not answer on {}: {why}", socket.display())]
    Broken {
        /// The socket.
        socket: PathBuf,
        /// How.
        why: String,
    },
}

/// Why something was not put there.
#[derive(Debug, thiserror::Error)]
pub enum UploadError {
    /// What was to be sent could not be read.
    #[error(transparent)]
    Source(io::Error),
    /// There is no answer.
    #[error(transparent)]
    Client(#[from] ClientError),
}

impl ClientError {
    /// A word for programs.
    #[must_use]
    pub fn kind(&self) -> &str {
        match self {
            Self::NotRunning(_) => "not-running",
            Self::Refused(refusal) => &refusal.kind,
            Self::Broken { .. } => "broken",
        }
    }
}

/// What is sent with a request.
type Body = UnsyncBoxBody<Bytes, io::Error>;

/// A way to a machine's process.
pub struct Client {
    machine: MachineFolder,
    runtime: Runtime,
    /// The connection of the last answer that was read to its end: it takes the next request.
    idle: Mutex<Option<SendRequest<Body>>>,
}

/// The start of an answer, and the connection that its body comes on.
struct Answering {
    body: Incoming,
    connection: SendRequest<Body>,
}

impl Client {
    /// For this machine; nothing is connected yet.
    ///
    /// # Errors
    /// [`ClientError::Broken`] if the host has no epoll to give.
    pub fn new(machine: MachineFolder) -> Result<Self, ClientError> {
        let runtime = Builder::new_current_thread()
            .enable_io()
            .build()
            .map_err(|error| ClientError::Broken { socket: machine.socket(), why: error.to_string() })?;
        Ok(Self { machine, runtime, idle: Mutex::new(None) })
    }

    /// Asks for something.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn get<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.ask(Method::GET, path, Vec::new())
    }

    /// Wants something done.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn post<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.ask(Method::POST, path, body)
    }

    /// Gives something bytes.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn give<A: DeserializeOwned>(&self, path: &str, bytes: &[u8]) -> Result<A, ClientError> {
        self.ask(Method::POST, path, bytes.to_vec())
    }

    /// Wants something gone.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn delete<A: DeserializeOwned>(&self, path: &str) -> Result<A, ClientError> {
        self.ask(Method::DELETE, path, Vec::new())
    }

    /// Wants something put in its place.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn put<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.ask(Method::PUT, path, body)
    }

    /// Wants something changed.
    ///
    /// # Errors
    /// [`ClientError`].
    pub fn patch<A: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<A, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| self.broken(&error))?;
        self.ask(Method::PATCH, path, body)
    }

    /// Asks for bytes, and writes them as they come.
    ///
    /// # Errors
    /// [`ClientError`]; what was written is then not all of it.
    pub fn download(&self, path: &str, mut out: impl Write) -> Result<(), ClientError> {
        self.runtime.block_on(async {
            let mut body = self.send(Method::GET, path, Vec::new()).await?.body;
            while let Some(frame) = body.frame().await {
                let frame = frame.map_err(|error| self.broken(&error))?;
                if let Some(bytes) = frame.data_ref() {
                    out.write_all(bytes).map_err(|error| self.broken(&error))?;
                }
            }
            out.flush().map_err(|error| self.broken(&error))
        })
    }

    /// Puts bytes of any length somewhere, as `write` writes them on another thread. What keeps that from writing all of
    /// it comes before what the machine says of the rest.
    ///
    /// # Errors
    /// [`UploadError`].
    pub fn upload<A: DeserializeOwned>(
        &self,
        path: &str,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()> + Send + 'static,
    ) -> Result<A, UploadError> {
        let (mut chunks, body) = chunks();
        let writer = std::thread::spawn(move || match write(&mut chunks).and_then(|()| chunks.flush()) {
            Err(error) => {
                chunks.fail(&error);
                Err(error)
            }
            done => done,
        });
        // On a runtime of its own: with that goes the body, and with that the thread that writes.
        let own = Self::new(self.machine.clone())?;
        let answer = own.runtime.block_on(async {
            let answering = own.send_body(Method::PUT, path, UnsyncBoxBody::new(body)).await?;
            own.whole(answering.body).await
        });
        drop(own);
        let written =
            writer.join().unwrap_or_else(|_| Err(io::Error::other("the thread that reads panicked")));
        match (written, answer) {
            // Nobody took the rest: why, the machine says.
            (Err(error), Err(refused)) if error.kind() == io::ErrorKind::BrokenPipe => Err(refused.into()),
            (Err(error), _) => Err(UploadError::Source(error)),
            (Ok(()), answer) => {
                let bytes = answer?;
                Ok(serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))?)
            }
        }
    }

    fn ask<A: DeserializeOwned>(&self, method: Method, path: &str, body: Vec<u8>) -> Result<A, ClientError> {
        let bytes = self.runtime.block_on(async {
            let Answering { body, connection } = self.send(method, path, body).await?;
            let bytes = self.whole(body).await?;
            *self.idle() = Some(connection);
            Ok(bytes)
        })?;
        serde_json::from_slice(&bytes).map_err(|error| self.broken(&error))
    }

    fn idle(&self) -> MutexGuard<'_, Option<SendRequest<Body>>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends a request, and gives the start of an answer that is no refusal.
    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Answering, ClientError> {
        let body = Full::new(Bytes::from(body)).map_err(|never| match never {});
        self.send_body(method, path, UnsyncBoxBody::new(body)).await
    }

    async fn send_body(&self, method: Method, path: &str, body: Body) -> Result<Answering, ClientError> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "machine")
            .header(CONTENT_TYPE, "application/json")
            .body(body)
            .map_err(|error| self.broken(&error))?;
        let idle = self.idle().take();
        let (answer, connection) = match idle {
            Some(connection) => self.send_again(connection, request).await?,
            None => self.send_anew(request).await?,
        };
        let status = answer.status();
        let body = answer.into_body();
        if status.is_success() {
            return Ok(Answering { body, connection });
        }
        Err(refused(status, &self.whole(body).await?))
    }

    /// Sends a request on a connection that was used before, or on a new one if that is closed by now.
    async fn send_again(
        &self,
        mut connection: SendRequest<Body>,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
        if connection.ready().await.is_err() {
            return self.send_anew(request).await;
        }
        match connection.try_send_request(request).await {
            Ok(answer) => Ok((answer, connection)),
            Err(mut failed) => match failed.take_message() {
                // Nothing of it was sent.
                Some(request) => self.send_anew(request).await,
                None => Err(self.broken(failed.error())),
            },
        }
    }

    async fn send_anew(
        &self,
        request: Request<Body>,
    ) -> Result<(Response<Incoming>, SendRequest<Body>), ClientError> {
        let stream = TokioIo::new(self.connect().await?);
        let (mut sender, connection) = handshake(stream).await.map_err(|error| self.broken(&error))?;
        // On its own, so that an answer that comes with the end of the connection is still heard. It ends
        // when the sender and the body are gone.
        tokio::spawn(connection);
        let answer = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
        Ok((answer, sender))
    }

    async fn whole(&self, body: Incoming) -> Result<Bytes, ClientError> {
        let limited = http_body_util::Limited::new(body, MAX_ANSWER);
        Ok(limited.collect().await.map_err(|error| self.broken(&error))?.to_bytes())
    }

    async fn connect(&self) -> Result<UnixStream, ClientError> {
        let not_running = || ClientError::NotRunning(self.machine.name().to_owned());
        let (_folder, path) = short_path(&self.machine.socket()).map_err(|_| not_running())?;
        UnixStream::connect(path).await.map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => not_running(),
            _ => self.broken(&error),
        })
    }

    fn broken(&self, why: &dyn std::fmt::Display) -> ClientError {
        ClientError::Broken { socket: self.machine.socket(), why: why.to_string() }
    }
}

/// What may stand in a segment of a path, and in a query, as it is (RFC 3986, 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A name that people gave, for a segment of a path or a value in a query.
#[must_use]
pub fn encoded(name: &str) -> String {
    utf8_percent_encode(name, ENCODED).to_string()
}

fn refused(status: StatusCode, bytes: &[u8]) -> ClientError {
    let refusal = serde_json::from_slice(bytes).unwrap_or_else(|_| Refusal {
        kind: status.as_str().to_owned(),
        message: String::from_utf8_lossy(bytes).into_owned(),
    });
    ClientError::Refused(refusal)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_become_another_path_or_query() {
        assert_eq!(encoded("before-2.x_y"), "before-2.x_y");
        assert_eq!(encoded("@~2"), "%40~2");
        assert_eq!(encoded("a b/c?d=e&f#g+h%ä"), "a%20b%2Fc%3Fd%3De%26f%23g%2Bh%25%C3%A4");
    }
}
