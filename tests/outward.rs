//! Components' connections to the outside, by wasi:sockets: to servers of this host, which this file plays.

#![expect(clippy::unwrap_used, clippy::panic, reason = "tests fail by panicking")]

mod home;
mod machine;

use home::Home;
use machine::component::{component, of_folder};
use machine::{Finished, PATIENCE, finish_with, sentctl};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

/// With `COMPONENTS=write` it is made anew; its module is `resources/containers/build.sh`'s.
#[test]
fn the_component_is_made_of_its_module() {
    let made = of_folder("dial");
    if std::env::var("COMPONENTS").is_ok_and(|wish| wish == "write") {
        std::fs::write(component("dial"), &made).unwrap();
    }
    assert!(std::fs::read(component("dial")).unwrap() == made, "COMPONENTS=write makes it anew");
}

/// A server at a port of this host that does something with each of its clients.
fn server(with: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (client, with) = (client.unwrap(), with.clone());
            std::thread::spawn(move || with(client));
        }
    });
    address
}

/// One that gives back what it is sent.
fn echo() -> SocketAddr {
    server(|client| {
        // Whoever goes away has heard enough.
        let _ = std::io::copy(&mut &client, &mut &client);
        let _ = client.shutdown(Shutdown::Both);
    })
}

/// Runs `dial` with these options and arguments, and this input.
fn dial(options: &[&str], args: &[&str], input: &[u8]) -> Finished {
    let mut command = sentctl();
    command.arg("run").args(options).arg(component("dial")).arg("--").args(args);
    finish_with(&mut command, input)
}

#[test]
fn a_program_connects_to_where_it_may_and_to_nowhere_else() {
    let address = echo();
    let (port, at) = (address.port().to_string(), address.to_string());
    let args = ["127.0.0.1", &port];
    dial(&["--connect", &at], &args, b"to and fro\n").assert(0, "to and fro\n");
    dial(&["--connect", "127.0.0.0/8:*"], &args, b"to and fro\n").assert(0, "to and fro\n");
    for elsewhere in ["127.0.0.2:*", "127.0.0.1:1", "*:*", "localhost:*"] {
        dial(&["--connect", elsewhere], &args, b"").assert_fails(1, &["dial: 127.0.0.1: access-denied"]);
    }
    let refused = dial(&["--explain"], &args, b"");
    let rule = format!("connecting to {at}; allowed by network: {{ connect: ['{at}'] }}");
    refused.assert_fails(1, &["dial: 127.0.0.1: access-denied", &rule]);
    // By a name.
    let named = format!("localhost:{port}");
    dial(&["--connect", &named], &["localhost", &port], b"by name\n").assert(0, "by name\n");
    let other = dial(&["--connect", &named, "--explain"], &["localhost", "1"], b"");
    other.assert_fails(1, &["dial: localhost: access-denied", "connect: ['localhost:1']"]);
    dial(&["--connect", "*:*"], &["localhost", &port], b"").assert_fails(1, &["localhost: access-denied"]);
}

#[test]
fn what_goes_wrong_is_told_by_its_name() {
    let unused = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let port = unused.port().to_string();
    let to = format!("127.0.0.1:{port}");
    dial(&["--connect", &to], &["127.0.0.1", &port], b"").assert_fails(1, &["127.0.0.1: connection-refused"]);
    let refused = dial(&["--connect", &format!("localhost:{port}")], &["localhost", &port], b"");
    refused.assert_fails(1, &["localhost: connection-refused"]);
    dial(&[], &["--lookup", "192.0.2.7"], b"").assert(0, "192.0.2.7\n");
    dial(&[], &["--lookup", "2001:db8::7"], b"").assert(0, "2001:db8:0:0:0:0:0:7\n");
    let found = dial(&["--connect", "localhost:1"], &["--lookup", "localhost"], b"");
    assert!(found.code() == 0 && found.out().starts_with("127.0.0.1\n"), "{found:?}");
    dial(&[], &["--lookup", "localhost"], b"").assert_fails(1, &["localhost: access-denied"]);
    for none in ["a b", "", "x..y", "1.2.3", "h\u{f6}st.example"] {
        dial(&["--connect", "*:*"], &["--lookup", none], b"").assert_fails(1, &["invalid-argument"]);
    }
    // No such name can be, with a name server or without one (RFC 6761, 6.4).
    let unknown = dial(&["--connect", "*:*"], &["--lookup", "nowhere.invalid"], b"");
    let why = ["name-unresolvable", "temporary-resolver-failure"];
    assert!(unknown.code() == 1 && why.iter().any(|why| unknown.err().contains(why)), "{unknown:?}");
    dial(&["--connect", "*:*"], &["0.0.0.0", "80"], b"").assert_fails(1, &["0.0.0.0: invalid-argument"]);
    dial(&["--connect", "*:*"], &["192.0.2.1", "0"], b"").assert_fails(1, &["192.0.2.1: invalid-argument"]);
    dial(&["--connect", "*:*"], &["--udp"], b"").assert_fails(1, &["udp: not-supported"]);
    for wrong in ["", "host", "host:0", "1.2.3.4/40:80", ":80"] {
        let refused = dial(&["--connect", wrong], &["--udp"], b"");
        refused.assert_fails(125, &["--connect <HOST:PORT>"]);
    }
}

#[test]
fn permissions_say_where_a_package_connects_to_and_options_only_less() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (echo(), echo());
    let permissions = folder.path().join("permissions.zky");
    let text = format!("version: 1\nnetwork: {{ connect: ['{one}', '{other}'] }}\n");
    std::fs::write(&permissions, text).unwrap();
    let confined = ["--permissions", permissions.to_str().unwrap()];
    let to = |address: SocketAddr, options: &[&str]| {
        let args = ["127.0.0.1", &address.port().to_string()];
        dial(&[&confined[..], options].concat(), &args, b"heard\n")
    };
    to(one, &[]).assert(0, "heard\n");
    to(other, &[]).assert(0, "heard\n");
    to(one, &["--connect", &one.to_string()]).assert(0, "heard\n");
    to(other, &["--connect", &one.to_string()]).assert_fails(1, &["access-denied"]);
    to(one, &["--connect", "127.0.0.1:*"]).assert_fails(
        126,
        &["do not allow connections to 127.0.0.1:*", "network: { connect: ['127.0.0.1:*'] }"],
    );
    std::fs::write(&permissions, "version: 1\nnetwork: { connect: ['host'] }\n").unwrap();
    to(one, &[]).assert_fails(125, &["network.connect: `host`: it has no port"]);
}

#[test]
fn bytes_go_out_and_come_back_whole_however_many_there_are() {
    let input: Vec<u8> =
        (0..2_000_000_u32).flat_map(|number| number.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect();
    // It sends everything before it receives: more than there is room for on the way has to be taken meanwhile.
    let sink = server(|mut client| {
        let mut all = Vec::new();
        client.read_to_end(&mut all).unwrap();
        client.write_all(&all).unwrap();
    });
    let port = sink.port().to_string();
    let back = dial(&["--connect", &sink.to_string()], &["127.0.0.1", &port], &input);
    assert_eq!(back.code(), 0, "{back:?}");
    assert!(back.stdout == input, "{} of {} bytes, or others", back.stdout.len(), input.len());
    // And of a client that is gone it is told.
    let cut = server(drop);
    let port = cut.port().to_string();
    let lost = dial(&["--connect", &cut.to_string()], &["127.0.0.1", &port], &input);
    assert!(lost.code() == 1 && lost.err().contains("sending: "), "{lost:?}");
}

#[test]
fn a_component_listens_on_the_ports_that_it_is_given() {
    let refused = dial(&["--explain"], &["--serve", "80"], b"");
    refused
        .assert_fails(1, &["dial: listen: access-denied", "listening on port 80; allowed by --publish 80"]);
    let mut command = sentctl();
    command.args(["run", "--publish", "80"]).arg(component("dial")).args(["--", "--serve", "80"]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut told = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut told).unwrap();
    let address = told.trim().strip_prefix("sentctl: port 80 is at ").unwrap_or_else(|| panic!("{told}"));
    for text in ["first", "second"] {
        let mut client = TcpStream::connect(address).unwrap();
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.write_all(text.as_bytes()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let mut back = String::new();
        client.read_to_string(&mut back).unwrap();
        assert_eq!(back, text);
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn there_are_as_many_connections_as_there_is_room_for() {
    let address = server(|mut client| drop(client.read(&mut [0; 1])));
    let port = address.port().to_string();
    let to = address.to_string();
    let some = dial(&["--connect", &to], &["--flood", "20", "127.0.0.1", &port], b"");
    some.assert(0, format!("20 \n10.88.1.1 is connected to 127.0.0.1:{port}\n"));
    let many = dial(&["--connect", &to], &["--flood", "1000", "127.0.0.1", &port], b"");
    let (count, why) =
        many.out().split_once(' ').map(|(count, why)| (count.parse::<u32>(), why.to_owned())).unwrap();
    assert!(count.is_ok_and(|count| count > 50) && why.starts_with("new-socket-limit"), "{many:?}");
}

impl Home {
    /// Starts `dial` in `m`.
    fn dial(&self, name: &str, connect: &str, args: &[&str]) {
        let program = component("dial");
        let words = ["run", "-d", "--memory", "8M", "--name", name, "--connect", connect];
        self.ok(&[&words[..], &[program.to_str().unwrap(), "--"], args].concat());
    }

    /// Waits until a container has been answered `more` times from here on.
    fn is_answered(&self, machine: &str, name: &str, more: usize) {
        let answers = |output: &str| output.lines().filter(|line| line.parse::<u32>().is_ok()).count();
        let before = answers(&self.output(machine, name));
        self.wait_for(machine, name, |output| answers(output) >= before + more);
    }
}

#[test]
fn connections_are_cut_by_rollbacks_and_made_anew() {
    let home = Home::with_machine();
    let address = echo();
    let (port, to) = (address.port().to_string(), address.to_string());
    home.dial("ping", &to, &["--ping", "5", "127.0.0.1", &port]);
    home.dial("hold", &format!("localhost:{port}"), &["--hold", "5", "localhost", &port]);
    let both = |machine: &str| {
        for name in ["ping", "hold"] {
            home.is_answered(machine, name, 5);
        }
    };
    both("m");
    home.ok(&["snapshot", "-t", "here"]);
    both("m");
    for _ in 0..3 {
        home.ok(&["rollback", "--discard", "here"]);
        both("m");
    }
    home.ok(&["heal", "container", "hold"]);
    both("m");
    home.ok(&["matrixbox", "restart", "ping"]);
    both("m");
    home.ok(&["fork", "m", "n"]);
    both("n");
    both("m");
    home.ok(&["-m", "m", "stop"]);
    home.ok(&["-m", "m", "boot"]);
    both("m");
    home.ok(&["-m", "m", "snapshot"]);
    home.kill("m");
    home.ok(&["-m", "m", "boot"]);
    both("m");
    // Whatever has happened to it, it was never let in where it may not.
    for name in ["ping", "hold"] {
        assert!(!home.output("m", name).contains("access-denied"), "{}", home.output("m", name));
    }
}

#[test]
fn the_connections_of_a_container_that_ends_are_cut() {
    let home = Home::with_machine();
    let (ends, ended) = std::sync::mpsc::channel();
    let address = server(move |client| {
        let copied = std::io::copy(&mut &client, &mut &client);
        ends.send(copied.is_err()).unwrap();
    });
    let port = address.port().to_string();
    home.dial("hold", &address.to_string(), &["--hold", "5", "127.0.0.1", &port]);
    home.is_answered("m", "hold", 3);
    home.ok(&["kill", "hold"]);
    assert!(ended.recv_timeout(PATIENCE).unwrap(), "a reset, and no end that looks like the program's own");
    // What is known of one that was there before is nobody else's.
    home.dial("other", "localhost:1", &["--ping", "5", "127.0.0.1", &port]);
    home.wait_for("m", "other", |output| output.lines().count() > 3);
    assert!(home.output("m", "other").lines().all(|line| line == "access-denied"));
    assert!(ended.recv_timeout(Duration::from_millis(50)).is_err());
}

#[test]
fn a_container_becomes_a_package_that_connects_to_the_same() {
    let home = Home::with_machine();
    let address = echo();
    let (port, to) = (address.port().to_string(), address.to_string());
    home.dial("ping", &to, &["--ping", "5", "127.0.0.1", &port]);
    home.is_answered("m", "ping", 1);
    home.ok(&["commit", "ping", "pinger:1.0.0"]);
    home.ok(&["kill", "ping"]);
    let shown = home.ok(&["inspect", "pinger:1.0.0"]);
    assert!(shown.contains(&format!("connect to {to}")), "{shown}");
    home.ok(&["run", "-d", "--name", "again", "pinger:1.0.0"]);
    home.is_answered("m", "again", 3);
}
