//! What runs in a machine whose guest is made to fail, and says by itself whether it is right.

use super::chain::Chain;
use super::disk::Disk;
use crate::commands::bench::snapshots::Stage;
use crate::errors::CommandError;
use sentient_control::api::ContainerStatus;
use sentient_control::client::Client;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

const RULE: &str = include_str!("rule.wat");
const CHAIN: &str = include_str!("chain.wat");
const DISK: &str = include_str!("disk.wat");
const WEB: &[u8] = include_bytes!("../../../../../resources/containers/web/web.wasm");

/// How long the server may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// What the server is called.
const SERVER: &str = "web";
/// What the server says.
const GREETING: &str = "Hello from a container!\n";

/// Where a container's first port is.
fn address(container: &ContainerStatus) -> Option<SocketAddr> {
    container.ports.first().and_then(|port| port.address.parse().ok())
}

/// What runs.
pub struct Workload {
    chain: Chain,
    disk: Disk,
    server: SocketAddr,
}

impl Workload {
    /// Starts it.
    pub fn start(stage: &Stage) -> Result<Self, CommandError> {
        let wrong = |why: String| CommandError::Bench(why);
        let counter = |start: &str| {
            wat::parse_str(format!("(module\n{RULE}{start})")).map_err(|error| wrong(error.to_string()))
        };
        stage.start("chain", &counter(CHAIN)?, 4 << 20, &[])?;
        // Beside the machine, and gone with it.
        let folder = stage.machine.path().join("volume");
        std::fs::create_dir(&folder).map_err(|error| wrong(format!("{}: {error}", folder.display())))?;
        let start = json!({
            "program": stage.program("disk", &counter(DISK)?)?, "name": "disk", "memory_bytes": 4 << 20,
            "volumes": [format!("{}:/data", folder.display())],
        });
        let _: ContainerStatus = stage.client()?.post("/v1/containers", &start)?;
        let disk = Disk::of(folder.join("chain"));
        let web = stage.program("web", WEB)?;
        let start = json!({
            "program": web, "name": SERVER, "memory_bytes": 8 << 20, "ports": ["80"],
        });
        let started: ContainerStatus = stage.client()?.post("/v1/containers", &start)?;
        let server = address(&started).ok_or_else(|| wrong("the server has no port".into()))?;
        stage.wait_for_more(SERVER, 0)?;
        let log = stage.machine.container("chain").join("stdout.log");
        let chain = Chain::of(log);
        Ok(Self { chain, disk, server })
    }

    /// Looks at what the counter has written since the last time; gives how many numbers, or what is wrong with them.
    pub fn counted(&mut self) -> Result<u64, String> {
        self.chain.follow()
    }

    /// The number that the counter is at.
    pub fn number(&self) -> u64 {
        self.chain.last()
    }

    /// It was started anew.
    pub fn begin_anew(&mut self) {
        self.chain.begin_anew();
    }

    /// Whether the one that writes to a volume has written since the last time.
    pub fn is_written(&mut self) -> bool {
        self.disk.is_written()
    }

    /// What is wrong with what it has written since the last time.
    pub fn written(&mut self) -> Vec<String> {
        self.disk.follow()
    }

    /// What is wrong with all that it has written.
    pub fn all_written(&mut self) -> Vec<String> {
        self.disk.look_again()
    }

    /// Asks the server something: whether it answers, and rightly. One that had ended and was put back may be at another port.
    pub fn served(&mut self, client: &Client) -> Result<bool, String> {
        match self.asked() {
            Ok(false) => {
                let now: Option<Vec<ContainerStatus>> = client.get("/v1/containers").ok();
                let server =
                    now.iter().flatten().find(|container| container.name == SERVER).and_then(address);
                self.server = server.unwrap_or(self.server);
                self.asked()
            }
            known => known,
        }
    }

    fn asked(&self) -> Result<bool, String> {
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
