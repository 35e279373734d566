//! What runs in a machine whose guest is made to fail, and says by itself whether it is right.

use crate::commands::bench::snapshots::Stage;
use crate::errors::CommandError;
use sentient_control::api::ContainerStatus;
use serde_json::json;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

const CHAIN: &str = include_str!("chain.wat");
const WEB: &[u8] = include_bytes!("../../../../../resources/containers/web/web.wasm");

/// Cells of the chain's table.
const CELLS: usize = 8192;

/// More numbers than a campaign ever comes to.
const MOST: u64 = 1 << 24;

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the server says.
const GREETING: &str = "Hello from a container!\n";

/// The counter whose numbers are bound to each other, as the host follows it.
struct Chain {
    log: PathBuf,
    read: u64,
    /// What was read of a line that is not complete.
    begun: Vec<u8>,
    /// The number that was seen last.
    last: u64,
    /// It has said something wrong, and nothing right since.
    is_wrong: bool,
    /// The hash of each number, from 0 on, as far as they were needed.
    hashes: Vec<u64>,
    cells: Vec<u64>,
}

impl Chain {
    /// Of which nothing was read yet.
    fn of(log: PathBuf) -> Self {
        let (hashes, cells) = (vec![0], vec![0; CELLS]);
        Self { log, read: 0, begun: Vec::new(), last: 0, is_wrong: false, hashes, cells }
    }

    /// What number `number` has to come with.
    fn hash(&mut self, number: u64) -> u64 {
        while self.hashes.len() as u64 <= number {
            let next = self.hashes.len() as u64;
            let before = self.hashes.last().copied().unwrap_or(0);
            let Some(cell) = self.cells.get_mut(next as usize % CELLS) else { return 0 };
            let mixed = (before ^ *cell ^ next).rotate_left(13).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            *cell = mixed.wrapping_add(next);
            self.hashes.push(*cell);
        }
        self.hashes.get(number as usize).copied().unwrap_or(0)
    }

    /// Reads what was written since the last time; gives how many lines that are, or what is wrong with the first one that is wrong
    /// after one that was right.
    fn follow(&mut self) -> Result<u64, String> {
        let read = |chain: &mut Self| {
            let mut file = File::open(&chain.log)?;
            file.seek(SeekFrom::Start(chain.read))?;
            file.read_to_end(&mut chain.begun)
        };
        self.read += read(self).map_err(|error| format!("{}: {error}", self.log.display()))? as u64;
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
        if self.hash(number) != hash {
            return Err(format!("the counter says {line:?}, and should say {:016x}", self.hash(number)));
        }
        self.last = number;
        Ok(())
    }
}

/// What runs.
pub struct Workload {
    chain: Chain,
    server: SocketAddr,
}

impl Workload {
    /// Starts it.
    pub fn start(stage: &Stage) -> Result<Self, CommandError> {
        let wrong = |why: String| CommandError::Bench(why);
        let chain = wat::parse_str(CHAIN).map_err(|error| wrong(error.to_string()))?;
        stage.start("chain", &chain, 4 << 20, &[])?;
        let web = stage.program("web", WEB)?;
        let start = json!({
            "program": web, "name": "web", "memory_bytes": 8 << 20, "ports": ["80"],
        });
        let started: ContainerStatus = stage.client()?.post("/v1/containers", &start)?;
        let server = started.ports.first().and_then(|port| port.address.parse().ok());
        let server = server.ok_or_else(|| wrong("the server has no port".into()))?;
        stage.wait_for_more("web", 0)?;
        let log = stage.machine.container("chain").join("stdout.log");
        let chain = Chain::of(log);
        Ok(Self { chain, server })
    }

    /// Looks at what the counter has written since the last time; gives how many numbers, or what is wrong with them.
    pub fn counted(&mut self) -> Result<u64, String> {
        self.chain.follow()
    }

    /// The number that the counter is at.
    pub fn number(&self) -> u64 {
        self.chain.last
    }

    /// It was started anew, and counts from the beginning.
    pub fn begin_anew(&mut self) {
        self.chain.last = 0;
        self.chain.begun.clear();
    }

    /// Asks the server something: whether it answers, and rightly.
    pub fn served(&self) -> Result<bool, String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&self.server, ANSWER)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        // A connection that was cut is no answer, and none that is wrong.
        let Ok(answer) = ask() else { return Ok(false) };
        match answer.split_once("\r\n\r\n") {
            Some((_, body)) if body == GREETING => Ok(true),
            Some((_, body)) if !GREETING.starts_with(body) => Err(format!("the server says {body:?}")),
            _ => Ok(false),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(text: &str) -> Result<u64, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let log = folder.path().join("log");
        std::fs::write(&log, text).map_err(|error| error.to_string())?;
        Chain::of(log).follow()
    }

    #[test]
    fn a_number_that_is_left_out_and_a_hash_that_is_wrong_are_found() {
        let mut rule = Chain::of(PathBuf::new());
        let mut line = |number: u64| format!("{number:016x} {:016x}\n", rule.hash(number));
        let lines: Vec<String> = (1..=9000).map(&mut line).collect();
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
