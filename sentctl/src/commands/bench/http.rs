//! Requests that a container answers, beside the same program run natively, and nginx where it is installed.

mod load;
mod native;

use super::runs::{Programs, run_command};
use super::snapshots::Measured;
use super::statistics::Series;
use crate::errors::CommandError;
use load::{Load, one_at_a_time};
use native::Native;
use serde_json::{Map, json};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const WEB: &[u8] = include_bytes!("../../../../resources/containers/web/web.wasm");

/// How long a server is asked each time.
const ROUND: Duration = Duration::from_millis(700);
/// Rounds, which go around all servers, so that all see the same weather.
const ROUNDS: u32 = 5;
/// How long a server may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is a process of its own.
struct Server {
    child: Child,
    address: SocketAddr,
    /// What it reads.
    _files: Programs,
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, in which case there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Server {
    fn start(mut command: Command, address: SocketAddr, files: Programs) -> Result<Self, CommandError> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(CommandError::io("starting a server"))?;
        let server = Self { child, address, _files: files };
        let deadline = Instant::now() + PATIENCE;
        while let Err(error) = TcpStream::connect(address) {
            if Instant::now() > deadline {
                return Err(CommandError::io("waiting for a server")(error));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(server)
    }

    /// The example server in a container.
    fn container() -> Result<Self, CommandError> {
        let (files, address) = (Programs::new()?, free_address()?);
        let mut command = run_command(&files.add("web.wasm", WEB)?)?;
        command.args(["--memory", "16M", "--publish", &format!("{address}:80")]);
        Self::start(command, address, files)
    }

    /// nginx, with one process that answers the same; `None` where there is none.
    fn nginx() -> Result<Option<Self>, CommandError> {
        let program = Path::new("/usr/sbin/nginx");
        if !program.exists() {
            return Ok(None);
        }
        let (files, address) = (Programs::new()?, free_address()?);
        let folder = files.path().display();
        let configuration = format!(
            "daemon off; worker_processes 1; pid {folder}/pid; error_log stderr emerg;
             events {{ worker_connections 256; }}
             http {{ access_log off; default_type text/plain; keepalive_requests 100000000;
               client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
               uwsgi_temp_path {folder}; scgi_temp_path {folder};
               server {{ listen {address}; location / {{ return 200 \"{}\\n\"; }} }} }}",
            load::GREETING.trim_end()
        );
        let path = files.add("nginx.conf", configuration.as_bytes())?;
        let mut command = Command::new(program);
        command.arg("-p").arg(files.path()).arg("-c").arg(path);
        Self::start(command, address, files).map(Some)
    }
}

/// An address of this host that is free now.
fn free_address() -> Result<SocketAddr, CommandError> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
    listener.map_err(CommandError::io("finding a free port"))
}

/// Requests a second that a container answers on connections that stay, with what the others come to.
pub fn requests_per_second(_: u32) -> Measured {
    let container = Server::container()?;
    let native = Native::start(WEB)?;
    let nginx = Server::nginx()?;
    let mut servers = vec![("", container.address), ("native_wasmtime", native.address())];
    servers.extend(nginx.as_ref().map(|nginx| ("nginx", nginx.address)));
    let mut loads =
        servers.iter().map(|(_, address)| Load::connect(*address)).collect::<Result<Vec<_>, _>>()?;
    let mut rates = vec![Vec::new(); servers.len()];
    for round in 0..=ROUNDS {
        for (load, rates) in loads.iter_mut().zip(&mut rates) {
            let rate = load.requests_per_second(ROUND)?;
            if round > 0 {
                rates.push(rate);
            }
        }
    }
    let mut rates = rates.into_iter().map(Series::new);
    let ours = rates.next().unwrap_or_else(|| Series::new(Vec::new()));
    let mut details = Map::new();
    for ((name, _), theirs) in servers.iter().skip(1).zip(rates) {
        details.insert((*name).into(), json!(theirs.median()));
        details.insert(format!("ratio_to_{name}"), json!(ours.median() / theirs.median()));
    }
    if nginx.is_none() {
        details.insert("nginx".into(), json!("absent: apt-get install nginx-light"));
    }
    details.insert("connections".into(), json!(load::CONNECTIONS));
    for (name, address) in &servers {
        let name = if name.is_empty() { "container" } else { name };
        details.insert(format!("{name}_alone_us"), json!(one_at_a_time(*address)?.median()));
    }
    Ok((ours, details))
}
