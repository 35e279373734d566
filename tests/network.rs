//! Containers on the network: found at the host's ports by programs of this host, which this file plays.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::{container, sentctl};
use serde_json::json;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

/// How long anything may take before a test calls it stuck.
const PATIENCE: Duration = Duration::from_secs(60);

/// A connection to an address of this host.
struct Client(BufReader<TcpStream>);

impl Client {
    fn connect(address: &str) -> Self {
        Self::try_connect(address).unwrap_or_else(|error| panic!("{address}: {error}"))
    }

    fn try_connect(address: &str) -> std::io::Result<Self> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Self(BufReader::new(stream)))
    }

    /// Sends a request, and receives the answer's body.
    fn try_ask(&mut self, request: &str, body: &[u8]) -> std::io::Result<Vec<u8>> {
        let head = format!("{request} HTTP/1.1\r\nHost: here\r\nContent-Length: {}\r\n\r\n", body.len());
        let stream = self.0.get_mut();
        stream.write_all(head.as_bytes())?;
        stream.write_all(body)?;
        self.answer()
    }

    fn answer(&mut self) -> std::io::Result<Vec<u8>> {
        let mut len = 0;
        let mut line = String::new();
        loop {
            line.clear();
            if self.0.read_line(&mut line)? == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            if let Some(value) = line.strip_prefix("Content-Length: ") {
                len = value.trim().parse().unwrap();
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut answer = vec![0; len];
        self.0.read_exact(&mut answer)?;
        Ok(answer)
    }

    fn ask(&mut self, request: &str, body: &[u8]) -> String {
        String::from_utf8(self.try_ask(request, body).unwrap()).unwrap()
    }
}

const GREETING: &str = "Hello from a container!\n";

/// What the example server has at `/bytes/LEN`.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|at| if at % 64 == 63 { b'\n' } else { b'0' + (at % 64) as u8 }).collect()
}

impl Home {
    /// Starts a server in the machine `m`; gives the address of its port 80.
    fn serve(&self, name: &str, port: &str) -> String {
        let program = container("web");
        let words = ["-m", "m", "run", "-d", "--memory", "8M", "--name", name, "--publish", port];
        self.ok(&[&words[..], &[program.to_str().unwrap()]].concat());
        self.wait_for("m", name, |output| output.contains("listening"));
        self.address("m", name)
    }

    fn address(&self, machine: &str, name: &str) -> String {
        let found = self.json(&["-m", machine, "matrixbox", "inspect", name]);
        found["ports"][0]["address"].as_str().unwrap().to_owned()
    }
}

/// Asks anew until somebody answers.
fn eventually(address: &str) -> String {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = Client::try_connect(address).and_then(|mut client| client.try_ask("GET /", b""));
        match answer {
            Ok(answer) => return String::from_utf8(answer).unwrap(),
            Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
        }
    }
}

/// Whether the other end of a connection has cut it.
fn is_cut(client: &mut Client) -> bool {
    match client.0.read(&mut [0; 1]) {
        Ok(count) => count == 0,
        Err(error) => error.kind() == ErrorKind::ConnectionReset,
    }
}

/// A program that runs alone, and the address of its port.
struct Alone(Child, String);

impl Alone {
    fn start(port: &str) -> Self {
        let mut command = sentctl();
        command.args(["run", "--memory", "8M", "--publish", port]).arg(container("web"));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut told = String::new();
        BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
        let address = told.trim().strip_prefix("sentctl: port 80 is at ").unwrap_or_else(|| panic!("{told}"));
        Self(child, address.to_owned())
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_program_that_runs_alone_serves_whoever_connects() {
    let alone = Alone::start("80");
    let mut client = Client::connect(&alone.1);
    assert_eq!(client.ask("GET /", b""), GREETING);
    // The connection stays.
    assert_eq!(client.ask("GET /count", b""), "1\n");
    assert_eq!(client.ask("POST /echo", b"to and fro"), "to and fro");
    // Requests that follow each other without waiting are answered in order.
    let many = "GET /bytes/3 HTTP/1.1\r\n\r\nGET / HTTP/1.1\r\n\r\n".repeat(50);
    client.0.get_mut().write_all(many.as_bytes()).unwrap();
    for _ in 0..50 {
        assert_eq!(client.answer().unwrap(), b"012");
        assert_eq!(client.answer().unwrap(), GREETING.as_bytes());
    }
    let mut other = Client::connect(&alone.1);
    assert_eq!(other.ask("GET /count", b""), "103\n");
}

#[test]
fn bytes_come_whole_and_in_order_however_many_there_are() {
    let alone = Alone::start("80");
    for len in [0, 1, 4096, 100_000, 20_000_000] {
        let answer = Client::connect(&alone.1).try_ask(&format!("GET /bytes/{len}"), b"").unwrap();
        assert!(answer == bytes(len), "{len}: {} bytes, or others", answer.len());
    }
    // A reader that is slow is waited for, and others are not held up by it.
    let mut slow = Client::connect(&alone.1);
    slow.0.get_mut().write_all(b"GET /bytes/20000000 HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(Client::connect(&alone.1).ask("GET /", b""), GREETING);
    assert!(slow.answer().unwrap() == bytes(20_000_000));
    // What is sent in crumbs arrives as what it is.
    let mut crumbs = Client::connect(&alone.1);
    crumbs.0.get_mut().set_nodelay(true).unwrap();
    for crumb in b"POST /echo HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello" {
        crumbs.0.get_mut().write_all(&[*crumb]).unwrap();
    }
    assert_eq!(crumbs.answer().unwrap(), b"hello");
}

#[test]
fn more_connections_than_there_is_room_for_wait_their_turn() {
    let alone = Alone::start("80");
    let address = alone.1.as_str();
    std::thread::scope(|scope| {
        let ask = || {
            for _ in 0..5 {
                let mut client = Client::connect(address);
                assert_eq!(client.ask("POST /echo", &[b'x'; 5000]), "x".repeat(5000));
            }
        };
        let threads: Vec<_> = (0..150).map(|_| scope.spawn(ask)).collect();
        for thread in threads {
            thread.join().unwrap();
        }
    });
    assert_eq!(Client::connect(address).ask("GET /count", b""), "750\n");
}

#[test]
fn a_client_that_goes_away_is_not_missed() {
    let alone = Alone::start("80");
    for _ in 0..200 {
        // In the midst of its request, or of the answer, or with the connection cut.
        let mut client = Client::connect(&alone.1);
        client.0.get_mut().write_all(b"GET /bytes/1000").unwrap();
        let mut client = Client::connect(&alone.1);
        client.0.get_mut().write_all(b"GET /bytes/10000000 HTTP/1.1\r\n\r\n").unwrap();
        let _ = client.0.read(&mut [0; 10]);
    }
    assert_eq!(Client::connect(&alone.1).ask("GET /", b""), GREETING);
}

#[test]
fn containers_have_ports_of_their_own_which_go_with_them() {
    let home = Home::with_machine();
    let one = home.serve("one", "80");
    let two = home.serve("two", "127.0.0.1:0:80");
    assert_ne!(one, two);
    // They count for themselves: two of them have the same port.
    let mut client = Client::connect(&one);
    assert_eq!((client.ask("GET /", b""), client.ask("GET /count", b"")), (GREETING.into(), "1\n".into()));
    assert_eq!(Client::connect(&two).ask("GET /count", b""), "0\n");
    assert!(home.ok(&["ps"]).contains(&format!("{one}->80")), "{}", home.ok(&["ps"]));
    assert!(home.ok(&["matrixbox", "inspect", "two"]).contains(&format!("80, at {two}")));

    // A port that is taken is refused, and nothing is left of the container that wanted it.
    let taken = one.rsplit_once(':').unwrap().1;
    let program = container("web");
    let wanted = format!("{taken}:80");
    let words = ["run", "-d", "--name", "three", "-p", &wanted, program.to_str().unwrap()];
    let error = home.refused(&words);
    assert!(error.contains("its port 80 at 127.0.0.1") && error.contains("in use"), "{error}");
    assert_eq!(home.json(&["ps", "-a"]).as_array().unwrap().len(), 2);

    // Ended, nobody is let in, and who was in is told.
    home.ok(&["kill", "one"]);
    assert!(is_cut(&mut client));
    assert!(Client::try_connect(&one).is_err());
    assert_eq!(Client::connect(&two).ask("GET /", b""), GREETING);
    // Started again it has a port again.
    home.ok(&["matrixbox", "restart", "one"]);
    assert_eq!(eventually(&home.address("m", "one")), GREETING);
    // Paused it lets everybody wait.
    home.ok(&["pause", "two"]);
    let mut waiting = Client::connect(&two);
    waiting.0.get_mut().write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    waiting.0.get_ref().set_read_timeout(Some(Duration::from_millis(300))).unwrap();
    assert_eq!(waiting.answer().unwrap_err().kind(), ErrorKind::WouldBlock);
    home.ok(&["unpause", "two"]);
    waiting.0.get_ref().set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(waiting.answer().unwrap(), GREETING.as_bytes());
}

#[test]
fn ports_outlive_a_rollback_a_stop_and_a_crash_and_connections_do_not() {
    let home = Home::with_machine();
    let genesis = home.json(&["status"])["current"].as_str().unwrap().to_owned();
    let address = home.serve("web", "80");
    let mut client = Client::connect(&address);
    assert_eq!((client.ask("GET /", b""), client.ask("GET /count", b"")), (GREETING.into(), "1\n".into()));
    home.ok(&["snapshot", "-t", "two-answers"]);
    assert_eq!(client.ask("GET /count", b""), "2\n", "a snapshot goes unnoticed");
    home.ok(&["snapshot"]);
    for _ in 0..3 {
        let mut before = Client::connect(&address);
        assert_eq!(before.ask("GET /", b""), GREETING);
        home.ok(&["rollback", "--discard", "two-answers"]);
        assert!(is_cut(&mut before), "the container knows nothing of it any more");
        assert_eq!(Client::connect(&address).ask("GET /count", b""), "2\n");
    }
    assert!(is_cut(&mut client));
    // To before its start and back.
    home.ok(&["rollback", &genesis]);
    // Its port is given back by a thread of its own.
    machine::eventually("nobody listens", || Client::try_connect(&address).is_err().then_some(()));
    home.ok(&["rollback", "two-answers"]);
    let address = home.address("m", "web");
    assert_eq!(Client::connect(&address).ask("GET /count", b""), "2\n");

    home.ok(&["stop"]);
    assert!(Client::try_connect(&address).is_err());
    home.ok(&["boot"]);
    let address = home.address("m", "web");
    assert_eq!(eventually(&address), GREETING);
    home.ok(&["snapshot"]);
    home.kill("m");
    home.ok(&["boot"]);
    assert_eq!(eventually(&home.address("m", "web")), GREETING);
}

#[test]
fn a_fork_serves_at_other_ports_or_at_none() {
    let home = Home::with_machine();
    let free = home.serve("free", "80");
    let fixed = home.serve("fixed", &format!("127.0.0.1:{}:80", unused_port()));
    home.ok(&["fork", "m", "n"]);
    let other = home.address("n", "free");
    assert_ne!(free, other);
    assert_eq!((eventually(&free), eventually(&other)), (GREETING.into(), GREETING.into()));
    assert_eq!(Client::connect(&other).ask("GET /count", b""), "1\n", "it has served one by itself");
    // The other port is the original's.
    assert_eq!(home.json(&["-m", "n", "matrixbox", "inspect", "fixed"])["ports"], json!([]));
    assert_eq!(eventually(&fixed), GREETING);
}

fn unused_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[test]
fn a_container_that_is_healed_has_its_connections_cut() {
    let home = Home::with_machine();
    let address = home.serve("web", "80");
    let mut client = Client::connect(&address);
    assert_eq!(client.ask("GET /", b""), GREETING);
    // On a busy host it may still be at work on what it has answered.
    home.ok(&["pause", "web"]);
    home.ok(&["snapshot"]);
    home.ok(&["unpause", "web"]);
    assert_eq!(client.ask("GET /", b""), GREETING);
    home.ok(&["heal", "container", "web"]);
    home.ok(&["unpause", "web"]);
    assert!(is_cut(&mut client));
    assert_eq!(Client::connect(&address).ask("GET /count", b""), "1\n");
}

#[test]
fn a_package_listens_where_its_permissions_allow_it() {
    let home = Home::with_machine();
    let folder = home.path().join("server");
    std::fs::create_dir(&folder).unwrap();
    let write = |name: &str, text: &str| std::fs::write(folder.join(name), text).unwrap();
    write("meta.yaml", "tso: 1\nname: server\nversion: 1.0.0\n");
    std::fs::copy(container("web"), folder.join("main.wasm")).unwrap();
    write("permissions.zky", "version: 1\nnetwork: { listen: [8080] }\n");
    let package = home.path().join("server.tso");
    let package = package.to_str().unwrap();
    home.ok(&["pack", folder.to_str().unwrap(), "-o", package]);
    assert!(home.ok(&["inspect", package]).contains("listen on port 8080"));

    let output = home.run(&["run", "--publish", "80", package]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(126), "{error}");
    assert!(error.contains("port 80") && error.contains("network: { listen: [80] }"), "{error}");
    home.ok(&["run", "-d", "--name", "server", "--publish", "8080", package]);
    let found = home.json(&["matrixbox", "inspect", "server"]);
    assert_eq!((&found["ports"][0]["port"], &found["confined"]), (&json!(8080), &json!(true)));
    assert_eq!(eventually(found["ports"][0]["address"].as_str().unwrap()), GREETING);
}

#[test]
fn ports_that_are_none_are_refused_with_the_way_out() {
    let home = Home::empty();
    let program = container("web");
    let program = program.to_str().unwrap();
    for (port, why) in [("0", "is not 0"), ("http", "no number"), ("host:1:2", "no address")] {
        let output = home.run(&["run", "--publish", port, program]);
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && error.contains(why) && error.contains("PORT"), "{error}");
    }
    let alone = Alone::start("80");
    let taken = alone.1.rsplit_once(':').unwrap().1;
    let error = home.refused(&["run", "--publish", &format!("{taken}:80"), program]);
    assert!(error.contains("in use") && error.contains("HOST-PORT"), "{error}");
    let many: Vec<String> = (1..=17).map(|port| format!("--publish={port}")).collect();
    let words: Vec<&str> = ["run", program].into_iter().chain(many.iter().map(String::as_str)).collect();
    let output = home.run(&words);
    assert!(String::from_utf8_lossy(&output.stderr).contains("16 at most"), "{output:?}");
}
