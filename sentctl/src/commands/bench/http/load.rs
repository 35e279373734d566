//! Asking a server, as fast as it answers.

use super::super::statistics::Series;
use crate::errors::CommandError;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// What every server answers.
pub const GREETING: &str = "Hello from a container!\n";

/// Connections that are asked at once.
pub const CONNECTIONS: usize = 16;

/// Requests of the figure for one connection.
const ALONE: u32 = 1000;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: bench\r\n\r\n";

/// Longest answer that is understood.
const LONGEST: usize = 4096;

/// Connections to one server.
pub struct Load {
    connections: Vec<Connection>,
}

struct Connection {
    stream: TcpStream,
    answer: Vec<u8>,
}

fn failed(error: io::Error) -> CommandError {
    CommandError::io("asking a server")(error)
}

impl Connection {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, answer: Vec::with_capacity(LONGEST) })
    }

    fn ask(&mut self) -> io::Result<()> {
        self.answer.clear();
        self.stream.write_all(REQUEST)
    }

    /// Takes what has come of the answer; whether it is whole.
    fn hear(&mut self) -> io::Result<bool> {
        let mut piece = [0; LONGEST];
        let len = match self.stream.read(&mut piece) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(len) => len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        self.answer.extend_from_slice(piece.get(..len).unwrap_or_default());
        if !self.answer.ends_with(GREETING.as_bytes()) {
            let is_late = self.answer.len() < LONGEST;
            return if is_late { Ok(false) } else { Err(io::Error::other("it answers something else")) };
        }
        if !self.answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other("it does not answer with 200"));
        }
        Ok(true)
    }
}

impl Load {
    /// Connects to a server.
    pub fn connect(address: SocketAddr) -> Result<Self, CommandError> {
        let make = |_| {
            let connection = Connection::new(address)?;
            connection.stream.set_nonblocking(true)?;
            Ok(connection)
        };
        let connections = (0..CONNECTIONS).map(make).collect::<io::Result<_>>().map_err(failed)?;
        Ok(Self { connections })
    }

    /// Asks on all connections for this long, on each as soon as it was answered there.
    pub fn requests_per_second(&mut self, time: Duration) -> Result<f64, CommandError> {
        let started = Instant::now();
        let mut answers = 0_u32;
        for connection in &mut self.connections {
            connection.ask().map_err(failed)?;
        }
        let mut asking = self.connections.len();
        while asking > 0 {
            let streams = self.connections.iter().map(|one| PollFd::new(&one.stream, PollFlags::IN));
            let mut polled: Vec<_> = streams.collect();
            poll(&mut polled, None).map_err(|error| failed(error.into()))?;
            let ready: Vec<bool> = polled.iter().map(|one| !one.revents().is_empty()).collect();
            let goes_on = started.elapsed() < time;
            for (connection, _) in self.connections.iter_mut().zip(ready).filter(|(_, ready)| *ready) {
                if !connection.hear().map_err(failed)? {
                    continue;
                }
                answers += 1;
                if goes_on {
                    connection.ask().map_err(failed)?;
                } else {
                    asking -= 1;
                }
            }
        }
        Ok(f64::from(answers) / started.elapsed().as_secs_f64())
    }
}

/// Microseconds from a request to its answer, where there is no other.
pub fn one_at_a_time(address: SocketAddr) -> Result<Series, CommandError> {
    let mut connection = Connection::new(address).map_err(failed)?;
    let mut times = Vec::new();
    for _ in 0..ALONE {
        let started = Instant::now();
        connection.ask().map_err(failed)?;
        while !connection.hear().map_err(failed)? {}
        times.push(started.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Series::new(times))
}
